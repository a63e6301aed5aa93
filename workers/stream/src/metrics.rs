//! What the stream worker shows on /metrics, and what happens to it as typed structs: call sites say what happened,
//! and here it becomes a metric and a log line.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use engine::event::Reason;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use shell::freshness::{self, Freshness};

/// The prefix of every metric.
const PREFIX: &str = "featuremill_stream";

/// A partition of the source topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PartitionLabel {
    /// Its number.
    pub partition: i32,
}

/// Why an event was refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    /// A name of [`Reason`].
    pub reason: &'static str,
}

/// Of which view, and how it came to be readable.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LayerLabel {
    /// The view's name.
    pub feature_view: String,
    /// `stream`.
    pub layer: &'static str,
}

/// One of the worker's threads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ThreadLabel {
    /// Its number.
    pub thread: u32,
}

/// All metrics. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Events read, good and bad, once for each plan.
    pub events: Counter,
    /// Events that a Lambda's batch horizon had passed when they were read.
    pub events_below_horizon: Counter,
    rejected: Family<ReasonLabel, Counter>,
    flushes: Counter,
    flush_seconds: Histogram,
    rows_written: Counter,
    rows_superseded: Counter,
    store_lost: Counter,
    source_gap: Family<PartitionLabel, Gauge>,
    source_reset: Family<PartitionLabel, Gauge>,
    /// Records that are in the topic and not yet processed.
    pub lag_records: Family<PartitionLabel, Gauge>,
    /// How far the newest event time is behind the clock; 0 at the end of the partition.
    pub lag_seconds: Family<PartitionLabel, Gauge<f64, AtomicU64>>,
    /// Lanes in memory.
    pub cache_entries: Family<ThreadLabel, Gauge>,
    /// Their bytes, roughly.
    pub cache_bytes: Family<ThreadLabel, Gauge>,
    /// Lanes read back from the store.
    pub lanes_loaded: Counter,
    /// Partitions that are being read.
    pub partitions: Gauge,
    freshness: Family<LayerLabel, Freshness>,
}

impl Metrics {
    /// Registers them all.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            events: Counter::default(),
            events_below_horizon: Counter::default(),
            rejected: Family::default(),
            flushes: Counter::default(),
            // 1 ms to 8 s.
            flush_seconds: Histogram::new((0..14).map(|power| 0.001 * f64::from(1_u32 << power))),
            rows_written: Counter::default(),
            rows_superseded: Counter::default(),
            store_lost: Counter::default(),
            source_gap: Family::default(),
            source_reset: Family::default(),
            lag_records: Family::default(),
            lag_seconds: Family::default(),
            cache_entries: Family::default(),
            cache_bytes: Family::default(),
            lanes_loaded: Counter::default(),
            partitions: Gauge::default(),
            freshness: Family::default(),
        };
        let views = registry.sub_registry_with_prefix("featuremill_feature");
        views.register("freshness_seconds", freshness::HELP, metrics.freshness.clone());
        let registry = registry.sub_registry_with_prefix(PREFIX);
        let m = metrics.clone();
        registry.register("events", "Events read, good and bad, once for each plan", m.events);
        registry.register(
            "events_below_horizon",
            "Events read after a batch's horizon had passed them; they count from the next generation on",
            m.events_below_horizon,
        );
        registry.register("rejected", "Events sent to the dead-letter topic", m.rejected);
        registry.register("flushes", "Flushes of changed lanes to the online store", m.flushes);
        registry.register("flush_seconds", "How long a flush took", m.flush_seconds);
        registry.register("rows_written", "Lanes written to the online store", m.rows_written);
        registry.register(
            "rows_superseded",
            "Lanes not written because the store had as much or more",
            m.rows_superseded,
        );
        registry.register("store_lost", "Times that the online store had lost what was written to it", m.store_lost);
        registry.register(
            "source_gap",
            "1 while a partition stands still because the topic lost unread records",
            m.source_gap,
        );
        registry.register(
            "source_reset",
            "1 while a partition stands still because the topic ends before its marker",
            m.source_reset,
        );
        registry.register("lag_records", "Records in the partition that are not yet processed", m.lag_records);
        registry.register("lag_seconds", "Seconds that the newest event time is behind; 0 at the end", m.lag_seconds);
        registry.register("cache_entries", "Lanes in memory", m.cache_entries);
        registry.register("cache_bytes", "Bytes of the lanes in memory, roughly", m.cache_bytes);
        registry.register("lanes_loaded", "Lanes read back from the online store", m.lanes_loaded);
        registry.register("partitions", "Partitions that are being read", m.partitions);
        for reason in Reason::ALL.map(Reason::as_str) {
            drop(metrics.rejected.get_or_create(&ReasonLabel { reason }));
        }
        metrics
    }

    /// How old events of a view were when they could be read.
    #[must_use]
    pub fn freshness(&self, view: &str) -> Freshness {
        let label = LayerLabel { feature_view: view.to_owned(), layer: "stream" };
        self.freshness.get_or_create(&label).clone()
    }
}

/// A partition is another worker's now.
#[derive(Debug)]
pub struct Revoked {
    /// Which.
    pub partition: i32,
}

impl Revoked {
    /// Takes back what was shown of it.
    pub fn emit(&self, metrics: &Metrics) {
        let label = PartitionLabel { partition: self.partition };
        metrics.lag_records.remove(&label);
        metrics.lag_seconds.remove(&label);
        metrics.source_gap.remove(&label);
        metrics.source_reset.remove(&label);
    }
}

/// An event went to the dead-letter topic.
#[derive(Debug)]
pub struct Rejected {
    /// Why.
    pub reason: &'static str,
}

impl Rejected {
    /// Counts it.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.rejected.get_or_create(&ReasonLabel { reason: self.reason }).inc();
    }
}

/// A flush ended.
#[derive(Debug)]
pub struct Flushed {
    /// Lanes written.
    pub written: u64,
    /// Lanes of which the store had as much or more.
    pub superseded: u64,
    /// How long it took.
    pub elapsed: Duration,
}

impl Flushed {
    /// Counts it.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.flushes.inc();
        metrics.rows_written.inc_by(self.written);
        metrics.rows_superseded.inc_by(self.superseded);
        metrics.flush_seconds.observe(self.elapsed.as_secs_f64());
        tracing::debug!(written = self.written, superseded = self.superseded, elapsed = ?self.elapsed, "flushed");
    }
}

/// The store holds less than was written to it.
#[derive(Debug)]
pub struct StoreLost {
    /// Of which partition.
    pub partition: i32,
}

impl StoreLost {
    /// Counts and logs it.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.store_lost.inc();
        tracing::warn!(partition = self.partition, "the online store lost writes; going back to the marker");
    }
}

/// A partition is read from an offset.
#[derive(Debug)]
pub struct Started {
    /// Which.
    pub partition: i32,
    /// From where.
    pub position: i64,
    /// Where it ends now.
    pub end: i64,
}

impl Started {
    /// Logs it, and ends what [`Halted`] showed.
    pub fn emit(&self, metrics: &Metrics) {
        let label = PartitionLabel { partition: self.partition };
        metrics.source_gap.get_or_create(&label).set(0);
        metrics.source_reset.get_or_create(&label).set(0);
        tracing::info!(partition = self.partition, position = self.position, end = self.end, "reading");
    }
}

/// Why a partition is not read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halt {
    /// The topic starts behind the marker.
    SourceGap,
    /// The topic ends before the marker.
    SourceReset,
    /// A row does not read back.
    Row,
}

/// A partition is not read, because the topic does not hold what its rows need.
#[derive(Debug)]
pub struct Halted {
    /// Which.
    pub partition: i32,
    /// In which way.
    pub kind: Halt,
    /// What was found and what to do.
    pub reason: String,
}

impl Halted {
    /// Shows and logs it.
    pub fn emit(&self, metrics: &Metrics) {
        let label = PartitionLabel { partition: self.partition };
        match self.kind {
            Halt::SourceGap => _ = metrics.source_gap.get_or_create(&label).set(1),
            Halt::SourceReset => _ = metrics.source_reset.get_or_create(&label).set(1),
            Halt::Row => {}
        }
        tracing::error!(partition = self.partition, reason = self.reason, "partition stands still");
    }
}

//! What the archive worker shows on /metrics.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// The prefix of every metric.
const PREFIX: &str = "featuremill_archive";

/// A partition of the topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PartitionLabel {
    /// Its number.
    pub partition: i32,
}

/// All metrics. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Records that are in the table.
    pub records: Counter,
    /// Their bytes, roughly, before they were compressed.
    pub bytes: Counter,
    /// Commits that were made.
    pub commits: Counter,
    /// How long a commit took, its files included.
    pub commit_seconds: Histogram,
    /// Times that another worker had read a partition: what was read of it was dropped.
    pub superseded: Counter,
    /// The newest version of the table that is known.
    pub version: Gauge,
    /// Bytes that wait for the next commit.
    pub buffered_bytes: Gauge,
    /// 1 while a partition stands still because the topic lost unread records.
    pub source_gap: Family<PartitionLabel, Gauge>,
    /// 1 while a partition stands still because the topic ends before what the table holds.
    pub source_reset: Family<PartitionLabel, Gauge>,
    /// Records in the partition that are not yet in the table.
    pub lag_records: Family<PartitionLabel, Gauge>,
    /// Seconds that the table's newest event time is behind; 0 at the end.
    pub lag_seconds: Family<PartitionLabel, Gauge<f64, AtomicU64>>,
    /// Partitions that are being read.
    pub partitions: Gauge,
}

impl Metrics {
    /// Registers them all.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            records: Counter::default(),
            bytes: Counter::default(),
            commits: Counter::default(),
            // 10 ms to 80 s.
            commit_seconds: Histogram::new((0..14).map(|power| 0.01 * f64::from(1_u32 << power))),
            superseded: Counter::default(),
            version: Gauge::default(),
            buffered_bytes: Gauge::default(),
            source_gap: Family::default(),
            source_reset: Family::default(),
            lag_records: Family::default(),
            lag_seconds: Family::default(),
            partitions: Gauge::default(),
        };
        let registry = registry.sub_registry_with_prefix(PREFIX);
        let m = metrics.clone();
        registry.register("records", "Records that were appended to the table", m.records);
        registry.register("bytes", "Their bytes, roughly, before compression", m.bytes);
        registry.register("commits", "Commits to the table", m.commits);
        registry.register("commit_seconds", "How long a commit took, its files included", m.commit_seconds);
        registry.register("superseded", "Times that another worker had read a partition", m.superseded);
        registry.register("version", "The newest version of the table that is known", m.version);
        registry.register("buffered_bytes", "Bytes that wait for the next commit", m.buffered_bytes);
        registry.register(
            "source_gap",
            "1 while a partition stands still because the topic lost unread records",
            m.source_gap,
        );
        registry.register(
            "source_reset",
            "1 while a partition stands still because the topic ends before what the table holds",
            m.source_reset,
        );
        registry.register("lag_records", "Records in the partition that are not yet in the table", m.lag_records);
        registry.register("lag_seconds", "Seconds that the newest event time is behind; 0 at the end", m.lag_seconds);
        registry.register("partitions", "Partitions that are being read", m.partitions);
        metrics
    }
}

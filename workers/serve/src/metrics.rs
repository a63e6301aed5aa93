//! What the feature server counts, all under `featuremill_serve_`.
//!
//! Invariant: every counter of the request path is looked up once, here, so that a request takes no lock of a registry; those of shadow
//! reads are not of it.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::evaluate::Status;
use crate::store::StoreError;

/// The HTTP codes this server answers with; each has a counter of its own.
const CODES: [u16; 7] = [200, 400, 404, 413, 429, 500, 503];

/// What became of a shadow read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShadowRead {
    /// Both revisions were read.
    Compared,
    /// The candidate could not be read.
    Failed,
    /// Too many were waiting.
    Dropped,
}

/// What a shadow read says of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShadowValue {
    /// Both revisions give it.
    Equal,
    /// They give different ones.
    Differs,
    /// It cannot be read exactly as of a time that both are complete to.
    Unreadable,
}

/// All metrics of the server.
#[derive(Debug)]
pub struct Metrics {
    requests: [(u16, Counter); CODES.len()],
    served: [Counter; Status::ALL.len()],
    latency: Histogram,
    pointer_retries: Counter,
    undecodable: Counter,
    overflows: Counter,
    store_errors: Counter,
    polls: [Counter; 2],
    shadow_reads: Family<OfView, Counter>,
    shadow_values: Family<OfFeature, Counter>,
    shadow_latency: Histogram,
    views: Gauge,
    problems: Gauge,
    catalog_read: Gauge<f64, AtomicU64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByStatus {
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResult {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfView {
    view: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfFeature {
    view: String,
    feature: String,
    result: &'static str,
}

impl Metrics {
    /// Registers all metrics in `registry`.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("featuremill_serve");
        let requests = Family::<Code, Counter>::default();
        let served = Family::<ByStatus, Counter>::default();
        let polls = Family::<ByResult, Counter>::default();
        // From 100 µs to 6.5 s, doubling.
        let latency = Histogram::new(prometheus_client::metrics::histogram::exponential_buckets(0.0001, 2.0, 17));
        let metrics = Self {
            requests: CODES.map(|code| (code, requests.get_or_create_owned(&Code { code: code.into() }))),
            served: Status::ALL.map(|status| served.get_or_create_owned(&ByStatus { status: status.name() })),
            latency: latency.clone(),
            pointer_retries: Counter::default(),
            undecodable: Counter::default(),
            overflows: Counter::default(),
            store_errors: Counter::default(),
            polls: ["good", "failed"].map(|result| polls.get_or_create_owned(&ByResult { result })),
            shadow_reads: Family::default(),
            shadow_values: Family::default(),
            shadow_latency: Histogram::new(prometheus_client::metrics::histogram::exponential_buckets(0.0001, 2.0, 17)),
            views: Gauge::default(),
            problems: Gauge::default(),
            catalog_read: Gauge::default(),
        };
        registry.register("requests", "Requests for features by HTTP code", requests);
        registry.register("features_served", "Feature values by their status", served);
        registry.register("request_duration_seconds", "Time from a request's body to its answer", latency);
        registry.register(
            "pointer_retries",
            "Reads repeated because a pointer had moved",
            metrics.pointer_retries.clone(),
        );
        registry.register(
            "undecodable_lanes",
            "Lanes in the online store that could not be decoded",
            metrics.undecodable.clone(),
        );
        registry.register(
            "overflows",
            "Values served as NULL because a number was too large for its type",
            metrics.overflows.clone(),
        );
        registry.register("store_errors", "Reads the online store did not answer", metrics.store_errors.clone());
        registry.register("catalog_polls", "Polls of the catalog by result", polls);
        registry.register(
            "shadow_reads",
            "Live requests to be read with the candidate, too, by result",
            metrics.shadow_reads.clone(),
        );
        registry.register(
            "shadow_values",
            "Values of the live revision beside the candidate's, by result",
            metrics.shadow_values.clone(),
        );
        registry.register(
            "shadow_duration_seconds",
            "Time to read a request with the candidate",
            metrics.shadow_latency.clone(),
        );
        registry.register("catalog_views", "Views in the catalog", metrics.views.clone());
        registry.register(
            "catalog_problems",
            "Entries and plans of the catalog that cannot be served",
            metrics.problems.clone(),
        );
        registry.register(
            "catalog_last_read_timestamp_seconds",
            "When the catalog was last read",
            metrics.catalog_read.clone(),
        );
        metrics
    }

    /// A request was answered.
    pub fn answered(&self, code: u16, took: Duration) {
        if let Some((_, counter)) = self.requests.iter().find(|(c, _)| *c == code) {
            counter.inc();
        }
        self.latency.observe(took.as_secs_f64());
    }

    /// `count` feature values went out with `status`.
    pub fn served(&self, status: Status, count: u64) {
        if count > 0 {
            self.served[status as usize].inc_by(count);
        }
    }

    /// `count` values were NULL because a number was too large for its type.
    pub fn overflowed(&self, count: u64) {
        self.overflows.inc_by(count);
    }

    /// A read is repeated because a pointer had moved.
    pub fn pointer_retry(&self) {
        self.pointer_retries.inc();
    }

    /// A lane could not be decoded.
    pub fn undecodable_lane(&self) {
        self.undecodable.inc();
    }

    /// The store did not answer a read.
    pub fn store_error(&self) {
        self.store_errors.inc();
    }

    /// A live request was to be read with the candidate, too.
    pub fn shadow_read(&self, view: &str, read: ShadowRead) {
        let result = match read {
            ShadowRead::Compared => "compared",
            ShadowRead::Failed => "failed",
            ShadowRead::Dropped => "dropped",
        };
        self.shadow_reads.get_or_create(&OfView { view: view.to_owned(), result }).inc();
    }

    /// A value was read with both revisions.
    pub fn shadow_value(&self, view: &str, feature: &str, value: ShadowValue) {
        let result = match value {
            ShadowValue::Equal => "equal",
            ShadowValue::Differs => "differs",
            ShadowValue::Unreadable => "unreadable",
        };
        let of = OfFeature { view: view.to_owned(), feature: feature.to_owned(), result };
        self.shadow_values.get_or_create(&of).inc();
    }

    /// A request was read with the candidate in that time.
    pub fn shadow_took(&self, took: Duration) {
        self.shadow_latency.observe(took.as_secs_f64());
    }

    /// The catalog was polled.
    pub fn catalog_poll(&self, result: &Result<(), StoreError>) {
        self.polls[usize::from(result.is_err())].inc();
        if result.is_ok() {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            self.catalog_read.set(now.as_secs_f64());
        }
    }

    /// The catalog has so many views and problems.
    pub fn catalog_size(&self, (views, problems): (usize, usize)) {
        self.views.set(i64::try_from(views).unwrap_or(i64::MAX));
        self.problems.set(i64::try_from(problems).unwrap_or(i64::MAX));
    }
}

//! The operator's metrics. Labels are bounded: kinds, reasons, verbs and codes, never texts of errors; names only those of the
//! views that there are ([`crate::lag::figures`]).

mod views;

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::error::Error;
use crate::feature_view::monitoring::figures::Figures as Checks;
use crate::lag::figures::{Figures, View};
use crate::scaling;
pub use views::Views;

/// A kind of object.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Kind {
    /// Such as `FeatureView`.
    pub kind: &'static str,
}

/// A sort of failure.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Failure {
    /// Such as `FeatureView`.
    pub kind: &'static str,
    /// A stable word.
    pub reason: &'static str,
}

/// A sort of answer of the API server.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Request {
    /// The HTTP method, or `WATCH`.
    pub verb: &'static str,
    /// The status code, 0 if there was none.
    pub code: u16,
}

/// The kinds that have rounds.
const KINDS: [&str; 5] = ["FeatureView", "Architecture", "TrainingSet", "Erasure", "FeatureReplay"];

/// An Alertmanager took what was posted.
const TAKEN: &str = "taken";
/// It did not, or gave no answer.
const FAILED: &str = "failed";

/// How a request to an Alertmanager ended.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Post {
    /// `taken` or `failed`.
    pub result: &'static str,
}

/// All metrics. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    reconciles: Family<Kind, Histogram, fn() -> Histogram>,
    failures: Family<Failure, Counter>,
    undecodable: Family<Kind, Counter>,
    queue: Family<Kind, Gauge>,
    requests: Family<Request, Counter>,
    leader: Gauge,
    alerts: Gauge,
    posts: Family<Post, Counter>,
    /// How far views are behind.
    pub lag: Figures,
    /// What else there is to know of views.
    pub views: Views,
    /// How their workers are scaled.
    pub scaling: scaling::figures::Figures,
    /// What checks of the values that are served found.
    pub checks: Checks,
}

impl Metrics {
    /// Registers them, under the prefix `featuremill_operator`, and those of lag.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            reconciles: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.005, 2.0, 14))),
            failures: Family::default(),
            undecodable: Family::default(),
            queue: Family::default(),
            requests: Family::default(),
            leader: Gauge::default(),
            alerts: Gauge::default(),
            posts: Family::default(),
            lag: Figures::register(registry),
            views: Views::register(registry),
            scaling: scaling::figures::Figures::register(registry),
            checks: Checks::register(registry),
        };
        let registry = registry.sub_registry_with_prefix("featuremill_operator");
        registry.register("reconcile_duration_seconds", "How long rounds took", metrics.reconciles.clone());
        registry.register("reconcile_errors", "Rounds that failed", metrics.failures.clone());
        registry.register(
            "undecodable_objects",
            "Objects that were skipped because they do not read",
            metrics.undecodable.clone(),
        );
        registry.register("reconcile_queue_depth", "Objects that wait for their round", metrics.queue.clone());
        registry.register("api_requests", "Requests to the API server", metrics.requests.clone());
        registry.register("alertmanager_alerts", "Alerts that are posted to Alertmanagers", metrics.alerts.clone());
        registry.register("alertmanager_posts", "Requests to Alertmanagers", metrics.posts.clone());
        // A counter that first shows as one was never seen to rise.
        for kind in KINDS {
            drop(metrics.undecodable.get_or_create(&Kind { kind }));
            for reason in Error::REASONS {
                drop(metrics.failures.get_or_create(&Failure { kind, reason }));
            }
        }
        for result in [TAKEN, FAILED] {
            drop(metrics.posts.get_or_create(&Post { result }));
        }
        registry.register("leader", "Whether this process leads", metrics.leader.clone());
        metrics
    }

    /// A view is gone, and its series with it.
    pub fn forget(&self, namespace: String, feature_view: String) {
        self.lag.freshness.forget(&namespace, &feature_view);
        self.scaling.forget(&View { namespace, feature_view });
    }

    /// A round ended.
    pub fn reconciled(&self, kind: &'static str, took: Duration) {
        self.reconciles.get_or_create(&Kind { kind }).observe(took.as_secs_f64());
    }

    /// A round failed.
    pub fn failed(&self, kind: &'static str, reason: &'static str) {
        self.failures.get_or_create(&Failure { kind, reason }).inc();
    }

    /// An object did not read.
    pub fn undecodable(&self, kind: &'static str) {
        self.undecodable.get_or_create(&Kind { kind }).inc();
    }

    /// So many objects wait.
    pub fn queued(&self, kind: &'static str, depth: usize) {
        self.queue.get_or_create(&Kind { kind }).set(i64::try_from(depth).unwrap_or(i64::MAX));
    }

    /// The API server answered.
    pub fn requested(&self, verb: &'static str, code: u16) {
        self.requests.get_or_create(&Request { verb, code }).inc();
    }

    /// So many alerts are to be known to every Alertmanager.
    pub fn alerts(&self, count: usize) {
        self.alerts.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// An Alertmanager took what was posted, or did not.
    pub fn posted(&self, taken: bool) {
        self.posts.get_or_create(&Post { result: if taken { TAKEN } else { FAILED } }).inc();
    }

    /// Whether this process leads.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }
}

#[cfg(test)]
mod tests;

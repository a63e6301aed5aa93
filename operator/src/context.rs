//! All that a round of reconciliation may use.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crds::FeatureReplay;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::runtime::reflector::Store;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::edges::Edges;
use crate::events::Recorders;
use crate::feature_view::resolve::Resolutions;
use crate::feature_view::source::Topics;
use crate::lag::Lags;
use crate::metrics::Metrics;
use crate::purge::Purges;
use crate::settings::Settings;

/// The dependencies of both drivers. It dies with the leadership it was made for.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// Stores and logs.
    pub edges: Arc<dyn Edges>,
    /// What the operator was told at its start.
    pub settings: Settings,
    /// Telemetry.
    pub metrics: Metrics,
    /// Writes events, and joins those that repeat.
    pub recorders: Recorders,
    /// What specs resolved to, so that an unchanged one is planned once.
    pub resolutions: Resolutions,
    /// The replays that there are; how each stands is read anew.
    pub replays: Store<FeatureReplay>,
    /// How far each view is behind its topic.
    pub lags: Lags,
    /// When all of them were measured last, in milliseconds; for who waits for that.
    pub swept: watch::Sender<Option<i64>>,
    /// What topics hold, asked beside reconciliation.
    pub topics: Topics,
    /// The removals that run beside reconciliation.
    pub purges: Purges,
    /// How often each object failed in a row.
    pub failures: Failures,
    /// The clock.
    pub now: fn() -> Timestamp,
    /// Cancelled when leadership ends.
    pub ended: CancellationToken,
}

/// Failures in a row, by object.
#[derive(Default)]
pub struct Failures(Mutex<HashMap<String, u32>>);

impl Failures {
    /// One more; answers how many there were before.
    pub fn count(&self, uid: &str) -> u32 {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(uid.to_owned()).or_default();
        *count += 1;
        *count - 1
    }

    /// How many there were before the last.
    pub fn before(&self, uid: &str) -> u32 {
        let failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failures.get(uid).map_or(0, |count| count.saturating_sub(1))
    }

    /// It went well.
    pub fn clear(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

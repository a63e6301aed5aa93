//! Checks of the values that are served: whether they look as they did (drift), and are what their history gives (skew). Each
//! is a CronJob of the live revision; what its last Job left in the online store becomes status, the condition `Sound`, Events
//! and metrics.
//!
//! Invariants: only the live revision is checked, so that a candidate or a previous one never pages; what was found stands until
//! a later check finds otherwise; what is told is bounded, however many features there are.

pub mod figures;
pub(super) mod told;

use crds::FeatureView;
use crds::feature_view::Monitoring;
use engine::compare::Report as Skew;
use engine::monitor::Report as Drift;
use engine::row::{Live, drift_key, skew_key};
use kube::ResourceExt as _;

use crate::apply::Object;
use crate::edges::{EdgeError, Store};
use crate::names::{COMPONENT_LABEL, DRIFT, SKEW};

/// What the last checks of the live revision's values said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checks {
    /// How far values are from their reference; none if it was not checked, or is not wanted.
    pub drift: Option<Drift>,
    /// Whether they are what their history gives.
    pub skew: Option<Skew>,
}

/// Whether an object belongs to a check.
pub fn is_check<K: Object>(object: &K) -> bool {
    object.labels().get(COMPONENT_LABEL).is_some_and(|component| component == DRIFT || component == SKEW)
}

/// Whether a view may have any: it asks for them, or did so when status was last written.
pub(super) fn has_checks(view: &FeatureView) -> bool {
    view.spec.monitoring.is_some() || view.status.as_ref().is_some_and(|status| status.monitoring.is_some())
}

/// Asks the online store what they said, of those that the spec asks for. What does not read is said anew by the next.
pub(super) async fn checks(
    view: &FeatureView,
    store: &dyn Store,
    live: Option<&Live>,
    uid: &str,
) -> Result<Checks, EdgeError> {
    let (Some(Monitoring { drift, skew }), Some(live)) = (view.spec.monitoring.as_deref(), live) else {
        return Ok(Checks::default());
    };
    let mut checks = Checks::default();
    if drift.is_some() {
        let text = store.text(&drift_key(uid, &live.revision)).await?;
        checks.drift = text.and_then(|text| Drift::decode(&text).ok());
    }
    if skew.is_some() {
        let text = store.text(&skew_key(uid, &live.revision)).await?;
        checks.skew = text.and_then(|text| Skew::decode(&text).ok());
    }
    Ok(checks)
}

//! Condition `Fresh`: what is served is as young as it should be, by its lag, by its horizon, or by both. Pure.

use crds::condition::{ConditionStatus, reasons};
use crds::feature_view::LagStatus;
use k8s_openapi::api::apps::v1::Deployment;

use super::{Round, Verdict};
use crate::lag::told::{self, Beside};
use crate::workload::replicas;

impl Round<'_> {
    /// `lag` is what status says of it, `stream` the workers of what reads go to.
    pub(super) fn fresh(&self, lag: Option<&LagStatus>, stream: Option<&Deployment>) -> Verdict {
        let workers = stream.map(replicas).map(|(wanted, _, ready)| (wanted, ready));
        let topic = self.live_plan().and_then(|plan| Some(plan.source.stream.as_ref()?.topic.as_str()));
        let suspended = self.observed.view.spec.suspend;
        let beside = Beside { suspended, workers, topic: topic.unwrap_or_default() };
        let by_lag = told::verdict(self.lag, lag, &beside);
        match (by_lag, self.horizon_is_fresh()) {
            (Some(lag), Some(horizon)) => worse(lag, horizon),
            (Some(verdict), None) | (None, Some(verdict)) => verdict,
            (None, None) => {
                (ConditionStatus::Unknown, reasons::PENDING, "no revision is served that could be late".to_owned())
            }
        }
    }
}

/// Of a view that has both: what is wrong goes before what is not known, and that before what is well.
fn worse(lag: Verdict, horizon: Verdict) -> Verdict {
    let badness = |verdict: &Verdict| match verdict.0 {
        ConditionStatus::False => 2,
        ConditionStatus::Unknown => 1,
        ConditionStatus::True => 0,
    };
    match (badness(&lag), badness(&horizon)) {
        (0, 0) => (ConditionStatus::True, reasons::ON_TIME, format!("{}; {}", lag.2, horizon.2)),
        (of_lag, of_horizon) if of_lag >= of_horizon => lag,
        _ => horizon,
    }
}

//! What a report says of how many workers there are. Pure.

use crds::FeatureViewStatus;
use crds::feature_view::ScalingStatus;

use super::{Round, Verdict};
use crate::scaling::{self, told};

impl Round<'_> {
    /// What status is to say of scaling; `live` is what reads go to after this round.
    pub(super) fn scaling(&self, live: Option<&str>, previous: &FeatureViewStatus) -> Option<ScalingStatus> {
        let subject = scaling::subject(self.observed, live?);
        told::status(subject.as_ref(), live, self.lag, previous.scaling.as_deref())
    }

    /// Condition `ScalingLimited`.
    pub(super) fn scaling_limited(&self, said: Option<&ScalingStatus>) -> Verdict {
        let streams = self.live_plan().or(self.target()).is_some_and(|plan| plan.mode.has_stream_lanes());
        told::verdict(self.observed.view.spec.scaling.as_ref(), said, streams)
    }
}

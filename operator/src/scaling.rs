//! How many stream workers the revision that serves has, by how fast its lag falls (`spec.scaling.mode: Lag`).
//!
//! Each sweep of [`crate::lag`] looks how many records were read and came in ([`flow`]), and [`decide`] says from that, from what
//! is remembered and from the time how many workers there are to be. What it says is written to status first, and what stands
//! there is what [`crate::feature_view::desire`] has workers for: an operator that dies in between, or is restarted, goes on from it.
//!
//! Invariants: `spec.replicas` is a person's or an autoscaler's, and never written; nothing here changes what a revision is made
//! of; candidates and previous revisions have as many workers as the live one at least.

pub mod decide;
pub mod figures;
pub mod flow;
pub mod told;

#[cfg(test)]
mod tests;

use crds::feature_view::{ScalingMode, ScalingStatus};
use crds::{FeatureViewSpec, FeatureViewStatus};
use k8s_openapi::api::apps::v1::Deployment;

use crate::feature_view::observe::{Observed, revision_of};
use crate::lag;
use crate::lag::measure::{Measured, Moved};
use crate::lag::tier::{Thresholds, Tier};
use crate::workload::replicas;
pub use decide::{Figures, Memory, Policy};
pub use flow::Flow;

/// A view whose workers are scaled by its lag, as a round finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Within which bounds.
    pub policy: Policy,
    /// How many workers the round has it have.
    pub begins: i32,
    /// How many are ready.
    pub ready: i32,
}

impl Policy {
    /// What a spec says, if its workers are scaled by lag.
    #[must_use]
    pub fn of(spec: &FeatureViewSpec) -> Option<Self> {
        let scaling = spec.scaling.as_ref().filter(|scaling| scaling.mode == ScalingMode::Lag)?;
        let min = scaling.min_replicas.unwrap_or(1);
        let ms = |seconds: Option<i32>, default: i32| i64::from(seconds.unwrap_or(default)) * 1000;
        Some(Self {
            min,
            max: scaling.max_replicas.unwrap_or(min).max(min),
            target_ms: ms(scaling.target_processing_seconds, 60),
            up_cooldown_ms: ms(scaling.scale_up_cooldown_seconds, 90),
            down_cooldown_ms: ms(scaling.scale_down_cooldown_seconds, 600),
        })
    }
}

/// How a round finds a view; `live` is what reads go to.
#[must_use]
pub fn subject(observed: &Observed, live: &str) -> Option<Subject> {
    let policy = Policy::of(&observed.view.spec)?;
    let ready = deployment(observed, live).map_or(0, |workers| replicas(workers).2);
    Some(Subject { policy, begins: begins(observed, &policy, Some(live)), ready })
}

/// How many workers a revision has, if nobody asks for more of a candidate.
#[must_use]
pub fn workers(observed: &Observed, revision: &str, live: Option<&str>, previous: bool) -> i32 {
    let spec = &observed.view.spec;
    let policy = Policy::of(spec);
    let wanted = policy.map_or(spec.replicas, |policy| begins(observed, &policy, live));
    let scaled = spec.scaling.as_ref().is_some_and(|scaling| scaling.mode != ScalingMode::Fixed);
    if !(previous && scaled) {
        return wanted;
    }
    // It may take more workers for the same events than what took its place, and is to stay fresh: it keeps what it has.
    let has = deployment(observed, revision).map_or(0, |workers| replicas(workers).0);
    wanted.max(policy.map_or(has, |policy| has.min(policy.max)))
}

/// What status says; at the beginning, or where status was lost, as many as there are.
fn begins(observed: &Observed, policy: &Policy, live: Option<&str>) -> i32 {
    let said = observed.view.status.as_ref().and_then(|status| status.scaling.as_deref());
    let has = || deployment(observed, live?).map(|workers| replicas(workers).0).filter(|has| *has > 0);
    // The fewest may be fewer than `minReplicas`, of a topic with fewer partitions.
    said.map_or_else(
        || has().unwrap_or(observed.view.spec.replicas).clamp(policy.min, policy.max),
        |said| said.desired_replicas.min(policy.max),
    )
}

fn deployment<'a>(observed: &'a Observed, revision: &str) -> Option<&'a Deployment> {
    observed.deployments.iter().find(|d| revision_of(*d) == Some(revision))
}

/// What is remembered of a view that is followed, if it is scaled by lag.
#[must_use]
pub fn of_subject(subject: &lag::Subject, status: Option<&FeatureViewStatus>) -> Option<Memory> {
    Some(remembered(&subject.scaling?, &subject.revision, status))
}

/// What is remembered of a view: what status says of this revision; of another one only how many workers it had.
fn remembered(subject: &Subject, revision: &str, status: Option<&FeatureViewStatus>) -> Memory {
    let said = status.and_then(|status| status.scaling.as_deref());
    let said = said.filter(|said: &&ScalingStatus| said.revision == revision);
    Memory { desired: subject.begins, ..said.map(told::memory).unwrap_or_default() }
}

/// What a sweep makes of what it found.
#[must_use]
pub fn judge(of: &lag::Subject, measured: &Measured, moved: Moved, flow: &Flow, before: &Memory) -> (Flow, Memory) {
    let Some(subject) = of.scaling.filter(|_| !of.suspended) else {
        return (Flow::default(), Memory { fewer: None, ..before.clone() });
    };
    let flow = flow.look(moved, subject.ready);
    let figures = figures(&subject, measured, &of.thresholds, moved.partitions, &flow);
    let memory = decide::decide(&subject.policy, &figures, before, moved.at);
    (flow, memory)
}

fn figures(subject: &Subject, measured: &Measured, thresholds: &Thresholds, partitions: i32, flow: &Flow) -> Figures {
    let unsound =
        measured.first_reading || measured.stopped || !measured.stalled.is_empty() || !measured.broken.is_empty();
    Figures {
        partitions,
        ready: subject.ready,
        late: unsound || measured.seconds > thresholds.get(Tier::Three).lag_seconds,
        lag_ms: measured.seconds * 1000,
        rates: flow.rates(),
    }
}

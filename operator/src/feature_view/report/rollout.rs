//! What a report says of a rollout: where it is, what it waits for, and what a person can do. Pure.

use crds::condition::{ConditionStatus, reasons};
use crds::feature_view::AbortReason;
use engine::plan::Plan;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

use super::{Round, Verdict};
use crate::conditions::seconds;
use crate::feature_view::migration;
use crate::feature_view::observe::StoreView;
use crate::feature_view::phase::Step;
use crate::names::{PROMOTE_ANNOTATION, RETRY_ANNOTATION};
use crate::workload::is_available;

impl Round<'_> {
    /// One word for people.
    pub(super) fn phase(&self, caught_up: &Verdict) -> &'static str {
        match (self.accepted_plan(), self.store) {
            (Err(refusal), _) if refusal.pending => return "Pending",
            (Err(_), _) => return "Invalid",
            (_, StoreView::Unreachable(_)) => return "StoreUnreachable",
            _ => {}
        }
        if self.observed.view.spec.suspend {
            return "Suspended";
        }
        let paused = self.observed.view.spec.rollout.paused;
        let memory = self.memory();
        match self.decision.step {
            Step::Hold => "Pending",
            Step::Unavailable => "Unavailable",
            Step::AwaitRemoval => "Retiring",
            Step::Aborted(_) => "Aborted",
            Step::Promote if self.acted.moved.is_none() => "Promoting",
            Step::Return if self.acted.moved.is_none() => "RollingBack",
            Step::AwaitTurn | Step::Replay | Step::CatchUp | Step::AwaitPromotion if paused => "Paused",
            Step::AwaitTurn => "AwaitingMigration",
            Step::Replay => "Replaying",
            Step::Compare => "Comparing",
            Step::Differs => "ComparisonFailed",
            Step::CatchUp => "CatchingUp",
            Step::AwaitPromotion => "AwaitingPromotion",
            Step::Adopt | Step::Serve | Step::Promote | Step::Return => match caught_up.0 {
                ConditionStatus::True if self.is_pinned() && memory.returned => "RolledBack",
                ConditionStatus::True if self.is_pinned() => "Pinned",
                ConditionStatus::True if memory.previous.is_some() => "Soaking",
                ConditionStatus::True => "Live",
                _ => "CatchingUp",
            },
        }
    }

    /// Whether what is served in the end is not what the spec describes.
    fn is_pinned(&self) -> bool {
        self.decision.target != self.decision.wanted
    }

    /// Whether reads go to what is to be served in the end.
    pub(super) fn serves_target(&self) -> bool {
        self.decision.target.is_some() && self.active() == self.decision.target
    }

    /// That all is well, and whether another revision than the spec's is served on purpose.
    pub(super) fn served_well(&self) -> Verdict {
        let served = self.active().unwrap_or_default();
        match (&self.decision.target, &self.decision.wanted) {
            (Some(target), Some(wanted)) if target != wanted && self.serves_target() => {
                let reason = if self.memory().returned { reasons::ROLLED_BACK } else { reasons::PINNED };
                let message = format!(
                    "revision {served} is served, as spec.rollout.servingRevision says; the spec itself describes \
                     {wanted}, which is rolled out once the field is removed"
                );
                (ConditionStatus::True, reason, message)
            }
            _ => {
                let missing = self.missing().map(|missing| format!("; {missing}")).unwrap_or_default();
                (ConditionStatus::True, reasons::HEALTHY, format!("served{missing}"))
            }
        }
    }

    /// What windows of the live revision still answer `INVALID` for, because the topic had lost it.
    fn missing(&self) -> Option<String> {
        let StoreView::Known(facts) = self.store else { return None };
        let plan = self.live_plan().filter(|plan| self.serves_target() && !plan.mode.has_generations())?;
        let from = facts.markers.as_ref()?.complete_from_ms?;
        // What is kept for late events no read as of now reaches.
        let time = &plan.time;
        let needs = time.retention_ms.map(|kept| kept - time.allowed_lateness_ms - time.max_future_ms);
        not_whole(from, needs, self.now)
    }

    /// What the target has still to do before it counts as caught up.
    pub(super) fn lagging(&self, plan: &Plan) -> String {
        let bound = self.observed.view.spec.rollout.catch_up.max_lag_seconds;
        let revision = &plan.revision;
        if self.serves_target() {
            return format!("revision {revision} is reading its source");
        }
        format!(
            "revision {revision} is reading its source; it has caught up once every partition was read to its end in the last {bound} s"
        )
    }

    /// Why the rollout moves, or what it waits for beyond being caught up.
    pub(super) fn rolling(&self) -> Option<(&'static str, String)> {
        let revision = self.decision.target.clone()?;
        let (name, rollout) = (self.observed.view.name_any(), &self.observed.view.spec.rollout);
        match self.decision.step {
            Step::AwaitTurn => Some((reasons::AWAITING_MIGRATION, self.queued(&revision))),
            Step::Replay | Step::CatchUp | Step::Compare | Step::AwaitPromotion if self.observed.is_held(&revision) => {
                let message =
                    format!("spec.suspend of the FeatureReplay that revision {revision} is a run of holds it");
                Some((reasons::SUSPENDED, message))
            }
            Step::Replay | Step::CatchUp | Step::AwaitPromotion if rollout.paused => Some((
                reasons::PAUSED,
                format!("spec.rollout.paused holds revision {revision}; set it to false to go on"),
            )),
            Step::Replay => self.replaying(),
            Step::CatchUp if self.decision.caught_up => {
                let stable = rollout.catch_up.stable_for_seconds;
                Some((
                    reasons::CATCHING_UP,
                    format!("revision {revision} has caught up, and has to stay so for {stable} s"),
                ))
            }
            Step::Compare => Some((reasons::COMPARING, self.comparing().2)),
            Step::AwaitPromotion => Some((
                reasons::AWAITING_PROMOTION,
                format!(
                    "revision {revision} has caught up; to let it take over: \
                     kubectl annotate featureview {name} {PROMOTE_ANNOTATION}={revision}"
                ),
            )),
            Step::Promote | Step::Return if self.acted.moved.is_none() => {
                Some((reasons::PROMOTING, format!("the live pointer is being moved to revision {revision}")))
            }
            _ => None,
        }
    }

    /// That the target waits for its turn to change the mode.
    pub(super) fn queued(&self, revision: &str) -> String {
        format!("revision {revision} waits for its turn: {}", migration::queue(self.observed))
    }

    /// Why the target is not rolled out, and that it takes a person to change that.
    pub(super) fn given_up(&self) -> Option<(&'static str, String)> {
        let revision = self.decision.target.clone()?;
        let (name, rollout) = (self.observed.view.name_any(), &self.observed.view.spec.rollout);
        let again = format!(
            "change or revert the spec, or try it again: kubectl annotate featureview {name} {RETRY_ANNOTATION}={revision}"
        );
        match self.decision.step {
            Step::Aborted(AbortReason::DeadlineExceeded) => {
                let told = self.decision.memory.trial.as_ref().and_then(|trial| trial.message.clone());
                if let Some(why) = told {
                    let what = format!("revision {revision} was given up: {why}");
                    return Some((reasons::DEADLINE_EXCEEDED, format!("{what}; {}{again}", self.serves_on())));
                }
                let deadline = rollout.catch_up.deadline_seconds;
                let what = format!(
                    "revision {revision} did not catch up, and pass its comparison, within spec.rollout.catchUp.deadlineSeconds ({deadline}) and was \
                     given up"
                );
                Some((reasons::DEADLINE_EXCEEDED, format!("{what}; {}{again}", self.serves_on())))
            }
            Step::Aborted(AbortReason::ComparisonFailed) => {
                let compared = self.compared(&self.observed.view.status.clone().unwrap_or_default(), &self.memory());
                let why = compared.and_then(|c| c.message).unwrap_or_default();
                let what =
                    format!("revision {revision} was given up, as spec.rollout.comparison.failurePolicy says: {why}");
                Some((reasons::COMPARISON_FAILED, format!("{what}; {}{again}", self.serves_on())))
            }
            Step::Aborted(AbortReason::AbortedByUser) => Some((
                reasons::ABORTED_BY_USER,
                format!("revision {revision} was given up as asked; {}{again}", self.serves_on()),
            )),
            Step::Aborted(AbortReason::ReplayFailed) => {
                let trial = self.decision.memory.trial.as_ref();
                let why = trial.and_then(|trial| trial.message.clone()).unwrap_or_default();
                let what = format!("the replay of revision {revision} failed and it was given up: {why}");
                Some((reasons::REPLAY_FAILED, format!("{what}; {}{again}", self.serves_on())))
            }
            Step::Aborted(AbortReason::NoProgress) => {
                let trial = self.decision.memory.trial.as_ref();
                let why = trial.and_then(|trial| trial.message.clone()).unwrap_or_default();
                let deadline = rollout.catch_up.progress_deadline_seconds;
                let what = format!(
                    "nothing of revision {revision} advanced for spec.rollout.catchUp.progressDeadlineSeconds ({deadline}), \
                     and it was given up: {why}"
                );
                Some((reasons::NO_PROGRESS, format!("{what}; {}{again}", self.serves_on())))
            }
            Step::Unavailable => Some((reasons::REVISION_UNAVAILABLE, self.unavailable())),
            _ => None,
        }
    }

    fn serves_on(&self) -> String {
        self.active().map(|active| format!("{active} serves on; ")).unwrap_or_default()
    }

    /// That the pin names nothing that is known, and what it could name.
    pub(super) fn unavailable(&self) -> String {
        let pin = self.decision.target.clone().unwrap_or_default();
        let known: Vec<&str> = self.known_revisions();
        let known = if known.is_empty() { "none is".to_owned() } else { format!("known are {}", known.join(", ")) };
        format!("spec.rollout.servingRevision: revision {pin} cannot be served, for nothing is known of it; {known}")
    }

    fn known_revisions(&self) -> Vec<&str> {
        let mut known: Vec<&str> = self.plans.keys().map(String::as_str).collect();
        known.extend(self.observed.history.iter().filter_map(super::revision_of));
        known.sort_unstable();
        known.dedup();
        known
    }

    /// Whether the revision before is kept, until when, and how to go back.
    pub(super) fn rollback_available(&self) -> Verdict {
        let memory = self.memory();
        let Some(previous) = memory.previous else {
            let message = "no revision is kept to go back to at once; one of the history that \
                           spec.rollout.servingRevision names is computed anew";
            return (ConditionStatus::False, reasons::NO_PREVIOUS_REVISION, message.to_owned());
        };
        let view = &self.observed.view;
        let rollout = &view.spec.rollout;
        let soak = SignedDuration::from_secs(rollout.scale_down_delay_seconds.into());
        let until = memory.promoted.and_then(|since| since.checked_add(soak).ok());
        let until = match until.filter(|_| !rollout.paused) {
            Some(until) => format!("until {}", seconds(until)),
            None => "while spec.rollout.paused is set".to_owned(),
        };
        let workers = self.stream(Some(&previous));
        let old = if workers.is_none_or(is_available) || view.spec.suspend {
            ""
        } else {
            "; none of its workers is ready, so its features grow old"
        };
        let patch = format!(r#"{{"spec":{{"rollout":{{"servingRevision":"{previous}"}}}}}}"#);
        let message = format!(
            "revision {previous} is kept and reads on {until}{old}; to go back to it at once: \
             kubectl patch featureview {} --type=merge -p '{patch}'",
            view.name_any()
        );
        (ConditionStatus::True, reasons::SOAKING, message)
    }
}

/// What to say of rows that hold every event from `from_ms` on, if the longest window reaches further back; `needs_ms` is how
/// far that may be, `None` for ever.
fn not_whole(from_ms: i64, needs_ms: Option<i64>, now: Timestamp) -> Option<String> {
    let reached = needs_ms.map(|needs| now.as_millisecond().saturating_sub(needs));
    let from = Timestamp::from_second(from_ms.div_euclid(1_000)).ok()?;
    reached.is_none_or(|reached| reached < from_ms).then(|| {
        format!(
            "windows that begin before {from} answer INVALID until they are whole, since what came before was not read: \
             the topic no longer held it, or the rollout began later"
        )
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_missing_is_told_until_no_window_reaches_it() {
        let now: Timestamp = "2026-01-10T00:00:00Z".parse().unwrap();
        let day = 86_400_000;
        let from = now.as_millisecond() - 3 * day;
        let said = not_whole(from, Some(7 * day), now).unwrap();
        assert!(said.contains("before 2026-01-07T00:00:00Z answer INVALID"), "{said}");
        assert_eq!(not_whole(from, Some(3 * day), now), None);
        assert!(not_whole(from, None, now).is_some(), "a feature over all time is never whole");
    }
}

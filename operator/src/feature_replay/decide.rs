//! What is to be done with a replay. Pure.

use crds::condition::{ConditionStatus, reasons, types};
use crds::feature_view::{AbortReason, ReplayProgress, ReplayStatus, Trial};
use crds::{FeatureReplay, FeatureView};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

use super::observe::Observed;
use crate::conditions::{find, seconds};
use crate::feature_view::phase::pin;
use crate::feature_view::resolve::Refusal;
use crate::feature_view::runs;

/// How a replay stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It cannot begin, or not yet.
    Refused(Refusal),
    /// It is to be asked what would be read.
    Asks,
    /// It begins: the run is to stand in status.
    Begins {
        /// The revision that is live.
        revision: String,
        /// The name of its definition, computed anew.
        run: String,
    },
    /// It goes on.
    Running {
        /// A reason of conditions.
        reason: &'static str,
        /// How far it is, in words.
        message: String,
        /// What is read.
        replay: Option<ReplayStatus>,
    },
    /// It goes on once a person has seen to it, as its view says.
    Stuck {
        /// A reason of conditions.
        reason: String,
        /// What is wrong, and what to do.
        message: String,
        /// What is read.
        replay: Option<ReplayStatus>,
    },
    /// It is done.
    Done {
        /// A reason of conditions.
        reason: &'static str,
        /// What was done.
        message: String,
        /// What was read, or would be.
        replay: Option<ReplayStatus>,
    },
    /// It is given up.
    GivenUp {
        /// A reason of conditions.
        reason: &'static str,
        /// Why.
        message: String,
    },
}

/// Decides.
pub(super) fn decide(observed: &Observed, now: Timestamp) -> State {
    match runs::run_of(&observed.replay) {
        None => begin(observed).unwrap_or_else(State::Refused),
        Some(run) => go_on(observed, run, now),
    }
}

fn waits(reason: &'static str, message: String) -> Refusal {
    Refusal { reason, message, pending: true }
}

fn refuses(reason: &'static str, message: String) -> Refusal {
    Refusal { reason, message, pending: false }
}

/// Whether it begins, and as what.
fn begin(observed: &Observed) -> Result<State, Refusal> {
    let spec = &observed.replay.spec;
    let name = &spec.view_ref.name;
    let Some(view) = &observed.view else {
        let message = format!("spec.viewRef.name: there is no FeatureView {name:?} in this namespace; apply it");
        return Err(refuses(reasons::VIEW_NOT_FOUND, message));
    };
    if spec.suspend {
        return Err(waits(reasons::SUSPENDED, "spec.suspend is set".to_owned()));
    }
    let status = view.status.clone().unwrap_or_default();
    let Some(plan) = &observed.plan else {
        let message = format!("FeatureView {name:?} names an Architecture that does not exist");
        return Err(refuses(reasons::ARCHITECTURE_NOT_FOUND, message));
    };
    let plan = plan.as_ref().map_err(|refusal| {
        refuses(reasons::VIEW_NOT_READY, format!("FeatureView {name:?} is not accepted: {}", refusal.message))
    })?;
    if !plan.mode.has_stream_lanes() {
        let message = format!(
            "spec.viewRef.name: FeatureView {name:?} has no stream to be replayed: in mode {:?} each batch run computes its \
             whole history anew",
            plan.mode
        );
        return Err(refuses(reasons::INVALID_SPEC, message));
    }
    let Some(active) = status.active_revision.clone() else {
        return Err(waits(reasons::VIEW_NOT_READY, format!("FeatureView {name:?} has no live revision yet")));
    };
    if let Some(wanted) = spec.revision.as_ref().filter(|wanted| **wanted != active) {
        let message = format!("spec.revision: {wanted} is not live: {active} is, of FeatureView {name:?}");
        return Err(refuses(reasons::REVISION_NOT_LIVE, message));
    }
    let first = observed.others.iter().find(|other| comes_first(other, &observed.replay, &active));
    // Said before what that one does to the view.
    if let Some(first) = first.filter(|_| !spec.dry_run) {
        return Err(waits(reasons::AWAITING_REPLAY, format!("FeatureReplay {:?} comes first", first.name_any())));
    }
    // Said before that the view is not where its spec wants it: it stays there for as long as it is pinned.
    if pin(&view.spec.rollout).is_some() && !spec.dry_run {
        let message = format!(
            "FeatureView {name:?} is pinned by spec.rollout.servingRevision, and nothing is rolled out; remove the field"
        );
        return Err(waits(reasons::PINNED, message));
    }
    let wanted = runs::served(&observed.history, Some(&active), &plan.revision);
    let seen = status.observed_generation == view.metadata.generation;
    if !seen || wanted != active || status.candidate_revision.is_some() {
        let message = format!(
            "FeatureView {name:?} serves {active} and is, or is to be, on its way to what its spec describes; it begins after that"
        );
        return Err(waits(reasons::VIEW_NOT_READY, message));
    }
    if spec.dry_run {
        return match &observed.held {
            None => Ok(State::Asks),
            Some(Ok(replay)) => {
                let (reason, message) = (reasons::DRY_RUN, format!("it would read {}", amount(replay)));
                Ok(State::Done { reason, message, replay: Some(replay.clone()) })
            }
            Some(Err(trouble)) => {
                Err(Refusal { reason: trouble.reason, message: trouble.message.clone(), pending: !trouble.stuck })
            }
        };
    }
    let run = runs::name(&plan.revision, &observed.replay);
    Ok(State::Begins { revision: active, run })
}

/// Whether another replay of the view is to be done with before this one: it has begun, or it is older and may begin.
fn comes_first(other: &FeatureReplay, own: &FeatureReplay, active: &str) -> bool {
    let age = |replay: &FeatureReplay| (replay.metadata.creation_timestamp.clone(), replay.name_any());
    let may_begin = !other.spec.suspend && other.spec.revision.as_deref().is_none_or(|revision| revision == active);
    runs::run_of(other).is_some() || may_begin && !other.spec.dry_run && age(other) < age(own)
}

/// What became of a run.
fn go_on(observed: &Observed, run: &str, now: Timestamp) -> State {
    let spec = &observed.replay.spec;
    let name = &spec.view_ref.name;
    let known = observed.replay.status.clone().unwrap_or_default();
    let give_up = |reason, message| State::GivenUp { reason, message };
    let Some(view) = &observed.view else {
        return give_up(reasons::VIEW_NOT_FOUND, format!("FeatureView {name:?} was deleted"));
    };
    let status = view.status.clone().unwrap_or_default();
    let trial = status.rollout.clone().and_then(|rollout| rollout.trial).filter(|trial| trial.revision == run);
    let replay = trial.as_ref().and_then(|trial| trial.replay.clone()).or(known.replay);
    if status.active_revision.as_deref() == Some(run) {
        let message = format!("FeatureView {name:?} serves revision {run}, computed anew");
        let replay = replay.map(|replay| whole(replay, now));
        return State::Done { reason: reasons::SUCCEEDED, message, replay };
    }
    if let Some((reason, why)) = trial.as_ref().and_then(aborted) {
        return give_up(reason, format!("revision {run} of FeatureView {name:?} was given up{why}"));
    }
    let base = observed.plan.as_ref().and_then(|plan| plan.as_ref().ok());
    if base.is_some_and(|plan| runs::name(&plan.revision, &observed.replay) != run) {
        return give_up(reasons::SUPERSEDED, format!("FeatureView {name:?} was edited: what was read is of no use"));
    }
    let candidate = status.candidate_revision.as_deref() == Some(run);
    // Of a candidate the view says that its time is over: it alone knows whether the pointer was moved by then.
    if let Some(seconds) = runs::overdue(&observed.replay, now).filter(|_| !candidate) {
        let message = format!("revision {run} did not serve within spec.activeDeadlineSeconds, {seconds}");
        return give_up(reasons::DEADLINE_EXCEEDED, message);
    }
    if spec.suspend {
        let message = "spec.suspend is set: what was read stays, and it goes on from there".to_owned();
        return State::Running { reason: reasons::SUSPENDED, message, replay };
    }
    // A condition of the view that says what is wrong, or else what is going on.
    let told = |type_| {
        let told = find(&status.conditions, type_);
        told.filter(|c| candidate && c.status == ConditionStatus::True)
    };
    if let Some(stalled) = told(types::STALLED) {
        let message = format!("{}; or delete this FeatureReplay, which gives it up", stalled.message);
        return State::Stuck { reason: stalled.reason.clone(), message, replay };
    }
    let message = told(types::RECONCILING).map_or_else(|| idle(view, run), |told| told.message.clone());
    State::Running { reason: reasons::RUNNING, message, replay }
}

/// What is said of a run of which its view says nothing.
fn idle(view: &FeatureView, run: &str) -> String {
    let name = view.name_any();
    if view.spec.suspend {
        return format!("spec.suspend of FeatureView {name:?} stops its workers; set it to false to go on");
    }
    match pin(&view.spec.rollout).filter(|pin| *pin != run) {
        Some(pin) => format!(
            "FeatureView {name:?} is pinned to {pin} by spec.rollout.servingRevision; remove the field to go on with revision {run}"
        ),
        None => format!("revision {run} of FeatureView {name:?} is about to begin"),
    }
}

/// Why a trial was given up, if it was.
fn aborted(trial: &Trial) -> Option<(&'static str, String)> {
    let reason = match trial.aborted? {
        AbortReason::DeadlineExceeded => reasons::DEADLINE_EXCEEDED,
        AbortReason::AbortedByUser => reasons::ABORTED_BY_USER,
        AbortReason::ComparisonFailed => reasons::COMPARISON_FAILED,
        AbortReason::ReplayFailed => reasons::REPLAY_FAILED,
        AbortReason::NoProgress => reasons::NO_PROGRESS,
    };
    Some((reason, trial.message.as_ref().map_or_else(String::new, |message| format!(": {message}"))))
}

/// What was read to its end.
fn whole(mut replay: ReplayStatus, now: Timestamp) -> ReplayStatus {
    let observed_time = seconds(now);
    replay.completed_time.get_or_insert_with(|| observed_time.clone());
    replay.progress = Some(ReplayProgress { percent: 100, observed_time, ..ReplayProgress::default() });
    replay
}

/// What is read, in words.
fn amount(replay: &ReplayStatus) -> String {
    let archive = replay.archive.as_ref().map_or_else(String::new, |archive| {
        format!(", and what {} of these no longer hold from {}", archive.partitions.len(), archive.table)
    });
    format!("{} records of {} partitions{archive}", records(replay), replay.parts.len())
}

/// How many records are read.
pub(super) fn records(replay: &ReplayStatus) -> i64 {
    replay.parts.iter().map(|part| part.to - part.from).sum()
}

#[cfg(test)]
mod tests;

//! The status of a replay. Pure but for the events.

use crds::condition::{ConditionStatus, reasons, types};
use crds::once::{Phase, Progress};
use crds::{FeatureReplay, FeatureReplayStatus};
use k8s_openapi::jiff::Timestamp;
use kube::runtime::events::EventType;

use super::decide::{State, records};
use crate::conditions::{Conditions, find, seconds};
use crate::context::Context;
use crate::events::{Happening, emit};
use crate::feature_view::resolve::Refusal;

/// A status, reason and message.
type Verdict<'a> = (ConditionStatus, &'a str, String);

/// The status to be written, if it differs from what stands.
pub(super) fn status(replay: &FeatureReplay, state: &State, now: Timestamp) -> FeatureReplayStatus {
    let mut status = replay.status.clone().unwrap_or_default();
    let before = status.progress.start_time.take();
    let started = || Some(before.clone().unwrap_or_else(|| seconds(now)));
    let (phase, start_time, ended) = match state {
        State::Refused(_) | State::Asks => (Phase::Pending, None, false),
        State::Begins { revision, run } => {
            (status.revision, status.run) = (Some(revision.clone()), Some(run.clone()));
            (Phase::Running, started(), false)
        }
        // As of a Job: its time counts anew when it goes on.
        State::Running { reason, .. } if *reason == reasons::SUSPENDED => (Phase::Running, None, false),
        State::Running { .. } | State::Stuck { .. } => (Phase::Running, started(), false),
        State::Done { .. } => (Phase::Succeeded, started(), true),
        State::GivenUp { .. } => (Phase::Failed, started(), true),
    };
    if let State::Running { replay: Some(replay), .. }
    | State::Stuck { replay: Some(replay), .. }
    | State::Done { replay: Some(replay), .. } = state
    {
        status.records = Some(records(replay));
        status.replay = Some(replay.clone());
    }
    let generation = replay.metadata.generation;
    let previous = status.progress.conditions.clone();
    let mut conditions = Conditions::new(&previous, generation, now);
    let types = [types::COMPLETE, types::FAILED, types::RECONCILING, types::STALLED, types::SPEC_ACCEPTED];
    for (type_, (status, reason, message)) in types.into_iter().zip(verdicts(state)) {
        conditions.set(type_, status, reason, message);
    }
    status.progress = Progress {
        observed_generation: generation,
        phase,
        start_time,
        completion_time: ended.then(|| seconds(now)),
        conditions: conditions.finish(),
    };
    status
}

/// `Complete`, `Failed`, `Reconciling`, `Stalled`, `SpecAccepted`.
fn verdicts(state: &State) -> [Verdict<'_>; 5] {
    let (yes, no, unknown) = (ConditionStatus::True, ConditionStatus::False, ConditionStatus::Unknown);
    let idle = || (no, reasons::IDLE, String::new());
    let accepted = || (yes, reasons::ACCEPTED, String::new());
    match state {
        State::Refused(Refusal { reason, message, pending }) => {
            let say = |status| (status, *reason, message.clone());
            if *pending {
                [say(no), idle(), say(yes), idle(), say(unknown)]
            } else {
                [say(no), idle(), idle(), say(yes), say(no)]
            }
        }
        State::Asks => {
            let say = |status| (status, reasons::PENDING, String::new());
            [say(no), idle(), say(yes), idle(), say(unknown)]
        }
        State::Begins { run, .. } => {
            let say = |status| (status, reasons::RUNNING, format!("revision {run} is about to begin"));
            [say(no), idle(), say(yes), idle(), accepted()]
        }
        State::Running { reason, message, .. } => {
            let say = |status| (status, *reason, message.clone());
            let moves = if *reason == reasons::SUSPENDED { no } else { yes };
            [say(no), idle(), say(moves), idle(), accepted()]
        }
        State::Stuck { reason, message, .. } => {
            let say = |status| (status, reason.as_str(), message.clone());
            [say(no), idle(), idle(), say(yes), accepted()]
        }
        State::Done { reason, message, .. } => [(yes, *reason, message.clone()), idle(), idle(), idle(), accepted()],
        State::GivenUp { reason, message } => {
            let message =
                format!("{message}; what served before serves on; make another FeatureReplay once it is mended");
            let say = |status| (status, *reason, message.clone());
            [say(no), say(yes), idle(), say(yes), accepted()]
        }
    }
}

/// Tells people when it begins and ends, and when it needs them.
pub(super) async fn events(
    context: &Context,
    replay: &FeatureReplay,
    before: &FeatureReplayStatus,
    after: &FeatureReplayStatus,
) {
    let (before, after) = (&before.progress, &after.progress);
    let holds = |progress: &Progress, type_| {
        find(&progress.conditions, type_).filter(|c| c.status == ConditionStatus::True).cloned()
    };
    let told = if let Some(stalled) = holds(after, types::STALLED) {
        // What its view says may hold a time that passes.
        let same = before.phase == after.phase;
        let again = holds(before, types::STALLED).is_some_and(|was| same && was.reason == stalled.reason);
        (!again).then_some((EventType::Warning, stalled))
    } else if before.phase == after.phase {
        None
    } else {
        let found = holds(after, types::COMPLETE).or_else(|| holds(after, types::RECONCILING));
        found.map(|condition| (EventType::Normal, condition))
    };
    if let Some((severity, condition)) = told {
        emit(context, replay, Happening::new(severity, &condition.reason, "Replay", condition.message)).await;
    }
}

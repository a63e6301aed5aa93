//! The status of an object whose work is done once. Pure but for the events.

use crds::condition::{Condition, ConditionStatus, reasons, types};
use crds::once::{Phase, Progress};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::runtime::events::EventType;
use serde_json::Value;

use super::desire::Holder as _;
use super::observe::Observed;
use super::outcome::Outcome;
use super::{Once, name_of};
use crate::conditions::{Conditions, find, seconds};
use crate::context::Context;
use crate::events::{Happening, emit};
use crate::feature_view::resolve::Refusal;

/// How the work stands after a round.
pub(super) enum State {
    /// It cannot begin.
    Refused(Refusal),
    /// Its Job was made in this round.
    Begun {
        /// The Job.
        job: Box<Job>,
        /// What it was handed.
        input: Value,
    },
    /// Its Job stood.
    Made(Outcome),
}

/// A status, reason and message.
type Verdict = (ConditionStatus, &'static str, String);

impl State {
    pub(super) fn of(outcome: Outcome) -> Self {
        Self::Made(outcome)
    }

    /// Whether something is awaited that may send no event.
    pub(super) fn waits(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Made(Outcome::Running { trouble: Some(_), .. }))
    }

    /// Whether nothing more happens.
    pub(super) fn is_final(&self) -> bool {
        matches!(self, Self::Made(Outcome::Done { .. } | Outcome::GivenUp { .. }))
    }
}

/// The status to be written, if it differs from what stands.
pub(super) fn status<K: Once>(observed: &Observed<K>, state: &State, now: Timestamp) -> K::Status {
    let mut status = observed.object.known().cloned().unwrap_or_default();
    match (state, &observed.input) {
        (State::Begun { input, .. }, _) => K::begun(&mut status, input),
        // What was decided holds, also if the status that said so was never written.
        (State::Made(_), Some(input)) => {
            let input = input.text().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
            K::begun(&mut status, &input);
        }
        (State::Made(_), None) | (State::Refused(_), _) => {}
    }
    let (phase, since, at, message) = match state {
        State::Refused(refusal) => (Phase::Pending, None, None, refusal.message.clone()),
        State::Begun { job, .. } => {
            (Phase::Running, job.creation_timestamp().map(|time| time.0), None, running(&observed.object))
        }
        State::Made(Outcome::Running { since, trouble }) => {
            let message = trouble.as_ref().map_or_else(|| running(&observed.object), |t| t.message.clone());
            (Phase::Running, *since, None, message)
        }
        State::Made(Outcome::Done { since, at, report }) => {
            let told = report.as_deref().and_then(|report| K::ended(&mut status, report));
            let message = told.unwrap_or_else(|| {
                format!(
                    "Job {} is done, but its report was not found: its pod is gone or told none",
                    name_of(&observed.object)
                )
            });
            (Phase::Succeeded, *since, at.or(Some(now)), message)
        }
        State::Made(Outcome::GivenUp { since, at, why }) => {
            let message = format!("{why}; mend it and make another object, for this one is not tried again");
            (Phase::Failed, *since, at.or(Some(now)), message)
        }
    };
    let generation = observed.object.meta().generation;
    let previous = K::progress(&mut status).conditions.clone();
    let mut conditions = Conditions::new(&previous, generation, now);
    let verdicts = verdicts(state, phase, &message);
    let types = [types::COMPLETE, types::FAILED, types::RECONCILING, types::STALLED, types::SPEC_ACCEPTED];
    for (type_, (status, reason, message)) in types.into_iter().zip(verdicts) {
        conditions.set(type_, status, reason, message);
    }
    *K::progress(&mut status) = Progress {
        observed_generation: generation,
        phase,
        start_time: since.map(seconds),
        completion_time: at.map(seconds),
        conditions: conditions.finish(),
    };
    status
}

fn running<K: Once>(object: &K) -> String {
    format!("Job {} is under way", name_of(object))
}

/// `Complete`, `Failed`, `Reconciling`, `Stalled`, `SpecAccepted`.
fn verdicts(state: &State, phase: Phase, message: &str) -> [Verdict; 5] {
    let (yes, no, unknown) = (ConditionStatus::True, ConditionStatus::False, ConditionStatus::Unknown);
    let say = |status, reason: &'static str| (status, reason, message.to_owned());
    let idle = || (no, reasons::IDLE, String::new());
    let accepted = || (yes, reasons::ACCEPTED, String::new());
    match state {
        State::Refused(Refusal { reason, pending: true, .. }) => {
            [say(no, reason), idle(), say(yes, reason), idle(), say(unknown, reason)]
        }
        State::Refused(Refusal { reason, .. }) => [say(no, reason), idle(), idle(), say(yes, reason), say(no, reason)],
        State::Made(Outcome::Running { trouble: Some(trouble), .. }) if trouble.stuck => {
            [say(no, trouble.reason), idle(), idle(), say(yes, trouble.reason), accepted()]
        }
        _ => match phase {
            Phase::Succeeded => [say(yes, reasons::SUCCEEDED), idle(), idle(), idle(), accepted()],
            Phase::Failed => {
                let failed = |status| say(status, reasons::JOB_FAILED);
                [failed(no), failed(yes), idle(), failed(yes), accepted()]
            }
            Phase::Pending | Phase::Running => {
                [say(no, reasons::RUNNING), idle(), say(yes, reasons::RUNNING), idle(), accepted()]
            }
        },
    }
}

/// Tells people when it begins, ends, and when it needs them.
pub(super) async fn events<K: Once>(context: &Context, object: &K, mut before: K::Status, mut after: K::Status) {
    for happening in happenings(K::progress(&mut before), K::progress(&mut after)) {
        emit(context, object, happening).await;
    }
}

fn happenings(before: &Progress, after: &Progress) -> Vec<Happening> {
    let holds = |progress: &Progress, type_| -> Option<Condition> {
        find(&progress.conditions, type_).filter(|c| c.status == ConditionStatus::True).cloned()
    };
    let mut all = Vec::new();
    if let Some(complete) = holds(after, types::COMPLETE).filter(|_| before.phase != after.phase) {
        all.push(Happening::new(EventType::Normal, &complete.reason, "Run", complete.message));
    } else if after.phase == Phase::Running && before.phase != after.phase {
        let message = find(&after.conditions, types::COMPLETE).map(|c| c.message.clone());
        all.push(Happening::new(EventType::Normal, reasons::RUNNING, "Run", message.unwrap_or_default()));
    }
    if let Some(stalled) = holds(after, types::STALLED)
        && holds(before, types::STALLED).is_none_or(|was| was.message != stalled.message)
    {
        all.push(Happening::new(EventType::Warning, &stalled.reason, "Run", stalled.message));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(state: &State, phase: Phase) -> Progress {
        let mut conditions = Conditions::new(&[], Some(1), Timestamp::UNIX_EPOCH);
        let types = [types::COMPLETE, types::FAILED, types::RECONCILING, types::STALLED, types::SPEC_ACCEPTED];
        for (type_, (status, reason, message)) in types.into_iter().zip(verdicts(state, phase, "why")) {
            conditions.set(type_, status, reason, message);
        }
        Progress { phase, conditions: conditions.finish(), ..Progress::default() }
    }

    #[test]
    fn each_end_is_told_once_and_one_that_needs_a_person_as_a_warning() {
        let running = progress(&State::Made(Outcome::Running { since: None, trouble: None }), Phase::Running);
        let done = State::Made(Outcome::Done { since: None, at: None, report: None });
        let failed = State::Made(Outcome::GivenUp { since: None, at: None, why: String::new() });
        let refused = |pending| {
            let refusal = Refusal { reason: reasons::VIEW_NOT_FOUND, message: String::new(), pending };
            progress(&State::Refused(refusal), Phase::Pending)
        };
        let told = |before: &Progress, after: &Progress| -> Vec<(bool, String)> {
            let all = happenings(before, after).into_iter();
            all.map(|h| (matches!(h.severity, EventType::Warning), h.reason)).collect()
        };
        let nothing = Progress::default();
        assert_eq!(told(&nothing, &running), [(false, "Running".to_owned())]);
        assert_eq!(told(&running, &running), []);
        assert_eq!(told(&running, &progress(&done, Phase::Succeeded)), [(false, "Succeeded".to_owned())]);
        assert_eq!(told(&running, &progress(&failed, Phase::Failed)), [(true, "JobFailed".to_owned())]);
        assert_eq!(told(&nothing, &refused(false)), [(true, "ViewNotFound".to_owned())]);
        assert_eq!(told(&nothing, &refused(true)), [], "what only takes its time is nobody's trouble");
    }
}

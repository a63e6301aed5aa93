//! What of a change of status people are told of, as Kubernetes events: transitions only, so that nothing repeats.

use crds::condition::{ConditionStatus, reasons, types};
use crds::feature_view::{AbortReason, Attempt};
use crds::{FeatureView, FeatureViewStatus};
use kube::runtime::events::EventType;

use super::monitoring;
use super::phase::{Decision, Request, Step, Verb};
use crate::conditions::find;
use crate::context::Context;
use crate::events::{Happening, emit};
use crate::lag::told;
use crate::scaling;

pub(super) async fn publish(
    context: &Context,
    view: &FeatureView,
    before: &FeatureViewStatus,
    after: &FeatureViewStatus,
) {
    for happening in happenings(before, after) {
        emit(context, view, happening).await;
    }
}

/// Says that a request by annotation came to nothing.
pub(super) async fn ignored(context: &Context, view: &FeatureView, request: &Request, decision: &Decision) {
    let Request { verb, revision } = request;
    // Asked for and done; only the request still stood.
    if *verb == Verb::Promote && decision.memory.active.as_ref() == Some(revision) {
        return;
    }
    let is = match (&decision.step, &decision.memory.candidate, &decision.target) {
        (Step::Aborted(_), _, Some(target)) => format!("{target} is given up already"),
        (_, Some(candidate), _) => format!("the candidate is {candidate}"),
        _ => "there is no candidate".to_owned(),
    };
    let note = format!("{}: {revision} came to nothing: {is}", verb.annotation());
    emit(context, view, Happening::new(EventType::Warning, reasons::REQUEST_IGNORED, "Rollout", note)).await;
}

fn happenings(before: &FeatureViewStatus, after: &FeatureViewStatus) -> Vec<Happening> {
    let mut all = Vec::new();
    let condition = |status: &FeatureViewStatus, type_| find(&status.conditions, type_).cloned();
    let (was, is) = (condition(before, types::SPEC_ACCEPTED), condition(after, types::SPEC_ACCEPTED));
    if let Some(is) =
        is.filter(|is| was.as_ref().is_none_or(|was| was.status != is.status || was.message != is.message))
    {
        match is.status {
            ConditionStatus::False => all.push(Happening::new(EventType::Warning, &is.reason, "Resolve", is.message)),
            ConditionStatus::True => all.push(Happening::new(EventType::Normal, &is.reason, "Resolve", is.message)),
            ConditionStatus::Unknown => {}
        }
    }
    all.extend(of_rollout(before, after));
    all.extend(of_lag(before, after));
    all.extend(of_scaling(before, after));
    all.extend(of_checks(before, after));
    all.extend(of_comparison(before, after));
    if let (Some(was), Some(is)) = (before.generation, after.generation)
        && is < was
        && before.active_revision == after.active_revision
    {
        let note = format!("generation {is} is served again in place of {was}");
        all.push(Happening::new(EventType::Normal, reasons::ROLLED_BACK, "Publish", note));
    }
    if let Some(run) = after.last_run.as_ref().filter(|run| before.last_run.as_ref() != Some(run)) {
        let why = run.message.clone().unwrap_or_default();
        let generation = run.generation;
        all.extend(match run.outcome.as_str() {
            "Published" => {
                let note = format!("generation {generation} of {} entities is served", run.rows);
                Some(Happening::new(EventType::Normal, reasons::GENERATION_PUBLISHED, "Publish", note))
            }
            "Refused" => {
                let note = format!("generation {generation}: {why}; the one before is served on");
                Some(Happening::new(EventType::Warning, reasons::GENERATION_REFUSED, "Publish", note))
            }
            "Failed" => Some(Happening::new(EventType::Warning, reasons::RUN_FAILED, "Run", why)),
            _ => None,
        });
    }
    let stalled = |status| condition(status, types::STALLED).filter(|c| c.status == ConditionStatus::True);
    let given_up = |status: &FeatureViewStatus| aborted(status).is_some();
    let told = before.last_run != after.last_run
        || given_up(after) && !given_up(before)
        || stalled(after)
            .is_some_and(|c| find(&after.conditions, types::SPEC_ACCEPTED).is_some_and(|s| s.reason == c.reason));
    if let Some(is) = stalled(after).filter(|_| !told)
        && stalled(before).is_none_or(|was| was.reason != is.reason)
    {
        all.push(Happening::new(EventType::Warning, &is.reason, "Observe", is.message));
    }
    let ready = |status| condition(status, types::READY);
    if let Some(is) = ready(after).filter(|c| c.reason == reasons::STORE_UNREACHABLE)
        && ready(before).is_none_or(|was| was.reason != is.reason)
    {
        all.push(Happening::new(EventType::Warning, reasons::STORE_UNREACHABLE, "Observe", is.message));
    }
    all
}

/// What became of candidates, of the live revision and of the one before.
fn of_rollout(before: &FeatureViewStatus, after: &FeatureViewStatus) -> Vec<Happening> {
    let mut all = Vec::new();
    let mut say = |severity, reason, note| all.push(Happening::new(severity, reason, "Rollout", note));
    let accepted = find(&after.conditions, types::SPEC_ACCEPTED).is_some_and(|c| c.status == ConditionStatus::True);
    let moved = after.active_revision.as_ref().filter(|active| before.active_revision.as_ref() != Some(active));
    if let Some(was) = before.candidate_revision.as_ref().filter(|was| after.candidate_revision.as_ref() != Some(was))
        && moved != Some(was)
        && aborted(after).is_none_or(|(revision, _)| revision != was)
        && accepted
    {
        say(EventType::Normal, reasons::SUPERSEDED, format!("revision {was} was superseded before it took over"));
    }
    if let Some(is) = after.candidate_revision.as_ref().filter(|is| before.candidate_revision.as_ref() != Some(is)) {
        let beside = after.active_revision.as_ref().map(|active| format!(" beside {active}")).unwrap_or_default();
        say(EventType::Normal, reasons::ROLLOUT_STARTED, format!("revision {is} runs{beside}"));
    }
    for (reason, note) in of_replay(before, after) {
        say(EventType::Normal, reason, note);
    }
    let awaits = |status: &FeatureViewStatus| {
        find(&status.conditions, types::RECONCILING)
            .filter(|c| c.reason == reasons::AWAITING_PROMOTION)
            .map(|c| c.message.clone())
    };
    if let Some(message) = awaits(after).filter(|_| awaits(before).is_none()) {
        say(EventType::Normal, reasons::AWAITING_PROMOTION, message);
    }
    if let Some(active) = moved {
        let left = before.active_revision.as_ref().filter(|_| before.previous_revision.as_ref() == Some(active));
        let returned = after.rollout.as_ref().is_some_and(|rollout| rollout.rolled_back);
        let reason = if returned { reasons::ROLLED_BACK } else { reasons::PROMOTED };
        let (reason, note) = match left {
            Some(left) => (reason, format!("revision {active} is live again, in place of {left}")),
            None => (reasons::PROMOTED, format!("revision {active} is live")),
        };
        say(EventType::Normal, reason, note);
    }
    let promoted =
        |status: &FeatureViewStatus| status.rollout.as_ref().and_then(|rollout| rollout.promoted_time.clone());
    // What serves became live once more: the pointer to it was gone, and its rows with it.
    if let (Some(active), Some(was), Some(is)) = (&after.active_revision, promoted(before), promoted(after))
        && moved.is_none()
        && was != is
    {
        let note = format!(
            "the online store lost revision {active}, which is computed anew from what its source still holds: windows that \
             reach further back answer INVALID until `featuremill replay` has read them, from an archive where there is one"
        );
        say(EventType::Warning, reasons::STORE_LOST, note);
    }
    if let Some((revision, reason)) = aborted(after).filter(|is| aborted(before).as_ref() != Some(is)) {
        let stalled = find(&after.conditions, types::STALLED).map(|c| c.message.clone()).unwrap_or_default();
        let (severity, reason) = match reason {
            AbortReason::ComparisonFailed => (EventType::Warning, reasons::COMPARISON_FAILED),
            AbortReason::DeadlineExceeded => (EventType::Warning, reasons::DEADLINE_EXCEEDED),
            AbortReason::AbortedByUser => (EventType::Normal, reasons::ABORTED_BY_USER),
            AbortReason::ReplayFailed => (EventType::Warning, reasons::REPLAY_FAILED),
            AbortReason::NoProgress => (EventType::Warning, reasons::NO_PROGRESS),
        };
        let note = if stalled.is_empty() { format!("revision {revision} was given up") } else { stalled };
        say(severity, reason, note);
    }
    if let Some(was) = &before.previous_revision
        && after.previous_revision.is_none()
        && moved.is_none()
    {
        say(
            EventType::Normal,
            reasons::SOAKED,
            format!("revision {was} is no longer kept; what it had is being removed"),
        );
    }
    all
}

/// What became of comparisons. A failure that stalls the view, or has the revision given up, is told of there.
fn of_comparison(before: &FeatureViewStatus, after: &FeatureViewStatus) -> Vec<Happening> {
    let mut all = Vec::new();
    let attempt = |status: &FeatureViewStatus| status.rollout.as_ref()?.trial.as_ref()?.comparison.clone();
    let begun = |a: &Attempt, b: &Attempt| a.definition == b.definition && a.number == b.number;
    if let Some(is) = attempt(after).filter(|is| !attempt(before).is_some_and(|was| begun(&was, is))) {
        let revision = after.candidate_revision.clone().unwrap_or_default();
        let active = after.active_revision.clone().unwrap_or_default();
        let note = format!("revision {revision} is compared with {active}, attempt {}", is.number);
        all.push(Happening::new(EventType::Normal, reasons::COMPARISON_STARTED, "Rollout", note));
    }
    let passed = |status: &FeatureViewStatus| find(&status.conditions, types::COMPARISON_PASSED).cloned();
    let Some(is) = passed(after).filter(|is| passed(before).is_none_or(|was| was.reason != is.reason)) else {
        return all;
    };
    let told = find(&after.conditions, types::STALLED).is_some_and(|stalled| stalled.reason == is.reason);
    // That of the live revision is told again once another one came to nothing; it is no news.
    let compared = after.rollout.as_ref().and_then(|rollout| Some(&rollout.comparison.as_ref()?.candidate));
    let tries = |status: &FeatureViewStatus| {
        let trial = status.rollout.as_ref().and_then(|rollout| rollout.trial.as_ref());
        trial.is_some_and(|trial| trial.comparison.is_some() && Some(&trial.revision) == compared)
    };
    if is.reason != reasons::NO_VERDICT && !tries(before) && !tries(after) {
        return all;
    }
    if is.reason == reasons::COMPARISON_PASSED {
        all.push(Happening::new(EventType::Normal, reasons::COMPARISON_PASSED, "Rollout", is.message));
    } else if is.reason == reasons::NO_VERDICT || is.reason == reasons::COMPARISON_FAILED && !told {
        all.push(Happening::new(EventType::Warning, &is.reason, "Rollout", is.message));
    }
    all
}

/// What became of the replay of a candidate; that it failed is told as its end.
fn of_replay(before: &FeatureViewStatus, after: &FeatureViewStatus) -> Vec<(&'static str, String)> {
    let replay = |status: &FeatureViewStatus| {
        let trial = status.rollout.as_ref()?.trial.as_ref()?;
        Some((trial.revision.clone(), trial.replay.clone()?))
    };
    let (was, is) = (replay(before), replay(after));
    let Some((revision, is)) = is else { return Vec::new() };
    let was = was.map(|(_, replay)| replay).filter(|was| was.fence == is.fence);
    let mut all = Vec::new();
    if was.is_none() {
        let records: i64 = is.parts.iter().map(|part| part.to - part.from).sum();
        let partitions = is.parts.len();
        let note = format!("revision {revision} reads {records} records of {partitions} partitions again");
        all.push((reasons::REPLAY_STARTED, note));
    }
    if is.completed_time.is_some() && was.is_none_or(|was| was.completed_time.is_none()) {
        all.push((
            reasons::REPLAY_COMPLETED,
            format!("revision {revision} has read its history; its workers go on from there"),
        ));
    }
    all
}

/// That a tier of lag was raised, or went.
fn of_lag(before: &FeatureViewStatus, after: &FeatureViewStatus) -> Option<Happening> {
    let message = find(&after.conditions, types::FRESH).map(|fresh| fresh.message.clone()).unwrap_or_default();
    let (warns, reason, note) = told::happening(before.lag.as_ref(), after.lag.as_ref(), &message)?;
    let severity = if warns { EventType::Warning } else { EventType::Normal };
    Some(Happening::new(severity, reason, "Measure", note))
}

/// That there are more or fewer workers, or why there are not more.
fn of_scaling(before: &FeatureViewStatus, after: &FeatureViewStatus) -> Vec<Happening> {
    let message = find(&after.conditions, types::SCALING_LIMITED).map(|c| c.message.clone()).unwrap_or_default();
    let told = scaling::told::happenings(before.scaling.as_deref(), after.scaling.as_deref(), &message);
    let happening = |(warns, reason, note)| {
        let severity = if warns { EventType::Warning } else { EventType::Normal };
        Happening::new(severity, reason, "Scale", note)
    };
    told.into_iter().map(happening).collect()
}

/// That values are no longer sound, or are again.
fn of_checks(before: &FeatureViewStatus, after: &FeatureViewStatus) -> Option<Happening> {
    let (warns, reason, note) = monitoring::told::happening(before, after)?;
    let severity = if warns { EventType::Warning } else { EventType::Normal };
    Some(Happening::new(severity, reason, "Check", note))
}

/// The revision that was given up, and why.
fn aborted(status: &FeatureViewStatus) -> Option<(&str, AbortReason)> {
    let trial = status.rollout.as_ref()?.trial.as_ref()?;
    Some((trial.revision.as_str(), trial.aborted?))
}

#[cfg(test)]
mod tests {
    use crds::feature_view::{RolloutStatus, Trial};

    use super::*;

    #[test]
    fn an_unchanged_status_tells_nothing_and_a_promotion_one_thing() {
        let before = FeatureViewStatus {
            candidate_revision: Some("b".into()),
            active_revision: Some("a".into()),
            ..Default::default()
        };
        let after = FeatureViewStatus {
            active_revision: Some("b".into()),
            previous_revision: Some("a".into()),
            ..Default::default()
        };
        assert!(happenings(&before, &before).is_empty());
        assert_eq!(told(&before, &after), ["Promoted"]);
        assert_eq!(told(&after, &FeatureViewStatus { previous_revision: None, ..after.clone() }), ["Soaked"]);
        let back = FeatureViewStatus {
            active_revision: Some("a".into()),
            previous_revision: Some("b".into()),
            rollout: Some(RolloutStatus { rolled_back: true, ..RolloutStatus::default() }),
            ..Default::default()
        };
        assert_eq!(told(&after, &back), ["RolledBack"]);
        assert_eq!(told(&back, &after), ["Promoted"]);
    }

    /// After a loss of the store a Kappa is read again from what its topic holds, however much longer its windows are, and
    /// nobody was told: the same revision is live before and after.
    #[test]
    fn what_the_store_lost_is_told_although_the_same_revision_serves() {
        let live_since = |time: &str| FeatureViewStatus {
            active_revision: Some("a".into()),
            rollout: Some(RolloutStatus { promoted_time: Some(time.into()), ..RolloutStatus::default() }),
            ..Default::default()
        };
        let (before, after) = (live_since("2026-01-01T00:00:00Z"), live_since("2026-02-01T00:00:00Z"));
        assert_eq!(told(&before, &after), ["StoreLost"]);
        let other = FeatureViewStatus { active_revision: Some("b".into()), ..after.clone() };
        assert_eq!(told(&before, &other), ["Promoted"]);
        assert!(told(&FeatureViewStatus::default(), &after).iter().all(|reason| reason == "Promoted"));
    }

    fn told(before: &FeatureViewStatus, after: &FeatureViewStatus) -> Vec<String> {
        happenings(before, after).into_iter().map(|h| h.reason).collect()
    }

    #[test]
    fn an_abort_is_told_once_and_is_no_supersession() {
        let before = FeatureViewStatus {
            candidate_revision: Some("b".into()),
            active_revision: Some("a".into()),
            ..Default::default()
        };
        let trial = Trial { revision: "b".into(), aborted: Some(AbortReason::DeadlineExceeded), ..Trial::default() };
        let after = FeatureViewStatus {
            active_revision: Some("a".into()),
            rollout: Some(RolloutStatus { trial: Some(trial), ..RolloutStatus::default() }),
            ..Default::default()
        };
        assert_eq!(told(&before, &after), ["DeadlineExceeded"]);
        assert!(told(&after, &after).is_empty());
    }
}

//! Each way in which a replay waits, begins, goes on and ends.
#![allow(clippy::unwrap_used, clippy::panic)]

use crds::FeatureView;
use serde_json::{Value, json};

use super::*;
use crate::feature_view::resolve::plan_under;

const NOW: &str = "2026-11-28T12:00:00Z";

fn replay(name: &str, spec: &Value, status: &Value) -> FeatureReplay {
    let mut all = json!({"viewRef": {"name": "clicks"}});
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let metadata = json!({"name": name, "uid": name, "creationTimestamp": NOW});
    let object = json!({"apiVersion": "featuremill.dev/v1alpha1", "kind": "FeatureReplay", "metadata": metadata, "spec": all, "status": status});
    serde_json::from_value(object).unwrap()
}

/// A view that serves what its spec describes; the replay, and its status.
fn observed(spec: &Value, status: &Value) -> Observed {
    let (view, architecture) = crate::feature_view::example();
    let plan = plan_under(&view, &architecture).unwrap();
    let mut view = view;
    view.status = serde_json::from_value(json!({"activeRevision": plan.revision})).unwrap();
    Observed {
        replay: replay("b", spec, status),
        view: Some(view),
        architecture: Some(architecture),
        plan: Some(Ok(plan)),
        history: Vec::new(),
        others: Vec::new(),
        held: None,
    }
}

fn decided(observed: &Observed) -> State {
    decide(observed, NOW.parse().unwrap())
}

/// The reason of what was decided.
fn reason(observed: &Observed) -> &'static str {
    match decided(observed) {
        State::Refused(Refusal { reason, .. })
        | State::Running { reason, .. }
        | State::Done { reason, .. }
        | State::GivenUp { reason, .. } => reason,
        State::Stuck { .. } => "Stuck",
        State::Asks => "Asks",
        State::Begins { .. } => "Begins",
    }
}

fn with_view(edit: impl Fn(&mut FeatureView), status: &Value) -> Observed {
    let mut observed = observed(&json!({}), status);
    edit(observed.view.as_mut().unwrap());
    observed
}

#[test]
fn it_begins_once_nothing_is_in_its_way() {
    let nothing = json!({});
    assert_eq!(reason(&observed(&nothing, &nothing)), "Begins");
    assert_eq!(reason(&observed(&json!({"suspend": true}), &nothing)), reasons::SUSPENDED);
    assert_eq!(reason(&observed(&json!({"dryRun": true}), &nothing)), "Asks");
    assert_eq!(reason(&observed(&json!({"revision": "0"}), &nothing)), reasons::REVISION_NOT_LIVE);
    let moving = |v: &mut FeatureView| v.status.as_mut().unwrap().candidate_revision = Some("c".to_owned());
    assert_eq!(reason(&with_view(moving, &nothing)), reasons::VIEW_NOT_READY);
    let edited = |v: &mut FeatureView| v.metadata.generation = Some(7);
    assert_eq!(reason(&with_view(edited, &nothing)), reasons::VIEW_NOT_READY);
    let other = |v: &mut FeatureView| v.status.as_mut().unwrap().active_revision = Some("other".to_owned());
    assert_eq!(reason(&with_view(other, &nothing)), reasons::VIEW_NOT_READY);
    let pinned = |v: &mut FeatureView| v.spec.rollout.serving_revision = Some("p".to_owned());
    assert_eq!(reason(&with_view(pinned, &nothing)), reasons::PINNED);
    let mut gone = observed(&nothing, &nothing);
    gone.view = None;
    assert_eq!(reason(&gone), reasons::VIEW_NOT_FOUND);
}

#[test]
fn of_several_the_one_under_way_comes_first_and_then_the_oldest_that_may_begin() {
    let nothing = json!({});
    for (other, comes_first) in [
        (replay("a", &nothing, &nothing), true),
        (replay("c", &nothing, &nothing), false),
        (replay("c", &nothing, &json!({"run": "r"})), true),
        (replay("a", &json!({"suspend": true}), &nothing), false),
        (replay("a", &json!({"dryRun": true}), &nothing), false),
        (replay("a", &json!({"revision": "0"}), &nothing), false),
    ] {
        let mut observed = observed(&nothing, &nothing);
        observed.others.push(other);
        let expected = if comes_first { reasons::AWAITING_REPLAY } else { "Begins" };
        assert_eq!(reason(&observed), expected, "{:?}", observed.others);
    }
}

#[test]
fn a_run_ends_when_it_serves_or_when_it_cannot_any_more() {
    let State::Begins { run, .. } = decided(&observed(&json!({}), &json!({}))) else { unreachable!() };
    let begun = json!({"run": run, "phase": "Running", "startTime": "2026-11-28T11:59:00Z"});
    assert_eq!(reason(&observed(&json!({}), &begun)), reasons::RUNNING);
    assert_eq!(reason(&observed(&json!({"suspend": true, "activeDeadlineSeconds": 60}), &begun)), reasons::SUSPENDED);
    assert_eq!(reason(&observed(&json!({"activeDeadlineSeconds": 60}), &begun)), reasons::DEADLINE_EXCEEDED);
    assert_eq!(reason(&observed(&json!({"activeDeadlineSeconds": 61}), &begun)), reasons::RUNNING);
    let mut late = observed(&json!({"activeDeadlineSeconds": 60}), &begun);
    late.view.as_mut().unwrap().status.as_mut().unwrap().candidate_revision = Some(run.clone());
    assert_eq!(reason(&late), reasons::RUNNING, "its view says when it is over");
    let serves = |v: &mut FeatureView| v.status.as_mut().unwrap().active_revision = Some(run.clone());
    assert_eq!(reason(&with_view(serves, &begun)), reasons::SUCCEEDED);
    let aborted = |v: &mut FeatureView| {
        let trial = json!({"trial": {"revision": run, "aborted": "ReplayFailed", "message": "SourceReset"}});
        v.status.as_mut().unwrap().rollout = serde_json::from_value(trial).unwrap();
    };
    assert_eq!(reason(&with_view(aborted, &begun)), reasons::REPLAY_FAILED);
    assert_eq!(reason(&observed(&json!({}), &json!({"run": "of another definition"}))), reasons::SUPERSEDED);
}

/// A view's Stalled=True was told as "Running", Reconciling=True, so that whoever waited for the replay waited for ever: a failed
/// comparison and a topic that holds too little take a person, and no deadline counts meanwhile.
#[test]
fn what_takes_a_person_stalls_the_replay_too_and_says_how_to_give_it_up() {
    let State::Begins { run, .. } = decided(&observed(&json!({}), &json!({}))) else { unreachable!() };
    let begun = json!({"run": run, "phase": "Running", "startTime": "2026-11-28T11:59:00Z"});
    let stalled = |v: &mut FeatureView| {
        let status = v.status.as_mut().unwrap();
        status.candidate_revision = Some(run.clone());
        let condition = json!([{"type": "Stalled", "status": "True", "reason": "ComparisonFailed", "message": "clicks differs",
            "lastTransitionTime": NOW}]);
        status.conditions = serde_json::from_value(condition).unwrap();
    };
    let observed = with_view(stalled, &begun);
    let state = decided(&observed);
    let State::Stuck { reason, message, .. } = &state else { panic!("{state:?}") };
    assert_eq!(reason, "ComparisonFailed");
    assert!(message.contains("clicks differs") && message.contains("delete this FeatureReplay"), "{message}");
    let status = super::super::report::status(&observed.replay, &state, NOW.parse().unwrap()).progress;
    let verdict = |type_| {
        let condition = find(&status.conditions, type_).unwrap();
        (condition.status, condition.reason.as_str())
    };
    assert_eq!(verdict(types::STALLED), (ConditionStatus::True, "ComparisonFailed"));
    assert_eq!(verdict(types::RECONCILING).0, ConditionStatus::False);
    assert_eq!(verdict(types::COMPLETE), (ConditionStatus::False, "ComparisonFailed"));
    assert_eq!(status.phase, crds::once::Phase::Running, "it goes on once somebody has seen to it");
}

/// After a rollback from what a replay had made, another replay was told that the view "is on its way to what its spec
/// describes; it begins after that", which it is not for as long as it is pinned.
#[test]
fn who_waits_for_a_pin_to_be_removed_is_told_so() {
    let rolled_back = |v: &mut FeatureView| {
        v.spec.rollout.serving_revision = Some("former".to_owned());
        v.status.as_mut().unwrap().active_revision = Some("former".to_owned());
    };
    assert_eq!(reason(&with_view(rolled_back, &json!({}))), reasons::PINNED);
    let State::Begins { run, .. } = decided(&observed(&json!({}), &json!({}))) else { unreachable!() };
    let State::Running { message, .. } = decided(&with_view(rolled_back, &json!({"run": run}))) else { unreachable!() };
    assert!(message.contains("servingRevision"), "{message}");
    let suspended = |v: &mut FeatureView| v.spec.suspend = true;
    let State::Running { message, .. } = decided(&with_view(suspended, &json!({"run": run}))) else { unreachable!() };
    assert!(message.contains("spec.suspend"), "{message}");
}

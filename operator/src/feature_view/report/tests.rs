//! What each state of a rollout looks like from outside: to people, to `kubectl wait`, to whoever watches kstatus.
#![allow(clippy::unwrap_used)]

use crds::feature_view::{AbortReason, ReplayStatus};
use serde_json::json;

use super::super::fixtures::observed;
use super::super::phase::{Replaying, Trial};
use super::super::resolve;
use super::*;

/// The revision that serves, and the one that was before.
const LIVE: &str = "aaaa";
const BEFORE: &str = "bbbb";

fn workers(revision: &str) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": format!("clicks-stream-{revision}"), "labels": {"featuremill.dev/revision": revision}},
        "spec": {"replicas": 1, "selector": {}, "template": {}},
        "status": {"replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1},
    }))
    .unwrap()
}

struct Case {
    observed: Observed,
    decision: Decision,
    acted: Acted,
}

/// The spec's revision, `step` of it, while [`LIVE`] serves.
fn case(step: Step) -> Case {
    let observed = observed("1h", 1, Vec::new());
    let wanted = Some(resolve::plan(&observed.view, "Kappa").unwrap().revision.clone());
    let decision = Decision {
        step,
        target: wanted.clone(),
        memory: Memory {
            active: Some(LIVE.to_owned()),
            promoted: Some("2026-01-01T00:00:00Z".parse().unwrap()),
            candidate: wanted.clone(),
            trial: wanted.as_deref().map(Trial::of),
            ..Memory::default()
        },
        wanted,
        run: Vec::new(),
        replay: None,
        retire: BTreeSet::new(),
        remove: BTreeSet::new(),
        caught_up: false,
        workers: None,
        first: None,
        compare: None,
        compared: Vec::new(),
        answered: Vec::new(),
        next: None,
    };
    Case { observed, decision, acted: Acted::default() }
}

/// The spec's revision is live.
fn served() -> Case {
    let mut case = case(Step::Serve);
    case.decision.memory = Memory {
        active: case.decision.wanted.clone(),
        promoted: Some("2026-01-01T00:00:00Z".parse().unwrap()),
        ..Memory::default()
    };
    case.decision.caught_up = true;
    case
}

impl Case {
    fn status(&self) -> FeatureViewStatus {
        let plan = resolve::plan(&self.observed.view, "Kappa");
        let mut plans = BTreeMap::new();
        for revision in [LIVE, BEFORE].into_iter().map(str::to_owned).chain(self.decision.wanted.clone()) {
            plans.insert(revision.clone(), Arc::new(Plan { revision, ..(**plan.as_ref().unwrap()).clone() }));
        }
        let streams = plans.keys().map(|revision| workers(revision)).collect();
        let applied = Applied { streams, ..Applied::default() };
        let round = Round {
            observed: &self.observed,
            resolved: &plan,
            plans: &plans,
            store: &StoreView::NotAsked,
            decision: &self.decision,
            applied: &applied,
            acted: &self.acted,
            lag: &Standing::None,
            now: "2026-01-01T01:00:00Z".parse().unwrap(),
        };
        round.status()
    }

    /// The phase, and `Ready`, `Reconciling` and `Stalled` with their reasons.
    fn looks(&self) -> (String, [String; 3]) {
        let status = self.status();
        let verdict = |type_| {
            let condition = find(&status.conditions, type_).unwrap();
            format!("{:?} {}", condition.status, condition.reason)
        };
        let verdicts = [types::READY, types::RECONCILING, types::STALLED].map(verdict);
        (status.phase.unwrap(), verdicts)
    }

    fn says(&self, type_: &str) -> String {
        find(&self.status().conditions, type_).unwrap().message.clone()
    }
}

fn look(phase: &str, verdicts: [&str; 3]) -> (String, [String; 3]) {
    (phase.to_owned(), verdicts.map(str::to_owned))
}

#[test]
fn a_candidate_is_work_in_progress_while_the_old_one_serves() {
    let mut it = case(Step::CatchUp);
    assert_eq!(it.looks(), look("CatchingUp", ["True Healthy", "True CatchingUp", "False Idle"]));
    assert!(it.says(types::RECONCILING).contains("in the last 30 s"), "{}", it.says(types::RECONCILING));
    it.decision.caught_up = true;
    assert_eq!(it.looks(), look("CatchingUp", ["True Healthy", "True CatchingUp", "False Idle"]));
    assert!(it.says(types::RECONCILING).contains("for 60 s"), "{}", it.says(types::RECONCILING));
    it.observed.view.spec.rollout.paused = true;
    assert_eq!(it.looks(), look("Paused", ["True Healthy", "True Paused", "False Idle"]));
}

#[test]
fn a_replay_says_what_it_reads_and_what_keeps_it_from_that() {
    let mut it = case(Step::Replay);
    let revision = it.decision.wanted.clone().unwrap();
    let part = |partition, from, to| crds::feature_view::ReplayPart { partition, from, to };
    let order = ReplayStatus { parts: vec![part(0, 10, 40), part(1, 0, 70)], ..ReplayStatus::default() };
    let replaying = Replaying { revision, order: None, captures: true, trouble: None };
    it.decision.replay = Some(replaying.clone());
    assert_eq!(it.looks(), look("Replaying", ["True Healthy", "True Replaying", "False Idle"]));
    assert!(it.says(types::CAUGHT_UP).contains("waits for the offsets"), "{}", it.says(types::CAUGHT_UP));
    it.decision.memory.trial.as_mut().unwrap().replay = Some(order);
    let says = it.says(types::RECONCILING);
    assert!(says.contains("100 records of 2 partitions"), "{says}");
    it.observed.view.spec.rollout.paused = true;
    assert_eq!(it.looks(), look("Paused", ["True Healthy", "True Paused", "False Idle"]));
    it.observed.view.spec.rollout.paused = false;

    let trouble = |reason, stuck| Trouble { reason, message: "what it is".to_owned(), stuck };
    let away = Some(trouble(reasons::KAFKA_UNREACHABLE, false));
    it.decision.replay = Some(Replaying { trouble: away, ..replaying.clone() });
    assert_eq!(it.looks(), look("Replaying", ["True Healthy", "True KafkaUnreachable", "False Idle"]));
    let short = Some(trouble(reasons::RETENTION_TOO_SHORT, true));
    it.decision.replay = Some(Replaying { trouble: short, ..replaying });
    let expected = ["True Healthy", "False RetentionTooShort", "True RetentionTooShort"];
    assert_eq!(it.looks(), look("Replaying", expected));
    assert_eq!(it.says(types::STALLED), "what it is");
}

/// The view said that the run "reads 100 records again", while its `FeatureReplay` was suspended and no Job stood.
#[test]
fn a_run_whose_replay_is_suspended_is_said_to_be_held() {
    for step in [Step::Replay, Step::CatchUp] {
        let mut it = case(step);
        let run = it.decision.wanted.clone().unwrap();
        let replay = json!({"apiVersion": "featuremill.dev/v1alpha1", "kind": "FeatureReplay", "metadata": {"name": "again"},
            "spec": {"viewRef": {"name": "clicks"}, "suspend": true}, "status": {"run": run}});
        it.observed.replays = vec![serde_json::from_value(replay).unwrap()];
        it.decision.caught_up = step == Step::CatchUp;
        assert_eq!(it.looks().1, ["True Healthy", "True Suspended", "False Idle"]);
        assert!(it.says(types::RECONCILING).contains("spec.suspend of the FeatureReplay"));
    }
}

#[test]
fn a_replay_that_failed_says_why() {
    let mut it = case(Step::Aborted(AbortReason::ReplayFailed));
    it.decision.memory.candidate = None;
    it.decision.memory.trial.as_mut().unwrap().message = Some("SourceReset: it was made anew".to_owned());
    assert_eq!(it.looks(), look("Aborted", ["True Healthy", "False Idle", "True ReplayFailed"]));
    assert!(it.says(types::STALLED).contains("SourceReset: it was made anew"), "{}", it.says(types::STALLED));
}

#[test]
fn what_stood_still_says_what_and_why() {
    let mut it = case(Step::Aborted(AbortReason::NoProgress));
    it.decision.memory.candidate = None;
    let why = "its replay read no record, and stands at 3 %; pod a: Unschedulable: no room";
    it.decision.memory.trial.as_mut().unwrap().message = Some(why.to_owned());
    assert_eq!(it.looks(), look("Aborted", ["True Healthy", "False Idle", "True NoProgress"]));
    let says = it.says(types::STALLED);
    assert!(says.contains(why) && says.contains("progressDeadlineSeconds (600)") && says.contains("retry="), "{says}");
}

#[test]
fn who_is_waited_for_is_told_what_to_type() {
    let mut it = case(Step::AwaitPromotion);
    it.decision.caught_up = true;
    assert_eq!(it.looks(), look("AwaitingPromotion", ["True Healthy", "True AwaitingPromotion", "False Idle"]));
    let command =
        format!("kubectl annotate featureview clicks featuremill.dev/promote={}", it.decision.wanted.clone().unwrap());
    assert!(it.says(types::RECONCILING).contains(&command), "{}", it.says(types::RECONCILING));
}

#[test]
fn what_was_given_up_is_never_plain_healthy() {
    for (reason, name) in
        [(AbortReason::DeadlineExceeded, "DeadlineExceeded"), (AbortReason::AbortedByUser, "AbortedByUser")]
    {
        let mut it = case(Step::Aborted(reason));
        it.decision.memory.candidate = None;
        assert_eq!(it.looks(), look("Aborted", ["True Healthy", "False Idle", &format!("True {name}")]));
        let says = it.says(types::STALLED);
        let command = format!("featuremill.dev/retry={}", it.decision.wanted.clone().unwrap());
        assert!(says.contains(&command) && says.contains(&format!("{LIVE} serves on")), "{says}");
    }
}

#[test]
fn a_soak_is_healthy_and_says_until_when_and_how_to_go_back() {
    let mut it = served();
    assert_eq!(it.looks(), look("Live", ["True Healthy", "False Idle", "False Idle"]));
    it.decision.memory.previous = Some(BEFORE.to_owned());
    assert_eq!(it.looks(), look("Soaking", ["True Healthy", "False Idle", "False Idle"]));
    let says = it.says(types::ROLLBACK_AVAILABLE);
    let patch = r#"kubectl patch featureview clicks --type=merge -p '{"spec":{"rollout":{"servingRevision":"bbbb"}}}'"#;
    assert!(says.contains("until 2026-01-02T00:00:00Z") && says.contains(patch), "{says}");
    it.observed.view.spec.rollout.paused = true;
    assert!(it.says(types::ROLLBACK_AVAILABLE).contains("while spec.rollout.paused is set"));
}

#[test]
fn another_revision_than_the_specs_is_served_on_purpose_and_says_so() {
    let mut it = case(Step::Serve);
    it.decision.target = Some(LIVE.to_owned());
    (it.decision.caught_up, it.decision.memory.candidate, it.decision.memory.trial) = (true, None, None);
    assert_eq!(it.looks(), look("Pinned", ["True Pinned", "False Idle", "False Idle"]));
    it.decision.memory.returned = true;
    assert_eq!(it.looks(), look("RolledBack", ["True RolledBack", "False Idle", "False Idle"]));
}

#[test]
fn a_pin_on_nothing_known_needs_a_person_and_names_what_there_is() {
    let mut it = case(Step::Unavailable);
    it.decision.target = Some("cccc".to_owned());
    it.decision.memory.candidate = None;
    assert_eq!(it.looks(), look("Unavailable", ["True Healthy", "False Idle", "True RevisionUnavailable"]));
    let says = it.says(types::STALLED);
    assert!(says.contains(LIVE) && says.contains(BEFORE), "{says}");
}

#[test]
fn a_move_swaps_what_is_read_and_what_is_kept() {
    let mut it = case(Step::Promote);
    it.decision.caught_up = true;
    assert_eq!(it.looks(), look("Promoting", ["True Healthy", "True Promoting", "False Idle"]));
    it.acted.moved = it.decision.target.clone();
    assert_eq!(it.looks(), look("Soaking", ["True Healthy", "False Idle", "False Idle"]));
    let status = it.status();
    assert_eq!((status.active_revision, status.previous_revision.as_deref()), (it.decision.target, Some(LIVE)));
    assert_eq!((status.candidate_revision, status.rollout.unwrap().trial), (None, None));
}

#[test]
fn a_revision_that_is_dropped_by_a_move_is_being_removed_from_then_on() {
    let mut it = case(Step::Promote);
    it.decision.caught_up = true;
    it.decision.memory.previous = Some(BEFORE.to_owned());
    it.acted.moved = it.decision.target.clone();
    let status = it.status();
    assert_eq!(status.previous_revision.as_deref(), Some(BEFORE));
    assert_eq!(status.retiring.iter().map(|r| r.revision.as_str()).collect::<Vec<_>>(), [LIVE]);
}

/// What a comparison said of a revision.
fn compared(candidate: &str, verdict: &str) -> crds::feature_view::ComparisonStatus {
    serde_json::from_value(json!({
        "former": BEFORE, "candidate": candidate, "verdict": verdict, "asOf": "2026-01-01T00:00:00Z", "entities": 90,
        "message": (verdict == "Failed").then_some("feature clicks differs"),
    }))
    .unwrap()
}

#[test]
fn the_comparison_that_was_passed_is_told_of_until_another_rollout() {
    let remembers = |mut it: Case, candidate: &str| {
        let rollout = crds::feature_view::RolloutStatus {
            comparison: Some(compared(candidate, "Passed")),
            ..crds::feature_view::RolloutStatus::default()
        };
        it.observed.view.status = Some(FeatureViewStatus { rollout: Some(rollout), ..FeatureViewStatus::default() });
        it
    };
    let it = served();
    let live = it.decision.wanted.clone().unwrap();
    let it = remembers(it, &live);
    let says = it.says(types::COMPARISON_PASSED);
    assert!(says.contains(&format!("revision {live}, compared with {BEFORE} for 90 entities")), "{says}");
    // What the live one passed says nothing of the next.
    for step in [Step::Replay, Step::CatchUp] {
        let it = remembers(case(step), LIVE);
        assert!(it.says(types::COMPARISON_PASSED).contains("compared once it has caught up"));
        assert!(it.status().rollout.unwrap().comparison.is_none());
    }
}

#[test]
fn a_pause_shows_a_comparison_that_failed() {
    let mut it = case(Step::Differs);
    it.observed.view.spec.rollout.paused = true;
    let rollout = crds::feature_view::RolloutStatus {
        comparison: Some(compared(it.decision.wanted.as_deref().unwrap(), "Failed")),
        ..crds::feature_view::RolloutStatus::default()
    };
    it.observed.view.status = Some(FeatureViewStatus { rollout: Some(rollout), ..FeatureViewStatus::default() });
    assert_eq!(it.looks(), look("ComparisonFailed", ["True Healthy", "False Idle", "True ComparisonFailed"]));
    let says = it.says(types::STALLED);
    assert!(says.contains("feature clicks differs") && says.contains("after spec.rollout.paused"), "{says}");
}

#[test]
fn a_check_that_came_to_no_result_stands_until_another_has_ended() {
    let mut it = served();
    let revision = it.decision.wanted.clone().unwrap();
    let job = |name: &str, minute: u8, ended: Option<&str>| {
        let conditions = ended.map(|type_| json!({"type": type_, "status": "True", "reason": "BackoffLimitExceeded"}));
        serde_json::from_value::<k8s_openapi::api::batch::v1::Job>(json!({
            "metadata": {
                "name": name,
                "creationTimestamp": format!("2026-01-01T00:{minute}:00Z"),
                "labels": {"app.kubernetes.io/component": "skew", "featuremill.dev/revision": revision},
            },
            "status": {"conditions": conditions.into_iter().collect::<Vec<_>>()},
        }))
        .unwrap()
    };
    it.observed.view.spec.monitoring = serde_json::from_value(json!({"skew": {}})).unwrap();
    let sound = |it: &Case| find(&it.status().conditions, types::SOUND).unwrap().clone();
    it.observed.jobs = vec![job("one", 10, Some("Failed"))];
    assert_eq!(sound(&it).reason, "CheckFailed");
    it.observed.jobs.push(job("two", 20, None));
    let is = sound(&it);
    assert!(is.reason == "CheckFailed" && is.message.contains("Job one"), "one that is under way says nothing: {is:?}");
    it.observed.jobs[1] = job("two", 20, Some("Complete"));
    assert_eq!(sound(&it).reason, "Pending");
}

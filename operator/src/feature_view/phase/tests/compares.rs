//! Rollouts whose candidate is compared with what serves.

use std::collections::BTreeSet;

use crds::feature_view::FailurePolicy;

use super::*;
use crate::feature_view::comparison::Outcome;

/// `a` serves, and `b` has caught up for long enough.
fn compared(policy: FailurePolicy) -> World {
    let mut world = World::serving("a");
    world.policy.compares = Some(policy);
    edited(&mut world, "b");
    world.settle();
    world.pass(STABLE);
    world
}

fn attempt(world: &World) -> Option<(i32, bool)> {
    let attempt = world.status.rollout.clone()?.trial?.comparison?;
    Some((attempt.number, attempt.forced))
}

#[test]
fn what_has_caught_up_is_compared_once_and_then_takes_over() {
    let mut world = compared(FailurePolicy::Pause);
    // First it stands in status, then its Job is made.
    let decision = world.round();
    assert_eq!((decision.step, world.comparisons.len(), attempt(&world)), (Step::Compare, 0, Some((1, false))));
    assert_eq!((world.round().step, world.comparisons.len()), (Step::Compare, 1));
    assert_eq!((world.round().compare, world.comparisons.len()), (None, 1), "it is under way");
    world.settle();
    assert_eq!((world.live.as_deref(), world.comparisons.len()), (Some("b"), 0));
}

#[test]
fn a_first_revision_a_pin_and_the_way_back_are_not_compared() {
    let mut world = World::new("a");
    world.policy.compares = Some(FailurePolicy::Pause);
    world.settle();
    assert_eq!(world.live.as_deref(), Some("a"));
    edited(&mut world, "b");
    world.policy.pin = Some("b".into());
    world.settle();
    world.pass(STABLE);
    assert_eq!((world.round().step, world.comparisons.len()), (Step::Promote, 0));
    world.settle();
    world.policy.pin = Some("a".into());
    assert_eq!((world.round().step, world.comparisons.len()), (Step::Return, 0));
}

#[test]
fn what_differs_waits_for_a_person_who_saw_it() {
    let mut world = compared(FailurePolicy::Pause);
    // Approved before anything was to be seen.
    ask(&mut world, Verb::Promote, "b");
    world.differs.insert("b".into());
    world.settle();
    world.pass(DEADLINE * 10);
    assert_eq!((world.round().step, world.live.as_deref()), (Step::Differs, Some("a")));
    assert_eq!((run(&world), attempt(&world)), (vec!["a", "b"], Some((1, false))));
    ask(&mut world, Verb::Promote, "c");
    world.settle();
    assert_eq!(world.live.as_deref(), Some("a"));
    ask(&mut world, Verb::Promote, "b");
    world.settle();
    assert_eq!(world.live.as_deref(), Some("b"));
}

#[test]
fn what_is_asked_otherwise_is_asked_anew() {
    let mut world = compared(FailurePolicy::Pause);
    world.differs.insert("b".into());
    world.settle();
    world.pass(DEADLINE * 10);
    // It is listed among the changes that are meant. The deadline counts from here.
    world.asked = 1;
    assert_eq!(world.round().step, Step::Compare);
    world.differs.clear();
    world.settle();
    assert_eq!((world.live.as_deref(), world.comparisons.len()), (Some("b"), 0));
}

#[test]
fn a_person_asks_for_it_to_be_compared_again() {
    let mut world = compared(FailurePolicy::Pause);
    world.differs.insert("b".into());
    world.settle();
    world.differs.clear();
    ask(&mut world, Verb::Retry, "b");
    assert_eq!((world.round().step, attempt(&world)), (Step::Compare, Some((2, false))));
    world.settle();
    assert_eq!(world.live.as_deref(), Some("b"));
}

#[test]
fn the_spec_may_give_up_what_differs_or_let_it_in() {
    let mut world = compared(FailurePolicy::Abort);
    world.differs.insert("b".into());
    world.settle();
    assert_eq!(world.round().step, Step::Aborted(AbortReason::ComparisonFailed));
    assert_eq!((run(&world), world.comparisons.len(), world.reports.len()), (vec!["a"], 0, 0));
    world.policy.compares = Some(FailurePolicy::Ignore);
    ask(&mut world, Verb::Retry, "b");
    world.settle();
    world.pass(STABLE);
    world.settle();
    assert_eq!(world.live.as_deref(), Some("b"));
}

#[test]
fn without_a_verdict_it_is_tried_again_until_the_deadline() {
    let mut world = compared(FailurePolicy::Pause);
    world.broken = true;
    world.settle();
    let decision = world.round();
    assert_eq!((decision.step, decision.next), (Step::Compare, Some(SignedDuration::from_secs(30))));
    world.pass(30);
    world.round();
    assert_eq!(attempt(&world), Some((2, false)));
    world.round();
    assert_eq!(world.comparisons.len(), 1, "the one before is gone");
    world.settle();
    world.pass(DEADLINE);
    assert_eq!(world.round().step, Step::Aborted(AbortReason::DeadlineExceeded));
}

#[test]
fn a_job_that_was_deleted_is_made_again_and_a_verdict_needs_none() {
    let mut world = compared(FailurePolicy::Pause);
    world.policy.auto = false;
    world.round();
    world.comparisons.clear();
    assert_eq!((world.round().step, world.comparisons.len(), attempt(&world)), (Step::Compare, 1, Some((1, false))));
    world.settle();
    world.comparisons.clear();
    assert_eq!((world.round().step, world.comparisons.len()), (Step::AwaitPromotion, 0));
    // It falls behind, and catches up again: the verdict stands.
    world.lagging.insert("b".into());
    assert_eq!(world.round().step, Step::CatchUp);
    world.lagging.clear();
    world.round();
    world.pass(STABLE);
    assert_eq!((world.round().step, world.comparisons.len()), (Step::AwaitPromotion, 0));
}

#[test]
fn a_newer_edit_while_it_is_compared_takes_its_place_and_nothing_is_left() {
    let mut world = compared(FailurePolicy::Pause);
    world.round();
    edited(&mut world, "c");
    world.settle();
    assert_eq!((run(&world), world.comparisons.len()), (vec!["a", "c"], 0));
    world.pass(STABLE);
    world.settle();
    assert_eq!(world.live.as_deref(), Some("c"));
    world.pass(SOAK);
    world.settle();
    assert_eq!(world.reports.keys().collect::<Vec<_>>(), ["c"]);
}

#[test]
fn a_pause_begins_no_comparison() {
    let mut world = compared(FailurePolicy::Pause);
    world.policy.paused = true;
    assert_eq!((world.round().step, world.comparisons.len()), (Step::AwaitPromotion, 0));
    world.policy.paused = false;
    world.round();
    assert_eq!((world.round().step, world.comparisons.len()), (Step::Compare, 1));
    let outcome = world.facts().compared.unwrap().outcome;
    assert_eq!(outcome, Outcome::Running);
}

#[test]
fn a_pause_hides_no_failure_and_gives_nothing_up() {
    for policy in [FailurePolicy::Pause, FailurePolicy::Abort] {
        let mut world = compared(policy);
        world.differs.insert("b".into());
        (0..2).for_each(|_| drop(world.round()));
        world.policy.paused = true;
        world.settle();
        world.pass(DEADLINE * 10);
        assert_eq!((world.round().step, world.live.as_deref()), (Step::Differs, Some("a")), "{policy:?}");
        // It is known again although status forgot what was begun.
        world.status.rollout.as_mut().unwrap().trial.as_mut().unwrap().comparison = None;
        assert_eq!(world.round().step, Step::Differs);
        assert_eq!((attempt(&world), world.reports.len()), (Some((1, false)), 1));
    }
    // What a person says of it in the pause counts of it, and is done after the pause.
    let mut world = compared(FailurePolicy::Pause);
    world.differs.insert("b".into());
    (0..2).for_each(|_| drop(world.round()));
    world.policy.paused = true;
    world.settle();
    ask(&mut world, Verb::Promote, "b");
    world.settle();
    assert_eq!((world.round().step, attempt(&world)), (Step::AwaitPromotion, Some((1, true))));
    world.policy.paused = false;
    world.settle();
    assert_eq!(world.live.as_deref(), Some("b"));
}

/// What becomes of a comparison that fails, from where `b` has caught up, and what is to be live in the end.
type Story = (&'static str, FailurePolicy, fn(&mut World), &'static str);

const STORIES: [Story; 4] = [
    ("announced", FailurePolicy::Pause, |world| (world.asked, world.differs) = (1, BTreeSet::new()), "b"),
    ("forced", FailurePolicy::Pause, |world| ask(world, Verb::Promote, "b"), "b"),
    ("compared again", FailurePolicy::Pause, |world| ask(world, Verb::Retry, "b"), "a"),
    ("given up", FailurePolicy::Abort, |_| (), "a"),
];

#[test]
fn whoever_dies_in_any_round_of_a_failed_comparison_comes_to_the_same_end() {
    let cuts = [Cut::AfterApply, Cut::AfterIntent, Cut::AfterMove, Cut::BeforeAnswer];
    for (name, policy, then, live) in STORIES {
        let told = |dies: Option<(usize, Cut)>, twice: bool| {
            let mut world = compared(policy);
            (world.rounds, world.dies) = (0, dies);
            world.differs.insert("b".into());
            // A round that was cut off may look like rest.
            (0..3).for_each(|_| world.settle());
            assert_eq!(world.live.as_deref(), Some("a"), "{name} {dies:?}");
            then(&mut world);
            if twice {
                // Status is lost, too, once there was something to be lost.
                world.round();
                world.status = crds::FeatureViewStatus::default();
            }
            (0..3).for_each(|_| world.settle());
            world.pass(STABLE);
            (0..3).for_each(|_| world.settle());
            world
        };
        let whole = told(None, false);
        assert_eq!(whole.live.as_deref(), Some(live), "{name}");
        assert!(whole.rounds > 8, "{name} has {} rounds", whole.rounds);
        for (round, cut) in (0..whole.rounds).flat_map(|round| cuts.map(|cut| (round, cut))) {
            let cut_off = told(Some((round, cut)), false);
            let end = |world: &World| {
                let things = (world.workloads.clone(), world.plans.clone(), world.rows.clone(), world.reports.clone());
                (world.live.clone(), world.status.clone(), things, world.comparisons.clone(), world.requests.clone())
            };
            assert_eq!(end(&cut_off), end(&whole), "{name}: {cut:?} in round {round}");
        }
        // A word is said once: if it is lost with status, nothing takes over that nobody let in.
        let lost = told(None, true);
        let may = lost.live.as_deref() == Some("a") || lost.live.as_deref() == Some(live);
        assert!(may && lost.comparisons.len() <= 1, "{name}: {lost:#?}");
    }
}

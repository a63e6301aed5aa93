//! The gate of history told as stories.

use super::world::{Cut, DEADLINE, STABLE, World, too_short};
use super::*;
use crate::feature_view::replay::Standing;

/// `a` is live, and the history of `b` is being read.
fn replaying() -> World {
    let mut world = World::serving("a");
    super::edited(&mut world, "b");
    world.slow.insert("b".into());
    world.settle();
    assert_eq!(world.round().step, Step::Replay);
    world
}

fn fence(world: &World) -> Option<String> {
    let trial = world.status.rollout.as_ref()?.trial.as_ref()?;
    Some(trial.replay.as_ref()?.fence.clone())
}

fn made(world: &World) -> Vec<(&str, usize)> {
    world.made.iter().map(|(fence, made)| (fence.as_str(), *made)).collect()
}

#[test]
fn a_first_revision_has_none_and_starts_at_once() {
    let mut world = World::new("a");
    world.topic = Some(too_short());
    assert_eq!((world.round().replay, super::run(&world)), (None, vec!["a"]));
    world.settle();
    assert!(world.made.is_empty());
}

#[test]
fn offsets_stand_in_status_before_the_job_and_workers_start_after_it() {
    let mut world = World::serving("a");
    super::edited(&mut world, "b");
    world.slow.insert("b".into());
    let first = world.round();
    // Captured, and nothing made of it yet.
    assert_eq!((first.step, first.replay.unwrap().order, world.jobs.len()), (Step::Replay, None, 0));
    let second = world.round();
    assert_eq!(second.replay.unwrap().order.map(|order| order.fence), fence(&world));
    assert_eq!((world.jobs.len(), super::run(&world)), (1, vec!["a"]));
    world.slow.clear();
    world.read();
    let third = world.round();
    assert_eq!((third.step, third.replay, super::run(&world)), (Step::CatchUp, None, vec!["a", "b"]));
    world.settle();
    world.pass(STABLE);
    world.settle();
    assert_eq!((world.live.as_deref(), made(&world)), (Some("b"), vec![("b1", 1)]));
    assert!(world.jobs.is_empty(), "what serves needs no replay");
}

#[test]
fn what_the_job_has_read_is_no_catching_up() {
    let mut world = replaying();
    // Its markers may stand at the end for a moment; nobody follows them there.
    world.rows.insert("b".into(), true);
    world.pass(STABLE);
    let decision = world.round();
    assert_eq!((decision.step, decision.caught_up), (Step::Replay, false));
    world.slow.clear();
    world.read();
    assert_eq!(world.round().step, Step::CatchUp, "being caught up counts from the start of its workers");
}

#[test]
fn a_job_that_is_deleted_is_made_again_for_the_same_offsets() {
    let mut world = replaying();
    let before = fence(&world);
    world.jobs.clear();
    world.settle();
    assert_eq!((fence(&world), made(&world)), (before, vec![("b1", 2)]));
}

#[test]
fn cut_off_anywhere_one_job_is_made_of_one_capture() {
    for cut in [Cut::AfterApply, Cut::AfterIntent, Cut::AfterMove, Cut::BeforeAnswer] {
        let mut world = World::serving("a");
        super::edited(&mut world, "b");
        for _ in 0..4 {
            world.cut(cut);
            world.read();
            world.round();
            world.read();
        }
        world.pass(STABLE);
        world.settle();
        assert_eq!(world.live.as_deref(), Some("b"), "{cut:?}");
        assert_eq!(world.made.values().collect::<Vec<_>>(), [&1], "{cut:?}: {:?}", world.made);
    }
}

#[test]
fn a_status_that_is_lost_is_rebuilt_from_the_job_that_stands() {
    let mut world = replaying();
    let before = fence(&world);
    world.status = crds::FeatureViewStatus::default();
    world.settle();
    assert_eq!((fence(&world), made(&world)), (before, vec![("b1", 1)]));
}

#[test]
fn a_topic_that_holds_too_little_is_no_lateness_and_heals() {
    let mut world = World::serving("a");
    super::edited(&mut world, "b");
    world.topic = Some(too_short());
    world.settle();
    world.pass(DEADLINE * 2);
    let decision = world.round();
    assert_eq!((decision.step, decision.replay.unwrap().trouble), (Step::Replay, Some(too_short())));
    assert_eq!((super::run(&world), world.jobs.len()), (vec!["a"], 0));
    world.topic = None;
    world.settle();
    world.pass(STABLE);
    assert_eq!(world.round().step, Step::Promote);
}

#[test]
fn a_job_that_fails_gives_the_revision_up_and_another_try_captures_anew() {
    let mut world = replaying();
    world.jobs.get_mut("b").unwrap().1 = Standing::Failed("RetentionTooShort: it went".into());
    assert_eq!(world.round().step, Step::Aborted(AbortReason::ReplayFailed));
    world.settle();
    let trial = world.status.rollout.clone().unwrap().trial.unwrap();
    assert_eq!(trial.message.as_deref(), Some("RetentionTooShort: it went"));
    assert!(world.jobs.is_empty() && world.status.retiring.is_empty() && !world.rows.contains_key("b"));
    super::ask(&mut world, Verb::Retry, "b");
    world.slow.clear();
    world.settle();
    world.pass(STABLE);
    world.settle();
    assert_eq!((world.live.as_deref(), made(&world)), (Some("b"), vec![("b1", 1), ("b2", 1)]));
}

#[test]
fn a_replay_that_takes_too_long_is_given_up_with_its_job() {
    let mut world = replaying();
    world.pass(DEADLINE);
    assert_eq!(world.round().step, Step::Aborted(AbortReason::DeadlineExceeded));
    world.settle();
    assert!(world.jobs.is_empty() && world.status.retiring.is_empty());
}

#[test]
fn superseded_or_taken_back_its_job_goes_before_its_rows() {
    for next in ["a", "c"] {
        let mut world = replaying();
        super::edited(&mut world, next);
        world.round();
        assert!(world.jobs.contains_key("b"), "first it stands in status that it goes");
        world.round();
        assert!(!world.jobs.contains_key("b"));
        world.settle();
        assert!(world.status.retiring.is_empty() && !world.rows.contains_key("b"));
    }
}

#[test]
fn suspended_it_stops_and_goes_on_under_the_same_offsets() {
    let mut world = replaying();
    let before = fence(&world);
    world.suspended = true;
    world.pass(DEADLINE * 2);
    world.settle();
    assert_eq!((world.round().step, world.jobs.len()), (Step::Replay, 0));
    world.suspended = false;
    world.settle();
    assert_eq!((fence(&world), made(&world)), (before, vec![("b1", 2)]));
}

#[test]
fn without_the_store_no_workers_start_in_its_place() {
    let mut world = replaying();
    world.away = true;
    for wanted in ["b", "c"] {
        super::edited(&mut world, wanted);
        let decision = world.round();
        assert_eq!((decision.step, super::run(&world)), (Step::Hold, vec!["a"]));
    }
}

#[test]
fn workers_that_stand_already_read_for_themselves() {
    // As an operator that knew of no replays left them.
    let mut world = World::serving("a");
    super::edited(&mut world, "b");
    world.workloads.insert("b".into());
    world.plans.insert("b".into());
    let decision = world.round();
    assert_eq!((decision.step, decision.replay), (Step::CatchUp, None));
}

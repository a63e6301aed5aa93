//! The no-progress timeout told as stories.

use super::world::{Cut, PROGRESS, STABLE, World};
use super::*;
use crate::trouble::Trouble;
use crds::condition::reasons;

const GIVEN_UP: Step = Step::Aborted(AbortReason::NoProgress);

/// `a` is live, and nothing of `b` moves any more, at the time that is answered.
fn stuck_in_replay() -> World {
    let mut world = World::serving("a");
    world.policy.deadline = SignedDuration::from_secs(100_000);
    world.policy.progress = SignedDuration::from_secs(PROGRESS);
    edited(&mut world, "b");
    world.stuck.insert("b".into());
    world.settle();
    assert_eq!(world.round().step, Step::Replay);
    world
}

fn stuck_in_catch_up() -> World {
    let mut world = World::serving("a");
    world.policy.deadline = SignedDuration::from_secs(100_000);
    edited(&mut world, "b");
    world.lagging.insert("b".into());
    world.settle();
    world.policy.progress = SignedDuration::from_secs(PROGRESS);
    world.stuck.insert("b".into());
    world.pass(PROGRESS);
    assert_eq!(world.round().step, Step::CatchUp, "it moved since it was last noted");
    world
}

fn message(world: &World) -> String {
    world.status.rollout.clone().unwrap().trial.unwrap().message.unwrap_or_default()
}

fn advance(world: &World) -> Option<crds::feature_view::Advance> {
    world.status.rollout.clone()?.trial?.advance
}

/// Passes almost the time it takes and then the rest of it.
fn is_given_up_after(world: &mut World, seconds: i64) {
    world.pass(seconds - 1);
    assert!(matches!(world.round().step, Step::Replay | Step::CatchUp), "too soon: {world:#?}");
    world.pass(1);
    assert_eq!(world.round().step, GIVEN_UP);
}

#[test]
fn a_replay_that_reads_nothing_is_given_up_and_says_why() {
    let mut world = stuck_in_replay();
    is_given_up_after(&mut world, PROGRESS);
    let says = message(&world);
    assert!(says.contains("its replay read no record, and stands at 0 %; no node has room"), "{says}");
    world.settle();
    assert_eq!((run(&world), world.live.as_deref(), world.jobs.len()), (vec!["a"], Some("a"), 0));
    // Until it is tried again.
    world.stuck.clear();
    ask(&mut world, Verb::Retry, "b");
    world.settle();
    world.pass(STABLE);
    assert_eq!(world.round().step, Step::Promote);
}

#[test]
fn workers_that_stand_still_are_given_up_and_a_pod_that_becomes_ready_is_an_advance() {
    let mut world = stuck_in_catch_up();
    world.pass(PROGRESS - 1);
    world.ready.insert("b".into(), 2);
    assert_eq!(world.round().step, Step::CatchUp);
    // One that goes and comes back is none.
    for ready in [0, 2, 1, 2] {
        world.pass(PROGRESS / 5);
        world.ready.insert("b".into(), ready);
        assert_eq!(world.round().step, Step::CatchUp);
    }
    is_given_up_after(&mut world, PROGRESS - 4 * (PROGRESS / 5));
    assert!(message(&world).contains("no marker of its workers moved, and no pod became ready (2 are)"));
}

#[test]
fn what_goes_on_reading_however_slowly_is_left_to_its_deadline() {
    let mut world = stuck_in_catch_up();
    world.stuck.clear();
    for _ in 0..50 {
        world.pass(PROGRESS - 1);
        world.read();
        assert_eq!(world.round().step, Step::CatchUp);
    }
}

#[test]
fn status_is_not_written_for_every_record() {
    let mut world = stuck_in_catch_up();
    world.policy.progress = SignedDuration::from_secs(600);
    world.stuck.clear();
    world.read();
    world.round();
    let noted = advance(&world);
    for _ in 0..29 {
        world.pass(1);
        world.read();
        world.round();
    }
    assert!(noted.is_some() && advance(&world) == noted);
    world.pass(1);
    world.round();
    assert_ne!(advance(&world), noted);
}

#[test]
fn being_held_takes_nothing_of_its_time() {
    type Hold = fn(&mut World, bool);
    let paused: Hold = |world, held| world.policy.paused = held;
    let suspended: Hold = |world, held| world.suspended = held;
    let away: Hold = |world, held| world.away = held;
    let too_short: Hold = |world, held| {
        world.topic = held.then(super::world::too_short);
        // Of a trial that began anew, whose offsets are to be captured once more.
        ask(world, Verb::Abort, "b");
        world.settle();
        ask(world, Verb::Retry, "b");
    };
    for (name, hold) in [("paused", paused), ("suspended", suspended), ("away", away), ("too short", too_short)] {
        let mut world = stuck_in_replay();
        world.pass(PROGRESS - 1);
        hold(&mut world, true);
        world.settle();
        assert_eq!(advance(&world), None, "{name}");
        world.pass(PROGRESS * 10);
        world.settle();
        hold(&mut world, false);
        world.settle();
        assert_ne!(world.round().step, GIVEN_UP, "{name}");
        is_given_up_after(&mut world, PROGRESS);
    }
}

#[test]
fn waiting_for_a_person_takes_nothing_of_it() {
    let mut world = World::serving("a");
    world.policy.progress = SignedDuration::from_secs(PROGRESS);
    world.policy.auto = false;
    edited(&mut world, "b");
    world.settle();
    world.stuck.insert("b".into());
    world.pass(PROGRESS * 10);
    assert_eq!(world.round().step, Step::AwaitPromotion);
    assert_eq!(advance(&world), None);
}

#[test]
fn brokers_that_stay_away_are_named() {
    let mut world = World::serving("a");
    world.policy.progress = SignedDuration::from_secs(PROGRESS);
    edited(&mut world, "b");
    let message = "no broker of kafka:9092 answers".to_owned();
    world.topic = Some(Trouble { reason: reasons::KAFKA_UNREACHABLE, message, stuck: false });
    world.settle();
    is_given_up_after(&mut world, PROGRESS);
    let says = self::message(&world);
    assert!(says.contains("could not be captured; no broker of kafka:9092 answers"), "{says}");
}

#[test]
fn it_survives_a_restart_and_begins_anew_where_status_was_lost() {
    // A restart: rounds stop, and what is remembered is all there is.
    let mut world = stuck_in_replay();
    world.pass(PROGRESS * 10);
    assert_eq!(world.cut(Cut::AfterApply).step, GIVEN_UP);
    assert_eq!(world.round().step, GIVEN_UP);

    let mut world = stuck_in_replay();
    world.pass(PROGRESS - 1);
    world.status = crds::FeatureViewStatus::default();
    world.settle();
    is_given_up_after(&mut world, PROGRESS);
}

#[test]
fn a_job_that_is_still_to_be_made_is_waited_for() {
    // The operator dies before it makes the Job, and comes back late: nobody had a chance to advance.
    let mut world = stuck_in_replay();
    world.jobs.clear();
    world.pass(PROGRESS * 10);
    assert_eq!(world.round().step, Step::Replay);
    world.settle();
    is_given_up_after(&mut world, PROGRESS);
}

#[test]
fn a_candidate_may_have_more_workers_until_it_serves() {
    let mut world = World::serving("a");
    world.policy.workers = Some(8);
    edited(&mut world, "b");
    world.lagging.insert("b".into());
    world.settle();
    // Its replay reads one partition.
    assert_eq!(world.round().workers, Some(1));
    world.partitions = Some(4);
    assert_eq!(world.round().workers, Some(4));
    world.partitions = Some(16);
    assert_eq!(world.round().workers, Some(8));
    world.lagging.clear();
    world.settle();
    world.pass(STABLE);
    world.settle();
    assert_eq!((world.round().workers, world.live.as_deref()), (None, Some("b")));
}

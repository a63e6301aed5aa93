//! Rollouts told as stories; what holds for every story is in `any_story`.
#![allow(clippy::unwrap_used, clippy::panic)]

mod any_story;
mod compares;
mod progress;
mod replays;
mod world;

use engine::row::Marker;
use shell::store::Markers;

use super::*;
use world::{Cut, DEADLINE, SOAK, STABLE, World};

fn edited(world: &mut World, revision: &str) {
    world.wanted = Some(revision.to_owned());
}

fn ask(world: &mut World, verb: Verb, revision: &str) {
    world.requests.push(Request { verb, revision: revision.to_owned() });
}

/// `b` is live and `a` is kept.
fn soaking() -> World {
    let mut world = World::serving("a");
    edited(&mut world, "b");
    world.settle();
    world.pass(STABLE);
    assert_eq!(world.round().step, Step::Promote);
    world.settle();
    assert_eq!((world.live.as_deref(), world.status.previous_revision.as_deref()), (Some("b"), Some("a")));
    world
}

fn run(world: &World) -> Vec<&str> {
    world.workloads.iter().map(String::as_str).collect()
}

#[test]
fn a_first_revision_is_live_at_once() {
    let mut world = World::new("a");
    let decision = world.round();
    assert_eq!((decision.step, decision.run), (Step::Adopt, vec!["a".to_owned()]));
    assert_eq!((world.round().step, world.live.as_deref()), (Step::Serve, Some("a")));
}

#[test]
fn a_new_revision_takes_over_once_it_was_caught_up_for_long_enough() {
    let mut world = World::serving("a");
    edited(&mut world, "b");
    world.lagging.insert("b".into());
    world.settle();
    assert_eq!((world.round().step, run(&world)), (Step::CatchUp, vec!["a", "b"]));
    world.lagging.clear();
    world.read();
    assert_eq!(world.round().step, Step::CatchUp);
    world.pass(STABLE - 1);
    assert_eq!(world.round().step, Step::CatchUp);
    // A break begins the count anew.
    world.lagging.insert("b".into());
    world.round();
    world.lagging.clear();
    world.pass(1);
    assert_eq!(world.round().step, Step::CatchUp);
    world.pass(STABLE);
    assert_eq!(world.round().step, Step::Promote);
    assert_eq!(world.live.as_deref(), Some("b"));
}

#[test]
fn the_revision_before_goes_on_until_the_soak_is_over() {
    let mut world = soaking();
    world.pass(SOAK - 1);
    let decision = world.round();
    assert_eq!((decision.step, run(&world)), (Step::Serve, vec!["a", "b"]));
    assert_eq!(decision.next, Some(SignedDuration::from_secs(1)));
    world.pass(1);
    let decision = world.round();
    // First it stands in status, then its objects go.
    assert_eq!(
        (run(&world), decision.run, decision.retire.contains("a")),
        (vec!["a", "b"], vec!["b".to_owned()], true)
    );
    world.round();
    assert_eq!(run(&world), ["b"]);
    world.settle();
    assert!(world.status.retiring.is_empty() && !world.rows.contains_key("a"));
}

#[test]
fn a_pin_goes_back_at_once_and_without_it_forward_again() {
    let mut world = soaking();
    world.policy.pin = Some("a".into());
    assert_eq!(world.round().step, Step::Return);
    world.settle();
    assert_eq!((world.live.as_deref(), world.status.previous_revision.as_deref()), (Some("a"), Some("b")));
    // The revision that was gone back from is kept through a soak of its own, and then is not rolled out again by itself.
    world.pass(SOAK);
    world.settle();
    assert_eq!((world.round().step, run(&world)), (Step::Serve, vec!["a"]));
    world.policy.pin = None;
    world.settle();
    world.pass(STABLE);
    world.settle();
    assert_eq!(world.live.as_deref(), Some("b"));
}

#[test]
fn going_back_is_not_stopped_by_a_pause_or_an_approval_that_is_missing() {
    let mut world = soaking();
    (world.policy.auto, world.policy.paused) = (false, true);
    world.policy.pin = Some("a".into());
    assert_eq!((world.round().step, world.live.as_deref()), (Step::Return, Some("a")));
}

#[test]
fn an_edit_that_is_reverted_in_the_soak_returns_at_once() {
    let mut world = soaking();
    edited(&mut world, "a");
    assert_eq!((world.round().step, world.live.as_deref()), (Step::Return, Some("a")));
}

#[test]
fn an_edit_that_is_reverted_in_catch_up_serves_on() {
    let mut world = World::serving("a");
    edited(&mut world, "b");
    world.lagging.insert("b".into());
    world.settle();
    edited(&mut world, "a");
    assert_eq!(world.round().step, Step::Serve);
    world.settle();
    assert_eq!((run(&world), world.status.rollout.as_ref().and_then(|r| r.trial.clone())), (vec!["a"], None));
}

#[test]
fn a_newer_edit_takes_the_candidates_place() {
    let mut world = World::serving("a");
    edited(&mut world, "b");
    world.lagging.extend(["b".into(), "c".into()]);
    world.settle();
    edited(&mut world, "c");
    let decision = world.round();
    assert_eq!(decision.run, ["a", "c"]);
    assert_eq!(decision.retire, ["b".to_owned()].into());
}

#[test]
fn what_never_proved_itself_gives_way_and_the_one_before_it_stays_the_way_back() {
    let mut world = soaking();
    edited(&mut world, "c");
    world.settle();
    assert_eq!(run(&world), ["a", "b", "c"]);
    world.pass(STABLE);
    world.settle();
    assert_eq!((world.live.as_deref(), world.status.previous_revision.as_deref()), (Some("c"), Some("a")));
    assert_eq!(run(&world), ["a", "c"]);
    // The soak is the newest one's.
    world.pass(SOAK - 1);
    world.settle();
    assert_eq!(run(&world), ["a", "c"]);
}

#[test]
fn after_going_back_the_bad_revision_gives_way_to_the_next() {
    let mut world = soaking();
    world.policy.pin = Some("a".into());
    world.settle();
    (world.policy.pin, world.wanted) = (None, Some("c".into()));
    world.settle();
    world.pass(STABLE);
    world.settle();
    assert_eq!((world.live.as_deref(), world.status.previous_revision.as_deref()), (Some("c"), Some("a")));
}

#[test]
fn a_person_decides_where_the_spec_says_so_and_of_one_revision_only() {
    let mut world = World::serving("a");
    world.policy.auto = false;
    edited(&mut world, "b");
    ask(&mut world, Verb::Promote, "c");
    world.settle();
    assert!(world.requests.is_empty(), "a request for another revision is taken off");
    world.pass(STABLE);
    assert_eq!(world.round().step, Step::AwaitPromotion);
    // Waiting for a person is no lateness.
    world.pass(DEADLINE * 10);
    assert_eq!(world.round().step, Step::AwaitPromotion);
    world.lagging.insert("b".into());
    assert_eq!(world.round().step, Step::CatchUp);
    ask(&mut world, Verb::Promote, "b");
    assert_eq!(world.round().step, Step::CatchUp);
    world.lagging.clear();
    world.round();
    world.pass(STABLE);
    assert_eq!((world.round().step, world.live.as_deref()), (Step::Promote, Some("b")));
    // The approval was of that rollout: after another edit and back it has to be given again.
    edited(&mut world, "c");
    world.settle();
    world.pass(STABLE);
    assert_eq!(world.round().step, Step::AwaitPromotion);
}

#[test]
fn a_pin_on_the_candidate_is_an_approval() {
    let mut world = World::serving("a");
    world.policy.auto = false;
    edited(&mut world, "b");
    world.policy.pin = Some("b".into());
    world.settle();
    world.pass(STABLE);
    assert_eq!(world.round().step, Step::Promote);
}

#[test]
fn a_pin_on_the_live_revision_holds_it() {
    let mut world = World::serving("a");
    (world.wanted, world.policy.pin) = (Some("b".into()), Some("a".into()));
    world.settle();
    world.pass(SOAK);
    world.settle();
    assert_eq!((world.round().step, run(&world)), (Step::Serve, vec!["a"]));
}

#[test]
fn a_pin_on_the_history_is_computed_anew_and_an_unknown_one_changes_nothing() {
    let mut world = soaking();
    world.pass(SOAK);
    world.settle();
    world.policy.pin = Some("x".into());
    assert_eq!((world.round().step, run(&world)), (Step::Unavailable, vec!["b"]));
    world.policy.pin = Some("a".into());
    world.settle();
    assert_eq!((world.live.as_deref(), run(&world)), (Some("b"), vec!["a", "b"]));
    world.pass(STABLE);
    world.settle();
    assert_eq!(world.live.as_deref(), Some("a"));
}

#[test]
fn what_does_not_catch_up_in_time_is_given_up_until_it_is_tried_again() {
    let mut world = World::serving("a");
    edited(&mut world, "b");
    world.lagging.insert("b".into());
    world.settle();
    world.pass(DEADLINE - 1);
    assert_eq!(world.round().step, Step::CatchUp);
    world.pass(1);
    assert_eq!(world.round().step, Step::Aborted(AbortReason::DeadlineExceeded));
    world.settle();
    assert_eq!((run(&world), world.live.as_deref()), (vec!["a"], Some("a")));
    assert!(world.status.retiring.is_empty() && !world.rows.contains_key("b"));
    world.pass(DEADLINE);
    assert_eq!(world.round().step, Step::Aborted(AbortReason::DeadlineExceeded));
    world.lagging.clear();
    ask(&mut world, Verb::Retry, "b");
    world.settle();
    world.pass(STABLE);
    assert_eq!(world.round().step, Step::Promote);
}

#[test]
fn a_person_gives_up_the_candidate_and_another_edit_goes_on() {
    let mut world = World::serving("a");
    edited(&mut world, "b");
    world.settle();
    ask(&mut world, Verb::Abort, "b");
    world.pass(STABLE);
    assert_eq!(world.round().step, Step::Aborted(AbortReason::AbortedByUser));
    world.settle();
    assert_eq!((run(&world), world.live.as_deref()), (vec!["a"], Some("a")));
    edited(&mut world, "c");
    world.settle();
    world.pass(STABLE);
    assert_eq!(world.round().step, Step::Promote);
}

#[test]
fn a_pause_stops_everything_but_reading() {
    let mut world = soaking();
    world.policy.paused = true;
    world.pass(SOAK * 2);
    world.settle();
    assert_eq!(run(&world), ["a", "b"]);
    edited(&mut world, "c");
    world.lagging.insert("c".into());
    world.settle();
    world.pass(DEADLINE * 2);
    assert_eq!(world.round().step, Step::CatchUp);
    world.lagging.clear();
    world.settle();
    world.pass(STABLE);
    assert_eq!(world.round().step, Step::AwaitPromotion);
    world.policy.paused = false;
    assert_eq!(world.round().step, Step::Promote);
}

#[test]
fn a_suspended_view_promotes_nothing_and_no_deadline_counts() {
    let mut world = World::serving("a");
    edited(&mut world, "b");
    world.settle();
    world.suspended = true;
    world.pass(DEADLINE * 2);
    assert_eq!(world.round().step, Step::CatchUp);
    world.suspended = false;
    assert_eq!(world.round().step, Step::CatchUp);
    world.pass(STABLE);
    assert_eq!(world.round().step, Step::Promote);
}

#[test]
fn a_revision_that_is_being_removed_must_be_gone_before_it_comes_back() {
    let mut world = soaking();
    world.pass(SOAK);
    world.round();
    assert_eq!(world.status.retiring.len(), 1);
    edited(&mut world, "a");
    let decision = world.round();
    assert_eq!((decision.step, decision.run), (Step::AwaitRemoval, vec!["b".to_owned()]));
    world.settle();
    world.pass(STABLE);
    world.settle();
    assert_eq!(world.live.as_deref(), Some("a"));
}

#[test]
fn a_refused_spec_leaves_what_runs_alone() {
    let mut world = soaking();
    world.wanted = None;
    world.pass(SOAK);
    let decision = world.round();
    assert_eq!((decision.step, run(&world)), (Step::Hold, vec!["a", "b"]));
    // And yet the way back is open.
    world.policy.pin = Some("a".into());
    assert_eq!((world.round().step, world.live.as_deref()), (Step::Return, Some("a")));
}

#[test]
fn without_the_store_nothing_moves_and_workers_stay() {
    let mut world = soaking();
    edited(&mut world, "c");
    world.settle();
    world.away = true;
    world.pass(SOAK);
    let decision = world.round();
    assert_eq!((decision.step, decision.run), (Step::Hold, vec!["b".to_owned(), "a".to_owned(), "c".to_owned()]));
}

#[test]
fn a_move_that_status_was_not_told_of_is_found_and_the_soak_begins_there() {
    for cut in [Cut::AfterIntent, Cut::AfterMove] {
        let mut world = World::serving("a");
        edited(&mut world, "b");
        world.settle();
        world.pass(STABLE);
        assert_eq!(world.cut(cut).step, Step::Promote);
        world.settle();
        let status = &world.status;
        assert_eq!((world.live.as_deref(), status.previous_revision.as_deref()), (Some("b"), Some("a")), "{cut:?}");
        world.pass(SOAK - 1);
        world.settle();
        assert_eq!(run(&world), ["a", "b"]);
    }
}

#[test]
fn a_status_that_was_lost_in_the_soak_is_rebuilt_with_its_time() {
    let mut world = soaking();
    let before = world.status.clone();
    world.pass(SOAK / 2);
    world.status = crds::FeatureViewStatus::default();
    world.settle();
    assert_eq!(world.status, before);
}

#[test]
fn a_status_that_was_lost_after_going_back_knows_which_is_the_newer() {
    let mut world = soaking();
    world.policy.pin = Some("a".into());
    world.settle();
    let before = world.status.clone();
    world.status = crds::FeatureViewStatus::default();
    world.settle();
    assert_eq!(world.status, before);
}

#[test]
fn what_was_being_removed_when_status_and_store_were_lost_leaves_nothing_behind() {
    let mut world = soaking();
    world.pass(SOAK);
    world.round();
    assert_eq!(world.status.retiring.len(), 1);
    // Nothing is live, and the workers of what is being removed wrote rows once more before they went.
    world.happens(&any_story::Happens::StoreIsLost);
    world.wanted = None;
    world.read();
    world.cut(Cut::AfterApply);
    assert_eq!((run(&world), world.rows.contains_key("a")), (vec!["b"], true));
    world.status = crds::FeatureViewStatus::default();
    edited(&mut world, "b");
    world.settle();
    assert_eq!(world.live.as_deref(), Some("b"));
    assert_eq!(world.rows.keys().collect::<Vec<_>>(), ["b"]);
    assert!(world.status.retiring.is_empty());
}

#[test]
fn what_was_being_removed_is_known_again_although_the_first_round_was_cut_off() {
    for cut in [Cut::AfterIntent, Cut::AfterMove] {
        let mut world = soaking();
        world.lagging.insert("c".into());
        edited(&mut world, "c");
        world.settle();
        edited(&mut world, "b");
        world.round();
        world.cut(Cut::AfterApply);
        assert_eq!((run(&world), world.rows.contains_key("c")), (vec!["a", "b"], true));
        world.status = crds::FeatureViewStatus::default();
        // The intent to go back stands in status, and nothing else does.
        world.policy.pin = Some("a".into());
        assert_eq!(world.cut(cut).step, Step::Return);
        world.settle();
        assert_eq!((world.live.as_deref(), world.rows.contains_key("c")), (Some("a"), false), "{cut:?}");
        assert_eq!(world.status.previous_revision.as_deref(), Some("b"), "{cut:?}");
    }
}

#[test]
fn a_source_is_read_when_every_partition_was_read_to_its_end_of_late() {
    let marker = |read_to_end_at| Marker { offset: 1, event_time: 1, end_offset: 1, read_to_end_at };
    let markers = |partitions, all: &[i64]| Markers {
        partitions,
        complete_from_ms: None,
        by_partition: (0..).zip(all.iter().copied().map(marker)).collect(),
    };
    assert!(caught_up(&markers(Some(2), &[1_000, 1_000]), 2_000, 1_000));
    assert!(!caught_up(&markers(Some(2), &[1_000, 999]), 2_000, 1_000));
    assert!(!caught_up(&markers(Some(2), &[1_000, 0]), 500, 1_000));
    assert!(!caught_up(&markers(Some(3), &[1_000, 1_000]), 1_000, 1_000));
    assert!(!caught_up(&markers(None, &[1_000]), 1_000, 1_000));
    assert!(!caught_up(&markers(Some(0), &[]), 1_000, 1_000));
}

#[test]
fn a_change_of_the_mode_waits_for_its_turn_and_is_not_called_back() {
    let mut world = World::serving("a");
    world.queued = true;
    edited(&mut world, "b");
    world.settle();
    world.pass(DEADLINE);
    let waiting = world.round();
    assert_eq!((waiting.step, run(&world), waiting.memory.candidate), (Step::AwaitTurn, vec!["a"], None));
    world.queued = false;
    assert_eq!(world.round().step, Step::Replay, "waiting takes nothing of its deadline");
    // Once it runs it is a candidate like any other.
    world.queued = true;
    world.settle();
    world.pass(STABLE);
    assert_eq!((world.round().step, world.live.as_deref()), (Step::Promote, Some("b")));
    // The way back needs no turn, and there is none to wait for where nothing is live.
    edited(&mut world, "a");
    assert_eq!(world.round().step, Step::Return);
    world.live = None;
    assert_eq!(world.round().step, Step::Adopt);
}

//! The decision table, and what holds for all facts.
#![allow(clippy::unwrap_used)]

use engine::row::Marker;
use proptest::prelude::*;

use super::*;

fn set(revisions: &[&str]) -> BTreeSet<String> {
    revisions.iter().map(|r| (*r).to_owned()).collect()
}

fn facts(wanted: Option<&str>, live: Result<Option<&str>, ()>) -> Facts {
    Facts {
        wanted: wanted.map(str::to_owned),
        live: live.map(|l| l.map(str::to_owned)),
        reported: BTreeSet::new(),
        reported_active: None,
        retiring: BTreeSet::new(),
        present: BTreeSet::new(),
        planned: set(&["a", "b", "c"]),
        caught_up: false,
        unrun: false,
        suspended: false,
    }
}

#[test]
fn a_first_revision_is_live_at_once() {
    let decision = decide(&facts(Some("a"), Ok(None)));
    assert_eq!(
        (decision.step, decision.run, decision.candidate),
        (Step::Adopt, vec!["a".to_owned()], Some("a".to_owned()))
    );
}

#[test]
fn a_new_revision_runs_beside_the_live_one_until_it_has_caught_up() {
    let mut f = facts(Some("b"), Ok(Some("a")));
    let decision = decide(&f);
    assert_eq!((decision.step, decision.run), (Step::CatchUp, vec!["a".to_owned(), "b".to_owned()]));
    assert!(decision.retire.is_empty());
    f.caught_up = true;
    assert_eq!(decide(&f).step, Step::Promote);
    f.suspended = true;
    assert_eq!(decide(&f).step, Step::CatchUp);
}

#[test]
fn after_the_move_the_old_revision_is_removed() {
    let mut f = facts(Some("b"), Ok(Some("b")));
    (f.present, f.reported) = (set(&["a", "b"]), set(&["a", "b"]));
    let decision = decide(&f);
    assert_eq!((decision.step, decision.run, decision.retire), (Step::Serve, vec!["b".to_owned()], set(&["a"])));
}

#[test]
fn a_newer_edit_takes_the_candidates_place() {
    let mut f = facts(Some("c"), Ok(Some("a")));
    (f.present, f.reported) = (set(&["a", "b"]), set(&["a", "b"]));
    let decision = decide(&f);
    assert_eq!((decision.run, decision.retire), (vec!["a".to_owned(), "c".to_owned()], set(&["b"])));
}

#[test]
fn an_edit_that_is_taken_back_serves_on() {
    let mut f = facts(Some("a"), Ok(Some("a")));
    f.present = set(&["a", "b"]);
    assert_eq!((decide(&f).step, decide(&f).retire), (Step::Serve, set(&["b"])));
}

#[test]
fn a_revision_that_is_being_removed_must_be_gone_before_it_comes_back() {
    let mut f = facts(Some("a"), Ok(Some("b")));
    f.retiring = set(&["a"]);
    let decision = decide(&f);
    assert_eq!((decision.step, decision.run, decision.retire), (Step::AwaitRemoval, vec!["b".to_owned()], set(&["a"])));
}

#[test]
fn a_refused_spec_leaves_the_live_revision_alone() {
    let mut f = facts(None, Ok(Some("a")));
    f.present = set(&["a"]);
    let decision = decide(&f);
    assert_eq!((decision.step, decision.run, decision.retire), (Step::Hold, vec!["a".to_owned()], set(&[])));
}

#[test]
fn without_the_store_nothing_moves_and_workers_stay() {
    let mut f = facts(Some("b"), Err(()));
    (f.reported_active, f.caught_up, f.present) = (Some("a".to_owned()), true, set(&["a", "b", "c"]));
    let decision = decide(&f);
    assert_eq!((decision.step, decision.run), (Step::Hold, vec!["a".to_owned(), "b".to_owned()]));
    assert!(decision.retire.is_empty());
}

#[test]
fn a_source_is_read_when_every_partition_was_read_to_its_end_of_late() {
    let marker = |read_to_end_at| Marker { offset: 1, event_time: 1, end_offset: 1, read_to_end_at };
    let markers = |partitions, all: &[i64]| Markers {
        partitions,
        by_partition: (0..).zip(all.iter().copied().map(marker)).collect(),
    };
    assert!(caught_up(&markers(Some(2), &[1_000, 1_000]), 2_000, 1_000));
    assert!(!caught_up(&markers(Some(2), &[1_000, 999]), 2_000, 1_000));
    assert!(!caught_up(&markers(Some(2), &[1_000, 0]), 500, 1_000));
    assert!(!caught_up(&markers(Some(3), &[1_000, 1_000]), 1_000, 1_000));
    assert!(!caught_up(&markers(None, &[1_000]), 1_000, 1_000));
    assert!(!caught_up(&markers(Some(0), &[]), 1_000, 1_000));
}

fn revision() -> impl Strategy<Value = Option<String>> {
    prop::option::of("[abc]")
}

fn revisions() -> impl Strategy<Value = BTreeSet<String>> {
    prop::collection::btree_set("[abc]", 0..3)
}

proptest! {
    #[test]
    fn what_is_read_is_never_removed_and_the_pointer_moves_only_when_it_may(
        wanted in revision(), known in any::<bool>(), live in revision(), reported_active in revision(), reported in revisions(),
        retiring in revisions(), present in revisions(), planned in revisions(), caught_up in any::<bool>(), suspended in any::<bool>(),
        unrun in any::<bool>(),
    ) {
        let live = if known { Ok(live) } else { Err(()) };
        let f = Facts { wanted, live: live.clone(), reported, reported_active, retiring, present, planned, caught_up, unrun, suspended };
        let d = decide(&f);
        prop_assert_eq!(&d, &decide(&f));
        for kept in d.run.iter().chain(&d.active).chain(&d.candidate) {
            prop_assert!(!d.retire.contains(kept));
        }
        if let Ok(Some(live)) = &live {
            prop_assert_eq!(d.active.as_ref(), Some(live));
            prop_assert!(!f.planned.contains(live) || d.run.contains(live));
        }
        if d.step == Step::Promote {
            prop_assert!(f.caught_up && !f.suspended && d.candidate.is_some());
        }
        if matches!(d.step, Step::Adopt | Step::Promote) {
            prop_assert!(known && d.candidate == f.wanted && !f.retiring.iter().any(|r| Some(r) == d.candidate.as_ref()));
        }
        if let Some(first) = &d.first {
            prop_assert!(f.unrun && d.run.contains(first) && f.wanted.as_ref() == Some(first));
        }
        if !known {
            prop_assert!(d.step == Step::Hold && d.retire.iter().all(|r| f.retiring.contains(r)));
        }
    }
}

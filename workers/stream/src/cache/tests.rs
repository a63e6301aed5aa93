//! What is written from where, and what may be dropped.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::*;
use crate::fixtures::plan_run;

const EVER: Option<i64> = None;

fn empty(complete: bool) -> LaneCache {
    LaneCache::new(complete, 0, Arc::default())
}

fn expiry(ttl_ms: Option<i64>, now: Instant) -> Expiry {
    Expiry { ttl_ms, now }
}

#[test]
fn a_write_goes_from_what_the_store_has_to_what_the_lane_has() {
    let (plan, now) = (plan_run(), Instant::now());
    let mut cache = empty(false);
    let (slot, load) = cache.slot("ada");
    assert!(load, "the store may have it");
    assert_eq!(cache.slot("ada"), (slot, false), "asked once");
    assert!(cache.takes(slot, 4));
    let (writes, slots) = cache.writes(&plan.layout, "p/", expiry(EVER, now));
    assert_eq!((writes[0].key.as_str(), writes[0].base, writes[0].new, writes[0].whole), ("p/ada", None, 5, true));
    assert_eq!(cache.writes(&plan.layout, "p/", expiry(EVER, now)).0, [], "nothing changed");
    cache.written(&slots);
    assert!(!cache.takes(slot, 4), "it is in there");
    assert!(cache.takes(slot, 9));
    let (writes, _) = cache.writes(&plan.layout, "p/", expiry(EVER, now));
    assert_eq!((writes[0].base, writes[0].new, writes[0].whole), (Some(5), 10, false));
    cache.needs_whole(slot);
    let (writes, _) = cache.writes(&plan.layout, "p/", expiry(EVER, now));
    assert_eq!((writes[0].base, writes[0].new, writes[0].whole), (None, 10, true));
}

#[test]
fn a_loaded_lane_has_its_base_and_skips_what_it_holds() {
    let plan = plan_run();
    let mut cache = empty(false);
    let (slot, _) = cache.slot("ada");
    let mut lane = Lane::new();
    lane.set_offset(7);
    cache.load(slot, lane);
    assert!(!cache.takes(slot, 6));
    assert!(cache.takes(slot, 7));
    let (writes, _) = cache.writes(&plan.layout, "p/", expiry(EVER, Instant::now()));
    assert_eq!((writes[0].base, writes[0].new, writes[0].whole), (Some(7), 8, false));
}

#[test]
fn a_row_that_may_have_expired_is_written_whole() {
    let (plan, start) = (plan_run(), Instant::now());
    let mut cache = empty(true);
    let (slot, load) = cache.slot("ada");
    assert!(!load, "nothing is stored that was not read here");
    for (offset, after, expired) in [(0, 0, false), (1, 800, false), (2, 800 + 901, true)] {
        let _ = cache.takes(slot, offset);
        let now = start + Duration::from_millis(after);
        let (writes, _) = cache.writes(&plan.layout, "p/", expiry(Some(1_000), now));
        assert_eq!(writes[0].may_have_expired, expired, "after {after} ms");
        assert!(writes[0].whole || !expired);
    }
}

#[test]
fn only_what_the_store_has_is_dropped_and_then_it_is_read_back() {
    let (plan, now) = (plan_run(), Instant::now());
    let mut cache = empty(true);
    let (changed, _) = cache.slot("changed");
    let (writing, _) = cache.slot("writing");
    let (stored, _) = cache.slot("stored");
    for slot in [writing, stored] {
        let _ = cache.takes(slot, 0);
    }
    let _ = cache.writes(&plan.layout, "p/", expiry(EVER, now));
    cache.written(&[stored]);
    let _ = cache.takes(changed, 1);
    let before = cache.bytes();
    cache.shrink(0);
    assert_eq!(cache.len(), 2);
    assert!(cache.bytes() < before && cache.bytes() > 0);
    assert_eq!(cache.slot("changed"), (changed, false));
    assert_eq!(cache.slot("writing"), (writing, false));
    let (again, load) = cache.slot("stored");
    assert_eq!((again, load), (stored, true), "its slot is used again, and its row must be read");
    assert!(cache.slot("new").1, "the store may have any other too, for all we know");
}

#[test]
fn a_row_that_was_read_back_may_expire_before_it_is_written() {
    let (plan, now) = (plan_run(), Instant::now());
    let mut cache = empty(false);
    let (slot, _) = cache.slot("ada");
    let mut lane = Lane::new();
    lane.set_offset(7);
    cache.load(slot, lane);
    let _ = cache.takes(slot, 7);
    let (writes, _) = cache.writes(&plan.layout, "p/", expiry(Some(3_600_000), now));
    // Its last write may have been nearly an hour ago: gone by now, it is no loss of the store's.
    let write = &writes[0];
    let outcome = shell::store::decide(None, write.base, write.new, write.whole, write.may_have_expired);
    assert_eq!(outcome, shell::store::Outcome::Written);
}

#[test]
fn the_lane_of_who_was_erased_begins_where_the_tombstone_ends() {
    let (plan, now) = (plan_run(), Instant::now());
    let mut erased = Erased { version: 3, ..Erased::default() };
    erased.tombstones.add("ada", &engine::erase::Covers { offsets: [(7, 10), (8, 50)].into(), before_ms: 0 });
    let mut cache = LaneCache::new(true, 7, Arc::new(erased));
    let (ada, bob) = (cache.slot("ada").0, cache.slot("bob").0);
    assert!(!cache.takes(ada, 9), "it was erased");
    assert!(cache.takes(bob, 9));
    assert_eq!(cache.changed(), 1, "nothing is written of who has no other event");
    assert!(cache.takes(ada, 10));
    let (writes, _) = cache.writes(&plan.layout, "p/", expiry(EVER, now));
    assert_eq!(writes.iter().map(|write| (write.base, write.new)).collect::<Vec<_>>(), [(None, 10), (None, 11)]);
}

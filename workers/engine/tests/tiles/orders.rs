//! Any order of the same events gives the same lane bytes; any split gives the same merged bytes; no history of flushes
//! and restarts shows.

use std::collections::BTreeMap;

use engine::lane::{Lane, Layout, merge};
use proptest::prelude::*;

use crate::events::{Batch, Event, events};
use crate::plans::any_plan;

pub type Stored = BTreeMap<u8, Vec<u8>>;

/// Every segment of a lane.
pub fn whole(layout: &Layout, lane: &Lane) -> Stored {
    let mut lane = lane.clone();
    lane.forget_written();
    lane.encode(layout).segments.into_iter().collect()
}

pub fn flush(layout: &Layout, lane: &mut Lane, stored: &mut Stored) {
    let encoded = lane.encode(layout);
    stored.extend(encoded.segments);
    encoded.removed.iter().for_each(|number| drop(stored.remove(number)));
}

pub fn load(layout: &Layout, stored: &Stored) -> Lane {
    let segments: Vec<(u8, &[u8])> = stored.iter().map(|(number, bytes)| (*number, bytes.as_slice())).collect();
    Lane::decode(layout, &segments).unwrap()
}

pub fn lane_of(layout: &Layout, events: &[Event]) -> Lane {
    let mut lane = Lane::new();
    (0..events.len()).for_each(|row| lane.insert(layout, &Batch(events), row));
    lane
}

/// Whether before an event the lane is flushed, and whether it then is read back.
pub fn history(most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![6 => Just(0_u8), 1 => Just(1_u8), 1 => Just(2_u8)], most + 1)
}

/// Runs one lane through a history; the flushed bytes and the lane.
pub fn run(layout: &Layout, events: &[Event], history: &[u8]) -> (Stored, Lane) {
    let (mut stored, mut lane) = (Stored::new(), Lane::new());
    for (row, act) in (0..events.len()).zip(history) {
        if *act > 0 {
            flush(layout, &mut lane, &mut stored);
        }
        if *act > 1 {
            lane = load(layout, &stored);
        }
        lane.insert(layout, &Batch(events), row);
    }
    flush(layout, &mut lane, &mut stored);
    (stored, lane)
}

fn shuffled(most: usize) -> impl Strategy<Value = (Vec<Event>, Vec<Event>)> {
    events(most).prop_flat_map(|events| (Just(events.clone()), Just(events).prop_shuffle()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_order_and_history_give_the_same_bytes(
        plan in any_plan(6), (events, other) in shuffled(120), acts in history(121),
    ) {
        let layout = Layout::new(&plan).unwrap();
        let lane = lane_of(&layout, &events);
        let (stored, _) = run(&layout, &other, &acts);
        prop_assert_eq!(&whole(&layout, &lane), &stored);
        prop_assert_eq!(&whole(&layout, &load(&layout, &stored)), &stored);
    }

    #[test]
    fn many_at_once_give_the_bytes_of_one_by_one(
        plan in any_plan(6), (events, other) in shuffled(120), cuts in prop::collection::vec(0_usize..121, 0..4),
    ) {
        let layout = Layout::new(&plan).unwrap();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(other.len())).chain([0, other.len()]).collect();
        cuts.sort_unstable();
        // One lane is used again for each, as whoever folds many does.
        let mut lane = lane_of(&layout, &other);
        lane.restart(&Lane::new());
        let mut stored = Stored::new();
        for cut in cuts.windows(2) {
            lane.extend(&layout, &Batch(&other), cut[0]..cut[1]);
            flush(&layout, &mut lane, &mut stored);
        }
        prop_assert_eq!(&whole(&layout, &lane_of(&layout, &events)), &stored);
    }

    #[test]
    fn any_split_merges_to_the_same_bytes(
        plan in any_plan(6), (events, other) in shuffled(120), lanes in prop::collection::vec(0_usize..4, 121),
    ) {
        let layout = Layout::new(&plan).unwrap();
        let mut parts = vec![Vec::new(); 4];
        other.iter().zip(lanes).for_each(|(event, lane)| parts[lane].push(event.clone()));
        let mut split: Vec<Lane> = parts.iter().map(|events| lane_of(&layout, events)).collect();
        let expected = whole(&layout, &lane_of(&layout, &events));
        prop_assert_eq!(&whole(&layout, &merge(&layout, &split)), &expected);
        // Merging is associative and commutative.
        let last = split.pop().unwrap();
        let some = merge(&layout, &split);
        prop_assert_eq!(&whole(&layout, &merge(&layout, &[last, some])), &expected);
    }
}

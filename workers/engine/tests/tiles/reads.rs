//! Reads against the oracle.

use engine::lane::{Lane, Layout};
use engine::plan::Plan;
use engine::read::{Reader, Status};
use proptest::prelude::*;

use crate::events::{Batch, D, Event, H, M, events};
use crate::oracle;
use crate::orders::{Stored, flush, history, load};
use crate::plans::any_plan;

/// Reads all features at `t`; each must be what the oracle says, or inexact if `t` is too far back for an exact one.
fn check(plan: &Plan, layout: &Layout, lanes: &[Lane], seen: &[Event], t: i64) {
    let all: Vec<usize> = (0..plan.features.len()).collect();
    let newest = seen.iter().map(|e| e.time).max();
    let must = newest.is_none_or(|n| t >= n - plan.time.allowed_lateness_ms - plan.time.max_future_ms);
    for (f, read) in Reader::new(layout).read(lanes, t, &all).iter().enumerate() {
        if read.status == Status::Inexact {
            assert!(!must, "feature {f} is inexact at {t}, newest {newest:?}");
            continue;
        }
        assert_eq!(read.status == Status::Present, read.value.is_some());
        oracle::check(plan, f, seen, t, read.value.as_ref());
        // One feature alone reads as it does among others.
        assert_eq!(&Reader::new(layout).read(lanes, t, &[f])[0], read);
    }
}

/// Times before, at and after the newest event, and some long past.
fn moments() -> impl Strategy<Value = Vec<i64>> {
    let near = prop_oneof![Just(0), Just(1), Just(-1), -5 * H..5 * H, -90 * M..90 * M];
    let far = prop_oneof![-60 * D..60 * D, (-40_i64..40).prop_map(|d| d * D)];
    prop::collection::vec(prop_oneof![3 => near, 1 => far], 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_read_is_exact_or_says_that_it_is_not(
        plan in any_plan(7),
        (events, cut) in events(150).prop_flat_map(|e| { let n = e.len(); (Just(e).prop_shuffle(), 0..=n) }),
        lanes in prop::collection::vec(0_usize..3, 151),
        acts in history(151),
        moments in moments(),
    ) {
        let layout = Layout::new(&plan).unwrap();
        let mut open: Vec<(Lane, Stored)> = vec![Default::default(); 3];
        for (row, event) in events.iter().enumerate() {
            let (lane, stored) = &mut open[lanes[row]];
            if acts[row] > 0 {
                flush(&layout, lane, stored);
            }
            if acts[row] > 1 {
                *lane = load(&layout, stored);
            }
            lane.insert(&layout, &Batch(&events), row);
            if row + 1 == cut || row + 1 == events.len() {
                let lanes: Vec<Lane> = open.iter().map(|o| o.0.clone()).collect();
                for moment in &moments {
                    check(&plan, &layout, &lanes, &events[..=row], event.time + moment);
                    let newest = events[..=row].iter().map(|e| e.time).max().unwrap();
                    check(&plan, &layout, &lanes, &events[..=row], newest + moment);
                }
            }
        }
    }
}

#[test]
fn an_entity_without_events_counts_zero_and_is_null_otherwise() {
    use crate::plans::{Spec, plan, sliding};
    use engine::plan::Function;
    let spec = |function, input| Spec { function, input, condition: None, windows: vec![sliding(H, None)] };
    let plan = plan(&[spec(Function::Count, None), spec(Function::Sum, Some(1))], 0, 0);
    let layout = Layout::new(&plan).unwrap();
    for lanes in [vec![], vec![Lane::new()]] {
        let reads = Reader::new(&layout).read(&lanes, 5, &[0, 1]);
        assert_eq!(reads[0].value, Some(engine::value::Value::Int64(0)));
        assert_eq!((reads[1].status, &reads[1].value, reads[1].newest), (Status::Null, &None, None));
    }
}

//! A batch lane below a horizon and stream lanes from it on, against the stated rule evaluated by the oracle.
//!
//! The rule: of the events below the horizon those count that had arrived when the batch ran; of the others all that have
//! arrived. Batch and stream see different sets of events, in different orders, as life has it.

use engine::lane::{Lane, Layout};
use engine::plan::Plan;
use engine::read::{Layer, Read, Reader, Status};
use engine::time::{coarsest_hop, floor, horizon};
use proptest::prelude::*;

use crate::events::{D, Event, H, M, events};
use crate::oracle;
use crate::orders::{lane_of, load, whole};
use crate::plans::{any_lambda, any_plan};

const PARTITIONS: usize = 3;

/// An event, how long it was under way, and the partition it came by.
type Arrival = (Event, i64, usize);

/// Everything that has arrived by some time, as a batch run and stream workers made it.
struct World {
    batch: Vec<Event>,
    stream: Vec<Event>,
    batch_lane: Lane,
    stream_lanes: Vec<Lane>,
    horizon: i64,
}

impl World {
    /// The batch ran at `batch_at`, its lane ends at `horizon`; the stream has read what had arrived at `now`.
    fn new(layout: &Layout, arrivals: &[Arrival], horizon: i64, batch_at: i64, now: i64) -> Self {
        let mut arrivals = arrivals.to_vec();
        arrivals.sort_by_key(|(event, delay, _)| event.time + delay);
        let by = |until: i64| arrivals.iter().filter(move |(event, delay, _)| event.time + delay <= until);
        let mut batch: Vec<Event> = by(batch_at).map(|(e, ..)| e).filter(|e| e.time < horizon).cloned().collect();
        // A table has an order of its own.
        batch.reverse();
        let mut partitions = vec![Vec::new(); PARTITIONS];
        by(now).for_each(|(event, _, partition)| partitions[*partition].push(event.clone()));
        let through_bytes = |events: &Vec<Event>| load(layout, &whole(layout, &lane_of(layout, events)));
        Self {
            batch_lane: through_bytes(&batch),
            stream_lanes: partitions.iter().map(through_bytes).collect(),
            batch,
            stream: partitions.concat(),
            horizon,
        }
    }

    /// What counts by the rule.
    fn counted(&self) -> Vec<Event> {
        let fresh = self.stream.iter().filter(|e| e.time >= self.horizon);
        self.batch.iter().chain(fresh).cloned().collect()
    }

    fn newest(&self) -> Option<i64> {
        self.batch.iter().chain(&self.stream).map(|e| e.time).max()
    }

    fn read(&self, plan: &Plan, layout: &Layout, t: i64) -> Vec<Read> {
        let all: Vec<usize> = (0..plan.features.len()).collect();
        let batch = Layer::whole(std::slice::from_ref(&self.batch_lane));
        let stream = Layer { lanes: &self.stream_lanes, from: self.horizon, complete_from: i64::MIN };
        Reader::new(layout).read_layers(&[batch, stream], t, &all)
    }

    /// Every read at `t` must be the rule's value, or inexact where it may be.
    fn check(&self, plan: &Plan, layout: &Layout, t: i64, max_age: i64) {
        let counted = self.counted();
        let slack = plan.time.allowed_lateness_ms + plan.time.max_future_ms;
        let must =
            self.newest().is_none_or(|n| t >= n - slack && n - self.horizon <= max_age + plan.time.max_future_ms);
        for (f, read) in self.read(plan, layout, t).iter().enumerate() {
            if read.status == Status::Inexact {
                assert!(!must, "feature {f} is inexact at {t}, horizon {}, newest {:?}", self.horizon, self.newest());
                assert_eq!(read.value, None);
                continue;
            }
            oracle::check(plan, f, &counted, t, read.value.as_ref());
        }
    }
}

fn arrivals(most: usize, longest: i64) -> impl Strategy<Value = Vec<Arrival>> {
    let delay = prop_oneof![2 => Just(0), 3 => 0..=longest.min(H), 3 => 0..=longest];
    (events(most), prop::collection::vec((delay, 0..PARTITIONS), most + 1)).prop_map(|(events, ways)| {
        events.into_iter().zip(ways).map(|(event, (delay, partition))| (event, delay, partition)).collect()
    })
}

/// A time among the events: where in their span, in thousandths, and how far beside.
fn moment() -> impl Strategy<Value = (i64, i64)> {
    (0_i64..1_100, prop_oneof![Just(0), Just(1), Just(-1), -5 * H..5 * H, -40 * D..40 * D])
}

fn at(arrivals: &[Arrival], (share, beside): (i64, i64)) -> i64 {
    let times = || arrivals.iter().map(|a| a.0.time);
    let (first, last) = (times().min().unwrap_or(0), times().max().unwrap_or(0));
    first + (last - first) / 1_000 * share + beside
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn batch_below_and_stream_from_the_horizon_on_are_the_stated_rule(
        (plan, max_age) in any_lambda(6),
        arrivals in arrivals(120, 20 * D),
        horizons in prop::collection::vec(moment(), 1..4),
        batch_at in moment(), now in moment(),
        reads in prop::collection::vec((-1_i64..2, prop_oneof![Just(0), Just(1), Just(-1), -2 * D..2 * D]), 1..4),
    ) {
        let layout = Layout::new(&plan).unwrap();
        for horizon in horizons {
            let horizon = floor(at(&arrivals, horizon), coarsest_hop(&plan));
            let world = World::new(&layout, &arrivals, horizon, at(&arrivals, batch_at), at(&arrivals, now));
            for (side, beside) in &reads {
                // Before, at and after the horizon, and around the newest event.
                world.check(&plan, &layout, horizon + side * D + beside, max_age);
                if let Some(newest) = world.newest() {
                    world.check(&plan, &layout, newest + beside, max_age);
                }
            }
        }
    }

    #[test]
    fn a_plan_that_keeps_no_more_for_a_horizon_is_exact_or_says_that_it_is_not(
        plan in any_plan(6), arrivals in arrivals(120, 20 * D), horizon in moment(), now in moment(),
    ) {
        let layout = Layout::new(&plan).unwrap();
        let (horizon, now) = (floor(at(&arrivals, horizon), coarsest_hop(&plan)), at(&arrivals, now));
        let world = World::new(&layout, &arrivals, horizon, now, now);
        // No horizon is so young that its lifetime features must be exact.
        world.check(&plan, &layout, now, i64::MIN / 4);
    }

    #[test]
    fn with_nothing_later_than_the_lateness_it_equals_one_pass_over_everything(
        ((plan, _), arrivals) in any_lambda(6).prop_flat_map(|(plan, age)| {
            let longest = plan.time.allowed_lateness_ms;
            (Just((plan, age)), arrivals(120, longest))
        }),
        batch_at in moment(), later in prop_oneof![Just(0), 0..H, 0..3 * D],
        reads in prop::collection::vec(prop_oneof![Just(0), -90 * M..90 * M, -D..D], 1..4),
    ) {
        let layout = Layout::new(&plan).unwrap();
        let batch_at = at(&arrivals, batch_at);
        // Whatever happened more than the lateness before the batch ran has arrived by then.
        let horizon = horizon(&plan, batch_at);
        let world = World::new(&layout, &arrivals, horizon, batch_at, batch_at + later);
        let all = lane_of(&layout, &world.stream);
        let features: Vec<usize> = (0..plan.features.len()).collect();
        for beside in reads {
            let t = batch_at + later + beside;
            let whole = Reader::new(&layout).read(std::slice::from_ref(&all), t, &features);
            for (split, whole) in world.read(&plan, &layout, t).iter().zip(&whole) {
                if split.status != Status::Inexact && whole.status != Status::Inexact {
                    prop_assert_eq!((&split.value, split.status, split.overflow), (&whole.value, whole.status, whole.overflow));
                }
            }
        }
    }
}

#[test]
fn a_lifetime_tile_that_grew_over_the_horizon_is_said_and_harms_no_other_feature() {
    use crate::plans::{Spec, plan, sliding};
    use engine::plan::{Function, Window};
    use engine::value::Value;
    let spec = |window| Spec { function: Function::Count, input: None, condition: None, windows: vec![window] };
    let plan = plan(&[spec(Window::Lifetime), spec(sliding(H, None))], 0, 0);
    let layout = Layout::new(&plan).unwrap();
    let event = |time| Event { time, conditions: vec![true; 2], values: vec![None; 6] };
    let stream = [lane_of(&layout, &[event(-1), event(5), event(10 * H)])];
    let read = |from: i64, t: i64| {
        let reads =
            Reader::new(&layout).read_layers(&[Layer { lanes: &stream, from, complete_from: i64::MIN }], t, &[0, 1]);
        (reads[0].status, reads[0].value.clone(), reads[1].value.clone())
    };
    let count = |n| Some(Value::Int64(n));
    // The event at 5 is in the tile of all time with the one before the horizon.
    assert_eq!(read(0, 10 * H), (Status::Inexact, None, count(0)));
    assert_eq!(read(0, 10 * H + 1), (Status::Inexact, None, count(1)));
    // From the newest event on nothing has been folded away.
    assert_eq!(read(10 * H, 10 * H + 1), (Status::Present, count(1), count(1)));
    // A young lane has nothing in the tile of all time.
    let young = [lane_of(&layout, &[event(7)])];
    let layer = Layer { lanes: &young, from: 0, complete_from: i64::MIN };
    assert_eq!(Reader::new(&layout).read_layers(&[layer], M, &[0])[0].value, count(1));
}

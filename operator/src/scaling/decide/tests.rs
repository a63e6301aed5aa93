//! Scaling played through: a topic, workers that manage so much, and the decision every fifteen seconds.
#![allow(clippy::unwrap_used, clippy::panic, clippy::cast_possible_truncation, clippy::cast_precision_loss)]

use proptest::prelude::*;

use super::*;
use crate::lag::measure::Moved;
use crate::scaling::{Flow, told};

const STEP: i64 = 15_000;
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const T0: i64 = 1_700_000_000_000;

/// How many records a second so many workers read together, while records wait.
#[derive(Clone, Copy, Debug)]
struct Manages {
    /// What one reads.
    each: f64,
    /// How well they add up: 1 is perfectly.
    power: f64,
    /// What all of them cannot exceed.
    most: f64,
}

impl Manages {
    fn of(&self, workers: i32) -> f64 {
        (self.each * f64::from(workers).powf(self.power)).min(self.most)
    }
}

/// A view that is scaled.
struct World {
    policy: Policy,
    partitions: i32,
    manages: Manages,
    /// Pseudo-random, between 0 and 1.
    noise: Vec<f64>,
    /// How many steps it takes until workers are ready.
    starts: usize,
    now: i64,
    waiting: f64,
    /// What was asked for, and when it is ready.
    ready: i32,
    pending: Option<(i32, usize)>,
    flow: Flow,
    memory: Memory,
    /// All changes, as (time, from, to).
    changes: Vec<(i64, i32, i32)>,
    /// Whether a restarted operator goes on at each step in so many.
    restarts: Option<usize>,
    steps: usize,
}

impl World {
    fn new(policy: Policy, partitions: i32, manages: Manages) -> Self {
        Self {
            policy,
            partitions,
            manages,
            noise: vec![0.5],
            starts: 1,
            now: T0,
            waiting: 0.0,
            ready: policy.min,
            pending: None,
            flow: Flow::default(),
            memory: Memory { desired: policy.min, ..Memory::default() },
            changes: Vec::new(),
            restarts: None,
            steps: 0,
        }
    }

    /// Fifteen seconds in which so many records come in each second.
    fn step(&mut self, load: f64) {
        self.now += STEP;
        self.steps += 1;
        let noise = |this: &Self, at: usize| 0.9 + 0.2 * this.noise[at % this.noise.len()];
        let produced = load * 15.0 * noise(self, self.steps);
        let can = self.manages.of(self.ready) * 15.0 * noise(self, self.steps * 7 + 3);
        let consumed = can.min(self.waiting + produced);
        self.waiting = self.waiting + produced - consumed;
        if let Some((to, steps)) = self.pending.take() {
            if steps == 0 { self.ready = to } else { self.pending = Some((to, steps - 1)) }
        }
        let moved = Moved {
            at: self.now,
            partitions: self.partitions,
            waiting: self.waiting.round() as i64,
            consumed: consumed.round() as i64,
            produced: produced.round() as i64,
        };
        self.flow = self.flow.look(moved, self.ready);
        let lag_ms = if self.waiting < 1.0 { 0 } else { (self.waiting / load.max(1.0) * 1000.0) as i64 };
        let figures = Figures {
            partitions: self.partitions,
            ready: self.ready,
            late: lag_ms > 120_000,
            lag_ms,
            rates: self.flow.rates(),
        };
        let before = self.memory.clone();
        self.memory = decide(&self.policy, &figures, &before, self.now);
        let (low, high) = self.policy.bounds(self.partitions);
        assert!((low..=high).contains(&self.memory.desired), "{:?} is not within {low} and {high}", self.memory);
        if self.memory.desired != before.desired {
            self.changes.push((self.now, before.desired, self.memory.desired));
            self.pending = Some((self.memory.desired, self.starts));
            let lag = self.waiting / load.max(1.0);
            // Bounds hold at once; all else waits until nothing does.
            let down = self.memory.desired < before.desired && before.desired <= high;
            assert!(
                !down || lag <= 120.0 && self.waiting <= (load * 5.5).max(100.0) + 1.0,
                "fewer while {lag} s behind"
            );
        }
        if self.restarts.is_some_and(|every| self.steps.is_multiple_of(every)) {
            self.memory = told::memory(&told::of(&self.memory, "a"));
            self.flow = Flow::default();
        }
    }

    fn steps(&mut self, of: i64, load: f64) {
        let end = self.now + of;
        while self.now < end {
            self.step(load);
        }
    }

    /// How often it turned from more to fewer, or back.
    fn turns(&self) -> usize {
        let up = |(_, from, to): &(i64, i32, i32)| to > from;
        self.changes.windows(2).filter(|pair| up(&pair[0]) != up(&pair[1])).count()
    }
}

fn policy(max: i32) -> Policy {
    Policy { min: 1, max, target_ms: MINUTE, up_cooldown_ms: 90_000, down_cooldown_ms: 10 * MINUTE }
}

fn each(each: f64) -> Manages {
    Manages { each, power: 1.0, most: f64::INFINITY }
}

#[test]
fn a_flood_is_read_by_more_workers_and_they_go_once_fewer_have_sufficed_for_the_cooldown() {
    let mut world = World::new(policy(8), 12, each(1000.0));
    world.steps(10 * MINUTE, 500.0);
    assert_eq!(world.changes, [], "one keeps up");
    world.waiting = 2_000_000.0;
    world.steps(15 * MINUTE, 500.0);
    let ups: Vec<(i32, i32)> = world.changes.iter().map(|(_, from, to)| (*from, *to)).collect();
    assert_eq!(ups, [(1, 2), (2, 4), (4, 8)], "many more would be needed, and each step is a doubling");
    assert!(world.changes.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 90_000));
    assert!(world.waiting < 1000.0, "{}", world.waiting);
    assert_eq!(world.memory.desired, 8);
    world.steps(30 * MINUTE, 500.0);
    let (at, from, to) = *world.changes.last().unwrap();
    assert_eq!((from, to, world.changes.len()), (8, 1, 4));
    assert!(at - world.changes[2].0 >= 10 * MINUTE);
    world.steps(10 * HOUR, 500.0);
    assert_eq!(world.changes.len(), 4, "and so it stays");
}

#[test]
fn where_something_else_is_the_bottleneck_it_stops_and_says_so_until_that_is_gone() {
    let manages = Manages { each: 1000.0, power: 1.0, most: 1500.0 };
    let mut world = World::new(policy(16), 32, manages);
    world.steps(HOUR, 4000.0);
    let known = world.memory.ineffective.unwrap();
    assert_eq!((known.from, known.to, world.memory.reason), (2, 4, Reason::Ineffective));
    let last = world.memory.last.unwrap();
    assert_eq!((last.effective, last.to), (Some(false), 4));
    let changes = world.changes.len();
    world.restarts = Some(97);
    world.steps(24 * HOUR, 4000.0);
    assert_eq!((world.changes.len(), world.memory.reason), (changes, Reason::Ineffective), "a restart forgets nothing");
    // The store has room again.
    world.manages.most = f64::INFINITY;
    world.steps(HOUR, 4000.0);
    assert_eq!(world.memory.ineffective, None);
    assert!(world.memory.desired > 4, "{:?}", world.memory);
}

#[test]
fn more_than_partitions_or_the_bound_is_not_asked_for_but_told() {
    let mut world = World::new(policy(16), 3, each(100.0));
    world.steps(30 * MINUTE, 1000.0);
    assert_eq!((world.memory.desired, world.memory.reason), (3, Reason::TooFewPartitions));
    let mut world = World::new(policy(3), 16, each(100.0));
    world.steps(30 * MINUTE, 1000.0);
    assert_eq!((world.memory.desired, world.memory.reason), (3, Reason::TooMany));
    // Bounds that change hold at once, even while it is late.
    world.policy.max = 2;
    world.step(1000.0);
    assert_eq!(world.memory.desired, 2);
    world.policy = Policy { min: 5, max: 9, ..world.policy };
    world.step(1000.0);
    assert_eq!(world.memory.desired, 5);
}

#[test]
fn workers_that_no_node_has_room_for_are_awaited_and_no_more_are_asked_for() {
    let mut world = World::new(policy(16), 16, each(100.0));
    world.starts = usize::MAX;
    world.steps(2 * HOUR, 1000.0);
    assert_eq!((world.changes.len(), world.memory.desired, world.memory.reason), (1, 2, Reason::Awaiting));
}

#[test]
fn what_is_late_for_another_reason_than_waiting_records_never_costs_a_worker() {
    let mut memory = Memory { desired: 4, ..Memory::default() };
    let rates = Rates { consumed: 10.0, produced: 10.0, at_rest: true, ..Rates::default() };
    let mut look = |late: bool, lag_ms: i64, at: i64| {
        let figures = Figures { partitions: 8, ready: 4, late, lag_ms, rates: Some(rates) };
        memory = decide(&policy(8), &figures, &memory, T0 + at);
        memory.desired
    };
    for minute in 0..120 {
        assert_eq!(look(true, 0, minute * MINUTE), 4, "a partition stands still");
        assert_eq!(look(false, 61_000, minute * MINUTE + 1), 4, "older than the target");
    }
    for minute in 120..130 {
        assert_eq!(look(false, 0, minute * MINUTE), 4, "not for ten minutes yet");
    }
    assert_eq!(look(false, 0, 130 * MINUTE), 3);
}

#[test]
fn what_an_outage_taught_is_forgotten_in_time() {
    let mut world = World::new(policy(8), 8, each(1000.0));
    world.manages.each = 40.0;
    world.steps(20 * MINUTE, 500.0);
    assert_eq!(world.memory.desired, 8);
    // It heals before anything waits long enough to show what a worker manages now.
    (world.manages.each, world.waiting) = (1000.0, 0.0);
    world.steps(12 * HOUR, 500.0);
    assert_eq!(world.memory.desired, 1, "{:?}", world.memory);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_load_that_stays_the_same_has_workers_come_and_go_no_more_than_it_takes(
        max in 1..=32_i32, partitions in 1..=48_i32, one in 20.0..3000.0_f64, power in 0.5..=1.0_f64,
        part in 0.01..1.5_f64, flood in 0.0..2.0_f64, starts in 0..6_usize,
        noise in prop::collection::vec(0.0..1.0_f64, 1..200), restarts in prop::option::of(5..200_usize),
    ) {
        let manages = Manages { each: one, power, most: f64::INFINITY };
        let mut world = World::new(policy(max), partitions, manages);
        let high = max.min(partitions);
        let load = part * manages.of(high);
        (world.noise, world.starts, world.restarts) = (noise, starts, restarts);
        // So many hours of what all of them manage.
        world.waiting = flood * 3600.0 * manages.of(high);
        world.steps(5 * HOUR, load);
        // A flood is worked off, what it needed goes, and a capacity that was believed too large is corrected.
        prop_assert!(world.turns() <= 4, "{:?}", world.changes);
        prop_assert!(world.changes.len() <= 40, "{:?}", world.changes);
        world.steps(19 * HOUR, load);
        // Every six hours it may be tried whether one fewer would do.
        prop_assert!(world.turns() <= 4 + 2 * 4, "{:?}", world.changes);
        if part < 0.7 {
            prop_assert!(world.waiting <= load * 180.0 + 100.0, "{} wait: {:?}", world.waiting, world.changes);
        }
    }

    #[test]
    fn where_more_workers_do_not_help_there_is_one_attempt_and_no_more(
        each in 100.0..2000.0_f64, workers in 1.0..6.0_f64, over in 1.3..5.0_f64,
        noise in prop::collection::vec(0.4..0.6_f64, 1..100), restarts in prop::option::of(5..200_usize),
    ) {
        let manages = Manages { each, power: 1.0, most: each * workers };
        let mut world = World::new(policy(64), 64, manages);
        (world.noise, world.restarts) = (noise, restarts);
        world.steps(24 * HOUR, manages.most * over);
        // At most twice what helps, and what helps a tenth of what was hoped for helps.
        prop_assert!(f64::from(world.memory.desired) <= 4.0 * workers.ceil(), "{:?}", world.changes);
        prop_assert_eq!(world.turns(), 0);
        let (at, ..) = *world.changes.last().unwrap();
        prop_assert!(at - T0 < 2 * HOUR, "{:?}", world.changes);
        prop_assert_eq!(world.memory.reason, Reason::Ineffective);
    }

    #[test]
    fn any_load_stays_within_the_bounds_and_is_never_left_alone(
        min in 1..8_i32, more in 0..24_i32, partitions in 1..40_i32, each in 20.0..2000.0_f64,
        loads in prop::collection::vec((0.0..20_000.0_f64, 1..40_i64), 1..30), restarts in prop::option::of(3..100_usize),
    ) {
        // `World::step` holds every step against the bounds, and every change to fewer against what waits.
        let policy = Policy { min, ..policy(min + more) };
        let mut world = World::new(policy, partitions, self::each(each));
        world.memory.desired = min.min(partitions);
        world.ready = world.memory.desired;
        world.restarts = restarts;
        for (load, minutes) in loads {
            world.steps(minutes * MINUTE, load);
        }
        for pair in world.changes.windows(2) {
            let (before, (at, from, to)) = (pair[0].0, pair[1]);
            let cooldown = if to > from { policy.up_cooldown_ms } else { policy.down_cooldown_ms };
            prop_assert!(at - before >= cooldown, "{:?}", world.changes);
        }
    }
}

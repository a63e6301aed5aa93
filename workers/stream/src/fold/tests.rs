//! A model: workers that crash, hang behind as zombies, drop lanes and lose the store's last writes while entities are
//! erased, in any order that chance gives, end with the rows of one that read everything at once and knew who was erased.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::erase::Covers;
use engine::row::Marker;
use prometheus_client::registry::Registry;
use rdkafka::message::{OwnedMessage, Timestamp};
use shell::store::{Eraser as _, Fence, MarkerWrite, MemoryStore, RowErasure, erase_rows};
use tokio::runtime::Runtime;

use super::*;
use crate::cache::Expiry;
use crate::fixtures::plan_run;
use crate::flush::{Part, execute};
use crate::start::{self, Observed, Start};

const PARTITION: i32 = 3;
const START: i64 = 1_700_000_000_000;

struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// One worker's reading of the partition.
struct Reader {
    state: PlanState,
    position: i64,
    /// A flush that has begun: what it writes reaches the store later, while the reading goes on.
    flight: Option<Part>,
}

impl Reader {
    /// The same, of a replay: events wait for the flush.
    fn deferred(self) -> Self {
        Self { state: self.state.deferred(), ..self }
    }
}

struct Bench {
    plans: Arc<[PlanRun]>,
    records: Vec<OwnedMessage>,
    runtime: Runtime,
    metrics: Metrics,
}

impl Bench {
    fn new(chance: &mut Chance, count: i64) -> Self {
        let record = |offset: i64| {
            let time = START + offset * 1_000 - i64::try_from(chance.below(600_000)).unwrap();
            let (user, amount) = (chance.below(12), chance.below(100));
            let payload = if chance.below(20) == 0 {
                "broken".to_owned()
            } else {
                format!(r#"{{"user":"u{user}","amount":{amount},"at":{time}}}"#)
            };
            let stamp = Timestamp::CreateTime(START + offset * 1_000);
            OwnedMessage::new(Some(payload.into_bytes()), None, "events".into(), stamp, PARTITION, offset, None)
        };
        let records = (0..count).map(record).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        Self { plans: [plan_run()].into(), records, runtime, metrics: Metrics::new(&mut Registry::default()) }
    }

    fn start(&self, store: &MemoryStore) -> Reader {
        let erased = self.runtime.block_on(self.plans[0].erased(store)).unwrap();
        let markers = self.runtime.block_on(store.markers(&self.plans[0].marker_key)).unwrap();
        let marker = markers.by_partition.get(&PARTITION).copied();
        let end = i64::try_from(self.records.len()).unwrap();
        let Start::Read { position, from } = start::decide(&Observed { markers: vec![marker], low: 0, end }) else {
            panic!("{marker:?}")
        };
        Reader { state: PlanState::new(&self.plans[0], PARTITION, from[0], marker, erased), position, flight: None }
    }

    /// Reads up to `count` records; the number refused.
    fn read(&self, store: &MemoryStore, reader: &mut Reader, count: usize) -> usize {
        let from = usize::try_from(reader.position).unwrap();
        let batch = &self.records[from..(from + count).min(self.records.len())];
        let source = Source { partition: PARTITION, store, runtime: self.runtime.handle(), metrics: &self.metrics };
        let mut refused = 0;
        reader.state.fold(&self.plans[0], batch, &source, |_, _, _| refused += 1).unwrap();
        reader.position += i64::try_from(batch.len()).unwrap();
        refused
    }

    /// Begins a flush, unless one is under way.
    fn begin(&self, reader: &mut Reader) {
        if reader.flight.is_some() {
            return;
        }
        let (plan, state) = (&self.plans[0], &mut reader.state);
        let expiry = Expiry { ttl_ms: None, now: Instant::now() };
        let rows = state.rows(plan, expiry, reader.position == i64::try_from(self.records.len()).unwrap());
        let base = state.marker.map(|marker| marker.offset);
        let (offset, event_time) = (reader.position, state.event_time);
        let marker = Marker { offset, event_time, end_offset: offset, read_to_end_at: 0 };
        let marker = Some(MarkerWrite { partition: PARTITION, base, marker });
        let erased = state.cache.erased_version();
        reader.flight = Some(Part { partition: PARTITION, term: 1, plan: 0, rows, marker, erased });
    }

    /// Begins a flush and dies when the first of its rows are written.
    fn die_half_way(&self, store: &MemoryStore, mut reader: Reader) {
        self.begin(&mut reader);
        let (plan, Some(mut part)) = (&self.plans[0], reader.flight.take()) else { return };
        let fence = Fence { uid: &plan.plan().view.uid, version: part.erased };
        let some = part.rows.next(&plan.layout).unwrap();
        self.runtime.block_on(store.flush(PARTITION, None, fence, &some.writes)).unwrap();
    }

    /// Flushes, or ends the flush that is under way; `false` if the store had lost writes, or the last rows would have to be
    /// written once more, so that the reader is of no more use.
    fn flush(&self, store: &MemoryStore, reader: &mut Reader) -> bool {
        self.begin(reader);
        let Some(part) = reader.flight.take() else { return true };
        let state = &mut reader.state;
        let report = self.runtime.block_on(execute(store.clone(), self.plans.clone(), 1, vec![part]));
        assert!(report.error.is_none());
        let done = report.done.into_iter().next().unwrap();
        assert!(done.broken.is_none(), "{:?}", done.broken);
        if state.is_deferred() && done.whole.is_empty() && !done.needs_whole.is_empty() {
            return false;
        }
        state.cache.written(&done.slots);
        state.cache.written_whole(&done.slots, done.whole);
        for slot in done.needs_whole {
            state.cache.needs_whole(slot);
        }
        state.marker = done.marker.or(state.marker);
        !done.lost && !done.fenced
    }

    /// Reads to the end, however often the store turns out to have lost writes.
    fn finish(&self, store: &MemoryStore) {
        for _ in 0..10 {
            let mut reader = self.start(store);
            self.read(store, &mut reader, self.records.len());
            if self.flush(store, &mut reader) && self.flush(store, &mut reader) {
                return;
            }
        }
        panic!("it never ends");
    }

    /// The rows: every entity's lane.
    /// Erases, as often as asked, what this covers of an entity.
    fn erase(&self, store: &MemoryStore, entity: &str, covers: &Covers) {
        let uid = &self.plans[0].plan().view.uid;
        let erase = async {
            let covers = store.begin_erasure(uid, entity, covers).await?;
            let lows = BTreeMap::new();
            let erasure = RowErasure { uid: uid.clone(), entity: entity.to_owned(), covers, lows };
            erase_rows(store, &erasure, &[]).await?;
            store.end_erasure(uid, entity).await
        };
        self.runtime.block_on(erase).unwrap();
    }

    fn rows(&self, store: &MemoryStore) -> BTreeMap<String, Vec<(u8, Vec<u8>)>> {
        let keys: Vec<String> = (0..12).map(|user| format!("{}u{user}", self.plans[0].row_prefix)).collect();
        let lanes = self.runtime.block_on(store.load(PARTITION, &keys)).unwrap();
        keys.into_iter().zip(lanes).collect()
    }
}

/// How events of one kind of reader reach the lanes.
#[derive(Clone, Copy)]
enum Kind {
    /// One by one.
    Inserted,
    /// When they are written.
    Deferred,
    /// Of some readers so, and of others so: a replay beside live workers.
    Both,
}

fn run(seed: u64, kind: Kind) {
    let mut chance = Chance(seed);
    let bench = Bench::new(&mut chance, 400);
    let store = MemoryStore::default();
    let start = |chance: &mut Chance| {
        let reader = bench.start(&store);
        match kind {
            Kind::Inserted => reader,
            Kind::Both if chance.below(2) == 0 => reader,
            Kind::Deferred | Kind::Both => reader.deferred(),
        }
    };
    let mut snapshot = store.snapshot();
    let mut readers = vec![start(&mut chance)];
    let (mut asked, mut erased) = (Vec::new(), Vec::<(String, Covers)>::new());
    for _ in 0..200 {
        // A crash leaves nothing of one; a zombie stays beside its successor.
        let who = usize::try_from(chance.below(readers.len() as u64)).unwrap();
        match chance.below(16) {
            0 => readers[who] = start(&mut chance),
            1 if readers.len() < 3 => readers.push(start(&mut chance)),
            2 => readers[who].state.cache.shrink(0),
            3 => snapshot = store.snapshot(),
            4 => {
                // The server restarts with what it had at some time; every connection breaks, so every worker starts anew.
                store.restore(snapshot.clone());
                // Tombstones that only this store had are gone with its writes: who was erased is erased again.
                for (entity, covers) in &erased {
                    bench.erase(&store, entity, covers);
                }
                readers = readers.iter().map(|_| start(&mut chance)).collect();
            }
            // What is covered is told a while before it is erased, so that some readers are ahead of it and some behind.
            5 if erased.len() + asked.len() < 5 => {
                let end = i64::try_from(chance.below(400)).unwrap();
                asked.push((
                    format!("u{}", chance.below(12)),
                    Covers { offsets: [(PARTITION, end)].into(), before_ms: 0 },
                ));
            }
            6 => {
                if let Some((entity, covers)) = asked.pop() {
                    bench.erase(&store, &entity, &covers);
                    erased.push((entity, covers));
                }
            }
            7..=9 => {
                if !bench.flush(&store, &mut readers[who]) {
                    readers[who] = start(&mut chance);
                }
            }
            10 => bench.begin(&mut readers[who]),
            11 if chance.below(3) == 0 => {
                bench.die_half_way(&store, readers.swap_remove(who));
                readers.push(start(&mut chance));
            }
            _ => {
                bench.read(&store, &mut readers[who], usize::try_from(chance.below(40)).unwrap());
            }
        }
    }
    bench.finish(&store);
    let whole = MemoryStore::default();
    for (entity, covers) in &erased {
        bench.erase(&whole, entity, covers);
    }
    bench.finish(&whole);
    assert_eq!(bench.rows(&store), bench.rows(&whole), "seed {seed}");
}

#[test]
fn any_mishap_ends_with_the_rows_of_an_undisturbed_reading() {
    for seed in 0..60 {
        run(seed, Kind::Inserted);
    }
}

#[test]
fn events_that_wait_end_in_the_same_rows() {
    for seed in 0..60 {
        run(seed, Kind::Deferred);
        run(1_000 + seed, Kind::Both);
    }
}

#[test]
fn lost_rows_are_noticed_and_made_anew() {
    let bench = Bench::new(&mut Chance(1), 200);
    let store = MemoryStore::default();
    let mut reader = bench.start(&store);
    bench.read(&store, &mut reader, 100);
    assert!(bench.flush(&store, &mut reader));
    for key in bench.rows(&store).keys().chain([&bench.plans[0].marker_key]) {
        store.lose(key);
    }
    bench.read(&store, &mut reader, 100);
    assert!(!bench.flush(&store, &mut reader), "the guard sees it");
    bench.finish(&store);
    let whole = MemoryStore::default();
    bench.finish(&whole);
    assert_eq!(bench.rows(&store), bench.rows(&whole));
}

#[test]
fn a_replay_reads_nothing_back_and_refuses_what_is_broken() {
    let bench = Bench::new(&mut Chance(2), 200);
    let store = MemoryStore::default();
    let mut reader = bench.start(&store).deferred();
    let refused = bench.read(&store, &mut reader, 200);
    let broken = bench.records.iter().filter(|record| record.payload() == Some(b"broken")).count();
    assert!(broken > 0);
    assert_eq!(refused, broken);
    assert!(bench.flush(&store, &mut reader));
    assert_eq!(bench.metrics.lanes_loaded.get(), 0);
    let mut again = bench.start(&store).deferred();
    assert_eq!(again.position, 200);
    again.position = 0;
    again.state.from = 0;
    bench.read(&store, &mut again, 200);
    assert_eq!(bench.metrics.lanes_loaded.get(), 12, "each row once");
    assert_eq!(again.state.cache.changed(), 0, "what a lane holds is not inserted twice");
}

#[test]
fn a_row_that_fits_no_memory_is_read_back_when_its_next_event_comes() {
    let bench = Bench::new(&mut Chance(3), 400);
    let store = MemoryStore::default();
    let mut reader = bench.start(&store).deferred();
    let empty = reader.state.cache.bytes();
    for _ in 0..4 {
        bench.read(&store, &mut reader, 100);
        assert!(reader.state.waiting_bytes() > 0);
        assert!(bench.flush(&store, &mut reader));
        assert_eq!(reader.state.waiting_bytes(), 0);
        reader.state.cache.shrink(0);
        assert_eq!(reader.state.cache.bytes(), empty, "nothing is left in memory");
    }
    assert_eq!(bench.metrics.lanes_loaded.get(), 3 * 12);
    let whole = MemoryStore::default();
    bench.finish(&whole);
    assert_eq!(bench.rows(&store), bench.rows(&whole));
}

#[test]
fn a_row_that_is_no_lane_of_the_plan_is_told_by_its_key() {
    let bench = Bench::new(&mut Chance(4), 50);
    let store = MemoryStore::default();
    let mut reader = bench.start(&store).deferred();
    bench.read(&store, &mut reader, 50);
    reader.state.cache.keep(0, 0, vec![(0, b"no lane".to_vec())]);
    bench.begin(&mut reader);
    let part = reader.flight.take().unwrap();
    let report = bench.runtime.block_on(execute(store.clone(), bench.plans.clone(), 1, vec![part]));
    let done = &report.done[0];
    let broken = done.broken.as_ref().unwrap().to_string();
    assert!(broken.contains(&bench.plans[0].row_prefix), "{broken}");
    assert!(done.marker.is_none(), "nothing says that it was read");
}

#[test]
fn events_that_a_horizon_has_passed_are_counted_and_folded_all_the_same() {
    use engine::row::Head;
    use shell::store::Pointer as _;
    let mut bench = Bench::new(&mut Chance(7), 400);
    bench.plans = [crate::fixtures::plan_run_of("Lambda")].into();
    let store = MemoryStore::default();
    let below = |horizon: Option<i64>| {
        let key = bench.plans[0].head_key.clone().unwrap();
        let seen: Option<Head> = bench.runtime.block_on(store.pointer(&key)).unwrap();
        let head = Head {
            generation: u64::from(horizon.is_some()),
            horizon: horizon.unwrap_or(0),
            fence: seen.as_ref().map_or(1, |head| head.fence() + 1),
            incarnation: 0,
        };
        bench.runtime.block_on(store.swap_pointer(&key, seen.map(|head| head.fence), &head)).unwrap();
        bench.runtime.block_on(crate::horizon::look(&bench.plans, &store)).unwrap();
        let before = bench.metrics.events_below_horizon.get();
        let mut reader = bench.start(&store);
        let refused = bench.read(&store, &mut reader, bench.records.len());
        (bench.metrics.events_below_horizon.get() - before, bench.records.len() - refused, reader.state.event_time)
    };
    // Nothing is below a horizon that is not there, and everything below one in the future.
    let (none, good, newest) = below(None);
    assert_eq!(none, 0);
    assert_eq!(below(Some(newest + 1)).0, good as u64);
    let (some, ..) = below(Some(START));
    assert!(some > 0 && some < good as u64, "{some} of {good}");
    // A rollback to nothing is followed.
    assert_eq!(below(None).0, 0);
}

#[test]
fn what_lanes_grow_by_is_counted_as_they_grow() {
    let bench = Bench::new(&mut Chance(3), 20_000);
    let store = MemoryStore::default();
    let mut reader = bench.start(&store);
    bench.read(&store, &mut reader, 20_000);
    let counted = reader.state.cache.bytes();
    // A write walks the tiles, and counts all that they hold.
    assert!(bench.flush(&store, &mut reader));
    let walked = reader.state.cache.bytes();
    assert!(walked > 12 * 2_000, "lanes of a few tiles say nothing: {walked}");
    assert!(counted > walked / 10 * 9, "{counted} of {walked} bytes are known before a flush");
}

//! A flush that outlasts the time a partition has to be given up in.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use engine::compare::Report;
use engine::replay::Progress;
use engine::row::{CatalogEntry, RunReport, Trouble};
use engine::shadow::Report as Shadows;
use prometheus_client::registry::Registry;
use rdkafka::message::{OwnedMessage, Timestamp};
use shell::admin::Readiness;
use shell::kafka::KafkaSettings;
use shell::store::{
    Erased, Fence, Keys, LaneWrite, MarkerWrite, Markers, MemoryStore, Outcome, Pointer, Purge, Segments, StoreError,
    Swap,
};
use tokio::sync::Notify;

use super::*;
use crate::dead_letter::DeadLetters;
use crate::fixtures::plan_run;
use crate::fold::Source;
use crate::group;
use crate::link::Link;
use crate::shared::World;

const START: i64 = 1_700_000_000_000;

/// A store whose first flush stands still after its first row, as one of many round trips does when the server is slow.
#[derive(Clone, Default)]
struct Slow {
    store: MemoryStore,
    begun: Arc<AtomicBool>,
    go_on: Arc<Notify>,
    marked: Arc<Notify>,
    gone_on: Arc<Notify>,
}

impl RowStore for Slow {
    async fn flush(
        &self,
        partition: i32,
        ttl: Option<i64>,
        fence: Fence<'_>,
        writes: &[LaneWrite],
    ) -> Result<Vec<Outcome>, StoreError> {
        if self.begun.swap(true, Ordering::SeqCst) {
            return self.store.flush(partition, ttl, fence, writes).await;
        }
        let mut outcomes = self.store.flush(partition, ttl, fence, &writes[..1]).await?;
        self.go_on.notified().await;
        outcomes.extend(self.store.flush(partition, ttl, fence, &writes[1..]).await?);
        self.gone_on.notify_one();
        Ok(outcomes)
    }
    async fn write_marker(
        &self,
        key: &str,
        partitions: i32,
        fence: Fence<'_>,
        write: MarkerWrite,
    ) -> Result<Outcome, StoreError> {
        let outcome = self.store.write_marker(key, partitions, fence, write).await;
        self.marked.notify_one();
        outcome
    }
    async fn put_complete_from(&self, key: &str, partition: Option<i32>, time_ms: i64) -> Result<(), StoreError> {
        self.store.put_complete_from(key, partition, time_ms).await
    }
    async fn erased_version(&self, uid: &str) -> Result<u64, StoreError> {
        self.store.erased_version(uid).await
    }
    async fn erased(&self, uid: &str) -> Result<Erased, StoreError> {
        self.store.erased(uid).await
    }
    async fn markers(&self, key: &str) -> Result<Markers, StoreError> {
        self.store.markers(key).await
    }
    async fn load(&self, partition: i32, keys: &[String]) -> Result<Vec<Segments>, StoreError> {
        self.store.load(partition, keys).await
    }
    async fn pointer<P: Pointer>(&self, key: &str) -> Result<Option<P>, StoreError> {
        self.store.pointer(key).await
    }
    async fn swap_pointer<P: Pointer>(&self, key: &str, expected: Option<u64>, to: &P) -> Result<Swap, StoreError> {
        self.store.swap_pointer(key, expected, to).await
    }
    async fn catalog(&self, key: &str) -> Result<BTreeMap<String, CatalogEntry>, StoreError> {
        self.store.catalog(key).await
    }
    async fn put_catalog(&self, key: &str, view: &str, entry: &CatalogEntry) -> Result<(), StoreError> {
        self.store.put_catalog(key, view, entry).await
    }
    async fn remove_catalog(&self, key: &str, view: &str) -> Result<(), StoreError> {
        self.store.remove_catalog(key, view).await
    }
    async fn run_report(&self, key: &str) -> Result<Option<RunReport>, StoreError> {
        self.store.run_report(key).await
    }
    async fn put_run_report(&self, key: &str, report: &RunReport) -> Result<(), StoreError> {
        self.store.put_run_report(key, report).await
    }
    async fn comparison(&self, key: &str) -> Result<Option<Report>, StoreError> {
        self.store.comparison(key).await
    }
    async fn put_comparison(&self, key: &str, report: &Report) -> Result<(), StoreError> {
        self.store.put_comparison(key, report).await
    }
    async fn text(&self, key: &str) -> Result<Option<String>, StoreError> {
        self.store.text(key).await
    }
    async fn put_text(&self, key: &str, text: &str) -> Result<(), StoreError> {
        self.store.put_text(key, text).await
    }
    async fn scan(&self, prefix: &str, cursor: u64) -> Result<Keys, StoreError> {
        self.store.scan(prefix, cursor).await
    }
    async fn troubles(&self, key: &str) -> Result<BTreeMap<String, Trouble>, StoreError> {
        self.store.troubles(key).await
    }
    async fn say_trouble(&self, key: &str, who: &str, what: Option<&Trouble>, ttl: i64) -> Result<(), StoreError> {
        self.store.say_trouble(key, who, what, ttl).await
    }
    async fn replays(&self, key: &str) -> Result<BTreeMap<i32, Progress>, StoreError> {
        self.store.replays(key).await
    }
    async fn say_replay(&self, key: &str, partition: i32, progress: &Progress) -> Result<(), StoreError> {
        self.store.say_replay(key, partition, progress).await
    }
    async fn shadows(&self, key: &str) -> Result<BTreeMap<String, Shadows>, StoreError> {
        self.store.shadows(key).await
    }
    async fn say_shadow(&self, key: &str, who: &str, what: &Shadows, ttl: i64) -> Result<(), StoreError> {
        self.store.say_shadow(key, who, what, ttl).await
    }
    async fn refusal(&self, key: &str) -> Result<Option<String>, StoreError> {
        self.store.refusal(key).await
    }
    async fn purge(&self, prefix: &str, cursor: u64) -> Result<Purge, StoreError> {
        self.store.purge(prefix, cursor).await
    }
}

fn record(offset: i64, user: &str) -> OwnedMessage {
    let payload = format!(r#"{{"user":"{user}","amount":1,"at":{START}}}"#);
    let stamp = Timestamp::CreateTime(START);
    OwnedMessage::new(Some(payload.into_bytes()), None, "events".into(), stamp, 0, offset, None)
}

/// A worker without brokers.
fn processor(store: &Slow, runtime: &tokio::runtime::Runtime) -> Processor<Slow> {
    processor_that_asks(store, runtime, mpsc::channel().0)
}

/// The same, whose requests somebody reads.
fn processor_that_asks(
    store: &Slow,
    runtime: &tokio::runtime::Runtime,
    requests: mpsc::Sender<Request>,
) -> Processor<Slow> {
    let kafka = KafkaSettings { bootstrap: "127.0.0.1:1".into(), config_dir: None };
    let readiness = Readiness::default();
    let shared = Shared::new(
        World {
            kafka: kafka.clone(),
            plans: [plan_run()].into(),
            topic: "events".into(),
            partitions: 1,
            link: Link::fixed(store.clone()),
            metrics: crate::metrics::Metrics::new(&mut Registry::default()),
            readiness: readiness.clone(),
            dead_letters: DeadLetters::new(&kafka, readiness).unwrap(),
            flush_interval: Duration::from_millis(100),
            cache_bytes: 1 << 20,
            records_per_second: None,
        },
        runtime.handle().clone(),
    );
    let consumer = group::consumer(&kafka, "g", crate::args::GroupProtocol::Classic, 1024).unwrap();
    Processor::new(Arc::new(shared), consumer, mpsc::channel().1, requests, 0)
}

/// Starts partition 0 where the marker in the store says.
fn start(processor: &mut Processor<Slow>, store: &Slow) {
    let shared = processor.shared.clone();
    let markers = shared.runtime.block_on(store.markers(&shared.plans[0].marker_key)).unwrap();
    let marker = markers.by_partition.get(&0).copied();
    let position = marker.map_or(0, |marker| marker.offset);
    let connection = Connected { number: 1, store: store.clone() };
    let plans = vec![PlanState::new(&shared.plans[0], 0, position, marker, Arc::default())];
    let queue = Queue::split(&processor.consumer, "events", 0).unwrap();
    let reading = Some(Reading { term: 1, connection, position, until: i64::MAX, plans, drained: false });
    processor.partitions.insert(0, Partition { queue, reading });
}

/// Reads from `records`, whose first has offset 0, up to `end`.
fn read(processor: &mut Processor<Slow>, store: &Slow, records: &[OwnedMessage], end: usize) {
    let shared = processor.shared.clone();
    let reading = processor.partitions.get_mut(&0).unwrap().reading.as_mut().unwrap();
    let from = usize::try_from(reading.position).unwrap();
    let source = Source { partition: 0, store, runtime: &shared.runtime, metrics: &shared.metrics };
    let fold = reading.plans[0].fold(&shared.plans[0], &records[from..end], &source, |_, _, _| {});
    fold.unwrap();
    reading.position = i64::try_from(end).unwrap();
}

/// How many events the store has of each user.
fn events(store: &Slow, users: &[&str]) -> Vec<i64> {
    let plan = plan_run();
    let count = |user: &&str| {
        let keys = [format!("{}{user}", plan.row_prefix)];
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let row = runtime.block_on(store.load(0, &keys)).unwrap().remove(0);
        let segments: Vec<(u8, &[u8])> = row.iter().map(|(n, bytes)| (*n, bytes.as_slice())).collect();
        let Ok(lane) = engine::lane::Lane::decode(&plan.layout, &segments) else { return 0 };
        let read = engine::read::Reader::new(&plan.layout).read(&[lane], START + 1, &[0]).remove(0);
        match read.value {
            Some(engine::value::Value::Int64(count)) => count,
            _ => 0,
        }
    };
    users.iter().map(count).collect()
}

#[test]
fn a_flush_that_outlasts_the_giving_up_of_its_partition_loses_nothing() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let store = Slow::default();
    let records: Vec<OwnedMessage> =
        ["ada", "bob", "cyd", "bob"].iter().zip(0..).map(|(user, offset)| record(offset, user)).collect();

    let mut first = processor(&store, &runtime);
    start(&mut first, &store);
    read(&mut first, &store, &records, 2);
    first.begin_flight();
    while !store.begun.load(Ordering::SeqCst) {
        std::thread::yield_now();
    }
    read(&mut first, &store, &records, 3);
    // What a revocation does, and a drain, with a shorter limit: one row is stored, the next stands still.
    first.flush_all(Duration::from_millis(100));
    // A marker would be written by now.
    let marked = async { tokio::time::timeout(Duration::from_millis(200), store.marked.notified()).await };
    let _ = runtime.block_on(marked);
    let markers = runtime.block_on(store.markers(&first.shared.plans[0].marker_key)).unwrap();
    let marker = markers.by_partition.get(&0).map(|marker| marker.offset);

    // Its next owner goes on from the marker.
    let mut second = processor(&store, &runtime);
    start(&mut second, &store);
    read(&mut second, &store, &records, 4);
    second.flush_all(Duration::from_secs(5));
    store.go_on.notify_one();
    runtime.block_on(store.gone_on.notified());

    let counts = events(&store, &["ada", "bob", "cyd"]);
    assert_eq!(counts, [1, 2, 1], "the marker that the first owner left is {marker:?}");
}

/// A worker whose reading ends at `until`, a store that is not slow, and what the worker asks for.
fn bounded(until: i64, runtime: &tokio::runtime::Runtime) -> (Processor<Slow>, Slow, mpsc::Receiver<Request>) {
    let store = Slow::default();
    store.begun.store(true, Ordering::SeqCst);
    let (ask, asked) = mpsc::channel();
    let mut worker = processor_that_asks(&store, runtime, ask);
    start(&mut worker, &store);
    let reading = worker.partitions.get_mut(&0).unwrap().reading.as_mut().unwrap();
    reading.until = until;
    // As a replay's are.
    reading.plans = std::mem::take(&mut reading.plans).into_iter().map(PlanState::deferred).collect();
    (worker, store, asked)
}

#[test]
fn a_reading_with_an_end_says_so_once_its_marker_stands_there() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (mut worker, store, asked) = bounded(3, &runtime);
    let records: Vec<OwnedMessage> = (0..3).map(|offset| record(offset, "ada")).collect();
    read(&mut worker, &store, &records, 2);
    worker.flush_all(Duration::from_secs(5));
    assert!(asked.try_recv().is_err(), "one record is left");
    read(&mut worker, &store, &records, 3);
    worker.flush_all(Duration::from_secs(5));
    assert!(matches!(asked.try_recv(), Ok(Request::Reached { partition: 0, term: 1 })));
    assert_eq!(events(&store, &["ada"]), [3]);
}

#[test]
fn a_reading_with_an_end_that_is_overtaken_goes_on_at_the_other_marker() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (mut worker, store, asked) = bounded(3, &runtime);
    let key = worker.shared.plans[0].marker_key.clone();
    let marker = engine::row::Marker { offset: 3, event_time: START, end_offset: 3, read_to_end_at: 0 };
    let write = MarkerWrite { partition: 0, base: None, marker };
    let uid = worker.shared.plans[0].plan().view.uid.clone();
    runtime.block_on(store.write_marker(&key, 1, Fence { uid: &uid, version: 0 }, write)).unwrap();
    read(&mut worker, &store, &[record(0, "ada")], 1);
    worker.flush_all(Duration::from_secs(5));
    assert!(matches!(asked.try_recv(), Ok(Request::Restart { partition: 0, term: 1, .. })));
    assert!(worker.partitions[&0].reading.is_none(), "it takes no record until it is started there");
}

#[test]
fn events_are_told_to_be_readable_when_their_flush_has_ended_and_none_of_a_replay() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let records: Vec<OwnedMessage> = (0..3).map(|offset| record(offset, "ada")).collect();
    for (until, told) in [(i64::MAX, [0, 2, 3]), (4, [0, 0, 0])] {
        let (mut worker, store, _asked) = bounded(until, &runtime);
        let view = worker.shared.plans[0].plan().view.name.clone();
        let freshness = worker.shared.metrics.freshness(&view);
        read(&mut worker, &store, &records, 2);
        let mut counts = vec![freshness.count()];
        worker.flush_all(Duration::from_secs(5));
        counts.push(freshness.count());
        read(&mut worker, &store, &records, 3);
        worker.flush_all(Duration::from_secs(5));
        worker.flush_all(Duration::from_secs(5));
        counts.push(freshness.count());
        assert_eq!(counts, told, "{until}");
    }
}

//! The worker: one thread that reads the topic into a buffer, and hands the buffer to a commit that runs beside it.
//!
//! Invariants:
//! - The table is the truth. A partition starts at the table's position; whatever goes wrong, the buffer is dropped and
//!   every partition goes back there. Kafka's committed offsets only help tools.
//! - At most one commit is under way, and one buffer fills behind it; when that is full, the partitions are paused. The
//!   consumer is polled all the while, so that a slow store never costs the membership of the group.

mod flight;
mod leave;
mod rebalance;

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use flight::Flight;
use lake::bronze::{Bronze, Gap};
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::topic_partition_list::TopicPartitionList;
use shell::admin::Readiness;
use shell::backoff::Backoff;
use shell::clock::now_ms;
use shell::group::GroupConsumer;
use shell::kafka::KafkaSettings;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::args::OnGap;
use crate::buffer::{Buffer, Record};
use crate::ends::{self, Ends};
use crate::event_time::EventTimes;
use crate::metrics::{Metrics, PartitionLabel};

/// The subject of the table's readiness.
pub const STORE: &str = "store";
/// How long one poll waits.
const POLL: Duration = Duration::from_millis(20);
/// The most records that are taken before anything else is looked at.
const BATCH: usize = 4_096;
/// How often what no event tells is looked at.
const LOOK_PERIOD: Duration = Duration::from_millis(200);

/// Why the worker ended.
#[derive(Debug)]
pub enum Exit {
    /// It was asked to; what it had read is in the table and the group is left.
    Drained,
    /// The brokers do not have this group protocol.
    Unsupported(String),
    /// It failed for good and must be made anew.
    Failed(String),
}

/// What the worker is given.
pub struct World {
    /// How the brokers are reached.
    pub kafka: KafkaSettings,
    /// The topic.
    pub topic: String,
    /// Where its partitions end.
    pub ends: Ends,
    /// Reads event times.
    pub event_times: EventTimes,
    /// Metrics.
    pub metrics: Metrics,
    /// Readiness.
    pub readiness: Readiness,
    /// Runs commits.
    pub runtime: Handle,
    /// Times and bounds.
    pub bounds: Bounds,
}

/// Times and bounds.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The longest time between two commits while records come.
    pub commit_interval: Duration,
    /// The time between two commits while none come.
    pub idle_interval: Duration,
    /// The bytes of one commit.
    pub chunk_bytes: usize,
    /// What a gap means.
    pub on_gap: OnGap,
    /// How long the last commit may take.
    pub drain: Duration,
}

/// What happens with a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Its records are buffered.
    Reading,
    /// It waits to go back to the table's position.
    Waiting,
    /// A person must act.
    Halted,
}

/// One assigned partition.
#[derive(Clone, Debug)]
struct Part {
    /// Rises with every assignment and every return to the table.
    term: u64,
    phase: Phase,
    /// The next offset of the table; `None` if it has nothing of the partition.
    stored: Option<i64>,
    /// The next offset to buffer.
    position: i64,
    /// The newest event time, of the table and the buffer.
    event_time: Option<i64>,
    /// See [`lake::bronze::Progress::read_to_end_at`].
    read_to_end_at: i64,
    /// What the consumer called its position when it was sent to `position`: as long as it says so, it says nothing.
    stale: Option<i64>,
}

/// The worker's state.
#[expect(clippy::struct_excessive_bools, reason = "each says something of its own, and any may hold beside any other")]
pub struct Worker {
    world: World,
    consumer: Arc<GroupConsumer>,
    /// `None` while a commit has it.
    bronze: Option<Bronze>,
    flight: Option<Flight>,
    buffer: Buffer,
    /// Gaps to be recorded with the next commit.
    gaps: Vec<Gap>,
    parts: BTreeMap<i32, Part>,
    terms: u64,
    /// An assignment that librdkafka waits to have answered.
    assigning: Option<Vec<i32>>,
    /// Whether partitions wait to go back to the table.
    restart: bool,
    /// Not before then is the table asked for positions.
    next_try: Instant,
    backoff: Backoff,
    /// Whether the last commit failed: the table is not taken for well before one succeeds.
    failing: bool,
    paused: bool,
    /// Whether the last poll gave nothing.
    drained: bool,
    next_look: Instant,
    last_commit: Instant,
}

impl Worker {
    /// A worker that owns nothing yet.
    #[must_use]
    pub fn new(world: World, consumer: Arc<GroupConsumer>, bronze: Bronze) -> Self {
        let now = Instant::now();
        world.metrics.version.set(i64::try_from(bronze.version()).unwrap_or(i64::MAX));
        Self {
            world,
            consumer,
            bronze: Some(bronze),
            flight: None,
            buffer: Buffer::default(),
            gaps: Vec::new(),
            parts: BTreeMap::new(),
            terms: 0,
            assigning: None,
            restart: false,
            next_try: now,
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(10)),
            failing: false,
            paused: false,
            drained: false,
            next_look: now,
            last_commit: now,
        }
    }

    /// Works until `shutdown`, or until the consumer fails.
    pub fn run(mut self, shutdown: &CancellationToken) -> Exit {
        let (stop, stopped) = mpsc::channel();
        let watcher = {
            let (ends, kafka, topic) = (self.world.ends.clone(), self.world.kafka.clone(), self.world.topic.clone());
            let (readiness, consumer) = (self.world.readiness.clone(), Arc::downgrade(&self.consumer));
            std::thread::spawn(move || ends::watch(&ends, &kafka, &topic, &readiness, &consumer, &stopped))
        };
        let mut exit = match self.consumer.subscribe(&[&self.world.topic]) {
            Ok(()) => None,
            Err(error) => Some(Exit::Failed(format!("subscribing to {}: {error}", self.world.topic))),
        };
        while exit.is_none() && !shutdown.is_cancelled() {
            exit = self.poll();
            exit = exit.or_else(|| self.end_flight());
            self.answer();
            self.look();
            if self.due() {
                self.begin_flight();
            }
            self.throttle();
        }
        self.drain();
        drop(stop);
        if watcher.join().is_err() {
            tracing::error!("the watcher of end offsets panicked");
        }
        self.close();
        exit.unwrap_or(Exit::Drained)
    }

    /// Takes what the consumer has, up to a batch or a full buffer.
    fn poll(&mut self) -> Option<Exit> {
        let consumer = self.consumer.clone();
        for taken in 0..BATCH {
            if self.full() && taken > 0 {
                break;
            }
            let wait = if taken == 0 { POLL } else { Duration::ZERO };
            match consumer.poll(wait) {
                None => {
                    self.drained = true;
                    break;
                }
                Some(Ok(record)) => {
                    self.drained = false;
                    if let Err(error) = self.take(&record) {
                        return Some(Exit::Failed(error));
                    }
                }
                Some(Err(error)) => {
                    let exit = self.failed(&error);
                    if exit.is_some() {
                        return exit;
                    }
                }
            }
        }
        None
    }

    fn take(&mut self, message: &BorrowedMessage<'_>) -> Result<(), String> {
        let (partition, offset) = (message.partition(), message.offset());
        let Some(part) = self.parts.get_mut(&partition) else { return Ok(()) };
        // What was fetched before the partition was sent elsewhere is not what comes next.
        if part.phase != Phase::Reading || offset < part.position {
            return Ok(());
        }
        // Only the oldest message format has no time.
        let timestamp = message.timestamp().to_millis().unwrap_or(0);
        let event_time = self.world.event_times.read(message.payload(), timestamp);
        let headers = message
            .headers()
            .map_or_else(Vec::new, |headers| headers.iter().map(|header| (header.key, header.value)).collect());
        let record =
            Record { partition, offset, timestamp, event_time, key: message.key(), value: message.payload(), headers };
        self.buffer.push(&record).map_err(|error| format!("partition {partition}, offset {offset}: {error}"))?;
        part.position = offset + 1;
        part.event_time = part.event_time.max(event_time);
        Ok(())
    }

    fn failed(&mut self, error: &KafkaError) -> Option<Exit> {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::UnsupportedFeature | RDKafkaErrorCode::UnsupportedVersion) => {
                Some(Exit::Unsupported(error.to_string()))
            }
            Some(RDKafkaErrorCode::UnknownTopicOrPartition) => {
                let reason = format!("topic {} is gone; create it, or fix source.topic", self.world.topic);
                self.world.readiness.block("topic", reason);
                None
            }
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                // Which partition is not said, and what it means is decided on facts.
                self.go_back(&format!("the topic does not have the next offset: {error}"));
                self.next_try = Instant::now() + self.backoff.delay();
                None
            }
            _ if matches!(error, KafkaError::MessageConsumptionFatal(_)) => Some(Exit::Failed(error.to_string())),
            _ => {
                // librdkafka goes on by itself after every other error of a fetch.
                tracing::warn!(%error, "kafka");
                None
            }
        }
    }

    fn full(&self) -> bool {
        self.buffer.bytes() >= self.world.bounds.chunk_bytes
    }

    /// Whether it is time for a commit.
    fn due(&self) -> bool {
        if self.flight.is_some() || self.restart || self.parts.is_empty() {
            return false;
        }
        let since = self.last_commit.elapsed();
        let moved = self.failing
            || !self.buffer.is_empty()
            || self.reading().any(|(_, part)| part.stored != Some(part.position));
        let interval = if moved { self.world.bounds.commit_interval } else { self.world.bounds.idle_interval };
        self.full() || since >= interval && self.reading().next().is_some()
    }

    fn reading(&self) -> impl Iterator<Item = (i32, &Part)> {
        self.parts.iter().filter(|(_, part)| part.phase == Phase::Reading).map(|(partition, part)| (*partition, part))
    }

    /// Holds the partitions while the buffer is full, and lets them go when it is not.
    fn throttle(&mut self) {
        self.world.metrics.buffered_bytes.set(i64::try_from(self.buffer.bytes()).unwrap_or(i64::MAX));
        if self.full() == self.paused {
            return;
        }
        let mut partitions = TopicPartitionList::new();
        for (partition, _) in self.reading() {
            partitions.add_partition(&self.world.topic, partition);
        }
        let answer = if self.paused { self.consumer.resume(&partitions) } else { self.consumer.pause(&partitions) };
        match answer {
            Ok(()) => self.paused = !self.paused,
            Err(error) => tracing::warn!(%error, "pausing or resuming"),
        }
    }

    /// Looks after what no event tells: positions behind control records, ends, lag.
    fn look(&mut self) {
        let now = Instant::now();
        if now < self.next_look {
            return;
        }
        self.next_look = now + LOOK_PERIOD;
        let behind = self.parts.iter().any(|(partition, part)| {
            part.phase == Phase::Reading
                && self.world.ends.end(*partition).is_some_and(|end| part.position < end.offset)
        });
        let positions = if behind && self.drained && !self.paused { self.positions() } else { BTreeMap::new() };
        for (partition, part) in &mut self.parts {
            let Some(end) = self.world.ends.end(*partition) else { continue };
            let metrics = &self.world.metrics;
            if part.phase == Phase::Reading {
                // The control records of transactions are passed, and never handed out.
                if let Some(position) = positions.get(partition).filter(|position| part.stale != Some(**position)) {
                    part.position = part.position.max(*position);
                }
                if let Some(at) = self.world.ends.reached(*partition, part.position) {
                    part.read_to_end_at = part.read_to_end_at.max(at);
                }
            }
            let label = PartitionLabel { partition: *partition };
            let records = (end.offset - part.stored.unwrap_or(0)).max(0);
            metrics.lag_records.get_or_create(&label).set(records);
            #[expect(clippy::cast_precision_loss, reason = "milliseconds of years are far below 2^53")]
            let seconds = match part.event_time {
                Some(newest) if records > 0 => (now_ms() - newest).max(0) as f64 / 1_000.0,
                _ => 0.0,
            };
            metrics.lag_seconds.get_or_create(&label).set(seconds);
        }
    }

    /// Where the consumer stands.
    fn positions(&self) -> BTreeMap<i32, i64> {
        let Ok(positions) = self.consumer.position() else { return BTreeMap::new() };
        let known = positions.elements().into_iter().filter_map(|element| {
            let offset = element.offset().to_raw().filter(|offset| *offset >= 0)?;
            Some((element.partition(), offset))
        });
        known.collect()
    }
}

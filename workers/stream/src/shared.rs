//! What the coordinator, the processors and the watcher of end offsets share, and the messages between them.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use engine::row::Marker;
use shell::admin::Readiness;
pub use shell::ends::End;
use shell::ends::PartitionEnds;
use shell::kafka::KafkaSettings;
use shell::store::Erased;
use tokio::runtime::Handle;

use crate::dead_letter::DeadLetters;
use crate::group::GroupContext;
use crate::link::{Connected, Link};
use crate::lost::Lost;
use crate::metrics::Metrics;
use crate::plan_run::PlanRun;
use crate::progress::Durable;

/// The shared world.
pub struct Shared<S> {
    /// How the brokers are reached.
    pub kafka: KafkaSettings,
    /// The plans.
    pub plans: Arc<[PlanRun]>,
    /// Their topic.
    pub topic: String,
    /// The link to the online store.
    pub link: Link<S>,
    /// Metrics.
    pub metrics: Metrics,
    /// Readiness.
    pub readiness: Readiness,
    /// Dead letters.
    pub dead_letters: DeadLetters,
    /// Runs futures.
    pub runtime: Handle,
    /// The shortest time between two flushes.
    pub flush_interval: Duration,
    /// The bytes of lanes that one processor may hold.
    pub cache_bytes: usize,
    /// The most records that one processor takes in a second; `None`: as many as it can.
    pub records_per_second: Option<NonZeroU32>,
    partitions: AtomicI32,
    ends: Mutex<HashMap<i32, PartitionEnds>>,
    durable: Mutex<HashMap<i32, Durable>>,
    positions: Mutex<HashMap<i32, i64>>,
}

/// What [`Shared`] is made of.
pub struct World<S> {
    /// See [`Shared::kafka`].
    pub kafka: KafkaSettings,
    /// See [`Shared::plans`].
    pub plans: Arc<[PlanRun]>,
    /// See [`Shared::topic`].
    pub topic: String,
    /// How many partitions the topic has.
    pub partitions: i32,
    /// See [`Shared::link`].
    pub link: Link<S>,
    /// See [`Shared::metrics`].
    pub metrics: Metrics,
    /// See [`Shared::readiness`].
    pub readiness: Readiness,
    /// See [`Shared::dead_letters`].
    pub dead_letters: DeadLetters,
    /// See [`Shared::flush_interval`].
    pub flush_interval: Duration,
    /// See [`Shared::cache_bytes`].
    pub cache_bytes: usize,
    /// See [`Shared::records_per_second`].
    pub records_per_second: Option<NonZeroU32>,
}

impl<S> Shared<S> {
    /// Shares a world.
    #[must_use]
    pub fn new(world: World<S>, runtime: Handle) -> Self {
        let World {
            kafka,
            plans,
            topic,
            partitions,
            link,
            metrics,
            readiness,
            dead_letters,
            flush_interval,
            cache_bytes,
            records_per_second,
        } = world;
        Self {
            kafka,
            plans,
            topic,
            link,
            metrics,
            readiness,
            dead_letters,
            runtime,
            flush_interval,
            cache_bytes,
            records_per_second,
            partitions: AtomicI32::new(partitions),
            ends: Mutex::default(),
            durable: Mutex::default(),
            positions: Mutex::default(),
        }
    }

    /// How many partitions the topic has.
    pub fn partitions(&self) -> i32 {
        self.partitions.load(Ordering::Relaxed)
    }

    /// The topic has this many partitions now.
    pub fn set_partitions(&self, partitions: i32) {
        self.partitions.store(partitions, Ordering::Relaxed);
    }

    /// The end of a partition as last asked for.
    pub fn end(&self, partition: i32) -> Option<End> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).get(&partition).map(PartitionEnds::newest)
    }

    /// The latest time, in milliseconds since the epoch, of which it is known that everything written to the partition
    /// before it is below `position`.
    pub fn read_to_end_at(&self, partition: i32, position: i64) -> Option<i64> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&partition)?.reached(position)
    }

    /// A partition ends there.
    pub fn set_end(&self, partition: i32, end: End) {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        ends.entry(partition).or_insert(PartitionEnds::new(end)).set(end);
    }

    /// The next offset of a partition to process, as last told.
    pub fn position(&self, partition: i32) -> Option<i64> {
        self.positions.lock().unwrap_or_else(PoisonError::into_inner).get(&partition).copied()
    }

    /// A partition is processed up to there.
    pub fn set_position(&self, partition: i32, position: i64) {
        self.positions.lock().unwrap_or_else(PoisonError::into_inner).insert(partition, position);
    }

    /// The store has everything of a partition before `offset`.
    pub fn stored(&self, partition: i32, offset: i64) {
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        durable.entry(partition).or_default().stored(offset, Instant::now());
    }

    /// A partition is read anew, or no longer: what was stored of it may not be there any more.
    pub fn forget_stored(&self, partition: i32) {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner).remove(&partition);
    }

    /// What has been stored for at least `lag` and was not taken before: partition and offset.
    pub fn take_durable(&self, lag: Duration) -> Vec<(i32, i64)> {
        let now = Instant::now();
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        durable.iter_mut().filter_map(|(partition, offsets)| Some((*partition, offsets.take(lag, now)?))).collect()
    }
}

/// The records of one partition.
pub type Queue = fetch::Queue<GroupContext>;

/// How a partition starts, or starts anew.
pub struct Start<S> {
    /// Which.
    pub partition: i32,
    /// Which reading of it this is.
    pub term: u64,
    /// Its queue; `None` if the processor has it already.
    pub queue: Option<Queue>,
    /// The connection that the markers were read over.
    pub connection: Connected<S>,
    /// The first offset that will come.
    pub position: i64,
    /// Where the reading ends: no record from there on is taken. `i64::MAX` of a worker that goes on for ever.
    pub until: i64,
    /// By plan: the first offset it takes.
    pub from: Vec<i64>,
    /// By plan: the marker that was found.
    pub markers: Vec<Option<Marker>>,
    /// By plan: who was known to be erased before that.
    pub erased: Vec<Arc<Erased>>,
    /// By plan: what the topic had lost, as it was told before anything is read.
    pub lost: Vec<Option<Lost>>,
}

/// From the coordinator to a processor.
pub enum Command<S> {
    /// Read a partition.
    Start(Box<Start<S>>),
    /// Give partitions up, and say when done; `lost`: they are another's already, so that flushing is of little use.
    Revoke {
        /// Which.
        partitions: Vec<i32>,
        /// Whether another may have them already.
        lost: bool,
        /// Answered by dropping it.
        done: mpsc::Sender<()>,
    },
    /// Flush everything and end.
    Drain,
}

/// From a processor to the coordinator.
#[derive(Debug)]
pub enum Request {
    /// Drop what was read of a partition in this term; go back to its markers.
    Restart {
        /// Which.
        partition: i32,
        /// The term that ended.
        term: u64,
        /// Why, for the log.
        reason: String,
    },
    /// The marker of every plan stands at the end of a reading that has one.
    Reached {
        /// Which.
        partition: i32,
        /// The term that ended.
        term: u64,
    },
    /// A partition cannot be read on until a person acts.
    Halt {
        /// Which.
        partition: i32,
        /// The term that ended.
        term: u64,
        /// Why and what to do.
        reason: String,
    },
}

//! A processor: one thread that owns some partitions and does everything for them, so that nothing on the way of an event
//! takes a lock: poll, decode, evaluate, insert, and start flushes, which run beside it.
//!
//! Invariants:
//! - One flush is under way at a time, so a lane's base is what the last one wrote.
//! - A partition whose reading ended (lost writes, an erasure, broken connection, failed dead letter) takes no record until the
//!   coordinator starts it anew with a higher term; results of an earlier term are ignored.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, mpsc};
use std::time::{Duration, Instant};

use shell::clock::now_ms;
use shell::store::RowStore;
use tokio::sync::oneshot;

use crate::batch::{BATCH, Ended, behind_control_records, process, take};
use crate::flush::Report;
use crate::fold::PlanState;
use crate::group::GroupConsumer;
use crate::limit::Limit;
use crate::link::Connected;
use crate::metrics::{PartitionLabel, ThreadLabel};
use crate::pace::Pace;
use crate::shared::{Command, Queue, Request, Shared, Start};

/// A changed lane starts a flush before its time when there is one for so many bytes that lanes may take: what a flush
/// writes is held beside the lanes, and the fewer flushes, the fewer writes of a lane that is busy.
const BYTES_PER_CHANGED: usize = 4_096;
/// The bounds of that number of lanes.
const FLUSH_LANES: std::ops::RangeInclusive<usize> = 4_096..=524_288;
/// Events that wait to be folded start one when they take one in so many of those bytes.
const SHARE_OF_WAITING: usize = 8;
/// So many times as much of either stops the reading until a flush has ended.
const MOST: usize = 4;
/// How long a partition that is given up may take to flush.
const REVOKE_LIMIT: Duration = Duration::from_secs(5);
/// How long a drain may take.
const DRAIN_LIMIT: Duration = Duration::from_secs(15);

/// One partition of this thread.
struct Partition<S> {
    queue: Queue,
    reading: Option<Reading<S>>,
}

/// One reading of a partition, from a marker on.
pub(crate) struct Reading<S> {
    pub(crate) term: u64,
    pub(crate) connection: Connected<S>,
    /// The next offset to process.
    pub(crate) position: i64,
    /// Where it ends; see [`Start::until`].
    pub(crate) until: i64,
    /// By plan.
    pub(crate) plans: Vec<PlanState>,
    /// Whether the last poll found nothing.
    drained: bool,
}

/// One thread's state.
pub struct Processor<S> {
    shared: Arc<Shared<S>>,
    consumer: Arc<GroupConsumer>,
    commands: mpsc::Receiver<Command<S>>,
    requests: mpsc::Sender<Request>,
    label: ThreadLabel,
    partitions: BTreeMap<i32, Partition<S>>,
    flight: Option<oneshot::Receiver<Report>>,
    /// The bytes of events that waited and are folded by the flush that is under way.
    flying: usize,
    limit: Option<Limit>,
    pace: Pace,
    next_look: Instant,
}

impl<S: RowStore> Processor<S> {
    /// A processor that waits for partitions.
    #[must_use]
    pub fn new(
        shared: Arc<Shared<S>>,
        consumer: Arc<GroupConsumer>,
        commands: mpsc::Receiver<Command<S>>,
        requests: mpsc::Sender<Request>,
        thread: u32,
    ) -> Self {
        let now = Instant::now();
        let (label, partitions) = (ThreadLabel { thread }, BTreeMap::new());
        let pace = Pace::new(shared.flush_interval, now);
        let limit = shared.records_per_second.map(|rate| Limit::new(rate, now));
        Self {
            shared,
            consumer,
            commands,
            requests,
            label,
            partitions,
            flight: None,
            flying: 0,
            limit,
            pace,
            next_look: now,
        }
    }

    /// Works until it is drained.
    pub fn run(mut self) {
        loop {
            loop {
                match self.commands.try_recv() {
                    Ok(Command::Start(start)) => self.start(*start),
                    Ok(Command::Revoke { partitions, lost, done }) => {
                        self.revoke(&partitions, lost);
                        drop(done);
                    }
                    Ok(Command::Drain) | Err(mpsc::TryRecvError::Disconnected) => {
                        self.flush_all(DRAIN_LIMIT);
                        return;
                    }
                    Err(mpsc::TryRecvError::Empty) => break,
                }
            }
            self.end_flight();
            let over = self.cache_bytes() > self.shared.cache_bytes;
            let unmarked = self.unmarked();
            let read = if over || unmarked || self.much_to_write(MOST) { 0 } else { self.poll() };
            let now = Instant::now();
            self.pace.read(read, now);
            if now >= self.next_look {
                self.look();
                self.next_look = now + self.shared.flush_interval.min(Duration::from_millis(200));
            }
            let due = self.pace.due(now);
            if self.flight.is_none() && (now >= due || over || unmarked || self.much_to_write(1)) {
                if over {
                    self.shrink();
                }
                self.begin_flight();
                self.pace.begin(now);
            }
            if read == 0 {
                // Whoever has something for this thread unparks it: a queue, the coordinator, a flush.
                let next = if self.flight.is_some() { self.next_look } else { due.min(self.next_look) };
                std::thread::park_timeout(next.saturating_duration_since(now));
            }
        }
    }

    fn start(&mut self, start: Start<S>) {
        let Start { partition, term, queue, connection, position, until, from, markers, erased, lost } = start;
        let plans = (self.shared.plans.iter().zip(from).zip(markers.into_iter().zip(erased)).zip(lost))
            .map(|(((plan, from), (marker, erased)), lost)| {
                let state = PlanState::new(plan, partition, from, marker, erased).having_lost(lost);
                // What has an end is a replay.
                if until < i64::MAX { state.deferred() } else { state }
            })
            .collect();
        let reading = Some(Reading { term, connection, position, until, plans, drained: false });
        if let Some(mut queue) = queue {
            let thread = std::thread::current();
            queue.set_nonempty_callback(move || thread.unpark());
            self.partitions.insert(partition, Partition { queue, reading });
        } else if let Some(known) = self.partitions.get_mut(&partition) {
            known.reading = reading;
        }
    }

    fn revoke(&mut self, partitions: &[i32], lost: bool) {
        if !lost {
            self.flush_all(REVOKE_LIMIT);
        }
        for partition in partitions {
            self.partitions.remove(partition);
        }
    }

    /// Takes a batch from each partition; gives how many records there were.
    fn poll(&mut self) -> usize {
        let (mut read, mut all) = (0, false);
        let mut ended = Vec::new();
        for (partition, Partition { queue, reading }) in &mut self.partitions {
            let Some(current) = reading.as_mut().filter(|reading| reading.position < reading.until) else { continue };
            let most = self.limit.as_mut().map_or(BATCH, |limit| limit.allowed(Instant::now()).min(BATCH));
            if most == 0 {
                continue;
            }
            match take(queue, most) {
                Ok(records) => {
                    current.drained = records.is_empty();
                    read += records.len();
                    if let Some(limit) = &mut self.limit {
                        limit.took(records.len());
                    }
                    if let Err(error) = process(&self.shared, *partition, current, &records) {
                        ended.push((*partition, error));
                    }
                    all |= current.position >= current.until;
                }
                Err(error) => {
                    let reason = format!("reading the topic: {error}");
                    ended.push((*partition, Ended::Restart(reason)));
                }
            }
        }
        for (partition, end) in ended {
            self.end(partition, end);
        }
        if all {
            // Nothing more is to come that a flush could wait for.
            self.pace.hurry(Instant::now());
        }
        read
    }

    /// Ends the reading of a partition.
    fn end(&mut self, partition: i32, end: Ended) {
        let Some(reading) = self.partitions.get_mut(&partition).and_then(|known| known.reading.take()) else { return };
        let (term, number) = (reading.term, reading.connection.number);
        self.shared.forget_stored(partition);
        let request = match end {
            Ended::Store(error) => {
                self.shared.link.broke(number, &error);
                Request::Restart { partition, term, reason: error.to_string() }
            }
            Ended::Restart(reason) => Request::Restart { partition, term, reason },
            Ended::Halt(reason) => Request::Halt { partition, term, reason },
        };
        // The coordinator is gone only at the very end.
        drop(self.requests.send(request));
    }

    /// Looks after what no event tells: another connection, failed dead letters, positions behind control records, metrics.
    fn look(&mut self) {
        let number = self.shared.link.number();
        let (mut ended, mut left, mut unread) = (Vec::new(), 0, false);
        for (partition, known) in &mut self.partitions {
            let Some(reading) = &mut known.reading else { continue };
            if number != Some(reading.connection.number) {
                ended.push((*partition, "the connection to the online store is another"));
            } else if reading
                .plans
                .iter()
                .any(|plan| plan.letters.lock().unwrap_or_else(PoisonError::into_inner).failed)
            {
                ended.push((*partition, "a dead letter was not delivered"));
            }
            self.shared.set_position(*partition, reading.position);
            unread |= reading.until < i64::MAX && reading.position < reading.until;
            let Some(end) = self.shared.end(*partition) else { continue };
            let end = end.offset.min(reading.until);
            if reading.drained && reading.position < end {
                let behind = behind_control_records(&self.consumer, *partition);
                reading.position = reading.position.max(behind.min(reading.until));
            }
            let label = PartitionLabel { partition: *partition };
            let records = (end - reading.position).max(0);
            left += records.unsigned_abs();
            let newest = reading.plans.iter().map(|plan| plan.event_time).max().unwrap_or(i64::MIN);
            #[expect(clippy::cast_precision_loss, reason = "milliseconds of years are far below 2^53")]
            let seconds = if records == 0 || newest == i64::MIN { 0.0 } else { (now_ms() - newest) as f64 / 1_000.0 };
            self.shared.metrics.lag_records.get_or_create(&label).set(records);
            self.shared.metrics.lag_seconds.get_or_create(&label).set(seconds.max(0.0));
        }
        self.pace.left(left);
        self.pace.unread(unread);
        for (partition, reason) in ended {
            self.end(partition, Ended::Restart(reason.to_owned()));
        }
        let entries: usize = self.plans().map(|plan| plan.cache.len()).sum();
        let metrics = &self.shared.metrics;
        metrics.cache_entries.get_or_create(&self.label).set(i64::try_from(entries).unwrap_or(i64::MAX));
        metrics.cache_bytes.get_or_create(&self.label).set(i64::try_from(self.cache_bytes()).unwrap_or(i64::MAX));
    }

    fn plans(&self) -> impl Iterator<Item = &PlanState> {
        self.partitions.values().filter_map(|known| known.reading.as_ref()).flat_map(|reading| &reading.plans)
    }

    fn cache_bytes(&self) -> usize {
        self.plans().map(|plan| plan.cache.bytes()).sum::<usize>() + self.waiting_bytes() + self.flying
    }

    fn waiting_bytes(&self) -> usize {
        self.plans().map(PlanState::waiting_bytes).sum()
    }

    /// How many changed lanes start a flush.
    fn flush_lanes(&self) -> usize {
        (self.shared.cache_bytes / BYTES_PER_CHANGED).clamp(*FLUSH_LANES.start(), *FLUSH_LANES.end())
    }

    /// Whether `times` as much is to be written as starts a flush before its time. Lanes that are yet to be made of events
    /// that wait are written some at a time, and do not count.
    fn much_to_write(&self, times: usize) -> bool {
        let open = self.plans().filter(|plan| !plan.is_deferred()).map(|plan| plan.cache.changed()).sum::<usize>();
        open >= times * self.flush_lanes()
            || self.waiting_bytes() >= times * (self.shared.cache_bytes / SHARE_OF_WAITING)
    }

    /// Whether a replay's first marker is yet to be written. It stands before the first record is read, for the next comes
    /// late: a store that loses all meanwhile is noticed by it.
    fn unmarked(&self) -> bool {
        self.plans().any(|plan| plan.is_deferred() && plan.marked.is_none())
    }

    fn changed(&self) -> usize {
        self.plans().map(|plan| plan.cache.changed()).sum()
    }

    /// Drops lanes that the store has, down to seven eighths of what is allowed, from each cache its share.
    fn shrink(&mut self) {
        let (total, target) = (self.cache_bytes(), self.shared.cache_bytes / 8 * 7);
        for reading in self.partitions.values_mut().filter_map(|known| known.reading.as_mut()) {
            for plan in &mut reading.plans {
                plan.cache.shrink(plan.cache.bytes().saturating_mul(target) / total.max(1));
            }
        }
    }
}

mod flight;
#[cfg(test)]
mod tests;

//! What the topic no longer holds, read from its archive: the records of one partition in the order of their offsets, through
//! the same fold, flush and marker as records of the topic, up to a marker from which the topic is read on.
//!
//! Invariants:
//! - Whatever goes wrong, the lanes in memory are dropped and the reading begins anew at the marker, so that a process may be
//!   killed at any moment: a record is in the rows once.
//! - It ends where the archive ends, or the part: the further the better, since the topic goes on losing records meanwhile.
//!   That is at least where the part begins, which the topic held when the replay was ordered.
//! - What an archive is, and how it is read, is [`Records`]' alone: nothing here knows tables.

use std::time::{Duration, Instant};

use engine::replay::{Archive, Part};
use engine::row::Marker;
use futures::TryStreamExt as _;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use rdkafka::message::{Message as _, OwnedMessage};
use shell::backoff::Backoff;
use shell::clock::now_ms;
use shell::store::RowStore;
use shell::topic::{self, Bounds};
use tokio_util::sync::CancellationToken;

use super::decide::{Order, Refusal};
use super::driver::End;
use super::observe::{TOPIC, known};
use crate::cache::Expiry;
use crate::dead_letter::Refusal as Refused;
use crate::flush::{self, Done, Report};
use crate::fold::{FoldError, PlanState, Source};
use crate::limit::Limit;
use crate::link::Connected;
use crate::metrics::{Flushed, Rejected, StoreLost};
use crate::parts::marker_write;
use crate::shared::{End as TopicEnd, Shared};

/// The subject of the readiness of the archive.
const SUBJECT: &str = "archive";
/// Events wait until they take one in so many of the bytes that lanes may take.
const SHARE_OF_WAITING: usize = 8;
/// A flush comes at least so often.
const FLUSH_EVERY: Duration = Duration::from_secs(2);
/// How long dead letters may take before the marker passes them.
const LETTERS_LIMIT: Duration = Duration::from_secs(5);

/// What is asked of an archive.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The part of it.
    pub part: Part,
    /// Which archive.
    pub archive: &'a Archive,
    /// The first offset that is not in the rows; `None`: nothing is, and the archive says which is the first that counts.
    pub position: Option<i64>,
    /// The offset up to which it is to be read at least.
    pub least: i64,
}

/// What an archive holds of what was asked.
pub struct Held {
    /// The first offset that is read.
    pub from: i64,
    /// Every record in `[from, until)` is in `records`.
    pub until: i64,
    /// In the order of their offsets.
    pub records: BoxStream<'static, Result<Vec<OwnedMessage>, String>>,
}

/// Why an archive does not give what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotHeld {
    /// It never will.
    Refused(Refusal),
    /// It may, soon: a stable word for conditions, and what is waited for.
    NotYet(&'static str, String),
}

/// An archive of topics.
pub trait Records: Send + Sync {
    /// Opens the records of a partition.
    fn open<'a>(&'a self, wanted: Wanted<'a>) -> BoxFuture<'a, Result<Held, NotHeld>>;
}

/// Why an attempt ended before its end.
enum Stop {
    /// Begin anew at the marker.
    Again(String),
    /// Give up.
    Refused(Refusal),
}

/// The reading of one partition's archive.
pub(super) struct Laying<'a, S> {
    pub(super) shared: &'a Shared<S>,
    pub(super) order: Order,
    pub(super) archive: &'a Archive,
    pub(super) records: &'a dyn Records,
}

/// One attempt, from a marker on.
struct Attempt<S> {
    connection: Connected<S>,
    state: PlanState,
    /// The next offset.
    position: i64,
    flushed: Instant,
}

impl<S: RowStore> Laying<'_, S> {
    /// Reads until the topic can be read on, or never can, or `shutdown`.
    pub(super) async fn run(&self, shutdown: &CancellationToken) -> End {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(10));
        loop {
            let reason = match shutdown.run_until_cancelled(self.attempt()).await {
                None => return End::Stopped,
                Some(Ok(())) => return End::Done,
                Some(Err(Stop::Refused(refusal))) => return End::Refused(refusal),
                Some(Err(Stop::Again(reason))) => reason,
            };
            if let Some(reason) = self.shared.dead_letters.failed() {
                return End::Failed(reason);
            }
            tracing::warn!(partition = self.order.part.partition, reason, "going back to the marker");
            if shutdown.run_until_cancelled(tokio::time::sleep(backoff.delay())).await.is_none() {
                return End::Stopped;
            }
        }
    }

    async fn attempt(&self) -> Result<(), Stop> {
        let (shared, part) = (self.shared, self.order.part);
        let connection =
            shared.link.clone().connected().await.ok_or_else(|| again("the link to the store is closed"))?;
        let known = known(shared, &connection.store, self.order).await;
        let (mut erased, markers) = known.map_err(|error| {
            shared.link.broke(connection.number, &error);
            Stop::Again(error.to_string())
        })?;
        let marker: Option<Marker> = markers.into_iter().flatten().next();
        let position = marker.map(|marker| marker.offset);
        let least = self.least().await?;
        if position.is_some_and(|position| position >= least) || least == 0 {
            return Ok(());
        }
        let wanted = Wanted { topic: &shared.topic, part, archive: self.archive, position, least };
        let held = self.records.open(wanted).await.map_err(|why| match why {
            NotHeld::Refused(refusal) => Stop::Refused(refusal),
            NotHeld::NotYet(reason, message) => {
                shared.readiness.block(SUBJECT, format!("{reason}: {message}"));
                Stop::Again(message)
            }
        })?;
        shared.readiness.clear(SUBJECT);
        let Held { from, until, mut records } = held;
        // A replay has one plan.
        let erased = erased.pop().unwrap_or_default();
        let state = PlanState::new(&shared.plans[0], part.partition, from, marker, erased).deferred();
        shared.set_position(part.partition, from);
        tracing::info!(partition = part.partition, from, until, "reading the archive");
        let mut attempt = Attempt { connection, state, position: from, flushed: Instant::now() };
        let mut limit = shared.records_per_second.map(|rate| Limit::new(rate, Instant::now()));
        while let Some(batch) = records.try_next().await.map_err(Stop::Again)? {
            for records in batch.chunks(crate::batch::BATCH) {
                wait(&mut limit, records.len()).await;
                self.fold(&mut attempt, records)?;
                if attempt.is_due(shared.cache_bytes) {
                    self.flush(&mut attempt).await?;
                }
            }
        }
        attempt.position = until;
        shared.set_position(part.partition, until);
        while attempt.state.marker.is_none_or(|marker| marker.offset < until) {
            shared.dead_letters.flush(LETTERS_LIMIT);
            self.flush(&mut attempt).await?;
        }
        Ok(())
    }

    /// The offset from which on the topic can be read: where the part begins, or the topic by now.
    async fn least(&self) -> Result<i64, Stop> {
        let Part { partition, from, to } = self.order.part;
        let bounds = topic::partition_bounds(&self.shared.kafka, &self.shared.topic, partition).await;
        let bounds = bounds.map_err(|error| {
            self.shared.readiness.block(TOPIC, error.to_string());
            Stop::Again(error.to_string())
        })?;
        self.shared.readiness.clear(TOPIC);
        let Some(Bounds { low, .. }) = bounds else {
            let topic = self.shared.topic.clone();
            return Err(Stop::Refused(Refusal::PartitionMissing { topic, partition }));
        };
        Ok(low.clamp(from, to))
    }

    fn fold(&self, attempt: &mut Attempt<S>, records: &[OwnedMessage]) -> Result<(), Stop> {
        let shared = self.shared;
        let plan = &shared.plans[0];
        // A record that came twice, whatever the archive promises, is no other event.
        let records = &records[records.partition_point(|record| record.offset() < attempt.position)..];
        let Some(last) = records.last() else { return Ok(()) };
        let (position, letters) = (last.offset() + 1, attempt.state.letters.clone());
        let store = &attempt.connection.store;
        let source =
            Source { partition: self.order.part.partition, store, runtime: &shared.runtime, metrics: &shared.metrics };
        let refuse = |record: &OwnedMessage, reason: &'static str, detail: &str| {
            let view = &plan.plan().view;
            let refusal = Refused { view, revision: &plan.plan().revision, reason, detail };
            shared.dead_letters.send(&plan.dead_letters, record, &refusal, &letters);
            Rejected { reason }.emit(&shared.metrics);
        };
        // Rows are read back on the way.
        let folded = tokio::task::block_in_place(|| attempt.state.fold(plan, records, &source, refuse));
        folded.map_err(|error| match error {
            FoldError::Store(error) => {
                shared.link.broke(attempt.connection.number, &error);
                Stop::Again(error.to_string())
            }
            error => Stop::Refused(Refusal::Row(error.to_string())),
        })?;
        attempt.position = position;
        shared.set_position(self.order.part.partition, position);
        Ok(())
    }

    /// Writes what changed, and the marker.
    async fn flush(&self, attempt: &mut Attempt<S>) -> Result<(), Stop> {
        let (shared, partition) = (self.shared, self.order.part.partition);
        let plan = &shared.plans[0];
        if shared.link.number() != Some(attempt.connection.number) {
            return Err(again("the connection to the online store is another"));
        }
        let state = &mut attempt.state;
        if state.letters.lock().unwrap_or_else(std::sync::PoisonError::into_inner).failed {
            return Err(again("a dead letter was not delivered"));
        }
        let expiry = Expiry { ttl_ms: plan.ttl_ms, now: Instant::now() };
        let rows = state.rows(plan, expiry, false);
        // Readers are told of the topic's end: nothing is complete before it is read up to there.
        let end = TopicEnd { offset: self.order.part.to, as_of: now_ms() };
        let marker = Some(marker_write(partition, attempt.position, Some(end), None, state));
        let erased = state.cache.erased_version();
        let part = flush::Part { partition, term: 0, plan: 0, rows, marker, erased };
        let (store, plans) = (attempt.connection.store.clone(), shared.plans.clone());
        let Report { done, error, written, superseded, elapsed, trace: _ } =
            flush::execute(store, plans, shared.partitions(), vec![part]).await;
        if written + superseded > 0 {
            Flushed { written, superseded, elapsed }.emit(&shared.metrics);
        }
        if let Some(error) = error {
            shared.link.broke(attempt.connection.number, &error);
            return Err(Stop::Again(error.to_string()));
        }
        for Done { slots, whole, needs_whole, lost, fenced, broken, overtaken, marker, .. } in done {
            if lost {
                StoreLost { partition }.emit(&shared.metrics);
                return Err(again("the online store lost writes"));
            }
            if fenced {
                return Err(again("an entity was erased from the view"));
            }
            if overtaken {
                return Err(again("another process has read further"));
            }
            if let Some(error) = broken {
                return Err(Stop::Refused(Refusal::Row(error.to_string())));
            }
            state.cache.written(&slots);
            state.cache.written_whole(&slots, whole);
            for slot in needs_whole {
                state.cache.needs_whole(slot);
            }
            if let Some(marker) = marker {
                (state.marker, state.marked) = (Some(marker), Some(Instant::now()));
            }
        }
        if state.cache.bytes() > shared.cache_bytes {
            state.cache.shrink(shared.cache_bytes / 8 * 7);
        }
        attempt.flushed = Instant::now();
        Ok(())
    }
}

impl<S> Attempt<S> {
    fn is_due(&self, cache_bytes: usize) -> bool {
        let (held, waiting) = (self.state.cache.bytes(), self.state.waiting_bytes());
        held + waiting > cache_bytes
            || waiting >= cache_bytes / SHARE_OF_WAITING
            || self.flushed.elapsed() >= FLUSH_EVERY
    }
}

/// Waits until so many records may be taken.
async fn wait(limit: &mut Option<Limit>, mut records: usize) {
    let Some(limit) = limit else { return };
    while records > 0 {
        let allowed = limit.allowed(Instant::now()).min(records);
        limit.took(allowed);
        records -= allowed;
        if records > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn again(reason: &str) -> Stop {
    Stop::Again(reason.to_owned())
}

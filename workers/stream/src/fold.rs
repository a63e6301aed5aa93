//! Records into lanes: decode, evaluate, find or load each entity's lane, insert. Where nobody reads the rows yet, events
//! are not inserted but [wait](crate::folding) for the next flush.

use std::sync::Arc;
use std::time::Instant;

use engine::event::{Decoder, Reason};
use engine::lane::{Lane, LaneError, Layout};
use engine::row::Marker;
use rdkafka::message::Message;
use shell::clock::now_ms;
use shell::store::{Erased, RowStore, Segments, StoreError};
use thiserror::Error;
use tokio::runtime::Handle;

use crate::ages::Ages;
use crate::cache::{Expiry, LaneCache};
use crate::dead_letter::SharedLetters;
use crate::folding::{Chunk, Folding, Rows};
use crate::lost::Lost;
use crate::metrics::Metrics;
use crate::plan_run::PlanRun;
use crate::waiting::{REFUSED, Waiting};

/// For so many events at a time the lanes are looked at before they are changed: what that brings near must fit the
/// processor's nearer caches.
const AHEAD: usize = 64;

/// Why a batch could not be folded; the cache is of no more use then.
#[derive(Debug, Error)]
pub enum FoldError {
    /// Rows could not be read back.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A row that was read back is not a lane of this plan.
    #[error("row {key}: {source}")]
    Lane {
        /// Its key.
        key: String,
        /// Why.
        source: LaneError,
    },
    /// The decoder's columns do not make a batch.
    #[error("decoded columns: {0}")]
    Columns(String),
}

/// One plan in one partition, since it was last started.
#[derive(Debug)]
pub struct PlanState {
    decoder: Decoder,
    /// The lanes in memory.
    pub cache: LaneCache,
    /// The first offset that this plan takes: others of the worker may start earlier.
    from: i64,
    /// The largest event time seen; `i64::MIN` if none.
    pub event_time: i64,
    /// The marker that stands in the store, as far as we know.
    pub marker: Option<Marker>,
    /// When it was last written.
    pub marked: Option<Instant>,
    /// Events that no flush took along yet.
    pub(crate) gathered: Ages,
    /// Those that the flush took along that is under way.
    pub(crate) flown: Ages,
    /// Dead letters on their way.
    pub letters: SharedLetters,
    /// By decoded row: the record it came from.
    rows: Vec<usize>,
    /// By decoded row: its lane's slot, or [`REFUSED`].
    slots: Vec<u32>,
    /// Events that are not in the lanes yet; `None` where each is inserted as it comes.
    waiting: Option<Waiting>,
    /// What the topic had lost, until the first record says since when.
    lost: Option<Lost>,
}

impl PlanState {
    /// Starts a partition at `from`, with the marker that was found after it was known who was `erased`.
    #[must_use]
    pub fn new(plan: &PlanRun, partition: i32, from: i64, marker: Option<Marker>, erased: Arc<Erased>) -> Self {
        Self {
            decoder: Decoder::new(plan.plan()),
            cache: LaneCache::new(marker.is_none(), partition, erased),
            from,
            event_time: marker.map_or(i64::MIN, |marker| marker.event_time),
            marker,
            marked: None,
            gathered: Ages::default(),
            flown: Ages::default(),
            letters: SharedLetters::default(),
            rows: Vec::new(),
            slots: Vec::new(),
            waiting: None,
            lost: None,
        }
    }

    /// What the topic had lost, of which the first record may tell more.
    #[must_use]
    pub fn having_lost(self, lost: Option<Lost>) -> Self {
        Self { lost, ..self }
    }

    /// Events wait until they are written: for rows that nobody reads yet, of which each is then made once, and few are open
    /// at a time.
    #[must_use]
    pub fn deferred(self) -> Self {
        Self { waiting: Some(Waiting::default()), ..self }
    }

    /// Whether events wait until they are written.
    #[must_use]
    pub fn is_deferred(&self) -> bool {
        self.waiting.is_some()
    }

    /// Bytes of events that wait.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.waiting.as_ref().map_or(0, Waiting::bytes)
    }

    /// The rows that bring the store up to date; see [`LaneCache::writes`]. They are the `last` if no event comes after them.
    pub fn rows(&mut self, plan: &PlanRun, expiry: Expiry, last: bool) -> Rows {
        match &mut self.waiting {
            None => {
                let (writes, slots) = self.cache.writes(&plan.layout, &plan.row_prefix, expiry);
                Rows::Encoded(Chunk { writes, slots, whole: Vec::new() })
            }
            Some(waiting) => {
                let lanes = self.cache.unfolded(expiry, last);
                Rows::Waiting(Box::new(Folding::new(lanes, std::mem::take(waiting), &plan.row_prefix, last)))
            }
        }
    }

    /// Folds records of one partition, in their order. Those that are no events of the plan go to `refuse`, with the reason
    /// and its detail.
    ///
    /// # Errors
    /// [`FoldError`].
    pub fn fold<S: RowStore, M: Message>(
        &mut self,
        plan: &PlanRun,
        records: &[M],
        source: &Source<'_, S>,
        mut refuse: impl FnMut(&M, &'static str, &str),
    ) -> Result<(), FoldError> {
        if let (Some(lost), Some(first)) = (self.lost, records.iter().find(|record| record.offset() >= self.from)) {
            if let Some(lost) = lost.narrowed(first.timestamp().to_millis()) {
                source.runtime.block_on(lost.tell(source.store, plan))?;
            }
            self.lost = None;
        }
        self.rows.clear();
        let mut taken = 0;
        for (index, record) in records.iter().enumerate() {
            if record.offset() < self.from {
                continue;
            }
            taken += 1;
            // A record without a time, of a broker from before 2016, can hold no event that is near its record's time.
            let time = record.timestamp().to_millis().unwrap_or(-1);
            match self.decoder.push(record.payload(), time) {
                Ok(()) => self.rows.push(index),
                Err(reject) => refuse(record, reject.reason.as_str(), &reject.detail),
            }
        }
        source.metrics.events.inc_by(taken);
        if self.rows.is_empty() {
            return Ok(());
        }
        let columns = self.decoder.take();
        let batch = columns.record_batch().map_err(|error| FoldError::Columns(error.to_string()))?;
        let evaluated = plan.program.evaluate(&batch, columns.times().to_vec());
        let mut failures = evaluated.failures().iter().peekable();
        let mut missing = Vec::new();
        self.slots.clear();
        self.slots.reserve_exact(evaluated.len());
        for row in 0..evaluated.len() {
            if row.is_multiple_of(AHEAD) {
                self.cache.warm_index((row..evaluated.len().min(row + AHEAD)).map(|row| evaluated.entity(row)));
            }
            if let Some(failure) = failures.next_if(|failure| failure.row == row) {
                refuse(&records[self.rows[row]], Reason::ExpressionFailed.as_str(), &failure.message);
                self.slots.push(REFUSED);
                continue;
            }
            let (slot, load) = self.cache.slot(evaluated.entity(row));
            if load {
                missing.push(slot);
            }
            self.slots.push(slot);
        }
        if !missing.is_empty() {
            self.load(plan, &missing, source)?;
        }
        // They are folded all the same: readers leave out tiles below the horizon, and the next one may be lower.
        let (horizon, mut below) = (plan.horizon(), 0);
        let mut counting = self.gathered.counting(now_ms());
        for row in 0..evaluated.len() {
            if row.is_multiple_of(AHEAD) && self.waiting.is_none() {
                self.cache.warm(&self.slots[row..evaluated.len().min(row + AHEAD)]);
            }
            let slot = self.slots[row];
            if slot == REFUSED {
                continue;
            }
            let time = evaluated.time(row);
            self.event_time = self.event_time.max(time);
            counting.event(time);
            if !self.cache.takes(slot, records[self.rows[row]].offset()) {
                self.slots[row] = REFUSED;
                continue;
            }
            below += u64::from(time < horizon);
            if self.waiting.is_none() {
                self.cache.change(slot, |lane| lane.insert(&plan.layout, &evaluated, row));
            }
        }
        source.metrics.events_below_horizon.inc_by(below);
        if let Some(waiting) = &mut self.waiting {
            waiting.push(evaluated, std::mem::take(&mut self.slots));
        }
        Ok(())
    }

    fn load<S: RowStore>(&mut self, plan: &PlanRun, slots: &[u32], source: &Source<'_, S>) -> Result<(), FoldError> {
        let keys: Vec<String> =
            slots.iter().map(|slot| [plan.row_prefix.as_str(), self.cache.entity(*slot)].concat()).collect();
        let lanes = source.runtime.block_on(source.store.load(source.partition, &keys))?;
        for ((slot, key), segments) in slots.iter().zip(keys).zip(lanes) {
            if segments.is_empty() {
                continue;
            }
            let lane = decode(&plan.layout, &key, &segments)?;
            if self.waiting.is_some() {
                self.cache.keep(*slot, lane.offset(), segments);
            } else {
                self.cache.load(*slot, lane);
            }
            source.metrics.lanes_loaded.inc();
        }
        Ok(())
    }
}

/// The lane of these segments, of the row under `key`.
pub(crate) fn decode(layout: &Layout, key: &str, segments: &Segments) -> Result<Lane, FoldError> {
    let segments: Vec<(u8, &[u8])> = segments.iter().map(|(number, bytes)| (*number, bytes.as_slice())).collect();
    Lane::decode(layout, &segments).map_err(|source| FoldError::Lane { key: key.to_owned(), source })
}

/// Where a batch comes from, and what its rows are read back from.
#[derive(Debug)]
pub struct Source<'a, S> {
    /// The partition.
    pub partition: i32,
    /// The store.
    pub store: &'a S,
    /// Runs the store's futures.
    pub runtime: &'a Handle,
    /// Counts.
    pub metrics: &'a Metrics,
}

#[cfg(test)]
mod tests;

//! The rows of a flush: lanes that stand encoded, or lanes yet to be made of events that waited, some at a time.
//!
//! Invariant: the bytes of a lane that was made here are those of one into which each event was inserted as it came, for a
//! lane is a function of the set of its events (see [`engine::lane`]).

use compact_str::CompactString;
use engine::lane::{Encoded, Lane, Layout};
use engine::program::Evaluated;
use shell::store::{LaneWrite, Segments};

use crate::cache::Basis;
use crate::fold::{FoldError, decode};
use crate::waiting::{BySlot, Waiting};

/// So many lanes are made at a time: while they are written, the next are made.
const AT_A_TIME: usize = if cfg!(test) { 5 } else { 2_048 };
/// And no more when they have so many events: those of a few entities may be most of all.
const EVENTS_AT_A_TIME: usize = if cfg!(test) { 50 } else { 1 << 16 };

/// What one plan and partition writes of rows.
#[derive(Debug)]
pub enum Rows {
    /// Lanes that were open.
    Encoded(Chunk),
    /// Lanes of events that waited.
    Waiting(Box<Folding>),
}

/// Rows that are written together.
#[derive(Debug, Default)]
pub struct Chunk {
    /// What to write.
    pub writes: Vec<LaneWrite>,
    /// The slots they belong to, in the same order.
    pub slots: Vec<u32>,
    /// Of lanes of events that waited all segments, in the same order; none of the last.
    pub whole: Vec<Segments>,
}

/// A lane to be made.
#[derive(Debug)]
pub(crate) struct Unfolded {
    pub(crate) slot: u32,
    pub(crate) entity: CompactString,
    pub(crate) basis: Basis,
    /// The offset up to which its events are.
    pub(crate) new: i64,
    /// What was written before; none before the first.
    pub(crate) before: Segments,
}

/// Lanes to be made of events that waited.
#[derive(Debug)]
pub struct Folding {
    waiting: Option<Waiting>,
    row_prefix: String,
    /// Whether nothing comes after it, so that nobody asks for what is written.
    last: bool,
    events: BySlot,
    lanes: Vec<Unfolded>,
    done: usize,
    /// One lane for all: what it needs of memory is near.
    lane: Lane,
}

impl Rows {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Encoded(chunk) => chunk.writes.is_empty(),
            Self::Waiting(folding) => folding.lanes.is_empty(),
        }
    }

    /// The next rows to write; none when there are no more.
    ///
    /// # Errors
    /// [`FoldError::Lane`] if what the store had is no lane of this plan.
    pub(crate) fn next(&mut self, layout: &Layout) -> Result<Chunk, FoldError> {
        match self {
            Self::Encoded(chunk) => Ok(std::mem::take(chunk)),
            Self::Waiting(folding) => folding.next(layout),
        }
    }
}

impl Folding {
    /// Of lanes, and the events that are to be inserted into them.
    pub(crate) fn new(lanes: Vec<Unfolded>, waiting: Waiting, row_prefix: &str, last: bool) -> Self {
        let (row_prefix, events) = (row_prefix.to_owned(), BySlot::default());
        Self { waiting: Some(waiting), row_prefix, last, events, lanes, done: 0, lane: Lane::new() }
    }

    fn next(&mut self, layout: &Layout) -> Result<Chunk, FoldError> {
        if let Some(waiting) = self.waiting.take() {
            let slots: Vec<u32> = self.lanes.iter().map(|lane| lane.slot).collect();
            self.events = waiting.by_slot(&slots);
        }
        let ends = &self.events.ends;
        let begin = |position: usize| position.checked_sub(1).map_or(0, |before| ends[before]);
        let from = begin(self.done);
        let full = ends.partition_point(|end| *end < from + EVENTS_AT_A_TIME) + 1;
        let some = self.done..full.min(self.done + AT_A_TIME).min(self.lanes.len());
        let to = begin(some.end);
        let events = Evaluated::gather(&self.events.batches, &self.events.rows[from..to]);
        let (mut chunk, nothing) = (Chunk::default(), Lane::new());
        for (position, unfolded) in some.clone().zip(&mut self.lanes[some.clone()]) {
            let Unfolded { slot, entity, basis, new, before } = unfolded;
            let key = [self.row_prefix.as_str(), entity.as_str()].concat();
            let Basis { base, whole, may_have_expired } = *basis;
            let mut stored = std::mem::take(before);
            let lane = &mut self.lane;
            if stored.is_empty() {
                lane.restart(&nothing);
            } else {
                *lane = decode(layout, &key, &stored)?;
            }
            lane.extend(layout, &events, begin(position) - from..ends[position] - from);
            lane.set_offset(*new);
            if whole {
                lane.forget_written();
                stored.clear();
            }
            let Encoded { segments, removed } = lane.encode(layout);
            if !self.last {
                overlay(&mut stored, &segments, &removed);
                chunk.whole.push(stored);
            }
            chunk.writes.push(LaneWrite { key, base, new: *new, whole, may_have_expired, segments, removed });
            chunk.slots.push(*slot);
        }
        self.done = some.end;
        Ok(chunk)
    }
}

/// Makes of a lane's segments what a write makes of them in the store.
fn overlay(segments: &mut Segments, changed: &Segments, removed: &[u8]) {
    segments.retain(|(number, _)| !removed.contains(number) && changed.iter().all(|(other, _)| other != number));
    // Copied, for what was encoded has room for more than it holds.
    segments.extend(changed.iter().map(|(number, bytes)| (*number, bytes.as_slice().to_vec())));
}

//! The rows of a flush: lanes that stand encoded, or lanes yet to be made of events that waited, some at a time.
//!
//! Invariant: the bytes of a lane that was made here are those of one into which each event was inserted as it came, for a
//! lane is a function of the set of its events (see [`engine::lane`]).

use engine::lane::{Lane, Layout};
use engine::program::Evaluated;
use shell::store::{LaneWrite, Segments};

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
    /// Of lanes of events that waited all segments, in the same order.
    pub whole: Vec<Segments>,
}

/// A lane to be made.
#[derive(Debug)]
pub(crate) struct Unfolded {
    pub(crate) slot: u32,
    /// Without segments yet.
    pub(crate) write: LaneWrite,
    /// What was written before; none before the first.
    pub(crate) before: Segments,
}

/// Lanes to be made of events that waited.
#[derive(Debug)]
pub struct Folding {
    waiting: Option<Waiting>,
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
    pub(crate) fn new(lanes: Vec<Unfolded>, waiting: Waiting) -> Self {
        Self { waiting: Some(waiting), events: BySlot::default(), lanes, done: 0, lane: Lane::new() }
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
            let Unfolded { slot, write, before } = unfolded;
            let mut whole = std::mem::take(before);
            let lane = &mut self.lane;
            if whole.is_empty() {
                lane.restart(&nothing);
            } else {
                *lane = decode(layout, &write.key, &whole)?;
            }
            lane.extend(layout, &events, begin(position) - from..ends[position] - from);
            lane.set_offset(write.new);
            if write.whole {
                lane.forget_written();
                whole.clear();
            }
            let encoded = lane.encode(layout);
            overlay(&mut whole, &encoded.segments, &encoded.removed);
            let key = std::mem::take(&mut write.key);
            chunk.writes.push(LaneWrite { key, segments: encoded.segments, removed: encoded.removed, ..*write });
            chunk.slots.push(*slot);
            chunk.whole.push(whole);
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

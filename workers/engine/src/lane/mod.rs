//! Lanes: the tiles of one entity as one writer saw them, in memory and in bytes.
//!
//! # Why a lane is a function of the set of its events
//!
//! Let `n` be the newest time among a set `S` of events, and `B(0) ≥ B(1) ≥ … ≥ B(m − 1)` the bounds that
//! [`crate::plan::Ladder`] derives from `n`. The canonical lane of `S` puts the event at time `e` into the tile
//! `floor(e, Tᵢ)` of the first rung `i` with `e ≥ B(i)`; below `B(m − 1)` into the tile of all time, or nowhere. Each tile's
//! state is the merge of its events, which no order changes (see [`crate::aggregate`]). What is built here is that lane
//! whatever the order, since inserting keeps it canonical:
//!
//! 1. *Bounds rise with `n`.* Each is a minimum of terms that rise with `n`, rounded down to a fixed step.
//! 2. *A tile never straddles a later bound.* Every tile size divides the next, and `B(j)` is a multiple of `Tⱼ₊₁` (the last
//!    of its own tile), so of every `Tᵢ` with `i ≤ j`. A tile of rung `i` has its start at a multiple of `Tᵢ`, so it lies
//!    wholly on one side of any later `B(j)` with `j ≥ i`; and as bounds rise it can only move to such a rung `j ≥ i`.
//!    Hence all events of a tile move together, into the tile that [`Table::place`] finds for its start, and
//!    `floor(floor(e, Tᵢ), Tⱼ) = floor(e, Tⱼ)`, so that is where each of them would go by itself.
//! 3. *What is dropped stays dropped.* An event below `B(m − 1)` now is below every later one, so dropping it on arrival,
//!    on ageing, or never having seen it come to the same. The newest event itself is never below a bound.
//!
//! Merging lanes ages all of them to the largest `n` and merges tiles of one place, so by 2 and 3 any split of `S` into
//! lanes merges to the canonical lane of `S`.
//!
//! # Why reads are exact
//!
//! A window that [`crate::time::build_ladder`] saw, read at `t ≥ n − lateness − future`, has its end above `B(0)`, where
//! tiles are the finest, and its start above `B(i)` of its hop's rung, so neither bound cuts a tile and nothing above the
//! start was dropped. [`crate::read`] does not rely on that: it looks at the tiles themselves.

mod body;
mod decode;
mod encode;
mod error;
mod events;
mod layout;
mod table;

pub(crate) use body::{Columns, put_starts};
pub use encode::Encoded;
pub(crate) use encode::{SINGLE, put_head, top};
pub use error::LaneError;
pub use events::Events;
pub(crate) use layout::{FeatureLayout, Form, TableLayout};
pub use layout::{Layout, LayoutError};
pub(crate) use table::Table;

use std::ops::Range;

use crate::aggregate::ValueRef;
use crate::time::TIME_LIMIT;

/// The tiles of one entity from one source partition.
#[derive(Clone, Debug, Default)]
pub struct Lane {
    offset: i64,
    newest: Option<i64>,
    /// By table of the layout; none before the first event.
    tables: Vec<Table>,
    /// The segments beside the head, as last encoded or decoded.
    live: Vec<encode::Live>,
    /// Starts of tiles changed since then, whose spans may stand in such a segment.
    dirty: Vec<i64>,
}

impl Lane {
    /// A lane that has seen nothing, at offset 0.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The source offset up to which events are in the lane: the caller's to define and to keep.
    #[must_use]
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// Sets [`Self::offset`].
    pub fn set_offset(&mut self, offset: i64) {
        self.offset = offset;
    }

    /// The newest event time it has seen, whether or not the event met any condition.
    #[must_use]
    pub fn newest(&self) -> Option<i64> {
        self.newest
    }

    /// A lane that has seen nothing but the passing of time up to `newest`: what it takes in stands in tiles as coarse as
    /// that time has made them, and nothing that is too old for it is kept.
    ///
    /// A batch run makes every lane so, at the last millisecond before its horizon. It leaves out what no read near the
    /// horizon can need; were the lane only as old as its own newest event, a read near *that* would not notice.
    #[must_use]
    pub fn aged(layout: &Layout, newest: i64) -> Self {
        let mut lane = Self::new();
        lane.advance(layout, newest);
        lane
    }

    /// Becomes what `other`, which holds no tile, is, and keeps its memory for what it takes in next.
    pub fn restart(&mut self, other: &Self) {
        (self.offset, self.newest) = (other.offset, other.newest);
        // One that has seen nothing has no tables yet; empty ones mean the same.
        self.tables.resize_with(self.tables.len().max(other.tables.len()), Table::default);
        let none = Table::default();
        for (at, table) in self.tables.iter_mut().enumerate() {
            table.restart(other.tables.get(at).unwrap_or(&none));
        }
        self.forget_written();
    }

    /// Whether it holds no tile: what it saw met no condition, or was too old.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tables.iter().all(|table| table.starts.is_empty())
    }

    /// Folds many events, as [`Self::insert`] does each. The lane ages to the newest of them first, so that each goes to the
    /// tile where it ends up, and none is made that would be merged into a coarser one by the next.
    pub fn extend(&mut self, layout: &Layout, events: &impl Events, rows: Range<usize>) {
        let times = rows.clone().map(|row| events.time(row));
        let newest = times.filter(|time| time.unsigned_abs() <= TIME_LIMIT.unsigned_abs()).max();
        if let Some(newest) = newest.filter(|newest| self.newest.is_none_or(|before| *newest > before)) {
            self.advance(layout, newest);
        }
        rows.for_each(|row| self.insert(layout, events, row));
    }

    /// Folds event `row` into its tiles. Events beyond [`TIME_LIMIT`] change nothing.
    pub fn insert(&mut self, layout: &Layout, events: &impl Events, row: usize) {
        let time = events.time(row);
        if time.unsigned_abs() > TIME_LIMIT.unsigned_abs() {
            return;
        }
        if self.newest.is_none_or(|newest| time > newest) {
            self.advance(layout, time);
        }
        let tracked = !self.live.is_empty();
        // Parts of one input stand side by side: it is looked up once for all of them.
        let mut known: Option<(usize, Option<ValueRef<'_>>)> = None;
        for (table, layout) in self.tables.iter_mut().zip(&layout.tables) {
            let Some(start) = table.place(layout, time) else { continue };
            let width = layout.parts.len();
            let mut row_at = None;
            for group in &layout.groups {
                if group.condition.is_some_and(|c| !events.condition(c, row)) {
                    continue;
                }
                for (i, (part, input)) in (group.from..group.to).zip(&layout.parts[group.from..group.to]) {
                    let value = match (input, known) {
                        (None, _) => None,
                        (Some(k), Some((of, value))) if *k == of => value,
                        (Some(k), _) => {
                            let value = events.value(*k, row).and_then(ValueRef::canonical);
                            known = Some((*k, value));
                            value
                        }
                    };
                    if input.is_some() && value.is_none() {
                        continue;
                    }
                    // The tile is looked for once, and made only for an event that changes something in it.
                    let at = *row_at.get_or_insert_with(|| table.tile(start, width) * width);
                    part.insert(&mut table.states[at + i], time, value);
                }
            }
            if tracked && row_at.is_some() && self.dirty.last() != Some(&start) {
                self.dirty.push(start);
            }
        }
    }

    /// Reads, of each place in memory that the next event is likely to need, a little. The result means nothing.
    #[inline]
    #[must_use]
    pub fn touch(&self) -> i64 {
        self.tables.iter().fold(self.offset, |near, table| near ^ table.touch())
    }

    /// Bytes that its tiles have room in, without what their states hold elsewhere. Walks no tile: may be asked per event.
    #[inline]
    #[must_use]
    pub fn room(&self) -> usize {
        self.tables.capacity() * size_of::<Table>() + self.tables.iter().map(Table::room).sum::<usize>()
    }

    /// Bytes in memory, roughly. Walks the tiles: ask once per flush, not per event.
    #[must_use]
    pub fn memory(&self) -> usize {
        size_of::<Self>()
            + self.room()
            + self.tables.iter().map(Table::heap).sum::<usize>()
            + self.live.capacity() * size_of::<encode::Live>()
            + self.dirty.capacity() * 8
    }

    /// The tables by those of the layout; none if it has seen nothing.
    pub(crate) fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// Makes `newest` the newest event time, which it must not lower.
    fn advance(&mut self, layout: &Layout, newest: i64) {
        if self.tables.len() != layout.tables.len() {
            self.tables.resize_with(layout.tables.len(), Table::default);
        }
        if let Some(before) = self.newest
            && !self.live.is_empty()
            && encode::span(layout, before) != encode::span(layout, newest)
        {
            // What was the youngest span may now have a segment of its own.
            self.dirty.push(before);
        }
        self.newest = Some(newest);
        for (table, layout) in self.tables.iter_mut().zip(&layout.tables) {
            table.age(layout, newest, &mut self.dirty);
        }
        if self.live.is_empty() {
            self.dirty.clear();
        }
    }
}

/// The lane that one writer would have made of all the events of `lanes`, at offset 0.
#[must_use]
pub fn merge(layout: &Layout, lanes: &[Lane]) -> Lane {
    let mut merged = Lane::new();
    if let Some(newest) = lanes.iter().filter_map(Lane::newest).max() {
        merged.advance(layout, newest);
    }
    for lane in lanes {
        for ((into, from), layout) in merged.tables.iter_mut().zip(&lane.tables).zip(&layout.tables) {
            for (position, start) in from.starts.iter().enumerate() {
                if let Some(place) = into.place(layout, *start) {
                    into.merge(layout, place, from.row(position, layout.parts.len()));
                }
            }
        }
    }
    merged
}

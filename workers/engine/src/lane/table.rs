//! The tiles of one ladder in memory, and their ageing. The argument why it is canonical heads [`super`].
//!
//! Invariant: `starts` ascends strictly, `states` holds one row of parts a tile, no row is all empty, and every tile is
//! where [`Table::place`] puts its start. The tile of all time, if there is one, has the start `i64::MIN`.

use super::layout::{MAX_RUNGS, TableLayout};
use crate::aggregate::State;
use crate::aggregate::column::Slot;
use crate::time::floor;

/// The start of the tile of all time.
pub(crate) const FOREVER: i64 = i64::MIN;

/// The tiles of one ladder.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// `B(i)` by rung, as [`crate::plan::Ladder`] defines it, of the lane's newest event time.
    bounds: [i64; MAX_RUNGS],
    /// The newest event time from which on a bound may be another.
    valid_until: i64,
    pub starts: Vec<i64>,
    pub states: Vec<State>,
}

impl Default for Table {
    fn default() -> Self {
        Self { bounds: [i64::MIN; MAX_RUNGS], valid_until: i64::MIN, starts: Vec::new(), states: Vec::new() }
    }
}

impl Table {
    /// Takes over the bounds of `other`, which has no tiles.
    pub fn restart(&mut self, other: &Self) {
        (self.bounds, self.valid_until) = (other.bounds, other.valid_until);
        self.starts.clear();
        self.states.clear();
    }

    /// Moves the bounds to what they are at `newest`, which never falls, and the tiles with them. The old starts of tiles
    /// that moved or came to another rung, and new ones in other spans, are added to `moved`.
    pub fn age(&mut self, layout: &TableLayout, newest: i64, moved: &mut Vec<i64>) {
        if newest < self.valid_until {
            return;
        }
        let before = self.bounds;
        let rungs = &layout.ladder.rungs;
        let mut above = i64::MAX;
        self.valid_until = i64::MAX;
        for (i, rung) in rungs.iter().enumerate() {
            let next = rungs.get(i + 1).unwrap_or(rung).tile_ms;
            let reach = newest - rung.keep_ms;
            let bound = floor(reach.min(above), next);
            // A bound held down by the one above moves only when that moves, which its own term accounts for.
            if reach <= above {
                self.valid_until = self.valid_until.min(bound + next + rung.keep_ms);
            }
            self.bounds[i] = bound;
            above = bound;
        }
        self.regroup(layout, &before, moved);
    }

    /// The start of the tile in which an event at `time` stands; `None` if the ladder does not keep it.
    #[inline]
    pub fn place(&self, layout: &TableLayout, time: i64) -> Option<i64> {
        self.tile_of(layout, time).map(|tile| tile.start)
    }

    /// The tile in which an event at `time` stands; `None` if the ladder does not keep it.
    #[inline]
    pub fn tile_of(&self, layout: &TableLayout, time: i64) -> Option<Slot> {
        for (rung, bound) in layout.ladder.rungs.iter().zip(self.bounds) {
            if time >= bound {
                let start = floor(time, rung.tile_ms);
                return Some(Slot { start, end: start + rung.tile_ms });
            }
        }
        layout.ladder.forever.then(|| Slot { start: FOREVER, end: self.oldest(layout) })
    }

    /// The rung of a tile; the number of rungs for the tile of all time.
    pub fn rung(&self, layout: &TableLayout, start: i64) -> usize {
        let rungs = layout.ladder.rungs.len();
        self.bounds[..rungs].iter().position(|bound| start >= *bound).unwrap_or(rungs)
    }

    /// The slice of time of a tile.
    pub fn slot(&self, layout: &TableLayout, start: i64) -> Slot {
        match layout.ladder.rungs.get(self.rung(layout, start)) {
            Some(rung) => Slot { start, end: start + rung.tile_ms },
            None => Slot { start: FOREVER, end: self.oldest(layout) },
        }
    }

    /// The time below which the ladder keeps no tiles of their own.
    pub fn oldest(&self, layout: &TableLayout) -> i64 {
        self.bounds[layout.ladder.rungs.len() - 1]
    }

    /// The position of the tile that starts at `start`; made if it is not there.
    #[inline]
    pub fn tile(&mut self, start: i64, width: usize) -> usize {
        let len = self.starts.len();
        match self.starts.last() {
            Some(last) if *last == start => return len - 1,
            Some(last) if *last > start => {}
            _ => {
                if self.starts.len() == self.starts.capacity() {
                    // Most lanes are small and many: to double would leave a third of all memory empty.
                    let more = 1 + len / 4;
                    self.starts.reserve_exact(more);
                    self.states.reserve_exact(more * width);
                }
                self.starts.push(start);
                self.states.resize_with((len + 1) * width, State::default);
                return len;
            }
        }
        self.starts.binary_search(&start).unwrap_or_else(|at| {
            self.starts.insert(at, start);
            self.states.splice(at * width..at * width, std::iter::repeat_with(State::default).take(width));
            at
        })
    }

    /// The states of the tile at `position`.
    pub fn row(&self, position: usize, width: usize) -> &[State] {
        &self.states[position * width..(position + 1) * width]
    }

    /// Merges `row` into the tile that starts at `start`.
    pub fn merge(&mut self, layout: &TableLayout, start: i64, row: &[State]) {
        let width = layout.parts.len();
        let at = self.tile(start, width) * width;
        for (i, (part, _)) in layout.parts.iter().enumerate() {
            part.merge(&mut self.states[at + i], &row[i]);
        }
    }

    /// See [`super::Lane::touch`]: the bounds, where a search of the starts begins and ends, the first and the last state.
    #[inline]
    pub fn touch(&self) -> i64 {
        let start = |at: usize| self.starts.get(at).copied().unwrap_or_default();
        let empty = |state: Option<&State>| i64::from(state.is_none_or(State::is_empty));
        self.valid_until
            ^ start(self.starts.len() / 2)
            ^ start(self.starts.len().wrapping_sub(1))
            ^ empty(self.states.first())
            ^ empty(self.states.last())
    }

    /// Bytes that there is room for.
    #[inline]
    pub fn room(&self) -> usize {
        self.starts.capacity() * 8 + self.states.capacity() * size_of::<State>()
    }

    /// Bytes that states hold elsewhere, roughly.
    pub fn heap(&self) -> usize {
        self.states.iter().map(State::heap).sum()
    }

    /// Puts every tile where it belongs by the present bounds, given those `before`. Only tiles between an old bound and
    /// its new place change their rung. Starts ascend, and so do their places, so tiles which become one are neighbours.
    fn regroup(&mut self, layout: &TableLayout, before: &[i64], moved: &mut Vec<i64>) {
        let (mut first, mut end) = (self.starts.len(), 0);
        for (old, new) in before.iter().zip(&self.bounds[..layout.ladder.rungs.len()]).filter(|(old, new)| old != new) {
            let from = self.starts.partition_point(|start| start < old);
            let to = from + self.starts[from..].partition_point(|start| start < new);
            if from < to {
                (first, end) = (first.min(from), end.max(to));
            }
        }
        let width = layout.parts.len();
        let mut kept = first;
        for read in first..end {
            let start = self.starts[read];
            let place = self.place(layout, start);
            let rung = before[..layout.ladder.rungs.len()].iter().position(|bound| start >= *bound);
            // One that starts where a coarser one does keeps its start, but stands in the bytes by its rung.
            if place != Some(start) || rung.unwrap_or(layout.ladder.rungs.len()) != self.rung(layout, start) {
                moved.push(start);
            }
            let Some(place) = place else { continue };
            if place == FOREVER && start != FOREVER {
                moved.push(FOREVER);
            }
            if kept > 0 && self.starts[kept - 1] == place {
                let (into, from) = self.states.split_at_mut(read * width);
                for (i, (part, _)) in layout.parts.iter().enumerate() {
                    part.absorb(&mut into[(kept - 1) * width + i], std::mem::take(&mut from[i]));
                }
            } else {
                self.starts[kept] = place;
                if kept != read {
                    for i in 0..width {
                        self.states.swap(kept * width + i, read * width + i);
                    }
                }
                kept += 1;
            }
        }
        if kept < end {
            self.starts.drain(kept..end);
            self.states.drain(kept * width..end * width);
        }
    }
}

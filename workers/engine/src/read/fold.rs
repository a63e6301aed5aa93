//! The tiles of one table, over some lanes, merged by interval.
//!
//! Invariant: a tile is in the interval that holds its start. If a bound cuts it, that is noted by part and bound; a
//! window with neither bound noted then holds every tile wholly or not at all, and its intervals hold exactly its tiles.
//! What a layer can no longer tell of the time from which it counts is noted as a gap.

use super::Layer;
use crate::aggregate::State;
use crate::lane::{Table, TableLayout};

/// Tiles by interval between the bounds of some windows.
#[derive(Debug)]
pub struct Fold<'a> {
    layout: &'a TableLayout,
    /// Sorted and distinct; interval `i` is `[bounds[i], bounds[i + 1])`.
    bounds: Vec<i64>,
    /// Whether all windows end at the last bound. Then what is kept of an interval is of all from it on.
    nested: bool,
    /// The parts that are folded, ascending: positions in the table's layout.
    parts: &'a [usize],
    /// By part and interval.
    states: Vec<State>,
    newest: Vec<Option<i64>>,
    /// By part and bound: whether it cuts a tile that has the part.
    cut: Vec<bool>,
    /// Slices of time of which not all is known.
    gaps: Vec<Gap>,
}

/// A slice `[from, to)` of event time of which a layer cannot tell everything.
#[derive(Clone, Copy, Debug)]
struct Gap {
    /// The one part concerned; `None` for all.
    part: Option<usize>,
    from: i64,
    to: i64,
}

impl<'a> Fold<'a> {
    /// Folds table `table` of `layers` for windows with these bounds and for these parts.
    pub fn new(
        layout: &'a TableLayout,
        table: usize,
        layers: &[Layer<'_>],
        windows: &[(i64, i64)],
        parts: &'a [usize],
    ) -> Self {
        let end = windows.iter().map(|(_, end)| *end).max();
        let nested = windows.iter().all(|(_, of)| Some(*of) == end);
        let mut bounds: Vec<i64> = windows.iter().flat_map(|(start, end)| [*start, *end]).collect();
        bounds.sort_unstable();
        bounds.dedup();
        let cells = bounds.len() * parts.len();
        let mut fold = Self {
            layout,
            parts,
            states: vec![State::Empty; cells],
            newest: vec![None; cells],
            cut: vec![false; cells],
            bounds,
            nested,
            gaps: Vec::new(),
        };
        for layer in layers {
            fold.note_gap(None, layer.from, layer.complete_from);
            for lane in layer.lanes {
                if let (Some(table), Some(newest)) = (lane.tables().get(table), lane.newest()) {
                    fold.add(table, newest, layer.from);
                }
            }
        }
        if nested {
            fold.nest();
        }
        fold
    }

    /// Merges into each interval all those behind it, from the last to the first.
    fn nest(&mut self) {
        let bounds = self.bounds.len();
        for (at, part) in self.parts.iter().enumerate() {
            for cell in (at * bounds + 1..(at + 1) * bounds).rev() {
                let (before, behind) = self.states.split_at_mut(cell);
                self.layout.parts[*part].0.merge(&mut before[cell - 1], &behind[0]);
                self.newest[cell - 1] = self.newest[cell - 1].max(self.newest[cell]);
            }
        }
    }

    /// Adds the tiles of one lane that start at `counts_from` or later.
    fn add(&mut self, table: &Table, newest: i64, counts_from: i64) {
        if !self.layout.ladder.forever {
            // What was dropped is of no account below the time from which the lane counts.
            self.note_gap(None, counts_from, table.oldest(self.layout));
        }
        let (Some(first), Some(last)) = (self.bounds.first().copied(), self.bounds.last().copied()) else { return };
        // Tiles ascend, so all but the one before are outside if they start before the first bound, or do not count.
        let parts = self.parts;
        let lowest = first.max(counts_from);
        let from = table.starts.partition_point(|start| *start < lowest).saturating_sub(1);
        for position in from..table.starts.len() {
            let slot = table.slot(self.layout, table.starts[position]);
            if slot.start >= last {
                break;
            }
            if slot.start < counts_from {
                // It counts not at all, or it has grown over the time from which it counts and can no longer be divided.
                let row = table.row(position, self.layout.parts.len());
                for part in parts.iter().filter(|part| !row[**part].is_empty()) {
                    self.note_gap(Some(*part), counts_from, slot.end);
                }
                continue;
            }
            let inside = self.bounds.partition_point(|bound| *bound <= slot.start);
            let behind = self.bounds.partition_point(|bound| *bound < slot.end).max(inside);
            let row = table.row(position, self.layout.parts.len());
            for (at, part) in self.parts.iter().enumerate().filter(|(_, part)| !row[**part].is_empty()) {
                let cells = at * self.bounds.len();
                if inside < behind {
                    self.cut[cells + inside..cells + behind].fill(true);
                }
                // A tile that starts before the first bound is in no window, whether that bound cuts it or not.
                if let Some(interval) = inside.checked_sub(1) {
                    let cell = cells + interval;
                    self.layout.parts[*part].0.merge(&mut self.states[cell], &row[*part]);
                    self.newest[cell] = self.newest[cell].max(Some(newest.min(slot.end - 1)));
                }
            }
        }
    }

    /// Whether a window of some parts cannot be told exactly.
    pub fn is_cut(&self, parts: &[usize], start: i64, end: i64) -> bool {
        let (s, e) = (self.bound(start), self.bound(end));
        let cut = |part: &usize| {
            let cells = self.cells(*part);
            self.cut[cells + s] || self.cut[cells + e]
        };
        let in_gap = |gap: &Gap| start < gap.to && gap.from < end && gap.part.is_none_or(|part| parts.contains(&part));
        self.gaps.iter().any(in_gap) || parts.iter().any(cut)
    }

    fn note_gap(&mut self, part: Option<usize>, from: i64, to: i64) {
        if from >= to {
            return;
        }
        match self.gaps.iter_mut().find(|gap| gap.part == part && gap.from == from) {
            Some(gap) => gap.to = gap.to.max(to),
            None => self.gaps.push(Gap { part, from, to }),
        }
    }

    /// The state of a part over a window; `merged` is where it stands if it is not there yet.
    pub fn state<'b>(&'b self, part: usize, start: i64, end: i64, merged: &'b mut State) -> &'b State {
        let cells = self.cells(part);
        if self.nested {
            // The last bound ends no interval, and nothing is in it.
            return &self.states[cells + self.bound(start)];
        }
        for interval in self.bound(start)..self.bound(end) {
            self.layout.parts[part].0.merge(merged, &self.states[cells + interval]);
        }
        merged
    }

    /// The time of the newest event of a part in a window, to within its tile.
    pub fn newest(&self, part: usize, start: i64, end: i64) -> Option<i64> {
        let cells = self.cells(part);
        if self.nested {
            return self.newest[cells + self.bound(start)];
        }
        self.newest[cells + self.bound(start)..cells + self.bound(end)].iter().copied().max().flatten()
    }

    /// The position of a window's bound.
    fn bound(&self, time: i64) -> usize {
        self.bounds.partition_point(|bound| *bound < time)
    }

    /// Where the cells of a part begin.
    fn cells(&self, part: usize) -> usize {
        self.parts.partition_point(|p| *p < part) * self.bounds.len()
    }
}

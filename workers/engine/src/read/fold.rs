//! The tiles of one table, over some lanes, merged by interval.
//!
//! Invariant: a tile is in the interval that holds its start. If a bound cuts it, that is noted by part and bound; a
//! window with neither bound noted then holds every tile wholly or not at all, and its intervals hold exactly its tiles.

use crate::aggregate::State;
use crate::lane::{Lane, Table, TableLayout};

/// Tiles by interval between the bounds of some windows.
#[derive(Debug)]
pub struct Fold<'a> {
    layout: &'a TableLayout,
    /// Sorted and distinct; interval `i` is `[bounds[i], bounds[i + 1])`.
    bounds: Vec<i64>,
    /// The parts that are folded, ascending: positions in the table's layout.
    parts: &'a [usize],
    /// By part and interval.
    states: Vec<State>,
    newest: Vec<Option<i64>>,
    /// By part and bound: whether it cuts a tile that has the part.
    cut: Vec<bool>,
    /// A start below this may miss dropped events.
    oldest: i64,
}

impl<'a> Fold<'a> {
    /// Folds table `table` of `lanes` for windows with these bounds and for these parts.
    pub fn new(
        layout: &'a TableLayout,
        table: usize,
        lanes: &[Lane],
        windows: &[(i64, i64)],
        parts: &'a [usize],
    ) -> Self {
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
            oldest: i64::MIN,
        };
        for lane in lanes {
            if let (Some(table), Some(newest)) = (lane.tables().get(table), lane.newest()) {
                fold.add(table, newest);
            }
        }
        fold
    }

    fn add(&mut self, table: &Table, newest: i64) {
        if !self.layout.ladder.forever {
            self.oldest = self.oldest.max(table.oldest(self.layout));
        }
        let (Some(first), Some(last)) = (self.bounds.first().copied(), self.bounds.last().copied()) else { return };
        // Tiles ascend, so all but the one before are outside if they start before the first bound.
        let from = table.starts.partition_point(|start| *start < first).saturating_sub(1);
        for position in from..table.starts.len() {
            let slot = table.slot(self.layout, table.starts[position]);
            if slot.start >= last {
                break;
            }
            let inside = self.bounds.partition_point(|bound| *bound <= slot.start);
            let behind = self.bounds.partition_point(|bound| *bound < slot.end);
            let row = table.row(position, self.layout.parts.len());
            for (at, part) in self.parts.iter().enumerate().filter(|(_, part)| !row[**part].is_empty()) {
                let cells = at * self.bounds.len();
                self.cut[cells + inside..cells + behind.max(inside)].fill(true);
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
        start < self.oldest || parts.iter().any(cut)
    }

    /// The state of a part over a window.
    pub fn state(&self, part: usize, start: i64, end: i64) -> State {
        let cells = self.cells(part);
        let mut state = State::Empty;
        for interval in self.bound(start)..self.bound(end) {
            self.layout.parts[part].0.merge(&mut state, &self.states[cells + interval]);
        }
        state
    }

    /// The time of the newest event of a part in a window, to within its tile.
    pub fn newest(&self, part: usize, start: i64, end: i64) -> Option<i64> {
        let cells = self.cells(part);
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

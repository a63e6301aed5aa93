//! How some tiles of one table stand in a segment.
//!
//! First how many tiles, then how many of them by rung (the last left out, it is the rest), then their starts from the
//! newest to the oldest, each as the number of tiles of its size that lie empty before it, counted from `top`; then a
//! column a part, in the order of [`TableLayout::order`]. What a column begins with depends on the part's [`Form`]:
//!
//! - of its `Own`, a varint: 0 and the index of an earlier column of counts that is equal; 1 if no tile has the part; 2 if all
//!   have; 3 + i for the i-th map of bits, which follows where it is new;
//! - of others nothing, for the counts that they stand beside say which tiles have them.
//!
//! Invariant: the bytes depend on the tiles, the rungs they stand on and `top` alone, not on where the lane's bounds lie
//! between them, so a segment need not be written again while its tiles neither change nor come to another rung.

mod take;

use crate::aggregate::codec::{put_len, put_packed};
use crate::aggregate::column::{self, Slot};
use crate::aggregate::{Kind, State};
use crate::time::floor;

use super::TableLayout;
use super::layout::Form;
use super::table::{FOREVER, Table};

pub use take::take;

const COPY: usize = 0;
const NONE: usize = 1;
const ALL: usize = 2;
const MAPS: usize = 3;

/// Appends the tiles at `positions`, which descend. `top` is above them all and a multiple of the finest tile.
pub fn put(out: &mut Vec<u8>, layout: &TableLayout, table: &Table, positions: &[usize], top: i64) {
    let starts: Vec<i64> = positions.iter().map(|p| table.starts[*p]).collect();
    if !put_starts(out, layout, table, &starts, top) {
        return;
    }
    let width = layout.parts.len();
    let slots: Vec<Slot> = starts.iter().map(|start| table.slot(layout, *start)).collect();
    let mut columns = Columns::default();
    let mut states: Vec<&State> = Vec::with_capacity(positions.len());
    let mut of: Vec<Slot> = Vec::with_capacity(positions.len());
    for &i in &layout.order {
        let part = &layout.parts[i].0;
        let column = || positions.iter().map(|p| &table.states[p * width + i]);
        if part.kind == Kind::Count {
            let count = |state: &State| if let State::Count(count) = state { *count } else { 0 };
            columns.put_counts(out, i, column().map(count).collect());
            continue;
        }
        if layout.forms[i] == Form::Own && !columns.put_map(out, column().map(|state| !state.is_empty())) {
            continue;
        }
        let written = |row: usize, state: &State| match layout.forms[i] {
            Form::Own => !state.is_empty(),
            Form::Base { count } => columns.count(count, row) > 0,
            Form::Told { count, .. } => columns.count(count, row) > 1,
        };
        states.clear();
        of.clear();
        for (row, state) in column().enumerate().filter(|(row, state)| written(*row, state)) {
            states.push(state);
            of.push(slots[row]);
        }
        column::put(out, part, &of, &states);
    }
}

/// Appends how many tiles there are and where they start; `false` if there is none.
pub fn put_starts(out: &mut Vec<u8>, layout: &TableLayout, table: &Table, starts: &[i64], top: i64) -> bool {
    put_len(out, starts.len());
    if starts.is_empty() {
        return false;
    }
    let mut by_rung = [0; super::layout::MAX_RUNGS + 1];
    for start in starts {
        by_rung[table.rung(layout, *start)] += 1;
    }
    let rungs = layout.ladder.rungs.len() + usize::from(layout.ladder.forever);
    for count in &by_rung[..rungs - 1] {
        put_len(out, *count);
    }
    let mut next = top;
    let rungs =
        layout.ladder.rungs.iter().zip(by_rung).flat_map(|(rung, count)| std::iter::repeat_n(rung.tile_ms, count));
    for (start, tile) in starts.iter().zip(rungs).filter(|(start, _)| **start != FOREVER) {
        let gap = (floor(next, tile) - start) / tile - 1;
        put_len(out, usize::try_from(gap).unwrap_or(0));
        next = *start;
    }
    true
}

/// What the columns of one body tell one another.
#[derive(Debug, Default)]
pub struct Columns {
    maps: Vec<Vec<bool>>,
    /// By part and tile; none where a tile lacks the part.
    counts: Vec<(usize, Vec<u64>)>,
}

impl Columns {
    /// How many events of the counting part `part` a tile has.
    pub fn count(&self, part: usize, row: usize) -> u64 {
        self.counts.iter().find(|(of, _)| *of == part).map_or(0, |(_, counts)| counts[row])
    }

    /// Appends the counts of part `part`, by tile.
    pub fn put_counts(&mut self, out: &mut Vec<u8>, part: usize, counts: Vec<u64>) {
        if let Some((equal, _)) = self.counts.iter().find(|(_, known)| *known == counts) {
            put_len(out, COPY);
            put_len(out, *equal);
        } else if self.put_map(out, counts.iter().map(|count| *count > 0)) {
            column::put_counts(out, counts.iter().copied().filter(|count| *count > 0));
        }
        self.counts.push((part, counts));
    }

    /// Appends which tiles have a part; `false` if none has.
    pub fn put_map(&mut self, out: &mut Vec<u8>, map: impl Iterator<Item = bool> + Clone) -> bool {
        let (mut any, mut all) = (false, true);
        for has in map.clone() {
            any |= has;
            all &= has;
        }
        if any && !all {
            let map: Vec<bool> = map.collect();
            let known = self.maps.iter().position(|other| *other == map);
            put_len(out, MAPS + known.unwrap_or(self.maps.len()));
            if known.is_none() {
                put_packed(out, 1, map.iter().map(|bit| u64::from(*bit)));
                self.maps.push(map);
            }
        } else {
            put_len(out, if any { ALL } else { NONE });
        }
        any
    }
}

//! The events of one entity, dealt out to tiles: what [`super::Tally::fold`] works on, kept for the next entity's.

use std::ops::Range;

use super::numbers::Numbers;
use super::totals::{Totals, Units};
use super::{Slot, Tally, Tiles};
use crate::lane::TableLayout;
use crate::program::Evaluated;
use crate::time::TIME_LIMIT;
use crate::value::Value;

/// One entity's events by tile, and its values.
#[derive(Debug, Default)]
pub struct Sheet {
    pub(super) tables: Vec<Gathered>,
    /// By feature that is read.
    pub(super) values: Vec<Option<Value>>,
    /// By window, of one slot after another.
    pub(super) totals: Vec<Totals>,
    /// Of one slot's numbers after another's.
    pub(super) units: Units,
}

/// The tiles of one table.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// Where tiles start, ascending. Each has events of some slot.
    pub starts: Vec<i64>,
    /// By tile, where its rows end.
    rows: Vec<usize>,
    pub slots: Vec<Dealt>,
}

/// The events of one slot.
#[derive(Debug, Default)]
pub(super) struct Dealt {
    /// Their times, ascending.
    pub times: Vec<i64>,
    /// Whether they have inputs.
    pub has_input: bool,
    /// Their inputs; none if they have none.
    pub numbers: Numbers,
    /// By tile, where its events end.
    ends: Vec<usize>,
}

impl Sheet {
    /// Takes out the values of the features that the tally reads, in their order; NULL where there is none.
    pub fn values(&mut self) -> impl Iterator<Item = Option<Value>> {
        self.values.drain(..)
    }

    /// Takes in an entity's events, in place of the last one's; `false` if a number is beyond what is worked with.
    pub(super) fn gather(&mut self, tally: &Tally, events: &Evaluated, rows: Range<usize>) -> bool {
        self.tables.resize_with(tally.tables.len(), Gathered::default);
        let mut tables = self.tables.iter_mut().zip(&tally.tables).zip(&tally.layout.tables);
        tables.all(|((gathered, tiles), of)| gathered.gather(tiles, of, events, rows.clone()))
    }
}

impl Gathered {
    fn gather(&mut self, tiles: &Tiles, of: &TableLayout, events: &Evaluated, rows: Range<usize>) -> bool {
        let times = events.times();
        self.starts.clear();
        self.rows.clear();
        let mut end = i64::MIN;
        let mut first = rows.start;
        for row in rows.clone() {
            let time = times[row];
            if time < end {
                continue;
            }
            match tiles.table.tile_of(of, time).filter(|_| time.unsigned_abs() <= TIME_LIMIT.unsigned_abs()) {
                Some(tile) => {
                    end = tile.end;
                    if !self.starts.is_empty() {
                        self.rows.push(row);
                    }
                    self.starts.push(tile.start);
                }
                // Too old for the ladder, as is all before it.
                None if self.starts.is_empty() => first = row + 1,
                // Beyond all time.
                None => return false,
            }
        }
        if !self.starts.is_empty() {
            self.rows.push(rows.end);
        }
        self.slots.resize_with(tiles.slots.len(), Dealt::default);
        let all = first..rows.end;
        if !self.slots.iter_mut().zip(&tiles.slots).all(|(dealt, slot)| dealt.deal(slot, events, &all, &self.rows)) {
            return false;
        }
        self.leave_out_empty();
        true
    }

    /// Leaves out tiles that no slot has an event of.
    fn leave_out_empty(&mut self) {
        let has = |slots: &[Dealt], tile: usize| slots.iter().any(|dealt| !dealt.range(tile).is_empty());
        if (0..self.starts.len()).all(|tile| has(&self.slots, tile)) {
            return;
        }
        let kept: Vec<usize> = (0..self.starts.len()).filter(|tile| has(&self.slots, *tile)).collect();
        self.starts = kept.iter().map(|tile| self.starts[*tile]).collect();
        for dealt in &mut self.slots {
            // One that is left out ends where the one before it does.
            dealt.ends = kept.iter().map(|tile| dealt.ends[*tile]).collect();
        }
    }
}

impl Dealt {
    /// Takes the slot's events among `all`, whose tiles end at `ends`.
    fn deal(&mut self, slot: &Slot, events: &Evaluated, all: &Range<usize>, ends: &[usize]) -> bool {
        self.times.clear();
        self.ends.clear();
        let times = &events.times()[all.clone()];
        let column = slot.input.map(|input| events.input(input));
        self.has_input = column.is_some();
        if slot.condition.is_none() && column.is_none_or(|column| !Numbers::has_nulls(column)) {
            self.times.extend_from_slice(times);
            self.ends.extend(ends.iter().map(|end| end - all.start));
            return column.is_none_or(|column| self.numbers.extend(column, all.clone()));
        }
        let meets = |row: &usize| {
            slot.condition.is_none_or(|condition| events.condition(condition, *row))
                && column.is_none_or(|column| Numbers::has(column, *row))
        };
        let mut start = all.start;
        if let Some(column) = column {
            self.numbers.restart(column);
        }
        for end in ends {
            for row in (start..*end).filter(meets) {
                self.times.push(events.time(row));
                if column.is_some_and(|column| !self.numbers.push(column, row)) {
                    return false;
                }
            }
            self.ends.push(self.times.len());
            start = *end;
        }
        true
    }

    /// The events of a tile.
    pub fn range(&self, tile: usize) -> Range<usize> {
        tile.checked_sub(1).map_or(0, |before| self.ends[before])..self.ends[tile]
    }

    /// How many a tile has.
    pub fn count(&self, tile: usize) -> usize {
        self.range(tile).len()
    }
}

//! Features over slices of events, where [`crate::read`] merges tiles.
//!
//! Invariant: there are none unless every window begins and ends where tiles do, whatever the events, so that the events in its
//! slice are those of its tiles.

use super::finalize::finalize;
use super::sheet::{Dealt, Sheet};
use super::totals::{Totals, Units};
use super::{Tally, Tiles, is_told};
use crate::lane::{FeatureLayout, TableLayout};
use crate::time::window_bounds;

/// What is read of all tables.
#[derive(Clone, Debug, Default)]
pub(super) struct Reads {
    features: usize,
    tables: Vec<TableReads>,
}

/// What is read of one table.
#[derive(Clone, Debug)]
struct TableReads {
    /// Distinct, the latest start first. `i64::MIN` is the beginning of time.
    windows: Vec<(i64, i64)>,
    /// Whether all end together, so that each holds the one before it.
    nested: bool,
    features: Vec<Asked>,
}

/// One feature.
#[derive(Clone, Debug)]
struct Asked {
    /// Its place among those that are read.
    at: usize,
    slot: usize,
    window: usize,
    layout: FeatureLayout,
}

impl Reads {
    pub fn new(tally: &Tally, features: &[usize], t: i64) -> Option<Self> {
        let mut tables = Vec::with_capacity(tally.tables.len());
        let asked = (features.iter().enumerate())
            .filter_map(|(at, feature)| Some((at, tally.layout.features.get(*feature)?.as_ref()?)));
        for (number, (tiles, of)) in tally.tables.iter().zip(&tally.layout.tables).enumerate() {
            let mut reads = TableReads { windows: Vec::new(), nested: true, features: Vec::new() };
            let mut placed = Vec::new();
            for (at, layout) in asked.clone().filter(|(_, layout)| layout.table == number) {
                let (start, end) = window_bounds(&layout.window, &tally.layout.policy, t);
                let window = (start.unwrap_or(i64::MIN), end);
                if !is_told(&layout.function) || !is_whole(tiles, of, window, tally.newest) {
                    return None;
                }
                let slot = tiles.parts[*layout.parts.first()?].0;
                reads.windows.push(window);
                placed.push((Asked { at, slot, window: 0, layout: layout.clone() }, window));
            }
            reads.windows.sort_unstable_by_key(|window| std::cmp::Reverse(*window));
            reads.windows.dedup();
            reads.nested = reads.windows.windows(2).all(|pair| pair[0].1 == pair[1].1);
            reads.features = placed
                .into_iter()
                .map(|(asked, of)| {
                    Some(Asked { window: reads.windows.iter().position(|window| *window == of)?, ..asked })
                })
                .collect::<Option<_>>()?;
            tables.push(reads);
        }
        Some(Self { features: features.len(), tables })
    }

    /// Sets the sheet's values; `false` if a sum does not fit.
    pub fn read(&self, sheet: &mut Sheet) -> bool {
        let Sheet { tables, values, totals, units } = sheet;
        values.clear();
        values.resize(self.features, None);
        for (reads, gathered) in self.tables.iter().zip(tables) {
            for (slot, dealt) in gathered.slots.iter().enumerate() {
                let asked = reads.features.iter().filter(|asked| asked.slot == slot);
                if asked.clone().next().is_none() {
                    continue;
                }
                if dealt.has_input && !units.set(&dealt.numbers) {
                    return false;
                }
                reads.total(dealt, units, totals);
                for asked in asked {
                    values[asked.at] = finalize(&asked.layout, &totals[asked.window], &dealt.numbers, units.exponent);
                }
            }
        }
        true
    }
}

impl TableReads {
    /// What the events of a slot come to in each window.
    fn total(&self, dealt: &Dealt, units: &Units, totals: &mut Vec<Totals>) {
        totals.clear();
        let (mut so_far, mut before) = (Totals::NONE, None);
        for (start, end) in &self.windows {
            let from = dealt.times.partition_point(|time| time < start);
            let to = before.unwrap_or_else(|| dealt.times.partition_point(|time| time < end)).max(from);
            if dealt.has_input {
                so_far.add(&dealt.numbers, units, from..to);
            } else {
                so_far.count(to - from);
            }
            totals.push(so_far);
            if self.nested {
                before = Some(from);
            } else {
                so_far = Totals::NONE;
            }
        }
    }
}

/// Whether a window begins and ends where tiles do.
fn is_whole(tiles: &Tiles, of: &TableLayout, (start, end): (i64, i64), newest: i64) -> bool {
    let is_edge = |time: i64| tiles.table.place(of, time) == Some(time);
    let from_the_beginning = start == i64::MIN && of.ladder.forever;
    (from_the_beginning || is_edge(start)) && (end > newest || is_edge(end))
}

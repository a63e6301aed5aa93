//! Lanes of events that are all there: their bytes and features, without the lane.
//!
//! Whoever has all events of an entity, in order of time, needs no tiles that grow one event at a time. What a tile holds is a
//! slice of the events, and of most it is one; a window is a slice, too. A [`Tally`] counts, sums and compares over slices, and
//! appends the bytes that a [`Lane`](crate::lane::Lane) of the events would have. It is for numbers alone: of a plan with other
//! aggregates there is none, and what it cannot do in the bits that it has it [declines](Tallied::Declined), for the lane to do.
//!
//! Invariant: bytes and values are those of the lane that [`Lane::aged`](crate::lane::Lane::aged) makes and that takes in the
//! same events.

mod body;
mod finalize;
mod numbers;
mod reads;
mod sheet;
mod totals;

use std::ops::Range;
use std::sync::Arc;

use crate::aggregate::{Kind, ValueRef};
use crate::lane::{Layout, Table, TableLayout};
use crate::plan::Function;
use crate::program::Evaluated;
use crate::value::ValueType;

use reads::Reads;
pub use sheet::Sheet;

/// More events than this of one entity stand in so many tiles, mostly, that their lane has further segments; and a sheet is not
/// to grow with the heaviest entity.
const MOST: usize = 1 << 16;

/// How the lanes of one layout, all aged to one time, are made of events.
#[derive(Clone, Debug)]
pub struct Tally {
    layout: Arc<Layout>,
    newest: i64,
    offset: i64,
    tables: Vec<Tiles>,
    reads: Reads,
}

/// What became of an entity's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tallied {
    /// They stand in tiles.
    Tiles,
    /// None stands in a tile: they met no condition, or were too old.
    Nothing,
    /// They are too many, one is after the time that lanes are aged to, or a number does not fit the bits that are worked with:
    /// nothing was appended, and a lane has to take them in.
    Declined,
}

/// The tiles of one ladder.
#[derive(Clone, Debug)]
struct Tiles {
    /// Empty, with the bounds of the time that all lanes are aged to.
    table: Table,
    slots: Vec<Slot>,
    /// By part of the layout: its slot, and what a state of it weighs.
    parts: Vec<(usize, usize)>,
}

/// The events of one condition whose input is not NULL.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Slot {
    condition: Option<usize>,
    input: Option<usize>,
}

impl Tally {
    /// For lanes aged to `newest`, at `offset`; `None` if the layout has aggregates other than of numbers.
    #[must_use]
    pub fn new(layout: Arc<Layout>, newest: i64, offset: i64) -> Option<Self> {
        let tables = layout.tables.iter().map(|of| Tiles::new(of, newest)).collect::<Option<_>>()?;
        Some(Self { layout, newest, offset, tables, reads: Reads::default() })
    }

    /// The same that reads the windowed features at the plan's positions `features` as of `t`, too; `None` if one of them cannot
    /// be told from the slices of time that tiles are.
    #[must_use]
    pub fn reading(self, features: &[usize], t: i64) -> Option<Self> {
        let reads = Reads::new(&self, features, t)?;
        Some(Self { reads, ..self })
    }

    /// Appends the head of the lane of `rows`, which ascend by time; it has no further segment. The values of the features that
    /// it reads are then [`Sheet::values`].
    pub fn fold(&self, events: &Evaluated, rows: Range<usize>, sheet: &mut Sheet, out: &mut Vec<u8>) -> Tallied {
        let times = &events.times()[rows.clone()];
        if rows.len() > MOST || times.last().is_some_and(|last| *last > self.newest) {
            return Tallied::Declined;
        }
        if !sheet.gather(self, events, rows) || body::weigh(self, sheet) > crate::lane::SINGLE {
            return Tallied::Declined;
        }
        if !self.reads.read(sheet) {
            return Tallied::Declined;
        }
        crate::lane::put_head(out, &self.layout, self.offset, Some(self.newest), &[]);
        for ((tiles, of), gathered) in self.tables.iter().zip(&self.layout.tables).zip(&sheet.tables) {
            body::put(out, of, tiles, gathered, self.newest);
        }
        if sheet.tables.iter().all(|table| table.starts.is_empty()) { Tallied::Nothing } else { Tallied::Tiles }
    }
}

impl Tiles {
    fn new(of: &TableLayout, newest: i64) -> Option<Self> {
        let mut slots: Vec<Slot> = Vec::new();
        let mut parts = Vec::with_capacity(of.parts.len());
        for group in &of.groups {
            for (part, input) in &of.parts[group.from..group.to] {
                if !matches!(part.kind, Kind::Count | Kind::Sum | Kind::Squares | Kind::Min | Kind::Max) {
                    return None;
                }
                let one = match &part.value_type {
                    None => None,
                    Some(ValueType::Int64) => Some(ValueRef::Int64(1)),
                    Some(ValueType::Double) => Some(ValueRef::Double(1.0)),
                    Some(ValueType::Decimal { .. }) => Some(ValueRef::Decimal(1)),
                    Some(_) => return None,
                };
                let slot = Slot { condition: group.condition, input: *input };
                let at = slots.iter().position(|other| *other == slot).unwrap_or_else(|| {
                    slots.push(slot);
                    slots.len() - 1
                });
                parts.push((at, part.single(0, one).weight()));
            }
        }
        let mut table = Table::default();
        table.age(of, newest, &mut Vec::new());
        Some(Self { table, slots, parts })
    }
}

/// Whether a function's value is told by counts, sums and extremes.
fn is_told(function: &Function) -> bool {
    use Function::{Avg, Count, Max, Min, StdDev, Sum, Variance};
    matches!(function, Count | Sum | Avg | Min | Max | StdDev | Variance)
}

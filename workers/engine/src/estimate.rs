//! How large a row of a view gets, from its plan alone.
//!
//! An estimate for one **busy entity**, whose events come from one source partition: an event each minute around the
//! clock, each meeting every condition, no input NULL, every sixteenth input one not seen before, text of 16 bytes,
//! numbers of four digits (doubles with two more behind the point), and a year of them in tiles of all time. What is
//! counted is the bytes of the lane as [`crate::lane`] encodes it, not what the store adds. A quieter entity has fewer
//! tiles and a smaller row; one that comes from `n` partitions has up to `n` times as much, and one with more events than
//! that more only where tiles are finer than a minute, or states grow with their events (sets, sketches, lists).

use crate::aggregate::{EXACT_SET, Kind, Part};
use crate::lane::{Form, Layout, LayoutError, TableLayout};
use crate::plan::Plan;
use crate::value::ValueType;

/// The time between two events of a busy entity.
const EVERY_MS: i64 = 60_000;
/// One input of so many was not seen before.
const NEW: u64 = 16;
/// What a tile of all time has seen.
const FOREVER_EVENTS: u64 = 365 * 24 * 60;
/// The head of a lane and its list of segments.
const HEAD: u64 = 128;
/// The most that the registers of a set take.
const REGISTERS: u64 = 3_073;
/// Buckets that a percentile's inputs of some orders of magnitude fall into.
const BUCKETS: u64 = 300;

/// How large a row gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// Bytes of the whole row.
    pub bytes: u64,
    /// Bytes that each windowed feature reads, by name, heaviest first. Features share parts, so these may add up to more.
    pub features: Vec<(String, u64)>,
}

/// Estimates the row of a busy entity.
///
/// # Errors
/// [`LayoutError`] if the plan is not one that [`crate::resolve`] makes.
pub fn row_bytes(plan: &Plan) -> Result<Estimate, LayoutError> {
    let layout = Layout::new(plan)?;
    let parts: Vec<Vec<u64>> = layout
        .tables
        .iter()
        .map(|table| (0..table.parts.len()).map(|part| part_bytes(table, part)).collect())
        .collect();
    let starts = layout.tables.iter().map(|table| slices(table).map(|slice| slice.tiles).sum::<u64>());
    let bytes = HEAD + starts.sum::<u64>() + parts.iter().flatten().sum::<u64>();
    let mut features: Vec<(String, u64)> = plan
        .features
        .iter()
        .zip(&layout.features)
        .filter_map(|(feature, of)| {
            let of = of.as_ref()?;
            Some((feature.name.clone(), of.parts.iter().map(|part| parts[of.table][*part]).sum()))
        })
        .collect();
    // Stable, so that of equals the user's first comes first.
    features.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    Ok(Estimate { bytes, features })
}

/// The filled tiles of one size.
struct Slice {
    tiles: u64,
    /// The events in each.
    events: u64,
    tile_ms: i64,
}

fn slices(table: &TableLayout) -> impl Iterator<Item = Slice> + '_ {
    let rungs = &table.ladder.rungs;
    let from = std::iter::once(0).chain(rungs.iter().map(|rung| rung.keep_ms));
    let by_rung = rungs.iter().zip(from).map(|(rung, from)| {
        let reach = rung.keep_ms.saturating_sub(from).max(1);
        let events = u64::try_from(reach / EVERY_MS).unwrap_or(0).max(1);
        let tiles = u64::try_from(reach / rung.tile_ms + 1).unwrap_or(1).min(events);
        Slice { tiles, events: events / tiles, tile_ms: rung.tile_ms }
    });
    let forever = table.ladder.forever.then_some(Slice { tiles: 1, events: FOREVER_EVENTS, tile_ms: i64::MAX });
    by_rung.chain(forever)
}

fn part_bytes(table: &TableLayout, part: usize) -> u64 {
    let is_told = matches!(table.forms[part], Form::Told { .. });
    let bytes = |slice: &Slice| if is_told && slice.events == 1 { 0 } else { state_bytes(&table.parts[part].0, slice) };
    slices(table).map(|slice| slice.tiles.saturating_mul(bytes(&slice))).sum()
}

/// The bytes of one state that has seen the events of a tile.
fn state_bytes(part: &Part, slice: &Slice) -> u64 {
    let events = slice.events;
    let bits = u64::from(u64::BITS - events.leading_zeros());
    let value = value_bytes(part.value_type.as_ref());
    let time = (u64::from(u64::BITS - slice.tile_ms.unsigned_abs().leading_zeros())).min(49).div_ceil(7);
    let double = part.value_type == Some(ValueType::Double);
    let new = events.div_ceil(NEW);
    match part.kind {
        Kind::Count => bits.div_ceil(8),
        // Sums of doubles are exact, and so hold the error of each.
        Kind::Sum => {
            if double {
                9
            } else {
                (14 + bits).div_ceil(7)
            }
        }
        Kind::Squares => {
            if double {
                15
            } else {
                (27 + bits).div_ceil(7)
            }
        }
        Kind::Min | Kind::Max => value,
        // A hash in the column's pool, and an index to it.
        Kind::Distinct if new <= EXACT_SET as u64 => 1 + new * 10,
        Kind::Distinct => (2 + new * 2).min(REGISTERS),
        Kind::Quantiles => 4 + 3 * new.min(BUCKETS),
        Kind::First | Kind::Last => time + value,
        Kind::LastK(k) => 1 + events.min(u64::from(k)) * (time + value),
        Kind::TopK(k) => 1 + events.min(u64::from(k)) * value,
        Kind::Earliest | Kind::Latest => time,
    }
}

fn value_bytes(value_type: Option<&ValueType>) -> u64 {
    match value_type {
        Some(ValueType::Boolean) => 1,
        Some(ValueType::Int64) => 2,
        Some(ValueType::Decimal { .. }) => 3,
        Some(ValueType::Double) => 4,
        // A text stands once in its column's pool for every few of its uses: two bytes each and sixteen for four.
        Some(ValueType::Timestamp | ValueType::String) => 6,
        Some(ValueType::List(_)) | None => 0,
    }
}

#[cfg(test)]
mod tests;

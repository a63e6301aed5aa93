//! The bytes of one table's tiles, as [`crate::lane`] writes those of a lane.

use std::ops::Range;

use super::numbers::Numbers;
use super::sheet::{Dealt, Gathered, Sheet};
use super::{Tally, Tiles};
use crate::aggregate::{Kind, Part, State, column};
use crate::lane::{Columns, Form, TableLayout, put_starts, top};

/// What all tiles weigh: [`TableLayout::weigh`] of each.
pub(super) fn weigh(tally: &Tally, sheet: &Sheet) -> usize {
    let tables = tally.tables.iter().zip(&tally.layout.tables).zip(&sheet.tables);
    let weigh = |((tiles, of), gathered): ((&Tiles, &TableLayout), &Gathered)| {
        let parts = tiles.parts.iter().zip(&of.forms).map(|((slot, weight), form)| {
            let least = if matches!(form, Form::Told { .. }) { 2 } else { 1 };
            let dealt = &gathered.slots[*slot];
            weight * (0..gathered.starts.len()).filter(|tile| dealt.count(*tile) >= least).count()
        });
        2 * gathered.starts.len() + parts.sum::<usize>()
    };
    tables.map(weigh).sum()
}

/// Appends the tiles that were gathered, of a lane whose newest event is at `newest`.
pub(super) fn put(out: &mut Vec<u8>, of: &TableLayout, tiles: &Tiles, gathered: &Gathered, newest: i64) {
    let starts: Vec<i64> = gathered.starts.iter().rev().copied().collect();
    if !put_starts(out, of, &tiles.table, &starts, top(newest, of.ladder.rungs[0].tile_ms)) {
        return;
    }
    let mut columns = Columns::default();
    let count = starts.len();
    for &i in &of.order {
        let (part, dealt) = (&of.parts[i].0, &gathered.slots[tiles.parts[i].0]);
        let counts = (0..count).rev().map(|tile| dealt.count(tile));
        if part.kind == Kind::Count {
            columns.put_counts(out, i, counts.map(|count| count as u64).collect());
            continue;
        }
        let least = match of.forms[i] {
            Form::Own if !columns.put_map(out, counts.clone().map(|count| count > 0)) => continue,
            Form::Own | Form::Base { .. } => 1,
            Form::Told { .. } => 2,
        };
        for tile in (0..count).rev() {
            let events = dealt.range(tile);
            match (&dealt.numbers, part.kind) {
                _ if events.len() < least => {}
                // One number is its own sum, and what most tiles have.
                (Numbers::Doubles(numbers), Kind::Sum | Kind::Min | Kind::Max) if events.len() == 1 => {
                    column::put_double(out, numbers[events.start]);
                }
                _ => column::put_number(out, part, &state(part, dealt, events)),
            }
        }
    }
}

/// What a part comes to of some events.
fn state(part: &Part, dealt: &Dealt, events: Range<usize>) -> State {
    let mut state = State::Empty;
    for at in events {
        part.insert(&mut state, 0, Some(dealt.numbers.value(at, part.value_type.as_ref())));
    }
    state
}

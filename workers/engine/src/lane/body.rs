//! How some tiles of one table stand in a segment.
//!
//! First how many tiles, then how many of them by rung (the last left out, it is the rest), then their starts from the
//! newest to the oldest, each as the number of tiles of its size that lie empty before it, counted from `top`; then a
//! column a part. A column begins with a varint: 0 and the index of an earlier column of counts that is equal; 1 if no
//! tile has the part; 2 if all have; 3 + i for the i-th map of bits, which follows where it is new.
//!
//! Invariant: the bytes depend on the tiles, the rungs they stand on and `top` alone, not on where the lane's bounds lie
//! between them, so a segment need not be written again while its tiles neither change nor come to another rung.

use crate::aggregate::codec::{Cursor, Malformed, put_len, put_packed};
use crate::aggregate::column::{self, Slot, Written};
use crate::aggregate::{Kind, State};
use crate::time::{TIME_LIMIT, floor};

use super::TableLayout;
use super::table::{FOREVER, Table};

const COPY: usize = 0;
const NONE: usize = 1;
const ALL: usize = 2;
const MAPS: usize = 3;

/// Appends the tiles at `positions`, which descend. `top` is above them all and a multiple of the finest tile.
pub fn put(out: &mut Vec<u8>, layout: &TableLayout, table: &Table, positions: &[usize], top: i64) {
    put_len(out, positions.len());
    if positions.is_empty() {
        return;
    }
    let starts = || positions.iter().map(|p| table.starts[*p]);
    let mut by_rung = vec![0; layout.ladder.rungs.len() + 1];
    starts().for_each(|start| by_rung[table.rung(layout, start)] += 1);
    for count in &by_rung[..by_rung.len() - 1 - usize::from(!layout.ladder.forever)] {
        put_len(out, *count);
    }
    let mut next = top;
    for start in starts().filter(|start| *start != FOREVER) {
        let tile = layout.ladder.rungs[table.rung(layout, start)].tile_ms;
        let gap = (floor(next, tile) - start) / tile - 1;
        put_len(out, usize::try_from(gap).unwrap_or(0));
        next = start;
    }
    put_columns(out, layout, table, positions);
}

fn put_columns(out: &mut Vec<u8>, layout: &TableLayout, table: &Table, positions: &[usize]) {
    let width = layout.parts.len();
    let slots: Vec<Slot> = positions.iter().map(|p| table.slot(layout, table.starts[*p])).collect();
    let mut maps: Vec<Vec<bool>> = Vec::new();
    let mut written = Written::new(positions.len());
    let mut states: Vec<&State> = Vec::with_capacity(positions.len());
    for (i, (part, _)) in layout.parts.iter().enumerate() {
        states.clear();
        states.extend(positions.iter().map(|p| &table.states[p * width + i]));
        if part.kind == Kind::Count
            && let Some(equal) = (0..i).find(|j| {
                layout.parts[*j].0.kind == Kind::Count
                    && positions.iter().zip(&states).all(|(p, state)| table.states[p * width + j] == **state)
            })
        {
            put_len(out, COPY);
            put_len(out, equal);
            continue;
        }
        let empty = states.iter().filter(|s| s.is_empty()).count();
        if empty == states.len() {
            put_len(out, NONE);
            continue;
        }
        if empty == 0 {
            put_len(out, ALL);
            column::put(out, part, &slots, &states, &mut written);
            continue;
        }
        let map: Vec<bool> = states.iter().map(|s| !s.is_empty()).collect();
        let known = maps.iter().position(|m| *m == map);
        put_len(out, MAPS + known.unwrap_or(maps.len()));
        if known.is_none() {
            put_packed(out, 1, map.iter().map(|bit| u64::from(*bit)));
            maps.push(map.clone());
        }
        let present: Vec<Slot> = slots.iter().zip(&map).filter(|(_, bit)| **bit).map(|(slot, _)| *slot).collect();
        states.retain(|state| !state.is_empty());
        column::put(out, part, &present, &states, &mut written);
    }
}

/// Reads what [`put`] wrote: starts, descending, and a row of states for each. `table` has the bounds of the lane.
pub fn take(
    from: &mut Cursor<'_>,
    layout: &TableLayout,
    table: &Table,
    top: i64,
) -> Result<(Vec<i64>, Vec<State>), Malformed> {
    let len = from.count()?;
    if len == 0 {
        return Ok((Vec::new(), Vec::new()));
    }
    let starts = take_starts(from, layout, table, top, len)?;
    let slots: Vec<Slot> = starts.iter().map(|start| table.slot(layout, *start)).collect();
    let width = layout.parts.len();
    let mut states = vec![State::Empty; len * width];
    let mut maps: Vec<Vec<bool>> = Vec::new();
    for (i, (part, _)) in layout.parts.iter().enumerate() {
        let form = from.index(MAPS + width)?;
        let map = match form {
            COPY => {
                let equal = from.index(i)?;
                if part.kind != Kind::Count || layout.parts[equal].0.kind != Kind::Count {
                    return from.malformed("a copy of what is not a count");
                }
                for row in 0..len {
                    states[row * width + i] = states[row * width + equal].clone();
                }
                continue;
            }
            NONE => continue,
            ALL => {
                for (row, state) in column::take(from, part, &slots)?.into_iter().enumerate() {
                    states[row * width + i] = state;
                }
                continue;
            }
            known if known - MAPS < maps.len() => maps[known - MAPS].clone(),
            new if new - MAPS == maps.len() => {
                let map: Vec<bool> = from.packed(1, len)?.map(|bit| bit == 1).collect();
                maps.push(map.clone());
                map
            }
            _ => return from.malformed("an unknown map"),
        };
        let present: Vec<Slot> = slots.iter().zip(&map).filter(|(_, bit)| **bit).map(|(slot, _)| *slot).collect();
        let mut column = column::take(from, part, &present)?.into_iter();
        for row in (0..len).filter(|row| map[*row]) {
            states[row * width + i] = column.next().unwrap_or_default();
        }
    }
    if states.chunks(width).any(|row| row.iter().all(State::is_empty)) {
        return from.malformed("a tile of nothing");
    }
    Ok((starts, states))
}

fn take_starts(
    from: &mut Cursor<'_>,
    layout: &TableLayout,
    table: &Table,
    top: i64,
    len: usize,
) -> Result<Vec<i64>, Malformed> {
    let rungs = layout.ladder.rungs.len();
    let mut left = len;
    let mut by_rung = vec![0; rungs + usize::from(layout.ladder.forever)];
    let last = by_rung.len() - 1;
    for count in &mut by_rung[..last] {
        *count = from.index(left + 1)?;
        left -= *count;
    }
    by_rung[last] = left;
    let mut starts = Vec::with_capacity(len);
    let mut next = top;
    for (rung, count) in by_rung.iter().enumerate() {
        for _ in 0..*count {
            let start = match layout.ladder.rungs.get(rung) {
                None => FOREVER,
                Some(rung) => {
                    let gap = from.unsigned()?;
                    (i64::try_from(gap).ok())
                        .and_then(|gap| gap.checked_add(1)?.checked_mul(rung.tile_ms))
                        .and_then(|back| floor(next, rung.tile_ms).checked_sub(back))
                        .filter(|start| *start >= -2 * TIME_LIMIT)
                        .map_or_else(|| from.malformed("a tile before all time"), Ok)?
                }
            };
            if table.rung(layout, start) != rung || starts.last() == Some(&FOREVER) {
                return from.malformed("a tile on another rung than its age puts it");
            }
            starts.push(start);
            next = start;
        }
    }
    Ok(starts)
}

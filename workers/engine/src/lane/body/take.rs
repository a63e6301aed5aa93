//! Reading what [`super::put`] wrote, and what it wrote in format 1: there each part stood by itself, in the order of the layout.

use super::super::TableLayout;
use super::super::layout::Form;
use super::super::table::{FOREVER, Table};
use super::{ALL, COPY, MAPS, NONE};
use crate::aggregate::codec::{Cursor, Malformed};
use crate::aggregate::column::{self, Slot};
use crate::aggregate::{Kind, State};
use crate::time::{TIME_LIMIT, floor};

/// Starts, descending, and a row of states for each. `table` has the bounds of the lane, and `is_first` says that the bytes are
/// of format 1.
pub fn take(
    from: &mut Cursor<'_>,
    layout: &TableLayout,
    table: &Table,
    top: i64,
    is_first: bool,
) -> Result<(Vec<i64>, Vec<State>), Malformed> {
    let len = from.count()?;
    if len == 0 {
        return Ok((Vec::new(), Vec::new()));
    }
    let starts = take_starts(from, layout, table, top, len)?;
    let width = layout.parts.len();
    let slots = starts.iter().map(|start| table.slot(layout, *start)).collect();
    let states = vec![State::Empty; len * width];
    let mut columns = Columns { layout, slots, states, maps: Vec::new(), known: Vec::with_capacity(width) };
    for i in 0..width {
        let (part, form) = if is_first { (i, Form::Own) } else { (layout.order[i], layout.forms[layout.order[i]]) };
        columns.take(from, part, form)?;
        columns.known.push(part);
    }
    if is_first {
        columns.check(from)?;
    }
    let states = columns.states;
    if states.chunks(width).any(|row| row.iter().all(State::is_empty)) {
        return from.malformed("a tile of nothing");
    }
    Ok((starts, states))
}

/// The columns of one body, as they come.
struct Columns<'a> {
    layout: &'a TableLayout,
    slots: Vec<Slot>,
    /// A row of parts a tile.
    states: Vec<State>,
    maps: Vec<Vec<bool>>,
    /// The parts that have been read.
    known: Vec<usize>,
}

impl Columns<'_> {
    fn state(&mut self, row: usize, part: usize) -> &mut State {
        &mut self.states[row * self.layout.parts.len() + part]
    }

    fn count(&self, row: usize, part: usize) -> u64 {
        match &self.states[row * self.layout.parts.len() + part] {
            State::Count(count) => *count,
            _ => 0,
        }
    }

    fn take(&mut self, from: &mut Cursor<'_>, part: usize, form: Form) -> Result<(), Malformed> {
        let layout = self.layout;
        let of = &layout.parts[part].0;
        let all = 0..self.slots.len();
        let rows: Vec<usize> = match form {
            Form::Own => match self.take_map(from, part)? {
                Some(rows) => rows,
                None => return Ok(()),
            },
            Form::Base { count } => all.filter(|row| self.count(*row, count) > 0).collect(),
            Form::Told { count, .. } => all.filter(|row| self.count(*row, count) > 1).collect(),
        };
        if of.kind == Kind::Count {
            for (row, count) in rows.iter().zip(column::take_counts(from, rows.len())?) {
                *self.state(*row, part) = State::Count(count);
            }
            return Ok(());
        }
        let slots: Vec<Slot> = rows.iter().map(|row| self.slots[*row]).collect();
        for (row, state) in rows.iter().zip(column::take(from, of, &slots)?) {
            *self.state(*row, part) = state;
        }
        if let Form::Told { count, base } = form {
            for row in (0..self.slots.len()).filter(|row| self.count(*row, count) == 1).collect::<Vec<_>>() {
                let Some(told) = of.told(self.state(row, base)) else {
                    return from.malformed("a number that no single event has");
                };
                *self.state(row, part) = told;
            }
        }
        Ok(())
    }

    /// Refuses states that are of no events: what format 2 leaves out would not be what they say.
    fn check(&mut self, from: &Cursor<'_>) -> Result<(), Malformed> {
        let layout = self.layout;
        for (part, form) in layout.forms.iter().enumerate() {
            let (Form::Base { count } | Form::Told { count, .. }) = *form else { continue };
            for row in 0..self.slots.len() {
                let events = self.count(row, count);
                let state = self.state(row, part).clone();
                let is_told = match *form {
                    Form::Told { base, .. } if events == 1 => {
                        layout.parts[part].0.told(self.state(row, base)).as_ref() == Some(&state)
                    }
                    _ => true,
                };
                if state.is_empty() != (events == 0) || !is_told {
                    return from.malformed("a number beside a count of other events");
                }
            }
        }
        Ok(())
    }

    /// The tiles that have a part; `None` if there is nothing more to be read of it.
    fn take_map(&mut self, from: &mut Cursor<'_>, part: usize) -> Result<Option<Vec<usize>>, Malformed> {
        let (layout, len) = (self.layout, self.slots.len());
        let map = match from.index(MAPS + layout.parts.len())? {
            COPY => {
                let equal = from.index(layout.parts.len())?;
                let is_count = |part: usize| layout.parts[part].0.kind == Kind::Count;
                if !is_count(part) || !is_count(equal) || !self.known.contains(&equal) {
                    return from.malformed("a copy of what is not an earlier count");
                }
                for row in 0..len {
                    *self.state(row, part) = self.state(row, equal).clone();
                }
                return Ok(None);
            }
            NONE => return Ok(None),
            ALL => return Ok(Some((0..len).collect())),
            known if known - MAPS < self.maps.len() => &self.maps[known - MAPS],
            new if new - MAPS == self.maps.len() => {
                self.maps.push(from.packed(1, len)?.map(|bit| bit == 1).collect());
                &self.maps[new - MAPS]
            }
            _ => return from.malformed("an unknown map"),
        };
        Ok(Some((0..len).filter(|row| map[*row]).collect()))
    }
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

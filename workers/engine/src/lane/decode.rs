//! From bytes to a lane. The format is described in [`super::encode`].
//!
//! Invariant: whatever the bytes, the outcome is a lane that upholds every invariant of [`super`], or an error; never a
//! panic, and never more memory than the layout's ladders bound and a small multiple of the bytes.

use super::encode::{FIRST, FORMAT, Live, end_of, hash, segment, span, top};
use super::error::LaneError;
use super::{Lane, Layout, body};
use crate::aggregate::State;
use crate::aggregate::codec::{Cursor, Malformed, unzigzag};
use crate::time::TIME_LIMIT;

/// The tiles of a table as they come out of segments: starts, and as many rows of states.
type Rows = (Vec<i64>, Vec<State>);

impl Lane {
    /// The lane whose segments these are, in any order. Segments that the head does not name are ignored.
    ///
    /// # Errors
    /// [`LaneError`] if they are not whole, not of this layout, or not what an engine wrote.
    pub fn decode(layout: &Layout, segments: &[(u8, &[u8])]) -> Result<Self, LaneError> {
        let find = |number: u8| segments.iter().find(|s| s.0 == number).map(|s| s.1);
        let head = find(0).ok_or(LaneError::Missing(0))?;
        let is_first = is_first(0, head)?;
        let malformed = |segment: u8| move |source: Malformed| LaneError::Malformed { segment, source };
        let mut from = Cursor::new(head);
        let (offset, newest) = take_head(&mut from, layout)?;
        let mut lane = Self::new();
        lane.offset = offset;
        let Some(newest) = newest else {
            from.end().map_err(malformed(0))?;
            return Ok(lane);
        };
        lane.advance(layout, newest);
        let named = take_named(&mut from).map_err(malformed(0))?;
        let mut rows: Vec<Rows> = vec![Rows::default(); layout.tables.len()];
        lane.take_tables(&mut from, layout, &mut rows, None, is_first).map_err(malformed(0))?;
        for (number, named) in named {
            let bytes = find(number).ok_or(LaneError::Missing(number))?;
            if hash(bytes) != named {
                return Err(LaneError::Torn(number));
            }
            let is_first = self::is_first(number, bytes)?;
            let span = lane.take_segment(number, bytes, layout, &mut rows, is_first).map_err(malformed(number))?;
            lane.live.push(Live { span, hash: named });
        }
        for ((table, of), rows) in lane.tables.iter_mut().zip(&layout.tables).zip(rows) {
            (table.starts, table.states) = ascending(rows, of.parts.len());
            if !table.starts.is_sorted_by(|a, b| a < b) {
                return Err(malformed(0)(Malformed { offset: 0, what: "a tile in two segments" }));
            }
        }
        Ok(lane)
    }

    /// The [offset](Self::offset) in the bytes of a head, without decoding the rest; `None` if they are too few.
    #[must_use]
    pub fn peek_offset(head: &[u8]) -> Option<i64> {
        head.get(9..17)?.try_into().ok().map(i64::from_be_bytes)
    }

    fn take_segment(
        &self,
        number: u8,
        bytes: &[u8],
        layout: &Layout,
        rows: &mut [Rows],
        is_first: bool,
    ) -> Result<i64, Malformed> {
        let mut from = Cursor::new(bytes);
        from.byte()?;
        let of_span = from.signed64()?;
        if segment(of_span) != number {
            return from.malformed("a span that belongs into another segment");
        }
        self.take_tables(&mut from, layout, rows, Some(of_span), is_first)?;
        Ok(of_span)
    }

    /// Reads all tables to the end of the segment; of a span, or of the head.
    fn take_tables(
        &self,
        from: &mut Cursor<'_>,
        layout: &Layout,
        rows: &mut [Rows],
        of_span: Option<i64>,
        is_first: bool,
    ) -> Result<(), Malformed> {
        let newest = self.newest.unwrap_or(0);
        for ((of, table), rows) in layout.tables.iter().zip(&self.tables).zip(rows) {
            let top = of_span.map_or_else(|| top(newest, of.ladder.rungs[0].tile_ms), |s| end_of(layout, s));
            let (starts, states) = body::take(from, of, table, top, is_first)?;
            if of_span.is_some_and(|s| starts.iter().any(|start| span(layout, *start) != s)) {
                return from.malformed("a tile outside of its segment's span");
            }
            rows.0.extend(starts);
            rows.1.extend(states);
        }
        from.end()
    }
}

/// The tiles of all segments, oldest first. Within a segment they come newest first.
fn ascending((starts, mut states): Rows, width: usize) -> Rows {
    let mut order: Vec<usize> = (0..starts.len()).rev().collect();
    order.sort_by_key(|row| starts[*row]);
    let mut sorted = Vec::with_capacity(states.len());
    for row in &order {
        sorted.extend(states[row * width..(row + 1) * width].iter_mut().map(std::mem::take));
    }
    (order.iter().map(|row| starts[*row]).collect(), sorted)
}

/// Whether a segment is of format 1, which is read and not written any more.
fn is_first(segment: u8, bytes: &[u8]) -> Result<bool, LaneError> {
    match bytes.first() {
        Some(&FORMAT) => Ok(false),
        Some(&FIRST) => Ok(true),
        Some(&found) => Err(LaneError::Format { segment, found, expected: FORMAT }),
        None => Err(LaneError::Malformed { segment, source: Malformed { offset: 0, what: "no bytes" } }),
    }
}

/// Offset and newest event time.
fn take_head(from: &mut Cursor<'_>, layout: &Layout) -> Result<(i64, Option<i64>), LaneError> {
    let malformed = |source| LaneError::Malformed { segment: 0, source };
    from.byte().map_err(malformed)?;
    let found: [u8; 8] = from.array().map_err(malformed)?;
    if found != layout.id {
        return Err(LaneError::Layout { found, expected: layout.id });
    }
    let offset = i64::from_be_bytes(from.array().map_err(malformed)?);
    let newest = match from.varint().map_err(malformed)? {
        0 => None,
        x => match i64::try_from(unzigzag(x - 1)) {
            Ok(newest) if newest.unsigned_abs() <= TIME_LIMIT.unsigned_abs() => Some(newest),
            _ => return from.malformed("a newest event beyond all time").map_err(malformed),
        },
    };
    Ok((offset, newest))
}

/// Numbers and hashes of the further segments.
fn take_named(from: &mut Cursor<'_>) -> Result<Vec<(u8, u64)>, Malformed> {
    let len = from.count()?;
    let mut named: Vec<(u8, u64)> = Vec::new();
    for _ in 0..len {
        let number = from.byte()?;
        if number == 0 || named.iter().any(|n| n.0 == number) {
            return from.malformed("a segment named twice");
        }
        named.push((number, u64::from_le_bytes(from.array()?)));
    }
    Ok(named)
}

//! A lane as bytes: the head, segment 0, and where it is large a segment for each heavy span of older time.
//!
//! # Format 2
//!
//! | head at byte | what |
//! | --- | --- |
//! | 0 | the format, 2 |
//! | 1–8 | [`crate::plan::Plan::layout`] |
//! | 9–16 | the offset, **big-endian**, where the store's guard reads it |
//! | 17… | 0 if no event was seen, else one plus the zigzag of the newest event time |
//! | … | how many further segments there are, and of each its number and the XXH3 hash of its bytes, low byte first |
//! | … | by table, the tiles that stand in no further segment (see [`super::body`]); the top is the end of the newest event's tile |
//!
//! A further segment is the format, the zigzag of its span, and the tables; the top is the span's end. A **span** is a
//! slice of event time whose length the layout fixes. It has a segment of its own iff the lane weighs more than
//! [`SINGLE`], the span at least [`OWN`], and it is not the newest event's: a rule on what the tiles hold and not on how
//! they came to, so equal lanes have equal bytes, segment by segment (but for segments of an earlier format). Late events and ageing aside, a flush writes the
//! head alone.

use std::collections::BTreeMap;

use twox_hash::XxHash3_64;

use super::table::FOREVER;
use super::{Lane, Layout, body};
use crate::aggregate::codec::{put_len, put_signed, put_varint, zigzag};
use crate::time::floor;

/// The version of the bytes.
pub const FORMAT: u8 = 2;
/// The one before, which is still read: in it, a part of one event in a tile was written out though another told it. A segment of
/// it stays until its tiles change.
pub const FIRST: u8 = 1;
/// A lane of up to this weight, which is about its bytes, has no segment beside the head.
pub(crate) const SINGLE: usize = 4_096;
/// The weight from which a span has a segment of its own.
const OWN: usize = 1_024;
/// The segment of the tile of all time.
const FOREVER_SEGMENT: u8 = 255;
/// More than a lane has spans.
const NUMBERS: i64 = 250;

/// What a flush must write and delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The segments that changed, by number; the head, segment 0, is always first.
    pub segments: Vec<(u8, Vec<u8>)>,
    /// Segments that are no more. Readers ignore them, so deleting them late does no harm.
    pub removed: Vec<u8>,
}

/// A segment beside the head, as it was last written or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Live {
    pub span: i64,
    pub hash: u64,
}

impl Live {
    /// Its number.
    pub fn segment(&self) -> u8 {
        segment(self.span)
    }
}

/// The number of a span's segment, unique among the spans of a lane.
pub(crate) fn segment(span: i64) -> u8 {
    if span == FOREVER {
        FOREVER_SEGMENT
    } else {
        u8::try_from(1 + span.rem_euclid(NUMBERS)).unwrap_or(FOREVER_SEGMENT)
    }
}

/// The span that holds the tile starting at `start`.
pub(crate) fn span(layout: &Layout, start: i64) -> i64 {
    if start == FOREVER { FOREVER } else { start.div_euclid(layout.span_ms) }
}

/// The first millisecond behind a span.
pub(crate) fn end_of(layout: &Layout, span: i64) -> i64 {
    if span == FOREVER { 0 } else { span.saturating_add(1).saturating_mul(layout.span_ms) }
}

/// The hash by which the head names a segment's bytes.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot(bytes)
}

/// What the first tile of the head is counted from, in a table whose finest tile is `tile`.
pub(crate) fn top(newest: i64, tile: i64) -> i64 {
    floor(newest, tile) + tile
}

/// Appends what a head begins with, up to its tables.
pub(crate) fn put_head(out: &mut Vec<u8>, layout: &Layout, offset: i64, newest: Option<i64>, live: &[Live]) {
    out.push(FORMAT);
    out.extend_from_slice(&layout.id);
    out.extend_from_slice(&offset.to_be_bytes());
    let Some(newest) = newest else { return out.push(0) };
    put_varint(out, zigzag(newest.into()) + 1);
    put_len(out, live.len());
    for live in live {
        out.push(live.segment());
        out.extend_from_slice(&live.hash.to_le_bytes());
    }
}

impl Lane {
    /// The segments that changed since the lane was last encoded or decoded, and those that are no more. They must all
    /// be written as one; if that fails for good, decode what is stored or call [`Self::forget_written`].
    pub fn encode(&mut self, layout: &Layout) -> Encoded {
        let (own, weight) = self.own_spans(layout);
        let dirty: Vec<i64> = self.dirty.iter().map(|start| span(layout, *start)).collect();
        let before = std::mem::take(&mut self.live);
        let mut segments = vec![(0, Vec::new())];
        for span in &own {
            let written = before.iter().find(|live| live.span == *span && !dirty.contains(span));
            self.live.push(written.copied().unwrap_or_else(|| {
                let bytes = self.segment_bytes(layout, *span);
                let live = Live { span: *span, hash: hash(&bytes) };
                // A late event that changed nothing, or came back out of a merge, costs no write.
                if !before.contains(&live) {
                    segments.push((live.segment(), bytes));
                }
                live
            }));
        }
        self.dirty.clear();
        segments[0].1 = self.head_bytes(layout, &own, weight);
        let gone = |number: &u8| !self.live.iter().any(|live| live.segment() == *number);
        let removed = before.iter().map(Live::segment).filter(gone).collect();
        Encoded { segments, removed }
    }

    /// Makes the next [`Self::encode`] return every segment.
    pub fn forget_written(&mut self) {
        self.live.clear();
        self.dirty.clear();
    }

    /// The spans that have a segment of their own, ascending; and what the head weighs, at most.
    fn own_spans(&self, layout: &Layout) -> (Vec<i64>, usize) {
        let tables = || self.tables.iter().zip(&layout.tables);
        let all = tables().flat_map(|(t, l)| t.states.chunks(l.parts.len()).map(|row| l.weigh(row))).sum::<usize>();
        if all <= SINGLE {
            return (Vec::new(), all);
        }
        let mut weights = BTreeMap::<i64, usize>::new();
        for (table, layout_of) in tables() {
            for (start, row) in table.starts.iter().zip(table.states.chunks(layout_of.parts.len())) {
                *weights.entry(span(layout, *start)).or_default() += layout_of.weigh(row);
            }
        }
        let youngest = self.newest.map(|newest| span(layout, newest));
        let own = weights.into_iter().filter(|(s, weight)| *weight >= OWN && Some(*s) != youngest).map(|(s, _)| s);
        (own.collect(), SINGLE)
    }

    fn head_bytes(&self, layout: &Layout, own: &[i64], weight: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + weight);
        put_head(&mut out, layout, self.offset, self.newest, &self.live);
        let Some(newest) = self.newest else { return out };
        for (table, of) in self.tables.iter().zip(&layout.tables) {
            let mine = |p: &usize| own.binary_search(&span(layout, table.starts[*p])).is_err();
            let positions: Vec<usize> = (0..table.starts.len()).rev().filter(mine).collect();
            body::put(&mut out, of, table, &positions, top(newest, of.ladder.rungs[0].tile_ms));
        }
        out
    }

    fn segment_bytes(&self, layout: &Layout, of_span: i64) -> Vec<u8> {
        let mut out = vec![FORMAT];
        put_signed(&mut out, of_span.into());
        for (table, of) in self.tables.iter().zip(&layout.tables) {
            let mine = |p: &usize| span(layout, table.starts[*p]) == of_span;
            let positions: Vec<usize> = (0..table.starts.len()).rev().filter(mine).collect();
            body::put(&mut out, of, table, &positions, end_of(layout, of_span));
        }
        out
    }
}

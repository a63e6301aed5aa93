//! Reads: the values of windowed features at a time, from the lanes of one entity.
//!
//! A feature is read over `[start, end)` of [`crate::time::window_bounds`]. Its value is exact or it is
//! [`Status::Inexact`], never a wrong number: a tile that a bound would cut, or a start below which a lane may have dropped
//! events, is seen here and said. At `t ≥ newest − allowedLateness` neither happens (see [`crate::lane`]).
//!
//! A read takes [layers](Layer): the lanes of stream workers, those of a batch run, or in a Lambda both, of which the stream's
//! count only from the batch's horizon on. A horizon is a multiple of [`crate::time::coarsest_hop`], so no tile but the one of
//! all time straddles it; if that one does, or tiles from the horizon on were dropped, the features concerned are inexact.
//!
//! Whoever wrote the lanes may not have read all there was, as a replay that begins where the longest window does. What reaches
//! back behind that is inexact whatever the lanes say, and also where there are none.
//!
//! Features share their work. The bounds of all windows that are asked of a table cut time into intervals; every tile is
//! merged once into its interval, part by part, and each window then merges a handful of intervals.

mod fold;

use crate::aggregate::{Outcome, State, finalize};
use crate::lane::{FeatureLayout, Lane, Layout};
use crate::time::window_bounds;
use crate::value::Value;

use fold::Fold;

/// What became of one feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It has a value.
    Present,
    /// It is NULL: no events, or too few, or an overflow.
    Null,
    /// The lanes no longer hold tiles fine enough, or old enough, to tell.
    Inexact,
}

/// One feature, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    /// Its value; `None` unless [`Status::Present`].
    pub value: Option<Value>,
    /// What became of it.
    pub status: Status,
    /// The time of the newest event in it, to within its tile and never too small; `None` if there was none.
    pub newest: Option<i64>,
    /// Whether it is NULL because the exact result does not fit its type.
    pub overflow: bool,
}

/// Lanes of one entity, and the event time from which on they count.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    /// The lanes.
    pub lanes: &'a [Lane],
    /// Tiles that start before this, in milliseconds, do not count.
    pub from: i64,
    /// Events from this time on are all in them, if they are of this entity; of older ones some may never have been read.
    pub complete_from: i64,
}

impl<'a> Layer<'a> {
    /// Lanes that count whole.
    #[must_use]
    pub fn whole(lanes: &'a [Lane]) -> Self {
        Self { lanes, from: i64::MIN, complete_from: i64::MIN }
    }
}

/// Reads the features of one plan.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    layout: &'a Layout,
}

impl<'a> Reader<'a> {
    /// For the lanes of `layout`.
    #[must_use]
    pub fn new(layout: &'a Layout) -> Self {
        Self { layout }
    }

    /// The windowed features at the plan's positions `features`, in that order, at time `t`. The lanes are of one entity.
    /// A position that is no windowed feature reads as NULL: derive expressions from the others.
    #[must_use]
    pub fn read(&self, lanes: &[Lane], t: i64, features: &[usize]) -> Vec<Read> {
        self.read_layers(&[Layer::whole(lanes)], t, features)
    }

    /// As [`Self::read`], of lanes that count from different times on.
    #[must_use]
    pub fn read_layers(&self, layers: &[Layer<'_>], t: i64, features: &[usize]) -> Vec<Read> {
        let mut out = vec![Read { value: None, status: Status::Null, newest: None, overflow: false }; features.len()];
        let asked: Vec<(usize, &FeatureLayout)> = (features.iter().enumerate())
            .filter_map(|(at, f)| Some((at, self.layout.features.get(*f)?.as_ref()?)))
            .collect();
        for table in 0..self.layout.tables.len() {
            let of_table: Vec<_> = asked.iter().filter(|(_, f)| f.table == table).copied().collect();
            if !of_table.is_empty() {
                self.read_table(layers, t, table, &of_table, &mut out);
            }
        }
        out
    }

    fn read_table(
        &self,
        layers: &[Layer<'_>],
        t: i64,
        table: usize,
        asked: &[(usize, &FeatureLayout)],
        out: &mut [Read],
    ) {
        let bounds: Vec<(i64, i64)> = (asked.iter())
            .map(|(_, f)| window_bounds(&f.window, &self.layout.policy, t))
            .map(|(start, end)| (start.unwrap_or(i64::MIN), end))
            .collect();
        let mut parts: Vec<usize> = asked.iter().flat_map(|(_, f)| f.parts.iter().copied()).collect();
        parts.sort_unstable();
        parts.dedup();
        let fold = Fold::new(&self.layout.tables[table], table, layers, &bounds, &parts);
        for ((at, feature), (start, end)) in asked.iter().zip(bounds) {
            out[*at] = read_one(&fold, feature, start, end);
        }
    }
}

fn read_one(fold: &Fold<'_>, feature: &FeatureLayout, start: i64, end: i64) -> Read {
    let inexact = Read { value: None, status: Status::Inexact, newest: None, overflow: false };
    if fold.is_cut(&feature.parts, start, end) {
        return inexact;
    }
    // No function has more parts.
    let mut merged = [const { State::Empty }; 3];
    let mut parts = [const { &State::Empty }; 3];
    for ((state, merged), part) in parts.iter_mut().zip(&mut merged).zip(&feature.parts) {
        *state = fold.state(*part, start, end, merged);
    }
    let newest = feature.parts.iter().filter_map(|part| fold.newest(*part, start, end)).max();
    let parts = &parts[..feature.parts.len().min(parts.len())];
    let (value, overflow) = match finalize(&feature.function, parts, feature.input.as_ref(), &feature.output) {
        Outcome::Value(value) => (Some(value), false),
        Outcome::Null => (None, false),
        Outcome::Overflow => (None, true),
    };
    let status = if value.is_some() { Status::Present } else { Status::Null };
    Read { value, status, newest, overflow }
}

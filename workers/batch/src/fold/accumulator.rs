//! The lanes of many entities at once, as DataFusion's aggregation asks for them.
//!
//! Invariant: the state and the result of a group are the canonical bytes of the lane of its events, so that any split of
//! the input over partitions, spills and merges gives the same bytes.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, LargeBinaryBuilder, StructArray};
use arrow::compute::filter;
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use engine::lane::{self, Lane, Layout};
use engine::plan::Plan;
use engine::program::Evaluated;
use engine::row::generation_offset;
use engine::tally::{Sheet, Tallied, Tally};

use super::packed::{pack, pack_head, unpack};
use super::pending::Pending;
use crate::features::{FeatureReader, FeaturesError};
use crate::incremental::keeps_every_event;

/// Events wait until there are so many for each group, and then become lanes: those take less, and the work of opening and
/// closing each once more is little beside that of its events.
const EVENTS_A_GROUP: usize = 256;
/// What an event adds to a lane, at a guess.
const BYTES_AN_EVENT: usize = 24;
/// However few the groups are.
const FEWEST: usize = 1 << 16;
/// However many the groups are: what 32 bits can number.
const MOST: usize = 1 << 31;

/// What all lanes of one generation have in common.
#[derive(Clone, Debug)]
pub struct Mould {
    /// The plan.
    pub plan: Arc<Plan>,
    /// How its lanes lie in memory and in bytes.
    pub layout: Arc<Layout>,
    /// The horizon: every lane is aged to the last millisecond before it.
    pub horizon: i64,
    /// The generation.
    pub generation: u64,
    /// A lane that saw nothing but the time before the horizon; see [`Lane::aged`].
    aged: Arc<Lane>,
    /// Makes lanes of nothing but events, if the plan is of numbers alone; what it reads is what the reader reads.
    tally: Option<Arc<Tally>>,
    /// Reads each lane's features as it is closed, so that it need not be opened for that again.
    pub(super) reader: Option<Arc<FeatureReader>>,
    /// Whether an entity is gone when its lane has no tile: see [`keeps_every_event`].
    drops_empty: bool,
}

impl Mould {
    /// For the lanes of a generation.
    #[must_use]
    pub fn new(plan: Arc<Plan>, layout: Arc<Layout>, horizon: i64, generation: u64) -> Self {
        let drops_empty = plan.time.retention_ms.is_some() && keeps_every_event(&plan);
        let aged = Arc::new(Lane::aged(&layout, horizon - 1));
        let tally = Tally::new(layout.clone(), horizon - 1, generation_offset(generation)).map(Arc::new);
        Self { plan, layout, horizon, generation, aged, tally, reader: None, drops_empty }
    }

    /// The results of the fold have the features beside the lane.
    #[must_use]
    pub fn with_features(self, reader: Arc<FeatureReader>) -> Self {
        let reading = |tally: Arc<Tally>| Arc::unwrap_or_clone(tally).reading(reader.features(), reader.time());
        Self { tally: self.tally.and_then(reading).map(Arc::new), reader: Some(reader), ..self }
    }

    /// What tells its lanes from those of another.
    pub(super) fn identity(&self) -> ([u8; 8], i64, u64, bool) {
        (self.plan.layout(), self.horizon, self.generation, self.reader.is_some())
    }

    /// Appends the canonical bytes of `lane`, packed; `false`, and nothing appended, if its entity is gone.
    pub fn bytes(&self, lane: &mut Lane, out: &mut Vec<u8>) -> bool {
        if lane.newest() < self.aged.newest() {
            *lane = lane::merge(&self.layout, &[Lane::clone(&self.aged), std::mem::take(lane)]);
        }
        if self.drops_empty && lane.is_empty() {
            return false;
        }
        lane.set_offset(generation_offset(self.generation));
        lane.forget_written();
        pack(&lane.encode(&self.layout), out);
        true
    }

    /// Appends the packed lane of events and nothing else, which ascend by time, and has `sheet` tell its features; as
    /// [`Self::bytes`] otherwise. `None` if a lane has to be opened for it.
    fn tally(&self, events: &Evaluated, rows: Range<usize>, sheet: &mut Sheet, out: &mut Vec<u8>) -> Option<bool> {
        // Where no event ever waited, there are no columns either.
        let tally = self.tally.as_ref().filter(|_| !rows.is_empty())?;
        let tallied = pack_head(out, |out| tally.fold(events, rows, sheet, out));
        let kept = match tallied {
            Tallied::Tiles => true,
            Tallied::Nothing => !self.drops_empty,
            Tallied::Declined => false,
        };
        if !kept {
            out.clear();
        }
        (tallied != Tallied::Declined).then_some(kept)
    }

    /// Whether [`Self::bytes`] made this, and not a generation before.
    fn made(&self, packed: &[u8]) -> bool {
        let head = unpack(packed).ok().and_then(|segments| Lane::peek_offset(segments.first()?.1));
        head == Some(generation_offset(self.generation))
    }

    /// The lane that was packed.
    ///
    /// # Errors
    /// If the bytes are no lane of this layout.
    pub fn lane(&self, packed: &[u8]) -> Result<Lane> {
        let segments = unpack(packed).map_err(|error| exec_datafusion_err!("{error}"))?;
        Lane::decode(&self.layout, &segments).map_err(|error| exec_datafusion_err!("{error}"))
    }
}

/// A group's lane as it is closed, from which features are read.
enum Closed<'a> {
    Lane(&'a Lane),
    /// They have been read.
    Tallied(&'a mut Sheet),
}

/// By group, a lane, and events that are not in it yet.
#[derive(Debug)]
pub struct Lanes {
    mould: Mould,
    /// Packed; none before the first.
    lanes: Vec<Option<Box<[u8]>>>,
    /// What the lanes take in memory.
    packed: usize,
    pending: Pending,
}

impl Lanes {
    /// No groups yet.
    #[must_use]
    pub fn new(mould: Mould) -> Self {
        Self { mould, lanes: Vec::new(), packed: 0, pending: Pending::default() }
    }

    fn put(&mut self, group: usize, lane: Option<&[u8]>) {
        let before = std::mem::replace(&mut self.lanes[group], lane.map(Box::from));
        self.packed -= before.map_or(0, |before| before.len());
        self.packed += lane.map_or(0, <[u8]>::len);
    }

    /// Folds what waits, and hands over each group's lane, open and packed; no bytes for an entity that is gone.
    fn close(&mut self, mut sink: impl FnMut(Closed<'_>, Option<&[u8]>) -> Result<()>) -> Result<()> {
        let Self { mould, lanes, pending, .. } = self;
        let (mut sheet, mut lane, mut bytes) = (Sheet::default(), Lane::new(), Vec::new());
        pending.drain(lanes.len(), mould.plan.conditions.len(), |group, events, rows| {
            bytes.clear();
            if let Some(before) = &lanes[group] {
                lane = mould.lane(before)?;
            } else {
                if let Some(kept) = mould.tally(events, rows.clone(), &mut sheet, &mut bytes) {
                    return sink(Closed::Tallied(&mut sheet), kept.then_some(&bytes));
                }
                lane.restart(&mould.aged);
            }
            for row in rows {
                lane.insert(&mould.layout, events, row);
            }
            let kept = mould.bytes(&mut lane, &mut bytes);
            sink(Closed::Lane(&lane), kept.then_some(&bytes))
        })
    }

    /// Makes lanes of what waits.
    fn settle(&mut self) -> Result<()> {
        let mut settled: Vec<Option<Box<[u8]>>> = Vec::with_capacity(self.lanes.len());
        self.close(|_, bytes| {
            settled.push(bytes.map(Box::from));
            Ok(())
        })?;
        self.packed = settled.iter().flatten().map(|lane| lane.len()).sum();
        self.lanes = settled;
        Ok(())
    }

    /// For all lanes, with about as much room as they take.
    fn builder(&self) -> LargeBinaryBuilder {
        let room = self.packed + self.pending.len() * BYTES_AN_EVENT;
        LargeBinaryBuilder::with_capacity(self.lanes.len(), room)
    }

    /// Takes out the lanes of some groups, packed: with the events that wait, if any do.
    fn take(&mut self, emit_to: EmitTo) -> Result<Vec<Option<Box<[u8]>>>> {
        if self.pending.len() > 0 {
            self.settle()?;
        }
        let taken = emit_to.take_needed(&mut self.lanes);
        self.packed -= taken.iter().flatten().map(|lane| lane.len()).sum::<usize>();
        Ok(taken)
    }

    /// Whether there is nothing but events: then each lane can go from the fold to the result.
    fn is_fresh(&self, emit_to: EmitTo) -> bool {
        emit_to == EmitTo::All && self.packed == 0
    }

    fn lanes(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let mut builder = self.builder();
        if self.is_fresh(emit_to) {
            self.close(|_, bytes| {
                builder.append_option(bytes);
                Ok(())
            })?;
            self.lanes = Vec::new();
        } else {
            self.take(emit_to)?.iter().for_each(|lane| builder.append_option(lane.as_ref()));
        }
        Ok(Arc::new(builder.finish()))
    }

    /// Lanes, and the features as `reader` reads them.
    fn features(&mut self, emit_to: EmitTo, reader: &FeatureReader) -> Result<ArrayRef> {
        let failed = |error: FeaturesError| DataFusionError::External(error.into());
        let mut builder = self.builder();
        let mut features = reader.rows(self.lanes.len());
        let mut append = |closed: Closed<'_>, bytes: Option<&[u8]>| {
            builder.append_option(bytes);
            match closed {
                Closed::Lane(lane) => features.push(std::slice::from_ref(lane), reader.time()).map_err(failed),
                Closed::Tallied(sheet) => features.push_values(sheet.values()).map_err(failed),
            }
        };
        if self.is_fresh(emit_to) {
            self.close(append)?;
            self.lanes = Vec::new();
        } else {
            for bytes in self.take(emit_to)? {
                let lane = bytes.as_ref().map_or_else(|| Ok(Lane::new()), |bytes| self.mould.lane(bytes))?;
                append(Closed::Lane(&lane), bytes.as_deref())?;
            }
        }
        let features = StructArray::from(features.finish().map_err(failed)?);
        let columns: Vec<ArrayRef> = vec![Arc::new(builder.finish()), Arc::new(features)];
        Ok(Arc::new(StructArray::try_new(read_fields(reader), columns, None)?))
    }
}

/// What a fold with a reader results in: the lane, NULL for an entity that is gone, and the features.
pub(super) fn read_fields(reader: &FeatureReader) -> Fields {
    let features = DataType::Struct(reader.schema().fields().clone());
    Fields::from(vec![Field::new("lane", DataType::LargeBinary, true), Field::new("features", features, false)])
}

impl GroupsAccumulator for Lanes {
    /// `values` are the event times, the plan's conditions and its inputs, all evaluated.
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.lanes.resize_with(total_num_groups, Option::default);
        match opt_filter {
            None => self.pending.push(values, group_indices),
            Some(wanted) => {
                let values = values.iter().map(|column| filter(column, wanted)).collect::<Result<Vec<_>, _>>()?;
                let wanted = |row: &usize| wanted.is_valid(*row) && wanted.value(*row);
                let groups: Vec<usize> =
                    (0..group_indices.len()).filter(wanted).map(|row| group_indices[row]).collect();
                self.pending.push(&values, &groups);
            }
        }
        let most = total_num_groups.saturating_mul(EVENTS_A_GROUP).clamp(FEWEST, MOST);
        if self.pending.len() > most { self.settle() } else { Ok(()) }
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        match self.mould.reader.clone() {
            Some(reader) => self.features(emit_to, &reader),
            None => self.lanes(emit_to),
        }
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.lanes(emit_to)?])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.lanes.resize_with(total_num_groups, Option::default);
        let states = values[0].as_binary::<i64>();
        let mut bytes = Vec::new();
        for (row, group) in group_indices.iter().enumerate().filter(|(row, _)| states.is_valid(*row)) {
            let state = states.value(row);
            let mut lane = match &self.lanes[*group] {
                None if self.mould.made(state) => {
                    self.put(*group, Some(state));
                    continue;
                }
                None => self.mould.lane(state)?,
                Some(before) => lane::merge(&self.mould.layout, &[self.mould.lane(before)?, self.mould.lane(state)?]),
            };
            bytes.clear();
            let kept = self.mould.bytes(&mut lane, &mut bytes);
            self.put(*group, kept.then_some(&bytes));
        }
        Ok(())
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let rows = values[0].len();
        let mut each = Self::new(self.mould.clone());
        each.update_batch(values, &(0..rows).collect::<Vec<_>>(), opt_filter, rows)?;
        each.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        self.packed + self.lanes.capacity() * size_of::<Option<Box<[u8]>>>() + self.pending.size()
    }
}

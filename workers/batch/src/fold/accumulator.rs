//! The lanes of many entities at once, as DataFusion's aggregation asks for them.
//!
//! Invariant: the state and the result of a group are the canonical bytes of the lane of its events, so that any split of
//! the input over partitions, spills and merges gives the same bytes.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, LargeBinaryBuilder};
use arrow::datatypes::Int64Type;
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use engine::lane::{self, Lane, Layout};
use engine::plan::Plan;
use engine::program::Evaluated;
use engine::row::generation_offset;

use super::packed::{pack, unpack};
use crate::incremental::keeps_every_event;

/// A lane is weighed whenever its events reach a power of two, and then each time that many more came.
const WEIGHED_EVERY: u32 = 64;

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
    /// Whether an entity is gone when its lane has no tile: see [`keeps_every_event`].
    drops_empty: bool,
}

impl Mould {
    /// For the lanes of a generation.
    #[must_use]
    pub fn new(plan: Arc<Plan>, layout: Arc<Layout>, horizon: i64, generation: u64) -> Self {
        let drops_empty = plan.time.retention_ms.is_some() && keeps_every_event(&plan);
        Self { plan, layout, horizon, generation, drops_empty }
    }

    /// What tells its lanes from those of another.
    pub(super) fn identity(&self) -> ([u8; 8], i64, u64) {
        (self.plan.layout(), self.horizon, self.generation)
    }

    fn aged_to(&self) -> i64 {
        self.horizon - 1
    }

    /// Appends the canonical bytes of `lane`, packed; `false`, and nothing appended, if its entity is gone.
    pub fn bytes(&self, mut lane: Lane, out: &mut Vec<u8>) -> bool {
        if lane.newest().is_none_or(|newest| newest < self.aged_to()) {
            lane = lane::merge(&self.layout, &[Lane::aged(&self.layout, self.aged_to()), lane]);
        }
        if self.drops_empty && lane.is_empty() {
            return false;
        }
        lane.set_offset(generation_offset(self.generation));
        lane.forget_written();
        pack(&lane.encode(&self.layout), out);
        true
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

/// By group, a lane.
#[derive(Debug)]
pub struct Lanes {
    mould: Mould,
    lanes: Vec<Group>,
    /// The sum of [`Group::weight`].
    weight: usize,
}

#[derive(Debug, Default)]
struct Group {
    lane: Option<Lane>,
    events: u32,
    weight: u32,
}

impl Lanes {
    /// No groups yet.
    #[must_use]
    pub fn new(mould: Mould) -> Self {
        Self { mould, lanes: Vec::new(), weight: 0 }
    }

    fn weigh(&mut self, group: usize) {
        let group = &mut self.lanes[group];
        let weight = u32::try_from(group.lane.as_ref().map_or(0, Lane::memory)).unwrap_or(u32::MAX);
        self.weight = self.weight - group.weight as usize + weight as usize;
        group.weight = weight;
    }

    fn emit(&mut self, emit_to: EmitTo) -> ArrayRef {
        let groups = emit_to.take_needed(&mut self.lanes);
        let mut builder = LargeBinaryBuilder::with_capacity(groups.len(), groups.len() * 256);
        let mut bytes = Vec::new();
        for group in groups {
            self.weight -= group.weight as usize;
            bytes.clear();
            if self.mould.bytes(group.lane.unwrap_or_default(), &mut bytes) {
                builder.append_value(&bytes);
            } else {
                builder.append_null();
            }
        }
        Arc::new(builder.finish())
    }
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
        self.lanes.resize_with(total_num_groups, Group::default);
        let (conditions, inputs) = values[1..].split_at(self.mould.plan.conditions.len());
        let times = values[0].as_primitive::<Int64Type>().values().to_vec();
        let events = Evaluated::of_arrays(times, conditions, inputs);
        for (row, index) in group_indices.iter().enumerate() {
            if opt_filter.is_some_and(|filter| !(filter.is_valid(row) && filter.value(row))) {
                continue;
            }
            let group = &mut self.lanes[*index];
            let lane = group.lane.get_or_insert_with(|| Lane::aged(&self.mould.layout, self.mould.aged_to()));
            lane.insert(&self.mould.layout, &events, row);
            group.events = group.events.saturating_add(1);
            if group.events.is_power_of_two() || group.events.is_multiple_of(WEIGHED_EVERY) {
                self.weigh(*index);
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        Ok(self.emit(emit_to))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.emit(emit_to)])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.lanes.resize_with(total_num_groups, Group::default);
        let states = values[0].as_binary::<i64>();
        for (row, index) in group_indices.iter().enumerate().filter(|(row, _)| states.is_valid(*row)) {
            let lane = self.mould.lane(states.value(row))?;
            let group = &mut self.lanes[*index];
            group.lane = Some(match group.lane.take() {
                None => lane,
                Some(before) => lane::merge(&self.mould.layout, &[before, lane]),
            });
            self.weigh(*index);
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
        self.weight + self.lanes.capacity() * size_of::<Group>()
    }
}

//! Lanes made by the engine itself, as the stream worker makes them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use engine::aggregate::ValueRef;
use engine::lane::{Events, Lane, Layout};
use engine::plan::Plan;
use engine::program::{Evaluated, InputColumn, Program, array};
use engine::row::generation_offset;
use engine::value::Value;

use crate::fixtures::Contents;

/// One event of the views of [`crate::fixtures::plan`]; a column that is not named is NULL.
#[derive(Clone, Debug)]
pub struct Event {
    pub time: i64,
    pub columns: Vec<(&'static str, Value)>,
}

/// An event of one user.
pub fn event(time: i64, user: &str, kind: &str, amount: f64) -> Event {
    let columns = vec![
        ("u", Value::String(user.into())),
        ("kind", Value::String(kind.into())),
        ("amount", Value::Double(amount)),
        #[allow(clippy::cast_possible_truncation)]
        ("price", Value::Decimal((amount * 100.0).round() as i128)),
    ];
    Event { time, columns }
}

/// Evaluated events, as lanes take them.
struct Batch<'a>(&'a Evaluated);

impl Events for Batch<'_> {
    fn time(&self, row: usize) -> i64 {
        self.0.time(row)
    }

    fn condition(&self, condition: usize, row: usize) -> bool {
        self.0.condition(condition, row)
    }

    fn value(&self, input: usize, row: usize) -> Option<ValueRef<'_>> {
        use arrow::array::Array as _;
        macro_rules! at {
            ($column:expr, $make:expr) => {
                (!$column.is_null(row)).then(|| $make($column.value(row)))
            };
        }
        match self.0.input(input) {
            InputColumn::Boolean(c) => at!(c, ValueRef::Boolean),
            InputColumn::Int64(c) => at!(c, ValueRef::Int64),
            InputColumn::Double(c) => at!(c, ValueRef::Double),
            InputColumn::Decimal(c) => at!(c, ValueRef::Decimal),
            InputColumn::String(c) => at!(c, ValueRef::String),
            InputColumn::Timestamp(c) => at!(c, ValueRef::Timestamp),
        }
    }
}

/// The rows that `events` of one partition make: entity text → encoded lane.
pub fn lanes(plan: &Plan, events: &[Event]) -> BTreeMap<String, Vec<(u8, Vec<u8>)>> {
    lanes_at(plan, events, None)
}

/// As [`lanes`], with this offset in each lane instead of how many events it saw.
fn lanes_at(plan: &Plan, events: &[Event], offset: Option<i64>) -> BTreeMap<String, Vec<(u8, Vec<u8>)>> {
    let program = Program::new(Arc::new(plan.clone())).unwrap();
    let layout = Layout::new(plan).unwrap();
    let columns = (plan.source.columns.iter())
        .map(|column| {
            let values: Vec<_> = (events.iter())
                .map(|e| e.columns.iter().find(|(name, _)| *name == column.name).map(|(_, value)| value.clone()))
                .collect();
            array(&column.value_type, &values)
        })
        .collect();
    let batch = RecordBatch::try_new(program.schema().clone(), columns).unwrap();
    let evaluated = program.evaluate(&batch, events.iter().map(|e| e.time).collect());
    let mut lanes: BTreeMap<String, Lane> = BTreeMap::new();
    for row in 0..evaluated.len() {
        let lane = lanes.entry(evaluated.entity(row).to_owned()).or_default();
        lane.insert(&layout, &Batch(&evaluated), row);
        lane.set_offset(offset.unwrap_or(lane.offset() + 1));
    }
    lanes.into_iter().map(|(entity, mut lane)| (entity, lane.encode(&layout).segments)).collect()
}

/// Writes the rows that `events` of one partition make.
pub fn store(contents: &mut Contents, plan: &Plan, incarnation: u32, partition: i32, events: &[Event]) {
    for (entity, lane) in lanes(plan, events) {
        contents.set_lane(plan, incarnation, &entity, partition, &lane);
    }
}

/// Writes the batch lanes that a run made of `events`, as generation `generation`.
pub fn store_generation(contents: &mut Contents, plan: &Plan, generation: u64, events: &[Event]) {
    for (entity, lane) in lanes_at(plan, events, Some(generation_offset(generation))) {
        contents.set_batch_lane(plan, &entity, generation, &lane);
    }
}

//! A batch of events with their conditions and inputs evaluated, ready to be folded into lanes.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Float64Array, Int64Array, StringArray,
    TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type, TimestampMillisecondType};

use crate::entity::push_column_key;
use crate::expr::Failure;

/// The values of one of [`crate::plan::Plan::inputs`], a row an event; NULL-aware, doubles finite.
#[derive(Clone, Debug)]
pub enum InputColumn {
    /// Booleans.
    Boolean(BooleanArray),
    /// Integers.
    Int64(Int64Array),
    /// Finite doubles.
    Double(Float64Array),
    /// Unscaled decimals.
    Decimal(Decimal128Array),
    /// Texts.
    String(StringArray),
    /// Milliseconds.
    Timestamp(TimestampMillisecondArray),
}

/// One batch of events.
#[derive(Clone, Debug)]
pub struct Evaluated {
    pub(super) times: Vec<i64>,
    /// All entity texts end to end; `ends[i]` is where row `i`'s ends.
    pub(super) entities: String,
    pub(super) ends: Vec<usize>,
    pub(super) conditions: Vec<BooleanArray>,
    pub(super) inputs: Vec<InputColumn>,
    pub(super) failures: Vec<Failure>,
}

impl Evaluated {
    pub(super) fn new(
        times: Vec<i64>,
        keys: &[&ArrayRef],
        conditions: &[ArrayRef],
        inputs: &[ArrayRef],
        mut failures: Vec<Failure>,
    ) -> Self {
        let mut entities = String::with_capacity(if keys.is_empty() { 0 } else { times.len() * 16 });
        let keyed = if keys.is_empty() { 0 } else { times.len() };
        let ends = (0..keyed)
            .map(|row| {
                for (i, key) in keys.iter().enumerate() {
                    push_column_key(&mut entities, i == 0, key, row);
                }
                entities.len()
            })
            .collect();
        failures.sort_by_key(|f| f.row);
        failures.dedup_by_key(|f| f.row);
        Self {
            times,
            entities,
            ends,
            conditions: conditions.iter().map(|c| without_nulls(c.as_boolean())).collect(),
            inputs: inputs.iter().map(input_column).collect(),
            failures,
        }
    }

    /// Events whose conditions (booleans) and inputs (of the plan's input types) were evaluated before, as
    /// [`Self::condition_arrays`] and [`Self::input_arrays`] gave them.
    #[must_use]
    pub fn of_arrays(times: Vec<i64>, conditions: &[ArrayRef], inputs: &[ArrayRef]) -> Self {
        Self::new(times, &[], conditions, inputs, Vec::new())
    }

    /// The conditions as columns, without NULLs.
    pub fn condition_arrays(&self) -> impl Iterator<Item = ArrayRef> {
        self.conditions.iter().map(|condition| Arc::new(condition.clone()) as ArrayRef)
    }

    /// The inputs as columns.
    pub fn input_arrays(&self) -> impl Iterator<Item = ArrayRef> {
        self.inputs.iter().map(|input| match input {
            InputColumn::Boolean(column) => Arc::new(column.clone()) as ArrayRef,
            InputColumn::Int64(column) => Arc::new(column.clone()),
            InputColumn::Double(column) => Arc::new(column.clone()),
            InputColumn::Decimal(column) => Arc::new(column.clone()),
            InputColumn::String(column) => Arc::new(column.clone()),
            InputColumn::Timestamp(column) => Arc::new(column.clone()),
        })
    }

    /// The event times.
    #[must_use]
    pub fn times(&self) -> &[i64] {
        &self.times
    }

    /// How many events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// The text of row `i`'s entity, as [`crate::row::entity_text`].
    #[must_use]
    pub fn entity(&self, i: usize) -> &str {
        if self.ends.is_empty() {
            return "";
        }
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.entities[start..self.ends[i]]
    }

    /// Row `i`'s event time in milliseconds.
    #[must_use]
    pub fn time(&self, i: usize) -> i64 {
        self.times[i]
    }

    /// Whether row `i` meets condition `c`; NULL does not.
    #[must_use]
    pub fn condition(&self, c: usize, i: usize) -> bool {
        self.conditions[c].value(i)
    }

    /// The values of input `k`.
    #[must_use]
    pub fn input(&self, k: usize) -> &InputColumn {
        &self.inputs[k]
    }

    /// The rows that must not be inserted, ascending, each once, with the reason.
    #[must_use]
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }
}

/// NULL folded into false, so that the hot path reads one bit.
fn without_nulls(condition: &BooleanArray) -> BooleanArray {
    match condition.nulls() {
        None => condition.clone(),
        Some(nulls) => BooleanArray::new(condition.values() & nulls.inner(), None),
    }
}

/// The typed column behind an array whose type [`crate::expr::compile`] has fixed.
fn input_column(array: &ArrayRef) -> InputColumn {
    match array.data_type() {
        DataType::Boolean => InputColumn::Boolean(array.as_boolean().clone()),
        DataType::Int64 => InputColumn::Int64(array.as_primitive::<Int64Type>().clone()),
        DataType::Float64 => InputColumn::Double(array.as_primitive::<Float64Type>().clone()),
        DataType::Decimal128(..) => InputColumn::Decimal(array.as_primitive::<Decimal128Type>().clone()),
        DataType::Utf8 => InputColumn::String(array.as_string::<i32>().clone()),
        _ => InputColumn::Timestamp(array.as_primitive::<TimestampMillisecondType>().clone()),
    }
}

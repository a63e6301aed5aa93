//! From lanes to rows of the feature table: the plan's features, all of them, as of the horizon.
//!
//! Invariant: a value here is the one that the feature server would read from the same lane at the same time.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray, ListArray, RecordBatch, new_null_array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use engine::lane::{Lane, LaneError, Layout};
use engine::plan::Plan;
use engine::program::{FeatureColumns, Program, ProgramError, array};
use engine::read::{Reader, Status};
use engine::value::{Value, ValueType};
use thiserror::Error;

use crate::fold::{Truncated, unpack};

/// Rows whose values wait to become columns: so few that they stay near the processor.
const CHUNK: usize = 1_024;

/// Why lanes cannot be read. None of these happens unless the engine contradicts itself.
#[derive(Debug, Error)]
pub enum FeaturesError {
    /// A lane does not unpack.
    #[error("a folded lane: {0}")]
    Packed(#[from] Truncated),
    /// A lane does not decode.
    #[error("a folded lane: {0}")]
    Lane(#[from] LaneError),
    /// The plan contradicts itself.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// A feature cannot be told at the horizon, where it always can.
    #[error("feature {name} cannot be told exactly as of {t}: the lane lacks tiles that it must have")]
    Inexact {
        /// The feature.
        name: String,
        /// The horizon.
        t: i64,
    },
    /// Columns do not fit one another.
    #[error("feature columns: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
}

/// Reads lanes of one plan at one time.
#[derive(Debug)]
pub struct FeatureReader {
    program: Arc<Program>,
    layout: Arc<Layout>,
    base: Vec<usize>,
    t: i64,
    schema: SchemaRef,
}

impl FeatureReader {
    /// Reads at `t`, in milliseconds.
    #[must_use]
    pub fn new(program: Arc<Program>, layout: Arc<Layout>, t: i64) -> Self {
        let all: Vec<usize> = (0..program.plan().features.len()).collect();
        let base = program.base_features(&all);
        let schema = Arc::new(Schema::new(fields(program.plan())));
        Self { program, layout, base, t, schema }
    }

    /// The features of lanes packed in a column of binary values: a column each, by the plan.
    ///
    /// # Errors
    /// [`FeaturesError`].
    pub fn packed(&self, lanes: &ArrayRef) -> Result<RecordBatch, FeaturesError> {
        let lanes = lanes.as_binary::<i64>();
        let mut rows = self.rows(lanes.len());
        for packed in lanes {
            let segments = unpack(packed.unwrap_or_default())?;
            rows.push(&[Lane::decode(&self.layout, &segments)?], self.t)?;
        }
        rows.finish()
    }

    /// The time as of which it reads.
    #[must_use]
    pub fn time(&self) -> i64 {
        self.t
    }

    /// The windowed features that it reads, as positions in the plan.
    #[must_use]
    pub fn features(&self) -> &[usize] {
        &self.base
    }

    /// The features as columns.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Rows to be filled, about `capacity` of them in all.
    #[must_use]
    pub fn rows(&self, capacity: usize) -> FeatureRows<'_> {
        let values = self.values(capacity.min(CHUNK));
        FeatureRows { reader: self, values, rows: 0, done: Vec::new() }
    }

    fn values(&self, capacity: usize) -> FeatureColumns {
        let mut values = FeatureColumns { columns: vec![None; self.program.plan().features.len()] };
        for feature in &self.base {
            values.columns[*feature] = Some(Vec::with_capacity(capacity));
        }
        values
    }
}

/// Feature rows that grow one by one.
#[derive(Debug)]
pub struct FeatureRows<'a> {
    reader: &'a FeatureReader,
    values: FeatureColumns,
    /// How many there are of those.
    rows: usize,
    /// The rows before them.
    done: Vec<RecordBatch>,
}

impl FeatureRows<'_> {
    /// Appends the features of one entity's lanes at `t`.
    ///
    /// # Errors
    /// [`FeaturesError::Inexact`].
    pub fn push(&mut self, lanes: &[Lane], t: i64) -> Result<(), FeaturesError> {
        let of = self.reader;
        let reads = Reader::new(&of.layout).read(lanes, t, &of.base);
        if let Some(at) = reads.iter().position(|read| read.status == Status::Inexact) {
            let name = of.program.plan().features[of.base[at]].name.clone();
            return Err(FeaturesError::Inexact { name, t });
        }
        self.push_values(reads.into_iter().map(|read| read.value))
    }

    /// Appends the values of one entity's [`FeatureReader::features`].
    ///
    /// # Errors
    /// As [`Self::finish`].
    pub fn push_values(&mut self, values: impl Iterator<Item = Option<Value>>) -> Result<(), FeaturesError> {
        for (feature, value) in self.reader.base.iter().zip(values) {
            if let Some(column) = &mut self.values.columns[*feature] {
                column.push(value);
            }
        }
        self.rows += 1;
        if self.rows == CHUNK { self.close() } else { Ok(()) }
    }

    /// The rows, with the features that are expressions over others.
    ///
    /// # Errors
    /// [`FeaturesError::Program`] or [`FeaturesError::Arrow`] if the plan contradicts itself.
    pub fn finish(mut self) -> Result<RecordBatch, FeaturesError> {
        if self.rows > 0 || self.done.is_empty() {
            self.close()?;
        }
        Ok(concat_batches(&self.reader.schema, &self.done)?)
    }

    /// Makes columns of the values so far.
    fn close(&mut self) -> Result<(), FeaturesError> {
        let plan = self.reader.program.plan();
        let rows = std::mem::take(&mut self.rows);
        let all: Vec<usize> = (0..plan.features.len()).collect();
        let mut values = std::mem::replace(&mut self.values, self.reader.values(rows));
        self.reader.program.derive(&all, rows, &mut values)?;
        let column = |(feature, values): (&engine::plan::Feature, &Option<Vec<Option<Value>>>)| match values {
            Some(values) => column(&feature.value_type, values),
            None => Ok(new_null_array(&feature.value_type.arrow(), rows)),
        };
        let columns = plan.features.iter().zip(&values.columns).map(column).collect::<Result<Vec<_>, _>>()?;
        let options = arrow::record_batch::RecordBatchOptions::new().with_row_count(Some(rows));
        self.done.push(RecordBatch::try_new_with_options(self.reader.schema.clone(), columns, &options)?);
        Ok(())
    }
}

/// The plan's features as fields, all of them nullable.
#[must_use]
pub fn fields(plan: &Plan) -> Vec<Field> {
    plan.features.iter().map(|feature| Field::new(&feature.name, feature.value_type.arrow(), true)).collect()
}

/// A column of values, lists too.
fn column(value_type: &ValueType, values: &[Option<Value>]) -> Result<ArrayRef, arrow::error::ArrowError> {
    let ValueType::List(item) = value_type else { return Ok(array(value_type, values)) };
    let items = |value: &Option<Value>| match value {
        Some(Value::List(items)) => items.iter().cloned().map(Some).collect(),
        _ => Vec::new(),
    };
    let lists: Vec<Vec<Option<Value>>> = values.iter().map(items).collect();
    let offsets = OffsetBuffer::from_lengths(lists.iter().map(Vec::len));
    let nulls = values.iter().map(Option::is_some).collect::<NullBuffer>();
    let flat: Vec<Option<Value>> = lists.into_iter().flatten().collect();
    let DataType::List(field) = value_type.arrow() else {
        return Ok(new_null_array(&value_type.arrow(), values.len()));
    };
    let items = array(item, &flat);
    debug_assert_eq!(items.len(), flat.len());
    Ok(Arc::new(ListArray::try_new(field, offsets, items, Some(nulls))?))
}

//! From lanes to rows of the feature table: the plan's features, all of them, as of the horizon.
//!
//! Invariant: a value here is the one that the feature server would read from the same lane at the same time.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray, ListArray, RecordBatch, new_null_array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use engine::lane::{Lane, LaneError, Layout};
use engine::plan::Plan;
use engine::program::{FeatureColumns, Program, ProgramError, array};
use engine::read::{Reader, Status};
use engine::value::{Value, ValueType};
use thiserror::Error;

use crate::fold::{Truncated, unpack};

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
        let lanes = lanes.iter().map(|packed| {
            let segments = unpack(packed.unwrap_or_default())?;
            Ok(vec![Lane::decode(&self.layout, &segments)?])
        });
        self.read(lanes.collect::<Result<Vec<_>, FeaturesError>>()?.iter().map(|lanes| (lanes.as_slice(), self.t)))
    }

    /// The features of entities, each by its lanes and at its time.
    ///
    /// # Errors
    /// [`FeaturesError`].
    pub fn read<'a>(
        &self,
        entities: impl ExactSizeIterator<Item = (&'a [Lane], i64)>,
    ) -> Result<RecordBatch, FeaturesError> {
        let plan = self.program.plan();
        let rows = entities.len();
        let mut values = FeatureColumns { columns: vec![None; plan.features.len()] };
        for feature in &self.base {
            values.columns[*feature] = Some(Vec::with_capacity(rows));
        }
        let reader = Reader::new(&self.layout);
        for (lanes, t) in entities {
            for (feature, read) in self.base.iter().zip(reader.read(lanes, t, &self.base)) {
                if read.status == Status::Inexact {
                    return Err(FeaturesError::Inexact { name: plan.features[*feature].name.clone(), t });
                }
                if let Some(column) = &mut values.columns[*feature] {
                    column.push(read.value);
                }
            }
        }
        let all: Vec<usize> = (0..plan.features.len()).collect();
        self.program.derive(&all, rows, &mut values)?;
        let column = |(feature, values): (&engine::plan::Feature, &Option<Vec<Option<Value>>>)| match values {
            Some(values) => column(&feature.value_type, values),
            None => Ok(new_null_array(&feature.value_type.arrow(), rows)),
        };
        let columns = plan.features.iter().zip(&values.columns).map(column).collect::<Result<Vec<_>, _>>()?;
        let options = arrow::record_batch::RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
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
    let nulls = NullBuffer::from_iter(values.iter().map(Option::is_some));
    let flat: Vec<Option<Value>> = lists.into_iter().flatten().collect();
    let DataType::List(field) = value_type.arrow() else { return Ok(new_null_array(&value_type.arrow(), values.len())) };
    let items = array(item, &flat);
    debug_assert_eq!(items.len(), flat.len());
    Ok(Arc::new(ListArray::try_new(field, offsets, items, Some(nulls))?))
}

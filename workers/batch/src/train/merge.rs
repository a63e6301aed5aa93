//! The merge: events enter their entity's lane, questions read it, in the order of time.
//!
//! Invariant: when a question at `T` is answered, the lane holds exactly the events before `T`, because of one time the
//! questions come first.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt64Array};
use arrow::compute::{filter, is_null, or, take};
use arrow::datatypes::{Int64Type, SchemaRef};
use arrow::row::{OwnedRow, RowConverter, SortField};
use datafusion::common::Result;
use datafusion::error::DataFusionError;
use engine::lane::{Lane, Layout};
use engine::program::{Evaluated, Program};

use crate::features::FeatureReader;
use crate::map::{Step, Transform};

/// Merges sorted rows of [`super::stage`]: keys, time, whether it is an event, conditions and inputs, the question.
#[derive(Debug)]
pub(super) struct Merge {
    /// The plan.
    pub program: Arc<Program>,
    /// How its lanes lie.
    pub layout: Arc<Layout>,
    /// How many keys.
    pub keys: usize,
    /// How many columns a question has.
    pub asked: usize,
    /// A question's columns and the features.
    pub schema: SchemaRef,
}

/// The entity that is being read.
#[derive(Default)]
struct Current {
    key: Option<OwnedRow>,
    lane: Vec<Lane>,
}

impl Transform for Merge {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn step(self: Arc<Self>) -> Step {
        let mut current = Current::default();
        let mut converter: Option<RowConverter> = None;
        let reader = FeatureReader::new(self.program.clone(), self.layout.clone(), 0);
        Box::new(move |batch| {
            let keys = &batch.columns()[..self.keys];
            let converter = match &mut converter {
                Some(converter) => converter,
                none => {
                    let fields = keys.iter().map(|key| SortField::new(key.data_type().clone())).collect();
                    none.insert(RowConverter::new(fields)?)
                }
            };
            self.batch(batch, keys, converter, &reader, &mut current)
        })
    }
}

impl Merge {
    fn batch(
        &self,
        batch: &RecordBatch,
        keys: &[ArrayRef],
        converter: &RowConverter,
        reader: &FeatureReader,
        current: &mut Current,
    ) -> Result<RecordBatch> {
        let entities = converter.convert_columns(keys)?;
        let times = batch.column(self.keys).as_primitive::<Int64Type>();
        let is_event = batch.column(self.keys + 1).as_boolean();
        let folded = &batch.columns()[self.keys + 2..batch.num_columns() - self.asked];
        let (conditions, inputs) = folded.split_at(self.program.plan().conditions.len());
        let events = Evaluated::of_arrays(times.values().to_vec(), conditions, inputs);
        // A question without an entity or a time has no answer.
        let mut unasked = is_null(times)?;
        for key in keys {
            unasked = or(&unasked, &is_null(key)?)?;
        }
        let retention = self.program.plan().time.retention_ms;
        let mut answers = reader.rows(batch.num_rows());
        let mut answered = 0;
        let mut rows: Vec<Option<u64>> = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            let entity = entities.row(row);
            if current.key.as_ref().is_none_or(|key| key.row() != entity) {
                *current = Current { key: Some(entity.owned()), lane: Vec::new() };
            }
            if is_event.value(row) {
                if current.lane.is_empty() {
                    current.lane.push(Lane::new());
                }
                current.lane[0].insert(&self.layout, &events, row);
                continue;
            }
            let t = times.value(row);
            let newest = current.lane.first().and_then(Lane::newest);
            let known = newest.is_some_and(|newest| retention.is_none_or(|keep| newest >= t.saturating_sub(keep)));
            if unasked.value(row) || !known {
                rows.push(None);
                continue;
            }
            answers.push(&current.lane, t).map_err(|error| DataFusionError::External(error.into()))?;
            rows.push(Some(answered));
            answered += 1;
        }
        let answers = answers.finish().map_err(|error| DataFusionError::External(error.into()))?;
        let rows = UInt64Array::from(rows);
        let asks = is_event.iter().map(|event| event.map(|event| !event)).collect::<BooleanArray>();
        let questions = &batch.columns()[batch.num_columns() - self.asked..];
        let mut columns = questions.iter().map(|column| filter(column, &asks)).collect::<Result<Vec<_>, _>>()?;
        for column in answers.columns() {
            columns.push(take(column, &rows, None)?);
        }
        let options = arrow::record_batch::RecordBatchOptions::new().with_row_count(Some(rows.len()));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }
}

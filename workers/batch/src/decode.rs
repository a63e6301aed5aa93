//! From a table's rows to events that are ready to be folded: imported, evaluated, and without those that are refused.
//!
//! The result's columns are the entity's keys in the plan's order, the event time in milliseconds, the plan's conditions
//! and its inputs. Bad rows are counted by reason and never end a run.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::Result;
use engine::event::{Admission, ImportError, Importer};
use engine::program::Program;

use crate::map::{Step, Transform};

/// The reason of a row on which an expression failed, as the stream worker's dead letters have it.
pub const EXPRESSION_FAILED: &str = "ExpressionFailed";

/// What was read so far; shared by all partitions.
#[derive(Debug, Default)]
pub struct Counts {
    rows: AtomicU64,
    taken: AtomicU64,
    refused: Mutex<BTreeMap<&'static str, u64>>,
}

impl Counts {
    /// Rows read.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Events taken.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Rows refused, by reason.
    #[must_use]
    pub fn refused(&self) -> BTreeMap<&'static str, u64> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn refuse(&self, reason: &'static str, rows: u64) {
        if rows > 0 {
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner).entry(reason).or_default() += rows;
        }
    }
}

/// Decodes batches of one table's schema.
#[derive(Debug)]
pub struct Decode {
    program: Arc<Program>,
    importer: Importer,
    admission: Admission,
    schema: SchemaRef,
    counts: Arc<Counts>,
}

impl Decode {
    /// For batches of `found`, of which events within `admission` are taken.
    ///
    /// # Errors
    /// [`ImportError`] naming the column that does not fit.
    pub fn new(
        program: Arc<Program>,
        found: &Schema,
        admission: Admission,
        counts: Arc<Counts>,
    ) -> Result<Self, ImportError> {
        let plan = program.plan();
        let importer = Importer::new(plan, found, &program.columns_read())?;
        let key = |(i, at): (usize, &usize)| {
            Field::new(format!("key_{i}"), plan.source.columns[*at].value_type.arrow(), true)
        };
        let mut fields: Vec<Field> = program.keys().iter().enumerate().map(key).collect();
        fields.push(Field::new("time", DataType::Int64, false));
        fields
            .extend((0..plan.conditions.len()).map(|i| Field::new(format!("condition_{i}"), DataType::Boolean, true)));
        let input = |(i, input): (usize, &engine::plan::Input)| {
            Field::new(format!("input_{i}"), input.value_type.arrow(), true)
        };
        fields.extend(plan.inputs.iter().enumerate().map(input));
        let schema = Arc::new(Schema::new(fields));
        Ok(Self { program, importer, admission, schema, counts })
    }

    /// Decodes one batch.
    ///
    /// # Errors
    /// Only if the batch is not of the schema that it was made for.
    pub fn batch(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        self.counts.rows.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
        let imported = self.importer.import(batch, self.admission)?;
        for (reason, rows) in &imported.rejected {
            self.counts.refuse(reason.as_str(), *rows);
        }
        let events = imported.columns.record_batch()?;
        let evaluated = self.program.evaluate_without_entities(&events, imported.columns.times().to_vec());
        let mut columns: Vec<ArrayRef> = self.program.keys().iter().map(|at| events.column(*at).clone()).collect();
        columns.push(Arc::new(Int64Array::from(evaluated.times().to_vec())));
        columns.extend(evaluated.condition_arrays());
        columns.extend(evaluated.input_arrays());
        let decoded = RecordBatch::try_new(self.schema.clone(), columns)?;
        let failures = evaluated.failures();
        self.counts.taken.fetch_add((evaluated.len() - failures.len()) as u64, Ordering::Relaxed);
        if failures.is_empty() {
            return Ok(decoded);
        }
        self.counts.refuse(EXPRESSION_FAILED, failures.len() as u64);
        let mut good = vec![true; evaluated.len()];
        for failure in failures {
            good[failure.row] = false;
        }
        Ok(filter_record_batch(&decoded, &BooleanArray::from(good))?)
    }
}

impl Transform for Decode {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn step(self: Arc<Self>) -> Step {
        Box::new(move |batch| self.batch(batch))
    }
}

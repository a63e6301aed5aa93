//! From a table's rows to events that are ready to be folded: imported, evaluated, and without those that are refused.
//!
//! The result's columns are the entity's keys in the plan's order, the event time in milliseconds, the plan's conditions
//! and its inputs. Bad rows are counted by reason and never end a run.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array as _, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMillisecondType};
use datafusion::common::Result;
use engine::event::{Admission, Columns, Decoder, ImportError, Importer};
use engine::plan::Plan;
use engine::program::Program;
use lake::bronze;

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
    rows: Rows,
    admission: Admission,
    schema: SchemaRef,
    counts: Arc<Counts>,
}

/// How a row becomes an event.
#[derive(Debug)]
enum Rows {
    /// Its columns are the event's.
    Columns(Importer),
    /// It is a record: the places of its payload and of its time.
    Records(usize, usize),
}

impl Decode {
    /// For batches of `found`, whose rows are events as `source`, a form of the program's plan, has them. Those within
    /// `admission` are taken.
    ///
    /// # Errors
    /// [`ImportError`] naming the column that does not fit.
    pub fn events(
        program: Arc<Program>,
        source: &Plan,
        found: &Schema,
        admission: Admission,
        counts: Arc<Counts>,
    ) -> Result<Self, ImportError> {
        let rows = Rows::Columns(Importer::new(source, found, &program.columns_read())?);
        let schema = schema(&program);
        Ok(Self { program, rows, admission, schema, counts })
    }

    /// For batches of `found`, whose rows are records of a topic as its archive has them.
    ///
    /// # Errors
    /// [`ImportError::Missing`] if it is no archive.
    pub fn records(
        program: Arc<Program>,
        found: &Schema,
        admission: Admission,
        counts: Arc<Counts>,
    ) -> Result<Self, ImportError> {
        let place = |name: &str| {
            found.index_of(name).map_err(|_| ImportError::Missing {
                column: name.to_owned(),
                found: found.fields().iter().map(|field| field.name().clone()).collect(),
            })
        };
        let rows = Rows::Records(place(bronze::VALUE)?, place(bronze::TIMESTAMP)?);
        let schema = schema(&program);
        Ok(Self { program, rows, admission, schema, counts })
    }

    /// Decodes one batch; `decoder` is of the program's plan, and empty.
    fn batch(&self, batch: &RecordBatch, decoder: &mut Decoder) -> Result<RecordBatch> {
        self.counts.rows.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
        let columns = match &self.rows {
            Rows::Columns(importer) => {
                let imported = importer.import(batch, self.admission)?;
                for (reason, rows) in &imported.rejected {
                    self.counts.refuse(reason.as_str(), *rows);
                }
                imported.columns
            }
            Rows::Records(payload, time) => self.decode(batch.column(*payload), batch.column(*time), decoder)?,
        };
        let (events, times) = self.admit(&columns)?;
        let evaluated = self.program.evaluate_without_entities(&events, times);
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

    fn decode(&self, payloads: &ArrayRef, times: &ArrayRef, decoder: &mut Decoder) -> Result<Columns> {
        let payloads = cast(payloads, &DataType::LargeBinary)?;
        let millis = DataType::Timestamp(TimeUnit::Millisecond, None);
        let times = cast(times, &millis)?;
        let times = times.as_primitive::<TimestampMillisecondType>();
        for (row, payload) in payloads.as_binary::<i64>().iter().enumerate() {
            // A record without a time can hold no event that is near its record's time.
            let time = if times.is_valid(row) { times.value(row) } else { -1 };
            if let Err(reject) = decoder.push(payload, time) {
                self.counts.refuse(reject.reason.as_str(), 1);
            }
        }
        Ok(decoder.take())
    }

    /// The events within the slice, and their times.
    fn admit(&self, columns: &Columns) -> Result<(RecordBatch, Vec<i64>)> {
        let events = columns.record_batch()?;
        let inside = |time: &i64| (self.admission.from..self.admission.until).contains(time);
        if columns.times().iter().all(inside) {
            return Ok((events, columns.times().to_vec()));
        }
        let mask: BooleanArray = columns.times().iter().map(|time| Some(inside(time))).collect();
        Ok((filter_record_batch(&events, &mask)?, columns.times().iter().copied().filter(inside).collect()))
    }
}

impl Transform for Decode {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn step(self: Arc<Self>) -> Step {
        let mut decoder = Decoder::new(self.program.plan());
        Box::new(move |batch| self.batch(batch, &mut decoder))
    }
}

/// The result's columns.
fn schema(program: &Program) -> SchemaRef {
    let plan = program.plan();
    let key =
        |(i, at): (usize, &usize)| Field::new(format!("key_{i}"), plan.source.columns[*at].value_type.arrow(), true);
    let mut fields: Vec<Field> = program.keys().iter().enumerate().map(key).collect();
    fields.push(Field::new("time", DataType::Int64, false));
    fields.extend((0..plan.conditions.len()).map(|i| Field::new(format!("condition_{i}"), DataType::Boolean, true)));
    let input =
        |(i, input): (usize, &engine::plan::Input)| Field::new(format!("input_{i}"), input.value_type.arrow(), true);
    fields.extend(plan.inputs.iter().enumerate().map(input));
    Arc::new(Schema::new(fields))
}

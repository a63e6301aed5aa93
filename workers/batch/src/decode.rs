//! From a table's rows to events that are ready to be folded: imported, evaluated, and without those that are refused or
//! were erased.
//!
//! The result's columns are the entity's keys in the plan's order, the event time in milliseconds, the plan's conditions
//! and its inputs. Bad rows are counted by reason and never end a run.

mod erased;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array as _, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMillisecondType};
use datafusion::common::Result;
use engine::erase::Tombstones;
use engine::event::{Admission, Columns, Decoder, ImportError, Importer};
use engine::plan::Plan;
use engine::program::Program;
use lake::bronze;

use crate::map::{Step, Transform};
use erased::{Coordinates, Left, decoded_left, place};

/// The reason of a row on which an expression failed, as the stream worker's dead letters have it.
pub const EXPRESSION_FAILED: &str = "ExpressionFailed";

/// What was read so far; shared by all partitions.
#[derive(Debug, Default)]
pub struct Counts {
    rows: AtomicU64,
    taken: AtomicU64,
    refused: Mutex<BTreeMap<String, u64>>,
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
    pub fn refused(&self) -> BTreeMap<String, u64> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts what another process read.
    pub fn add(&self, rows: u64, taken: u64, refused: &BTreeMap<String, u64>) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.taken.fetch_add(taken, Ordering::Relaxed);
        for (reason, rows) in refused {
            self.refuse(reason, *rows);
        }
    }

    fn refuse(&self, reason: &str, rows: u64) {
        if rows > 0 {
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner).entry(reason.to_owned()).or_default() += rows;
        }
    }
}

/// Which events are taken, and where it is counted.
#[derive(Clone, Debug)]
pub struct Taken {
    /// Those of these times.
    pub admission: Admission,
    /// None that these cover.
    pub tombstones: Arc<Tombstones>,
    /// What was read.
    pub counts: Arc<Counts>,
}

/// Decodes batches of one table's schema.
#[derive(Debug)]
pub struct Decode {
    program: Arc<Program>,
    rows: Rows,
    admission: Admission,
    schema: SchemaRef,
    counts: Arc<Counts>,
    tombstones: Arc<Tombstones>,
}

/// How a row becomes an event.
#[derive(Debug)]
enum Rows {
    /// Its columns are the event's; and which rows were erased, if anybody was.
    Columns(Importer, Option<Left>),
    /// It is a record: the places of its payload and of its time, and of its coordinates, if anybody was erased.
    Records(usize, usize, Option<(usize, usize)>),
}

impl Decode {
    /// For batches of `found`, whose rows are events as `source`, a form of the program's plan, has them, and name the
    /// record that each was made of in `coordinates`. Those within `admission` are taken.
    ///
    /// # Errors
    /// [`ImportError`] naming the column that does not fit.
    pub fn events(
        program: Arc<Program>,
        source: &Plan,
        found: &Schema,
        coordinates: Option<[&str; 2]>,
        taken: Taken,
    ) -> Result<Self, ImportError> {
        let Taken { admission, tombstones, counts } = taken;
        let left = (!tombstones.is_empty())
            .then(|| Left::new(source, found, program.keys(), coordinates, tombstones.clone()))
            .transpose()?;
        let rows = Rows::Columns(Importer::new(source, found, &program.columns_read())?, left);
        let schema = schema(&program);
        Ok(Self { program, rows, admission, schema, counts, tombstones })
    }

    /// For batches of `found`, whose rows are records of a topic as its archive has them.
    ///
    /// # Errors
    /// [`ImportError::Missing`] if it is no archive.
    pub fn records(program: Arc<Program>, found: &Schema, taken: Taken) -> Result<Self, ImportError> {
        let Taken { admission, tombstones, counts } = taken;
        let coordinates = (!tombstones.is_empty())
            .then(|| Ok((place(found, bronze::PARTITION)?, place(found, bronze::OFFSET)?)))
            .transpose()?;
        let rows = Rows::Records(place(found, bronze::VALUE)?, place(found, bronze::TIMESTAMP)?, coordinates);
        let schema = schema(&program);
        Ok(Self { program, rows, admission, schema, counts, tombstones })
    }

    /// Decodes one batch; `decoder` is of the program's plan, and empty.
    fn batch(&self, batch: &RecordBatch, decoder: &mut Decoder) -> Result<RecordBatch> {
        self.counts.rows.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
        let (columns, left) = match &self.rows {
            Rows::Columns(importer, left) => {
                let imported = match left {
                    Some(left) => importer.import(&left.left(batch)?, self.admission)?,
                    None => importer.import(batch, self.admission)?,
                };
                for (reason, rows) in &imported.rejected {
                    self.counts.refuse(reason.as_str(), *rows);
                }
                (imported.columns, None)
            }
            Rows::Records(payload, time, coordinates) => {
                let (columns, rows) = self.decode(batch.column(*payload), batch.column(*time), decoder)?;
                let left = coordinates.map(|places| self.left(&columns, &Coordinates::of(batch, places)?, &rows));
                (columns, left.transpose()?)
            }
        };
        let (events, times) = self.admit(&columns, left.as_ref())?;
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

    /// The events, and the row that each came from.
    fn decode(&self, payloads: &ArrayRef, times: &ArrayRef, decoder: &mut Decoder) -> Result<(Columns, Vec<usize>)> {
        let mut rows = Vec::new();
        let payloads = cast(payloads, &DataType::LargeBinary)?;
        let millis = DataType::Timestamp(TimeUnit::Millisecond, None);
        let times = cast(times, &millis)?;
        let times = times.as_primitive::<TimestampMillisecondType>();
        for (row, payload) in payloads.as_binary::<i64>().iter().enumerate() {
            // A record without a time can hold no event that is near its record's time.
            let time = if times.is_valid(row) { times.value(row) } else { -1 };
            match decoder.push(payload, time) {
                Ok(()) => rows.push(row),
                Err(reject) => self.counts.refuse(reject.reason.as_str(), 1),
            }
        }
        Ok((decoder.take(), rows))
    }

    /// Which events were not erased.
    fn left(&self, columns: &Columns, coordinates: &Coordinates, rows: &[usize]) -> Result<BooleanArray> {
        let events = columns.record_batch()?;
        let keys: Vec<ArrayRef> = self.program.keys().iter().map(|at| events.column(*at).clone()).collect();
        Ok(decoded_left(&self.tombstones, &keys, coordinates, rows))
    }

    /// The events within the slice that are `left`, and their times.
    fn admit(&self, columns: &Columns, left: Option<&BooleanArray>) -> Result<(RecordBatch, Vec<i64>)> {
        let events = columns.record_batch()?;
        let inside = |(row, time): (usize, &i64)| {
            (self.admission.from..self.admission.until).contains(time) && left.is_none_or(|left| left.value(row))
        };
        let mask: Vec<bool> = columns.times().iter().enumerate().map(inside).collect();
        if mask.iter().all(|inside| *inside) {
            return Ok((events, columns.times().to_vec()));
        }
        let times = columns.times().iter().zip(&mask).filter(|(_, inside)| **inside).map(|(time, _)| *time).collect();
        Ok((filter_record_batch(&events, &BooleanArray::from(mask))?, times))
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

/// The columns of what is decoded for a program.
#[must_use]
pub fn schema(program: &Program) -> SchemaRef {
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

//! Rows of Bronze into good rows and rejects, by the engine's own decoder and expressions. Pure.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int32Type, Int64Type, SchemaRef, TimestampMicrosecondType};
use engine::event::{self, Decoder};
use engine::expr::{self, Compiled};
use engine::plan::Plan;
use engine::value::ValueType;

use super::{EXPRESSION_FAILED, RULE_FAILED, Rule};
use crate::error::LakeError;

/// The milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// Decodes and checks.
pub(super) struct Decode {
    decoder: Decoder,
    rules: Vec<(String, Compiled)>,
    /// Silver's columns.
    schema: SchemaRef,
    /// The quarantine's columns.
    rejects: SchemaRef,
}

/// What became of a batch.
pub(super) struct Decoded {
    /// In Silver's columns.
    pub good: RecordBatch,
    /// In the quarantine's columns.
    pub rejects: RecordBatch,
}

/// A row that does not pass.
struct Refused {
    row: usize,
    reason: &'static str,
    detail: String,
}

impl Decode {
    /// Compiles the rules.
    ///
    /// # Errors
    /// [`LakeError::Definition`] naming the rule that does not compile or is not a condition.
    pub(super) fn new(plan: &Plan, rules: &[Rule], schema: SchemaRef, rejects: SchemaRef) -> Result<Self, LakeError> {
        let columns = event::schema(&plan.source);
        let mut compiled = Vec::with_capacity(rules.len());
        for Rule { name, sql } in rules {
            let refused = |detail: String| LakeError::Definition { what: format!("rule {name}"), detail };
            let rule = expr::compile(sql, &columns).map_err(|error| refused(error.to_string()))?;
            if rule.value_type != ValueType::Boolean {
                return Err(refused(format!("{sql:?} is no condition: it gives {:?}, not a boolean", rule.value_type)));
            }
            compiled.push((name.clone(), rule));
        }
        Ok(Self { decoder: Decoder::new(plan), rules: compiled, schema, rejects })
    }

    /// Decodes a batch of Bronze's columns partition, offset, timestamp, key and value, in Bronze's types.
    ///
    /// # Errors
    /// [`LakeError::Schema`] only if the batch has other columns.
    pub(super) fn batch(&mut self, batch: &RecordBatch) -> Result<Decoded, LakeError> {
        let broken = |detail: String| LakeError::Schema { uri: "Bronze".to_owned(), column: "-".to_owned(), detail };
        let (Some(times), Some(values)) =
            (batch.column(2).as_primitive_opt::<TimestampMicrosecondType>(), batch.column(4).as_binary_opt::<i32>())
        else {
            return Err(broken(format!("its columns are {}", batch.schema())));
        };
        let (mut taken, mut refused) = (Vec::new(), Vec::new());
        for row in 0..batch.num_rows() {
            let payload = values.is_valid(row).then(|| values.value(row));
            match self.decoder.push(payload, times.value(row).div_euclid(1_000)) {
                Ok(()) => taken.push(row),
                Err(reject) => refused.push(Refused { row, reason: reject.reason.as_str(), detail: reject.detail }),
            }
        }
        let columns = self.decoder.take();
        let events = columns.record_batch().map_err(|error| broken(error.to_string()))?;
        let passes = self.check(&events, &taken, &mut refused);
        let good = self.good(batch, &events, columns.times(), &taken).map_err(&broken)?;
        let good = filter_record_batch(&good, &passes).map_err(|error| broken(error.to_string()))?;
        refused.sort_by_key(|refused| refused.row);
        let rejects = self.rejected(batch, &refused).map_err(&broken)?;
        Ok(Decoded { good, rejects })
    }

    /// Which events pass all rules; those that do not are refused by the first.
    fn check(&self, events: &RecordBatch, taken: &[usize], refused: &mut Vec<Refused>) -> BooleanArray {
        let mut passes = vec![true; events.num_rows()];
        for (name, rule) in &self.rules {
            let mut failures = Vec::new();
            let holds = rule.evaluate(events, &mut failures);
            let mut refuse = |event: usize, reason: &'static str, detail: String| {
                if std::mem::replace(&mut passes[event], false) {
                    refused.push(Refused { row: taken[event], reason, detail });
                }
            };
            for failure in failures {
                refuse(failure.row, EXPRESSION_FAILED, format!("rule {name}: {}", failure.message));
            }
            let holds = holds.as_boolean();
            for event in 0..events.num_rows() {
                if holds.is_valid(event) && !holds.value(event) {
                    refuse(event, RULE_FAILED, format!("rule {name}: {} does not hold", rule.sql));
                }
            }
        }
        BooleanArray::from(passes)
    }

    fn good(
        &self,
        batch: &RecordBatch,
        events: &RecordBatch,
        times: &[i64],
        taken: &[usize],
    ) -> Result<RecordBatch, String> {
        let of = Coordinates::new(batch)?;
        let micros = |values: Vec<i64>| TimestampMicrosecondArray::from(values).with_timezone("UTC");
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(taken.iter().map(|row| Some(of.partitions.value(*row))).collect::<Int32Array>()),
            Arc::new(taken.iter().map(|row| Some(of.offsets.value(*row))).collect::<Int64Array>()),
            Arc::new(micros(times.iter().map(|time| time.saturating_mul(1_000)).collect())),
            Arc::new(micros(taken.iter().map(|row| of.times.value(*row)).collect())),
            Arc::new(times.iter().map(|time| Some(day(*time))).collect::<Date32Array>()),
        ];
        columns.extend(events.columns().iter().cloned());
        RecordBatch::try_new(self.schema.clone(), columns).map_err(|error| error.to_string())
    }

    fn rejected(&self, batch: &RecordBatch, refused: &[Refused]) -> Result<RecordBatch, String> {
        let of = Coordinates::new(batch)?;
        let rows = || refused.iter().map(|refused| refused.row);
        let bytes = |column: usize| -> Result<ArrayRef, String> {
            let array = batch.column(column).as_binary_opt::<i32>().ok_or("keys and payloads are not binary")?;
            let picked = rows().map(|row| array.is_valid(row).then(|| array.value(row)));
            Ok(Arc::new(picked.collect::<BinaryArray>()))
        };
        let micros: Vec<i64> = rows().map(|row| of.times.value(row)).collect();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(rows().map(|row| Some(of.partitions.value(row))).collect::<Int32Array>()),
            Arc::new(rows().map(|row| Some(of.offsets.value(row))).collect::<Int64Array>()),
            Arc::new(TimestampMicrosecondArray::from(micros.clone()).with_timezone("UTC")),
            Arc::new(micros.iter().map(|time| Some(day(time.div_euclid(1_000)))).collect::<Date32Array>()),
            Arc::new(refused.iter().map(|refused| Some(refused.reason)).collect::<StringArray>()),
            Arc::new(refused.iter().map(|refused| Some(refused.detail.as_str())).collect::<StringArray>()),
            bytes(3)?,
            bytes(4)?,
        ];
        RecordBatch::try_new(self.rejects.clone(), columns).map_err(|error| error.to_string())
    }
}

/// Where a batch's records stood.
struct Coordinates<'a> {
    partitions: &'a Int32Array,
    offsets: &'a Int64Array,
    times: &'a TimestampMicrosecondArray,
}

impl<'a> Coordinates<'a> {
    fn new(batch: &'a RecordBatch) -> Result<Self, String> {
        let found = (
            batch.column(0).as_primitive_opt::<Int32Type>(),
            batch.column(1).as_primitive_opt::<Int64Type>(),
            batch.column(2).as_primitive_opt::<TimestampMicrosecondType>(),
        );
        match found {
            (Some(partitions), Some(offsets), Some(times)) => Ok(Self { partitions, offsets, times }),
            _ => Err(format!("its columns are {}", batch.schema())),
        }
    }
}

/// The day of a time in milliseconds.
fn day(time: i64) -> i32 {
    i32::try_from(time.div_euclid(DAY_MS)).unwrap_or(if time < 0 { i32::MIN } else { i32::MAX })
}

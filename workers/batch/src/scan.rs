//! The scan of a source: only the columns that the plan reads, only the slice of event time that a run needs.
//!
//! The predicate is stated in the unit and type of the table's own column, so that files and row groups are skipped by
//! their statistics. It may let through more than the slice, never less: what is exact is decided after decoding. Rows
//! without a time are let through too, so that they are counted.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, TimeUnit};
use datafusion::common::{Column, Result, ScalarValue};
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use engine::plan::{Plan, TimestampUnit};
use lake::bronze;

/// A scan of `frame` for events in `[from, until)`, in milliseconds; `i64::MIN` is the beginning of time. Of the plan's
/// columns, those at `needed` are read, the event time, and the table's columns `also`.
///
/// # Errors
/// What DataFusion says, for example that a column is not there.
pub async fn plan(
    frame: DataFrame,
    plan: &Plan,
    needed: &[usize],
    also: &[&str],
    (from, until): (i64, i64),
) -> Result<Arc<dyn ExecutionPlan>> {
    let time = &plan.source.timestamp.field;
    let mut names: Vec<&str> = needed.iter().map(|i| plan.source.columns[*i].name.as_str()).collect();
    if !names.contains(&time.as_str()) {
        names.push(time);
    }
    names.extend(also);
    let predicate = predicate(frame.schema().as_arrow(), plan, from, until);
    let frame = match predicate {
        Some(predicate) => frame.filter(predicate)?,
        None => frame,
    };
    frame.select(names.into_iter().map(column).collect::<Vec<_>>())?.create_physical_plan().await
}

/// A scan of an archive's records whose event time is in `[from, until)`, or does not read; with its columns `also`.
///
/// # Errors
/// What DataFusion says.
pub async fn records(frame: DataFrame, also: &[&str], from: i64, until: i64) -> Result<Arc<dyn ExecutionPlan>> {
    let time = || column(bronze::EVENT_TIME);
    let schema = frame.schema().as_arrow();
    let data_type = schema.field_with_name(bronze::EVENT_TIME)?.data_type().clone();
    let bound = |at: i64| literal(&data_type, TimestampUnit::Milliseconds, at);
    let frame = match (bound(from), bound(until)) {
        (Some(first), Some(last)) => {
            let before = time().lt(last);
            let inside = if from == i64::MIN { before } else { time().gt_eq(first).and(before) };
            frame.filter(inside.or(time().is_null()))?
        }
        _ => frame,
    };
    let names = [bronze::VALUE, bronze::TIMESTAMP].into_iter().chain(also.iter().copied());
    frame.select(names.map(column).collect::<Vec<_>>())?.create_physical_plan().await
}

/// A scan of one column alone.
///
/// # Errors
/// What DataFusion says.
pub async fn one(frame: DataFrame, name: &str) -> Result<Arc<dyn ExecutionPlan>> {
    frame.select([column(name)])?.create_physical_plan().await
}

/// The column of this name, as the table writes it.
pub(crate) fn column(name: &str) -> Expr {
    Expr::Column(Column::from_name(name))
}

/// `time` in the slice, or NULL; `None` if the column's type does not let it be stated.
fn predicate(schema: &Schema, plan: &Plan, from: i64, until: i64) -> Option<Expr> {
    let timestamp = &plan.source.timestamp;
    let data_type = schema.field_with_name(&timestamp.field).ok()?.data_type();
    let bound = |at: i64| literal(data_type, timestamp.unit, at);
    let time = || column(&timestamp.field);
    let before = time().lt(bound(until)?);
    let inside = if from == i64::MIN { before } else { time().gt_eq(bound(from)?).and(before) };
    Some(inside.or(time().is_null()))
}

/// A time as a value of the column: exact, or rounded so that `time ≥ at` and `time < at` keep their meaning.
fn literal(data_type: &DataType, unit: TimestampUnit, at: i64) -> Option<Expr> {
    let seconds = || ceil_div(at, 1_000);
    let number = match unit {
        TimestampUnit::Seconds => seconds(),
        TimestampUnit::Milliseconds => at,
        TimestampUnit::Microseconds => at.saturating_mul(1_000),
        TimestampUnit::Rfc3339 => 0,
    };
    let value = match data_type {
        DataType::Timestamp(TimeUnit::Second, zone) => ScalarValue::TimestampSecond(Some(seconds()), zone.clone()),
        DataType::Timestamp(TimeUnit::Millisecond, zone) => ScalarValue::TimestampMillisecond(Some(at), zone.clone()),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            ScalarValue::TimestampMicrosecond(Some(at.saturating_mul(1_000)), zone.clone())
        }
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => {
            ScalarValue::TimestampNanosecond(Some(at.checked_mul(1_000_000)?), zone.clone())
        }
        DataType::Date32 => ScalarValue::Date32(Some(i32::try_from(ceil_div(at, 86_400_000)).ok()?)),
        other if other.is_integer() && unit != TimestampUnit::Rfc3339 => ScalarValue::Int64(Some(number)),
        _ => return None,
    };
    Some(Expr::Literal(value, None))
}

/// `at / by`, rounded up: whole units are at or after `at` exactly if they are at or after this.
fn ceil_div(at: i64, by: i64) -> i64 {
    at.div_euclid(by) + i64::from(at.rem_euclid(by) != 0)
}

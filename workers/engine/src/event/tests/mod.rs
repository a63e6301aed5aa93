//! What the decoder takes, what it refuses and why, and that it agrees with another JSON reader.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod differential;
mod intact;
mod reasons;
mod types;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Decimal128Type, Float64Type, Int64Type, TimestampMillisecondType};

use super::{Columns, Decoder, Reason, Reject};
use crate::plan::{Column, Mode, Plan, SEMANTICS, Source, TimePolicy, TimestampField, TimestampUnit, ViewIdentity};
use crate::value::{Value, ValueType};

/// A record time in November 2023, which most test events happen at.
const NOW: i64 = 1_700_000_000_000;

/// A plan that decodes `columns` of events with time field `ts`, and keeps events from a day before to a minute ahead.
pub(super) fn plan(columns: &[(&str, ValueType)], entity: &[&str], unit: TimestampUnit) -> Plan {
    let columns =
        columns.iter().map(|(name, value_type)| Column { name: (*name).into(), value_type: value_type.clone() });
    Plan {
        semantics: SEMANTICS,
        view: ViewIdentity { uid: "u".into(), namespace: "n".into(), name: "v".into() },
        revision: "0123456789".into(),
        mode: Mode::Kappa,
        source: Source {
            stream: None,
            table: None,
            timestamp: TimestampField { field: "ts".into(), unit },
            columns: columns.collect(),
        },
        entity: entity.iter().map(|name| (*name).to_owned()).collect(),
        time: TimePolicy {
            allowed_lateness_ms: 3_600_000,
            max_future_ms: 60_000,
            retention_ms: Some(86_400_000),
            finest_tile_ms: 60_000,
        },
        conditions: vec![],
        inputs: vec![],
        aggregates: vec![],
        features: vec![],
    }
}

/// The plan of a shop: a string for its key, a string and a double beside.
fn shop() -> Plan {
    let columns = [("user", ValueType::String), ("kind", ValueType::String), ("price", ValueType::Double)];
    plan(&columns, &["user"], TimestampUnit::Milliseconds)
}

/// Decodes one event of `plan` at [`NOW`].
fn decode(plan: &Plan, payload: &str) -> Result<Columns, Reject> {
    let mut decoder = Decoder::new(plan);
    decoder.push(Some(payload.as_bytes()), NOW)?;
    Ok(decoder.take())
}

fn reason(plan: &Plan, payload: &str) -> Option<Reason> {
    decode(plan, payload).err().map(|reject| reject.reason)
}

/// The value in a column and row.
fn value(columns: &Columns, column: usize, row: usize) -> Option<Value> {
    use arrow::datatypes::DataType;
    let array = columns.column(column);
    if array.is_null(row) {
        return None;
    }
    Some(match array.data_type() {
        DataType::Boolean => Value::Boolean(array.as_boolean().value(row)),
        DataType::Int64 => Value::Int64(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => Value::Double(array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(..) => Value::Decimal(array.as_primitive::<Decimal128Type>().value(row)),
        DataType::Utf8 => Value::String(array.as_string::<i32>().value(row).to_owned()),
        DataType::Timestamp(..) => Value::Timestamp(array.as_primitive::<TimestampMillisecondType>().value(row)),
        other => panic!("no column is {other}"),
    })
}

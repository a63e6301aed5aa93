//! The features of `examples/clickstream` by DuckDB, from the file, and the comparison of served values with them.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use thiserror::Error;

use crate::clickstream::Clickstream;
use crate::online::Cell;
use crate::python;

/// Relative difference within which two doubles count as equal.
const TOLERANCE: f64 = 1e-9;

/// Why the oracle could not answer.
#[derive(Debug, Error)]
#[error("the DuckDB oracle failed: {0}")]
pub struct OracleError(String);

/// One row of the oracle: a value by feature.
pub type Row = BTreeMap<String, Value>;

/// What DuckDB computes for each (user, as-of time in milliseconds), in order.
///
/// # Errors
/// [`OracleError`] with what Python said.
pub fn ask(clickstream: &Clickstream, reads: &[(String, i64)]) -> Result<Vec<Row>, OracleError> {
    ask_where(clickstream, "true", reads)
}

/// As [`ask`], were there only the events that meet `events`: SQL over `user_id`, `session_id`, `event`, `ts` and `i`, the
/// event's number in the order of time.
///
/// # Errors
/// As [`ask`].
pub fn ask_where(clickstream: &Clickstream, events: &str, reads: &[(String, i64)]) -> Result<Vec<Row>, OracleError> {
    let csv = clickstream.folder.join("ecom.csv");
    let request = json!({"csv": csv, "shift_ms": clickstream.shift_ms, "where": events, "reads": reads});
    python::ask(clickstream, "oracle.py", &request).map_err(OracleError)
}

/// Whether a served value is what the oracle computed: exactly, or within 1e-9 for doubles. Times are served as RFC 3339
/// text and computed as milliseconds.
#[must_use]
pub fn equal(served: &Value, computed: &Value) -> bool {
    match (served, computed) {
        (Value::Number(a), Value::Number(b)) if a.is_f64() || b.is_f64() => {
            let (a, b) = (a.as_f64().unwrap_or(f64::NAN), b.as_f64().unwrap_or(f64::NAN));
            (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()).max(1.0)
        }
        (Value::String(a), Value::Number(b)) => {
            a.parse::<jiff::Timestamp>().is_ok_and(|t| Some(t.as_millisecond()) == b.as_i64())
        }
        _ => served == computed,
    }
}

/// Whether a served cell of an entity that is known says what the oracle computed.
#[must_use]
pub fn agrees(cell: &Cell, computed: &Value) -> bool {
    match cell.status.as_str() {
        "PRESENT" => equal(&cell.value, computed),
        "NULL_VALUE" => computed.is_null(),
        _ => false,
    }
}

/// As [`agrees`], of a source that keeps no row of an entity whose events are all too old to be read: a batch, a replay.
#[must_use]
pub fn agrees_or_has_no_row(cell: &Cell, computed: &Value) -> bool {
    match cell.status.as_str() {
        "NOT_FOUND" => cell.value.is_null() && !telling(computed),
        _ => agrees(cell, computed),
    }
}

/// Whether a value tells apart a right answer from a server that knows nothing: it is neither zero nor NULL.
#[must_use]
pub fn telling(value: &Value) -> bool {
    !value.is_null() && value.as_f64() != Some(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equality_is_exact_but_for_doubles_and_times() {
        assert!(equal(&json!(3), &json!(3)) && !equal(&json!(3), &json!(4)));
        assert!(equal(&json!(0.333_333_333_333), &json!(0.333_333_333_334)) && !equal(&json!(0.3333), &json!(0.3334)));
        assert!(
            equal(&json!("1970-01-01T00:00:01Z"), &json!(1000)) && !equal(&json!("1970-01-01T00:00:01Z"), &json!(1001))
        );
        assert!(equal(&json!(null), &json!(null)) && !equal(&json!(null), &json!(0)));
        assert!(equal(&json!("home"), &json!("home")) && !equal(&json!("home"), &json!("cart")));
    }

    #[test]
    fn zero_and_null_tell_nothing() {
        assert!(telling(&json!(1)) && telling(&json!("x")));
        assert!(!telling(&json!(0)) && !telling(&json!(0.0)) && !telling(&json!(null)));
    }
}

//! Entity keys: the one text by which an event's row and a request's row are the same row.
//!
//! Invariant: the text of a key is a function of its value and declared type alone. Events reach it through Arrow
//! columns, requests through JSON; both end in [`crate::row::push_entity_value`].

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Decimal128Type, Int64Type, TimestampMillisecondType};
use std::fmt::Write as _;
use thiserror::Error;

use crate::row::push_entity_value;
use crate::value::ValueType;

/// A request's key does not fit the declared column.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("entity key must be {expected}, found {found}")]
pub struct KeyError {
    /// What the column's type asks for.
    pub expected: &'static str,
    /// The JSON found, cut to 64 characters.
    pub found: String,
}

/// The text of a key given as JSON, as a request gives it.
///
/// # Errors
/// [`KeyError`] if the JSON is not of the column's type; an integer is not taken for a string, nor a string for an integer.
pub fn json_key(value_type: &ValueType, json: &serde_json::Value) -> Result<String, KeyError> {
    use serde_json::Value as J;
    let error = |expected| KeyError { expected, found: json.to_string().chars().take(64).collect() };
    match (value_type, json) {
        (ValueType::String, J::String(s)) => Ok(s.clone()),
        (ValueType::String, _) => Err(error("a string")),
        (ValueType::Int64 | ValueType::Timestamp, J::Number(n)) if n.is_i64() => Ok(n.to_string()),
        (ValueType::Int64, _) => Err(error("an integer of 64 bits")),
        (ValueType::Boolean, J::Bool(b)) => Ok(b.to_string()),
        (ValueType::Boolean, _) => Err(error("true or false")),
        (ValueType::Timestamp, _) => Err(error("milliseconds since 1970 as an integer")),
        (ValueType::Decimal { scale, .. }, J::String(s)) => {
            decimal_key(s, *scale).ok_or_else(|| error("a decimal within the column's scale, as a string"))
        }
        _ => Err(error("a string, integer, boolean, timestamp, or decimal as a string")),
    }
}

/// The text of row `row`'s entity, whose key columns these are in the plan's order: non-NULL, of the declared types.
#[must_use]
pub fn column_text(keys: &[ArrayRef], row: usize) -> String {
    let mut text = String::with_capacity(16);
    for (i, key) in keys.iter().enumerate() {
        push_column_key(&mut text, i == 0, key, row);
    }
    text
}

/// Appends the key at `row` of a non-NULL key column to an entity's text.
pub fn push_column_key(text: &mut String, first: bool, column: &ArrayRef, row: usize) {
    match column.data_type() {
        DataType::Utf8 => push_entity_value(text, first, column.as_string::<i32>().value(row)),
        other => {
            if !first {
                text.push('|');
            }
            // None of these texts holds a character that needs an escape. Writing to a string cannot fail.
            let _ = match other {
                DataType::Int64 => write!(text, "{}", column.as_primitive::<Int64Type>().value(row)),
                DataType::Boolean => write!(text, "{}", column.as_boolean().value(row)),
                DataType::Timestamp(..) => {
                    write!(text, "{}", column.as_primitive::<TimestampMillisecondType>().value(row))
                }
                DataType::Decimal128(_, scale) => {
                    let value = column.as_primitive::<Decimal128Type>().value(row);
                    write!(text, "{}", decimal_text(value, u32::from(scale.unsigned_abs())))
                }
                _ => Ok(()),
            };
        }
    }
}

/// A decimal without trailing zeros behind the point.
pub(crate) fn decimal_text(unscaled: i128, scale: u32) -> String {
    let base = 10_i128.pow(scale);
    let (whole, rest) = ((unscaled / base).unsigned_abs(), (unscaled % base).unsigned_abs());
    let sign = if unscaled < 0 { "-" } else { "" };
    if rest == 0 {
        return format!("{sign}{whole}");
    }
    let rest = format!("{rest:0width$}", width = scale as usize);
    format!("{sign}{whole}.{}", rest.trim_end_matches('0'))
}

/// The same text from a decimal string, or `None` if it is none or has more digits than we keep.
fn decimal_key(text: &str, scale: u8) -> Option<String> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, rest) = digits.split_once('.').unwrap_or((digits, ""));
    let rest = rest.trim_end_matches('0');
    let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty()
        || whole.len() > 28
        || rest.len() > usize::from(scale)
        || !all_digits(whole)
        || !all_digits(rest)
    {
        return None;
    }
    let base = 10_i128.pow(u32::from(scale));
    let fraction: i128 = format!("{rest:0<width$}", width = usize::from(scale)).parse().unwrap_or(0);
    let unscaled = whole.parse::<i128>().ok()?.checked_mul(base)?.checked_add(fraction)?;
    Some(decimal_text(if negative { -unscaled } else { unscaled }, u32::from(scale)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::array::{BooleanArray, Decimal128Array, Int64Array, StringArray, TimestampMillisecondArray};
    use serde_json::json;

    use super::*;

    #[test]
    fn events_and_requests_name_the_same_row() {
        let decimal = ValueType::Decimal { precision: 10, scale: 2 };
        let cases: Vec<(ValueType, ArrayRef, serde_json::Value)> = vec![
            (ValueType::String, Arc::new(StringArray::from(vec!["u1"])), json!("u1")),
            (ValueType::Int64, Arc::new(Int64Array::from(vec![-7])), json!(-7)),
            (ValueType::Boolean, Arc::new(BooleanArray::from(vec![true])), json!(true)),
            (ValueType::Timestamp, Arc::new(TimestampMillisecondArray::from(vec![12]).with_timezone("UTC")), json!(12)),
            (
                decimal.clone(),
                Arc::new(Decimal128Array::from(vec![-1250]).with_precision_and_scale(10, 2).unwrap()),
                json!("-12.50"),
            ),
            (
                decimal,
                Arc::new(Decimal128Array::from(vec![-5]).with_precision_and_scale(10, 2).unwrap()),
                json!("-0.05"),
            ),
        ];
        for (value_type, column, request) in cases {
            let mut text = String::new();
            push_column_key(&mut text, true, &column, 0);
            assert_eq!(text, json_key(&value_type, &request).unwrap());
        }
    }

    #[test]
    fn keys_of_another_type_are_refused_by_name() {
        assert_eq!(
            json_key(&ValueType::String, &json!(1)).unwrap_err().to_string(),
            "entity key must be a string, found 1"
        );
        for (value_type, bad) in [
            (ValueType::Int64, json!("1")),
            (ValueType::Int64, json!(1.5)),
            (ValueType::Int64, json!(null)),
            (ValueType::Boolean, json!("true")),
            (ValueType::Decimal { precision: 4, scale: 1 }, json!("1.23")),
            (ValueType::Decimal { precision: 4, scale: 1 }, json!("x")),
            (ValueType::Double, json!(1.0)),
        ] {
            assert!(json_key(&value_type, &bad).is_err(), "{value_type:?} {bad}");
        }
    }
}

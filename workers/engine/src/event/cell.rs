//! One value of a payload, read as the type that its column declares.

use super::json::{Quoted, Syntax, literal, string, unescape};
use super::number;
use super::rfc3339;
use crate::plan::TimestampUnit;
use crate::value::ValueType;

/// A value that was read and not yet appended to its column. Text is told by its place, so that nothing is copied twice.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cell {
    Null,
    Boolean(bool),
    /// An integer, or a timestamp in milliseconds.
    Int64(i64),
    Double(f64),
    Decimal(i128),
    /// From here to there in the payload.
    Text(usize, usize),
    /// From here to there in the scratch buffer, as it had escapes.
    Unescaped(usize, usize),
}

/// Why a value was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is not JSON.
    Syntax(Syntax),
    /// It is not of the type, or out of its range.
    WrongType,
}

impl From<Syntax> for Refusal {
    fn from(syntax: Syntax) -> Self {
        Self::Syntax(syntax)
    }
}

/// A value read, and the offset behind it.
type Read<T> = Result<(T, usize), Refusal>;

/// Reads the value at `at` as `value_type`. It is not `null`: that is of no type.
#[inline]
pub(super) fn read(text: &str, at: usize, value_type: &ValueType, scratch: &mut String) -> Read<Cell> {
    let bytes = text.as_bytes();
    match (value_type, bytes.get(at)) {
        (ValueType::String, Some(b'"')) => {
            let quoted = string(bytes, at + 1)?;
            if !quoted.escaped {
                return Ok((Cell::Text(at + 1, quoted.end), quoted.end + 1));
            }
            let start = scratch.len();
            unescape(text.get(at + 1..quoted.end).unwrap_or_default(), scratch)?;
            Ok((Cell::Unescaped(start, scratch.len()), quoted.end + 1))
        }
        (ValueType::Int64 | ValueType::Timestamp, Some(b'-' | b'0'..=b'9')) => {
            let number = number::scan(bytes, at)?;
            Ok((Cell::Int64(number.to_i64().ok_or(Refusal::WrongType)?), number.end))
        }
        (ValueType::Double, Some(b'-' | b'0'..=b'9')) => {
            let number = number::scan(bytes, at)?;
            let literal = text.get(at..number.end).unwrap_or_default();
            Ok((Cell::Double(number.to_f64(literal).ok_or(Refusal::WrongType)?), number.end))
        }
        (ValueType::Decimal { precision, scale }, Some(b'-' | b'0'..=b'9')) => {
            let number = number::scan(bytes, at)?;
            let literal = text.get(at..number.end).unwrap_or_default();
            let unscaled = number.to_decimal(literal, *precision, *scale).ok_or(Refusal::WrongType)?;
            Ok((Cell::Decimal(unscaled), number.end))
        }
        (ValueType::Decimal { precision, scale }, Some(b'"')) => {
            let (text, end) = text_at(text, at, scratch)?;
            let unscaled = number_in(text).and_then(|number| number.to_decimal(text, *precision, *scale));
            Ok((Cell::Decimal(unscaled.ok_or(Refusal::WrongType)?), end))
        }
        (ValueType::Timestamp, Some(b'"')) => {
            let (text, end) = text_at(text, at, scratch)?;
            Ok((Cell::Int64(rfc3339::parse(text).ok_or(Refusal::WrongType)?), end))
        }
        (ValueType::Boolean, Some(b't')) => Ok((Cell::Boolean(true), literal(bytes, at, "true")?)),
        (ValueType::Boolean, Some(b'f')) => Ok((Cell::Boolean(false), literal(bytes, at, "false")?)),
        _ => Err(Refusal::WrongType),
    }
}

/// Reads the event time at `at`, in milliseconds since the epoch, rounded down.
#[inline]
pub(super) fn event_time(text: &str, at: usize, unit: TimestampUnit, scratch: &mut String) -> Read<i64> {
    let power = match unit {
        TimestampUnit::Seconds => 3,
        TimestampUnit::Milliseconds => 0,
        TimestampUnit::Microseconds => -3,
        TimestampUnit::Rfc3339 => return rfc3339_at(text, at, scratch),
    };
    if !matches!(text.as_bytes().get(at), Some(b'-' | b'0'..=b'9')) {
        return Err(Refusal::WrongType);
    }
    let number = number::scan(text.as_bytes(), at)?;
    let literal = text.get(at..number.end).unwrap_or_default();
    Ok((number.to_scaled_floor(literal, power).ok_or(Refusal::WrongType)?, number.end))
}

fn rfc3339_at(text: &str, at: usize, scratch: &mut String) -> Read<i64> {
    if text.as_bytes().get(at) != Some(&b'"') {
        return Err(Refusal::WrongType);
    }
    let (text, end) = text_at(text, at, scratch)?;
    Ok((rfc3339::parse(text).ok_or(Refusal::WrongType)?, end))
}

/// The number that `text` is, whole.
fn number_in(text: &str) -> Option<number::Number> {
    number::scan(text.as_bytes(), 0).ok().filter(|number| number.end == text.len())
}

/// The text of the string at `at`, and the offset behind it. Unescaped text is appended to `scratch`.
fn text_at<'a>(text: &'a str, at: usize, scratch: &'a mut String) -> Result<(&'a str, usize), Syntax> {
    let Quoted { end, escaped } = string(text.as_bytes(), at + 1)?;
    let raw = text.get(at + 1..end).unwrap_or_default();
    if !escaped {
        return Ok((raw, end + 1));
    }
    let start = scratch.len();
    unescape(raw, scratch)?;
    Ok((scratch.get(start..).unwrap_or_default(), end + 1))
}

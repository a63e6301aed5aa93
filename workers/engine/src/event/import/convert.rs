//! From one Arrow type to a declared one: exactly, or NULL for the value that does not fit.
//!
//! Invariant: a value that fits becomes the one that the JSON decoder would have read from its usual text.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, Float64Array, PrimitiveArray, StringArray, TimestampMillisecondArray,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Decimal128Type, Float64Type, Int64Type, TimeUnit};
use arrow::error::ArrowError;

use super::super::{number, rfc3339};
use crate::plan::TimestampUnit;
use crate::value::ValueType;

/// How a column is taken.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Conversion {
    /// Arrow's cast, which is exact for the pairs we allow, or NULL.
    Cast(DataType),
    /// Doubles, NULL where not finite.
    Double,
    /// A decimal into a double, by its text.
    DecimalToDouble,
    /// Decimals of another scale, or text, into this precision and scale.
    Decimal(u8, u8),
    /// Instants of some unit, or days, rounded down to milliseconds.
    Instant(TimeUnit),
    /// Days since the epoch.
    Days,
    /// Numbers times ten to this power, rounded down.
    Scaled(i32),
    /// RFC 3339 text.
    Rfc3339,
}

fn is_text(from: &DataType) -> bool {
    match from {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, of) => is_text(of),
        _ => false,
    }
}

impl Conversion {
    /// Into a declared column; `None` if the type can hold no value of it.
    pub(super) fn value(from: &DataType, to: &ValueType) -> Option<Self> {
        let cast = Some(Self::Cast(to.arrow()));
        match to {
            ValueType::String if is_text(from) => cast,
            ValueType::Boolean if *from == DataType::Boolean => cast,
            ValueType::Int64 if from.is_integer() => cast,
            ValueType::Double if from.is_integer() || from.is_floating() => Some(Self::Double),
            ValueType::Double if matches!(from, DataType::Decimal128(..)) => Some(Self::DecimalToDouble),
            ValueType::Decimal { precision, scale } if is_text(from) || from.is_integer() || is_decimal(from) => {
                Some(Self::Decimal(*precision, *scale))
            }
            ValueType::Timestamp if is_text(from) => Some(Self::Rfc3339),
            ValueType::Timestamp if from.is_floating() || is_decimal(from) => None,
            ValueType::Timestamp => Self::time(from, TimestampUnit::Milliseconds),
            _ => None,
        }
    }

    /// Into an event time that is written in `unit`. A column of instants needs no unit.
    pub(super) fn time(from: &DataType, unit: TimestampUnit) -> Option<Self> {
        match from {
            DataType::Timestamp(unit, _) => return Some(Self::Instant(*unit)),
            DataType::Date32 => return Some(Self::Days),
            _ => {}
        }
        let number = from.is_integer() || from.is_floating() || is_decimal(from);
        match unit {
            TimestampUnit::Rfc3339 => is_text(from).then_some(Self::Rfc3339),
            TimestampUnit::Seconds => number.then_some(Self::Scaled(3)),
            TimestampUnit::Milliseconds => number.then_some(Self::Scaled(0)),
            TimestampUnit::Microseconds => number.then_some(Self::Scaled(-3)),
        }
    }

    /// Whether a value that became NULL is a fault of its row: not so NaN and infinities, which are NULL in every source.
    pub(super) fn refuses(&self) -> bool {
        *self != Self::Double
    }

    /// The column, NULL where a value does not fit.
    pub(super) fn apply(&self, from: &ArrayRef) -> Result<ArrayRef, ArrowError> {
        match self {
            Self::Cast(to) => cast(from, to),
            Self::Double => {
                let doubles = cast(from, &DataType::Float64)?;
                let doubles = doubles.as_primitive::<Float64Type>();
                if doubles.iter().flatten().all(f64::is_finite) {
                    return Ok(Arc::new(doubles.clone()));
                }
                Ok(Arc::new(doubles.iter().map(|x| x.filter(|x| x.is_finite())).collect::<Float64Array>()))
            }
            Self::DecimalToDouble => {
                let from = from.as_primitive::<Decimal128Type>();
                let value = |row: usize| from.is_valid(row).then(|| from.value_as_string(row).parse().ok()).flatten();
                Ok(Arc::new((0..from.len()).map(value).collect::<Float64Array>()))
            }
            Self::Decimal(precision, scale) => decimals(from, *precision, *scale),
            Self::Instant(unit) => {
                // The zone of an instant says how to show it, not which one it is.
                let ticks = cast(from, &DataType::Int64)?;
                let power = match unit {
                    TimeUnit::Second => 3,
                    TimeUnit::Millisecond => 0,
                    TimeUnit::Microsecond => -3,
                    TimeUnit::Nanosecond => -6,
                };
                Ok(scaled(ticks.as_primitive(), power))
            }
            Self::Days => {
                let days = cast(&cast(from, &DataType::Int32)?, &DataType::Int64)?;
                let days = days.as_primitive::<Int64Type>();
                Ok(instants(days, |day| day.checked_mul(86_400_000)))
            }
            Self::Scaled(power) if from.data_type().is_integer() => {
                Ok(scaled(cast(from, &DataType::Int64)?.as_primitive(), *power))
            }
            Self::Scaled(power) => {
                // A fraction of a double is what its shortest text says, not what its bits do.
                let doubles = if is_decimal(from.data_type()) { from.clone() } else { cast(from, &DataType::Float64)? };
                let text = |row: usize| match doubles.as_primitive_opt::<Float64Type>() {
                    Some(doubles) => doubles.value(row).to_string(),
                    None => doubles.as_primitive::<Decimal128Type>().value_as_string(row),
                };
                Ok(by_row(from, |row| {
                    let text = text(row);
                    let number = number::scan(text.as_bytes(), 0).ok().filter(|n| n.end == text.len())?;
                    number.to_scaled_floor(&text, i64::from(*power))
                }))
            }
            Self::Rfc3339 => {
                let text = cast(from, &DataType::Utf8)?;
                let text: &StringArray = text.as_string();
                Ok(by_row(from, |row| text.is_valid(row).then(|| rfc3339::parse(text.value(row))).flatten()))
            }
        }
    }
}

fn is_decimal(from: &DataType) -> bool {
    matches!(from, DataType::Decimal128(..))
}

/// Arrow's cast, NULL where a value does not fit.
fn cast(from: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    if from.data_type() == to {
        return Ok(from.clone());
    }
    cast_with_options(from, to, &CastOptions { safe: true, ..CastOptions::default() })
}

fn decimals(from: &ArrayRef, precision: u8, scale: u8) -> Result<ArrayRef, ArrowError> {
    let limit = 10_i128.checked_pow(u32::from(precision)).unwrap_or(i128::MAX);
    let fits = |unscaled: &i128| unscaled.unsigned_abs() < limit.unsigned_abs();
    let data_type = ValueType::Decimal { precision, scale }.arrow();
    if is_text(from.data_type()) {
        let text = cast(from, &DataType::Utf8)?;
        let text: &StringArray = text.as_string();
        let value = |text: &str| {
            let number = number::scan(text.as_bytes(), 0).ok().filter(|number| number.end == text.len())?;
            number.to_decimal(text, precision, scale)
        };
        let values = text.iter().map(|text| text.and_then(value));
        return Ok(Arc::new(values.collect::<Decimal128Array>().with_data_type(data_type)));
    }
    let (wide, found) = match from.data_type() {
        DataType::Decimal128(_, found) => (from.clone(), i32::from(*found)),
        _ => (cast(from, &DataType::Decimal128(38, 0))?, 0),
    };
    let shift = i32::from(scale) - found;
    let power = 10_i128.checked_pow(shift.unsigned_abs());
    let rescale = |value: i128| {
        let Some(power) = power else { return (value == 0).then_some(0) };
        if shift >= 0 { value.checked_mul(power) } else { (value % power == 0).then_some(value / power) }
    };
    let values = wide.as_primitive::<Decimal128Type>().iter().map(|value| value.and_then(rescale).filter(fits));
    Ok(Arc::new(values.collect::<Decimal128Array>().with_data_type(data_type)))
}

/// Integers times a power of ten, rounded down, as instants.
fn scaled(ticks: &PrimitiveArray<Int64Type>, power: i32) -> ArrayRef {
    let factor = 10_i64.pow(power.unsigned_abs());
    match power {
        0 => instants(ticks, Some),
        1.. => instants(ticks, |tick| tick.checked_mul(factor)),
        _ => instants(ticks, |tick| Some(tick.div_euclid(factor))),
    }
}

fn instants<T: ArrowPrimitiveType>(from: &PrimitiveArray<T>, to: impl Fn(T::Native) -> Option<i64>) -> ArrayRef {
    let values = from.unary_opt::<_, arrow::datatypes::TimestampMillisecondType>(to);
    Arc::new(values.with_timezone("UTC"))
}

fn by_row(from: &ArrayRef, value: impl Fn(usize) -> Option<i64>) -> ArrayRef {
    let nulls = from.logical_nulls();
    let valid = |row: usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
    let values = (0..from.len()).map(|row| if valid(row) { value(row) } else { None });
    Arc::new(values.collect::<TimestampMillisecondArray>().with_timezone("UTC"))
}

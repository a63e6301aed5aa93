//! From the merged parts of an aggregate to the feature's value.
//!
//! Invariant: every result is the exact one, rounded once (twice for a standard deviation, whose root is taken of the
//! rounded variance), so it does not depend on how the events were split or ordered.

use arrow::datatypes::i256;
use num_bigint::BigInt;

use super::ratio::{WIDE_DENOMINATOR, nearest, nearest_wide};
use super::{Dyadic, State};
use crate::plan::Function;
use crate::value::{Value, ValueType};

/// What an aggregate comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// A value.
    Value(Value),
    /// NULL, for want of events.
    Null,
    /// NULL, because the exact result does not fit its type. Worth counting: nobody means that to happen.
    Overflow,
}

/// Finalizes `function` over the states of its parts, in the order of [`super::kinds`]. `input` is the type of its
/// input and `output` the feature's, whose precision bounds decimals.
#[must_use]
pub fn finalize(function: &Function, parts: &[&State], input: Option<&ValueType>, output: &ValueType) -> Outcome {
    let fits = |value: Option<f64>| value.map_or(Outcome::Overflow, |x| Outcome::Value(Value::Double(x)));
    match (function, parts) {
        (Function::Count, [State::Count(n)]) => Outcome::Value(Value::Int64(i64::try_from(*n).unwrap_or(i64::MAX))),
        (Function::Count | Function::CountDistinct, [State::Empty]) => Outcome::Value(Value::Int64(0)),
        (Function::CountDistinct, [State::Distinct(set)]) => Outcome::Value(Value::Int64(set.estimate())),
        (Function::Sum, [State::Sum(sum)]) => total(sum, output),
        (Function::Avg, [State::Count(n), State::Sum(sum)]) => fits(average(*n, sum, input)),
        (Function::Variance, [State::Count(n), State::Sum(sum), State::Sum(squares)]) if *n > 1 => {
            fits(variance_of_states(*n, sum, squares, input))
        }
        (Function::StdDev, [State::Count(n), State::Sum(sum), State::Sum(squares)]) if *n > 1 => {
            fits(variance_of_states(*n, sum, squares, input).map(f64::sqrt))
        }
        (Function::Percentile { q }, [State::Quantiles(sketch)]) => {
            sketch.value(*q).map_or(Outcome::Null, |x| Outcome::Value(Value::Double(x)))
        }
        (Function::Min | Function::Max, [State::Value(value)])
        | (Function::First | Function::Last, [State::Timed(_, value)]) => Outcome::Value(value.to_value()),
        (Function::LastK { .. }, [State::TimedList(list)]) => {
            Outcome::Value(Value::List(list.iter().map(|(_, v)| v.to_value()).collect()))
        }
        (Function::TopK { .. }, [State::ValueList(list)]) => {
            Outcome::Value(Value::List(list.iter().map(super::Scalar::to_value).collect()))
        }
        (Function::MinTimestamp | Function::MaxTimestamp, [State::Time(at)]) => Outcome::Value(Value::Timestamp(*at)),
        _ => Outcome::Null,
    }
}

/// A sum in the feature's own type.
pub(crate) fn total(sum: &Dyadic, output: &ValueType) -> Outcome {
    let value = match output {
        ValueType::Int64 => sum.to_integer().and_then(|x| i64::try_from(x).ok()).map(Value::Int64),
        ValueType::Decimal { precision, .. } => (sum.to_integer())
            .filter(|x| 10_u128.checked_pow((*precision).into()).is_none_or(|bound| x.unsigned_abs() < bound))
            .map(Value::Decimal),
        _ => sum.nearest().map(Value::Double),
    };
    value.map_or(Outcome::Overflow, Outcome::Value)
}

/// The mean, `Σx / n`.
pub(crate) fn average(n: u64, sum: &Dyadic, input: Option<&ValueType>) -> Option<f64> {
    if let (Dyadic::Small(mantissa, exponent), Some(by)) = (sum, small_tens(n.into(), input, 1)) {
        return nearest_wide(i256::from_i128((*mantissa).into()), by, (*exponent).into());
    }
    let (mantissa, exponent) = sum.big();
    nearest(&mantissa, &(BigInt::from(n) * tens(input, 1)), exponent.into())
}

/// [`variance`] of sums as states hold them.
fn variance_of_states(n: u64, sum: &Dyadic, squares: &Dyadic, input: Option<&ValueType>) -> Option<f64> {
    match (sum.wide(), squares.wide()) {
        (Some(sum), Some(squares)) => variance(n, sum, squares, input),
        _ => big_variance(n, sum.big(), squares.big(), input),
    }
}

/// The sample variance, `(n·Σx² − (Σx)²) / (n·(n − 1))`, without rounding before the end. Each sum is a mantissa and the
/// exponent of its power of two.
pub(crate) fn variance(n: u64, sum: (i256, i32), squares: (i256, i32), input: Option<&ValueType>) -> Option<f64> {
    if let Some((difference, by, exponent)) = small_variance(n, sum, squares, input) {
        return nearest_wide(difference, by, exponent);
    }
    let big = |(mantissa, exponent): (i256, i32)| (BigInt::from_signed_bytes_le(&mantissa.to_le_bytes()), exponent);
    big_variance(n, big(sum), big(squares), input)
}

fn big_variance(
    n: u64,
    (sum, at): (BigInt, i32),
    (squares, squares_at): (BigInt, i32),
    input: Option<&ValueType>,
) -> Option<f64> {
    let exponent = squares_at.min(2 * at);
    let square = sum.pow(2) << usize::try_from(2 * at - exponent).unwrap_or(0);
    let squares = (squares * n) << usize::try_from(squares_at - exponent).unwrap_or(0);
    nearest(&(squares - square), &(BigInt::from(n) * (n - 1) * tens(input, 2)), exponent.into())
}

/// The parts of [`variance`], numerator, denominator and exponent, where 256 bits hold them.
fn small_variance(
    n: u64,
    (sum, at): (i256, i32),
    (squares, squares_at): (i256, i32),
    input: Option<&ValueType>,
) -> Option<(i256, u64, i64)> {
    let square = sum.checked_mul(sum)?;
    let squares = squares.checked_mul(i256::from_i128(n.into()))?;
    let exponent = squares_at.min(2 * at);
    let difference = shifted(squares, squares_at - exponent)?.checked_sub(shifted(square, 2 * at - exponent)?)?;
    let by = small_tens(u128::from(n) * u128::from(n - 1), input, 2)?;
    Some((difference, by, exponent.into()))
}

/// `value · 2^by`, where 256 bits hold it.
fn shifted(value: i256, by: i32) -> Option<i256> {
    if value == i256::ZERO {
        return Some(value);
    }
    let by = u8::try_from(by).ok()?;
    (u32::from(by) + 1 < value.wrapping_abs().leading_zeros()).then(|| value << by)
}

/// `by · 10^(times · scale)`, where [`nearest_wide`] can divide by it.
fn small_tens(by: u128, input: Option<&ValueType>, times: u32) -> Option<u64> {
    let tens = 10_u128.checked_pow(u32::from(scale(input)) * times)?;
    by.checked_mul(tens).filter(|product| *product < WIDE_DENOMINATOR)?.try_into().ok()
}

/// `10^(times · scale)` of a decimal input; one for others.
fn tens(input: Option<&ValueType>, times: u32) -> BigInt {
    BigInt::from(10).pow(u32::from(scale(input)) * times)
}

/// The scale of a decimal type; zero for others.
pub(super) fn scale(input: Option<&ValueType>) -> u8 {
    if let Some(ValueType::Decimal { scale, .. }) = input { *scale } else { 0 }
}

/// `10^exponent` as the double nearest to it.
pub(super) fn power_of_ten(exponent: u8) -> f64 {
    const POWERS: [f64; 29] = [
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19,
        1e20, 1e21, 1e22, 1e23, 1e24, 1e25, 1e26, 1e27, 1e28,
    ];
    POWERS.get(usize::from(exponent)).copied().unwrap_or(f64::INFINITY)
}

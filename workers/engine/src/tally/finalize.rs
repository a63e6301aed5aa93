//! From totals to a feature's value.

use arrow::datatypes::i256;

use super::numbers::Numbers;
use super::totals::Totals;
use crate::aggregate::{Dyadic, Outcome, average, total, variance};
use crate::lane::FeatureLayout;
use crate::plan::Function;
use crate::value::Value;

/// The value of a feature, of totals in units of `2^exponent`; NULL where [`crate::aggregate::finalize`] finds NULL or an overflow.
pub(super) fn finalize(of: &FeatureLayout, totals: &Totals, numbers: &Numbers, exponent: i32) -> Option<Value> {
    let n = totals.count;
    let input = of.input.as_ref();
    let sum = || Dyadic::Small(totals.sum.into(), exponent);
    let wide = || (i256::from_i128(totals.sum), exponent);
    let variance = || variance(n, wide(), (totals.squares(), 2 * exponent), input);
    let value = |at: usize| Some(numbers.value(at, input).to_scalar().to_value());
    match of.function {
        Function::Count => Some(Value::Int64(i64::try_from(n).unwrap_or(i64::MAX))),
        _ if n == 0 => None,
        Function::Sum => match total(&sum(), &of.output) {
            Outcome::Value(value) => Some(value),
            Outcome::Null | Outcome::Overflow => None,
        },
        Function::Avg => average(n, &sum(), input).map(Value::Double),
        Function::Min => value(totals.least),
        Function::Max => value(totals.most),
        Function::Variance if n > 1 => variance().map(Value::Double),
        Function::StdDev if n > 1 => variance().map(|x| Value::Double(x.sqrt())),
        _ => None,
    }
}

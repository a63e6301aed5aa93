//! Correctly rounded results of exact arithmetic: a ratio of big integers times a power of two, as the nearest double.
//!
//! Invariant: the result is the double nearest to the true value, ties to even, subnormals included; so it does not
//! depend on how sums were split or ordered.

use num_bigint::{BigInt, Sign};

/// The double nearest to `numerator / denominator · 2^exponent`; `None` if that overflows or the denominator is zero.
#[must_use]
pub fn nearest(numerator: &BigInt, denominator: &BigInt, exponent: i64) -> Option<f64> {
    if denominator.sign() == Sign::NoSign {
        return None;
    }
    if numerator.sign() == Sign::NoSign {
        return Some(0.0);
    }
    let negative = (numerator.sign() == Sign::Minus) != (denominator.sign() == Sign::Minus);
    let (n, d) = (numerator.magnitude(), denominator.magnitude());
    // Scaled so that the quotient has 65 or 66 bits: 53 to keep, one to round by, the rest says whether it is a tie.
    let scale = 65 - (n.bits() as i64 - d.bits() as i64);
    let (n, d) =
        if scale >= 0 { (n << scale.unsigned_abs(), d.clone()) } else { (n.clone(), d << scale.unsigned_abs()) };
    let quotient = &n / &d;
    let inexact = &quotient * &d != n;
    let quotient = u128::try_from(quotient).ok()?;
    let value = round((quotient << 1) | u128::from(inexact), exponent - scale - 1)?;
    Some(if negative { -value } else { value })
}

/// The double nearest to `mantissa · 2^exponent`, where the lowest bit of `mantissa` may stand for any non-zero rest and
/// the mantissa has at least 56 bits.
fn round(mantissa: u128, exponent: i64) -> Option<f64> {
    let bits = 128 - i64::from(mantissa.leading_zeros());
    // The exponent of the last bit kept: 53 bits of it, or fewer where doubles are subnormal.
    let last = (bits + exponent - 53).max(-1074);
    let drop = last - exponent;
    if drop >= 128 {
        return Some(0.0);
    }
    let kept = mantissa >> drop;
    let rest = mantissa & ((1 << drop) - 1);
    let half = 1_u128 << (drop - 1);
    let up = rest > half || (rest == half && kept & 1 == 1);
    let kept = (kept + u128::from(up)) as u64;
    // `kept` is at most 2^53, so both steps below are exact.
    let value = scale_exactly(kept as f64, last);
    value.is_finite().then_some(value)
}

/// `value · 2^exponent` for an integer `value` of at most 53 bits and a result that a double holds, or infinity.
fn scale_exactly(value: f64, exponent: i64) -> f64 {
    libm::scalbn(value, exponent.clamp(-5_000, 5_000) as i32)
}

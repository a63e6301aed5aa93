//! Correctly rounded results of exact arithmetic: a ratio of big integers times a power of two, as the nearest double.
//!
//! Invariant: the result is the double nearest to the true value, ties to even, subnormals included; so it does not
//! depend on how sums were split or ordered.

use arrow::datatypes::i256;
use num_bigint::{BigInt, Sign};

/// What a denominator of [`nearest_wide`] stays below.
pub const WIDE_DENOMINATOR: u128 = 1 << 62;

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

/// [`nearest`] where the numerator fits 256 bits: most numbers do, and to reserve memory for one takes longer than to divide
/// it. The denominator is below [`WIDE_DENOMINATOR`].
#[must_use]
pub fn nearest_wide(numerator: i256, denominator: u64, exponent: i64) -> Option<f64> {
    if denominator == 0 {
        return None;
    }
    let (low, high) = numerator.wrapping_abs().to_parts();
    let high = high as u128;
    if low == 0 && high == 0 {
        return Some(0.0);
    }
    let zeros = if high == 0 { 128 + low.leading_zeros() } else { high.leading_zeros() };
    let bits = 256 - i64::from(zeros);
    // As many bits of the numerator as give a quotient of 65 or 66; of the rest, only whether it is zero.
    let wanted = 65 + (64 - i64::from(denominator.leading_zeros()));
    let scale = wanted - bits;
    let (top, rest) = if scale >= 0 {
        (low << scale, false)
    } else if scale > -128 {
        ((low >> -scale) | (high << (128 + scale)), low << (128 + scale) != 0)
    } else {
        (high >> (-scale - 128), low != 0 || high & ((1 << (-scale - 128)) - 1) != 0)
    };
    let denominator = u128::from(denominator);
    let inexact = rest || !top.is_multiple_of(denominator);
    let value = round(((top / denominator) << 1) | u128::from(inexact), exponent - scale - 1)?;
    Some(if numerator.is_negative() { -value } else { value })
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
pub fn scale_exactly(value: f64, exponent: i64) -> f64 {
    // Where the power is a double by itself, the product is exact, too.
    if let (-1_022..=970, Ok(biased)) = (exponent, u64::try_from(exponent + 1_023)) {
        return value * f64::from_bits(biased << 52);
    }
    libm::scalbn(value, exponent.clamp(-5_000, 5_000) as i32)
}

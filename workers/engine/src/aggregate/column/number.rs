//! How exact numbers stand in a lane.
//!
//! Sums of integers and decimals are one plus their zigzag as a varint, or zero and the form of doubles where that is
//! too long. A sum of doubles begins with a byte:
//!
//! | byte | then | the number is |
//! | --- | --- | --- |
//! | 0–9 | `r` | the double nearest to `r / 10^byte`: what most doubles in events once were |
//! | 16–25 | `r`, `m`, `e` | the double nearest to `r / 10^(byte − 16)`, plus `m · 2^e` |
//! | 32 | `m`, `e` | `m · 2^e`, `m` odd or zero |
//! | 33 | `e`, length, bytes | the same, `m` in two's complement, low byte first |
//!
//! Of the first three the shortest is written, ties to the upper row, so equal numbers give equal bytes.

use std::ops::Range;

use num_bigint::BigInt;

use crate::aggregate::Dyadic;
use crate::aggregate::codec::{Cursor, Malformed, put_len, put_signed, put_signed64, put_varint, signed_len, zigzag};
use crate::value::ValueType;

const MAX_SCALE: u8 = 9;
const RESIDUE: u8 = 16;
const BINARY: u8 = 32;
const BIG: u8 = 33;
/// Beyond the exponent of any square of a double and of any sum of them.
const MAX_EXPONENT: i64 = 8_192;
/// More bytes than any exact sum has.
const MAX_BYTES: usize = 1_024;
const POWERS: [f64; MAX_SCALE as usize + 1] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
/// So many digits behind the point are enough for most numbers.
const FEW: usize = 4;
/// Integers up to here are doubles.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Appends a sum of inputs of `input`'s type.
pub fn put(out: &mut Vec<u8>, sum: &Dyadic, input: Option<&ValueType>) {
    if input == Some(&ValueType::Double) {
        return put_dyadic(out, sum);
    }
    match sum.to_integer() {
        Some(x) if x.unsigned_abs() < 1 << 120 => put_varint(out, zigzag(x) + 1),
        _ => {
            out.push(0);
            put_dyadic(out, sum);
        }
    }
}

/// Reads what [`put`] wrote.
pub fn take(from: &mut Cursor<'_>, input: Option<&ValueType>) -> Result<Dyadic, Malformed> {
    if input == Some(&ValueType::Double) {
        return take_dyadic(from);
    }
    match from.varint()? {
        0 => take_dyadic(from),
        x => Ok(Dyadic::integer(crate::aggregate::codec::unzigzag(x - 1))),
    }
}

/// Appends a finite double.
pub fn put_double(out: &mut Vec<u8>, x: f64) {
    let sum = Dyadic::double(x);
    // Nearly all are the double nearest to a decimal, of which nothing is left to be told.
    let rest = |decimal: f64| if decimal.to_bits() == x.to_bits() { Some((0, 0)) } else { sum.minus(decimal) };
    let decimal = |out: &mut Vec<u8>| put_decimal(out, x, rest);
    let (mantissa, exponent) = sum.small_parts().unwrap_or_default();
    put_shorter(out, mantissa, exponent, decimal);
}

/// Reads what [`put_double`] wrote.
pub fn take_double(from: &mut Cursor<'_>) -> Result<f64, Malformed> {
    let number = take_dyadic(from)?;
    number.exact_double().map_or_else(|| from.malformed("a number that is no double"), Ok)
}

fn put_dyadic(out: &mut Vec<u8>, sum: &Dyadic) {
    let Some((mantissa, exponent)) = sum.small_parts() else {
        let (mantissa, exponent) = sum.parts();
        out.push(BIG);
        put_signed(out, exponent.into());
        let bytes = mantissa.to_signed_bytes_le();
        put_len(out, bytes.len());
        return out.extend_from_slice(&bytes);
    };
    put_shorter(out, mantissa, exponent, |out| put_decimal(out, sum.nearest()?, |decimal| sum.minus(decimal)));
}

/// Appends `mantissa · 2^exponent`, as `decimal` does it or in the binary form.
fn put_shorter(out: &mut Vec<u8>, mantissa: i128, exponent: i32, decimal: impl FnOnce(&mut Vec<u8>) -> Option<()>) {
    let start = out.len();
    let decimal = decimal(out);
    // The binary form has a byte for each of its three parts at least.
    if decimal.is_none()
        || (out.len() - start > 3 && out.len() - start > 1 + signed_len(mantissa) + signed_len(exponent.into()))
    {
        out.truncate(start);
        out.push(BINARY);
        put_signed(out, mantissa);
        put_signed(out, exponent.into());
    }
}

/// Appends the decimal form with the fewest digits behind the point of the number nearest to `x`, of which `rest` says what is
/// left without a double; nothing, or something that is no number, where there is none.
fn put_decimal(out: &mut Vec<u8>, x: f64, rest: impl Fn(f64) -> Option<(i128, i32)>) -> Option<()> {
    for scales in [0..FEW, FEW..POWERS.len()] {
        let mut candidates = candidates(x, scales);
        while candidates != 0 {
            let scale = candidates.trailing_zeros() as u8;
            candidates &= candidates - 1;
            let power = POWERS[usize::from(scale)];
            let scaled = x * power;
            if scaled.abs() >= EXACT {
                return None;
            }
            let digits = rounded(scaled);
            let rounded = digits as f64 / power;
            // Forty-odd equal bits are no accident: the sum is of numbers that were decimals.
            if (rounded - x).abs() <= x.abs() * 1e-13 {
                let (m, e) = rest(rounded)?;
                out.push(if m == 0 { scale } else { scale + RESIDUE });
                put_signed64(out, digits);
                if m != 0 {
                    put_signed(out, m);
                    put_signed64(out, e.into());
                }
                return Some(());
            }
        }
    }
    None
}

/// Those of `scales`, a bit each, that a closer look may find to be those of a decimal. They are looked at together, without a
/// division or a branch.
fn candidates(x: f64, scales: Range<usize>) -> u32 {
    // Adding and subtracting this rounds what is small enough to have a fraction; what is not comes out as it was, nearly.
    const WHOLE: f64 = 6_755_399_441_055_744.0;
    let mut candidates = 0;
    for (scale, power) in scales.clone().zip(&POWERS[scales]) {
        let scaled = x * power;
        let off = (scaled + WHOLE) - WHOLE - scaled;
        candidates |= u32::from(off.abs() <= scaled.abs() * 1e-12) << scale;
    }
    candidates
}

/// The nearest integer, halves away from zero, of a number below [`EXACT`].
fn rounded(x: f64) -> i64 {
    let whole = x as i64;
    let rest = x - whole as f64;
    whole + i64::from(rest >= 0.5) - i64::from(rest <= -0.5)
}

fn take_dyadic(from: &mut Cursor<'_>) -> Result<Dyadic, Malformed> {
    let form = from.byte()?;
    match form {
        BINARY => take_binary(from),
        BIG => {
            let exponent = take_exponent(from)?;
            let len = from.count()?;
            if len > MAX_BYTES {
                return from.malformed("a number too long");
            }
            Ok(Dyadic::new(BigInt::from_signed_bytes_le(from.take(len)?), exponent))
        }
        _ => {
            let (scale, residue) = if form < RESIDUE { (form, false) } else { (form - RESIDUE, true) };
            let Some(power) = POWERS.get(usize::from(scale)) else {
                return from.malformed("an unknown form of number");
            };
            let digits = from.signed64()? as f64;
            if digits.abs() >= EXACT {
                return from.malformed("a decimal with too many digits");
            }
            let mut number = Dyadic::double(digits / power);
            if residue {
                number.add(&take_binary(from)?);
            }
            Ok(number)
        }
    }
}

fn take_binary(from: &mut Cursor<'_>) -> Result<Dyadic, Malformed> {
    let mantissa = from.signed()?;
    let exponent = take_exponent(from)?;
    Ok(Dyadic::Small(mantissa.into(), exponent))
}

fn take_exponent(from: &mut Cursor<'_>) -> Result<i32, Malformed> {
    let exponent = from.signed64()?;
    match i32::try_from(exponent) {
        Ok(exponent) if i64::from(exponent).abs() <= MAX_EXPONENT => Ok(exponent),
        _ => from.malformed("an exponent that no double has"),
    }
}

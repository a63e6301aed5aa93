//! Numbers: the grammar, and exact conversions of a literal to integers, doubles, decimals and scaled integers.

use super::json::{Syntax, expected};

/// The digits that always fit a `u64`.
const EXACT_DIGITS: usize = 19;

/// A scanned literal: `±mantissa × 10^exponent`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number {
    /// The offset behind it.
    pub(super) end: usize,
    negative: bool,
    /// Whether it has neither fraction nor exponent.
    integer: bool,
    /// All digits without the point; meaningless above [`EXACT_DIGITS`].
    mantissa: u64,
    /// How many digits the literal has, leading zeros included.
    digits: usize,
    /// Saturated far beyond every type's range.
    exponent: i64,
}

/// Scans the number that starts at `start`.
#[inline]
pub(super) fn scan(bytes: &[u8], start: usize) -> Result<Number, Syntax> {
    let mut at = start;
    let negative = bytes.get(at) == Some(&b'-');
    at += usize::from(negative);
    let mut mantissa = 0;
    let first = at;
    run(bytes, &mut at, &mut mantissa);
    let mut digits = at - first;
    if digits == 0 {
        return expected(at, "a digit");
    }
    if digits > 1 && bytes.get(first) == Some(&b'0') {
        return expected(first + 1, "no digit after a leading zero");
    }
    let mut number = Number { end: at, negative, integer: true, mantissa, digits, exponent: 0 };
    if bytes.get(at) == Some(&b'.') {
        at += 1;
        let first = at;
        run(bytes, &mut at, &mut mantissa);
        if at == first {
            return expected(at, "a digit after `.`");
        }
        digits += at - first;
        let exponent = i64::try_from(at - first).unwrap_or(i64::MAX);
        number = Number { end: at, integer: false, mantissa, digits, exponent: -exponent, ..number };
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        let (exponent, end) = exponent(bytes, at + 1)?;
        number.exponent = number.exponent.saturating_add(exponent);
        number.integer = false;
        number.end = end;
    }
    Ok(number)
}

/// Consumes digits, folding them into `mantissa`.
#[inline]
fn run(bytes: &[u8], at: &mut usize, mantissa: &mut u64) {
    while let Some(&byte) = bytes.get(*at) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        *mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
        *at += 1;
    }
}

/// Reads what stands behind an `e`, saturating; and the offset behind it.
fn exponent(bytes: &[u8], mut at: usize) -> Result<(i64, usize), Syntax> {
    let negative = bytes.get(at) == Some(&b'-');
    at += usize::from(matches!(bytes.get(at), Some(b'+' | b'-')));
    let first = at;
    let mut exponent = 0_i64;
    while let Some(byte @ b'0'..=b'9') = bytes.get(at) {
        exponent = exponent.saturating_mul(10).saturating_add(i64::from(byte - b'0'));
        at += 1;
    }
    if at == first {
        return expected(at, "a digit in the exponent");
    }
    Ok((if negative { -exponent } else { exponent }, at))
}

impl Number {
    /// Its value, if it is written as an integer and fits.
    #[inline]
    pub(super) fn to_i64(self) -> Option<i64> {
        if !self.integer || self.digits > EXACT_DIGITS {
            return None;
        }
        if self.negative { 0_i64.checked_sub_unsigned(self.mantissa) } else { i64::try_from(self.mantissa).ok() }
    }

    /// The nearest double, correctly rounded; `None` if that is infinite. `literal` is the scanned text.
    #[inline]
    pub(super) fn to_f64(self, literal: &str) -> Option<f64> {
        // Both operands are exact doubles here, so that the one rounding of `*` or `/` is the right one.
        const POWERS: [f64; 23] = [
            1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
            1e19, 1e20, 1e21, 1e22,
        ];
        let power = usize::try_from(self.exponent.unsigned_abs()).ok().and_then(|power| POWERS.get(power));
        match power {
            Some(power) if self.digits <= EXACT_DIGITS && self.mantissa <= 1 << 53 => {
                #[expect(clippy::cast_precision_loss, reason = "at most 2^53, so exact")]
                let mantissa = self.mantissa as f64;
                let magnitude = if self.exponent < 0 { mantissa / power } else { mantissa * power };
                Some(if self.negative { -magnitude } else { magnitude })
            }
            _ => literal.parse().ok().filter(|value: &f64| value.is_finite()),
        }
    }

    /// The unscaled integer of the decimal with `precision` digits, `scale` of them behind the point; `None` if it has
    /// more digits than that, on either side.
    pub(super) fn to_decimal(self, literal: &str, precision: u8, scale: u8) -> Option<i128> {
        let (mantissa, exponent) = self.significant(literal)?;
        let unscaled = shift_exactly(mantissa, exponent.saturating_add(i64::from(scale)))?;
        (unscaled.unsigned_abs() < 10_u128.checked_pow(u32::from(precision))?).then_some(unscaled)
    }

    /// Its value times `10^power`, rounded down; `None` if that does not fit, or the literal has over 38 digits.
    pub(super) fn to_scaled_floor(self, literal: &str, power: i64) -> Option<i64> {
        if let (Some(value), 0) = (self.to_i64(), power) {
            return Some(value);
        }
        let (mantissa, exponent) = self.significant(literal)?;
        let power = exponent.saturating_add(power);
        let scaled = if power >= 0 {
            shift_exactly(mantissa, power)?
        } else {
            match u32::try_from(power.unsigned_abs()).ok().and_then(|power| 10_i128.checked_pow(power)) {
                Some(divisor) => mantissa.div_euclid(divisor),
                None => -i128::from(mantissa < 0),
            }
        };
        i64::try_from(scaled).ok()
    }

    /// The value as an integer and a power of ten, the zeros at its end told by the latter alone; `None` above 38 digits.
    fn significant(self, literal: &str) -> Option<(i128, i64)> {
        let mut mantissa = 0_i128;
        let mut zeros = 0_u32;
        let digits = literal.bytes().take_while(|byte| !matches!(byte, b'e' | b'E')).filter(u8::is_ascii_digit);
        for digit in digits {
            if digit == b'0' {
                zeros = zeros.saturating_add(u32::from(mantissa != 0));
            } else {
                mantissa = mantissa.checked_mul(10_i128.checked_pow(zeros.saturating_add(1))?)?;
                mantissa = mantissa.checked_add(i128::from(digit - b'0'))?;
                zeros = 0;
            }
        }
        let mantissa = if self.negative { -mantissa } else { mantissa };
        Some((mantissa, if mantissa == 0 { 0 } else { self.exponent.saturating_add(i64::from(zeros)) }))
    }
}

/// `value × 10^power`, if that is an integer that fits. `value` has no zeros at its end.
fn shift_exactly(value: i128, power: i64) -> Option<i128> {
    if value == 0 {
        return Some(0);
    }
    value.checked_mul(10_i128.checked_pow(u32::try_from(power).ok()?)?)
}

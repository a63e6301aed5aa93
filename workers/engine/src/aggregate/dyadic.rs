//! Exact sums: a number as an integer times a power of two.
//!
//! Every finite double is such a number, and so is every integer, every square and every sum of them. Addition is
//! therefore exact, associative and commutative, and any order of events gives the same sum. Mantissas live in 128 bits
//! while they fit and in a big integer of at most a few thousand bits when they do not; [`Dyadic::parts`] is the same
//! for equal numbers whichever way they came about.

use arrow::datatypes::i256;
use num_bigint::{BigInt, Sign};

use super::ratio;
use super::scalar::Int128;

/// An exact number `mantissa · 2^exponent`.
#[derive(Clone, Debug)]
pub enum Dyadic {
    /// The mantissa fits 128 bits.
    Small(Int128, i32),
    /// It does not, or once did not.
    Big(Box<(BigInt, i32)>),
}

impl Dyadic {
    /// Zero.
    pub const ZERO: Self = Self::Small(Int128::ZERO, 0);

    /// An integer.
    #[must_use]
    pub fn integer(value: i128) -> Self {
        Self::Small(value.into(), 0)
    }

    /// A finite double; zero for one that is not.
    #[must_use]
    pub fn double(value: f64) -> Self {
        let (mantissa, exponent) = split(value);
        Self::Small(i128::from(mantissa).into(), exponent)
    }

    /// The square of a finite double.
    #[must_use]
    pub fn double_squared(value: f64) -> Self {
        let (mantissa, exponent) = split(value);
        Self::Small((i128::from(mantissa) * i128::from(mantissa)).into(), 2 * exponent)
    }

    /// The square of an integer.
    #[must_use]
    pub fn integer_squared(value: i128) -> Self {
        value.checked_mul(value).map_or_else(|| Self::Big(Box::new((BigInt::from(value).pow(2), 0))), Self::integer)
    }

    /// The number with this mantissa and exponent.
    #[must_use]
    pub fn new(mantissa: BigInt, exponent: i32) -> Self {
        match i128::try_from(&mantissa) {
            Ok(small) => Self::Small(small.into(), exponent),
            Err(_) => Self::Big(Box::new((mantissa, exponent))),
        }
    }

    /// Adds `other`.
    pub fn add(&mut self, other: &Self) {
        if let (Self::Small(a, e), Self::Small(b, f)) = (&*self, other)
            && let Some((mantissa, exponent)) = add_small((*a).into(), *e, (*b).into(), *f)
        {
            *self = Self::Small(mantissa.into(), exponent);
            return;
        }
        let (a, e) = self.big();
        let (b, f) = other.big();
        let exponent = e.min(f);
        *self = Self::new((a << shift(e, exponent)) + (b << shift(f, exponent)), exponent);
    }

    /// The mantissa, odd or zero, and the exponent, zero for zero: equal for equal numbers.
    #[must_use]
    pub fn parts(&self) -> (BigInt, i32) {
        let (mantissa, exponent) = match self {
            Self::Small(m, e) => {
                let (m, e) = reduce((*m).into(), *e);
                return (m.into(), e);
            }
            Self::Big(big) => (&big.0, big.1),
        };
        match mantissa.trailing_zeros() {
            None => (BigInt::ZERO, 0),
            Some(zeros) => (mantissa >> zeros, exponent + i32::try_from(zeros).unwrap_or(0)),
        }
    }

    /// [`Self::parts`] where the mantissa fits 128 bits.
    #[must_use]
    pub fn small_parts(&self) -> Option<(i128, i32)> {
        match self {
            Self::Small(m, e) => Some(reduce((*m).into(), *e)),
            Self::Big(_) => {
                let (m, e) = self.parts();
                i128::try_from(m).ok().map(|m| (m, e))
            }
        }
    }

    /// The mantissa and exponent as they are held, where 255 bits hold the mantissa.
    #[must_use]
    pub fn wide(&self) -> Option<(i256, i32)> {
        match self {
            Self::Small(m, e) => Some((i256::from_i128((*m).into()), *e)),
            Self::Big(big) if big.0.bits() < 255 => {
                let mut bytes = [if big.0.sign() == Sign::Minus { u8::MAX } else { 0 }; 32];
                let of = big.0.to_signed_bytes_le();
                bytes[..of.len()].copy_from_slice(&of);
                Some((i256::from_le_bytes(bytes), big.1))
            }
            Self::Big(_) => None,
        }
    }

    /// The mantissa and exponent as they are held, not reduced.
    #[must_use]
    pub fn big(&self) -> (BigInt, i32) {
        match self {
            Self::Small(m, e) => (i128::from(*m).into(), *e),
            Self::Big(big) => (**big).clone(),
        }
    }

    /// The double nearest to it; `None` if that is too large for one.
    #[must_use]
    pub fn nearest(&self) -> Option<f64> {
        match self {
            Self::Small(m, e) => {
                let mantissa = i128::from(*m);
                if (-1_022..=800).contains(e) {
                    // A cast rounds as it should, and a power of two then takes nothing away.
                    return Some(ratio::scale_exactly(mantissa as f64, (*e).into()));
                }
                ratio::nearest_wide(i256::from_i128(mantissa), 1, (*e).into())
            }
            Self::Big(big) => ratio::nearest(&big.0, &BigInt::from(1), big.1.into()),
        }
    }

    /// The number as a double, if it is one; one zero.
    #[must_use]
    pub fn exact_double(&self) -> Option<f64> {
        self.nearest().filter(|nearest| Self::double(*nearest) == *self)
    }

    /// What is left of it without `value`, as [`Self::small_parts`].
    #[must_use]
    pub fn minus(&self, value: f64) -> Option<(i128, i32)> {
        let (mantissa, exponent) = split(-value);
        if let Self::Small(m, e) = self
            && let Some((m, e)) = add_small((*m).into(), *e, mantissa.into(), exponent)
        {
            return Some(reduce(m, e));
        }
        let mut rest = self.clone();
        rest.add(&Self::double(-value));
        rest.small_parts()
    }

    /// The number as an integer, if it is one that 128 bits hold.
    #[must_use]
    pub fn to_integer(&self) -> Option<i128> {
        if let Self::Small(integer, 0) = self {
            return Some((*integer).into());
        }
        let (mantissa, exponent) = self.small_parts()?;
        let by = u32::try_from(exponent).ok()?;
        // A shift is exact as long as it can be undone.
        (by < 128).then(|| mantissa << by).filter(|shifted| shifted >> by == mantissa)
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn heap(&self) -> usize {
        match self {
            Self::Small(..) => 0,
            Self::Big(big) => 40 + usize::try_from(big.0.bits() / 8).unwrap_or(0),
        }
    }
}

impl PartialEq for Dyadic {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

/// How far a mantissa of exponent `from` moves left to have the smaller exponent `to`.
fn shift(from: i32, to: i32) -> usize {
    usize::try_from(from - to).unwrap_or(0)
}

/// A finite double as a 53-bit integer without trailing zeros, times a power of two.
pub(crate) fn split(value: f64) -> (i64, i32) {
    let bits = value.to_bits();
    let fraction = (bits & ((1 << 52) - 1)) as i64;
    let (mantissa, exponent) = match ((bits >> 52) & 0x7ff) as i32 {
        0 => (fraction, -1074),
        0x7ff => (0, 0),
        biased => (fraction | 1 << 52, biased - 1075),
    };
    if mantissa == 0 {
        return (0, 0);
    }
    let zeros = mantissa.trailing_zeros();
    let mantissa = mantissa >> zeros;
    (if value < 0.0 { -mantissa } else { mantissa }, exponent + zeros as i32)
}

/// The sum of two small numbers, where 128 bits hold it.
fn add_small(a: i128, e: i32, b: i128, f: i32) -> Option<(i128, i32)> {
    if e == f {
        return Some((a.checked_add(b)?, e));
    }
    if a == 0 {
        return Some((b, f));
    }
    if b == 0 {
        return Some((a, e));
    }
    // The number with the larger exponent moves left, which must not push bits out.
    let (high, by, low, exponent) = if e > f { (a, e - f, b, f) } else { (b, f - e, a, e) };
    if by >= 127 {
        return None;
    }
    let shifted = high << by;
    (shifted >> by == high).then(|| shifted.checked_add(low))?.map(|sum| (sum, exponent))
}

fn reduce(mantissa: i128, exponent: i32) -> (i128, i32) {
    if mantissa == 0 {
        return (0, 0);
    }
    let zeros = mantissa.trailing_zeros();
    (mantissa >> zeros, exponent + zeros as i32)
}

//! Exact sums over a slice of numbers, all in units of one power of two, so that each addition is a shift and an addition.

use std::ops::Range;

use arrow::datatypes::i256;

use super::numbers::Numbers;
use crate::aggregate::split;

/// What some events come to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Totals {
    pub count: u64,
    /// Where the least and the largest number are among those of the slot.
    pub least: usize,
    pub most: usize,
    /// The sum, in units of [`Units::exponent`].
    pub sum: i128,
    /// The sum of squares, in units of twice that: its low and its high half.
    squares: (u128, u128),
}

/// Numbers as whole multiples of one power of two: `mantissa · 2^by` of `2^exponent`.
#[derive(Debug, Default)]
pub(super) struct Units {
    pub exponent: i32,
    parts: Vec<(i64, u32)>,
}

impl Units {
    /// Takes in these numbers, in place of all; `false` if they are so far apart that 126 bits do not hold their sum.
    pub fn set(&mut self, numbers: &Numbers) -> bool {
        let (mut least, mut most) = (i32::MAX, i32::MIN);
        self.parts.clear();
        match numbers {
            Numbers::Integers(numbers) => {
                self.parts.extend(numbers.iter().map(|x| (*x, 0)));
                (least, most) = (0, numbers.iter().fold(0, |most, x| most.max(bits(*x))));
            }
            Numbers::Doubles(numbers) => {
                for x in numbers {
                    let (mantissa, exponent) = split(*x);
                    if mantissa != 0 {
                        least = least.min(exponent);
                        most = most.max(exponent + bits(mantissa));
                    }
                    self.parts.push((mantissa, exponent.cast_unsigned()));
                }
                if least > most {
                    (least, most) = (0, 0);
                }
                for (mantissa, by) in &mut self.parts {
                    // Zero is zero of any unit.
                    *by = if *mantissa == 0 { 0 } else { by.cast_signed().abs_diff(least) };
                }
            }
        }
        self.exponent = least;
        let room = i32::try_from(usize::BITS - self.parts.len().leading_zeros()).unwrap_or(i32::MAX);
        (most - least).saturating_add(room) < 126
    }
}

/// How many bits a number has, without its sign.
fn bits(x: i64) -> i32 {
    i32::try_from(u64::BITS - x.unsigned_abs().leading_zeros()).unwrap_or(0)
}

impl Totals {
    /// Of nothing.
    pub const NONE: Self = Self { count: 0, least: 0, most: 0, sum: 0, squares: (0, 0) };

    /// Takes in so many events without an input.
    pub fn count(&mut self, events: usize) {
        self.count += events as u64;
    }

    /// Takes in the numbers at `range`, whose units have been [set](Units::set).
    pub fn add(&mut self, numbers: &Numbers, units: &Units, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        if self.count == 0 {
            (self.least, self.most) = (range.start, range.start);
        }
        self.count(range.len());
        match numbers {
            Numbers::Integers(numbers) => self.extremes(numbers, range.clone()),
            Numbers::Doubles(numbers) => self.extremes(numbers, range.clone()),
        }
        let (mut sum, (mut low, mut high)) = (self.sum, self.squares);
        for (mantissa, by) in &units.parts[range] {
            sum += i128::from(*mantissa) << by;
            let square = u128::from(mantissa.unsigned_abs()).pow(2);
            let by = 2 * by;
            let (more, most) = match by {
                0 => (square, 0),
                1..128 => (square << by, square >> (128 - by)),
                _ => (0, square << (by - 128)),
            };
            let carry;
            (low, carry) = low.overflowing_add(more);
            high += most + u128::from(carry);
        }
        (self.sum, self.squares) = (sum, (low, high));
    }

    fn extremes<T: PartialOrd + Copy>(&mut self, numbers: &[T], range: Range<usize>) {
        let (mut least, mut most) = (self.least, self.most);
        for at in range {
            if numbers[at] < numbers[least] {
                least = at;
            }
            if numbers[at] > numbers[most] {
                most = at;
            }
        }
        (self.least, self.most) = (least, most);
    }

    /// The sum of squares.
    pub fn squares(&self) -> i256 {
        i256::from_parts(self.squares.0, self.squares.1.cast_signed())
    }
}

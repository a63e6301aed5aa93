//! Distinct counts: an exact set of hashes while it is small, HyperLogLog registers after.
//!
//! Invariant: the state is a function of the set of distinct values alone. A set of at most [`EXACT`] hashes is held as
//! itself; a larger one as 4,096 registers, each the largest rank of its hashes. Which of the two depends on the size of
//! the set and nothing else, so a union may promote but no order of events changes the outcome.
//!
//! Values are hashed by XXH3 (64 bits, no seed) over their canonical bytes: one byte for a boolean, eight little-endian
//! bytes for integers, times and doubles (their IEEE bits, one zero), sixteen for a decimal's unscaled integer, UTF-8
//! for text. Lanes keep these hashes, so neither may ever change.

use std::cmp::Ordering;

use twox_hash::XxHash3_64;

use super::codec::{Cursor, Malformed, put_len};
use super::scalar::ValueRef;

/// The largest set that is held exactly.
pub const EXACT: usize = 256;
/// The bits of a hash that choose a register.
const PRECISION: u32 = 12;
/// How many registers there are.
const REGISTERS: usize = 1 << PRECISION;
/// The largest rank: one more than the bits of a hash that remain.
const MAX_RANK: u8 = (64 - PRECISION + 1) as u8;
/// Bytes of the registers packed by six bits.
const PACKED: usize = REGISTERS * 6 / 8;

/// A set of distinct values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Distinct {
    /// Sorted hashes, at most [`EXACT`].
    Exact(Vec<u64>),
    /// Ranks by register.
    Registers(Box<[u8]>),
}

/// The hash of a value.
#[must_use]
pub fn hash(value: ValueRef<'_>) -> u64 {
    match value {
        ValueRef::Boolean(x) => XxHash3_64::oneshot(&[u8::from(x)]),
        ValueRef::Int64(x) | ValueRef::Timestamp(x) => XxHash3_64::oneshot(&x.to_le_bytes()),
        ValueRef::Double(x) => XxHash3_64::oneshot(&x.to_bits().to_le_bytes()),
        ValueRef::Decimal(x) => XxHash3_64::oneshot(&x.to_le_bytes()),
        ValueRef::String(x) => XxHash3_64::oneshot(x.as_bytes()),
    }
}

impl Distinct {
    /// The set of nothing.
    pub const EMPTY: Self = Self::Exact(Vec::new());

    /// Whether it is the set of nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Exact(hashes) if hashes.is_empty())
    }

    /// Adds one hash.
    pub fn insert(&mut self, hash: u64) {
        match self {
            Self::Exact(hashes) => {
                if let Err(at) = hashes.binary_search(&hash) {
                    hashes.insert(at, hash);
                    if hashes.len() > EXACT {
                        *self = Self::Registers(registers(hashes));
                    }
                }
            }
            Self::Registers(ranks) => raise(ranks, hash),
        }
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        match (&mut *self, other) {
            // Most tiles hold a value or two: those go in without a new set.
            (Self::Exact(_), Self::Exact(theirs)) if theirs.len() <= 4 => {
                for hash in theirs {
                    self.insert(*hash);
                }
            }
            (Self::Exact(mine), Self::Exact(theirs)) => {
                let union = union(mine, theirs);
                *self = if union.len() > EXACT { Self::Registers(registers(&union)) } else { Self::Exact(union) };
            }
            (Self::Registers(ranks), Self::Exact(hashes)) => raise_all(ranks, hashes),
            (Self::Exact(hashes), Self::Registers(theirs)) => {
                let mut ranks = theirs.clone();
                raise_all(&mut ranks, hashes);
                *self = Self::Registers(ranks);
            }
            (Self::Registers(ranks), Self::Registers(theirs)) => {
                for (mine, theirs) in ranks.iter_mut().zip(theirs) {
                    *mine = (*mine).max(*theirs);
                }
            }
        }
    }

    /// The size of the set: exact, or the estimate of its registers.
    #[must_use]
    pub fn estimate(&self) -> i64 {
        match self {
            Self::Exact(hashes) => hashes.len() as i64,
            Self::Registers(ranks) => ertl(ranks).round() as i64,
        }
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn heap(&self) -> usize {
        match self {
            Self::Exact(hashes) => hashes.capacity() * 8,
            Self::Registers(_) => REGISTERS,
        }
    }
}

/// The registers of a set of hashes.
fn registers(hashes: &[u64]) -> Box<[u8]> {
    let mut ranks = vec![0; REGISTERS].into_boxed_slice();
    raise_all(&mut ranks, hashes);
    ranks
}

fn raise_all(ranks: &mut [u8], hashes: &[u64]) {
    for hash in hashes {
        raise(ranks, *hash);
    }
}

/// Raises the register of `hash` to its rank: one more than the zeros that lead the rest of it.
fn raise(ranks: &mut [u8], hash: u64) {
    let register = (hash >> (64 - PRECISION)) as usize;
    let rank = ((hash << PRECISION).leading_zeros() + 1).min(u32::from(MAX_RANK)) as u8;
    if ranks[register] < rank {
        ranks[register] = rank;
    }
}

fn union(a: &[u64], b: &[u64]) -> Vec<u64> {
    let mut out = Vec::with_capacity(a.len() + b.len());
    let (mut i, mut j) = (0, 0);
    while i < a.len() && j < b.len() {
        match a[i].cmp(&b[j]) {
            Ordering::Less => {
                out.push(a[i]);
                i += 1;
            }
            Ordering::Greater => {
                out.push(b[j]);
                j += 1;
            }
            Ordering::Equal => {
                out.push(a[i]);
                (i, j) = (i + 1, j + 1);
            }
        }
    }
    out.extend_from_slice(&a[i..]);
    out.extend_from_slice(&b[j..]);
    out
}

/// The improved raw estimator of O. Ertl, "New cardinality estimation algorithms for HyperLogLog sketches" (2017): a
/// function of the registers' histogram alone, without bias over the whole range and without thresholds. It uses only
/// operations that IEEE 754 rounds correctly, so every machine computes the same.
fn ertl(ranks: &[u8]) -> f64 {
    let mut histogram = [0_u32; MAX_RANK as usize + 1];
    for rank in ranks {
        histogram[usize::from(*rank)] += 1;
    }
    let m = REGISTERS as f64;
    let mut z = m * tau(1.0 - f64::from(histogram[usize::from(MAX_RANK)]) / m);
    for count in histogram[1..usize::from(MAX_RANK)].iter().rev() {
        z = 0.5 * (z + f64::from(*count));
    }
    z += m * sigma(f64::from(histogram[0]) / m);
    m * m / (2.0 * std::f64::consts::LN_2 * z)
}

fn sigma(mut x: f64) -> f64 {
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        // `x` of an empty sketch stays one; it never reaches here, since registers hold over 256 values.
        if z.to_bits() == before.to_bits() || y > 1e300 {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z.to_bits() == before.to_bits() {
            return z / 3.0;
        }
    }
}

/// Appends registers: a zero and six bits each, or how many are not zero and these with the gaps before them, whichever
/// is shorter.
pub fn put_registers(out: &mut Vec<u8>, ranks: &[u8]) {
    let mut sparse = Vec::new();
    let mut last = 0;
    let filled = ranks.iter().filter(|r| **r > 0).count();
    put_len(&mut sparse, filled);
    for (register, rank) in ranks.iter().enumerate().filter(|(_, r)| **r > 0) {
        put_len(&mut sparse, register - last);
        sparse.push(*rank);
        last = register;
    }
    if sparse.len() < PACKED {
        out.extend_from_slice(&sparse);
    } else {
        out.push(0);
        super::codec::put_packed(out, 6, ranks.iter().map(|r| u64::from(*r)));
    }
}

/// Reads what [`put_registers`] wrote.
pub fn take_registers(from: &mut Cursor<'_>) -> Result<Box<[u8]>, Malformed> {
    let filled = from.count()?;
    let mut ranks = vec![0_u8; REGISTERS].into_boxed_slice();
    if filled == 0 {
        for (rank, packed) in ranks.iter_mut().zip(from.packed(6, REGISTERS)?) {
            *rank = packed as u8;
        }
    } else {
        let mut register = 0;
        for i in 0..filled {
            let gap = from.index(REGISTERS - register)?;
            if i > 0 && gap == 0 {
                return from.malformed("a register twice");
            }
            register += gap;
            ranks[register] = from.byte()?;
            if ranks[register] == 0 {
                return from.malformed("an empty register");
            }
        }
    }
    if ranks.iter().any(|r| *r > MAX_RANK) || ranks.iter().all(|r| *r == 0) {
        return from.malformed("a rank that no hash has");
    }
    Ok(ranks)
}

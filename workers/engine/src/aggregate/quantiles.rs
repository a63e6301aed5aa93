//! Percentiles by DDSketch (Masson, Rim, Lee, VLDB 2019): counts by logarithmic bucket, never collapsed.
//!
//! Invariant: the state is a function of the multiset of inputs. Bucket `i` holds the `x` with `γ^(i−1) < |x| ≤ γ^i`, where
//! γ = 1.01/0.99, and answers `2γ^i/(γ+1)`, which is within 1 % of all of them. Logarithm and exponential are `libm`'s, in
//! software, the same on every machine. The value at rank share `q` of `n` inputs is that of the input at the nearest
//! rank, `⌊q·(n − 1) + ½⌋`, counted from zero in ascending order. Inputs below 2.3·10⁻³⁰⁸ in size count as zero.

use super::codec::{Cursor, Malformed, put_len, put_signed, put_varint};

/// The relative accuracy.
pub const ACCURACY: f64 = 0.01;
/// ln γ, as the double nearest to it, written down so that no platform's logarithm has a say.
const LN_GAMMA: f64 = 0.020_000_666_706_669_525;
/// 2 / (γ + 1) = 1 − [`ACCURACY`].
const MIDDLE: f64 = 1.0 - ACCURACY;
/// No finite double falls into a bucket beyond this.
const MAX_BUCKET: i32 = 36_000;

/// Counts by bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quantiles {
    zeros: u64,
    /// Buckets of |x| for negative x, ascending.
    negative: Vec<(i32, u64)>,
    /// Buckets of positive x, ascending.
    positive: Vec<(i32, u64)>,
}

impl Quantiles {
    /// Adds one finite input.
    pub fn insert(&mut self, x: f64) {
        if x.abs() < f64::MIN_POSITIVE {
            self.zeros += 1;
            return;
        }
        let bucket = libm::ceil(libm::log(x.abs()) / LN_GAMMA) as i32;
        add(if x < 0.0 { &mut self.negative } else { &mut self.positive }, bucket, 1);
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.zeros = self.zeros.saturating_add(other.zeros);
        merge(&mut self.negative, &other.negative);
        merge(&mut self.positive, &other.positive);
    }

    /// Whether nothing was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.zeros == 0 && self.negative.is_empty() && self.positive.is_empty()
    }

    /// The value at rank share `q`, 0 to 1; `None` of nothing.
    #[must_use]
    pub fn value(&self, q: f64) -> Option<f64> {
        let ascending = (self.negative.iter().rev().map(|(i, n)| (-middle(*i), *n)))
            .chain((self.zeros > 0).then_some((0.0, self.zeros)))
            .chain(self.positive.iter().map(|(i, n)| (middle(*i), *n)));
        let count = ascending.clone().fold(0_u64, |sum, (_, n)| sum.saturating_add(n));
        let rank = (q * count.saturating_sub(1) as f64 + 0.5).floor() as u64;
        let mut below = 0_u64;
        let mut last = None;
        for (value, n) in ascending {
            below = below.saturating_add(n);
            last = Some(value);
            if below > rank {
                break;
            }
        }
        last
    }

    /// How many buckets it holds.
    #[must_use]
    pub fn buckets(&self) -> usize {
        self.negative.len() + self.positive.len()
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn heap(&self) -> usize {
        (self.negative.capacity() + self.positive.capacity()) * 16
    }

    /// Appends it.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.zeros.into());
        for buckets in [&self.negative, &self.positive] {
            put_len(out, buckets.len());
            let mut last = None;
            for (bucket, count) in buckets {
                match last {
                    None => put_signed(out, (*bucket).into()),
                    Some(last) => put_varint(out, (bucket - last) as u128),
                }
                put_varint(out, (*count).into());
                last = Some(*bucket);
            }
        }
    }

    /// Reads what [`Self::put`] wrote.
    pub(crate) fn take(from: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let zeros = from.unsigned()?;
        let negative = take_buckets(from)?;
        let positive = take_buckets(from)?;
        Ok(Self { zeros, negative, positive })
    }
}

fn take_buckets(from: &mut Cursor<'_>) -> Result<Vec<(i32, u64)>, Malformed> {
    let len = from.count()?;
    let mut out: Vec<(i32, u64)> = Vec::with_capacity(len);
    for _ in 0..len {
        let bucket = match out.last() {
            None => from.signed64()?,
            Some((last, _)) => {
                let gap = from.index(2 * MAX_BUCKET as usize)?;
                if gap == 0 {
                    return from.malformed("a bucket twice");
                }
                i64::from(*last) + gap as i64
            }
        };
        let count = from.unsigned()?;
        match i32::try_from(bucket) {
            Ok(bucket) if bucket.abs() <= MAX_BUCKET && count > 0 => out.push((bucket, count)),
            _ => return from.malformed("a bucket that no number falls into"),
        }
    }
    Ok(out)
}

/// The value that stands for a bucket; the largest double for the few whose middle is beyond it.
fn middle(bucket: i32) -> f64 {
    (libm::exp(f64::from(bucket) * LN_GAMMA) * MIDDLE).min(f64::MAX)
}

fn add(buckets: &mut Vec<(i32, u64)>, bucket: i32, count: u64) {
    match buckets.binary_search_by_key(&bucket, |b| b.0) {
        Ok(at) => buckets[at].1 = buckets[at].1.saturating_add(count),
        Err(at) => buckets.insert(at, (bucket, count)),
    }
}

fn merge(into: &mut Vec<(i32, u64)>, from: &[(i32, u64)]) {
    // Backfilling from the end costs one pass; inserting one by one would move the tail for every bucket.
    if from.len() < 4 {
        for (bucket, count) in from {
            add(into, *bucket, *count);
        }
        return;
    }
    let mine = std::mem::replace(into, Vec::with_capacity(into.len() + from.len()));
    let (mut a, mut b) = (mine.into_iter().peekable(), from.iter().copied().peekable());
    while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
        let next = match x.0.cmp(&y.0) {
            std::cmp::Ordering::Less => a.next(),
            std::cmp::Ordering::Greater => b.next(),
            std::cmp::Ordering::Equal => {
                let sum = (x.0, x.1.saturating_add(y.1));
                a.next();
                b.next();
                Some(sum)
            }
        };
        into.extend(next);
    }
    into.extend(a);
    into.extend(b);
}

//! How old events are when they become readable, counted without looking at each of them twice.
//!
//! An event is readable when the flush that holds it has ended, which nobody knows while it is folded. So events are counted by
//! how long before one moment their times are, in bins: of 64 ms as far as eight seconds back, an eighth of a doubling wide
//! beyond. What a flush took along is then as much older as the time that has passed since that moment.
//!
//! Invariants: counting an event is an addition in memory that is near; bins never grow in number, whatever times events have.

use shell::freshness::Freshness;

/// Events may be this much younger than the moment that they are counted from: a flush begins every few seconds at most.
const AHEAD_MS: i64 = 8_192;
/// The width of the even bins, as a power of two.
const EVEN: u32 = 6;
/// Where they end, as a power of two.
const EVEN_END: u32 = 14;
/// How many there are.
const EVEN_BINS: usize = 1 << (EVEN_END - EVEN);
/// So many bins for each doubling from there on, as a power of two.
const PER_DOUBLING: u32 = 3;
/// As far as three decades.
const LAST_DOUBLING: u32 = 40;
const BINS: usize = EVEN_BINS + (((LAST_DOUBLING - EVEN_END) as usize) << PER_DOUBLING);

/// Events that are not readable yet.
#[derive(Debug)]
pub(crate) struct Ages {
    /// The moment that they are counted from; none while there are none.
    since: Option<i64>,
    bins: Vec<u32>,
}

impl Default for Ages {
    fn default() -> Self {
        Self { since: None, bins: vec![0; BINS] }
    }
}

/// Counts the events of a batch.
pub(crate) struct Counting<'a> {
    since: i64,
    bins: &'a mut [u32],
}

impl Ages {
    /// Begins to count a batch that is folded at `now`.
    pub fn counting(&mut self, now_ms: i64) -> Counting<'_> {
        Counting { since: *self.since.get_or_insert(now_ms), bins: &mut self.bins }
    }

    /// All of them were readable at `now`.
    pub fn readable(&mut self, now_ms: i64, freshness: &Freshness) {
        let Some(since) = self.since.take() else { return };
        for (bin, count) in self.bins.iter_mut().enumerate().filter(|(_, count)| **count > 0) {
            freshness.observe(middle(bin) - AHEAD_MS + (now_ms - since), u64::from(*count));
            *count = 0;
        }
    }
}

impl Counting<'_> {
    /// One event.
    #[inline]
    pub fn event(&mut self, time_ms: i64) {
        let bin = bin(self.since.saturating_sub(time_ms).saturating_add(AHEAD_MS));
        // More than four thousand million events of one age between two flushes are not told apart from so many.
        self.bins[bin] = self.bins[bin].saturating_add(1);
    }
}

#[inline]
fn bin(ms: i64) -> usize {
    let ms = ms.max(0).unsigned_abs();
    if ms < 1 << EVEN_END {
        return usize::try_from(ms >> EVEN).unwrap_or(0);
    }
    let doubling = ms.ilog2();
    let part = (ms >> (doubling - PER_DOUBLING)) & ((1 << PER_DOUBLING) - 1);
    let bin = EVEN_BINS + (((doubling - EVEN_END) as usize) << PER_DOUBLING) + usize::try_from(part).unwrap_or(0);
    bin.min(BINS - 1)
}

/// The middle of a bin.
fn middle(bin: usize) -> i64 {
    let of = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    match bin.checked_sub(EVEN_BINS) {
        None => (of(bin) << EVEN) + (1 << (EVEN - 1)),
        Some(uneven) => {
            let doubling = EVEN_END + u32::try_from(uneven >> PER_DOUBLING).unwrap_or(0);
            let width = 1_i64 << (doubling - PER_DOUBLING);
            (1_i64 << doubling) + of(uneven & ((1 << PER_DOUBLING) - 1)) * width + width / 2
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    /// The age at which one event is observed that is folded first or after another, and readable after `flush` ms.
    fn observed(age: i64, flush: i64) -> i64 {
        let (mut ages, freshness) = (Ages::default(), Freshness::default());
        ages.counting(NOW).event(NOW - age);
        ages.readable(NOW + flush, &freshness);
        assert_eq!(freshness.count(), 1);
        i64::try_from(freshness.sum_ms()).unwrap_or(0)
    }

    #[test]
    fn ages_are_told_to_64_ms_where_that_matters_and_to_a_sixteenth_beyond() {
        for age in (0..8_000).step_by(17) {
            let told = observed(age, 700);
            assert!((told - age - 700).abs() <= 32, "{age}: {told}");
        }
        for age in [9_000, 60_000, 3_600_000, 86_400_000 * 30, 86_400_000 * 3650] {
            let told = observed(age, 0);
            assert!((told - age).abs() <= age / 15 + 1_100, "{age}: {told}");
        }
        // Of the future, and of before there were computers: no number is made of it that is none.
        assert_eq!(observed(-3_600_000, 0), 0);
        assert!(observed(NOW * 2, 0) > 86_400_000 * 365 * 20);
        assert!(observed(i64::MAX, 0) > 0 && observed(i64::MIN + NOW + 1, 0) == 0);
    }

    #[test]
    fn events_of_batches_that_one_flush_takes_along_are_each_as_old_as_they_are_and_told_once() {
        let (mut ages, freshness) = (Ages::default(), Freshness::default());
        for batch in 0..10 {
            let mut counting = ages.counting(NOW + batch * 100);
            for _ in 0..5 {
                counting.event(NOW + batch * 100);
            }
        }
        ages.readable(NOW + 1000, &freshness);
        assert_eq!(freshness.count(), 50);
        // From 1000 ms down to 100.
        let mean = i64::try_from(freshness.sum_ms() / 50).unwrap_or(0);
        assert!((mean - 550).abs() <= 32, "{mean}");
        ages.readable(NOW + 2000, &freshness);
        assert_eq!(freshness.count(), 50);
    }
}

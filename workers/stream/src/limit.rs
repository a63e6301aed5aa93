//! How many records may be taken, when so many a second are allowed: pure, of what was taken and the present.
//!
//! What is not used is kept for at most a second, so that a wait for a flush is made up for and no more than that; and what
//! makes no whole record yet is kept besides, so that a low rate is not lowered by being asked seldom.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// One record's worth of credit.
const RECORD: u128 = Duration::from_secs(1).as_nanos();

/// A bucket that fills at a rate.
#[derive(Debug)]
pub(crate) struct Limit {
    rate: u128,
    /// In billionths of a record, so that no share of one is lost however often it is asked.
    credit: u128,
    at: Instant,
}

impl Limit {
    /// At most `rate` records a second from now on.
    pub(crate) fn new(rate: NonZeroU32, now: Instant) -> Self {
        Self { rate: u128::from(rate.get()), credit: 0, at: now }
    }

    /// How many records may be taken now.
    pub(crate) fn allowed(&mut self, now: Instant) -> usize {
        let spent = now.saturating_duration_since(self.at);
        self.credit = (self.credit + spent.as_nanos() * self.rate).min((self.rate + 1) * RECORD);
        self.at = self.at.max(now);
        usize::try_from(self.credit / RECORD).unwrap_or(usize::MAX)
    }

    /// So many of them were taken.
    pub(crate) fn took(&mut self, records: usize) {
        self.credit = self.credit.saturating_sub(records as u128 * RECORD);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn limit(rate: u32) -> (Limit, Instant) {
        let start = Instant::now();
        (Limit::new(NonZeroU32::new(rate).unwrap(), start), start)
    }

    /// Asks every `period` for `seconds`, and takes all that is allowed.
    fn taken(rate: u32, period: Duration, seconds: u32) -> usize {
        let (mut limit, start) = limit(rate);
        let mut taken = 0;
        for step in 1..=(Duration::from_secs(seconds.into()).as_nanos() / period.as_nanos()) {
            let records = limit.allowed(start + period * u32::try_from(step).unwrap());
            limit.took(records);
            taken += records;
        }
        taken
    }

    #[test]
    fn the_rate_holds_however_often_it_is_asked() {
        assert_eq!(taken(1_000, Duration::from_millis(200), 10), 10_000);
        assert_eq!(taken(1_000, Duration::from_micros(70), 1), 999);
        assert_eq!(taken(1, Duration::from_millis(300), 9), 9);
        assert_eq!(taken(u32::MAX, Duration::from_millis(1), 1), u32::MAX as usize);
    }

    #[test]
    fn a_long_wait_is_made_up_for_by_a_second_at_most() {
        let (mut limit, start) = limit(50);
        assert_eq!(limit.allowed(start), 0);
        assert_eq!(limit.allowed(start + Duration::from_hours(1)), 51);
        limit.took(51);
        assert_eq!(limit.allowed(start + Duration::from_hours(1)), 0);
        // A clock that is read out of order gives nothing, now or later.
        assert_eq!(limit.allowed(start), 0);
        assert_eq!(limit.allowed(start + Duration::from_secs(3_601)), 50);
        limit.took(50);
        assert_eq!(limit.allowed(start + Duration::from_millis(3_601_100)), 5);
    }
}

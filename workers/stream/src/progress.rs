//! What a partition's progress allows: which offset a marker may name, and which offset may be committed to Kafka. Pure.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// The dead letters of one partition that Kafka has not acknowledged.
#[derive(Clone, Debug, Default)]
pub struct Unacknowledged(BTreeSet<i64>);

impl Unacknowledged {
    /// A dead letter for the record at `offset` is on its way.
    pub fn sent(&mut self, offset: i64) {
        self.0.insert(offset);
    }

    /// Kafka has it.
    pub fn acknowledged(&mut self, offset: i64) {
        self.0.remove(&offset);
    }

    /// The highest offset that a marker may name when everything before `position` is processed: a bad record must not be
    /// passed before its dead letter is safe.
    #[must_use]
    pub fn bound(&self, position: i64) -> i64 {
        self.0.first().map_or(position, |first| position.min(*first))
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The offsets of one partition that the store has, with the time since when, until they are old enough to commit.
#[derive(Clone, Debug, Default)]
pub struct Durable(VecDeque<(Instant, i64)>);

impl Durable {
    /// The store's marker names `offset` since `now`.
    pub fn stored(&mut self, offset: i64, now: Instant) {
        if self.0.back().is_none_or(|(_, last)| *last < offset) {
            self.0.push_back((now, offset));
        }
    }

    /// The highest offset that was stored at least `lag` ago, once.
    pub fn take(&mut self, lag: Duration, now: Instant) -> Option<i64> {
        let mut committable = None;
        while let Some((_, offset)) = self.0.pop_front_if(|(since, _)| now.duration_since(*since) >= lag) {
            committable = Some(offset);
        }
        committable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_waits_for_the_first_dead_letter() {
        let mut letters = Unacknowledged::default();
        assert_eq!(letters.bound(10), 10);
        letters.sent(7);
        letters.sent(4);
        assert_eq!(letters.bound(10), 4);
        assert_eq!(letters.bound(3), 3);
        letters.acknowledged(4);
        assert_eq!(letters.bound(10), 7);
        letters.acknowledged(7);
        assert_eq!((letters.bound(10), letters.is_empty()), (10, true));
    }

    #[test]
    fn only_what_is_old_enough_is_committed_and_once() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let lag = Duration::from_secs(2);
        let mut durable = Durable::default();
        durable.stored(5, at(0));
        durable.stored(5, at(500));
        durable.stored(9, at(1_000));
        assert_eq!(durable.take(lag, at(1_999)), None);
        assert_eq!(durable.take(lag, at(2_000)), Some(5));
        assert_eq!(durable.take(lag, at(2_500)), None);
        assert_eq!(durable.take(lag, at(9_000)), Some(9));
    }
}

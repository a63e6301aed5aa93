//! Capped exponential delays for what is retried until it works.

use std::time::Duration;

/// Delays that double from a first one up to a cap.
///
/// There is no randomness: what retries here is one worker against one server, not a crowd.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    next: Duration,
}

impl Backoff {
    /// Starts at `first`, never longer than `cap`.
    #[must_use]
    pub fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap, next: first.min(cap) }
    }

    /// The delay before the next attempt.
    pub fn delay(&mut self) -> Duration {
        let delay = self.next;
        self.next = delay.saturating_mul(2).min(self.cap);
        delay
    }

    /// Starts over, after a success.
    pub fn reset(&mut self) {
        self.next = self.first.min(self.cap);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_cap_and_start_over() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(350));
        assert_eq!(
            [backoff.delay(), backoff.delay(), backoff.delay(), backoff.delay()],
            [ms(100), ms(200), ms(350), ms(350)]
        );
        backoff.reset();
        assert_eq!(backoff.delay(), ms(100));
    }
}

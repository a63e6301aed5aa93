//! When a flush begins, if neither memory nor a person asks for one sooner: pure, of what was seen and the present.
//!
//! A flush costs the same whether a lane in it took one event or a thousand, so:
//! - at rest, and while the worker keeps up, one begins every interval;
//! - where flushes are slow, one begins at the earliest after [`REST`] times the duration of the one before, so that the
//!   worker, and the store's other users, have most of the time for themselves;
//! - far behind the end of the topic, where nothing is fresh anyway, one begins every [`FAR_BEHIND`], which bounds what a
//!   worker that dies must read again, and so does a replay, whose rows nobody reads before its end;
//! - with nothing to read for [`IDLE`], there is nothing to wait for.

use std::time::{Duration, Instant};

/// See the head of this module.
const REST: u32 = 3;
/// The longest such rest.
const LONGEST_REST: Duration = Duration::from_secs(5);
/// Between flushes while far behind.
const FAR_BEHIND: Duration = Duration::from_secs(30);
/// A worker is far behind while what is left would take it longer than this at its present rate.
const FAR: Duration = Duration::from_secs(2);
/// After so long without a record, no flush is put off.
const IDLE: Duration = Duration::from_millis(100);
/// And of what nobody reads: brokers that are busy pause for longer than the above, and what a flush then writes is written
/// again at the end.
const UNREAD_IDLE: Duration = Duration::from_secs(1);
/// A rate is told after so long.
const TELLING: Duration = Duration::from_millis(200);

/// What one thread's flushes go by.
#[derive(Debug)]
pub struct Pace {
    interval: Duration,
    /// No flush is due sooner.
    next: Instant,
    /// When the last flush began, and how many records were read since.
    begun: Instant,
    read: u64,
    last_read: Instant,
    /// How many records were left to read when last asked.
    left: u64,
    /// Whether nobody waits for what is written.
    unread: bool,
    rest: Instant,
}

impl Pace {
    /// At the start of a thread that flushes every `interval` while it keeps up.
    #[must_use]
    pub fn new(interval: Duration, now: Instant) -> Self {
        Self { interval, next: now, begun: now, read: 0, last_read: now, left: 0, unread: false, rest: now }
    }

    /// So many records were read.
    pub fn read(&mut self, records: usize, now: Instant) {
        if records > 0 {
            self.read += records as u64;
            self.last_read = now;
        }
    }

    /// So many are left in the topic.
    pub fn left(&mut self, records: u64) {
        self.left = records;
    }

    /// Whether nobody waits for what is written, as long as this is not said otherwise.
    pub fn unread(&mut self, unread: bool) {
        self.unread = unread;
    }

    /// When the next flush begins.
    #[must_use]
    pub fn due(&self, now: Instant) -> Instant {
        if self.unread {
            return self.next.max((self.begun + FAR_BEHIND).min(self.last_read + UNREAD_IDLE));
        }
        let put_off = if self.far_behind(now) { self.begun + FAR_BEHIND } else { self.rest };
        self.next.max(put_off.min(self.last_read + IDLE))
    }

    /// A flush begins.
    pub fn begin(&mut self, now: Instant) {
        (self.begun, self.next, self.read) = (now, now + self.interval, 0);
    }

    /// The flush ended that took `elapsed`.
    pub fn end(&mut self, elapsed: Duration, now: Instant) {
        self.rest = now + (elapsed * REST).min(LONGEST_REST).saturating_sub(self.interval);
    }

    /// The next flush is due now: the last one left something to be written anew, or all is read.
    pub fn hurry(&mut self, now: Instant) {
        (self.next, self.rest, self.left, self.unread) = (now, now, 0, false);
    }

    fn far_behind(&self, now: Instant) -> bool {
        let spent = now.duration_since(self.begun);
        // left / (read / spent) > FAR, in whole numbers.
        spent >= TELLING && u128::from(self.left) * spent.as_millis() > u128::from(self.read) * FAR.as_millis()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(1);

    fn after(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn a_worker_that_keeps_up_flushes_every_interval() {
        let start = Instant::now();
        let mut pace = Pace::new(INTERVAL, start);
        assert_eq!(pace.due(start), start);
        pace.begin(start);
        pace.end(Duration::from_millis(20), after(start, 20));
        pace.read(500, after(start, 900));
        assert_eq!(pace.due(after(start, 900)), after(start, 1_000));
    }

    #[test]
    fn slow_flushes_are_put_off_while_there_is_something_to_read() {
        let start = Instant::now();
        let mut pace = Pace::new(INTERVAL, start);
        pace.begin(start);
        pace.end(Duration::from_secs(1), after(start, 1_000));
        pace.read(9, after(start, 2_950));
        assert_eq!(pace.due(after(start, 2_990)), after(start, 3_000), "three times as long, the interval included");
        pace.read(9, after(start, 1_500));
        assert_eq!(pace.due(after(start, 1_550)), after(start, 1_600), "nothing was read since");
    }

    #[test]
    fn far_behind_flushes_are_rare_until_the_end_is_near() {
        let start = Instant::now();
        let mut pace = Pace::new(INTERVAL, start);
        pace.begin(start);
        pace.end(Duration::from_millis(100), after(start, 100));
        pace.read(1_000_000, after(start, 2_000));
        pace.left(3_000_000);
        assert_eq!(pace.due(after(start, 2_000)), after(start, 2_100), "unless there is nothing to read");
        for second in 3..30 {
            pace.read(500_000, after(start, second * 1_000));
        }
        pace.left(30_000_000);
        let now = after(start, 29_000);
        assert!(pace.due(now) > now);
        pace.read(1, after(start, 29_990));
        assert_eq!(pace.due(after(start, 29_995)), after(start, 30_000));
        pace.left(800_000);
        assert!(pace.due(after(start, 29_995)) <= after(start, 29_995), "less than two seconds to go");
    }

    #[test]
    fn what_nobody_reads_is_written_rarely_and_at_its_end() {
        let start = Instant::now();
        let mut pace = Pace::new(INTERVAL, start);
        pace.unread(true);
        pace.begin(start);
        pace.end(Duration::from_millis(10), after(start, 10));
        pace.read(9, after(start, 20_000));
        assert_eq!(pace.due(after(start, 20_500)), after(start, 21_000), "there may be nothing more for long");
        pace.read(9, after(start, 29_500));
        assert_eq!(pace.due(after(start, 29_900)), after(start, 30_000));
        pace.hurry(after(start, 29_950));
        assert_eq!(pace.due(after(start, 29_950)), after(start, 29_950), "all is read");
    }

    #[test]
    fn what_must_be_written_anew_waits_for_nothing() {
        let start = Instant::now();
        let mut pace = Pace::new(INTERVAL, start);
        pace.begin(start);
        pace.end(Duration::from_secs(9), after(start, 500));
        pace.left(u64::MAX);
        pace.read(1, after(start, 500));
        pace.hurry(after(start, 500));
        assert_eq!(pace.due(after(start, 500)), after(start, 500));
    }
}

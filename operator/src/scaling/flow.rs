//! How many records a second come in and are read, over the last looks. Pure.
//!
//! Invariant: a rate is of one number of ready workers. When that changes, or nobody looked for a while, counting begins anew one
//! look later: until then partitions are handed over.

use crate::lag::measure::Moved;

/// So many looks are remembered: two minutes.
const LOOKS: usize = 9;
/// So many it takes to tell a rate.
const ENOUGH: usize = 3;
/// What was not looked at for longer than this is not known to have gone on like that.
const BREAK_MS: i64 = 120_000;
/// Workers that are never less than this many seconds behind do all that they can.
const BUSY_SECONDS: f64 = 5.0;
/// Fewer records that wait say nothing.
const FEW: f64 = 100.0;

/// What was seen of a topic while as many workers were ready as now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flow {
    ready: Option<i32>,
    at: i64,
    looks: Vec<Moved>,
}

/// What happens a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Records that are read, by all workers together.
    pub consumed: f64,
    /// Records that come in.
    pub produced: f64,
    /// Records that wait now.
    pub waiting: f64,
    /// Whether records waited all the time, so that workers read as fast as they can.
    pub busy: bool,
    /// Whether none wait now but for those that are being read.
    pub at_rest: bool,
}

impl Flow {
    /// With one more look.
    #[must_use]
    pub fn look(&self, moved: Moved, ready: i32) -> Self {
        if self.ready != Some(ready) || moved.at - self.at > BREAK_MS {
            return Self { ready: Some(ready), at: moved.at, looks: Vec::new() };
        }
        let mut looks: Vec<Moved> = self.looks.iter().rev().take(LOOKS - 1).rev().copied().collect();
        looks.push(moved);
        Self { ready: self.ready, at: moved.at, looks }
    }

    /// The rates, once there were enough looks.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // No log holds so many records.
    pub fn rates(&self) -> Option<Rates> {
        let [first, rest @ ..] = self.looks.as_slice() else { return None };
        let last = rest.last().filter(|_| self.looks.len() >= ENOUGH)?;
        let elapsed = (last.at - first.at) as f64 / 1000.0;
        if elapsed <= 0.0 {
            return None;
        }
        let sum = |of: fn(&Moved) -> i64| rest.iter().map(of).sum::<i64>() as f64 / elapsed;
        let (consumed, produced) = (sum(|m| m.consumed), sum(|m| m.produced));
        let enough = |rate: f64| (rate * BUSY_SECONDS).max(FEW);
        let least = self.looks.iter().map(|m| m.waiting).min().unwrap_or_default() as f64;
        let waiting = last.waiting as f64;
        let (busy, at_rest) = (least > enough(consumed), waiting <= enough(produced));
        Some(Rates { consumed, produced, waiting, busy, at_rest })
    }
}

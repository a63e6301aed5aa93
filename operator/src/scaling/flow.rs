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
    pub fn rates(&self) -> Option<Rates> {
        let looks = self.looks.as_slice();
        let recent = looks.get(looks.len().checked_sub(ENOUGH)?..)?;
        let (consumed, _) = of(recent)?;
        let few = |moved: &Moved| records(moved.waiting) <= enough(consumed);
        let busy = !recent.iter().any(few);
        // What workers manage shows while records wait alone.
        let since = if busy { looks.iter().rposition(few).map_or(0, |last| last + 1) } else { 0 };
        let (consumed, produced) = of(looks.get(since..)?)?;
        let waiting = records(looks.last()?.waiting);
        Some(Rates { consumed, produced, waiting, busy, at_rest: waiting <= enough(produced) })
    }
}

/// More records than this are more than those that are being read.
fn enough(rate: f64) -> f64 {
    (rate * BUSY_SECONDS).max(FEW)
}

/// How many records a second were read, and came in.
fn of(looks: &[Moved]) -> Option<(f64, f64)> {
    let [first, rest @ ..] = looks else { return None };
    let elapsed = records(rest.last()?.at - first.at) / 1000.0;
    let sum = |of: fn(&Moved) -> i64| records(rest.iter().map(of).sum()) / elapsed;
    (elapsed > 0.0).then(|| (sum(|moved| moved.consumed), sum(|moved| moved.produced)))
}

#[allow(clippy::cast_precision_loss)] // No log holds so many records.
fn records(count: i64) -> f64 {
    count as f64
}

//! What a run comes to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The counts and latencies of a run, as JSON its last line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Whether it is over; a line of progress is not.
    pub done: bool,
    /// Answers that were judged; one entity each.
    pub checked: u64,
    /// For how long it ran.
    pub seconds: f64,
    /// Answers a second, over the whole run.
    pub per_second: f64,
    /// Answers in the second that had the fewest, the first and the last aside.
    pub slowest_second: u64,
    /// How often the live pointer moved.
    pub moves: usize,
    /// Moves that were not seen themselves, only their fence. Zero, or staleness was not told in full.
    pub missed_moves: u64,
    /// Answers of each revision.
    pub of_revision: BTreeMap<String, u64>,
    /// Requests without an answer, or with another status than 200.
    pub failed: u64,
    /// Answers with a value that is not their revision's.
    pub mixed: u64,
    /// Answers of a revision that the pointer had left.
    pub stale: u64,
    /// The first few of all those.
    pub wrong: Vec<String>,
    /// The pointer's polls that failed. Zero, or staleness was not told in full.
    pub failed_polls: u64,
    /// What counts as near a move, in milliseconds.
    pub near_ms: u64,
    /// Latencies in milliseconds, from when a request was due, near a move.
    pub near: Latency,
    /// Of all others.
    pub rest: Latency,
}

/// Percentiles in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Of how many answers.
    pub count: usize,
    /// The median.
    pub p50: f64,
    /// The 90th percentile.
    pub p90: f64,
    /// The 99th.
    pub p99: f64,
    /// The 99.9th.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

impl Report {
    /// Whether everything that was to be seen was seen, and nothing else.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let Self { failed, mixed, stale, missed_moves, failed_polls, .. } = self;
        self.done && failed + mixed + stale + missed_moves + failed_polls == 0
    }
}

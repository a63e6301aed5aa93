//! Latencies, every one of them kept: a million are four megabytes, and percentiles are exact.

use std::time::Duration;

use super::report::Latency;

/// Latencies in microseconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Latencies(Vec<u32>);

impl Latencies {
    pub fn add(&mut self, latency: Duration) {
        self.0.push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
    }

    /// What they come to, in milliseconds.
    pub fn summary(&self) -> Latency {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        // The smallest value that at least `per_mille` of a thousand do not exceed.
        let at = |per_mille: usize| {
            let rank = (sorted.len() * per_mille).div_ceil(1_000).max(1);
            sorted.get(rank - 1).map_or(0.0, |micros| f64::from(*micros) / 1_000.0)
        };
        Latency { count: sorted.len(), p50: at(500), p90: at(900), p99: at(990), p999: at(999), max: at(1_000) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::float_cmp, reason = "whole milliseconds")]
    fn percentiles_are_those_of_all_values() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.summary().count, 0);
        for ms in (1..=1_000).rev() {
            latencies.add(Duration::from_millis(ms));
        }
        let Latency { count, p50, p99, p999, max, .. } = latencies.summary();
        assert_eq!((count, p50, p99, p999, max), (1_000, 500.0, 990.0, 999.0, 1_000.0));
    }
}

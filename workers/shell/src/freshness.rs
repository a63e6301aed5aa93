//! How long it took from an event until it could be read: one metric that several processes show, each of its layer.
//!
//! It is a histogram that takes many values at once: who writes half a million events a second counts them elsewhere, and
//! brings the counts when they are known to be readable.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// What it says, under the name `featuremill_feature_freshness_seconds`.
pub const HELP: &str = "How long it took from an event's time until it could be read";

/// The bounds of its buckets, in milliseconds: from a flush that is due at once to a nightly run that was missed.
const BOUNDS_MS: [i64; 18] = [
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    30_000,
    60_000,
    120_000,
    300_000,
    600_000,
    1_800_000,
    3_600_000,
    10_800_000,
    21_600_000,
    86_400_000,
    172_800_000,
];

/// The histogram. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Freshness(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// The last is of what exceeds every bound.
    buckets: [AtomicU64; BOUNDS_MS.len() + 1],
    sum_ms: AtomicU64,
}

impl Freshness {
    /// So many events were readable at that age; none is younger than nothing, whatever clocks say.
    pub fn observe(&self, age_ms: i64, events: u64) {
        let age_ms = age_ms.max(0);
        let bucket = BOUNDS_MS.partition_point(|bound| *bound < age_ms);
        self.0.buckets[bucket].fetch_add(events, Ordering::Relaxed);
        self.0.sum_ms.fetch_add(age_ms.unsigned_abs().saturating_mul(events), Ordering::Relaxed);
    }

    /// How many events were observed.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }

    /// The sum of their ages.
    #[must_use]
    pub fn sum_ms(&self) -> u64 {
        self.0.sum_ms.load(Ordering::Relaxed)
    }
}

impl TypedMetric for Freshness {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Freshness {
    #[expect(clippy::cast_precision_loss, reason = "sums are told in seconds, rounded")]
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let bounds = BOUNDS_MS.iter().map(|bound| *bound as f64 / 1000.0).chain([f64::INFINITY]);
        let counts = self.0.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(self.sum_ms() as f64 / 1000.0, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn it_reads_as_any_histogram_of_prometheus() {
        let (mut registry, freshness) = (Registry::default(), Freshness::default());
        registry.register("age", HELP, freshness.clone());
        freshness.observe(100, 3);
        freshness.observe(101, 2);
        freshness.observe(-5, 1);
        freshness.observe(1_000_000_000, 1);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let has = |line: &str| assert!(text.lines().any(|found| found == format!("age{line}")), "{line}:\n{text}");
        has("_count 7");
        has("_sum 1000000.502");
        has("_bucket{le=\"0.1\"} 4");
        has("_bucket{le=\"0.25\"} 6");
        has("_bucket{le=\"172800.0\"} 6");
        has("_bucket{le=\"+Inf\"} 7");
        assert_eq!((freshness.count(), freshness.sum_ms()), (7, 1_000_000_502));
    }
}

//! What a replay says of its progress: in the online store for the operator, as metrics, and in the log.
//!
//! Saying never fails the replay: what could not be said is said a second later.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use engine::replay::{Part, Progress, State};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use shell::clock::now_ms;
use shell::store::RowStore;

use crate::link::Link;
use crate::metrics::PartitionLabel;
use crate::shared::Shared;

/// How often progress is told.
const PERIOD: Duration = Duration::from_secs(1);
/// How often it is written to the log.
const LOG_EVERY: u64 = 10;
/// The rate is that of so many milliseconds.
const WINDOW_MS: i64 = 30_000;

/// Rates and ends from positions: pure.
#[derive(Debug)]
pub(super) struct Meter {
    part: Part,
    /// When and where, the oldest first.
    seen: VecDeque<(i64, i64)>,
}

impl Meter {
    /// Has seen nothing.
    pub(super) fn new(part: Part) -> Self {
        Self { part, seen: VecDeque::new() }
    }

    /// The progress of a reading that stands at `position` at `now_ms`.
    pub(super) fn at(&mut self, position: i64, now_ms: i64, state: State) -> Progress {
        // After a failure it goes back, and a clock may be set; either makes what was seen before no measure.
        if self.seen.back().is_some_and(|(at, seen)| *seen > position || *at > now_ms) {
            self.seen.clear();
        }
        self.seen.push_back((now_ms, position));
        while self.seen.front().is_some_and(|(at, _)| now_ms - at > WINDOW_MS) {
            self.seen.pop_front();
        }
        let (since, first) = self.seen.front().copied().unwrap_or((now_ms, position));
        let (read, spent) = ((position - first).unsigned_abs(), (now_ms - since).unsigned_abs());
        let records_per_second = (read * 1_000).checked_div(spent).unwrap_or(0);
        let Part { from, to, .. } = self.part;
        let left = (to - position).max(0).unsigned_abs();
        let eta_seconds = if left == 0 { Some(0) } else { (left * spent).checked_div(read * 1_000) };
        Progress { from, to, position, records_per_second, eta_seconds, said_ms: now_ms, state }
    }
}

/// The metrics that only a replay has. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct ReplayMetrics {
    from: Family<PartitionLabel, Gauge>,
    to: Family<PartitionLabel, Gauge>,
    position: Family<PartitionLabel, Gauge>,
    rate: Family<PartitionLabel, Gauge>,
}

impl ReplayMetrics {
    /// Registers them all.
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("featuremill_replay");
        let m = metrics.clone();
        registry.register("from_offset", "The first offset that the replay reads", m.from);
        registry.register("to_offset", "The offset at which the replay ends", m.to);
        registry.register("position_offset", "The next offset that the replay reads", m.position);
        registry.register("records_per_second", "Records read a second, of the last half minute", m.rate);
        metrics
    }

    fn set(&self, partition: i32, progress: &Progress) {
        let label = PartitionLabel { partition };
        self.from.get_or_create(&label).set(progress.from);
        self.to.get_or_create(&label).set(progress.to);
        self.position.get_or_create(&label).set(progress.position);
        self.rate.get_or_create(&label).set(i64::try_from(progress.records_per_second).unwrap_or(i64::MAX));
    }
}

/// Tells.
pub(super) struct Teller<S> {
    pub(super) link: Link<S>,
    /// Where in the store.
    pub(super) key: String,
    pub(super) meter: Meter,
    pub(super) metrics: ReplayMetrics,
}

impl<S: RowStore> Teller<S> {
    /// Says it once.
    pub(super) async fn say(&mut self, position: i64, state: State) -> Progress {
        let progress = self.meter.at(position, now_ms(), state);
        let partition = self.meter.part.partition;
        self.metrics.set(partition, &progress);
        if let Some(connected) = self.link.current()
            && let Err(error) = connected.store.say_replay(&self.key, partition, &progress).await
        {
            tracing::debug!(%error, "progress could not be told");
        }
        progress
    }

    /// Says every second where the reading stands, as long as it is polled.
    pub(super) async fn tell(&mut self, shared: &Shared<S>) -> Infallible {
        let mut ticks = tokio::time::interval(PERIOD);
        let partition = self.meter.part.partition;
        let mut said: u64 = 0;
        loop {
            ticks.tick().await;
            // It is not known where it starts before the markers are read.
            let Some(position) = shared.position(partition) else { continue };
            let progress = self.say(position, State::Running).await;
            if said.is_multiple_of(LOG_EVERY) {
                log(partition, &progress);
            }
            said += 1;
        }
    }
}

fn log(partition: i32, progress: &Progress) {
    let Progress { from, to, position, records_per_second, eta_seconds, .. } = progress;
    let percent = format!("{:.1}", progress.share() * 100.0);
    tracing::info!(partition, from, to, position, percent, records_per_second, eta_seconds, "replaying");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(from: i64, to: i64) -> Meter {
        Meter::new(Part { partition: 0, from, to })
    }

    #[test]
    fn rate_and_end_are_those_of_the_last_half_minute() {
        let mut meter = meter(100, 10_100);
        let first = meter.at(100, 0, State::Running);
        assert_eq!((first.records_per_second, first.eta_seconds), (0, None));
        let second = meter.at(1_100, 2_000, State::Running);
        assert_eq!((second.position, second.records_per_second, second.eta_seconds), (1_100, 500, Some(18)));
        for second in 3..=40 {
            meter.at(1_100, second * 1_000, State::Running);
        }
        let stalled = meter.at(1_100, 41_000, State::Running);
        assert_eq!((stalled.records_per_second, stalled.eta_seconds), (0, None), "what was fast is long ago");
    }

    #[test]
    fn a_slow_reading_has_an_end_all_the_same() {
        let mut meter = meter(0, 10);
        meter.at(0, 0, State::Running);
        let slow = meter.at(1, 4_000, State::Running);
        assert_eq!((slow.records_per_second, slow.eta_seconds), (0, Some(36)));
    }

    #[test]
    fn going_back_begins_a_new_measure_and_the_end_needs_none() {
        let mut meter = meter(0, 1_000);
        meter.at(0, 0, State::Running);
        meter.at(500, 1_000, State::Running);
        let back = meter.at(200, 2_000, State::Running);
        assert_eq!((back.records_per_second, back.eta_seconds), (0, None));
        let on = meter.at(300, 3_000, State::Running);
        assert_eq!((on.records_per_second, on.eta_seconds), (100, Some(7)));
        let clock_set_back = meter.at(400, 1_000, State::Running);
        assert_eq!(clock_set_back.eta_seconds, None);
        assert_eq!(meter.at(1_000, 1_000, State::Done).eta_seconds, Some(0));
    }
}

//! From a revision's markers and the ends of its topic to a lag. Pure.
//!
//! For how long a record may have been waiting is not read off event times alone: those of a topic whose producers are late, or
//! that nobody wrote to for a day, say nothing of the workers. Each of these bounds it from above, and the least of them counts:
//! since the worker knows the partition to have been read to its end; since it was seen to be at its end here; and how old the
//! newest event is that was read, with what events may be ahead of their time. While a partition has never been at its end,
//! only the age of its newest event is known.
//!
//! Invariants: ends are asked for after markers are read, so that a position behind the end means that the topic was made anew;
//! what stands at its end has no lag.

use std::collections::BTreeMap;
use std::time::Duration;

use crds::feature_view::LagStatus;
use engine::row::Marker;
use shell::store::Markers;

use crate::scaling::Flow;

#[cfg(test)]
mod tests;

/// For how long a partition with records must stand until it counts as stalled: longer than a worker takes to start anew.
const STALLED_AFTER_MS: i64 = 60_000;
/// Over how long the rate is smoothed.
const SMOOTHING: f64 = 60.0;

/// What a partition holds that can be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// The first offset that is still there.
    pub start: i64,
    /// The first that cannot be read yet: the end, or an open transaction.
    pub end: i64,
    /// Whether this is of before: the partition has no leader now who could say, so nothing comes in either.
    pub past: bool,
}

/// What was seen before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    at: i64,
    partitions: BTreeMap<i32, SeenPartition>,
    records: i64,
    /// By how many records a second the lag falls, smoothed.
    drained: Option<f64>,
    /// Whether every partition was at its end once.
    caught_up: bool,
    /// What happened since the look before.
    pub(crate) moved: Moved,
    /// What happens a second, of a view whose workers are scaled by it.
    pub(crate) flow: Flow,
}

impl Seen {
    /// What status says of it, in an operator that was restarted: who was at the end of everything once is no beginner.
    #[must_use]
    pub fn of(status: &LagStatus) -> Self {
        Self { caught_up: !status.first_reading, ..Self::default() }
    }
}

/// What happened between two looks, in partitions that are read: one that nobody can read says nothing of how many workers it takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// When the second look was.
    pub at: i64,
    /// How many partitions the topic has, those that are not read included.
    pub partitions: i32,
    /// Records that wait.
    pub waiting: i64,
    /// Records that were read.
    pub consumed: i64,
    /// Records that came in.
    pub produced: i64,
}

/// What a partition was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SeenPartition {
    position: Option<i64>,
    end: i64,
    read_to_end_at: i64,
    /// When records were last seen to be read of it.
    moved_at: i64,
    /// When its marker was last seen to change in any way: somebody works at it.
    alive_at: i64,
    /// When it was last seen at its end.
    at_end_at: Option<i64>,
    /// Since when it has been seen not to be.
    behind_since: Option<i64>,
}

/// A lag.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// Records that were not read yet.
    pub records: i64,
    /// For how long the oldest of them may have been waiting.
    pub seconds: i64,
    /// How many records a second it falls; negative if it rises.
    pub drained_per_second: Option<i64>,
    /// When it would be nothing, if it falls on like that.
    pub eta_seconds: Option<i64>,
    /// Partitions with records that nobody reads, although others are read.
    pub stalled: Vec<i32>,
    /// For how long nobody has read of the one of them that stands longest.
    pub stalled_seconds: i64,
    /// Partitions that cannot be read on: what was not read is gone, or the topic ends before what was.
    pub broken: Vec<i32>,
    /// Whether there are records and none of any partition is read.
    pub stopped: bool,
    /// Whether some partition never was at its end.
    pub first_reading: bool,
}

/// How one partition stands.
struct Stand {
    records: i64,
    at_end: bool,
    broken: bool,
}

impl Stand {
    fn of(marker: Option<&Marker>, bounds: Bounds) -> Self {
        let all = (bounds.end - bounds.start).max(0);
        match marker.map(|marker| marker.offset) {
            // Nothing was read yet. What expired before anybody read it is no lag.
            None => Self { records: all, at_end: all == 0, broken: false },
            // It was read to its end, or at least further than was known, and then lost its leader.
            Some(position) if bounds.past && position >= bounds.end => Self { records: 0, at_end: true, broken: false },
            // Made anew: all that it holds is unread, if anything.
            Some(position) if position > bounds.end => Self { records: all, at_end: false, broken: true },
            // Expired: what is gone cannot be read any more.
            Some(position) if position < bounds.start => Self { records: all, at_end: false, broken: true },
            Some(position) => {
                let records = bounds.end - position;
                Self { records, at_end: records == 0, broken: false }
            }
        }
    }
}

/// The lag at `now`, when the bounds were asked for, and what is to be remembered of it. `ahead_ms` is how far events may be
/// ahead of their time.
#[must_use]
pub fn measure(
    markers: &Markers,
    bounds: &BTreeMap<i32, Bounds>,
    now: i64,
    ahead_ms: i64,
    before: &Seen,
) -> (Measured, Seen) {
    let mut measured = Measured::default();
    let mut seen = Seen { at: now, caught_up: true, ..Seen::default() };
    let mut unread = Vec::new();
    // Of those that have no leader, and never had one here, the workers know.
    let partitions = i32::try_from(bounds.len()).unwrap_or(i32::MAX).max(markers.partitions.unwrap_or_default());
    seen.moved = Moved { at: now, partitions, ..Moved::default() };
    for (&partition, &bounds) in bounds {
        let marker = markers.by_partition.get(&partition);
        let stand = Stand::of(marker, bounds);
        let earlier = before.partitions.get(&partition);
        let known = SeenPartition { end: bounds.end, ..SeenPartition::now(marker, &stand, earlier, now) };
        let waited = if stand.at_end { 0 } else { waiting(marker, &known, now, ahead_ms) };
        measured.records += stand.records;
        measured.seconds = measured.seconds.max(waited / 1000);
        if !stand.broken && now - known.moved_at < STALLED_AFTER_MS {
            seen.moved.add(&stand, &known, earlier);
        }
        seen.caught_up &= stand.at_end || known.read_to_end_at > 0;
        if stand.broken {
            measured.broken.push(partition);
        } else if !stand.at_end {
            unread.push(partition);
        }
        seen.partitions.insert(partition, known);
    }
    // Who was at the end of everything once is not a beginner again when the topic gains a partition.
    seen.caught_up |= before.caught_up;
    measured.first_reading = !seen.caught_up;
    let alive = seen.partitions.values().any(|p| now - p.alive_at < STALLED_AFTER_MS);
    let stands = |partition: &i32| now - seen.partitions[partition].moved_at;
    if alive {
        measured.stalled = unread.into_iter().filter(|partition| stands(partition) >= STALLED_AFTER_MS).collect();
        measured.stalled_seconds = measured.stalled.iter().map(stands).max().unwrap_or_default() / 1000;
    } else {
        measured.stopped = !unread.is_empty();
    }
    seen.records = measured.records;
    seen.drained = drained(&seen, before);
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)] // Rounded, and bounded by what a log holds.
    if let Some(drained) = seen.drained {
        measured.drained_per_second = Some(drained.round() as i64);
        let left = measured.records as f64 / drained;
        // What nobody reads is never gone, however fast the rest is.
        let falls = drained >= 0.5 && measured.stalled.is_empty() && measured.broken.is_empty();
        measured.eta_seconds = (falls && measured.records > 0).then(|| left.ceil() as i64);
    }
    (measured, seen)
}

impl Moved {
    fn add(&mut self, stand: &Stand, now: &SeenPartition, before: Option<&SeenPartition>) {
        self.waiting += stand.records;
        let Some(before) = before else { return };
        self.produced += (now.end - before.end).max(0);
        // A worker that goes back, because a store lost what was written, has read nothing.
        if let (Some(now), Some(before)) = (now.position, before.position) {
            self.consumed += (now - before).max(0);
        }
    }
}

impl SeenPartition {
    fn now(marker: Option<&Marker>, stand: &Stand, before: Option<&Self>, now: i64) -> Self {
        let position = marker.map(|marker| marker.offset);
        let read_to_end_at = marker.map_or(0, |marker| marker.read_to_end_at);
        let moved = before.is_none_or(|before| before.position != position);
        let alive = moved || before.is_none_or(|before| before.read_to_end_at != read_to_end_at);
        let earlier = |at: fn(&Self) -> i64| before.map_or(now, at);
        Self {
            position,
            end: 0,
            read_to_end_at,
            // One at its end has nothing to move for; when records come, it has the same time for them as any other.
            moved_at: if moved || stand.at_end { now } else { earlier(|before| before.moved_at) },
            alive_at: if alive { now } else { earlier(|before| before.alive_at) },
            at_end_at: if stand.at_end { Some(now) } else { before.and_then(|before| before.at_end_at) },
            behind_since: (!stand.at_end).then(|| before.and_then(|before| before.behind_since).unwrap_or(now)),
        }
    }
}

/// For how long the oldest record that was not read may have been waiting, in milliseconds.
fn waiting(marker: Option<&Marker>, known: &SeenPartition, now: i64, ahead_ms: i64) -> i64 {
    let event_time = marker.map(|marker| marker.event_time).filter(|time| *time > i64::MIN);
    let read_to_end_at = Some(known.read_to_end_at).filter(|at| *at > 0);
    let bound = match (read_to_end_at.max(known.at_end_at), event_time) {
        (Some(at), Some(time)) => at.max(time.saturating_sub(ahead_ms)),
        (Some(at), None) => at,
        (None, Some(time)) => time,
        (None, None) => known.behind_since.unwrap_or(now),
    };
    now.saturating_sub(bound).max(0)
}

/// By how many records a second the lag falls.
#[allow(clippy::cast_precision_loss)]
fn drained(now: &Seen, before: &Seen) -> Option<f64> {
    // A partition that came or went is no progress.
    if before.at == 0 || now.partitions.len() != before.partitions.len() {
        return None;
    }
    let elapsed = Duration::from_millis(u64::try_from(now.at - before.at).unwrap_or(0)).as_secs_f64();
    if elapsed <= 0.0 {
        return before.drained;
    }
    let rate = (before.records - now.records) as f64 / elapsed;
    let weight = 1.0 - (-elapsed / SMOOTHING).exp();
    Some(before.drained.map_or(rate, |before| before + weight * (rate - before)))
}

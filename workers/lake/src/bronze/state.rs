//! What a Bronze table holds of its topic: per partition the next offset, the newest event time, and when it was last
//! read to its end; and what follows for its completeness.

use std::collections::BTreeMap;

use deltalake::DeltaTable;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::commit::latest_info;
use crate::error::LakeError;

/// The key of a Bronze commit's info under which the [`State`] stands.
pub const STATE: &str = "featuremill.bronze";

/// What is known of one partition after a commit. As the online store's markers are, so that stream and batch mean the
/// same by completeness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// The next offset: every record before it is in the table.
    pub offset: i64,
    /// The largest event time read, in milliseconds; `None` if no record had one.
    pub event_time: Option<i64>,
    /// The partition's end, as last seen.
    pub end_offset: i64,
    /// When, by the worker's clock in milliseconds, it was last read to its end; 0 if never.
    pub read_to_end_at: i64,
}

impl Progress {
    /// The event time up to which the partition is complete. One that was at its end is complete up to that moment,
    /// however old its last event is; one that was behind up to its newest event, or to when it was last at its end.
    #[must_use]
    pub fn complete_until(&self) -> Option<i64> {
        let read_to_end = (self.read_to_end_at > 0).then_some(self.read_to_end_at);
        if self.offset >= self.end_offset && read_to_end.is_some() {
            return read_to_end;
        }
        self.event_time.max(read_to_end)
    }
}

/// What is known of the topic after a commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// How many partitions the topic had.
    pub partitions: i32,
    /// Those that were ever read.
    pub progress: BTreeMap<i32, Progress>,
    /// What the topic lost before it was read, and a person chose to go on without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<Gap>,
}

/// Records that the table does not hold, because the topic no longer held them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The partition.
    pub partition: i32,
    /// The first offset that is missing.
    pub from: i64,
    /// The first offset that is not.
    pub to: i64,
}

impl State {
    /// The event time up to which every partition of the topic is complete; `None` if one was not read yet, or has shown
    /// neither an event nor its end.
    #[must_use]
    pub fn complete_until(&self) -> Option<i64> {
        if self.partitions <= 0 {
            return None;
        }
        (0..self.partitions).map(|partition| self.progress.get(&partition)?.complete_until()).min().flatten()
    }

    /// Takes in what a worker has read. A partition's progress never goes back.
    pub fn advance(&mut self, partitions: i32, progress: impl IntoIterator<Item = (i32, Progress)>) {
        self.partitions = self.partitions.max(partitions);
        for (partition, new) in progress {
            let known = self.progress.entry(partition).or_insert(new);
            if new.offset >= known.offset {
                let event_time = known.event_time.max(new.event_time);
                let read_to_end_at = known.read_to_end_at.max(new.read_to_end_at);
                *known = Progress { event_time, read_to_end_at, ..new };
            }
        }
    }
}

/// What the table says of itself, at the version it is loaded at; `None` if it is no Bronze, or an empty one.
///
/// # Errors
/// [`LakeError::Metadata`], or what the store says.
pub async fn state(table: &DeltaTable, uri: &str) -> Result<Option<State>, LakeError> {
    let found = latest_info(table, uri, &[STATE]).await?;
    found.map(|(_, value)| parse_state(uri, value)).transpose()
}

/// Reads what stands under [`STATE`].
///
/// # Errors
/// [`LakeError::Metadata`].
pub(crate) fn parse_state(uri: &str, value: Value) -> Result<State, LakeError> {
    let found = value.to_string();
    serde_json::from_value(value).map_err(|_| LakeError::Metadata {
        uri: uri.to_owned(),
        what: STATE,
        found,
        fix: "another version wrote it: upgrade the reader",
    })
}

/// The event time in milliseconds up to which a Bronze table, at the version it is loaded at, provably holds every event
/// of its topic.
///
/// # Errors
/// As [`state`].
pub async fn completeness(table: &DeltaTable, uri: &str) -> Result<Option<i64>, LakeError> {
    Ok(state(table, uri).await?.and_then(|state| state.complete_until()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(offset: i64, event_time: Option<i64>, end_offset: i64, read_to_end_at: i64) -> Progress {
        Progress { offset, event_time, end_offset, read_to_end_at }
    }

    fn state(partitions: i32, of: &[Progress]) -> State {
        State { partitions, progress: (0..).zip(of.iter().copied()).collect(), gaps: Vec::new() }
    }

    #[test]
    fn the_least_complete_partition_decides_and_idle_ones_step_aside() {
        assert_eq!(state(1, &[progress(10, Some(500), 10, 9_000)]).complete_until(), Some(9_000));
        assert_eq!(state(1, &[progress(10, Some(500), 20, 0)]).complete_until(), Some(500));
        assert_eq!(state(1, &[progress(10, Some(500), 20, 800)]).complete_until(), Some(800));
        let both = [progress(10, Some(500), 10, 9_000), progress(3, Some(7_000), 4, 0)];
        assert_eq!(state(2, &both).complete_until(), Some(7_000));
    }

    #[test]
    fn a_partition_of_which_nothing_is_known_leaves_all_unknown() {
        assert_eq!(State::default().complete_until(), None);
        assert_eq!(state(2, &[progress(10, Some(500), 10, 9_000)]).complete_until(), None);
        assert_eq!(state(1, &[progress(0, None, 5, 0)]).complete_until(), None);
        assert_eq!(state(1, &[progress(0, None, 0, 77)]).complete_until(), Some(77));
    }

    #[test]
    fn progress_never_goes_back() {
        let mut known = state(1, &[progress(10, Some(500), 12, 400)]);
        known.advance(2, [(0, progress(12, Some(300), 12, 0)), (1, progress(1, None, 1, 5))]);
        assert_eq!(known, state(2, &[progress(12, Some(500), 12, 400), progress(1, None, 1, 5)]));
        known.advance(1, [(0, progress(4, Some(900), 12, 900))]);
        assert_eq!(known, state(2, &[progress(12, Some(500), 12, 400), progress(1, None, 1, 5)]));
    }
}

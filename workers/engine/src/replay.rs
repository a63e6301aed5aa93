//! A replay: what its processes are handed, and what each says of its progress.
//!
//! Invariants: the bounds are offsets that were decided before the first process began, so that every attempt reads the
//! same records; a part that is handed out by [`Replay::part`] is well-formed.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::plan::Assignment;

/// What the processes of one replay are handed: an Indexed Job's, of which process `i` reads `parts[i]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Replay {
    /// The plan, and the incarnation of the rows it fills.
    pub assignment: Assignment,
    /// What each process reads.
    pub parts: Vec<Part>,
    /// The most records that each process reads in a second; without it, as many as it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records_per_second: Option<NonZeroU32>,
    /// The event time in milliseconds from which on the rows hold every event once all parts are read; without it nothing was
    /// left out on purpose. It stands beside the markers ([`crate::row::COMPLETE_FROM_FIELD`]) before anything is read, and
    /// what reaches further back reads as inexact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete_from_ms: Option<i64>,
    /// What the topic no longer holds, and an archive does: read before the parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<Archive>,
}

/// History that the topic no longer holds, and its archive (Bronze) does. Of each partition named here the archive is read
/// first, through the same fold and flush, up to what it holds and at least to where the [`Part`] begins; the marker stands
/// there then, and the replay of the topic goes on from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Archive {
    /// The table's address.
    pub table: String,
    /// The record time in milliseconds from which on records are read; without it from the first that there ever was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<i64>,
    /// The partitions whose topic begins too late.
    pub partitions: Vec<i32>,
}

/// One partition's records `[from, to)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Part {
    /// The partition of the plan's topic.
    pub partition: i32,
    /// The first offset that any window may need: no event before it counts.
    pub from: i64,
    /// The end, as it was captured. The rows' marker stands there when the part is done, and live workers go on from it.
    pub to: i64,
}

/// Why a process has no part that it could read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PartError {
    /// There are fewer parts than processes.
    #[error("index {index} has no part: `parts` holds {parts}; set the Job's completions to that number")]
    Index {
        /// The process's.
        index: usize,
        /// How many there are.
        parts: usize,
    },
    /// The bounds do not bound anything.
    #[error("parts[{index}]: partition {partition} from {from} to {to}; it takes 0 <= from <= to and a partition >= 0")]
    Bounds {
        /// The process's.
        index: usize,
        /// The partition.
        partition: i32,
        /// The first offset.
        from: i64,
        /// The end.
        to: i64,
    },
    /// Two processes would write the same lanes, each with a part of the events.
    #[error("parts[{index}] and parts[{other}] are both of partition {partition}; give each partition one part")]
    Twice {
        /// The process's.
        index: usize,
        /// The other.
        other: usize,
        /// The partition.
        partition: i32,
    },
}

impl Replay {
    /// The part of process `index`.
    ///
    /// # Errors
    /// [`PartError`].
    pub fn part(&self, index: usize) -> Result<Part, PartError> {
        let part = *self.parts.get(index).ok_or(PartError::Index { index, parts: self.parts.len() })?;
        let Part { partition, from, to } = part;
        if partition < 0 || from < 0 || from > to {
            return Err(PartError::Bounds { index, partition, from, to });
        }
        let twin = self.parts.iter().enumerate().find(|(i, other)| *i != index && other.partition == partition);
        match twin {
            Some((other, _)) => Err(PartError::Twice { index, other, partition }),
            None => Ok(part),
        }
    }
}

/// How far a process has come, as it says every second in the online store, for people and for the status of whoever
/// ordered the replay. What is in the rows is said by the marker alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// As in [`Part`].
    pub from: i64,
    /// As in [`Part`].
    pub to: i64,
    /// The next offset to read. It is ahead of the marker by what is not yet written, and goes back to it after a failure.
    pub position: i64,
    /// The rate of the last half minute, in offsets, which records are unless producers use transactions.
    pub records_per_second: u64,
    /// How long the rest takes at this rate, in seconds; `None` while nothing is read.
    pub eta_seconds: Option<u64>,
    /// When this was said, in milliseconds. A process that works says it again every second.
    pub said_ms: i64,
    /// What the process is doing.
    #[serde(flatten)]
    pub state: State,
}

/// What a process is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all_fields = "camelCase")]
pub enum State {
    /// It reads, waits for a server, or was stopped on the way and will be started again.
    Running,
    /// The marker stands at `to` or behind it.
    Done,
    /// No further attempt at this replay can succeed.
    Refused {
        /// One stable word, such as `RetentionTooShort`.
        reason: String,
        /// What it is, and what to do.
        message: String,
    },
}

impl Progress {
    /// How much of the part is read, 0 to 1.
    #[must_use]
    pub fn share(&self) -> f64 {
        let of = self.to - self.from;
        if of <= 0 {
            return 1.0;
        }
        #[expect(clippy::cast_precision_loss, reason = "offsets are far below 2^53")]
        let share = (self.position - self.from).clamp(0, of) as f64 / of as f64;
        share
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::row::replay_key;

    fn part(partition: i32, from: i64, to: i64) -> Part {
        Part { partition, from, to }
    }

    fn replay(parts: &[Part]) -> Replay {
        let feature = crate::definition::FeatureDefinition {
            name: "events".into(),
            aggregate: Some("Count".into()),
            ..Default::default()
        };
        let plan = crate::fixtures::plan(&[("user", "String")], vec![feature]);
        let assignment = Assignment { incarnation: 0, plan };
        Replay { assignment, parts: parts.to_vec(), records_per_second: None, complete_from_ms: None, archive: None }
    }

    #[test]
    fn a_process_reads_the_part_of_its_index() {
        let replay = replay(&[part(3, 5, 9), part(0, 0, 0)]);
        assert_eq!(replay.part(0), Ok(part(3, 5, 9)));
        assert_eq!(replay.part(1), Ok(part(0, 0, 0)));
        assert_eq!(replay.part(2), Err(PartError::Index { index: 2, parts: 2 }));
    }

    #[test]
    fn parts_that_bound_nothing_or_overlap_are_refused_by_name() {
        let bad = replay(&[part(0, 9, 5), part(-1, 0, 1), part(2, -1, 1)]);
        for index in 0..3 {
            assert!(bad.part(index).unwrap_err().to_string().starts_with(&format!("parts[{index}]")));
        }
        let twice = replay(&[part(1, 0, 5), part(0, 0, 5), part(1, 5, 9)]);
        assert_eq!(twice.part(2), Err(PartError::Twice { index: 2, other: 0, partition: 1 }));
        assert_eq!(twice.part(1), Ok(part(0, 0, 5)));
    }

    #[test]
    fn the_file_reads_as_it_is_documented_and_an_unknown_field_is_refused() {
        let mut json = serde_json::to_value(replay(&[part(0, 1, 2)])).unwrap();
        assert_eq!(json["parts"], serde_json::json!([{"partition": 0, "from": 1, "to": 2}]));
        assert!(json.get("recordsPerSecond").is_none());
        json["recordsPerSecond"] = 500.into();
        let read: Replay = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(read.records_per_second, NonZeroU32::new(500));
        json["recordsPerSecond"] = 0.into();
        assert!(serde_json::from_value::<Replay>(json.clone()).is_err());
        json["recordsPerSecond"] = 1.into();
        json["rate"] = 5.into();
        assert!(serde_json::from_value::<Replay>(json).unwrap_err().to_string().contains("rate"));
    }

    #[test]
    fn progress_keeps_its_names() {
        let running = Progress {
            from: 10,
            to: 30,
            position: 15,
            records_per_second: 5,
            eta_seconds: Some(3),
            said_ms: 7,
            state: State::Running,
        };
        let json = serde_json::to_value(&running).unwrap();
        let expected = serde_json::json!({"from": 10, "to": 30, "position": 15, "recordsPerSecond": 5, "etaSeconds": 3,
            "saidMs": 7, "state": "Running"});
        assert_eq!(json, expected);
        assert!((running.share() - 0.25).abs() < 1e-12);
        let refused = State::Refused { reason: "RetentionTooShort".into(), message: "gone".into() };
        let refused = Progress { state: refused, ..running };
        let text = serde_json::to_string(&refused).unwrap();
        assert!(text.contains(r#""state":"Refused","reason":"RetentionTooShort","message":"gone""#), "{text}");
        assert_eq!(serde_json::from_str::<Progress>(&text).unwrap(), refused);
        assert_eq!(replay_key("u", "r", 2), "u/r/2/replay");
    }
}

//! Where a replay's part is read from, or why never: a pure decision on what was observed.

use engine::replay::{Part, PartError};
use shell::topic::Bounds;
use thiserror::Error;

/// Why no further attempt at this replay can succeed: what a person can mend without another replay is not among these.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The file of the replay does not read, or its plan does not run.
    #[error("{0}")]
    Plan(String),
    /// The index has no part.
    #[error(transparent)]
    Part(#[from] PartError),
    /// The topic drops superseded records, so that some of the part may be gone.
    #[error("{0}")]
    Compacted(String),
    /// The topic does not hold all that is left to be read.
    #[error(
        "partition {partition} of {topic} begins at offset {low} by now, so that [{from}, {low}) of [{from}, {to}) is gone; lengthen the topic's retention.ms, or replay what it still holds from there on"
    )]
    RetentionTooShort {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The first offset that is left.
        low: i64,
        /// The first offset that is still needed.
        from: i64,
        /// The part's end.
        to: i64,
    },
    /// The topic ends before the end that was captured: it was made anew, or lost records.
    #[error(
        "partition {partition} of {topic} ends at offset {end}, before the replay's end {to}: the topic was made anew or lost records since; raise source.epoch, which starts new rows from what the topic holds"
    )]
    SourceReset {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// Where it ends.
        end: i64,
        /// The part's end.
        to: i64,
    },
    /// The topic has no such partition: it was made anew with fewer.
    #[error(
        "topic {topic} has no partition {partition} any more: it was made anew with fewer; raise source.epoch, which starts new rows from what the topic holds"
    )]
    PartitionMissing {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// The archive does not hold what the topic no longer does, or is none.
    #[error("{message}")]
    Archive {
        /// A stable word for conditions.
        reason: &'static str,
        /// What it is, and what to do.
        message: String,
    },
    /// A row that was read back is no lane of the plan.
    #[error("{0}")]
    Row(String),
}

impl Refusal {
    /// A stable word for conditions.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Plan(_) | Self::Part(_) => "PlanRefused",
            Self::Compacted(_) => "TopicCompacted",
            Self::RetentionTooShort { .. } => "RetentionTooShort",
            Self::SourceReset { .. } => "SourceReset",
            Self::PartitionMissing { .. } => "PartitionMissing",
            Self::Archive { reason, .. } => reason,
            Self::Row(_) => "RowUnreadable",
        }
    }
}

/// What follows from what was observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The marker stands at the end or behind it.
    Done,
    /// Read from there.
    Read {
        /// The next offset.
        position: i64,
    },
    /// What the topic no longer holds is to be read from its archive first.
    ArchiveFirst,
    /// Give up.
    Refused(Refusal),
}

/// What one process of a replay is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// The records.
    pub part: Part,
    /// The event time from which on the rows hold every event then; see [`engine::replay::Replay::complete_from_ms`].
    pub complete_from: Option<i64>,
    /// Whether what is before the part is in an archive, and needed.
    pub archived: bool,
}

/// Decides by the offset of the marker, and by what the topic holds of the partition (`None`: it has no such partition).
///
/// A marker before the part's beginning is an erasure's, which sends readers back to what it covers: no event before the
/// beginning counts in any window, so there is nothing to be read there. If that is in an archive it counts.
#[must_use]
pub fn decide(topic: &str, order: Order, marker: Option<i64>, bounds: Option<Bounds>) -> Decision {
    let Order { part, archived, .. } = order;
    let Part { partition, from, to } = part;
    if done(part, marker) {
        return Decision::Done;
    }
    if archived && marker.unwrap_or(0) < from {
        return Decision::ArchiveFirst;
    }
    let topic = topic.to_owned();
    let Some(Bounds { low, end }) = bounds else {
        return Decision::Refused(Refusal::PartitionMissing { topic, partition });
    };
    if end < to {
        return Decision::Refused(Refusal::SourceReset { topic, partition, end, to });
    }
    let position = marker.unwrap_or(from).max(from);
    if position < low && position < to {
        return Decision::Refused(Refusal::RetentionTooShort { topic, partition, low, from: position, to });
    }
    Decision::Read { position }
}

/// Whether nothing is left to do, whatever became of the topic. A part without records is done once it has its marker.
#[must_use]
pub fn done(part: Part, marker: Option<i64>) -> bool {
    marker.is_some_and(|marker| marker >= part.to)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use super::*;

    fn of(from: i64, to: i64, marker: Option<i64>, bounds: Option<(i64, i64)>) -> Decision {
        of_order(Order { part: Part { partition: 3, from, to }, complete_from: None, archived: false }, marker, bounds)
    }

    fn of_order(order: Order, marker: Option<i64>, bounds: Option<(i64, i64)>) -> Decision {
        decide("clicks", order, marker, bounds.map(|(low, end)| Bounds { low, end }))
    }

    fn read(position: i64) -> Decision {
        Decision::Read { position }
    }

    fn refused(decision: Decision) -> (&'static str, String) {
        match decision {
            Decision::Refused(refusal) => (refusal.reason(), refusal.to_string()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_part_begins_at_its_marker_or_its_first_offset() {
        assert_eq!(of(5, 9, None, Some((0, 20))), read(5));
        assert_eq!(of(5, 9, Some(7), Some((0, 20))), read(7));
        assert_eq!(of(5, 9, None, Some((5, 9))), read(5));
        assert_eq!(of(5, 9, Some(0), Some((5, 9))), read(5), "an erasure sent it back further than there is");
    }

    #[test]
    fn what_an_archive_holds_is_read_before_the_topic() {
        let order = Order { part: Part { partition: 3, from: 5, to: 9 }, complete_from: None, archived: true };
        for marker in [None, Some(0), Some(4)] {
            assert_eq!(of_order(order, marker, Some((5, 20))), Decision::ArchiveFirst, "{marker:?}");
        }
        assert_eq!(of_order(order, Some(5), Some((5, 20))), read(5));
        assert_eq!(of_order(order, Some(7), Some((7, 20))), read(7));
        assert_eq!(of_order(order, Some(9), None), Decision::Done);
    }

    #[test]
    fn what_is_done_stays_done_whatever_becomes_of_the_topic() {
        assert_eq!(of(5, 9, Some(9), None), Decision::Done);
        assert_eq!(of(5, 9, Some(30), Some((25, 40))), Decision::Done);
        assert_eq!(of(5, 9, Some(9), Some((0, 2))), Decision::Done);
    }

    #[test]
    fn a_part_without_records_still_needs_its_marker() {
        assert_eq!(of(0, 0, None, Some((0, 0))), read(0));
        assert_eq!(of(0, 0, Some(0), Some((0, 0))), Decision::Done);
        assert_eq!(of(9, 9, None, Some((20, 40))), read(9), "nothing of it can be gone");
        assert_eq!(
            of(9, 9, None, None),
            Decision::Refused(Refusal::PartitionMissing { topic: "clicks".into(), partition: 3 })
        );
    }

    #[test]
    fn what_the_topic_lost_is_named() {
        let (reason, message) = refused(of(10, 100, None, Some((40, 200))));
        assert_eq!(reason, "RetentionTooShort");
        for text in ["partition 3 of clicks", "[10, 40)", "[10, 100)"] {
            assert!(message.contains(text), "{text}: {message}");
        }
        // What was read before it went is no loss.
        assert_eq!(of(10, 100, Some(40), Some((40, 200))), read(40));
        assert!(refused(of(10, 100, Some(39), Some((40, 200)))).1.contains("[39, 40)"));
        assert_eq!(refused(of(10, 100, Some(39), Some((0, 99)))).0, "SourceReset");
        assert_eq!(refused(of(10, 100, Some(39), None)).0, "PartitionMissing");
    }
}

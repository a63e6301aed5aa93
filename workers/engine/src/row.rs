//! The names and small codecs of everything in the online store, and of what a view owns in Kafka.
//!
//! Invariants: every key and consumer group starts with a Kubernetes UID, so that two clusters never share one; an
//! entity's row is one key, so that it is one slot of a Redis Cluster; every text here is stable across versions.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::plan::{Plan, ViewIdentity};

/// Everything of one view in the online store starts with this.
#[must_use]
pub fn view_prefix(uid: &str) -> String {
    format!("{uid}/")
}

/// Everything of one revision of a view, its rows, markers and head, starts with this.
#[must_use]
pub fn revision_prefix(uid: &str, revision: &str) -> String {
    format!("{uid}/{revision}/")
}

/// What all row keys of one incarnation start with; an [entity's text](entity_text) follows.
#[must_use]
pub fn row_prefix(uid: &str, revision: &str, incarnation: u32) -> String {
    format!("{uid}/{revision}/{incarnation}/e/")
}

/// The key of one entity's row.
#[must_use]
pub fn row_key(uid: &str, revision: &str, incarnation: u32, entity: &str) -> String {
    row_prefix(uid, revision, incarnation) + entity
}

/// The field of a stream lane's segment: `s3` is the head of partition 3, `s3.1` its first further segment.
#[must_use]
pub fn lane_field(partition: i32, segment: u8) -> String {
    if segment == 0 { format!("s{partition}") } else { format!("s{partition}.{segment}") }
}

/// The partition and segment of a field made by [`lane_field`]; `None` for any other field.
#[must_use]
pub fn parse_lane_field(field: &str) -> Option<(i32, u8)> {
    let rest = field.strip_prefix('s')?;
    match rest.split_once('.') {
        None => Some((rest.parse().ok()?, 0)),
        Some((partition, segment)) => Some((partition.parse().ok()?, segment.parse().ok()?)),
    }
}

/// The key of the markers that stand on one shard of the store; 0 on a single Redis.
#[must_use]
pub fn marker_key(uid: &str, revision: &str, incarnation: u32, shard: u32) -> String {
    format!("{uid}/{revision}/{incarnation}/m/{shard}")
}

/// The field of [`marker_key`] that says how many partitions the topic has.
pub const PARTITIONS_FIELD: &str = "partitions";

/// The key of what keeps the workers of an incarnation's rows from their work: pod name → [`Trouble`]. It expires.
#[must_use]
pub fn trouble_key(uid: &str, revision: &str, incarnation: u32) -> String {
    format!("{uid}/{revision}/{incarnation}/trouble")
}

/// The key that a store is asked about when it is doubted whether it takes writes; nothing ever stands there.
#[must_use]
pub fn write_test_key(uid: &str) -> String {
    format!("{uid}/write-test")
}

/// The key of the pointer to a view's live revision.
#[must_use]
pub fn live_key(uid: &str) -> String {
    format!("{uid}/live")
}

/// The key of the pointer to a revision's readable rows.
#[must_use]
pub fn head_key(uid: &str, revision: &str) -> String {
    format!("{uid}/{revision}/head")
}

/// The key of the list of an architecture's views, by the architecture's UID.
#[must_use]
pub fn catalog_key(architecture_uid: &str) -> String {
    format!("{architecture_uid}/catalog")
}

/// The key of a number that rises with every write to a catalog, so that an unchanged one need not be read whole.
#[must_use]
pub fn catalog_version_key(catalog_key: &str) -> String {
    format!("{catalog_key}/version")
}

/// The Kafka consumer group of one incarnation of a revision's rows.
#[must_use]
pub fn consumer_group(uid: &str, revision: &str, incarnation: u32) -> String {
    format!("{uid}.{revision}.{incarnation}")
}

/// The Kafka topic that takes a view's bad events.
#[must_use]
pub fn dead_letter_topic(view: &ViewIdentity) -> String {
    format!("featuremill.{}.{}.dead-letters", view.namespace, view.name)
}

/// Appends one key value to an entity's text; call it for each key in the plan's order.
///
/// Values are joined by `|`; `%` and `|` inside them are percent-encoded, so two entities never share a text.
pub fn push_entity_value(text: &mut String, first: bool, value: &str) {
    if !first {
        text.push('|');
    }
    if !value.bytes().any(|b| b == b'%' || b == b'|') {
        text.push_str(value);
        return;
    }
    for c in value.chars() {
        match c {
            '%' => text.push_str("%25"),
            '|' => text.push_str("%7C"),
            c => text.push(c),
        }
    }
}

/// An entity's text from its key values, in the plan's order.
#[must_use]
pub fn entity_text<'a>(values: impl IntoIterator<Item = &'a str>) -> String {
    let mut text = String::new();
    for (i, value) in values.into_iter().enumerate() {
        push_entity_value(&mut text, i == 0, value);
    }
    text
}

/// How far one partition has been read into the rows. Written after the lanes it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    /// The next offset to read: every record before it is in the rows.
    pub offset: i64,
    /// The largest event time read so far; `i64::MIN` if none.
    pub event_time: i64,
    /// The partition's end offset as last seen.
    pub end_offset: i64,
    /// When, by the worker's clock, the partition was last read to its end; 0 if never.
    pub read_to_end_at: i64,
}

impl Marker {
    /// `offset:eventTime:endOffset:readToEndAt`.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::with_capacity(64);
        // Writing to a string cannot fail.
        let _ = write!(text, "{}:{}:{}:{}", self.offset, self.event_time, self.end_offset, self.read_to_end_at);
        text
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// [`RowError::Marker`] for any other text.
    pub fn decode(text: &str) -> Result<Self, RowError> {
        let mut numbers = text.split(':').map(str::parse::<i64>);
        let mut next = || match numbers.next() {
            Some(Ok(n)) => Ok(n),
            _ => Err(RowError::Marker { text: text.to_owned() }),
        };
        let marker = Self { offset: next()?, event_time: next()?, end_offset: next()?, read_to_end_at: next()? };
        if numbers.next().is_some() {
            return Err(RowError::Marker { text: text.to_owned() });
        }
        Ok(marker)
    }
}

/// What keeps one worker from its work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trouble {
    /// One stable word in capitals and small letters, such as `SourceGap`.
    pub reason: String,
    /// What it is, and what to do.
    pub message: String,
    /// Since when, in milliseconds.
    pub since_ms: i64,
    /// When the worker last said so, in milliseconds. It says it again every few seconds; one that was killed does not.
    pub said_ms: i64,
}

/// Which revision of a view is served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Live {
    /// The served revision.
    pub revision: String,
    /// Rises with every write; a writer must know the one it replaces.
    pub fence: u64,
}

/// Which rows of a revision are readable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Head {
    /// The incarnation of the rows.
    pub incarnation: u32,
    /// The batch generation; 0 where no batch publishes.
    pub generation: u64,
    /// The horizon in milliseconds; 0 where no batch publishes.
    pub horizon: i64,
    /// Rises with every write.
    pub fence: u64,
}

/// What the feature server must know of one view.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CatalogEntry {
    /// The view's UID.
    pub uid: String,
    /// Answers older than this are `degraded`.
    pub freshness_target_ms: i64,
    /// The plans of every revision that may be live.
    pub plans: Vec<Plan>,
}

/// Why a value of the online store could not be read.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum RowError {
    /// Not a marker.
    #[error("marker {text:?} is not offset:eventTime:endOffset:readToEndAt; delete the revision's rows to replay them")]
    Marker {
        /// What was found.
        text: String,
    },
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn two_entities_never_share_a_text() {
        assert_eq!(entity_text(["u1"]), "u1");
        assert_ne!(entity_text(["a|b"]), entity_text(["a", "b"]));
        assert_ne!(entity_text(["a%7Cb"]), entity_text(["a|b"]));
        assert_ne!(entity_text(["", "a"]), entity_text(["a"]));
    }

    #[test]
    fn lane_fields_parse_back_and_nothing_else_does() {
        for (partition, segment) in [(0, 0), (7, 0), (12, 3)] {
            assert_eq!(parse_lane_field(&lane_field(partition, segment)), Some((partition, segment)));
        }
        for other in ["b0", "s", "sx", "s1.", "s1.x", "1"] {
            assert_eq!(parse_lane_field(other), None, "{other}");
        }
    }

    #[test]
    fn markers_parse_back_and_refuse_the_rest() {
        let marker = Marker { offset: 42, event_time: i64::MIN, end_offset: 43, read_to_end_at: 0 };
        assert_eq!(Marker::decode(&marker.encode()).unwrap(), marker);
        for bad in ["", "1:2:3", "1:2:3:4:5", "a:b:c:d"] {
            assert!(Marker::decode(bad).is_err(), "{bad}");
        }
    }
}

//! The names and small codecs of everything in the online store, and of what a view owns in Kafka.
//!
//! Invariants: every key and consumer group starts with a Kubernetes UID, so that two clusters never share one; an
//! entity's row is one key, so that it is one slot of a Redis Cluster; every text here is stable across versions.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::plan::{Plan, ViewIdentity};
use crate::shadow::Shadow;

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

/// The revision and incarnation of a row key that [`row_key`] made for this view and entity; `None` for any other key.
#[must_use]
pub fn parse_row_key<'a>(key: &'a str, uid: &str, entity: &str) -> Option<(&'a str, u32)> {
    let (revision, rest) = key.strip_prefix(uid)?.strip_prefix('/')?.split_once('/')?;
    let (incarnation, rest) = rest.split_once('/')?;
    (rest.strip_prefix("e/")? == entity).then_some((revision, incarnation.parse().ok()?))
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

/// The slot of a generation's lanes, 0 or 1: a generation takes the place of the last but one.
#[must_use]
pub fn batch_slot(generation: u64) -> u8 {
    u8::from(generation % 2 == 1)
}

/// The field of a batch lane's segment: `b0` and `b1` are heads, `b0.1` the first further segment of slot 0.
///
/// The lane's offset is [`generation_offset`]; a slot whose number is not the one asked for holds another generation.
#[must_use]
pub fn batch_field(generation: u64, segment: u8) -> String {
    let slot = batch_slot(generation);
    if segment == 0 { format!("b{slot}") } else { format!("b{slot}.{segment}") }
}

/// The slot and segment of a field made by [`batch_field`]; `None` for any other field.
#[must_use]
pub fn parse_batch_field(field: &str) -> Option<(u8, u8)> {
    let rest = field.strip_prefix('b')?;
    let (slot, segment) = match rest.split_once('.') {
        None => (rest, 0),
        Some((slot, segment)) => (slot, segment.parse().ok().filter(|n| *n > 0)?),
    };
    match slot {
        "0" => Some((0, segment)),
        "1" => Some((1, segment)),
        _ => None,
    }
}

/// A generation as the offset of its lanes.
#[must_use]
pub fn generation_offset(generation: u64) -> i64 {
    i64::try_from(generation).unwrap_or(i64::MAX)
}

/// The key of the report of a revision's last batch run, a [`RunReport`].
#[must_use]
pub fn run_key(uid: &str, revision: &str) -> String {
    format!("{uid}/{revision}/run")
}

/// The key of the number of the newest generation whose rows a run has begun to write, whether or not it was ever published:
/// from then on what its slot held, the generation before last, is not whole.
#[must_use]
pub fn writing_key(uid: &str, revision: &str) -> String {
    format!("{uid}/{revision}/writing")
}

/// The key of what the last comparison with this revision as its candidate said, a [`Report`](crate::compare::Report).
#[must_use]
pub fn comparison_key(uid: &str, revision: &str) -> String {
    format!("{uid}/{revision}/comparison")
}

/// The key of what the last drift check of this revision said, a [`Report`](crate::monitor::Report).
#[must_use]
pub fn drift_key(uid: &str, revision: &str) -> String {
    format!("{uid}/{revision}/drift")
}

/// The key of what drift checks of this revision hold its values against, a [`Profile`](crate::monitor::Profile).
#[must_use]
pub fn drift_reference_key(uid: &str, revision: &str) -> String {
    format!("{uid}/{revision}/drift/reference")
}

/// The key of what the last skew check of this revision said, a [`Report`](crate::compare::Report) whose former side is what
/// is served.
#[must_use]
pub fn skew_key(uid: &str, revision: &str) -> String {
    format!("{uid}/{revision}/skew")
}

/// The key of what shadow reads of this revision say: server → [`Report`](crate::shadow::Report). It expires.
#[must_use]
pub fn shadow_key(uid: &str, revision: &str) -> String {
    format!("{uid}/{revision}/shadow")
}

/// The key of the markers that stand on one shard of the store; 0 on a single Redis.
#[must_use]
pub fn marker_key(uid: &str, revision: &str, incarnation: u32, shard: u32) -> String {
    format!("{uid}/{revision}/{incarnation}/m/{shard}")
}

/// The field of [`marker_key`] that says how many partitions the topic has.
pub const PARTITIONS_FIELD: &str = "partitions";

/// The field of [`marker_key`] that says from which event time on, in milliseconds, the rows hold every event. A replay that
/// left out what is older says so of all rows of the incarnation, those of entities that have none included; without any such
/// field nothing was left out.
pub const COMPLETE_FROM_FIELD: &str = "completeFrom";

/// The same field, or that of one partition which was read from the first record that the topic still held. The latest of all
/// such fields is what is true of the rows.
#[must_use]
pub fn complete_from_field(partition: Option<i32>) -> String {
    partition.map_or(COMPLETE_FROM_FIELD.to_owned(), |partition| format!("{COMPLETE_FROM_FIELD}/{partition}"))
}

/// Whether a field of [`marker_key`] is one of these.
#[must_use]
pub fn is_complete_from(field: &str) -> bool {
    field.strip_prefix(COMPLETE_FROM_FIELD).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The key of what keeps the workers of an incarnation's rows from their work: pod name → [`Trouble`]. It expires.
#[must_use]
pub fn trouble_key(uid: &str, revision: &str, incarnation: u32) -> String {
    format!("{uid}/{revision}/{incarnation}/trouble")
}

/// The key of how far a replay into an incarnation's rows has come: partition → [`Progress`](crate::replay::Progress).
#[must_use]
pub fn replay_key(uid: &str, revision: &str, incarnation: u32) -> String {
    format!("{uid}/{revision}/{incarnation}/replay")
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

/// The key of who was erased from a view: [entity's text](entity_text) → [`Covers`](crate::erase::Covers).
#[must_use]
pub fn erased_key(uid: &str) -> String {
    format!("{uid}/erased")
}

/// The key of a number that rises with every change of [`erased_key`]: no row is written by who knows another one.
#[must_use]
pub fn erased_version_key(uid: &str) -> String {
    format!("{uid}/erased/version")
}

/// The key of an erasure that is under way: what it covers, and the incarnations whose rows are done.
#[must_use]
pub fn erasing_key(uid: &str, entity: &str) -> String {
    format!("{uid}/erasing/{entity}")
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

/// Sixteen hex digits that name an entity without telling who it is: FNV-1a of its text. Logs, errors and reports travel,
/// and an entity's text may name a person.
#[must_use]
pub fn entity_hash(text: &str) -> String {
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    format!("{:016x}", text.bytes().fold(0xcbf2_9ce4_8422_2325, fold))
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

/// What became of the last batch run of a revision: written by the run, read by the operator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunReport {
    /// The generation that it made, or would have made.
    pub generation: u64,
    /// That generation's horizon in milliseconds.
    pub horizon_ms: i64,
    /// The version of the table it read, if the table has versions.
    pub table_version: Option<i64>,
    /// When it began, in milliseconds.
    pub started_ms: i64,
    /// When it ended, in milliseconds.
    pub finished_ms: i64,
    /// The number of entities in the generation.
    pub rows: u64,
    /// How it ended.
    pub outcome: RunOutcome,
    /// The features, in the plan's order.
    pub features: Vec<FeatureReport>,
    /// How many rows of the table were refused, by the reason that the stream's dead letters would have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<String, u64>,
    /// What a person may want to know: why everything was read anew, or that the gate had nothing to compare with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// How a batch run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all_fields = "camelCase")]
pub enum RunOutcome {
    /// The generation is served.
    Published,
    /// The source holds nothing that would move the horizon.
    NothingNew,
    /// The quality gate refused the generation; the former one is served on.
    Refused {
        /// Which limit was passed, and by how much.
        reason: String,
    },
    /// Something failed; the former generation is served on.
    Failed {
        /// What failed.
        reason: String,
    },
}

/// What a batch run saw of one feature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FeatureReport {
    /// The feature's name.
    pub name: String,
    /// The share of entities for which it is NULL, 0 to 1.
    pub null_share: f64,
    /// The population stability index against the generation before; `None` where there is none.
    pub psi: Option<f64>,
}

impl RunReport {
    /// The report as it stands in the online store.
    #[must_use]
    pub fn encode(&self) -> String {
        // Serialising owned data with string keys cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// [`RowError::Report`] for any other text.
    pub fn decode(text: &str) -> Result<Self, RowError> {
        serde_json::from_str(text).map_err(|error| RowError::Report { detail: error.to_string() })
    }
}

/// What the feature server must know of one view.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CatalogEntry {
    /// The view's UID.
    pub uid: String,
    /// Answers older than this are `degraded`.
    pub freshness_target_ms: i64,
    /// Answers of a Lambda whose horizon is older than this are `degraded`: its batch is overdue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub horizon_target_ms: Option<i64>,
    /// The plans of every revision that may be live.
    pub plans: Vec<Plan>,
    /// The candidate that a share of live requests is read with, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadow>,
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
    /// Not a run report.
    #[error("it is no report of a batch run: {detail}; the next run writes it anew")]
    Report {
        /// What does not read.
        detail: String,
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
    fn row_keys_parse_back_and_others_do_not() {
        for entity in ["u1", "", "0/e/u1", "a%7Cb|7"] {
            assert_eq!(parse_row_key(&row_key("u", "abc", 2, entity), "u", entity), Some(("abc", 2)), "{entity}");
        }
        for other in ["u/abc/2/e/u10", "u/abc/2/e/0/e/u1", "u/abc/2/m/u1", "u/abc/x/e/u1", "uu/abc/2/e/u1", "u/live"] {
            assert_eq!(parse_row_key(other, "u", "u1"), None, "{other}");
        }
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
    fn batch_fields_parse_back_and_generations_take_turns() {
        for (generation, segment, field) in [(0, 0, "b0"), (7, 0, "b1"), (8, 255, "b0.255")] {
            assert_eq!(batch_field(generation, segment), field);
            assert_eq!(parse_batch_field(field), Some((batch_slot(generation), segment)));
            assert_eq!(parse_lane_field(field), None);
        }
        for other in ["s0", "b", "b2", "b0.", "b0.0", "b0.256", "b1.x"] {
            assert_eq!(parse_batch_field(other), None, "{other}");
        }
    }

    #[test]
    fn run_reports_parse_back_and_refuse_the_rest() {
        let refused = RunOutcome::Refused { reason: "rows fell by 50 %".into() };
        for outcome in [RunOutcome::Published, RunOutcome::NothingNew, refused] {
            let report = RunReport {
                generation: 3,
                horizon_ms: -5,
                table_version: Some(12),
                started_ms: 1,
                finished_ms: 2,
                rows: 600,
                outcome,
                features: vec![FeatureReport { name: "clicks".into(), null_share: 0.25, psi: None }],
                refused: BTreeMap::from([("NullField".to_owned(), 2)]),
                notes: vec!["the first generation".into()],
            };
            assert_eq!(RunReport::decode(&report.encode()).unwrap(), report);
        }
        assert!(RunReport::decode("{}").is_err());
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

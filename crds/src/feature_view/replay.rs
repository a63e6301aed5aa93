//! The replay of a new revision: from where, how fast, and how far it is.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// From where a new revision reads its topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("(self.policy == 'Timestamp') == has(self.timestamp)")
    .message("timestamp goes with policy Timestamp, and with no other").field_path(".timestamp"))]
pub struct StartFrom {
    /// Which rule tells.
    #[serde(default)]
    pub policy: StartPolicy,
    /// The record time of the first record that is read, in RFC 3339; of the policy `Timestamp` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), extend("format" = "date-time"))]
    pub timestamp: Option<String>,
}

/// Which rule tells from where a new revision reads its topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StartPolicy {
    /// From the first record that the longest window may count, lateness included. Reads of a time so long ago that they would
    /// need older ones say `INVALID`. If a Kappa's topic no longer holds all of
    /// these, what it lacks is read from its archive (Bronze), where it has one. Without, the revision does not start: `Stalled`
    /// says `RetentionTooShort`, and how much is held.
    #[default]
    LongestWindow,
    /// As `LongestWindow`, in whatever mode, and only where the topic is archived (`archive: true`, or a Lakehouse): what the topic
    /// lacks is read from Bronze, and the topic from there on.
    OfflineThenStream,
    /// From the first record that the topic holds, however many that are. Windows that reach further back fill as time goes by.
    Earliest,
    /// From the end: what came before is not read, and windows fill as time goes by.
    Latest,
    /// From the first record at or after `timestamp`, as far as the topic holds them.
    Timestamp,
}

/// The Job that reads the history of a new revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Replay {
    /// How many partitions are read at once, each by a pod of its own. For the next Job; one that runs is never edited.
    #[serde(default = "default_parallelism")]
    #[schemars(range(min = 1, max = 256))]
    pub parallelism: i32,
    /// The most records that each of these pods reads in a second; as many as it can if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_records_per_second: Option<i32>,
}

impl Default for Replay {
    fn default() -> Self {
        Self { parallelism: default_parallelism(), max_records_per_second: None }
    }
}

fn default_parallelism() -> i32 {
    2
}

/// A replay: what it reads was decided before its Job was made, and is never changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplayStatus {
    /// Names what is read: there is never more than one Job of a fence.
    pub fence: String,
    /// When the offsets were captured, in RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub captured_time: String,
    /// What is read of each partition; the revision's workers go on from there.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["partition".into()]))]
    #[schemars(length(max = 9999))]
    pub parts: Vec<ReplayPart>,
    /// The most records that each pod reads in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_records_per_second: Option<i32>,
    /// From which event time on the revision's rows hold every event, in RFC 3339: a read whose window begins before it says
    /// `INVALID`. Of the policy `LongestWindow`, unless a feature is over all time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub complete_from: Option<String>,
    /// What the topic no longer held, and is read from its archive before the parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<ReplayArchive>,
    /// How far it is, told every few seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<ReplayProgress>,
    /// When its Job was seen to be complete, in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub completed_time: Option<String>,
}

/// What a replay reads from the archive of its topic (Bronze): of some partitions the records up to where the archive ends, and at
/// least to where their parts begin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplayArchive {
    /// The table.
    pub table: String,
    /// The record time from which on records are read, in RFC 3339; all there ever were if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub since: Option<String>,
    /// The partitions whose topic began too late.
    #[schemars(length(max = 9999))]
    pub partitions: Vec<i32>,
}

/// The records `[from, to)` of a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReplayPart {
    /// The partition.
    pub partition: i32,
    /// The first offset that any window may need.
    pub from: i64,
    /// The topic's end as it was captured.
    pub to: i64,
}

/// How far a replay is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplayProgress {
    /// How much of all parts is read, in whole percent.
    pub percent: i32,
    /// How many records are still to be read.
    pub remaining_records: i64,
    /// How many all pods read in a second.
    pub records_per_second: i64,
    /// How long the rest takes at this rate, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<i64>,
    /// When this was seen, in RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub observed_time: String,
}

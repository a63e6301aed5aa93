//! What is observed of a view. Nothing here changes from minute to minute: lag is written when it moved noticeably, and is a
//! metric besides.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::monitoring::MonitoringStatus;
use super::rollout::RolloutStatus;
use super::scaling::ScalingStatus;
use super::source::Timestamp;
use crate::architecture::Mode;
use crate::condition::Condition;

/// What was observed of a view.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct FeatureViewStatus {
    /// The generation that the rest was observed at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// One word for people; automation reads the conditions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// The revision that reads are answered from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_revision: Option<String>,
    /// The revision that will take its place once it has caught up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate_revision: Option<String>,
    /// The revision that was read before, while it is kept: `spec.rollout.servingRevision` goes back to it at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_revision: Option<String>,
    /// The mode that the active revision is computed in: not yet its Architecture's, while that changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// The revisions that run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["revision".into()]))]
    #[schemars(length(max = 8))]
    pub revisions: Vec<RunningRevision>,
    /// The Architectures whose servers answer for the view: its own, and those that it was moved from not long ago.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["uid".into()]))]
    #[schemars(length(max = 64))]
    pub architectures: Vec<ServingArchitecture>,
    /// What is remembered of the rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,
    /// Revisions whose workers, consumer groups and rows are being removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["revision".into()]))]
    #[schemars(length(max = 256))]
    pub retiring: Vec<RetiringRevision>,
    /// The hash of the newest accepted plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_hash: Option<String>,
    /// How many features the newest accepted plan has.
    #[serde(default)]
    pub features: i32,
    /// What the view's topic held when the operator last looked, which is once an hour; written when it changed by a tenth or
    /// more. `featuremill diff` tells by it what a new revision would read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<HeldTopic>,
    /// The bytes of a busy entity's row under the newest accepted plan: one with an event a minute around the clock, all
    /// of which count. A view whose rows would exceed 256 KiB is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated_row_bytes: Option<i64>,
    /// The batch generation that reads are answered from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// The event time up to which that generation counts, in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub horizon: Option<String>,
    /// The generation before, to which `spec.servingGeneration` can go back until the next run begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_generation: Option<PreviousGeneration>,
    /// The last batch run that ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<LastRun>,
    /// How far the active revision is behind its topic; of views that read one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<LagStatus>,
    /// How many workers the active revision has, and why; with `spec.scaling.mode: Lag`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<Box<ScalingStatus>>,
    /// What checks of the values that are served found last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitoring: Option<Box<MonitoringStatus>>,
    /// Workers of the active revision that run.
    #[serde(default)]
    pub replicas: i32,
    /// Workers of the active revision that are ready.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Selects the workers of the active revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// See the condition types in the documentation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
}

/// How far a revision is behind its topic. It is measured every 15 s and written when the tier changes, and otherwise once a
/// minute at most while it moves by more than half; the metrics have it as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LagStatus {
    /// Of which revision.
    pub revision: String,
    /// When, in RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub measured_time: String,
    /// How many records of the topic were not read yet.
    pub records: i64,
    /// For how long the oldest of them may have been waiting; 0 if there are none.
    pub seconds: i64,
    /// How many records a second it falls; negative if it rises.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drained_per_second: Option<i64>,
    /// After how many seconds it would be nothing, if it falls on like that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<i64>,
    /// Partitions with records that nobody reads although others are read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(max = 1024))]
    pub stalled_partitions: Vec<i32>,
    /// Partitions of which records that were not read are gone, or that end before what was read of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(max = 1024))]
    pub broken_partitions: Vec<i32>,
    /// Whether there are records and none is read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
    /// Whether the revision never was at the end of its topic yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub first_reading: bool,
    /// The most urgent tier that holds: 1, 2 or 3; none if it is on time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3))]
    pub tier: Option<i32>,
    /// The tiers whose lag is exceeded, raised or not yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["tier".into()]))]
    #[schemars(length(max = 3))]
    pub exceeded: Vec<ExceededTier>,
}

/// A tier whose lag is exceeded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExceededTier {
    /// Which.
    pub tier: i32,
    /// Since when without a break, in RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub since: String,
}

/// A revision that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunningRevision {
    /// Which.
    pub revision: String,
    /// The mode that it is computed in.
    pub mode: Mode,
    /// The name of the Architecture that it runs with.
    pub architecture: String,
    /// The topic whose archive it reads, or asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<ArchivedTopic>,
}

/// A topic that is archived for a revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArchivedTopic {
    /// The topic.
    pub topic: String,
    /// The event time of its events.
    pub timestamp: Timestamp,
}

/// An Architecture whose servers answer for the view.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServingArchitecture {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Since when the view belongs to another, in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub left_time: Option<String>,
}

/// What a topic holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeldTopic {
    /// The topic.
    pub topic: String,
    /// How many partitions it has.
    pub partitions: i32,
    /// How many records they hold together.
    pub records: i64,
    /// When this was seen, in RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub observed_time: String,
}

/// A revision that is being removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RetiringRevision {
    /// Which.
    pub revision: String,
    /// Since when it is no longer read, in RFC 3339; its rows stay readable for a minute.
    #[schemars(extend("format" = "date-time"))]
    pub since: String,
}

/// A batch run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastRun {
    /// The revision that it computed.
    pub revision: String,
    /// The generation that it made, or would have made.
    pub generation: i64,
    /// `Published`, `NothingNew`, `Refused` or `Failed`.
    pub outcome: String,
    /// Why it was refused or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// How many entities the generation has.
    pub rows: i64,
    /// The version of the table that it read, if the table has versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table_version: Option<i64>,
    /// When it began, in RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub started: String,
    /// When it ended, in RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub finished: String,
}

/// The generation before the one that is served.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PreviousGeneration {
    /// Of which revision.
    pub revision: String,
    /// Its number.
    pub generation: i64,
    /// The event time up to which it counts, in RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub horizon: String,
}

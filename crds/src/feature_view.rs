//! `FeatureView`: which features, over which events.

mod batch;
mod feature;
mod freshness;
mod monitoring;
mod replay;
mod rollout;
mod scaling;
mod source;
mod status;

pub use batch::{ConcurrencyPolicy, QualityGate, Schedule, Silver, SilverRule};
pub use feature::{Aggregate, Feature, Hop, WindowType};
pub use freshness::{AlertTier, Freshness, FreshnessDefaults};
pub use monitoring::{
    DriftReference, DriftStatus, DriftWatch, FeatureDrift, FeatureSkew, Monitoring, MonitoringStatus, SkewExample,
    SkewStatus, SkewWatch,
};
pub use replay::{Replay, ReplayArchive, ReplayPart, ReplayProgress, ReplayStatus, StartFrom, StartPolicy};
pub use rollout::{
    AbortReason, Advance, Attempt, CatchUp, ComparisonPolicy, ComparisonStatus, ComparisonVerdict, DifferenceExample,
    FailurePolicy, FeatureDifference, Histogram, Rollout, RolloutStatus, ShadowDifference, ShadowPolicy, ShadowStatus,
    Trial,
};
pub use scaling::{IneffectiveScaling, LastScale, Scaling, ScalingMode, ScalingStatus, WorkerCapacity};
pub use source::{Column, ColumnType, CompleteUntil, Format, Source, Table, TableFormat, Timestamp, TimestampUnit};
pub use status::{
    ArchivedTopic, ExceededTier, FeatureViewStatus, HeldTopic, LagStatus, LastRun, PreviousGeneration,
    RetiringRevision, RunningRevision, ServingArchitecture,
};

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::pod::{LocalReference, PodOverrides};

/// What is wanted of a view.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "featuremill.dev",
    version = "v1alpha1",
    kind = "FeatureView",
    namespaced,
    status = "FeatureViewStatus",
    shortname = "fv",
    category = "featuremill",
    derive = "PartialEq",
    doc = "A set of features of one kind of entity, computed from one stream or table of events.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    validation = Rule::new("self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name must be at most 40 characters, lower-case letters, digits and '-'"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Revision", type_ = "string", json_path = ".status.activeRevision"),
    printcolumn(name = "Candidate", type_ = "string", json_path = ".status.candidateRevision"),
    printcolumn(name = "Previous", type_ = "string", json_path = ".status.previousRevision"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".status.mode", priority = 1),
    printcolumn(name = "Compared", type_ = "string", json_path = ".status.rollout.comparison.verdict", priority = 1),
    printcolumn(name = "Replayed", type_ = "integer", json_path = ".status.rollout.trial.replay.progress.percent", priority = 1),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".status.readyReplicas", priority = 1),
    printcolumn(name = "Desired", type_ = "integer", json_path = ".status.scaling.desiredReplicas", priority = 1),
    printcolumn(name = "Generation", type_ = "integer", json_path = ".status.generation", priority = 1),
    printcolumn(name = "Fresh", type_ = "string", json_path = ".status.conditions[?(@.type=='Fresh')].reason"),
    printcolumn(name = "Lag", type_ = "integer", json_path = ".status.lag.seconds"),
    printcolumn(name = "Horizon", type_ = "date", json_path = ".status.horizon"),
    printcolumn(name = "Sound", type_ = "string", json_path = ".status.conditions[?(@.type=='Sound')].reason"),
    printcolumn(name = "Promoted", type_ = "date", json_path = ".status.rollout.promotedTime", priority = 1),
    printcolumn(name = "Features", type_ = "integer", json_path = ".status.features", priority = 1),
    printcolumn(name = "Architecture", type_ = "string", json_path = ".spec.architectureRef.name", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = Rule::new("!has(self.silver) || !has(self.silver.dedup) || self.silver.dedup.all(k, self.source.schema.exists(c, c.name == k))")
    .message("every one of silver.dedup must be a column of source.schema").field_path(".silver.dedup"))]
#[x_kube(validation = Rule::new("!self.archive || has(self.source.topic)")
    .message("archive needs source.topic").field_path(".archive"))]
#[x_kube(validation = Rule::new("self.entity.keys.all(k, self.source.schema.exists(c, c.name == k))")
    .message("every one of entity.keys must be a column of source.schema").field_path(".entity.keys"))]
#[serde(rename_all = "camelCase")]
pub struct FeatureViewSpec {
    /// The Architecture, of the same namespace, that computes and serves the view. It may be replaced by another of the same
    /// store, log and folder of tables; the one before answers for the view, too, until the soak is over.
    pub architecture_ref: LocalReference,
    /// Stops the workers and keeps everything else; what is served grows old.
    #[serde(default)]
    pub suspend: bool,
    /// What features are of.
    pub entity: Entity,
    /// The stream of events.
    pub source: Source,
    /// How late an event may be, and how far back `as_of` may ask, at full resolution.
    #[serde(default = "default_allowed_lateness")]
    #[schemars(length(max = 16), regex(pattern = "^[0-9]+(s|m|h|d)$"))]
    pub allowed_lateness: String,
    /// How far an event's time may be ahead of its record's.
    #[serde(default = "default_max_future")]
    #[schemars(length(max = 16), regex(pattern = "^[0-9]+(s|m|h|d)$"))]
    pub max_future: String,
    /// The features.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(min = 1, max = 500))]
    pub features: Vec<Feature>,
    /// How many stream workers run; with `scaling.mode: Lag`, with how many it begins.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 0, max = 256))]
    pub replicas: i32,
    /// Who decides how many stream workers run; if not given, `replicas` does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<Scaling>,
    /// When batch runs begin, in the words of a CronJob. Needed in every mode but `Kappa`, which has none. A new revision
    /// is computed at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// Pins the generation that is served: the one that is, as a hold, or the one before it, as the way back from a bad one
    /// (`status.previousGeneration`). While it is set no batch run begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub serving_generation: Option<i64>,
    /// What a generation must not exceed, or it is not served; the one before is served on.
    #[serde(default)]
    pub quality_gate: QualityGate,
    /// Whether the topic is archived as a Delta table in the Architecture's `offlineStore`. Always so in a `Lakehouse`.
    #[serde(default)]
    pub archive: bool,
    /// What a `Lakehouse` does between its archive and its features; other modes take events as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silver: Option<Silver>,
    /// How old the horizon of a `Lambda` may become before features over all time can no longer be told; 7 days if not
    /// given. Longer takes more memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), regex(pattern = "^[0-9]+(s|m|h|d)$"))]
    pub horizon_max_age: Option<String>,
    /// What happens to the online rows and the consumer group when the view is deleted. Tables always stay: history is not
    /// made again.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// How long deletion waits for a store or log that does not answer before it leaves things behind.
    #[serde(default = "default_deletion_deadline")]
    #[schemars(range(min = 0, max = 86_400))]
    pub deletion_deadline_seconds: i32,
    /// How a new revision takes the place of the one that serves.
    #[serde(default)]
    pub rollout: Rollout,
    /// How old served features may be.
    #[serde(default)]
    pub freshness: Freshness,
    /// Whether what is served is still what it should be. Off unless asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitoring: Option<Box<Monitoring>>,
    /// The stream workers.
    #[serde(default)]
    pub worker: Worker,
}

/// What features are of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct Entity {
    /// The columns that name one, in the order in which requests give them.
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(min = 1, max = 8), inner(length(min = 1, max = 128)))]
    pub keys: Vec<String>,
}

/// What happens to a view's data when the view is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// Online rows and consumer groups are removed.
    #[default]
    Delete,
    /// They stay.
    Retain,
}

/// The stream workers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Worker {
    /// The memory in which a worker keeps rows, in MiB; the container's default limit leaves 256 MiB beside it.
    #[serde(default = "default_memory", rename = "memoryMiB")]
    #[schemars(range(min = 16, max = 1_048_576))]
    pub memory_mib: i32,
    /// Overrides of the workers' pods.
    #[serde(flatten)]
    pub pod: PodOverrides,
}

impl Default for Worker {
    fn default() -> Self {
        Self { memory_mib: default_memory(), pod: PodOverrides::default() }
    }
}

fn default_allowed_lateness() -> String {
    "1h".to_owned()
}
fn default_max_future() -> String {
    "5m".to_owned()
}
fn default_replicas() -> i32 {
    1
}
fn default_deletion_deadline() -> i32 {
    300
}
fn default_memory() -> i32 {
    256
}

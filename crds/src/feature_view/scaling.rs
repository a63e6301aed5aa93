//! How many stream workers read for the revision that serves, and who decides that.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who decides how many stream workers the live revision has, and within which bounds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("self.mode != 'Lag' || has(self.maxReplicas)")
    .message("scaling.mode Lag needs maxReplicas").field_path(".maxReplicas"))]
#[x_kube(validation = Rule::new("self.mode == 'Lag' || !(has(self.minReplicas) || has(self.maxReplicas) || has(self.targetProcessingSeconds) || has(self.scaleUpCooldownSeconds) || has(self.scaleDownCooldownSeconds))")
    .message("only scaling.mode Lag has bounds, a target and cooldowns: with External they are those of the autoscaler, with Fixed there are none")
    .field_path(".mode"))]
#[x_kube(validation = Rule::new("!has(self.maxReplicas) || (has(self.minReplicas) ? self.minReplicas : 1) <= self.maxReplicas")
    .message("minReplicas must not be above maxReplicas").field_path(".minReplicas"))]
#[serde(rename_all = "camelCase")]
pub struct Scaling {
    /// Who decides.
    pub mode: ScalingMode,
    /// The fewest workers; 1 if not given. Never more than the topic has partitions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256))]
    pub min_replicas: Option<i32>,
    /// The most workers. Never more than the topic has partitions, since any further one would have nothing to read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256))]
    pub max_replicas: Option<i32>,
    /// Within how many seconds what waits is to be read, while what comes in is read, too; 60 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86_400))]
    pub target_processing_seconds: Option<i32>,
    /// How long after a change there are no more workers; 90 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 86_400))]
    pub scale_up_cooldown_seconds: Option<i32>,
    /// For how long without a break fewer workers must have sufficed until there are fewer; 600 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 86_400))]
    pub scale_down_cooldown_seconds: Option<i32>,
}

/// Who decides how many workers there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ScalingMode {
    /// A person: `spec.replicas`. So it is, too, where nothing is said of scaling.
    #[default]
    Fixed,
    /// The operator, by how fast the lag falls. It begins with `spec.replicas`.
    Lag,
    /// An autoscaler that writes `spec.replicas` by the subresource `scale`: an HPA, or KEDA.
    External,
}

/// How many workers the live revision has, why, and what is remembered for the next decision. Of `scaling.mode: Lag`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScalingStatus {
    /// Of which revision.
    pub revision: String,
    /// How many workers are wanted.
    pub desired_replicas: i32,
    /// Why not more: the reason of condition `ScalingLimited`.
    pub reason: String,
    /// The last change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_scale: Option<LastScale>,
    /// What a worker was last seen to manage. Not there while that is not known: workers show it only while records wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<WorkerCapacity>,
    /// A change that did not help. There are no more workers than before it until this goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ineffective: Option<IneffectiveScaling>,
}

/// A change of how many workers there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastScale {
    /// How many there were.
    pub from_replicas: i32,
    /// How many there are since.
    pub to_replicas: i32,
    /// When, in RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub time: String,
    /// How many records waited.
    pub waiting_records: i64,
    /// How many a second came in.
    pub produced_per_second: i64,
    /// How many a second were read.
    pub consumed_per_second: i64,
    /// Whether more were read after it; not there until that is known, nor of a change to fewer workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective: Option<bool>,
}

/// What a worker manages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkerCapacity {
    /// How many records a second.
    pub records_per_second: i64,
    /// When that was seen, in RFC 3339. It is believed for six hours.
    #[schemars(extend("format" = "date-time"))]
    pub measured_time: String,
}

/// A change to more workers after which not more was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IneffectiveScaling {
    /// How many there were.
    pub from_replicas: i32,
    /// How many there were then.
    pub to_replicas: i32,
    /// How many records a second all of them read then.
    pub consumed_per_second: i64,
    /// When this was last seen, in RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub time: String,
}

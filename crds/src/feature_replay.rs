//! `FeatureReplay`: the history of a view's live revision is read again, and what that makes takes its place.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::feature_view::{ReplayStatus, StartFrom};
use crate::once::Progress;
use crate::pod::LocalReference;

/// What is wanted of a replay. It is carried out once: for another, make another object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "featuremill.dev",
    version = "v1alpha1",
    kind = "FeatureReplay",
    namespaced,
    status = "FeatureReplayStatus",
    shortname = "fr",
    category = "featuremill",
    derive = "PartialEq",
    doc = "A backfill on demand: a view's rows are computed anew from its topic, by the definition that serves, and take their place as a new revision's would.",
    validation = Rule::new("self.metadata.name.size() <= 63").message("metadata.name must be at most 63 characters"),
    printcolumn(name = "View", type_ = "string", json_path = ".spec.viewRef.name"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Complete", type_ = "string", json_path = ".status.conditions[?(@.type=='Complete')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Complete')].reason"),
    printcolumn(name = "Percent", type_ = "integer", json_path = ".status.replay.progress.percent"),
    printcolumn(name = "Rate", type_ = "integer", json_path = ".status.replay.progress.recordsPerSecond"),
    printcolumn(name = "ETA", type_ = "integer", json_path = ".status.replay.progress.etaSeconds"),
    printcolumn(name = "Records", type_ = "integer", json_path = ".status.records"),
    printcolumn(name = "Revision", type_ = "string", json_path = ".status.revision", priority = 1),
    printcolumn(name = "Run", type_ = "string", json_path = ".status.run", priority = 1),
    printcolumn(name = "Finished", type_ = "date", json_path = ".status.completionTime"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = Rule::new("self.viewRef.name == oldSelf.viewRef.name && self.dryRun == oldSelf.dryRun && self.backoffLimit == oldSelf.backoffLimit && has(self.revision) == has(oldSelf.revision) && (!has(self.revision) || self.revision == oldSelf.revision) && has(self.startFrom) == has(oldSelf.startFrom) && (!has(self.startFrom) || self.startFrom == oldSelf.startFrom) && has(self.parallelism) == has(oldSelf.parallelism) && (!has(self.parallelism) || self.parallelism == oldSelf.parallelism) && has(self.maxRecordsPerSecond) == has(oldSelf.maxRecordsPerSecond) && (!has(self.maxRecordsPerSecond) || self.maxRecordsPerSecond == oldSelf.maxRecordsPerSecond) && has(self.activeDeadlineSeconds) == has(oldSelf.activeDeadlineSeconds) && (!has(self.activeDeadlineSeconds) || self.activeDeadlineSeconds == oldSelf.activeDeadlineSeconds)")
    .message("only suspend and ttlSecondsAfterFinished may be changed: a replay is carried out once; make a new FeatureReplay"))]
#[serde(rename_all = "camelCase")]
pub struct FeatureReplaySpec {
    /// The view, of the same namespace. Its mode must have stream workers: `Kappa` or `Lambda`.
    pub view_ref: LocalReference,
    /// The revision that must be live when the work begins; whichever is, if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub revision: Option<String>,
    /// From where the topic is read; as the view's `rollout.startFrom` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_from: Option<StartFrom>,
    /// How many partitions are read at once; as the view's `rollout.replay` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256))]
    pub parallelism: Option<i32>,
    /// The most records that each pod reads in a second; as the view's `rollout.replay` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_records_per_second: Option<i32>,
    /// How often the reading of each partition is tried again. What no attempt can mend is not.
    #[serde(default = "default_backoff_limit")]
    #[schemars(range(min = 0, max = 100))]
    pub backoff_limit: i32,
    /// How long it may take from its beginning until what it made serves; it is then given up. As in a Job, the time counts
    /// anew when it is resumed after `suspend`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub active_deadline_seconds: Option<i64>,
    /// How long after its end this object is deleted; never if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 31_536_000))]
    pub ttl_seconds_after_finished: Option<i32>,
    /// Does not begin, or stops reading and goes on where it was later.
    #[serde(default)]
    pub suspend: bool,
    /// Only says what would be read, in `status.replay`.
    #[serde(default)]
    pub dry_run: bool,
}

/// What was observed of a replay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct FeatureReplayStatus {
    /// How the work went.
    #[serde(flatten)]
    pub progress: Progress,
    /// The revision that was live when the work began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The name under which its definition is computed anew: the view's candidate, and its live revision in the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// How many records are read in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<i64>,
    /// What is read, and how far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<ReplayStatus>,
}

/// As of a rollout's replay.
fn default_backoff_limit() -> i32 {
    6
}

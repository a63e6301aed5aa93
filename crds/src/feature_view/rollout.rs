//! How a new revision of a view takes the place of the one that serves, and what is remembered on the way.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::replay::{Replay, ReplayStatus, StartFrom};

/// How a new revision takes the place of the one that serves: beside it first, then by one move of a pointer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// From where a new revision reads the topic again, beside the one that serves. A first revision has none beside it, and
    /// reads from the topic's first offset. Taken up when a replay begins; a later change is for the next one.
    #[serde(default)]
    pub start_from: StartFrom,
    /// The Job that reads the history of a new revision before its workers start.
    #[serde(default)]
    pub replay: Replay,
    /// When a new revision may take over.
    #[serde(default)]
    pub catch_up: CatchUp,
    /// What a new revision's values have to stand against those of the one that serves, once it has caught up.
    #[serde(default)]
    pub comparison: ComparisonPolicy,
    /// Whether a new revision takes over by itself once it may. If not, it waits for the annotation
    /// `featuremill.dev/promote: <revision>`, or to be named in `servingRevision`.
    #[serde(default = "default_auto_promotion")]
    pub auto_promotion_enabled: bool,
    /// The soak: how long the revision before goes on reading its source, so that going back to it is one move of a pointer
    /// to fresh features. Then its workers, consumer group and rows are removed.
    #[serde(default = "default_scale_down_delay")]
    #[schemars(range(min = 0, max = 31_536_000))]
    pub scale_down_delay_seconds: i32,
    /// Pins the revision that is served, and rolls out no other while it is set. The one that serves: a hold. The one before,
    /// while it is kept: a rollback, at once. One of the history: it is computed anew, and serves once it has caught up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63), regex(pattern = "^[0-9a-f]*$"))]
    pub serving_revision: Option<String>,
    /// Stops the rollout where it is: nothing new takes over, nothing is given up, and the revision before is kept. Workers go
    /// on, and going back stays possible.
    #[serde(default)]
    pub paused: bool,
    /// How many revisions are remembered beside those that run, as ControllerRevisions that `servingRevision` can name.
    #[serde(default = "default_history_limit")]
    #[schemars(range(min = 0, max = 100))]
    pub revision_history_limit: i32,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            start_from: StartFrom::default(),
            replay: Replay::default(),
            catch_up: CatchUp::default(),
            comparison: ComparisonPolicy::default(),
            auto_promotion_enabled: default_auto_promotion(),
            scale_down_delay_seconds: default_scale_down_delay(),
            serving_revision: None,
            paused: false,
            revision_history_limit: default_history_limit(),
        }
    }
}

/// When a new revision may take over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("self.stableForSeconds < self.deadlineSeconds")
    .message("stableForSeconds must be less than deadlineSeconds, or no revision could ever take over")
    .field_path(".stableForSeconds"))]
#[serde(rename_all = "camelCase")]
pub struct CatchUp {
    /// How long ago every partition must have been read to its end, at most.
    #[serde(default = "default_max_lag")]
    #[schemars(range(min = 1, max = 86_400))]
    pub max_lag_seconds: i32,
    /// For how long that must have held without a break.
    #[serde(default = "default_stable_for")]
    #[schemars(range(min = 0, max = 86_400))]
    pub stable_for_seconds: i32,
    /// How long a new revision may take for it, its replay included. It is then given up and removed, and the one that serves goes on.
    #[serde(default = "default_deadline")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub deadline_seconds: i32,
    /// How long nothing of a new revision may advance while it is replayed or catches up: no record is read, no pod becomes
    /// ready. It is then given up as after `deadlineSeconds`, with what kept it. Being paused or suspended, waiting for a person,
    /// and a store that does not answer do not count.
    #[serde(default = "default_progress_deadline")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub progress_deadline_seconds: i32,
    /// How many workers a new revision has until it takes over, if that is more than `replicas`: its history is read sooner.
    /// Never more than the topic has partitions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256))]
    pub replicas: Option<i32>,
}

impl Default for CatchUp {
    fn default() -> Self {
        Self {
            max_lag_seconds: default_max_lag(),
            stable_for_seconds: default_stable_for(),
            deadline_seconds: default_deadline(),
            progress_deadline_seconds: default_progress_deadline(),
            replicas: None,
        }
    }
}

/// What a new revision's values have to stand against those of the one that serves. A first revision, and one that
/// `servingRevision` names, are not compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComparisonPolicy {
    /// How many entities are compared: those whose keys have the smallest hashes. `0`: nothing is compared.
    #[serde(default = "default_sample_keys")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub sample_keys: i32,
    /// The share of them for which the value of a feature may differ that is not of `expectedChanges`, such as `"0.0001"`.
    #[serde(default = "default_max_mismatch_ratio")]
    #[schemars(length(max = 16), regex(pattern = r"^(0(\.[0-9]+)?|1(\.0+)?)$"))]
    pub max_mismatch_ratio: String,
    /// Features whose values are meant to change: each one of the new revision, or of one before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(max = 1024), inner(length(min = 1, max = 63)))]
    pub expected_changes: Vec<String>,
    /// How far those may move: the largest population stability index, such as `"0.25"`; NULL counts as a value of its own.
    /// One of which it cannot be told, for there are fewer than 200 entities, does not pass unless it is equal. None: as far as
    /// they will.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), regex(pattern = r"^[0-9]+(\.[0-9]+)?$"))]
    pub max_psi: Option<String>,
    /// What follows if the values do not stand it.
    #[serde(default)]
    pub failure_policy: FailurePolicy,
    /// Live requests that are read with the new revision, too, from when it has caught up until it takes over. They tell how it
    /// would do, and decide nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<ShadowPolicy>,
}

/// Which live requests are read with a new revision, too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShadowPolicy {
    /// How many of a hundred.
    #[schemars(range(min = 1, max = 100))]
    pub percent: i32,
}

impl Default for ComparisonPolicy {
    fn default() -> Self {
        Self {
            sample_keys: default_sample_keys(),
            max_mismatch_ratio: default_max_mismatch_ratio(),
            expected_changes: Vec::new(),
            max_psi: None,
            failure_policy: FailurePolicy::default(),
            shadow: None,
        }
    }
}

/// What follows if a new revision's values are not those that were announced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FailurePolicy {
    /// It waits, with `Stalled=True`, and reads on: for an edit, for `expectedChanges`, or for a person who lets it take over
    /// all the same by the annotation `featuremill.dev/promote: <revision>`.
    #[default]
    Pause,
    /// It is given up and removed.
    Abort,
    /// It takes over all the same; the condition `ComparisonPassed` and an event say what differs.
    Ignore,
}

/// What is remembered of a rollout. Every time in it stays as it is while the state does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// When reads began to be answered from the active revision, in RFC 3339; the soak of the one before counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub promoted_time: Option<String>,
    /// Whether the active revision was gone back to: the one before is the newer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rolled_back: bool,
    /// The newest revision that has to prove itself, or did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<Trial>,
    /// What the last comparison said of the revision that is to take over; where there is none, of the active one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<ComparisonStatus>,
    /// What shadow reads say of the revision that is to take over, or did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Box<ShadowStatus>>,
}

/// What shadow reads say of a revision, of all servers together. It is renewed every half a minute at most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShadowStatus {
    /// The revision that answered.
    pub former: String,
    /// The one that was read, too.
    pub candidate: String,
    /// How many requests were.
    pub reads: i64,
    /// How many should have been, but found too many waiting.
    pub dropped: i64,
    /// How many could not be read.
    pub failed: i64,
    /// How many of their entities had a row of the revision that answered, and none of the candidate's.
    pub missing_rows: i64,
    /// Within how many milliseconds 95 of 100 reads of the candidate were done, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95_millis: Option<String>,
    /// The same for 99 of 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_millis: Option<String>,
    /// The features whose values differed, the worst first; at most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub differences: Vec<ShadowDifference>,
    /// When this was seen, in RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub observed_time: String,
}

/// What shadow reads saw of a feature whose values differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShadowDifference {
    /// Which.
    pub name: String,
    /// How many values could be compared.
    pub checked: i64,
    /// The share of those that are equal, from 0 to 1, as text.
    pub equal: String,
    /// Those that are furthest apart, by the hash of their entity's keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3))]
    pub examples: Vec<DifferenceExample>,
}

/// What a comparison said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComparisonStatus {
    /// The revision that served.
    pub former: String,
    /// The one that was to take its place.
    pub candidate: String,
    /// `Passed`, `Failed` or `Inconclusive`.
    pub verdict: ComparisonVerdict,
    /// Why, if it did not pass: which feature, and how far it is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub message: Option<String>,
    /// The event time that both were read as of, in RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub as_of: String,
    /// How many entities were read.
    pub entities: i64,
    /// The features whose values differ, the worst first; at most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub differences: Vec<FeatureDifference>,
}

/// What a comparison may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ComparisonVerdict {
    /// The revision may take over.
    Passed,
    /// It may not.
    Failed,
    /// Too little could be compared; it is made again.
    Inconclusive,
}

/// What a comparison saw of a feature whose values differ. Shares and statistics are decimals, as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FeatureDifference {
    /// Which.
    pub name: String,
    /// `Unchanged`, `Changed` or `Expected`: what its definition, and `expectedChanges`, say of it.
    pub kind: String,
    /// For how many entities it could be compared.
    pub checked: i64,
    /// The share of those whose values are equal, from 0 to 1.
    pub equal: String,
    /// The population stability index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub psi: Option<String>,
    /// Kolmogorov and Smirnov's statistic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ks: Option<String>,
    /// How the values of both revisions are spread; of numbers alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub histogram: Option<Histogram>,
    /// A few of the entities, by the hash of their keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3))]
    pub examples: Vec<DifferenceExample>,
}

/// How many values fall into each of some bins of equal width, in both revisions. What is outside counts in the first and the
/// last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Histogram {
    /// The bounds of the bins, one more than there are bins; decimals, as text.
    #[schemars(length(max = 65))]
    pub edges: Vec<String>,
    /// Of the revision that served.
    #[schemars(length(max = 64))]
    pub former: Vec<i64>,
    /// Of the candidate.
    #[schemars(length(max = 64))]
    pub candidate: Vec<i64>,
}

/// An entity whose values differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DifferenceExample {
    /// The hash of its keys.
    pub entity: String,
    /// The value that is served.
    pub former: String,
    /// The value that would be.
    pub candidate: String,
}

/// A revision that has to prove itself before it is served.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Trial {
    /// Which.
    pub revision: String,
    /// Since when its deadline counts, in RFC 3339; it does not while the rollout is paused or the view suspended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub start_time: Option<String>,
    /// Since when its lag is within `catchUp.maxLagSeconds` without a break, in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub caught_up_time: Option<String>,
    /// Whether a person said that it may take over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub approved: bool,
    /// Its comparison with the revision that serves, once that has begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Attempt>,
    /// Why it was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aborted: Option<AbortReason>,
    /// What was said when it was given up, where that says more than the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// How it gets its history; none before the topic's offsets are captured, and in modes without stream workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<ReplayStatus>,
    /// How far it was when it last advanced; none while that does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advance: Option<Advance>,
}

/// How far a revision had come when it last advanced. While it goes on advancing it is noted anew no
/// more often than every twentieth of `catchUp.progressDeadlineSeconds`, and every 30 s at least.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Advance {
    /// A number that changes whenever a marker moves or its replay reads a record.
    pub position: i64,
    /// The most of its pods that were ready at once.
    pub ready_pods: i32,
    /// When that was, in RFC 3339; `catchUp.progressDeadlineSeconds` counts from here.
    #[schemars(extend("format" = "date-time"))]
    pub time: String,
}

/// An attempt at comparing a revision with the one that serves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// The hash of what is compared: both revisions' plans, the sample, and what is tolerated.
    pub definition: String,
    /// Its number, from 1; another one follows where there was no verdict.
    pub number: i32,
    /// Whether it failed, as was told: from then on a person's word for the revision is one in spite of that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub failed: bool,
    /// Whether a person lets the revision take over although it failed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forced: bool,
}

/// Why a revision was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AbortReason {
    /// It did not catch up, or could not be compared, within `catchUp.deadlineSeconds`.
    DeadlineExceeded,
    /// A person said so, by the annotation `featuremill.dev/abort`.
    AbortedByUser,
    /// Its values are not those that were announced, and `comparison.failurePolicy` is `Abort`.
    ComparisonFailed,
    /// The Job of its replay failed.
    ReplayFailed,
    /// Nothing of it advanced for `catchUp.progressDeadlineSeconds`.
    NoProgress,
}

fn default_sample_keys() -> i32 {
    10_000
}
/// One entity of the whole default sample.
fn default_max_mismatch_ratio() -> String {
    "0.0001".to_owned()
}
fn default_auto_promotion() -> bool {
    true
}
/// A day: long enough for what is wrong with a new revision to show in a whole day's traffic.
fn default_scale_down_delay() -> i32 {
    86_400
}
fn default_history_limit() -> i32 {
    10
}
fn default_max_lag() -> i32 {
    30
}
fn default_stable_for() -> i32 {
    60
}
fn default_deadline() -> i32 {
    86_400
}
/// As a Deployment's: long enough for an image to be pulled and a node to be added.
fn default_progress_deadline() -> i32 {
    600
}

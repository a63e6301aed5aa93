//! Whether the values that are served are still what they should be: what is looked at, how often, and what was found.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Checks of the values that are served, each a Job on a schedule. None is made that is not asked for: each reads rows of the
/// online store, and a skew check reads events again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.drift) || has(self.skew)").message("monitoring needs drift, skew, or both"))]
pub struct Monitoring {
    /// Whether features still look as they did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<DriftWatch>,
    /// Whether what is served is what its history gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skew: Option<SkewWatch>,
}

/// How far the values of a sample of entities are from a reference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("self.reference == 'Baseline' || self.baseline == ''")
    .message("baseline names what was captured for reference: Baseline").field_path(".baseline"))]
#[serde(rename_all = "camelCase")]
pub struct DriftWatch {
    /// When it is looked, in the words of a CronJob. The same hour each day keeps the daily rhythm of the values out of it.
    #[serde(default = "default_drift_schedule")]
    #[schemars(
        length(min = 1, max = 256),
        regex(pattern = crate::schema::SCHEDULE)
    )]
    pub schedule: String,
    /// The time zone of the schedule, such as `Etc/UTC`; that of the cluster's controller manager if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: Option<String>,
    /// How many entities are read: those whose keys have the smallest hashes. Below 200 nothing can be told.
    #[serde(default = "default_drift_sample")]
    #[schemars(range(min = 200, max = 20_000))]
    pub sample_keys: i32,
    /// The largest population stability index of any feature; `"0.25"` is what the field calls another population.
    #[serde(default = "default_max_psi")]
    #[schemars(length(max = 16), regex(pattern = r"^[0-9]+(\.[0-9]+)?$"))]
    pub max_psi: String,
    /// What values are held against.
    #[serde(default)]
    pub reference: DriftReference,
    /// Any word; another one captures the baseline anew, at the next check.
    #[serde(default)]
    #[schemars(length(max = 63))]
    pub baseline: String,
}

/// What values are held against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DriftReference {
    /// What the first check of the revision captured: what drifted stays drifted until somebody takes it for normal.
    #[default]
    Baseline,
    /// What the check before saw: a change is told once.
    PreviousCheck,
}

/// Whether the served values of a sample of entities are what their events give when they are folded once more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SkewWatch {
    /// When it is looked, in the words of a CronJob.
    #[serde(default = "default_skew_schedule")]
    #[schemars(
        length(min = 1, max = 256),
        regex(pattern = crate::schema::SCHEDULE)
    )]
    pub schedule: String,
    /// The time zone of the schedule, such as `Etc/UTC`; that of the cluster's controller manager if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: Option<String>,
    /// How many entities are checked, others each time; and those that differed the time before.
    #[serde(default = "default_skew_sample")]
    #[schemars(range(min = 1, max = 10_000))]
    pub sample_keys: i32,
    /// How far back events of a topic are read again, such as `24h`: features whose window is longer are not checked, and counted
    /// as such. A generation is folded again whole.
    #[serde(default = "default_lookback")]
    #[schemars(length(max = 16), regex(pattern = "^[0-9]+(s|m|h|d)$"))]
    pub lookback: String,
    /// For which share of the entities a feature may differ; any that does is a defect.
    #[serde(default = "default_max_mismatch_ratio")]
    #[schemars(length(max = 16), regex(pattern = r"^(0(\.[0-9]+)?|1(\.0+)?)$"))]
    pub max_mismatch_ratio: String,
    /// The most records of the topic that are read again in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000_000))]
    pub max_records_per_second: Option<i32>,
}

/// What the checks found last. Written when a check ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MonitoringStatus {
    /// How far values are from their reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<DriftStatus>,
    /// Whether they are what their history gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skew: Option<SkewStatus>,
}

/// How far values are from their reference.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DriftStatus {
    /// Of which revision.
    pub revision: String,
    /// The time that was looked at, in RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub as_of: String,
    /// How many entities were read.
    pub entities: i64,
    /// `Baseline`, `PreviousCheck`, or `PreviousGeneration` where it is the quality gate of a batch run that says so; none if there
    /// was nothing yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The time that the reference is of, in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub reference_as_of: Option<String>,
    /// The index above which a feature has drifted.
    pub max_psi: String,
    /// How many features have.
    pub drifted: i32,
    /// The features that moved furthest, the worst first; 16 at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub features: Vec<FeatureDrift>,
}

/// How far one feature moved. Shares are of 1.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FeatureDrift {
    /// Its name.
    pub name: String,
    /// Its population stability index, NULLs included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub psi: Option<String>,
    /// Kolmogorov and Smirnov's statistic of its numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ks: Option<String>,
    /// How many are NULL.
    pub null_share: String,
    /// How many were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference_null_share: Option<String>,
    /// How many of its numbers lie far outside of where those of the reference lay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outlier_share: Option<String>,
    /// How many of the reference's own do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference_outlier_share: Option<String>,
}

/// Whether served values are what their history gives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SkewStatus {
    /// Of which revision.
    pub revision: String,
    /// The time that was looked at, in RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub as_of: String,
    /// How many entities were checked.
    pub entities: i64,
    /// The share of them above which a feature is skewed.
    pub max_mismatch_ratio: String,
    /// How many features are.
    pub skewed: i32,
    /// How many features could not be checked for most entities: their windows are longer than `lookback`, or than what the topic
    /// still holds.
    #[serde(default)]
    pub unchecked: i32,
    /// The features that differ for any entity, the worst first; 16 at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub features: Vec<FeatureSkew>,
}

/// For how many entities one feature differs from what its history gives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FeatureSkew {
    /// Its name.
    pub name: String,
    /// For how many entities it was checked.
    pub checked: i64,
    /// For how many of them it differs.
    pub differs: i64,
    /// The share of these.
    pub ratio: String,
    /// A few of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3))]
    pub examples: Vec<SkewExample>,
}

/// One entity for which a value differs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SkewExample {
    /// The hash of its keys.
    pub entity: String,
    /// What is served.
    pub served: String,
    /// What its events give.
    pub recomputed: String,
}

impl Default for DriftWatch {
    fn default() -> Self {
        Self {
            schedule: default_drift_schedule(),
            time_zone: None,
            sample_keys: default_drift_sample(),
            max_psi: default_max_psi(),
            reference: DriftReference::default(),
            baseline: String::new(),
        }
    }
}

impl Default for SkewWatch {
    fn default() -> Self {
        Self {
            schedule: default_skew_schedule(),
            time_zone: None,
            sample_keys: default_skew_sample(),
            lookback: default_lookback(),
            max_mismatch_ratio: default_max_mismatch_ratio(),
            max_records_per_second: None,
        }
    }
}

fn default_drift_schedule() -> String {
    "0 12 * * *".to_owned()
}
fn default_drift_sample() -> i32 {
    10_000
}
/// What the field calls another population.
pub(super) fn default_max_psi() -> String {
    "0.25".to_owned()
}
fn default_skew_schedule() -> String {
    "30 * * * *".to_owned()
}
fn default_skew_sample() -> i32 {
    500
}
fn default_lookback() -> String {
    "24h".to_owned()
}
fn default_max_mismatch_ratio() -> String {
    "0".to_owned()
}

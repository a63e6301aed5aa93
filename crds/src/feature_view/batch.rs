//! How batch runs of a view begin, and what they must not exceed.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When batch runs begin; the fields of a CronJob and of its Jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// Five fields, or a word such as `@hourly`.
    #[schemars(
        length(min = 1, max = 256),
        regex(pattern = crate::schema::SCHEDULE)
    )]
    pub schedule: String,
    /// The time zone of the schedule, such as `Etc/UTC`; that of the cluster's controller manager if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: Option<String>,
    /// How late a run may still begin; a run that is later is missed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 31_536_000))]
    pub starting_deadline_seconds: Option<i64>,
    /// What happens to a run whose predecessor is still running.
    #[serde(default)]
    pub concurrency_policy: ConcurrencyPolicy,
    /// Every run reads everything, also where nothing seems to have changed, or only what is new would do. For a while: after a
    /// table was changed in a way that its log does not tell.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub full_refresh: bool,
    /// How often a run that failed is tried again. One that the quality gate refused is not.
    #[serde(default = "default_backoff_limit")]
    #[schemars(range(min = 0, max = 100))]
    pub backoff_limit: i32,
    /// How long a run may take with all its tries; it is then ended, and nothing of it is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub active_deadline_seconds: Option<i64>,
    /// How many Jobs that succeeded are kept.
    #[serde(default = "default_successful_jobs_history_limit")]
    #[schemars(range(min = 0, max = 100))]
    pub successful_jobs_history_limit: i32,
    /// How many Jobs that failed are kept.
    #[serde(default = "default_failed_jobs_history_limit")]
    #[schemars(range(min = 0, max = 100))]
    pub failed_jobs_history_limit: i32,
}

/// What happens to a run whose predecessor is still running.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConcurrencyPolicy {
    /// It is skipped: generations follow one another.
    #[default]
    Forbid,
}

/// What a generation must not exceed, against the one before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QualityGate {
    /// By what share the number of entities may fall, such as `"0.2"`; `"1"` switches it off.
    #[serde(default = "default_max_row_count_drop")]
    #[schemars(length(max = 16), regex(pattern = r"^(0(\.[0-9]+)?|1(\.0+)?)$"))]
    pub max_row_count_drop: String,
    /// By how much the share of entities for which a feature is NULL may rise, such as `"0.1"`; `"1"`
    /// switches it off.
    #[serde(default = "default_max_null_share_rise")]
    #[schemars(length(max = 16), regex(pattern = r"^(0(\.[0-9]+)?|1(\.0+)?)$"))]
    pub max_null_share_rise: String,
    /// The largest population stability index of any feature; `"0.25"` is what the field calls another population.
    #[serde(default = "default_max_psi")]
    #[schemars(length(max = 16), regex(pattern = r"^[0-9]+(\.[0-9]+)?$"))]
    pub max_psi: String,
}

impl Default for QualityGate {
    fn default() -> Self {
        Self {
            max_row_count_drop: default_max_row_count_drop(),
            max_null_share_rise: default_max_null_share_rise(),
            max_psi: default_max_psi(),
        }
    }
}

/// What is done between the archive and the features: what does not pass goes to a quarantine table, with the reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.dedup) || has(self.rules)").message("dedup, rules or both must be given"))]
pub struct Silver {
    /// The columns that tell events apart: of those that are equal in them, the first is kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(min = 1, max = 8), inner(length(min = 1, max = 128)))]
    pub dedup: Vec<String>,
    /// What must hold of an event.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(min = 1, max = 64))]
    pub rules: Vec<SilverRule>,
}

/// Something that must hold of an event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SilverRule {
    /// The reason under which an event is quarantined.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z]([-a-z0-9_]{0,61}[a-z0-9])?$"))]
    pub name: String,
    /// SQL over the columns of `source.schema`; an event for which it is false does not pass. NULL passes, as in a CHECK.
    #[schemars(length(min = 1, max = 4096))]
    pub expression: String,
}

fn default_backoff_limit() -> i32 {
    3
}
fn default_successful_jobs_history_limit() -> i32 {
    3
}
fn default_failed_jobs_history_limit() -> i32 {
    3
}
fn default_max_row_count_drop() -> String {
    "0.2".to_owned()
}
fn default_max_null_share_rise() -> String {
    "0.1".to_owned()
}
fn default_max_psi() -> String {
    "0.25".to_owned()
}

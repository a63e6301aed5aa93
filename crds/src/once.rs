//! What the kinds have in common whose work is one Job: how long it may take, and how it went.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Condition;

/// How long the Job may take, how often it is tried, and how long it is kept; the fields of a Job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// How long the work may take with all its tries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub active_deadline_seconds: Option<i64>,
    /// How often work that failed is tried again. What only a person can mend is not.
    #[serde(default = "default_backoff_limit")]
    #[schemars(range(min = 0, max = 100))]
    pub backoff_limit: i32,
    /// How long the Job and its pods are kept after they ended; as long as this object if not given. The outcome stays in
    /// this object's status. A minute at least, in which the outcome is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 60, max = 31_536_000))]
    pub ttl_seconds_after_finished: Option<i32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { active_deadline_seconds: None, backoff_limit: default_backoff_limit(), ttl_seconds_after_finished: None }
    }
}

/// Where the work stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// It has not begun; the condition `SpecAccepted` says what it waits for.
    #[default]
    Pending,
    /// Its Job stands.
    Running,
    /// It is done. Nothing more happens.
    Succeeded,
    /// It is given up. Nothing more happens.
    Failed,
}

impl Phase {
    /// Whether nothing more happens.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

/// How the work went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// The generation that the rest was observed at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where it stands, for people; automation reads the conditions.
    #[serde(default)]
    pub phase: Phase,
    /// When its Job was made, in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub start_time: Option<String>,
    /// When it ended, well or not, in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub completion_time: Option<String>,
    /// `Complete`, `Failed`, `Reconciling`, `Stalled` and `SpecAccepted`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
}

fn default_backoff_limit() -> i32 {
    3
}

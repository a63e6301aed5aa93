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
}

impl Default for CatchUp {
    fn default() -> Self {
        Self {
            max_lag_seconds: default_max_lag(),
            stable_for_seconds: default_stable_for(),
            deadline_seconds: default_deadline(),
        }
    }
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
    /// Why it was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aborted: Option<AbortReason>,
    /// What was said when it was given up, where that says more than the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// How it gets its history; none before the topic's offsets are captured, and in modes without stream workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<ReplayStatus>,
}

/// Why a revision was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AbortReason {
    /// It did not catch up within `catchUp.deadlineSeconds`.
    DeadlineExceeded,
    /// A person said so, by the annotation `featuremill.dev/abort`.
    AbortedByUser,
    /// The Job of its replay failed.
    ReplayFailed,
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

//! How old served features may be, and who is to be called when they are older.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How old served features may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Freshness {
    /// Answers whose source has not been read for longer than this are marked as degraded.
    #[serde(default = "default_target")]
    #[schemars(range(min = 1, max = 86_400))]
    pub target_seconds: i32,
    /// How old the horizon of the served generation may be before its batch counts as overdue: `Fresh` is then False, and
    /// a Lambda's answers are marked as degraded.
    #[serde(default = "default_horizon_target")]
    #[schemars(range(min = 60, max = 31_536_000))]
    pub horizon_target_seconds: i32,
    /// From which lag on `Fresh` is False, and how urgent that is. A tier that is not given is the Architecture's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["tier".into()]))]
    #[x_kube(validation = Rule::new("self.all(a, self.all(b, a.tier >= b.tier || a.lagSeconds >= b.lagSeconds))")
        .message("alertTiers: the more urgent a tier, the larger its lagSeconds; 1 is the most urgent"))]
    #[schemars(length(max = 3))]
    pub alert_tiers: Vec<AlertTier>,
}

impl Default for Freshness {
    fn default() -> Self {
        Self {
            target_seconds: default_target(),
            horizon_target_seconds: default_horizon_target(),
            alert_tiers: Vec::new(),
        }
    }
}

/// What holds for every view that says nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct FreshnessDefaults {
    /// The tiers of all views of the Architecture, each of which may have its own. What is not given here either: tier 1
    /// from more than 600 s on, tier 2 from 300, tier 3 from 120.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["tier".into()]))]
    #[x_kube(validation = Rule::new("self.all(a, self.all(b, a.tier >= b.tier || a.lagSeconds >= b.lagSeconds))")
        .message("alertTiers: the more urgent a tier, the larger its lagSeconds; 1 is the most urgent"))]
    #[schemars(length(max = 3))]
    pub alert_tiers: Vec<AlertTier>,
}

/// From which lag on somebody is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlertTier {
    /// 1: somebody is called, at night too, also when nothing is read any more at all; 2: somebody looks today; 3: it is noted.
    #[schemars(range(min = 1, max = 3))]
    pub tier: i32,
    /// More than this far behind.
    #[schemars(range(min = 1, max = 31_536_000))]
    pub lag_seconds: i32,
    /// For that long without a break.
    #[serde(default = "default_for")]
    #[schemars(range(min = 0, max = 86_400))]
    pub for_seconds: i32,
}

fn default_target() -> i32 {
    60
}
/// A day and a half: a nightly run that is missed once.
fn default_horizon_target() -> i32 {
    129_600
}
/// Longer than a worker takes to start anew.
fn default_for() -> i32 {
    60
}

//! One feature of a view.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One feature: an aggregate over a window of events, or an expression over other features of the view.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("has(self.aggregate) != has(self.expression)").message("exactly one of aggregate and expression must be given"),
    validation = Rule::new("has(self.aggregate) || !(has(self.of) || has(self.where) || has(self.window) || has(self.hop) || has(self.type) || has(self.percentile) || has(self.k))")
        .message("an expression takes none of of, where, window, hop, type, percentile and k"),
    validation = Rule::new("!has(self.aggregate) || self.aggregate in ['Count', 'MinTimestamp', 'MaxTimestamp'] || has(self.of)")
        .message("this aggregate needs of: the column or expression to aggregate"),
    validation = Rule::new("!has(self.aggregate) || !(self.aggregate in ['MinTimestamp', 'MaxTimestamp']) || !has(self.of)")
        .message("MinTimestamp and MaxTimestamp take no of: they are of the events' own time"),
    validation = Rule::new("!has(self.aggregate) || has(self.percentile) == (self.aggregate == 'Percentile')")
        .message("percentile must be given for Percentile, and only for it"),
    validation = Rule::new("!has(self.aggregate) || has(self.k) == (self.aggregate in ['LastK', 'TopK'])")
        .message("k must be given for LastK and TopK, and only for them"),
    validation = Rule::new("has(self.window) || !(has(self.hop) || has(self.type))")
        .message("hop and type need a window"),
    validation = Rule::new("!has(self.hop) || !has(self.type) || self.type != 'Tumbling'")
        .message("a Tumbling window takes no hop")
)]
#[serde(rename_all = "camelCase")]
pub struct Feature {
    /// The name it is asked by; unique in the view.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z][a-z0-9_]{0,62}$"))]
    pub name: String,
    /// What is computed over the events of the window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aggregate: Option<Aggregate>,
    /// SQL over the columns of `source.schema`: what is aggregated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub of: Option<String>,
    /// SQL over the columns of `source.schema`: which events count. All if not given.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub where_: Option<String>,
    /// The length of the window. All time if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), regex(pattern = "^[0-9]+(s|m|h|d)$"))]
    pub window: Option<String>,
    /// What the start of a sliding window is rounded down to: the largest step not above a sixtieth of the window if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hop: Option<Hop>,
    /// Whether the window slides with the time of reading, or only closed windows are read. `Sliding` if not given.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<WindowType>,
    /// The rank of a `Percentile` as a share, such as `"0.95"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), regex(pattern = r"^(0(\.[0-9]+)?|1(\.0+)?)$"))]
    pub percentile: Option<String>,
    /// How many values a `LastK` or `TopK` gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub k: Option<i32>,
    /// SQL over other features of the view.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub expression: Option<String>,
}

/// What is computed over the events of a window. NULL inputs are skipped by all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Aggregate {
    /// The number of events, or of inputs.
    Count,
    /// The exact sum.
    Sum,
    /// The mean.
    Avg,
    /// The smallest input.
    Min,
    /// The largest input.
    Max,
    /// The sample standard deviation.
    StdDev,
    /// The sample variance.
    Variance,
    /// The number of distinct inputs: exact for small sets, then estimated.
    CountDistinct,
    /// The value at a rank, within 1 % of itself.
    Percentile,
    /// The input of the earliest event.
    First,
    /// The input of the latest event.
    Last,
    /// The inputs of the latest events.
    LastK,
    /// The largest inputs.
    TopK,
    /// The time of the earliest event.
    MinTimestamp,
    /// The time of the latest event.
    MaxTimestamp,
}

/// The steps that a sliding window's start can be rounded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Hop {
    /// One second.
    #[serde(rename = "1s")]
    OneSecond,
    /// Ten seconds.
    #[serde(rename = "10s")]
    TenSeconds,
    /// One minute.
    #[serde(rename = "1m")]
    OneMinute,
    /// Five minutes.
    #[serde(rename = "5m")]
    FiveMinutes,
    /// Fifteen minutes.
    #[serde(rename = "15m")]
    FifteenMinutes,
    /// One hour.
    #[serde(rename = "1h")]
    OneHour,
    /// Six hours.
    #[serde(rename = "6h")]
    SixHours,
    /// One day.
    #[serde(rename = "1d")]
    OneDay,
}

/// How a window moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WindowType {
    /// It ends at the time of reading.
    #[default]
    Sliding,
    /// It is the last closed one.
    Tumbling,
}

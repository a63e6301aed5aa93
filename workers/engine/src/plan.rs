//! The resolved plan: all a worker or server needs to know of one revision of one view.
//!
//! Made only by [`crate::resolve`], written as JSON into a ConfigMap named by [`Plan::hash`], and handed to workers,
//! which never see Kubernetes. Times are milliseconds since the epoch, lengths are milliseconds.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::value::ValueType;

/// The version of what the engine computes. It is part of every revision's hash: a change of any aggregate's,
/// window's or expression's meaning raises it, and so rolls every view out anew.
pub const SEMANTICS: u32 = 1;

/// One revision of one view.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Plan {
    /// [`SEMANTICS`] of the engine that resolved it; a worker of another version refuses the plan.
    pub semantics: u32,
    /// Whose plan it is.
    pub view: ViewIdentity,
    /// Ten hex digits: the hash of all that changes a feature's value.
    pub revision: String,
    /// Who lays the tiles.
    pub mode: Mode,
    /// Where events come from and how they read.
    pub source: Source,
    /// The columns that name an entity, in the user's order.
    pub entity: Vec<String>,
    /// Lateness, retention and the finest tile.
    pub time: TimePolicy,
    /// The distinct `where` expressions, as SQL over the source's columns.
    pub conditions: Vec<String>,
    /// The distinct `of` expressions.
    pub inputs: Vec<Input>,
    /// The distinct aggregates: features that differ in their window alone share one.
    pub aggregates: Vec<Aggregate>,
    /// The features, in the user's order.
    pub features: Vec<Feature>,
}

/// The object a plan was resolved from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ViewIdentity {
    /// The Kubernetes UID; the first part of every key and group name.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name, at most 40 characters.
    pub name: String,
}

/// Who lays the tiles, and so where a reader finds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Mode {
    /// Stream workers alone: a read merges stream lanes.
    Kappa,
    /// Batch runs over a table: a read takes one generation's batch lane.
    Batch,
    /// Batch runs up to a horizon and stream workers from it on: a read takes batch tiles below and stream tiles from there.
    Lambda,
    /// Batch runs, minutes apart, over tables that are made of the stream. Also written `Streamhouse`.
    Lakehouse,
}

impl Mode {
    /// Whether stream workers fold the topic's events into lanes.
    #[must_use]
    pub fn has_stream_lanes(self) -> bool {
        matches!(self, Self::Kappa | Self::Lambda)
    }

    /// Whether batch runs publish generations of batch lanes.
    #[must_use]
    pub fn has_generations(self) -> bool {
        !matches!(self, Self::Kappa)
    }
}

/// Where events come from. It holds what the plan's mode reads and nothing else, so that the rest rolls no revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Source {
    /// The topic: of `Kappa`, `Lambda` and `Lakehouse`, and of a `Batch` without [`Self::table`], which reads its archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<Stream>,
    /// The history table of `Batch` and `Lambda`; without it, they read the archive of the topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<Table>,
    /// The event time.
    pub timestamp: TimestampField,
    /// The declared columns; only these are decoded.
    pub columns: Vec<Column>,
}

/// A topic of events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Stream {
    /// The Kafka topic.
    pub topic: String,
    /// Raised by a person when the topic was made anew, so that offsets start over.
    pub epoch: u32,
}

/// A table of events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Table {
    /// Where it is: a folder or file of `file://`, `s3://`, `gs://` or `abfss://`.
    pub uri: String,
    /// How it is written.
    pub format: TableFormat,
}

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TableFormat {
    /// A Delta table.
    Delta,
    /// Parquet files.
    Parquet,
}

/// Which column is the event time. It need not be among [`Source::columns`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TimestampField {
    /// The field of the event.
    pub field: String,
    /// How it is written.
    pub unit: TimestampUnit,
}

/// How an event writes its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimestampUnit {
    /// A number of seconds; a fraction is kept to the millisecond, rounded down.
    Seconds,
    /// A number of milliseconds.
    Milliseconds,
    /// A number of microseconds, rounded down.
    Microseconds,
    /// RFC 3339 text.
    Rfc3339,
}

/// One declared column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Column {
    /// The field of the event.
    pub name: String,
    /// Its type; never a list.
    #[serde(rename = "type")]
    pub value_type: ValueType,
}

/// When events count and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TimePolicy {
    /// How far back an `as_of` read or a late event finds tiles of full resolution.
    pub allowed_lateness_ms: i64,
    /// How far ahead of its record's time an event may be.
    pub max_future_ms: i64,
    /// How far behind its record's time an event may be: the longest any aggregate keeps it. `None`: for ever.
    pub retention_ms: Option<i64>,
    /// The smallest hop of the view, to which the end of every window is rounded up.
    pub finest_tile_ms: i64,
}

/// An expression that aggregates take in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Input {
    /// SQL over the source's columns.
    pub sql: String,
    /// The type it was planned to have.
    #[serde(rename = "type")]
    pub value_type: ValueType,
}

/// One distinct aggregate: a function over a condition's events, and the tiles it is kept in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Aggregate {
    /// What is computed.
    pub function: Function,
    /// Index into [`Plan::inputs`]; `None` for functions of events alone.
    pub input: Option<usize>,
    /// Index into [`Plan::conditions`]; `None` takes every event.
    pub condition: Option<usize>,
    /// The tile sizes, finest first.
    pub ladder: Ladder,
}

/// What an aggregate computes. NULL inputs are skipped by all of them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name")]
pub enum Function {
    /// The number of events, or of non-NULL inputs. 0 for none.
    Count,
    /// Exact sum; NULL for none or on overflow.
    Sum,
    /// Sum over count, as a double.
    Avg,
    /// The smallest input.
    Min,
    /// The largest input.
    Max,
    /// The sample standard deviation; NULL below two inputs.
    StdDev,
    /// The sample variance; NULL below two inputs.
    Variance,
    /// The number of distinct inputs: exact for small sets, then HyperLogLog. 0 for none.
    CountDistinct,
    /// The value at a rank, within 1 % of itself (DDSketch).
    Percentile {
        /// The rank as a share, 0 to 1.
        q: f64,
    },
    /// The input of the earliest event; ties by value bytes.
    First,
    /// The input of the latest event; ties by value bytes.
    Last,
    /// The inputs of the `k` latest events, latest first.
    LastK {
        /// How many, 1 to 1,000.
        k: u32,
    },
    /// The `k` largest inputs, largest first, with repetition.
    TopK {
        /// How many, 1 to 1,000.
        k: u32,
    },
    /// The event time of the earliest event.
    MinTimestamp,
    /// The event time of the latest event.
    MaxTimestamp,
}

/// The tile sizes of an aggregate, finest first, each kept up to an age counted from the lane's newest event.
///
/// Let `n` be the lane's newest event time. Rung `i` ends, towards the past, at
/// `B(i) = floor(min(n − rungs[i].keep_ms, B(i − 1)), tile of rung i + 1)`, with `B(−1) = +∞`; below it the events stand in tiles of
/// rung i + 1. Below the last rung they stand in one tile for all time (`forever`), or are dropped; the last rung's own
/// tile size then takes the place of the next one's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ladder {
    /// Tile size and age, both strictly ascending; never empty.
    pub rungs: Vec<Rung>,
    /// Whether what is older than the last rung is kept in one tile for all time.
    pub forever: bool,
}

/// One tile size of a [`Ladder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rung {
    /// The length of a tile.
    pub tile_ms: i64,
    /// The age up to which tiles of this size are kept.
    pub keep_ms: i64,
}

/// One feature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Feature {
    /// The name it is asked by.
    pub name: String,
    /// The type of its values.
    #[serde(rename = "type")]
    pub value_type: ValueType,
    /// How it is computed.
    pub source: FeatureSource,
}

/// Where a feature's value comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all_fields = "camelCase")]
pub enum FeatureSource {
    /// An aggregate over a window.
    Window {
        /// Index into [`Plan::aggregates`].
        aggregate: usize,
        /// The slice of event time.
        window: Window,
    },
    /// A SQL expression over other features of the view.
    Expression {
        /// The expression.
        sql: String,
        /// Indices into [`Plan::features`] it reads, all smaller in dependency order, not necessarily in position.
        reads: Vec<usize>,
    },
}

/// A slice of event time, relative to the time `t` of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum Window {
    /// `[floor(t − length, hop), ceil(t, finest tile))`.
    Sliding {
        /// Its length.
        length_ms: i64,
        /// What its start is rounded down to.
        hop_ms: i64,
    },
    /// The last closed `[k·length, (k + 1)·length)`.
    Tumbling {
        /// Its length.
        length_ms: i64,
        /// The tile size it is read from: the largest of the ladder's steps that divides `length_ms`.
        hop_ms: i64,
    },
    /// Everything before `ceil(t, finest tile)`.
    Lifetime,
}

impl Plan {
    /// Twelve hex digits of the whole plan, for the name of its ConfigMap.
    #[must_use]
    pub fn hash(&self) -> String {
        hex(&Sha256::digest(self.to_json().as_bytes()), 12)
    }

    /// The plan as the JSON that workers are handed.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Serialising owned data with string keys cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Eight bytes that two plans share exactly when they lay out lanes alike; they stand in every lane's head.
    #[must_use]
    pub fn layout(&self) -> [u8; 8] {
        let layout = (SEMANTICS, &self.aggregates, &self.inputs, &self.conditions, &self.time);
        let digest = Sha256::digest(serde_json::to_vec(&layout).unwrap_or_default());
        let mut out = [0; 8];
        out.copy_from_slice(&digest[..8]);
        out
    }

    /// The position of a feature by its name.
    #[must_use]
    pub fn feature(&self, name: &str) -> Option<usize> {
        self.features.iter().position(|f| f.name == name)
    }
}

/// The first `digits` hex digits of `bytes`.
pub(crate) fn hex(bytes: &[u8], digits: usize) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).take(digits).collect()
}

/// What a stream worker is handed: the plans it computes on one topic, and the incarnation of the rows each fills.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Assignments {
    /// All on the same topic.
    pub assignments: Vec<Assignment>,
}

/// One plan and the rows it fills.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Assignment {
    /// The incarnation of the revision's rows.
    pub incarnation: u32,
    /// The plan.
    pub plan: Plan,
}

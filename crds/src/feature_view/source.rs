//! The stream of events of a view.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The stream of events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("has(self.topic) || has(self.table)").message("topic, table or both must be given"),
    validation = Rule::new("has(self.topic) || self.epoch == 0").message("epoch needs a topic")
)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// The Kafka topic; it must exist and must not be compacted. A `Batch` over a table needs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 249), regex(pattern = "^[a-zA-Z0-9._-]+$"))]
    pub topic: Option<String>,
    /// The table of the same events, which `Batch` and `Lambda` read; without it, they read the archive of the topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<Table>,
    /// Raised by a person when the topic was made anew, so that its offsets start over.
    #[serde(default)]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub epoch: i32,
    /// How an event is written.
    #[serde(default)]
    pub format: Format,
    /// The event time.
    pub timestamp: Timestamp,
    /// The columns that features use; only these are read.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(min = 1, max = 256))]
    pub schema: Vec<Column>,
}

/// A table of events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("self.format != 'Parquet' || self.completeUntil == 'NewestEvent'")
    .message("Parquet files declare nothing: completeUntil must be NewestEvent").field_path(".completeUntil"))]
#[serde(rename_all = "camelCase")]
pub struct Table {
    /// The folder: `s3://bucket/path`, `gs://`, `az://`, `abfss://` or `file:///path`. It is read with the settings of the
    /// Architecture's `offlineStore`.
    #[schemars(
        length(min = 6, max = 1024),
        regex(pattern = crate::schema::TABLE_URI)
    )]
    pub uri: String,
    /// How it is written.
    #[serde(default)]
    pub format: TableFormat,
    /// Up to which event time it holds every event.
    #[serde(default)]
    pub complete_until: CompleteUntil,
}

/// How a table is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TableFormat {
    /// A Delta table.
    #[default]
    Delta,
    /// Parquet files.
    Parquet,
}

/// Up to which event time a table holds every event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CompleteUntil {
    /// As the table's property or newest commit says under `featuremill.completeUntil`, in RFC 3339 or milliseconds.
    #[default]
    Declared,
    /// Up to its newest event: it is written in the order of time.
    NewestEvent,
}

/// How an event is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Format {
    /// One JSON object a record.
    #[default]
    JSON,
}

/// The event time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Timestamp {
    /// The field of the event.
    #[schemars(length(min = 1, max = 128))]
    pub field: String,
    /// How it is written.
    pub unit: TimestampUnit,
}

/// How an event writes its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TimestampUnit {
    /// A number of seconds.
    Seconds,
    /// A number of milliseconds.
    #[default]
    Milliseconds,
    /// A number of microseconds.
    Microseconds,
    /// RFC 3339 text.
    Rfc3339,
}

/// One column.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("(has(self.precision) && has(self.scale)) == (self.type == 'Decimal') && has(self.precision) == has(self.scale)")
        .message("precision and scale must be given for a Decimal, and only for it"),
    validation = Rule::new("!has(self.precision) || !has(self.scale) || self.scale <= self.precision")
        .message("scale must not exceed precision")
)]
pub struct Column {
    /// The field of the event.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub type_: ColumnType,
    /// Digits in all, of a `Decimal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 28))]
    pub precision: Option<u8>,
    /// Digits behind the point, of a `Decimal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 28))]
    pub scale: Option<u8>,
}

/// The type of a column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ColumnType {
    /// UTF-8 text.
    #[default]
    String,
    /// A signed 64-bit integer.
    Int64,
    /// An IEEE 754 double.
    Double,
    /// `true` or `false`.
    Boolean,
    /// A point in time.
    Timestamp,
    /// An exact decimal.
    Decimal,
}

//! What a person wrote, in plain structs: the input of [`crate::resolve`].
//!
//! The operator fills it from the custom resources, tests and the laptop mode from their own files. Nothing in it has
//! been checked; `field` paths in errors use the names of the custom resource.

use crate::plan::{Stream, Table, TimestampField, ViewIdentity};

/// One view as it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewDefinition {
    /// Whose definition it is.
    pub view: ViewIdentity,
    /// The architecture's mode: `Kappa`, `Batch`, `Lambda`, `Lakehouse` or its other name `Streamhouse`.
    pub mode: String,
    /// The columns that name an entity.
    pub entity_keys: Vec<String>,
    /// The topic of events, if the view names one. Modes that read no stream ignore it.
    pub stream: Option<Stream>,
    /// The table of events, if the view names one. Modes that read no table ignore it.
    pub table: Option<Table>,
    /// Whether the topic is archived, so that a batch run finds its history without [`Self::table`].
    pub archive: bool,
    /// The event time.
    pub timestamp: TimestampField,
    /// The declared columns.
    pub schema: Vec<ColumnDefinition>,
    /// A duration such as `4h`.
    pub allowed_lateness: String,
    /// A duration such as `5m`.
    pub max_future: String,
    /// How old the horizon of a `Lambda` may become before lifetime features can no longer be told, as a duration; `7d`
    /// unless given.
    pub horizon_max_age: Option<String>,
    /// The features, in order.
    pub features: Vec<FeatureDefinition>,
}

/// One declared column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnDefinition {
    /// The field of the event.
    pub name: String,
    /// `String`, `Int64`, `Double`, `Boolean`, `Timestamp` or `Decimal`.
    pub type_name: String,
    /// Digits in all, of a `Decimal`.
    pub precision: Option<u8>,
    /// Digits behind the point, of a `Decimal`.
    pub scale: Option<u8>,
}

/// One feature: an aggregate over a window, or an expression over other features.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeatureDefinition {
    /// The name it is asked by.
    pub name: String,
    /// A [`crate::plan::Function`]'s name.
    pub aggregate: Option<String>,
    /// SQL over the columns: what is aggregated.
    pub of: Option<String>,
    /// SQL over the columns: which events count.
    pub condition: Option<String>,
    /// A duration; none is lifetime.
    pub window: Option<String>,
    /// A step of the ladder.
    pub hop: Option<String>,
    /// Whether only the last closed window is read.
    pub tumbling: bool,
    /// The rank of a `Percentile`, as a decimal string.
    pub percentile: Option<String>,
    /// How many, of `LastK` and `TopK`.
    pub k: Option<u32>,
    /// SQL over other features of the view.
    pub expression: Option<String>,
}

//! `TrainingSet`: a table of questions, each of some entity at some time, with the features as they were then.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::architecture::BatchPod;
use crate::feature_view::{TableFormat, Timestamp};
use crate::once::{Limits, Progress};
use crate::pod::LocalReference;

/// What is wanted of a training set. It is made once: for another, make another object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "featuremill.dev",
    version = "v1alpha1",
    kind = "TrainingSet",
    namespaced,
    status = "TrainingSetStatus",
    shortname = "ts",
    category = "featuremill",
    derive = "PartialEq",
    doc = "A table of entities and timestamps to which the features of some views are added, exactly as they were at each timestamp.",
    validation = Rule::new("self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name must be at most 40 characters, lower-case letters, digits and '-'"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Complete", type_ = "string", json_path = ".status.conditions[?(@.type=='Complete')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Complete')].reason"),
    printcolumn(name = "Rows", type_ = "integer", json_path = ".status.rows"),
    printcolumn(name = "Version", type_ = "integer", json_path = ".status.outputVersion"),
    printcolumn(name = "Finished", type_ = "date", json_path = ".status.completionTime"),
    printcolumn(name = "Output", type_ = "string", json_path = ".spec.output.uri", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = Rule::new("self == oldSelf").message("spec is immutable: a training set is made once; make a new TrainingSet"))]
#[x_kube(validation = Rule::new("self.output.uri != self.asks.uri")
    .message("output.uri must be another table than asks.uri").field_path(".output.uri"))]
#[serde(rename_all = "camelCase")]
pub struct TrainingSetSpec {
    /// The Architecture, of the same namespace, whose views are asked and whose `offlineStore` says how tables are reached.
    pub architecture_ref: LocalReference,
    /// The questions.
    pub asks: Asks,
    /// The views whose features are added. Of more than one, features are named `view__feature`.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(min = 1, max = 16))]
    pub views: Vec<AskedView>,
    /// Where the training set goes.
    pub output: Output,
    /// The Job's pod; as that of the Architecture's `batch` runs if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<BatchPod>,
    /// How long the Job may take, how often it is tried, and how long it is kept.
    #[serde(flatten)]
    pub limits: Limits,
}

/// The questions: a table with a timestamp, the keys of the views' entities, and any other columns, such as labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("!has(self.versionAsOf) || self.format == 'Delta'")
    .message("Parquet files have no versions: versionAsOf needs format Delta").field_path(".versionAsOf"))]
#[serde(rename_all = "camelCase")]
pub struct Asks {
    /// The folder: `s3://bucket/path`, `gs://`, `az://`, `abfss://` or `file:///path`.
    #[schemars(
        length(min = 6, max = 1024),
        regex(pattern = crate::schema::TABLE_URI)
    )]
    pub uri: String,
    /// How it is written.
    #[serde(default)]
    pub format: TableFormat,
    /// The version of a Delta table; the newest if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub version_as_of: Option<i64>,
    /// The column that says as of when.
    pub timestamp: Timestamp,
}

/// A view that is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AskedView {
    /// Its name.
    #[schemars(length(min = 1, max = 40))]
    pub name: String,
    /// Its revision, which must run; the live one if not given. Status says which it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub revision: Option<String>,
    /// The version of the Delta table of its events; the newest if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub version_as_of: Option<i64>,
    /// By key of its entity, the column of the questions that holds it; a key that is not named is called the same there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 8, "additionalProperties" = {"type": "string", "minLength": 1, "maxLength": 128}))]
    pub keys: BTreeMap<String, String>,
}

/// Where a training set goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// A Delta table, of which a new version is made, or an empty folder that is filled with Parquet files.
    #[schemars(
        length(min = 6, max = 1024),
        regex(pattern = crate::schema::TABLE_URI)
    )]
    pub uri: String,
    /// How it is written.
    #[serde(default)]
    pub format: TableFormat,
}

/// What was observed of a training set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrainingSetStatus {
    /// How the work went.
    #[serde(flatten)]
    pub progress: Progress,
    /// How many rows it has: as many as there are questions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<i64>,
    /// The version that it is of its Delta table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_version: Option<i64>,
    /// The version of the questions: of a Delta table its number, of Parquet files a hash over their names and times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asks_version: Option<String>,
    /// What each view's features were computed from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 16))]
    pub views: Vec<AnsweredView>,
}

/// What a view's features were computed from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AnsweredView {
    /// The view.
    pub name: String,
    /// Its revision, which was fixed when the work began.
    pub revision: String,
    /// The version of the table of its events, once it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table_version: Option<String>,
}

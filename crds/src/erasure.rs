//! `Erasure`: one entity, such as a person, is removed from views: from the online store and from all tables of ours.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::once::{Limits, Progress};
use crate::pod::{LocalReference, PodOverrides};

/// What is wanted of an erasure. It is carried out once: for another, make another object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "featuremill.dev",
    version = "v1alpha1",
    kind = "Erasure",
    namespaced,
    status = "ErasureStatus",
    category = "featuremill",
    derive = "PartialEq",
    doc = "One entity, such as a person, whose events and features are removed from the online store, the archive and all tables of its views.",
    validation = Rule::new("self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name must be at most 40 characters, lower-case letters, digits and '-'"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Complete", type_ = "string", json_path = ".status.conditions[?(@.type=='Complete')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Complete')].reason"),
    printcolumn(name = "Finished", type_ = "date", json_path = ".status.completionTime"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = Rule::new("self == oldSelf").message("spec is immutable: an erasure is carried out once; make a new Erasure"))]
#[serde(rename_all = "camelCase")]
pub struct ErasureSpec {
    /// The Architecture, of the same namespace, from whose stores the entity is removed.
    pub architecture_ref: LocalReference,
    /// The entity: by key its value as text. Choose a name for this object that says nothing of it.
    #[schemars(extend(
        "minProperties" = 1,
        "maxProperties" = 8,
        "additionalProperties" = {"type": "string", "minLength": 1, "maxLength": 1024}
    ))]
    pub entity: BTreeMap<String, String>,
    /// The views that it is removed from; all of the Architecture whose entity has exactly these keys if not given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 40)))]
    pub views: Vec<String>,
    /// Overrides of the Job's pod; as the Architecture's `archive` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<PodOverrides>,
    /// How long the Job may take, how often it is tried, and how long it is kept.
    #[serde(flatten)]
    pub limits: Limits,
}

/// What was observed of an erasure. It does not tell of whom.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErasureStatus {
    /// How the work went.
    #[serde(flatten)]
    pub progress: Progress,
    /// What was removed of each view.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 256))]
    pub views: Vec<ErasedView>,
}

/// What was removed of a view.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErasedView {
    /// The view.
    pub name: String,
    /// Rows of the online store.
    #[serde(default)]
    pub online_rows: i64,
    /// Records of the archive.
    #[serde(default)]
    pub bronze: i64,
    /// Events of Silver.
    #[serde(default)]
    pub silver: i64,
    /// Rejected events.
    #[serde(default)]
    pub quarantine: i64,
    /// Rows of the feature table.
    #[serde(default)]
    pub gold: i64,
    /// By partition of the topic, the offset before which no event of the entity counts any more.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub covers: BTreeMap<String, i64>,
    /// The time, in RFC 3339, before which no event of the entity counts any more that a table without offsets holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub covers_before: Option<String>,
    /// The user's own table that the view reads: it is not changed, and may hold the entity still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_ours: Option<String>,
}

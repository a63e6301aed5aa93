//! The custom resources of Featuremill: group `featuremill.dev`, version `v1alpha1`.
//!
//! The Rust types are the source. `crdgen` writes `crds/yaml/` from them, which is checked in and compared by a test.
//! Invariants: every field works and none is silently ignored; no schema preserves unknown fields, so that strict
//! validation refuses what does not exist yet; each definition stays under 256 KiB, so that `kubectl apply` works.

pub mod architecture;
pub mod condition;
pub mod feature_view;
pub mod pod;
mod schema;

pub use architecture::{Architecture, ArchitectureSpec, ArchitectureStatus};
pub use condition::Condition;
pub use feature_view::{FeatureView, FeatureViewSpec, FeatureViewStatus};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

/// The API group of every kind, and the prefix of every label, annotation and finalizer.
pub const GROUP: &str = "featuremill.dev";

/// All definitions, each with the name of its file under `crds/yaml/`.
#[must_use]
pub fn definitions() -> Vec<(&'static str, CustomResourceDefinition)> {
    vec![("architectures.yaml", Architecture::crd()), ("featureviews.yaml", FeatureView::crd())]
}

/// One definition as the YAML that is checked in.
///
/// # Errors
/// When the definition cannot be written as YAML, which would be a defect of this crate.
pub fn to_yaml(definition: &CustomResourceDefinition) -> Result<String, serde_yaml_ng::Error> {
    const HEAD: &str = "# Generated from the types in crds/src by `cargo run -p crds --bin crdgen`. Do not edit.\n";
    Ok(HEAD.to_owned() + &serde_yaml_ng::to_string(definition)?)
}

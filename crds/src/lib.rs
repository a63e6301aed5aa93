//! The custom resources of Featuremill: group `featuremill.dev`, version `v1alpha1`.
//!
//! The Rust types are the source. `crdgen` writes `crds/yaml/` from them, which is checked in and compared by a test.
//! Invariants: every field works and none is silently ignored; no schema preserves unknown fields, so that strict
//! validation refuses what does not exist yet; each definition stays under 256 KiB, so that `kubectl apply` works.

pub mod architecture;
pub mod condition;
pub mod erasure;
pub mod feature_replay;
pub mod feature_view;
pub mod once;
pub mod pod;
mod schema;
pub mod training_set;

pub use architecture::{Architecture, ArchitectureSpec, ArchitectureStatus};
pub use condition::Condition;
pub use erasure::{Erasure, ErasureSpec, ErasureStatus};
pub use feature_replay::{FeatureReplay, FeatureReplaySpec, FeatureReplayStatus};
pub use feature_view::{FeatureView, FeatureViewSpec, FeatureViewStatus};
pub use training_set::{TrainingSet, TrainingSetSpec, TrainingSetStatus};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

/// The API group of every kind, and the prefix of every label, annotation and finalizer.
pub const GROUP: &str = "featuremill.dev";

/// All definitions, each with the name of its file under `crds/yaml/`.
#[must_use]
pub fn definitions() -> Vec<(&'static str, CustomResourceDefinition)> {
    vec![
        ("architectures.yaml", known(Architecture::crd())),
        ("erasures.yaml", known(Erasure::crd())),
        ("featurereplays.yaml", known(FeatureReplay::crd())),
        ("featureviews.yaml", known(FeatureView::crd())),
        ("trainingsets.yaml", known(TrainingSet::crd())),
    ]
}

/// The definition without the formats that Kubernetes does not know and warns of: those of Rust's unsigned integers,
/// whose range the schema states anyway.
fn known(definition: CustomResourceDefinition) -> CustomResourceDefinition {
    let Ok(mut value) = serde_json::to_value(&definition) else { return definition };
    drop_formats(&mut value);
    serde_json::from_value(value).unwrap_or(definition)
}

fn drop_formats(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(fields) => {
            if fields.get("format").and_then(serde_json::Value::as_str).is_some_and(|format| format.starts_with("uint"))
            {
                fields.remove("format");
            }
            fields.values_mut().for_each(drop_formats);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(drop_formats),
        _ => {}
    }
}

/// One definition as the YAML that is checked in.
///
/// # Errors
/// When the definition cannot be written as YAML, which would be a defect of this crate.
pub fn to_yaml(definition: &CustomResourceDefinition) -> Result<String, serde_yaml_ng::Error> {
    const HEAD: &str = "# Generated from the types in crds/src by `cargo run -p crds --bin crdgen`. Do not edit.\n";
    Ok(HEAD.to_owned() + &serde_yaml_ng::to_string(definition)?)
}

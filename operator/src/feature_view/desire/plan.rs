//! The ConfigMap that hands a plan to the workers. Immutable, and named by the plan's hash.

use crds::FeatureView;
use engine::plan::{Assignment, Assignments, Plan};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;

use crate::names;

pub(super) fn config_map(view: &FeatureView, plan: &Plan) -> ConfigMap {
    let name = view.name_any();
    let assignments = Assignments { assignments: vec![Assignment { incarnation: 0, plan: plan.clone() }] };
    // Serialising owned data with string keys cannot fail.
    let text = serde_json::to_string(&assignments).unwrap_or_default();
    let labels = names::labels([(names::VIEW_LABEL, &name), (names::REVISION_LABEL, &plan.revision)]);
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(names::plan_config_map(&name, &plan.hash())),
            namespace: view.namespace(),
            labels: Some(names::with_common(&labels, &name)),
            ..ObjectMeta::default()
        },
        immutable: Some(true),
        data: Some([(names::ASSIGNMENTS_KEY.to_owned(), text)].into()),
        ..ConfigMap::default()
    }
}

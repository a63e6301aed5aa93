//! Every label, annotation, finalizer, name and port, in one place.
//!
//! Names are functions of the objects they belong to, so that a restarted operator finds what it made before.

mod lake;

pub use lake::*;

use std::collections::BTreeMap;

use crds::{Architecture, FeatureView};
use kube::ResourceExt as _;

/// The field manager of every server-side apply.
pub const FIELD_MANAGER: &str = "featuremill";
/// What reports events.
pub const CONTROLLER: &str = "featuremill-operator";
/// On a view that owns anything outside of Kubernetes.
pub const VIEW_FINALIZER: &str = "featuremill.dev/online-store";
/// On an Architecture, so that it outlives its views, which need it to clean up.
pub const ARCHITECTURE_FINALIZER: &str = "featuremill.dev/views";

/// Selects everything the operator made.
pub const MANAGED_BY_SELECTOR: &str = "app.kubernetes.io/managed-by=featuremill-operator";
/// The view that an object belongs to.
pub const VIEW_LABEL: &str = "featuremill.dev/view";
/// The revision that an object belongs to.
pub const REVISION_LABEL: &str = "featuremill.dev/revision";
/// The architecture that an object belongs to.
pub const ARCHITECTURE_LABEL: &str = "featuremill.dev/architecture";
/// The training set that an object belongs to.
pub const TRAINING_SET_LABEL: &str = "featuremill.dev/training-set";
/// The erasure that an object belongs to.
pub const ERASURE_LABEL: &str = "featuremill.dev/erasure";
/// The topic that an object archives, as [`topic_hash`].
pub const TOPIC_LABEL: &str = "featuremill.dev/topic";
/// `stream`, `replay`, `batch`, `compare`, `drift`, `skew`, `server`, `archive`, `maintenance`, `train` or `erase`.
pub const COMPONENT_LABEL: &str = "app.kubernetes.io/component";
/// The digest of the object as it was last wanted; see [`crate::apply`].
pub const DIGEST_ANNOTATION: &str = "featuremill.dev/digest";
/// On pods: the version of the Secrets they mount, so that a changed Secret rolls them.
pub const SECRETS_ANNOTATION: &str = "featuremill.dev/secrets";
/// On pods: the hash of the plan they mount.
pub const PLAN_ANNOTATION: &str = "featuremill.dev/plan";

/// On a view: the revision that may take over, although the spec says that a person decides. Removed once it is heeded.
pub const PROMOTE_ANNOTATION: &str = "featuremill.dev/promote";
/// On a view: the candidate that is to be given up. Removed once it is heeded.
pub const ABORT_ANNOTATION: &str = "featuremill.dev/abort";
/// On a view: the revision that was given up and is to be tried again. Removed once it is heeded.
pub const RETRY_ANNOTATION: &str = "featuremill.dev/retry";
/// On a ControllerRevision: the image that the revision runs.
pub const IMAGE_ANNOTATION: &str = "featuremill.dev/image";
/// On a ControllerRevision: the Architecture that the revision runs with.
pub const ARCHITECTURE_ANNOTATION: &str = "featuremill.dev/architecture";
/// On a ControllerRevision: how the revision's batch runs are carried out.
pub const RUNS_ANNOTATION: &str = "featuremill.dev/runs";
/// On a ControllerRevision that is a definition computed anew: the revision that the definition has by itself.
pub const BASE_ANNOTATION: &str = "featuremill.dev/base";
/// On a ControllerRevision: when the revision last became live.
pub const PROMOTED_ANNOTATION: &str = "featuremill.dev/promoted";

/// The key of the ConfigMap of a comparison.
pub const COMPARISON_KEY: &str = "comparison.json";
/// The key of the ConfigMap of drift checks.
pub const DRIFT_KEY: &str = "drift.json";
/// The key of the ConfigMap of skew checks.
pub const SKEW_KEY: &str = "skew.json";
/// On a replay's Job: the fence of what it reads.
pub const FENCE_ANNOTATION: &str = "featuremill.dev/fence";

/// The key of a replay's ConfigMap.
pub const REPLAY_KEY: &str = "replay.json";
/// The key of the ConfigMap of batch runs.
pub const BATCH_KEY: &str = "batch.json";
/// The key of the plan's ConfigMap.
pub const ASSIGNMENTS_KEY: &str = "assignments.json";
/// The feature server's port.
pub const SERVING_PORT: i32 = 6566;
/// The admin port of workers and servers.
pub const ADMIN_PORT: i32 = 8080;
/// The user that containers run as.
pub const RUN_AS_USER: i64 = 65532;

/// The component of a view's workers.
pub const STREAM: &str = "stream";
/// The component of the replay of a revision's history.
pub const REPLAY: &str = "replay";
/// The component of a view's batch runs.
pub const BATCH: &str = "batch";
/// The component of what compares a view's revisions.
pub const COMPARE: &str = "compare";
/// The component of what sees how far a view's values are from a reference.
pub const DRIFT: &str = "drift";
/// The component of what sees whether a view's values are what its history gives.
pub const SKEW: &str = "skew";
/// The component of an architecture's archives.
pub const ARCHIVE: &str = "archive";
/// The component of what keeps archives in order.
pub const MAINTENANCE: &str = "maintenance";
/// The component of an architecture's feature servers.
pub const SERVER: &str = "server";

/// The Deployment of one revision's stream workers.
#[must_use]
pub fn stream_deployment(view: &str, revision: &str) -> String {
    format!("{view}-stream-{revision}")
}

/// The Job that replays a revision's history. With the index of a pod it is just within the 63 characters of a host name.
#[must_use]
pub fn replay_job(view: &str, revision: &str) -> String {
    format!("{view}-replay-{revision}")
}

/// The ConfigMap of what a replay reads; `hash` is of its content.
#[must_use]
pub fn replay_config_map(view: &str, hash: &str) -> String {
    format!("{view}-replay-{hash}")
}

/// The ControllerRevision of a revision.
#[must_use]
pub fn controller_revision(view: &str, revision: &str) -> String {
    format!("{view}-{revision}")
}

/// The ConfigMap of one plan.
#[must_use]
pub fn plan_config_map(view: &str, plan_hash: &str) -> String {
    format!("{view}-plan-{plan_hash}")
}

/// The feature server's Deployment, Service, disruption budget and service account.
#[must_use]
pub fn server(architecture: &str) -> String {
    format!("{architecture}-server")
}

/// The service account of the stream workers of an architecture's views.
#[must_use]
pub fn worker_account(architecture: &str) -> String {
    format!("{architecture}-worker")
}

/// The feature server's URL inside the cluster.
#[must_use]
pub fn endpoint(architecture: &Architecture) -> String {
    let namespace = architecture.namespace().unwrap_or_default();
    format!("http://{}.{namespace}.svc:{SERVING_PORT}", server(&architecture.name_any()))
}

/// Labels that select one revision's workers, and nothing else.
#[must_use]
pub fn stream_selector(view: &FeatureView, revision: &str) -> BTreeMap<String, String> {
    labels([(COMPONENT_LABEL, STREAM), (VIEW_LABEL, &view.name_any()), (REVISION_LABEL, revision)])
}

/// Labels of the replay of one revision, and of nothing else.
#[must_use]
pub fn replay_selector(view: &FeatureView, revision: &str) -> BTreeMap<String, String> {
    labels([(COMPONENT_LABEL, REPLAY), (VIEW_LABEL, &view.name_any()), (REVISION_LABEL, revision)])
}

/// Labels of one revision's batch runs, and of nothing else.
#[must_use]
pub fn batch_selector(view: &FeatureView, revision: &str) -> BTreeMap<String, String> {
    labels([(COMPONENT_LABEL, BATCH), (VIEW_LABEL, &view.name_any()), (REVISION_LABEL, revision)])
}

/// Labels of what compares one revision with another, and of nothing else.
#[must_use]
pub fn compare_selector(view: &FeatureView, revision: &str) -> BTreeMap<String, String> {
    labels([(COMPONENT_LABEL, COMPARE), (VIEW_LABEL, &view.name_any()), (REVISION_LABEL, revision)])
}

/// Labels of the checks of one revision's values, and of nothing else; `component` is [`DRIFT`] or [`SKEW`].
#[must_use]
pub fn check_selector(view: &FeatureView, component: &str, revision: &str) -> BTreeMap<String, String> {
    labels([(COMPONENT_LABEL, component), (VIEW_LABEL, &view.name_any()), (REVISION_LABEL, revision)])
}

/// The ConfigMap of what such a check is to look at; `hash` is of its content.
#[must_use]
pub fn check_config_map(view: &str, component: &str, hash: &str) -> String {
    format!("{view}-{component}-{hash}")
}

/// Labels that select what archives a topic (`component` is [`ARCHIVE`]), or what keeps that archive in order.
#[must_use]
pub fn archive_selector(architecture: &Architecture, component: &str, topic: &str) -> BTreeMap<String, String> {
    let (name, topic) = (architecture.name_any(), topic_hash(topic));
    labels([(COMPONENT_LABEL, component), (ARCHITECTURE_LABEL, &name), (TOPIC_LABEL, &topic)])
}

/// Labels that select an architecture's feature servers, and nothing else.
#[must_use]
pub fn server_selector(architecture: &Architecture) -> BTreeMap<String, String> {
    labels([(COMPONENT_LABEL, SERVER), (ARCHITECTURE_LABEL, &architecture.name_any())])
}

/// `selector` and the labels that everything of ours has.
#[must_use]
pub fn with_common(selector: &BTreeMap<String, String>, instance: &str) -> BTreeMap<String, String> {
    let mut all = labels([
        ("app.kubernetes.io/name", "featuremill"),
        ("app.kubernetes.io/instance", instance),
        ("app.kubernetes.io/managed-by", CONTROLLER),
    ]);
    all.extend(selector.clone());
    all
}

/// A map of labels as a selector's text.
#[must_use]
pub fn selector_text(selector: &BTreeMap<String, String>) -> String {
    selector.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// A map of labels from pairs.
#[must_use]
pub fn labels<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

//! What a Deployment says of its pods.

use k8s_openapi::api::apps::v1::Deployment;

/// Whether every pod of the Deployment is of its newest template.
#[must_use]
pub fn is_rolled_out(deployment: &Deployment) -> bool {
    let Some(status) = &deployment.status else { return false };
    let wanted = deployment.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
    let updated = status.updated_replicas.unwrap_or_default();
    status.observed_generation >= deployment.metadata.generation
        && updated >= wanted
        && status.replicas.unwrap_or_default() <= updated
        && status.ready_replicas.unwrap_or_default() >= wanted
}

/// How many pods a Deployment wants, has and has ready.
#[must_use]
pub fn replicas(deployment: &Deployment) -> (i32, i32, i32) {
    let status = deployment.status.clone().unwrap_or_default();
    (
        deployment.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1),
        status.replicas.unwrap_or_default(),
        status.ready_replicas.unwrap_or_default(),
    )
}

/// Whether it does its work: one pod is ready, or none is wanted.
#[must_use]
pub fn is_available(deployment: &Deployment) -> bool {
    let (wanted, _, ready) = replicas(deployment);
    ready > 0 || wanted == 0
}

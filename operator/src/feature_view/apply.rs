//! Makes the desired objects of a view stand, through the one [`Writer`]. Needs a client.
//!
//! Invariant: what is mounted stands before what mounts it, and goes after it.

use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt as _;

use super::desire::Desired;
use super::observe::{Observed, revision_of};
use super::phase::Decision;
use crate::apply::Writer;
use crate::error::Error;
use crate::workload::is_rolled_out;

/// What stands after it was written.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The Deployments, as the API server has them.
    pub streams: Vec<Deployment>,
}

/// Writes what should stand, plans first, and removes what should not, workers first.
///
/// # Errors
/// What the API server says.
pub async fn apply(
    desired: Option<Desired>,
    writer: &Writer,
    observed: &Observed,
    decision: &Decision,
) -> Result<Applied, Error> {
    let Some(Desired { plans, streams }) = desired else {
        return Ok(Applied { streams: observed.deployments.clone() });
    };
    let mut kept: Vec<String> = Vec::new();
    for plan in plans {
        kept.push(writer.apply(&observed.config_maps, plan).await?.name_any());
    }
    let mut applied = Applied { streams: Vec::new() };
    for stream in streams {
        applied.streams.push(writer.apply(&observed.deployments, stream).await?);
    }
    for stream in observed.deployments.iter().filter(|d| revision_of(*d).is_none_or(|r| decision.retire.contains(r))) {
        writer.delete(stream).await?;
    }
    for plan in observed.config_maps.iter().filter(|m| !kept.contains(&m.name_any())) {
        let revision = revision_of(plan);
        // A pod of the plan before may still have to start while its Deployment is rolled to the new one.
        let rolled = applied.streams.iter().filter(|d| revision_of(*d) == revision).all(is_rolled_out);
        if revision.is_none_or(|r| decision.retire.contains(r) || (decision.run.iter().any(|run| run == r) && rolled)) {
            writer.delete(plan).await?;
        }
    }
    Ok(applied)
}

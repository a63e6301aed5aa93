//! The objects that a view should have. Pure; one file per kind.

mod plan;
mod stream;

use std::collections::BTreeMap;
use std::sync::Arc;

use crds::Architecture;
use engine::plan::Plan;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;

use super::observe::Observed;
use super::phase::Decision;
use crate::settings::Settings;

/// What should stand, not yet written.
#[derive(Clone, Debug)]
pub struct Desired {
    /// One plan for each revision that runs.
    pub plans: Vec<ConfigMap>,
    /// One Deployment for each revision that runs.
    pub streams: Vec<Deployment>,
}

/// All objects of the view. Without an architecture there is nothing to be said: what stands, stays.
#[must_use]
pub fn desire(
    observed: &Observed,
    plans: &BTreeMap<String, Arc<Plan>>,
    decision: &Decision,
    settings: &Settings,
) -> Option<Desired> {
    let architecture: &Architecture = observed.architecture.as_ref()?;
    let view = &observed.view;
    let run: Vec<&Arc<Plan>> = decision.run.iter().filter_map(|revision| plans.get(revision)).collect();
    Some(Desired {
        plans: run.iter().map(|plan| plan::config_map(view, plan)).collect(),
        streams: run.iter().map(|plan| stream::deployment(view, architecture, plan, settings)).collect(),
    })
}

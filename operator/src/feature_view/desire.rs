//! The objects that a view should have. Pure; one file per sort of work.

mod batch;
mod checks;
mod plan;
mod replay;
mod stream;

pub(crate) use batch::source_table;
pub use replay::is_surplus;

use std::collections::BTreeMap;
use std::sync::Arc;

use crds::{Architecture, FeatureView};
use engine::plan::Plan;
use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;

use super::comparison;
use super::history;
use super::observe::Observed;
use super::phase::{Decision, Replaying};
use crate::jobs::is_finished;
use crate::names;
use crate::scaling;
use crate::settings::Settings;

/// What should stand, not yet written.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    /// What each revision that runs was made of.
    pub history: Vec<ControllerRevision>,
    /// The plans of stream workers and the configurations of batch runs, of each revision that runs.
    pub config_maps: Vec<ConfigMap>,
    /// One Deployment for each revision that runs, where the mode has stream workers.
    pub streams: Vec<Deployment>,
    /// One CronJob for each revision that runs, where the mode has batch runs.
    pub cron_jobs: Vec<CronJob>,
    /// The Job that a new revision begins with. One that stands is never changed.
    pub first_job: Option<Job>,
    /// The Job of a comparison, and the file that it is handed. What stands of either is never changed.
    pub comparison: Option<(ConfigMap, Job)>,
    /// The Job that reads a candidate's history. One that stands is never changed.
    pub replay: Option<Job>,
    /// What looks at the values of the live revision.
    pub checks: Vec<CronJob>,
}

/// All objects of the view. Without an architecture there is nothing to be said: what stands, stays.
#[must_use]
pub fn desire(
    observed: &Observed,
    plans: &BTreeMap<String, Arc<Plan>>,
    decision: &Decision,
    settings: &Settings,
) -> Option<Desired> {
    let own: &Architecture = observed.architecture.as_ref()?;
    let wanted = decision.wanted.as_deref();
    let mut desired = Desired { history: history::desire(observed, decision, &settings.image), ..Desired::default() };
    let (live, target) = (decision.memory.active.as_deref(), decision.target.as_deref());
    desired.comparison = decision.compare.as_ref().and_then(|attempt| {
        let asked = (attempt.definition.as_str(), attempt.number);
        let comparison = comparison::comparison(observed, plans, live, target, asked)?;
        let job = comparison::job(&observed.view, own, &comparison, settings);
        Some((comparison::config_map(&observed.view, &comparison), job))
    });
    if let Some(plan) = live.and_then(|live| plans.get(live))
        && let Some(architecture) = history::architecture(observed, &plan.revision, wanted)
    {
        let image = history::image(observed, &plan.revision, wanted, &settings.image).to_owned();
        let settings = &Settings { image, ..settings.clone() };
        let view = history::view(observed, &plan.revision, wanted);
        let monitoring = observed.view.spec.monitoring.as_deref();
        for (file, cron_job) in checks::desire(monitoring, &view, &architecture, plan, settings) {
            desired.config_maps.push(file);
            desired.checks.push(cron_job);
        }
    }
    for plan in decision.run.iter().filter_map(|revision| plans.get(revision)) {
        // Each revision is run as it was made, by the image that made it, with the Architecture that it was made with.
        let Some(architecture) = history::architecture(observed, &plan.revision, wanted) else { continue };
        let architecture = &*architecture;
        let view = &*history::view(observed, &plan.revision, wanted);
        let image = history::image(observed, &plan.revision, wanted, &settings.image).to_owned();
        let settings = &Settings { image, ..settings.clone() };
        if plan.mode.has_stream_lanes() {
            desired.config_maps.push(plan::config_map(view, plan));
            match decision.replay.as_ref().filter(|replay| replay.revision == plan.revision) {
                None => {
                    let replicas = replicas(observed, decision, &plan.revision);
                    desired.streams.extend(stream::deployment(view, architecture, plan, replicas, settings));
                }
                Some(replaying) => {
                    let made = Made { view, architecture, plan, settings };
                    replayed(&mut desired, observed, &made, replaying);
                }
            }
        }
        if plan.mode.has_generations()
            && let Some(config) = batch::config_map(view, architecture, plan)
        {
            let name = config.name_any();
            desired.config_maps.push(config);
            let first = names::first_job(&view.name_any(), &plan.revision);
            let standing = observed.jobs.iter().find(|job| job.name_any() == first);
            let begins = standing.is_none()
                && decision.first.as_ref() == Some(&plan.revision)
                && !view.spec.suspend
                && view.spec.serving_generation.is_none();
            if begins {
                desired.first_job = Some(batch::first_job(view, architecture, plan, &name, settings));
            }
            // Two runs of one revision only wait for each other's lease.
            let pinned = view.spec.serving_generation.is_some();
            let hold = pinned || begins || standing.is_some_and(|job| !is_finished(job));
            desired.cron_jobs.extend(batch::cron_job(view, architecture, plan, &name, hold, settings));
        }
    }
    Some(desired)
}

/// How many workers a revision has: a candidate may have more, so that it catches up sooner.
fn replicas(observed: &Observed, decision: &Decision, revision: &str) -> i32 {
    let memory = &decision.memory;
    let more = decision.workers.filter(|_| memory.candidate.as_deref() == Some(revision));
    if observed.view.spec.suspend {
        return 0;
    }
    let previous = memory.previous.as_deref() == Some(revision);
    scaling::workers(observed, revision, memory.active.as_deref(), previous).max(more.unwrap_or_default())
}

/// What reads the history of a revision, once what it reads stands in status. While workers are stopped on purpose it stops too.
fn replayed(desired: &mut Desired, observed: &Observed, made: &Made<'_>, replaying: &Replaying) {
    let Some(order) = &replaying.order else { return };
    let Some(config) = replay::config_map(made.view, made.plan, order) else { return };
    let revision = &replaying.revision;
    if !made.view.spec.suspend && !observed.is_held(revision) && observed.is_told(revision, order) {
        let (parallelism, retries) = observed.effort(revision);
        let effort = replay::Effort { parallelism, retries };
        desired.replay = replay::job(made, order, &config.name_any(), effort);
    }
    desired.config_maps.push(config);
}

/// A revision as it is run.
struct Made<'a> {
    view: &'a FeatureView,
    architecture: &'a Architecture,
    plan: &'a Plan,
    settings: &'a Settings,
}

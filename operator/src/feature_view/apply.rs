//! Makes the desired objects of a view stand, through the one [`Writer`]. Needs a client.
//!
//! Invariant: what is mounted stands before what mounts it, and goes after it. What a revision was made of stands before
//! anything of it does.

use crds::feature_view::Attempt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;

use super::comparison::{self, is_of_comparison};
use super::desire::{Desired, is_surplus};
use super::history;
use super::monitoring::is_check;
use super::observe::{Observed, revision_of};
use super::phase::Decision;
use crate::apply::{Object, Writer};
use crate::error::Error;
use crate::jobs;
use crate::names::{BATCH_KEY, REPLAY_KEY};
use crate::workload::is_rolled_out;

/// What stands after it was written.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// The Deployments, as the API server has them.
    pub streams: Vec<Deployment>,
    /// The CronJobs, as the API server has them.
    pub cron_jobs: Vec<CronJob>,
    /// Why the API server does not take the schedule: it alone knows schedules and time zones whole.
    pub refused: Option<String>,
    /// Why it does not take that of a check.
    pub check_refused: Option<String>,
}

/// Writes what differs, workers last, and removes what is no longer wanted, workers first.
///
/// # Errors
/// What the API server says.
pub async fn apply(
    desired: Option<Desired>,
    writer: &Writer,
    observed: &Observed,
    decision: &Decision,
) -> Result<Applied, Error> {
    let Some(Desired { history, config_maps, streams, cron_jobs, first_job, replay, comparison, checks }) = desired
    else {
        let (streams, cron_jobs) = (observed.deployments.clone(), observed.cron_jobs.clone());
        return Ok(Applied { streams, cron_jobs, ..Applied::default() });
    };
    for entry in history {
        writer.apply(&observed.history, entry).await?;
    }
    let mut kept: Vec<String> = Vec::new();
    for map in config_maps {
        kept.push(writer.apply(&observed.config_maps, map).await?.name_any());
    }
    let mut applied = Applied::default();
    for stream in streams {
        applied.streams.push(writer.apply(&observed.deployments, stream).await?);
    }
    for cron_job in cron_jobs {
        match writer.apply(&observed.cron_jobs, cron_job).await {
            Ok(cron_job) => applied.cron_jobs.push(cron_job),
            Err(error) if error.is_invalid() => applied.refused = Some(error.to_string()),
            Err(error) => return Err(error),
        }
    }
    let mut looking: Vec<String> = Vec::new();
    for check in checks {
        looking.push(check.name_any());
        match writer.apply(&observed.cron_jobs, check).await {
            Ok(_) => {}
            Err(error) if error.is_invalid() => applied.check_refused = Some(error.to_string()),
            Err(error) => return Err(error),
        }
    }
    if let Some(job) = first_job {
        writer.apply(&observed.jobs, job).await?;
    }
    if let Some((file, job)) = comparison {
        writer.create(file).await?;
        writer.create(job).await?;
    }
    if let Some(job) = replay.filter(|job| !observed.jobs.iter().any(|known| known.name_any() == job.name_any())) {
        writer.create(job).await?;
    }
    for stream in observed.deployments.iter().filter(|d| goes(decision, revision_of(*d))) {
        writer.delete(stream).await?;
    }
    let is_over = |check: &CronJob| is_check(check) && !looking.contains(&check.name_any());
    for cron_job in observed.cron_jobs.iter().filter(|c| goes(decision, revision_of(*c)) || is_over(c)) {
        writer.delete(cron_job).await?;
    }
    for job in observed.own_jobs() {
        let suspended = observed.view.spec.suspend || revision_of(job).is_some_and(|r| observed.is_held(r));
        if goes(decision, revision_of(job)) || is_surplus(job, decision, suspended) || is_past(job, observed, decision)
        {
            writer.delete(job).await?;
        }
    }
    for map in observed.config_maps.iter().filter(|m| !kept.contains(&m.name_any())) {
        let replaced = if is_of_comparison(map) {
            is_past(map, observed, decision)
        } else {
            is_replaced(map, observed, &applied, decision)
        };
        if goes(decision, revision_of(map)) || replaced {
            writer.delete(map).await?;
        }
    }
    for entry in history::surplus(observed, decision) {
        writer.delete(entry).await?;
    }
    Ok(applied)
}

fn goes(decision: &Decision, revision: Option<&str>) -> bool {
    revision.is_none_or(|r| decision.remove.contains(r))
}

/// Whether it belongs to a comparison that nobody asks for any more.
fn is_past<K: Object>(object: &K, observed: &Observed, decision: &Decision) -> bool {
    let view = observed.view.name_any();
    let names = |a: &Attempt| comparison::name(&view, &a.definition, a.number) == object.name_any();
    is_of_comparison(object) && !decision.compared.iter().any(names)
}

/// Whether another stands in its place and nothing that still has to start mounts it.
fn is_replaced(map: &ConfigMap, observed: &Observed, applied: &Applied, decision: &Decision) -> bool {
    let revision = revision_of(map);
    let runs = revision.is_some_and(|r| decision.run.iter().any(|run| run == r));
    if map.data.as_ref().is_some_and(|data| data.contains_key(REPLAY_KEY)) {
        let name = map.name_any();
        return runs && !observed.own_jobs().any(|job| jobs::config_maps(job).any(|mounted| mounted == name));
    }
    if is_check(map) {
        let name = map.name_any();
        let begins = |job: &&Job| !jobs::is_finished(job);
        return !observed.jobs.iter().filter(begins).any(|job| jobs::config_maps(job).any(|mounted| mounted == name));
    }
    if map.data.as_ref().is_some_and(|data| data.contains_key(BATCH_KEY)) {
        let name = map.name_any();
        let mounted =
            observed.jobs.iter().filter(|j| !jobs::is_finished(j)).any(|j| jobs::config_maps(j).any(|m| m == name));
        return runs && applied.refused.is_none() && !mounted;
    }
    // A pod of the plan before may still have to start while its Deployment is rolled to the new one.
    runs && applied.streams.iter().filter(|d| revision_of(*d) == revision).all(is_rolled_out)
}

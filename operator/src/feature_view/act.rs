//! What a round does in the online store and the log: heads, the catalog, the live pointer, removals.
//!
//! Invariants: a pointer is moved by compare-and-set, after its intent stands in status under the resource version
//! that the round began with; everything is compared before it is written.

use std::collections::BTreeMap;
use std::sync::Arc;

use crds::FeatureViewStatus;
use engine::plan::Plan;
use engine::row::{CatalogEntry, Head, Live, catalog_key, head_key, live_key};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use shell::store::Swap;

use super::comparison;
use super::observe::{Observed, StoreFacts, StoreView, has_pods, revision_of};
use super::phase::{Decision, Step};
use super::{belonging, pin, shadow};
use crate::apply::Writer;
use crate::context::Context;
use crate::edges::{EdgeError, LogAddress, Secrets};
use crate::error::Error;
use crate::purge::{Progress, Purge};

/// What was done.
#[derive(Clone, Debug, Default)]
pub struct Acted {
    /// The live revision now, if the pointer was moved.
    pub moved: Option<String>,
    /// Revisions that are removed altogether.
    pub removed: Vec<String>,
    /// What the store said no to.
    pub problem: Option<String>,
    /// Why the generation that the spec names cannot be served.
    pub pin_problem: Option<String>,
    /// Why a revision could not be removed; reads do not suffer from it.
    pub removal_problem: Option<String>,
    /// The UIDs of Architectures that the view was moved from and whose servers no longer answer for it.
    pub left: Vec<String>,
    /// Whether the round should come again soon.
    pub waits: bool,
}

/// Does the step.
///
/// # Errors
/// What the API server says; what store and log say is an outcome.
pub async fn act(
    context: &Context,
    writer: &Writer,
    observed: &mut Observed,
    store: &StoreView,
    plans: &BTreeMap<String, Arc<Plan>>,
    decision: &Decision,
) -> Result<Acted, Error> {
    let mut acted = Acted::default();
    let StoreView::Known(facts) = store else { return Ok(acted) };
    match decision.step {
        Step::Promote => intend(context, writer, observed, facts, decision, "Promoting").await?,
        Step::Return => intend(context, writer, observed, facts, decision, "RollingBack").await?,
        _ => {}
    }
    if belonging::moves(observed) {
        let mut status = observed.view.status.clone().unwrap_or_default();
        status.architectures = belonging::serving(observed, &status, (context.now)());
        observed.view = writer.status(&observed.view, &status).await?;
    }
    if let Err(error) = publish(observed, facts, plans, decision, (context.now)(), &mut acted).await {
        acted.problem = Some(error.to_string());
        acted.waits = true;
        return Ok(acted);
    }
    match pin::target(observed, facts) {
        Ok(None) => {}
        Ok(Some((revision, head))) => {
            intend(context, writer, observed, facts, decision, "RollingBack").await?;
            let key = head_key(&observed.view.uid().unwrap_or_default(), &revision);
            match facts.store.swap_head(&key, head.fence.saturating_sub(1), &head).await {
                Ok(_) => acted.waits = true,
                Err(error) => acted.problem = Some(error.to_string()),
            }
        }
        Err(problem) => acted.pin_problem = Some(problem),
    }
    remove(context, observed, facts, decision, &mut acted).await?;
    Ok(acted)
}

/// Writes what is about to be done; who has an outdated view of the spec, or is no longer the leader, fails here.
async fn intend(
    context: &Context,
    writer: &Writer,
    observed: &mut Observed,
    facts: &StoreFacts,
    decision: &Decision,
    phase: &str,
) -> Result<(), Error> {
    let mut status = observed.view.status.clone().unwrap_or_default();
    decision.memory.write(&mut status);
    // After the move nobody would ask for it any more.
    if let Some(report) = comparison::answer(&observed.view.name_any(), facts, &decision.memory) {
        status.rollout.get_or_insert_default().comparison = Some(comparison::summary(report));
    }
    status.phase = Some(phase.to_owned());
    if observed.view.status.as_ref() != Some(&status) {
        observed.view = writer.status(&observed.view, &status).await?;
    }
    tracing::info!(view = observed.view.name_any(), at = %(context.now)(), phase, "moving a pointer");
    Ok(())
}

/// Head, catalog, pointer: a server that sees the pointer already knows the plan.
async fn publish(
    observed: &Observed,
    facts: &StoreFacts,
    plans: &BTreeMap<String, Arc<Plan>>,
    decision: &Decision,
    now: Timestamp,
    acted: &mut Acted,
) -> Result<(), EdgeError> {
    let (uid, name) = (observed.view.uid().unwrap_or_default(), observed.view.name_any());
    let architecture = observed.architecture.as_ref().and_then(ResourceExt::uid).unwrap_or_default();
    // One that is being removed, or waits for that, gets none.
    let target = decision.target.as_ref().filter(|target| decision.run.contains(target));
    if let (None, Some(target), true) = (&facts.head, target, facts.markers.is_some()) {
        let head = Head { incarnation: 0, generation: 0, horizon: 0, fence: 1 };
        facts.store.make_head(&head_key(&uid, target), &head).await?;
    }
    let mut run = decision.run.iter().filter_map(|revision| plans.get(revision));
    let batches = run.any(|plan| plan.mode.has_generations());
    let entry = CatalogEntry {
        uid: uid.clone(),
        horizon_target_ms: batches.then(|| i64::from(observed.view.spec.freshness.horizon_target_seconds) * 1000),
        freshness_target_ms: i64::from(observed.view.spec.freshness.target_seconds) * 1000,
        shadow: shadow::wanted(&observed.view, decision),
        plans: decision.run.iter().filter_map(|revision| plans.get(revision)).map(|plan| (**plan).clone()).collect(),
    };
    if !entry.plans.is_empty() && facts.catalog.as_ref() != Some(&entry) {
        facts.store.put_catalog(&catalog_key(&architecture), &name, &entry).await?;
    }
    for (left, stands) in &facts.former {
        let key = catalog_key(&left.uid);
        if belonging::answers_for(observed, decision, left, now).is_some_and(|rest| !rest.is_positive()) {
            facts.store.remove_catalog(&key, &name).await?;
            acted.left.push(left.uid.clone());
        } else if !entry.plans.is_empty() && stands.as_ref().is_some_and(|stands| *stands != entry) {
            facts.store.put_catalog(&key, &name, &entry).await?;
        }
    }
    if let Some(to) = decision.moves_to() {
        let before = facts.live.as_ref().map(|live| live.fence);
        let live = Live { revision: to.clone(), fence: before.unwrap_or_default() + 1 };
        match facts.store.swap_live(&live_key(&uid), before, &live).await? {
            Swap::Done => acted.moved = Some(to.clone()),
            // Somebody moved it since it was read; the next round decides from there.
            Swap::Conflict => acted.waits = true,
        }
    }
    Ok(())
}

/// Goes on with the removal of revisions whose workers are gone and whose rows nobody can be reading any more.
async fn remove(
    context: &Context,
    observed: &Observed,
    facts: &StoreFacts,
    decision: &Decision,
    acted: &mut Acted,
) -> Result<(), Error> {
    let status = observed.view.status.clone().unwrap_or_default();
    let now = (context.now)();
    let readable = SignedDuration::from_secs(context.settings.readable_seconds.into());
    for revision in &decision.remove {
        let deployed = observed.deployments.iter().any(|d| revision_of(d) == Some(revision))
            || observed.cron_jobs.iter().any(|c| revision_of(c) == Some(revision))
            || observed.jobs.iter().any(|j| revision_of(j) == Some(revision));
        if deployed
            || !is_unreadable(&status, revision, now, readable)
            || has_pods(context, &observed.view, Some(revision)).await?
        {
            continue;
        }
        let purge = Purge {
            uid: observed.view.uid().unwrap_or_default(),
            revision: Some(revision.clone()),
            groups: if observed.streams() { vec![revision.clone()] } else { Vec::new() },
            log: log(context, observed, &facts.secrets).await?,
            store: facts.secrets.store.clone(),
            rows: true,
            catalogs: Vec::new(),
        };
        match context.purges.poll(&purge, &context.edges, &context.ended) {
            Progress::Running => {}
            Progress::Done(keys) => {
                tracing::info!(view = observed.view.name_any(), revision, keys, "removed a revision");
                acted.removed.push(revision.clone());
            }
            Progress::Failed(problem) => {
                acted.removal_problem = Some(format!("removing revision {revision}: {problem}"));
            }
        }
    }
    Ok(())
}

/// Where the consumer groups of the view's revisions are: an Architecture that reads no log may have taken over.
///
/// # Errors
/// What the API server says.
pub(super) async fn log(context: &Context, observed: &Observed, own: &Secrets) -> Result<Option<LogAddress>, Error> {
    if let Some(former) = observed.former.iter().find(|a| own.log.is_none() && a.spec.kafka.is_some())
        && let Ok(secrets) = Secrets::of_edges(&context.client, former).await?
    {
        return Ok(secrets.log);
    }
    Ok(own.log.clone())
}

/// Whether the removal stands in status for long enough.
fn is_unreadable(status: &FeatureViewStatus, revision: &str, now: Timestamp, readable: SignedDuration) -> bool {
    status
        .retiring
        .iter()
        .find(|r| r.revision == revision)
        .and_then(|r| r.since.parse::<Timestamp>().ok())
        .is_some_and(|since| now.duration_since(since) >= readable)
}

//! Which revisions run, which one is read, and what the next step is. Pure: facts in, a decision out.
//!
//! Invariants:
//! - The live pointer moves only to a revision that has caught up, or where there is none.
//! - What reads go to runs, as long as its plan is known.
//! - A revision whose removal has begun is not taken up again before the removal is complete.
//! - While the store does not answer nothing is promoted, superseded or removed.

use std::collections::BTreeSet;
use std::sync::Arc;

use engine::plan::Plan;
use k8s_openapi::jiff::Timestamp;
use shell::store::Markers;

use super::observe::{Observed, StoreView, plans, revision_of};
use super::resolve::Refusal;

/// What a decision is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The revision that the spec wants; `None` if the spec was refused.
    pub wanted: Option<String>,
    /// The live revision; `Err` if the store did not answer or was not asked.
    pub live: Result<Option<String>, ()>,
    /// What status says is read, and what was to take its place.
    pub reported: BTreeSet<String>,
    /// What status says is read.
    pub reported_active: Option<String>,
    /// What status says is being removed.
    pub retiring: BTreeSet<String>,
    /// Revisions of which an object, a catalog entry or a pointer stands.
    pub present: BTreeSet<String>,
    /// Revisions whose plan is known.
    pub planned: BTreeSet<String>,
    /// Whether the wanted revision has read its source up to now, and has a generation where its mode has them.
    pub caught_up: bool,
    /// Whether the wanted revision has batch runs and has had none yet.
    pub unrun: bool,
    /// Whether the workers are stopped on purpose.
    pub suspended: bool,
}

/// The next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing but to keep what stands: the spec was refused, or the store does not answer.
    Hold,
    /// Nothing is live: the wanted revision becomes so at once, so that reads say how far it is.
    Adopt,
    /// The wanted revision is live.
    Serve,
    /// The wanted revision reads its source beside the live one.
    CatchUp,
    /// The wanted revision has caught up: the pointer moves.
    Promote,
    /// The wanted revision is still being removed from an earlier time.
    AwaitRemoval,
}

/// What is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The next step.
    pub step: Step,
    /// What reads go to, before the step.
    pub active: Option<String>,
    /// What is to take its place.
    pub candidate: Option<String>,
    /// Revisions whose workers run, without repetition.
    pub run: Vec<String>,
    /// Revisions to be removed.
    pub retire: BTreeSet<String>,
    /// Whether the wanted revision has read its source up to now, and has a generation where its mode has them.
    pub caught_up: bool,
    /// The revision that has had no batch run yet, and does not wait for its schedule.
    pub first: Option<String>,
}

impl Decision {
    /// Whether something is awaited that sends no event.
    #[must_use]
    pub fn waits(&self) -> bool {
        !self.retire.is_empty() || matches!(self.step, Step::Adopt | Step::Promote | Step::AwaitRemoval)
    }
}

/// Decides.
#[must_use]
pub fn decide(facts: &Facts) -> Decision {
    let live = facts.live.as_ref().ok().cloned();
    let active = match &live {
        Some(Some(live)) => Some(live.clone()),
        // The pointer was lost with its store: what status says it was has no rows any more.
        Some(None) => None,
        None => facts.reported_active.clone(),
    };
    let wanted = facts.wanted.as_ref().filter(|w| active.as_ref() == Some(w) || !facts.retiring.contains(*w));
    let step = match (&live, &facts.wanted) {
        (None, _) | (_, None) => Step::Hold,
        _ if wanted.is_none() => Step::AwaitRemoval,
        (Some(None), Some(_)) => Step::Adopt,
        (Some(Some(live)), Some(w)) if live == w => Step::Serve,
        _ if facts.caught_up && !facts.suspended => Step::Promote,
        _ => Step::CatchUp,
    };
    let candidate = wanted.filter(|w| active.as_ref() != Some(w)).cloned();
    let run: Vec<String> = active.iter().chain(&candidate).filter(|r| facts.planned.contains(*r)).cloned().collect();
    let kept: BTreeSet<&String> = active.iter().chain(&candidate).collect();
    let mut retire = facts.retiring.clone();
    if live.is_some() && facts.wanted.is_some() {
        retire.extend(facts.present.iter().chain(&facts.reported).cloned());
    }
    retire.retain(|revision| !kept.contains(revision));
    let first = wanted.filter(|w| facts.unrun && run.contains(w)).cloned();
    Decision { step, active, candidate, run, retire, caught_up: facts.caught_up, first }
}

/// The facts of a round.
#[must_use]
pub fn facts(observed: &Observed, resolved: &Result<Arc<Plan>, Refusal>, store: &StoreView, now: Timestamp) -> Facts {
    let status = observed.view.status.clone().unwrap_or_default();
    let wanted = resolved.as_ref().ok().map(|plan| plan.revision.clone());
    let mut facts = Facts {
        wanted,
        live: Err(()),
        reported: status.active_revision.iter().chain(&status.candidate_revision).cloned().collect(),
        reported_active: status.active_revision,
        retiring: status.retiring.into_iter().map(|r| r.revision).collect(),
        present: observed.deployments.iter().filter_map(revision_of).map(str::to_owned).collect(),
        planned: plans(observed, resolved, store).into_keys().collect(),
        caught_up: false,
        unrun: false,
        suspended: observed.view.spec.suspend,
    };
    facts.present.extend(observed.config_maps.iter().filter_map(revision_of).map(str::to_owned));
    facts.present.extend(observed.cron_jobs.iter().filter_map(revision_of).map(str::to_owned));
    facts.present.extend(observed.own_jobs().filter_map(revision_of).map(str::to_owned));
    if let StoreView::Known(known) = store {
        facts.live = Ok(known.live.as_ref().map(|live| live.revision.clone()));
        facts.present.extend(known.catalog.iter().flat_map(|entry| &entry.plans).map(|plan| plan.revision.clone()));
        let target = i64::from(observed.view.spec.freshness.target_seconds) * 1000;
        if let Ok(Plan { mode, .. }) = resolved.as_deref() {
            let read = known.markers.as_ref().is_some_and(|m| caught_up(m, now.as_millisecond(), target));
            let published = known.head.as_ref().is_some_and(|head| head.generation > 0);
            facts.caught_up = (read || !mode.has_stream_lanes()) && (published || !mode.has_generations());
            facts.unrun = mode.has_generations() && !published && known.run.is_none();
        }
    }
    facts
}

/// Whether every partition of the topic was read to its end no longer ago than `target_ms`.
#[must_use]
pub fn caught_up(markers: &Markers, now_ms: i64, target_ms: i64) -> bool {
    let Some(partitions) = markers.partitions.filter(|n| *n > 0) else { return false };
    (0..partitions).all(|partition| {
        markers
            .by_partition
            .get(&partition)
            .is_some_and(|m| m.read_to_end_at > 0 && now_ms.saturating_sub(m.read_to_end_at) <= target_ms)
    })
}

#[cfg(test)]
mod tests;

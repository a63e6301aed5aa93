//! Whose turn it is to follow a change of the Architecture's mode. Pure.
//!
//! The Architecture alone says whose turn it is, in its status, from all its views; a view only looks itself up. So there are
//! never more at once than the bound, however many rounds run beside each other.

use std::collections::BTreeMap;
use std::sync::Arc;

use crds::Architecture;
use crds::architecture::Mode;
use engine::plan::Plan;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

use super::history;
use super::observe::{Observed, StoreFacts};
use super::phase::pin;

/// The exact number of views that are ahead is told up to this, and a multiple of it from there on: every word of it is a
/// write for each of them.
const TOLD: usize = 10;

/// The mode that a revision is computed in, as far as anything is known of it.
#[must_use]
pub fn mode(observed: &Observed, plans: &BTreeMap<String, Arc<Plan>>, revision: &str) -> Option<Mode> {
    plans.get(revision).map(|plan| history::mode_of(plan)).or_else(|| history::mode(observed, revision))
}

/// Whether the view has to wait before what serves in one mode is computed anew in another. A pin is a person's word on this
/// one view, and waits for nothing.
#[must_use]
pub fn is_queued(observed: &Observed, from: Option<Mode>, to: Option<Mode>) -> bool {
    let (Some(from), Some(to), Some(architecture)) = (from, to, &observed.architecture) else { return false };
    let spec = &observed.view.spec;
    if from == to || pin(&spec.rollout).is_some() {
        return false;
    }
    spec.suspend || spec.rollout.paused || !has_turn(architecture, &observed.view.name_any())
}

/// The horizon, in milliseconds, that a revision of another mode than the one that serves needs before it takes over: no reader is
/// to be taken back in time by more than the new mode has to. That is to where the served generation is, or to where a batch
/// run that is on time comes: none that counts late events can be younger than they may be late. `None` of one that has no
/// generations, or of the mode that serves: its runs read what the ones before read.
#[must_use]
pub fn needed_horizon(
    observed: &Observed,
    plans: &BTreeMap<String, Arc<Plan>>,
    facts: &StoreFacts,
    target: Option<&str>,
    now: Timestamp,
) -> Option<i64> {
    let plan = plans.get(target?).filter(|plan| plan.mode.has_generations())?;
    let live = &facts.live.as_ref()?.revision;
    if *live == plan.revision || mode(observed, plans, live)? == history::mode_of(plan) {
        return None;
    }
    let coarsest =
        plan.aggregates.iter().flat_map(|a| &a.ladder.rungs).map(|rung| rung.tile_ms).max().unwrap_or_default();
    let overdue = i64::from(observed.view.spec.freshness.horizon_target_seconds).saturating_mul(1000);
    let on_time = now.as_millisecond() - plan.time.allowed_lateness_ms - coarsest - overdue;
    let served = facts.live_head.as_ref().filter(|head| head.generation > 0).map(|head| head.horizon);
    Some(served.map_or(on_time, |served| served.min(on_time)))
}

fn has_turn(architecture: &Architecture, view: &str) -> bool {
    let Some(status) = &architecture.status else { return false };
    status.observed_generation == architecture.metadata.generation
        && status.migration.as_ref().is_some_and(|migration| migration.migrating.iter().any(|name| name == view))
}

/// What a view that waits for its turn is told.
#[must_use]
pub fn queue(observed: &Observed) -> String {
    let view = observed.view.name_any();
    let Some(architecture) = &observed.architecture else { return String::new() };
    let (name, mode) = (architecture.name_any(), architecture.spec.mode);
    if observed.view.spec.suspend {
        return format!("spec.suspend holds it; set it to false to follow Architecture {name:?} to mode {mode:?}");
    }
    if observed.view.spec.rollout.paused {
        return format!(
            "spec.rollout.paused holds it; set it to false to follow Architecture {name:?} to mode {mode:?}"
        );
    }
    let bound = architecture.spec.migration.max_concurrent;
    let migration = architecture.status.as_ref().and_then(|status| status.migration.clone()).unwrap_or_default();
    let waiting = migration.waiting.iter().position(|waits| *waits == view);
    let ahead = match waiting.map(|before| migration.migrating.len() + before) {
        Some(ahead) if ahead > TOLD => format!("more than {} are ahead of it", (ahead - 1) / TOLD * TOLD),
        Some(1) => "1 is ahead of it".to_owned(),
        Some(ahead) => format!("{ahead} are ahead of it"),
        None => "its turn is not known yet".to_owned(),
    };
    format!(
        "views follow Architecture {name:?} to mode {mode:?} in the order of their names, {bound} at once as its \
         spec.migration.maxConcurrent says; {ahead}"
    )
}

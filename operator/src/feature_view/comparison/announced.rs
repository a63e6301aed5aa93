//! Whether every entry of `expectedChanges` names a feature: one that does not would announce nothing, in silence. Pure.
//!
//! Invariants: it is asked where the list is about to be used, and of an edit: an entry whose feature is gone since, with the
//! revision that had it, makes no spec refused that was accepted before.

use std::collections::BTreeMap;
use std::sync::Arc;

use crds::condition::reasons;
use engine::plan::Plan;

use super::is_on;
use crate::feature_view::history;
use crate::feature_view::observe::{Observed, StoreView};
use crate::feature_view::phase::pin;
use crate::feature_view::resolve::Refusal;

/// What the spec resolved to, unless `expectedChanges` names a feature that neither the revision nor one before it has.
pub fn accept(
    resolved: Result<Arc<Plan>, Refusal>,
    observed: &Observed,
    plans: &BTreeMap<String, Arc<Plan>>,
    store: &StoreView,
) -> Result<Arc<Plan>, Refusal> {
    let plan = resolved?;
    let live = match store {
        StoreView::Known(facts) => facts.live.as_ref().map(|live| live.revision.clone()),
        StoreView::NotAsked | StoreView::Unreachable(_) => {
            observed.view.status.as_ref().and_then(|status| status.active_revision.clone())
        }
    };
    match live.and_then(|live| misnamed(observed, plans, &live, &plan)) {
        Some(message) => Err(Refusal { reason: reasons::INVALID_SPEC, message, pending: false }),
        None => Ok(plan),
    }
}

/// Which entries name nothing.
fn misnamed(observed: &Observed, plans: &BTreeMap<String, Arc<Plan>>, live: &str, candidate: &Plan) -> Option<String> {
    let rollout = &observed.view.spec.rollout;
    let former = plans.get(live).filter(|_| live != candidate.revision)?;
    if !is_on(&rollout.comparison) || pin(rollout).is_some() {
        return None;
    }
    let is_known = |name: &str| {
        candidate.feature(name).is_some()
            || plans.values().any(|plan| plan.feature(name).is_some())
            || history::has_feature(observed, name)
    };
    let both = || candidate.features.iter().chain(&former.features).map(|feature| feature.name.as_str());
    let unknown = rollout.comparison.expected_changes.iter().filter(|name| !is_known(name));
    let told: Vec<String> = unknown
        .map(|name| {
            let nearest = both().max_by_key(|other| shared(name, other)).filter(|other| shared(name, other) > 0);
            let meant = nearest.map(|other| format!(" (is {other:?} meant?)")).unwrap_or_default();
            format!("{name:?}{meant}")
        })
        .collect();
    (!told.is_empty()).then(|| {
        format!(
            "spec.rollout.comparison.expectedChanges: no revision has a feature {}, neither {}, which the spec describes, nor \
             {live}, which serves; correct the name, or take it out",
            told.join(", nor "),
            candidate.revision
        )
    })
}

/// How many characters two names share at their beginnings and ends.
fn shared(a: &str, b: &str) -> usize {
    let same = |(a, b): &(char, char)| a == b;
    let begin = a.chars().zip(b.chars()).take_while(same).count();
    let end = a.chars().rev().zip(b.chars().rev()).take_while(same).count();
    (begin + end).min(a.chars().count()).min(b.chars().count())
}

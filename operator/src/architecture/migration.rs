//! Which views follow a change of the mode now, and which wait. Pure.
//!
//! Invariants: no view is let begin while as many as `spec.migration.maxConcurrent` are under way; one that was let begin stays
//! so until it is through, is taken back, or is held by a person. One that was given up, or waits for a person since its values
//! differ or its history is too short, keeps its place: what is wrong with it may be wrong with all. One that a person holds, or whose spec is refused, gives it up: the others go on.

use crds::architecture::{Architecture, MigrationStatus};
use crds::condition::{ConditionStatus, reasons, types};
use crds::feature_view::AbortReason;
use crds::{FeatureView, FeatureViewStatus};
use kube::ResourceExt as _;

use crate::conditions::find;

/// How many names status holds of each sort.
const TOLD: usize = 1024;

/// How far the views have followed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// How many are served.
    pub served: usize,
    /// How many of them are served as computed in the mode.
    pub updated: usize,
    /// Who is under way, or may begin.
    pub migrating: Vec<String>,
    /// Who of them was given up.
    pub halted: Vec<String>,
    /// Who of them does not go on without a person.
    pub stuck: Vec<String>,
    /// Who waits, in this order.
    pub waiting: Vec<String>,
    /// Who is held by a person, or refused.
    pub held: Vec<String>,
}

/// How a view stands to the mode.
enum Standing {
    /// Nothing of it is served, so it begins in the mode.
    New,
    /// It is served as computed in the mode.
    Updated,
    /// It is being computed anew, in this mode or in another.
    Running,
    /// It is being computed anew, and does not go on without a person.
    Stuck,
    /// It was given up.
    Halted,
    /// A person holds it, or its spec is refused.
    Held,
    /// It can follow.
    Ready,
}

impl Progress {
    /// Of an architecture and all its views.
    #[must_use]
    pub fn of(architecture: &Architecture, views: &[FeatureView]) -> Self {
        let before = architecture.status.as_ref().and_then(|status| status.migration.as_ref());
        let mut views: Vec<&FeatureView> = views.iter().collect();
        views.sort_by_key(|view| view.name_any());
        let (mut progress, mut ready) = (Self::default(), Vec::new());
        for view in views {
            let name = view.name_any();
            let begun = before.is_some_and(|before| before.migrating.contains(&name));
            let standing = match standing(architecture, view) {
                // It was given up before the mode changed, or as something else.
                Standing::Halted if !begun => Standing::Ready,
                standing => standing,
            };
            progress.served += usize::from(!matches!(standing, Standing::New));
            match standing {
                Standing::New => {}
                Standing::Updated => progress.updated += 1,
                Standing::Running | Standing::Stuck => {
                    progress.updated += usize::from(is_updated(architecture, view));
                    progress.stuck.extend(matches!(standing, Standing::Stuck).then(|| name.clone()));
                    progress.migrating.push(name);
                }
                Standing::Halted => {
                    progress.halted.push(name.clone());
                    progress.migrating.push(name);
                }
                Standing::Held => progress.held.push(name),
                Standing::Ready => ready.push(name),
            }
        }
        // Who was let begin first, and may have begun already.
        ready.sort_by_key(|name| !before.is_some_and(|before| before.migrating.contains(name)));
        let bound = usize::try_from(architecture.spec.migration.max_concurrent).unwrap_or(1);
        let free = bound.saturating_sub(progress.migrating.len()).min(ready.len());
        progress.waiting = ready.split_off(free);
        progress.waiting.sort();
        progress.migrating.extend(ready);
        progress.migrating.sort();
        progress
    }

    /// What status says of it; nothing while nobody follows.
    #[must_use]
    pub fn status(&self) -> Option<MigrationStatus> {
        let told = |names: &[String]| names.iter().take(TOLD).cloned().collect();
        (!self.migrating.is_empty() || !self.waiting.is_empty())
            .then(|| MigrationStatus { migrating: told(&self.migrating), waiting: told(&self.waiting) })
    }

    /// Whether nobody goes on before a person has looked at those that were given up or are stuck.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        !self.migrating.is_empty() && self.halted.len() + self.stuck.len() == self.migrating.len()
    }

    /// One sentence.
    #[must_use]
    pub fn message(&self, architecture: &Architecture) -> String {
        let Self { served, updated, migrating, halted, stuck, waiting, held } = self;
        let mode = architecture.spec.mode.canonical();
        let mut message = vec![format!("{updated} of {served} views are served in mode {mode:?}")];
        let goes_on = |name: &&String| !halted.contains(name) && !stuck.contains(name);
        let under_way: Vec<String> = migrating.iter().filter(goes_on).cloned().collect();
        let told = [
            ("under way", &under_way),
            ("waiting for a person, as condition Stalled says", stuck),
            ("given up", halted),
            ("paused, pinned, suspended, aborted or refused", held),
        ];
        let told = told.into_iter().filter(|(_, names)| !names.is_empty());
        message.extend(told.map(|(what, names)| format!("{what}: {}", listed(names))));
        if !waiting.is_empty() {
            message.push(format!("{} wait", waiting.len()));
        }
        message.join("; ")
    }
}

/// The first names, and how many more there are.
fn listed(names: &[String]) -> String {
    const FIRST: usize = 5;
    let first = names.iter().take(FIRST).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(FIRST) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

fn is_updated(architecture: &Architecture, view: &FeatureView) -> bool {
    view.status.as_ref().and_then(|status| status.mode) == Some(architecture.spec.mode.canonical())
}

/// Whether a candidate does not go on by itself, however long one waits: it has lost no deadline, for none counts.
fn is_stuck(view: &FeatureView, status: &FeatureViewStatus) -> bool {
    let stalled = find(&status.conditions, types::STALLED);
    let stalled = stalled.filter(|c| c.observed_generation == view.metadata.generation);
    stalled.is_some_and(|c| {
        c.status == ConditionStatus::True
            && [reasons::COMPARISON_FAILED, reasons::RETENTION_TOO_SHORT].contains(&c.reason.as_str())
    })
}

fn standing(architecture: &Architecture, view: &FeatureView) -> Standing {
    let status = view.status.clone().unwrap_or_default();
    // A view that an older operator served says nothing of its mode before its next round.
    let Some(mode) = status.mode.filter(|_| status.active_revision.is_some()) else { return Standing::New };
    let of_candidate = status.revisions.iter().find(|r| Some(&r.revision) == status.candidate_revision.as_ref());
    if of_candidate.is_some_and(|candidate| candidate.mode != mode) {
        return if is_stuck(view, &status) { Standing::Stuck } else { Standing::Running };
    }
    if is_updated(architecture, view) {
        return Standing::Updated;
    }
    let rollout = &view.spec.rollout;
    let pinned = rollout.serving_revision.as_ref().is_some_and(|pin| !pin.is_empty());
    let refused = find(&status.conditions, types::SPEC_ACCEPTED)
        .is_some_and(|c| c.status == ConditionStatus::False && c.observed_generation == view.metadata.generation);
    if view.metadata.deletion_timestamp.is_some() || view.spec.suspend || rollout.paused || pinned || refused {
        return Standing::Held;
    }
    match status.rollout.and_then(|rollout| rollout.trial).and_then(|trial| trial.aborted) {
        Some(AbortReason::AbortedByUser) => Standing::Held,
        Some(_) => Standing::Halted,
        None => Standing::Ready,
    }
}

#[cfg(test)]
mod tests;

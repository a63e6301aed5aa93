//! The status of a view. Pure.
//!
//! Invariants: all conditions are there from the first round, Unknown where nothing is known; nothing in them changes
//! unless the state does, so that an unchanged view is never written.

mod batch;

use std::sync::Arc;

use crds::FeatureViewStatus;
use crds::condition::{ConditionStatus, reasons, types};
use crds::feature_view::RetiringRevision;
use engine::plan::Plan;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

use super::act::Acted;
use super::apply::Applied;
use super::observe::{Observed, StoreView, revision_of};
use super::phase::{Decision, Step};
use super::resolve::Refusal;
use crate::conditions::{Conditions, find, seconds};
use crate::names;
use crate::trouble::{self, Trouble};
use crate::workload::{is_available, is_rolled_out, replicas};

/// All that a report is made from.
pub struct Round<'a> {
    /// What stood.
    pub observed: &'a Observed,
    /// What the spec resolved to.
    pub resolved: &'a Result<Arc<Plan>, Refusal>,
    /// What the store said.
    pub store: &'a StoreView,
    /// What was decided.
    pub decision: &'a Decision,
    /// What stands.
    pub applied: &'a Applied,
    /// What was done.
    pub acted: &'a Acted,
    /// The time.
    pub now: Timestamp,
}

/// A status, reason and message.
type Verdict = (ConditionStatus, &'static str, String);

impl Round<'_> {
    /// The status to be written, if it differs from what stands.
    #[must_use]
    pub fn status(&self) -> FeatureViewStatus {
        let previous = self.observed.view.status.clone().unwrap_or_default();
        let generation = self.observed.view.metadata.generation;
        let active = self.active();
        let caught_up = self.caught_up(&previous);
        let stream = self.stream(active.as_deref());
        let (_, running, ready) = stream.map(replicas).unwrap_or_default();

        let mut conditions = Conditions::new(&previous.conditions, generation, self.now);
        let verdicts = [
            (types::READY, self.ready(&caught_up, stream)),
            (types::RECONCILING, self.reconciling(&caught_up, stream)),
            (types::STALLED, self.stalled()),
            (types::SPEC_ACCEPTED, self.accepted()),
            (types::CAUGHT_UP, caught_up.clone()),
        ];
        for (type_, (status, reason, message)) in verdicts.into_iter().chain(self.fresh().map(|v| (types::FRESH, v))) {
            conditions.set(type_, status, reason, message);
        }
        let (served, horizon) = self.served(&previous);
        let (previous_generation, last_run) = (self.previous_generation(&previous), self.last_run(&previous));
        FeatureViewStatus {
            observed_generation: generation,
            phase: Some(self.phase(&caught_up).to_owned()),
            candidate_revision: self.decision.candidate.clone().filter(|c| active.as_ref() != Some(c)),
            retiring: self.retiring(&previous, active.as_deref()),
            plan_hash: self.resolved.as_ref().map_or(previous.plan_hash, |plan| Some(plan.hash())),
            features: self
                .resolved
                .as_ref()
                .map_or(previous.features, |p| i32::try_from(p.features.len()).unwrap_or(i32::MAX)),
            estimated_row_bytes: self.resolved.as_ref().map_or(previous.estimated_row_bytes, |plan| {
                engine::estimate::row_bytes(plan).ok().and_then(|estimate| i64::try_from(estimate.bytes).ok())
            }),
            generation: served,
            horizon,
            previous_generation,
            last_run,
            replicas: running,
            ready_replicas: ready,
            selector: active.as_deref().map(|r| names::selector_text(&names::stream_selector(&self.observed.view, r))),
            active_revision: active,
            conditions: conditions.finish(),
        }
    }

    /// What reads go to after this round.
    fn active(&self) -> Option<String> {
        self.acted.promoted.clone().or_else(|| self.decision.active.clone())
    }

    fn stream(&self, revision: Option<&str>) -> Option<&Deployment> {
        self.applied.streams.iter().find(|d| revision.is_some() && revision_of(*d) == revision)
    }

    /// The removals that are not complete, with those that began in this round.
    fn retiring(&self, previous: &FeatureViewStatus, active: Option<&str>) -> Vec<RetiringRevision> {
        let mut retiring = self.decision.retire.clone();
        if self.acted.promoted.is_some() {
            retiring.extend(self.decision.active.clone());
        }
        retiring
            .into_iter()
            .filter(|revision| !self.acted.removed.contains(revision) && Some(revision.as_str()) != active)
            .map(|revision| {
                let known = previous.retiring.iter().find(|r| r.revision == revision).cloned();
                known.unwrap_or_else(|| RetiringRevision { revision, since: seconds(self.now) })
            })
            .collect()
    }

    fn accepted(&self) -> Verdict {
        match self.accepted_plan() {
            Ok(plan) => (
                ConditionStatus::True,
                reasons::ACCEPTED,
                format!("revision {} of {} features", plan.revision, plan.features.len()),
            ),
            Err(refusal) if refusal.pending => (ConditionStatus::Unknown, refusal.reason, refusal.message),
            Err(refusal) => (ConditionStatus::False, refusal.reason, refusal.message),
        }
    }

    /// The plan, unless the engine or the API server refuses the spec.
    fn accepted_plan(&self) -> Result<&Plan, Refusal> {
        let plan = self.resolved.as_ref().map_err(Clone::clone)?;
        match &self.applied.refused {
            Some(why) => {
                Err(Refusal { reason: reasons::INVALID_SPEC, message: format!("spec.schedule: {why}"), pending: false })
            }
            None => Ok(plan),
        }
    }

    /// Once a revision has caught up and is live, it is no longer asked: lag is a metric from then on.
    fn caught_up(&self, previous: &FeatureViewStatus) -> Verdict {
        let Ok(plan) = self.resolved else {
            return (ConditionStatus::Unknown, reasons::PENDING, "no revision of this spec is known".to_owned());
        };
        let before = find(&previous.conditions, types::CAUGHT_UP).is_some_and(|c| c.status == ConditionStatus::True)
            && previous.active_revision.as_ref() == Some(&plan.revision)
            && self.active().as_ref() == Some(&plan.revision);
        if self.decision.caught_up || before {
            return (
                ConditionStatus::True,
                reasons::CAUGHT_UP,
                format!("revision {} has read its source up to now", plan.revision),
            );
        }
        if let StoreView::Unreachable(problem) = self.store {
            return (ConditionStatus::Unknown, reasons::STORE_UNREACHABLE, problem.clone());
        }
        if plan.mode.has_generations() && !self.has_generation() {
            return self.no_generation(plan);
        }
        (ConditionStatus::False, reasons::CATCHING_UP, format!("revision {} is reading its source", plan.revision))
    }

    fn ready(&self, caught_up: &Verdict, stream: Option<&Deployment>) -> Verdict {
        let plan = match self.accepted_plan() {
            Ok(plan) => plan,
            Err(Refusal { reason, message, pending: true }) => return (ConditionStatus::Unknown, reason, message),
            Err(Refusal { reason, message, .. }) => return (ConditionStatus::False, reason, message),
        };
        if let StoreView::Unreachable(problem) = self.store {
            return (ConditionStatus::Unknown, reasons::STORE_UNREACHABLE, problem.clone());
        }
        if let Some(problem) = &self.acted.problem {
            return (ConditionStatus::Unknown, reasons::STORE_UNREACHABLE, problem.clone());
        }
        if self.observed.view.spec.suspend {
            return (
                ConditionStatus::True,
                reasons::SUSPENDED,
                "spec.suspend stops the workers; what is served grows old".to_owned(),
            );
        }
        if self.decision.step == Step::AwaitRemoval && self.decision.active.is_none() {
            return (
                ConditionStatus::False,
                reasons::RETIRING,
                "this revision's earlier rows are being removed".to_owned(),
            );
        }
        if plan.mode.has_generations() && !self.serves_generation() {
            return self.no_generation(plan);
        }
        if !plan.mode.has_stream_lanes() {
            return (ConditionStatus::True, reasons::HEALTHY, "served".to_owned());
        }
        let Some(stream) = stream else {
            return (
                ConditionStatus::False,
                reasons::WORKLOAD_UNAVAILABLE,
                "the live revision has no workers".to_owned(),
            );
        };
        let trouble = self.trouble(revision_of(stream));
        if !is_available(stream) {
            let message = format!("no pod of Deployment {} is ready", stream.name_any());
            return match trouble {
                Some(trouble) => (ConditionStatus::False, trouble.reason, format!("{message}; {}", trouble.message)),
                None => (ConditionStatus::False, reasons::WORKLOAD_UNAVAILABLE, message),
            };
        }
        // Some partition stands still although other workers are ready.
        if let Some(told) = self.told(revision_of(stream)) {
            return (ConditionStatus::False, told.reason, told.message);
        }
        // A first revision is read from the start, but what it answers is not complete yet.
        if self.decision.step != Step::CatchUp && caught_up.0 != ConditionStatus::True {
            return caught_up.clone();
        }
        (ConditionStatus::True, reasons::HEALTHY, "served".to_owned())
    }

    fn reconciling(&self, caught_up: &Verdict, stream: Option<&Deployment>) -> Verdict {
        let moving = |reason, message: &str| (ConditionStatus::True, reason, message.to_owned());
        let plan = match (self.accepted_plan(), self.store) {
            (Err(refusal), _) if refusal.pending => return moving(reasons::PENDING, &refusal.message),
            (Err(_), _) => return (ConditionStatus::False, reasons::IDLE, String::new()),
            (_, StoreView::Unreachable(problem)) => return moving(reasons::STORE_UNREACHABLE, problem),
            (Ok(plan), _) => plan,
        };
        if self.observed.view.spec.suspend {
            return (ConditionStatus::False, reasons::SUSPENDED, String::new());
        }
        if self.decision.step == Step::AwaitRemoval {
            return moving(reasons::RETIRING, "this revision's earlier rows are being removed");
        }
        match self.newest_trouble().or_else(|| self.run_trouble().filter(|_| caught_up.0 != ConditionStatus::True)) {
            Some(trouble) if trouble.stuck => return (ConditionStatus::False, trouble.reason, trouble.message),
            Some(trouble) => return moving(trouble.reason, &trouble.message),
            None => {}
        }
        if caught_up.0 != ConditionStatus::True || self.decision.step == Step::CatchUp {
            return moving(reasons::CATCHING_UP, &caught_up.2);
        }
        if self.decision.step == Step::Promote && self.acted.promoted.is_none() {
            return moving(reasons::PROMOTING, "the live pointer is being moved");
        }
        if let Some(problem) = &self.acted.removal_problem {
            return moving(reasons::RETIRING, problem);
        }
        if plan.mode.has_stream_lanes() && !stream.is_some_and(is_rolled_out) {
            return moving(reasons::ROLLING_OUT, "workers are being rolled out");
        }
        (ConditionStatus::False, reasons::IDLE, String::new())
    }

    fn stalled(&self) -> Verdict {
        let trouble = || self.newest_trouble().filter(|t| t.stuck).or_else(|| self.run_trouble().filter(|t| t.stuck));
        match self.accepted_plan() {
            Err(refusal) if !refusal.pending => (ConditionStatus::True, refusal.reason, refusal.message),
            _ => match trouble().filter(|_| !self.observed.view.spec.suspend) {
                Some(trouble) => (ConditionStatus::True, trouble.reason, trouble.message),
                None => (ConditionStatus::False, reasons::IDLE, String::new()),
            },
        }
    }

    /// What keeps the newest revision that runs from its work, or else the live one.
    fn newest_trouble(&self) -> Option<Trouble> {
        let candidate = self.decision.candidate.as_deref();
        self.trouble(candidate).or_else(|| self.trouble(self.active().as_deref()))
    }

    /// What keeps a revision from its work: as the store says, as its workers say, or as their pods show.
    fn trouble(&self, revision: Option<&str>) -> Option<Trouble> {
        let stream = self.stream(revision)?;
        let refusal = match self.store {
            StoreView::Known(facts) if !is_available(stream) => facts.refusal.clone(),
            _ => None,
        };
        let refusal = refusal.map(|message| Trouble { reason: reasons::STORE_REFUSES_WRITES, message, stuck: true });
        refusal
            .or_else(|| self.told(revision))
            .or_else(|| trouble::of_deployment(stream, &self.observed.pods).filter(|_| !is_rolled_out(stream)))
    }

    /// What a revision's workers say keeps them from their work.
    fn told(&self, revision: Option<&str>) -> Option<Trouble> {
        let StoreView::Known(facts) = self.store else { return None };
        trouble::of_workers(facts.troubles.get(revision?)?.iter(), self.now.as_millisecond())
    }

    /// Whether something keeps workers from their work, whose end sends no event.
    #[must_use]
    pub fn is_troubled(&self) -> bool {
        self.newest_trouble().is_some()
    }

    fn phase(&self, caught_up: &Verdict) -> &'static str {
        match (self.accepted_plan(), self.store) {
            (Err(refusal), _) if refusal.pending => return "Pending",
            (Err(_), _) => return "Invalid",
            (_, StoreView::Unreachable(_)) => return "StoreUnreachable",
            _ => {}
        }
        if self.observed.view.spec.suspend {
            return "Suspended";
        }
        match self.decision.step {
            Step::AwaitRemoval => "Retiring",
            Step::Promote if self.acted.promoted.is_none() => "Promoting",
            _ if self.decision.step == Step::CatchUp || caught_up.0 != ConditionStatus::True => "CatchingUp",
            _ => "Live",
        }
    }

    /// Whether something is awaited that sends no event.
    #[must_use]
    pub fn waits(&self, status: &FeatureViewStatus) -> bool {
        if matches!(self.store, StoreView::Unreachable(_))
            || self.acted.waits
            || self.acted.problem.is_some()
            || self.decision.waits()
        {
            return true;
        }
        let reading = status.candidate_revision.is_some()
            || find(&status.conditions, types::CAUGHT_UP).is_some_and(|c| c.status == ConditionStatus::False);
        // The end of a batch run is an event.
        let polled = self.observed.streams() && !self.observed.view.spec.suspend;
        (reading && polled) || !status.retiring.is_empty()
    }
}

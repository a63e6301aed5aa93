//! The status of a view. Pure.
//!
//! Invariants: all conditions are there from the first round, Unknown where nothing is known; nothing in them changes
//! unless the state does, so that an unchanged view is never written.

mod batch;
mod comparison;
mod fresh;
mod monitoring;
mod replay;
mod rollout;
mod running;
mod scaling;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crds::FeatureViewStatus;
use crds::condition::{ConditionStatus, reasons, types};
use crds::feature_view::{ComparisonStatus, RetiringRevision};
use engine::plan::Plan;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

use super::act::Acted;
use super::apply::Applied;
use super::hindrance;
use super::observe::{Observed, StoreView, revision_of};
use super::phase::{Decision, Memory, Step};
use super::resolve::Refusal;
use super::shadow;
use crate::conditions::{Conditions, find, seconds};
use crate::lag::{Standing, told};
use crate::names;
use crate::trouble::{self, Trouble};
use crate::workload::{is_available, is_rolled_out, replicas};

/// All that a report is made from.
pub struct Round<'a> {
    /// What stood.
    pub observed: &'a Observed,
    /// What the spec resolved to.
    pub resolved: &'a Result<Arc<Plan>, Refusal>,
    /// Every plan that is known.
    pub plans: &'a BTreeMap<String, Arc<Plan>>,
    /// What the store said.
    pub store: &'a StoreView,
    /// What was decided.
    pub decision: &'a Decision,
    /// What stands.
    pub applied: &'a Applied,
    /// What was done.
    pub acted: &'a Acted,
    /// What is known of the live revision's lag.
    pub lag: &'a Standing,
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
        let memory = self.memory();
        let active = memory.active.clone();
        let caught_up = self.caught_up(&previous);
        let stream = self.stream(active.as_deref());
        let (_, running, ready) = stream.map(replicas).unwrap_or_default();

        let mut conditions = Conditions::new(&previous.conditions, generation, self.now);
        let compared = self.compared(&previous, &memory);
        let lag = told::status(self.lag, previous.lag.as_ref());
        let scaling = self.scaling(active.as_deref(), &previous);
        let monitoring = self.monitoring(&previous);
        let verdicts = [
            (types::READY, self.ready(&caught_up, stream)),
            (types::RECONCILING, self.reconciling(&caught_up, stream)),
            (types::STALLED, self.stalled(compared.as_ref())),
            (types::SPEC_ACCEPTED, self.accepted()),
            (types::CAUGHT_UP, caught_up.clone()),
            (types::COMPARISON_PASSED, self.comparison_passed(compared.as_ref())),
            (types::ROLLBACK_AVAILABLE, self.rollback_available()),
            (types::FRESH, self.fresh(lag.as_ref(), stream)),
            (types::SCALING_LIMITED, self.scaling_limited(scaling.as_ref())),
            (types::SOUND, self.sound(monitoring.as_ref())),
        ];
        for (type_, (status, reason, message)) in verdicts {
            conditions.set(type_, status, reason, message);
        }
        let (served, horizon) = self.served(&previous);
        let (previous_generation, last_run) = (self.previous_generation(&previous), self.last_run(&previous));
        let mut status = FeatureViewStatus {
            observed_generation: generation,
            phase: Some(self.phase(&caught_up).to_owned()),
            mode: self.mode(&previous),
            revisions: self.revisions(&previous),
            architectures: self.architectures(&previous),
            retiring: self.retiring(&previous, &memory),
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
            lag,
            scaling: scaling.map(Box::new),
            monitoring: monitoring.map(Box::new),
            replicas: running,
            ready_replicas: ready,
            selector: active.as_deref().map(|r| names::selector_text(&names::stream_selector(&self.observed.view, r))),
            conditions: conditions.finish(),
            ..FeatureViewStatus::default()
        };
        memory.write(&mut status);
        if compared.is_some() {
            status.rollout.get_or_insert_default().comparison = compared;
        }
        let known = match self.store {
            StoreView::Known(facts) => Some(&**facts),
            StoreView::NotAsked | StoreView::Unreachable(_) => None,
        };
        let shadow = previous.rollout.as_ref().and_then(|rollout| rollout.shadow.as_deref());
        if let Some(shadow) = shadow::told(shadow, known, self.decision, &memory, self.now) {
            status.rollout.get_or_insert_default().shadow = Some(Box::new(shadow));
        }
        status
    }

    /// What is remembered after this round.
    fn memory(&self) -> Memory {
        let mut memory = self.decision.memory.clone();
        if let Some(to) = &self.acted.moved {
            memory.moved(to, self.now);
        }
        memory
    }

    /// What reads go to after this round.
    fn active(&self) -> Option<String> {
        self.acted.moved.clone().or_else(|| self.decision.memory.active.clone())
    }

    /// The plan of what is to be served in the end.
    fn target(&self) -> Option<&Plan> {
        self.plans.get(self.decision.target.as_ref()?).map(Arc::as_ref)
    }

    fn stream(&self, revision: Option<&str>) -> Option<&Deployment> {
        self.applied.streams.iter().find(|d| revision.is_some() && revision_of(*d) == revision)
    }

    /// The removals that are not complete, with those that begin in this round.
    fn retiring(&self, previous: &FeatureViewStatus, memory: &Memory) -> Vec<RetiringRevision> {
        let kept = |r: &String| [&memory.active, &memory.previous].into_iter().any(|kept| kept.as_ref() == Some(r));
        let retiring: BTreeSet<&String> = self.decision.retire.iter().chain(&memory.retiring).collect();
        retiring
            .into_iter()
            .filter(|revision| !self.acted.removed.contains(revision) && !kept(revision))
            .map(|revision| {
                let known = previous.retiring.iter().find(|r| r.revision == *revision).cloned();
                known.unwrap_or_else(|| RetiringRevision { revision: revision.clone(), since: seconds(self.now) })
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
        let Some(plan) = self.target() else {
            return (ConditionStatus::Unknown, reasons::PENDING, "no revision of this spec is known".to_owned());
        };
        if let Some((reason, message)) = self.given_up() {
            return (ConditionStatus::False, reason, message);
        }
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
        if self.decision.step == Step::AwaitTurn {
            return (ConditionStatus::False, reasons::AWAITING_MIGRATION, self.queued(&plan.revision));
        }
        if let Some((reason, message)) = self.replaying() {
            return (ConditionStatus::False, reason, message);
        }
        if plan.mode.has_generations() && !self.has_generation() {
            return self.no_generation(plan);
        }
        if let Some(message) = self.behind(plan) {
            return (ConditionStatus::False, reasons::CATCHING_UP, message);
        }
        (ConditionStatus::False, reasons::CATCHING_UP, self.lagging(plan))
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
        if let (Step::Unavailable, None) = (self.decision.step, self.active()) {
            return (ConditionStatus::False, reasons::REVISION_UNAVAILABLE, self.unavailable());
        }
        if self.decision.step == Step::AwaitRemoval && self.active().is_none() {
            return (
                ConditionStatus::False,
                reasons::RETIRING,
                "this revision's earlier rows are being removed".to_owned(),
            );
        }
        // What is served may be of another mode than what the spec describes.
        let live = self.live_plan().unwrap_or(plan);
        if live.mode.has_generations() && !self.serves_generation() {
            return self.no_generation(live);
        }
        if !live.mode.has_stream_lanes() {
            return self.served_well();
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
        if self.serves_target() && caught_up.0 != ConditionStatus::True {
            return caught_up.clone();
        }
        self.served_well()
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
        match self.decision.step {
            Step::AwaitRemoval => return moving(reasons::RETIRING, "this revision's earlier rows are being removed"),
            Step::Aborted(_) | Step::Unavailable | Step::Differs => {
                return (ConditionStatus::False, reasons::IDLE, String::new());
            }
            _ => {}
        }
        match self.newest_trouble().or_else(|| self.run_trouble().filter(|_| caught_up.0 != ConditionStatus::True)) {
            Some(trouble) if trouble.stuck => return (ConditionStatus::False, trouble.reason, trouble.message),
            Some(trouble) => return moving(trouble.reason, &trouble.message),
            None => {}
        }
        if let Some((reason, message)) = self.rolling() {
            return moving(reason, &message);
        }
        if caught_up.0 != ConditionStatus::True {
            return moving(reasons::CATCHING_UP, &caught_up.2);
        }
        if let Some(problem) = &self.acted.removal_problem {
            return moving(reasons::RETIRING, problem);
        }
        if self.live_plan().unwrap_or(plan).mode.has_stream_lanes() && !stream.is_some_and(is_rolled_out) {
            return moving(reasons::ROLLING_OUT, "workers are being rolled out");
        }
        (ConditionStatus::False, reasons::IDLE, String::new())
    }

    fn stalled(&self, compared: Option<&ComparisonStatus>) -> Verdict {
        let trouble = || self.newest_trouble().filter(|t| t.stuck).or_else(|| self.run_trouble().filter(|t| t.stuck));
        match (self.accepted_plan(), self.given_up()) {
            (Err(refusal), _) if !refusal.pending => (ConditionStatus::True, refusal.reason, refusal.message),
            (_, Some((reason, message))) => (ConditionStatus::True, reason, message),
            _ if self.decision.step == Step::Differs => {
                (ConditionStatus::True, reasons::COMPARISON_FAILED, self.differs(compared).unwrap_or_default())
            }
            _ => match trouble().filter(|_| !self.observed.view.spec.suspend) {
                Some(trouble) => (ConditionStatus::True, trouble.reason, trouble.message),
                None => (ConditionStatus::False, reasons::IDLE, String::new()),
            },
        }
    }

    /// What keeps the newest revision that runs from its work, or else the live one.
    fn newest_trouble(&self) -> Option<Trouble> {
        let candidate = self.decision.memory.candidate.as_deref();
        self.trouble(candidate).or_else(|| self.trouble(self.active().as_deref()))
    }

    /// What keeps a revision from its work: as the store says, as its workers say, or as their pods show.
    fn trouble(&self, revision: Option<&str>) -> Option<Trouble> {
        if let Some(replay) = self.decision.replay.as_ref().filter(|replay| Some(replay.revision.as_str()) == revision)
        {
            return self.replay_trouble(replay);
        }
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
        hindrance::told(facts, revision?, self.now)
    }

    /// Whether something keeps workers from their work, whose end sends no event.
    #[must_use]
    pub fn is_troubled(&self) -> bool {
        self.newest_trouble().is_some()
    }

    /// Whether something is awaited that sends no event.
    #[must_use]
    pub fn waits(&self, status: &FeatureViewStatus) -> bool {
        if matches!(self.store, StoreView::Unreachable(_))
            || self.acted.waits
            || self.acted.problem.is_some()
            || self.decision.waits()
            || self.clears_comparison()
        {
            return true;
        }
        let over = matches!(self.decision.step, Step::Aborted(_) | Step::Unavailable | Step::AwaitTurn);
        // What takes a person heals in no hurry, and brokers are not asked all the time.
        let refused = self.decision.replay.as_ref().and_then(|r| r.trouble.as_ref()).is_some_and(|t| t.stuck);
        let behind =
            !over && find(&status.conditions, types::CAUGHT_UP).is_some_and(|c| c.status == ConditionStatus::False);
        let reading = !refused && (status.candidate_revision.is_some() || behind);
        // The end of a batch run is an event.
        let streams = self.target().is_some_and(|plan| plan.mode.has_stream_lanes());
        let polled = streams && !self.observed.view.spec.suspend;
        // Servers send no events; what they say of shadow reads is told while they go on.
        let shadowed = !self.observed.view.spec.suspend && shadow::wanted(&self.observed.view, self.decision).is_some();
        (reading && polled) || shadowed || !status.retiring.is_empty()
    }
}

#[cfg(test)]
mod tests;

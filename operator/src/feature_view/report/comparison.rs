//! What a report says of comparisons: what differs, how far, and what a person can do. Pure.

use crds::FeatureViewStatus;
use crds::condition::{ConditionStatus, reasons};
use crds::feature_view::{Attempt, ComparisonStatus, ComparisonVerdict};
use engine::compare::Verdict as Said;
use kube::ResourceExt;

use super::{Round, Verdict};
use crate::conditions::seconds;
use crate::feature_view::comparison::{answer, is_of_comparison, is_on, name, next_attempt, summary};
use crate::feature_view::hindrance;
use crate::feature_view::observe::StoreView;
use crate::feature_view::phase::{Memory, Step};
use crate::jobs;
use crate::names::{ABORT_ANNOTATION, PROMOTE_ANNOTATION};
use crate::trouble::of_pods;

impl Round<'_> {
    /// What the last comparison said of what is to take over, or where nothing is, of what did: as the store has it, or as
    /// status remembers it.
    pub(super) fn compared(&self, previous: &FeatureViewStatus, memory: &Memory) -> Option<ComparisonStatus> {
        let tried = memory.trial.as_ref().map(|trial| &trial.revision);
        let concerned = tried.or(memory.active.as_ref())?;
        if let StoreView::Known(facts) = self.store {
            let of_live = || facts.comparison.as_ref().filter(|said| tried.is_none() && said.candidate == *concerned);
            if let Some(report) = answer(&self.observed.view.name_any(), facts, &self.decision.memory).or_else(of_live)
            {
                return Some(summary(report));
            }
        }
        let before = previous.rollout.as_ref()?.comparison.clone()?;
        (before.candidate == *concerned).then_some(before)
    }

    /// Whether the newest revision's values are as announced.
    pub(super) fn comparison_passed(&self, compared: Option<&ComparisonStatus>) -> Verdict {
        if self.decision.step == Step::Compare {
            return self.comparing();
        }
        if let Some(compared) = compared {
            let ComparisonStatus { former, candidate, entities, as_of, message, .. } = compared;
            let of = format!("revision {candidate}, compared with {former} for {entities} entities as of {as_of}");
            let why = message.clone().unwrap_or_default();
            return match compared.verdict {
                ComparisonVerdict::Passed => {
                    (ConditionStatus::True, reasons::COMPARISON_PASSED, format!("{of}, gives what was announced"))
                }
                ComparisonVerdict::Failed => {
                    (ConditionStatus::False, reasons::COMPARISON_FAILED, format!("{of}: {why}"))
                }
                ComparisonVerdict::Inconclusive => {
                    (ConditionStatus::Unknown, reasons::NO_VERDICT, format!("{of}: {why}"))
                }
            };
        }
        let message = match self.decision.step {
            _ if !is_on(&self.observed.view.spec.rollout.comparison) => {
                "nothing is compared: spec.rollout.comparison.sampleKeys is 0"
            }
            Step::AwaitTurn | Step::Replay | Step::CatchUp => "the revision is compared once it has caught up",
            Step::AwaitPromotion => "the revision is compared once spec.rollout.paused is false",
            Step::Aborted(_) => "the revision was given up before it was compared",
            _ => "nothing had to be compared",
        };
        (ConditionStatus::Unknown, reasons::NOT_COMPARED, message.to_owned())
    }

    /// How far the comparison is.
    pub(super) fn comparing(&self) -> Verdict {
        let unknown = |reason, message| (ConditionStatus::Unknown, reason, message);
        let revision = self.decision.target.clone().unwrap_or_default();
        let active = self.active().unwrap_or_default();
        let Some(attempt) = self.attempt() else {
            let message =
                format!("revision {revision} has to be compared with {active}, but the plan of {active} is not known");
            return unknown(reasons::COMPARING, message);
        };
        let job = self.attempts_name(attempt);
        let standing = self.observed.own_jobs().find(|standing| standing.name_any() == job);
        if let Some((standing, ended)) = standing.and_then(|job| Some((job, jobs::ended_at(job)?))) {
            let said = match self.store {
                StoreView::Known(facts) => facts.comparison.as_ref().filter(|report| report.name == job),
                StoreView::NotAsked | StoreView::Unreachable(_) => None,
            };
            let why = match said.map(|report| &report.verdict) {
                Some(Said::Inconclusive { reason }) => reason.clone(),
                _ => jobs::failure(standing).unwrap_or_else(|| "it left no report".to_owned()),
            };
            let again = seconds(next_attempt(attempt.number, ended));
            let message = format!(
                "Job {job}, which compares revision {revision} with {active}, came to no verdict: {why}; it is compared \
                 again at {again}"
            );
            return unknown(reasons::NO_VERDICT, message);
        }
        let pods = self.observed.pods.iter().filter(|pod| is_of_comparison(*pod));
        let refused = standing.and_then(|job| hindrance::of_job(self.observed, job));
        let trouble =
            refused.or_else(|| of_pods(pods)).map(|trouble| format!(": {}", trouble.message)).unwrap_or_default();
        unknown(reasons::COMPARING, format!("revision {revision} is compared with {active} by Job {job}{trouble}"))
    }

    /// Why a revision that has caught up does not take over, and what a person can do.
    pub(super) fn differs(&self, compared: Option<&ComparisonStatus>) -> Option<String> {
        let revision = self.decision.target.clone().filter(|_| self.decision.step == Step::Differs)?;
        let why = compared.and_then(|c| c.message.clone()).unwrap_or_default();
        let (name, active) = (self.observed.view.name_any(), self.active().unwrap_or_default());
        let paused = if self.observed.view.spec.rollout.paused { " after spec.rollout.paused" } else { "" };
        Some(format!(
            "revision {revision} does not give what was announced: {why}; {active} serves on. Correct the spec; or list \
             what is meant to change in spec.rollout.comparison.expectedChanges; or let it take over all the same{paused}: \
             kubectl annotate featureview {name} {PROMOTE_ANNOTATION}={revision}; or give it up: \
             kubectl annotate featureview {name} {ABORT_ANNOTATION}={revision}"
        ))
    }

    /// Whether something of a comparison stands that has to go.
    pub(super) fn clears_comparison(&self) -> bool {
        let kept = self.memory().trial.and_then(|trial| trial.comparison).map(|attempt| self.attempts_name(&attempt));
        let names = self.observed.jobs.iter().filter(|j| is_of_comparison(*j)).map(ResourceExt::name_any);
        let maps = self.observed.config_maps.iter().filter(|m| is_of_comparison(*m)).map(ResourceExt::name_any);
        names.chain(maps).any(|name| kept.as_ref() != Some(&name))
    }

    fn attempt(&self) -> Option<&Attempt> {
        self.decision.memory.trial.as_ref()?.comparison.as_ref()
    }

    fn attempts_name(&self, attempt: &Attempt) -> String {
        name(&self.observed.view.name_any(), &attempt.definition, attempt.number)
    }
}

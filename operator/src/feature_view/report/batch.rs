//! What a report says of batch runs: the generation that is served, the last run, and what came in between. Pure.

use crds::FeatureViewStatus;
use crds::condition::{ConditionStatus, reasons};
use crds::feature_view::{LastRun, PreviousGeneration};
use engine::plan::Plan;
use engine::row::{Head, RunOutcome, RunReport};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

use super::{Round, Verdict};
use crate::conditions::seconds;
use crate::feature_view::comparison::is_of_comparison;
use crate::feature_view::migration;
use crate::feature_view::monitoring::is_check;
use crate::feature_view::observe::{StoreFacts, StoreView, revision_of};
use crate::jobs;
use crate::names::{BATCH, COMPONENT_LABEL};
use crate::trouble::{Trouble, of_pods};

impl Round<'_> {
    fn facts(&self) -> Option<&StoreFacts> {
        match self.store {
            StoreView::Known(facts) => Some(facts),
            StoreView::NotAsked | StoreView::Unreachable(_) => None,
        }
    }

    /// The head of what reads go to after this round.
    pub(super) fn served_head(&self) -> Option<&Head> {
        let facts = self.facts()?;
        if self.acted.moved.is_some() { facts.head.as_ref() } else { facts.live_head.as_ref() }
    }

    /// Whether what reads go to has a generation.
    pub(super) fn serves_generation(&self) -> bool {
        self.served_head().is_some_and(|head| head.generation > 0)
    }

    /// Whether the target has a generation.
    pub(super) fn has_generation(&self) -> bool {
        self.facts().and_then(|facts| facts.head.as_ref()).is_some_and(|head| head.generation > 0)
    }

    /// The generation and horizon that are served; what was known before while the store does not answer.
    pub(super) fn served(&self, previous: &FeatureViewStatus) -> (Option<i64>, Option<String>) {
        if self.facts().is_none() {
            return (previous.generation, previous.horizon.clone());
        }
        match self.served_head().filter(|head| head.generation > 0) {
            Some(head) => (i64::try_from(head.generation).ok(), time(head.horizon)),
            None => (None, None),
        }
    }

    /// The generation before the served one, which is remembered when it is replaced; none after it was gone back to.
    pub(super) fn previous_generation(&self, previous: &FeatureViewStatus) -> Option<PreviousGeneration> {
        let kept = previous.previous_generation.clone();
        let (Some(head), Some(revision)) = (self.served_head(), self.active()) else { return kept };
        let served = i64::try_from(head.generation).ok()?;
        if previous.generation == Some(served) || previous.active_revision.as_ref() != Some(&revision) {
            return kept.filter(|kept| kept.revision == revision && kept.generation + 1 == served);
        }
        let generation = previous.generation.filter(|before| before + 1 == served)?;
        Some(PreviousGeneration { revision, generation, horizon: previous.horizon.clone()? })
    }

    /// The last run that ended, of the target.
    pub(super) fn last_run(&self, previous: &FeatureViewStatus) -> Option<LastRun> {
        let (Some(report), Some(plan)) = (self.report(), self.target()) else { return previous.last_run.clone() };
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let (outcome, message) = match &report.outcome {
            RunOutcome::Published => ("Published", None),
            RunOutcome::NothingNew => ("NothingNew", None),
            RunOutcome::Refused { reason } => ("Refused", Some(reason.clone())),
            RunOutcome::Failed { reason } => ("Failed", Some(reason.clone())),
        };
        Some(LastRun {
            revision: plan.revision.clone(),
            generation: number(report.generation),
            outcome: outcome.to_owned(),
            message,
            rows: number(report.rows),
            table_version: report.table_version,
            started: time(report.started_ms).unwrap_or_default(),
            finished: time(report.finished_ms).unwrap_or_default(),
        })
    }

    pub(super) fn report(&self) -> Option<&RunReport> {
        self.facts()?.run.as_ref()
    }

    /// Why nothing is served yet.
    pub(super) fn no_generation(&self, plan: &Plan) -> Verdict {
        if let Some(Trouble { reason, message, .. }) = self.run_trouble() {
            return (ConditionStatus::False, reason, message);
        }
        let message = format!("the first batch run of revision {} has not published a generation yet", plan.revision);
        (ConditionStatus::False, reasons::NO_GENERATION, message)
    }

    /// That the target's generation would take readers back in time.
    pub(super) fn behind(&self, plan: &Plan) -> Option<String> {
        let facts = self.facts()?;
        let head = facts.head.as_ref()?;
        let needed = migration::needed_horizon(self.observed, self.plans, facts, Some(&plan.revision), self.now)?;
        (head.horizon < needed).then(|| {
            format!(
                "generation {} of revision {} counts events up to {}, further back than a change of the mode may take readers; \
                 it takes over with one that counts later events",
                head.generation,
                plan.revision,
                time(head.horizon).unwrap_or_default(),
            )
        })
    }

    /// What is wrong with the newest run of the target, if anything is.
    pub(super) fn run_trouble(&self) -> Option<Trouble> {
        if let Some(message) = self.acted.pin_problem.clone() {
            return Some(Trouble { reason: reasons::GENERATION_UNAVAILABLE, message, stuck: true });
        }
        let plan = self.target().filter(|plan| plan.mode.has_generations())?;
        let mine = |revision: Option<&str>| revision == Some(plan.revision.as_str());
        let pods = self.observed.pods.iter().filter(|pod| {
            mine(revision_of(*pod)) && pod.labels().get(COMPONENT_LABEL).is_some_and(|component| component == BATCH)
        });
        if let Some(trouble) = of_pods(pods) {
            return Some(trouble);
        }
        let reported = self.report().map_or(i64::MIN, |report| report.finished_ms);
        // A run that was killed, or could not reach the store, reports nothing: its Job does.
        let runs = self.observed.jobs.iter().filter(|job| mine(revision_of(*job)));
        let runs = runs.filter(|job| !is_of_comparison(*job) && !is_check(*job));
        let newest = runs.max_by_key(|job| jobs::begun(job));
        if let Some(job) = newest.filter(|job| jobs::begun(job) > reported)
            && let Some(why) = jobs::failure(job)
        {
            let message = format!("Job {}: {why}", job.name_any());
            return Some(Trouble { reason: reasons::RUN_FAILED, message, stuck: true });
        }
        let (reason, message) = match &self.report()?.outcome {
            RunOutcome::Refused { reason } => (reasons::GENERATION_REFUSED, reason),
            RunOutcome::Failed { reason } => (reasons::RUN_FAILED, reason),
            RunOutcome::Published | RunOutcome::NothingNew => return None,
        };
        let generation = self.report().map_or(0, |report| report.generation);
        Some(Trouble { reason, message: format!("generation {generation}: {message}"), stuck: true })
    }

    /// Whether the served horizon is as young as it should be; `None` of a view without batch runs.
    pub(super) fn horizon_is_fresh(&self) -> Option<Verdict> {
        let plan = self.live_plan().or_else(|| self.target())?;
        if !plan.mode.has_generations() {
            return None;
        }
        if let StoreView::Unreachable(problem) = self.store {
            return Some((ConditionStatus::Unknown, reasons::STORE_UNREACHABLE, problem.clone()));
        }
        let Some(head) = self.served_head().filter(|head| head.generation > 0) else {
            let message = "no generation is served yet".to_owned();
            return Some((ConditionStatus::Unknown, reasons::NO_GENERATION, message));
        };
        let target = i64::from(self.observed.view.spec.freshness.horizon_target_seconds);
        let horizon = time(head.horizon).unwrap_or_default();
        if self.now.as_millisecond().saturating_sub(head.horizon) > target.saturating_mul(1000) {
            let message = format!(
                "generation {} counts events up to {horizon}, longer ago than freshness.horizonTargetSeconds ({target})",
                head.generation
            );
            return Some((ConditionStatus::False, reasons::OVERDUE, message));
        }
        let message = format!("generation {} counts events up to {horizon}", head.generation);
        Some((ConditionStatus::True, reasons::WITHIN_TARGET, message))
    }
}

/// Milliseconds in RFC 3339.
fn time(ms: i64) -> Option<String> {
    Timestamp::from_millisecond(ms).ok().map(seconds)
}

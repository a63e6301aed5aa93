//! The comparison's gate: when an attempt begins, when another follows, and what follows from a verdict. Pure.
//!
//! Invariants: a verdict stands for as long as the same is asked of the same two revisions, however long the candidate then
//! waits; what is asked otherwise is asked anew. A person's word counts of a failure that was there to be seen.

use crds::feature_view::{AbortReason, Attempt, FailurePolicy};
use k8s_openapi::jiff::Timestamp;

use super::{Facts, Trial};
use crate::feature_view::comparison::{Compared, Outcome, next_attempt};

/// How a revision stands to its comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// There is nothing to be compared, or what there was is no obstacle.
    Open,
    /// There is no verdict yet.
    Undecided,
    /// It failed, and a person is to decide.
    Failed,
}

impl Facts {
    /// Whether the target is compared at all: a pin is a person's word.
    fn compares(&self) -> Option<FailurePolicy> {
        self.policy.compares.filter(|_| self.policy.pin.is_none())
    }

    /// What became of the attempt that a trial is at.
    fn outcome(&self, trial: &Trial) -> Outcome {
        let is = |attempt: &Attempt, c: &Compared| attempt.definition == c.definition && attempt.number == c.number;
        match (&self.compared, &trial.comparison) {
            (Some(compared), Some(attempt)) if is(attempt, compared) => compared.outcome,
            // What was begun before status was lost.
            (Some(compared), None) => compared.outcome,
            _ => Outcome::Absent,
        }
    }

    /// Whether the attempt that a trial is at has failed.
    pub(super) fn has_failed(&self, trial: &Trial) -> bool {
        self.compares().is_some() && self.outcome(trial) == Outcome::Failed
    }

    /// Where the trial stands.
    pub(super) fn gate(&self, trial: &Trial) -> Gate {
        let Some(policy) = self.compares() else { return Gate::Open };
        let forced = trial.comparison.as_ref().is_some_and(|attempt| attempt.forced);
        match self.outcome(trial) {
            Outcome::Passed => Gate::Open,
            Outcome::Failed if forced || policy == FailurePolicy::Ignore => Gate::Open,
            Outcome::Failed => Gate::Failed,
            Outcome::Absent | Outcome::Running | Outcome::NoVerdict(_) => Gate::Undecided,
        }
    }

    /// Forgets an attempt at what is no longer asked.
    pub(super) fn renew(&self, trial: &mut Trial) {
        let asked = |attempt: &Attempt| self.compared.as_ref().is_none_or(|c| c.definition == attempt.definition);
        trial.comparison = trial.comparison.take().filter(asked);
    }

    /// Begins the comparison of a revision that has proved itself otherwise, and the next attempt where one came to nothing.
    /// In a pause nothing is begun or given up, and yet what was begun before is known, and that it failed.
    pub(super) fn compare(&self, trial: &mut Trial, paused: bool) {
        let (Some(policy), Some(compared)) = (self.compares(), &self.compared) else { return };
        if trial.comparison.is_none() && (!paused || compared.outcome != Outcome::Absent) {
            trial.comparison = Some(attempt_at(compared));
        }
        if let Some(attempt) = trial.comparison.as_mut().filter(|attempt| attempt.number == compared.number)
            && let Outcome::NoVerdict(ended) = compared.outcome
            && !paused
            && next_attempt(attempt.number, ended) <= self.now
        {
            attempt.number += 1;
        }
        let failed = self.has_failed(trial);
        trial.comparison.iter_mut().for_each(|attempt| attempt.failed = failed);
        if policy == FailurePolicy::Abort && !paused && self.gate(trial) == Gate::Failed {
            trial.aborted = Some(AbortReason::ComparisonFailed);
        }
    }

    /// When the next attempt begins.
    pub(super) fn next_comparison(&self, trial: &Trial) -> Option<Timestamp> {
        match self.outcome(trial) {
            Outcome::NoVerdict(ended) => Some(next_attempt(trial.comparison.as_ref()?.number, ended)),
            _ => None,
        }
    }

    /// A person lets a revision take over whose comparison failed, as status told before.
    pub(super) fn force(&self, trial: &mut Trial) {
        if self.has_failed(trial) {
            trial.comparison.iter_mut().for_each(|attempt| attempt.forced = attempt.failed);
        }
    }

    /// A person asks for a comparison to be made again that failed.
    pub(super) fn compare_again(&self, trial: &mut Trial) -> bool {
        let failed = self.has_failed(trial);
        if let Some(compared) = self.compared.as_ref().filter(|_| failed) {
            let number = trial.comparison.as_ref().map_or(compared.number, |attempt| attempt.number);
            trial.comparison = Some(Attempt { number: number + 1, ..attempt_at(compared) });
        }
        failed
    }
}

fn attempt_at(compared: &Compared) -> Attempt {
    Attempt { definition: compared.definition.clone(), number: compared.number, failed: false, forced: false }
}

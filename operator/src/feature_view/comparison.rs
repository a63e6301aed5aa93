//! The comparison that a revision has to stand before it takes the place of the one that serves: what is asked of it, what
//! carries it out, and what became of it. Pure.
//!
//! Invariants: what is compared has a hash, and each attempt at it a name of its own, which Job, ConfigMap and report bear;
//! so whoever is restarted finds what was begun, and no report is taken for an answer to another question.

mod announced;
mod job;
mod told;

pub(super) use announced::accept;
pub(super) use job::{config_map, is_of_comparison, job};
pub(super) use told::summary;

use std::collections::BTreeMap;
use std::sync::Arc;

use crds::feature_view::ComparisonPolicy;
use engine::compare::{Comparison, Limits, Report, Verdict};
use engine::plan::Plan;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

use super::observe::{Observed, StoreFacts};
use super::phase::Memory;
use crate::{jobs, names};

/// How long after an attempt that came to no verdict the next one begins; twice as long each time.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(30);
/// The longest it takes.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_mins(10);

/// What is known of an attempt at a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// The hash of what is compared.
    pub definition: String,
    /// Which attempt at it.
    pub number: i32,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has not begun, or its Job was deleted.
    Absent,
    /// Its Job is under way.
    Running,
    /// It came to no verdict, and ended then.
    NoVerdict(Timestamp),
    /// The revision may take over.
    Passed,
    /// It may not.
    Failed,
}

/// Whether a spec has anything compared.
#[must_use]
pub fn is_on(policy: &ComparisonPolicy) -> bool {
    policy.sample_keys > 0
}

/// When the next attempt begins after one that ended without a verdict.
#[must_use]
pub fn next_attempt(number: i32, ended: Timestamp) -> Timestamp {
    let doublings = u32::try_from(number.saturating_sub(1)).unwrap_or_default().min(8);
    let pause = FIRST_PAUSE.checked_mul(1 << doublings).unwrap_or(LONGEST_PAUSE).min(LONGEST_PAUSE);
    ended.checked_add(pause).unwrap_or(ended)
}

/// What an attempt, its Job, its ConfigMap and its report are called.
#[must_use]
pub fn name(view: &str, definition: &str, number: i32) -> String {
    format!("{view}-compare-{definition}-{number}")
}

/// What is compared, without a name yet; none while nothing is live, the target is, or a plan is not known.
fn question(
    observed: &Observed,
    plans: &BTreeMap<String, Arc<Plan>>,
    live: Option<&str>,
    target: Option<&str>,
) -> Option<Comparison> {
    let policy = &observed.view.spec.rollout.comparison;
    let (live, target) = (live?, target?);
    if live == target || !is_on(policy) {
        return None;
    }
    // The schema lets nothing else through.
    let number = |text: &String| text.parse::<f64>().ok();
    let mut expected_changes = policy.expected_changes.clone();
    expected_changes.sort_unstable();
    Some(Comparison {
        name: String::new(),
        former: (**plans.get(live)?).clone(),
        candidate: (**plans.get(target)?).clone(),
        sample_entities: usize::try_from(policy.sample_keys).unwrap_or_default(),
        limits: Limits {
            max_mismatch_ratio: number(&policy.max_mismatch_ratio).unwrap_or_default(),
            max_psi: policy.max_psi.as_ref().and_then(number),
        },
        expected_changes,
    })
}

/// The hash of what is compared.
fn definition(comparison: &Comparison) -> String {
    // Serialising owned data with string keys cannot fail.
    names::hex(&serde_json::to_vec(comparison).unwrap_or_default(), 10)
}

/// The comparison of an attempt, if that is still what the spec asks.
#[must_use]
pub fn comparison(
    observed: &Observed,
    plans: &BTreeMap<String, Arc<Plan>>,
    live: Option<&str>,
    target: Option<&str>,
    asked: (&str, i32),
) -> Option<Comparison> {
    let comparison = question(observed, plans, live, target)?;
    let name = name(&observed.view.name_any(), asked.0, asked.1);
    (definition(&comparison) == asked.0).then_some(Comparison { name, ..comparison })
}

/// What is known of the comparison that the target has to stand; `None` if there is nothing to be compared.
#[must_use]
pub fn compared(
    observed: &Observed,
    plans: &BTreeMap<String, Arc<Plan>>,
    known: &StoreFacts,
    target: Option<&str>,
) -> Option<Compared> {
    let live = known.live.as_ref().map(|live| live.revision.as_str());
    let definition = definition(&question(observed, plans, live, target)?);
    let trial = observed.view.status.as_ref().and_then(|s| s.rollout.as_ref()?.trial.as_ref()?.comparison.as_ref());
    let number = trial.filter(|attempt| attempt.definition == definition).map_or(1, |attempt| attempt.number);
    let name = name(&observed.view.name_any(), &definition, number);
    let job = observed.own_jobs().find(|job| job.name_any() == name);
    let outcome = outcome(job, known.comparison.as_ref().filter(|report| report.name == name));
    Some(Compared { definition, number, outcome })
}

/// The report that answers the attempt which a trial is at.
#[must_use]
pub fn answer<'a>(view: &str, known: &'a StoreFacts, memory: &Memory) -> Option<&'a Report> {
    let attempt = memory.trial.as_ref()?.comparison.as_ref()?;
    known.comparison.as_ref().filter(|report| report.name == name(view, &attempt.definition, attempt.number))
}

/// A report is the answer, whatever became of the Job that wrote it.
fn outcome(job: Option<&Job>, report: Option<&Report>) -> Outcome {
    match (report.map(|report| &report.verdict), job) {
        (Some(Verdict::Passed), _) => Outcome::Passed,
        (Some(Verdict::Failed { .. }), _) => Outcome::Failed,
        (_, Some(job)) => match jobs::ended_at(job) {
            Some(ended) => Outcome::NoVerdict(ended),
            None => Outcome::Running,
        },
        (_, None) => Outcome::Absent,
    }
}

#[cfg(test)]
mod tests;

//! Shadow reads: which a view's servers are to make, and what status says of them. Pure.
//!
//! Invariant: what servers are told names both revisions, and they heed it for answers of the live one alone; so an entry of the
//! catalog that outlives a move of the pointer has nothing read.

use crds::FeatureView;
use crds::feature_view::{DifferenceExample, ShadowDifference, ShadowStatus};
use engine::shadow::{Feature, Report, Shadow};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::observe::StoreFacts;
use super::phase::{Decision, Memory};
use crate::conditions::seconds;

/// How many features are told of.
const FEATURES: usize = 32;
/// How long what was told stands in status before it is told anew.
const PERIOD: SignedDuration = SignedDuration::from_secs(30);

/// What the view's servers are to read beside their answers.
pub fn wanted(view: &FeatureView, decision: &Decision) -> Option<Shadow> {
    let policy = view.spec.rollout.comparison.shadow.as_ref()?;
    let (former, candidate) = decision.shadows()?;
    let percent = u8::try_from(policy.percent.clamp(1, 100)).unwrap_or(100);
    Some(Shadow { former: former.clone(), candidate: candidate.clone(), percent })
}

/// What status is to say: what servers say now, unless it was told of lately; or what they said of a revision that serves, or is
/// still on trial.
pub fn told(
    before: Option<&ShadowStatus>,
    known: Option<&StoreFacts>,
    decision: &Decision,
    memory: &Memory,
    now: Timestamp,
) -> Option<ShadowStatus> {
    let concerns = |told: &&ShadowStatus| {
        let tried = memory.trial.as_ref().map(|trial| &trial.revision);
        memory.active.as_ref().into_iter().chain(tried).any(|revision| *revision == told.candidate)
    };
    let before = before.filter(concerns).cloned();
    let Some((former, candidate)) = decision.shadows() else { return before };
    let said = Report::of_all(former, known.iter().flat_map(|known| known.shadows.values()));
    if said == (Report { former: former.clone(), ..Report::default() }) {
        return before;
    }
    let seen = summary(candidate, &said, now);
    let is_of = |told: &&ShadowStatus| told.former == seen.former && told.candidate == seen.candidate;
    let stands = before.as_ref().filter(is_of).is_some_and(|told| is_young(told, now) || same(told, &seen));
    if stands { before } else { Some(seen) }
}

fn is_young(told: &ShadowStatus, now: Timestamp) -> bool {
    let since = told.observed_time.parse::<Timestamp>().ok();
    since.is_some_and(|since| (SignedDuration::ZERO..PERIOD).contains(&now.duration_since(since)))
}

/// Whether both say the same, whenever that was.
fn same(a: &ShadowStatus, b: &ShadowStatus) -> bool {
    *a == ShadowStatus { observed_time: a.observed_time.clone(), ..b.clone() }
}

fn count(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn summary(candidate: &str, said: &Report, now: Timestamp) -> ShadowStatus {
    let millis = |share: f64| said.latency.quantile(share).map(|micros| format!("{:.2}", micros / 1000.0));
    let mut differing: Vec<(&String, &Feature)> = said.features.iter().filter(|(_, f)| f.differing > 0).collect();
    differing.sort_by(|(x, a), (y, b)| b.share().total_cmp(&a.share()).then_with(|| x.cmp(y)));
    differing.truncate(FEATURES);
    ShadowStatus {
        former: said.former.clone(),
        candidate: candidate.to_owned(),
        reads: count(said.reads),
        dropped: count(said.dropped),
        failed: count(said.failed),
        missing_rows: count(said.missing),
        p95_millis: millis(0.95),
        p99_millis: millis(0.99),
        differences: differing.into_iter().map(|(name, feature)| difference(name, feature)).collect(),
        observed_time: seconds(now),
    }
}

fn difference(name: &str, feature: &Feature) -> ShadowDifference {
    // Not rounded up to 1: what differs once in a million is told of as differing.
    let equal = ((1.0 - feature.share()) * 10_000.0).floor() / 10_000.0;
    let examples = feature.worst.iter().map(|(_, example)| DifferenceExample {
        entity: example.entity.clone(),
        former: example.former.clone(),
        candidate: example.candidate.clone(),
    });
    ShadowDifference {
        name: name.to_owned(),
        checked: count(feature.compared),
        equal: format!("{equal:.4}"),
        examples: examples.collect(),
    }
}

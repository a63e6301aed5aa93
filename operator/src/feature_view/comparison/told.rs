//! What status says of a report: what differs, the worst first, and no more than fits.

use crds::feature_view::{ComparisonStatus, ComparisonVerdict, DifferenceExample, FeatureDifference, Histogram};
use engine::compare::{FeatureComparison, Kind, Report, Verdict};
use k8s_openapi::jiff::Timestamp;

use crate::conditions::seconds;

/// How many features are told of.
const FEATURES: usize = 32;
/// How many reasons.
const REASONS: usize = 4;
/// The longest message, in characters.
const CHARACTERS: usize = 4_000;

/// The report as status has it.
pub fn summary(report: &Report) -> ComparisonStatus {
    let (verdict, message) = match &report.verdict {
        Verdict::Passed => (ComparisonVerdict::Passed, None),
        Verdict::Failed { reasons } => (ComparisonVerdict::Failed, Some(joined(reasons))),
        Verdict::Inconclusive { reason } => (ComparisonVerdict::Inconclusive, Some(reason.clone())),
    };
    let mut differing: Vec<&FeatureComparison> = report.features.iter().filter(|f| f.mismatches > 0).collect();
    differing.sort_by(|a, b| b.share().total_cmp(&a.share()).then_with(|| a.name.cmp(&b.name)));
    differing.truncate(FEATURES);
    ComparisonStatus {
        former: report.former.clone(),
        candidate: report.candidate.clone(),
        verdict,
        message: message.map(|text| text.chars().take(CHARACTERS).collect()),
        as_of: Timestamp::from_millisecond(report.as_of_ms).map(seconds).unwrap_or_default(),
        entities: count(report.entities),
        differences: differing.into_iter().map(difference).collect(),
    }
}

/// The share of mismatches.
trait Share {
    fn share(&self) -> f64;
}

impl Share for FeatureComparison {
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    fn share(&self) -> f64 {
        if self.compared == 0 { 0.0 } else { self.mismatches as f64 / self.compared as f64 }
    }
}

fn difference(feature: &FeatureComparison) -> FeatureDifference {
    let kind = match feature.kind {
        Kind::Unchanged => "Unchanged",
        Kind::Changed => "Changed",
        Kind::Expected => "Expected",
        Kind::Added => "Added",
        Kind::Removed => "Removed",
    };
    let number = |n: f64| format!("{n:.4}");
    // Not rounded up to 1: what differs for one entity of a million is told of as differing.
    let equal = ((1.0 - feature.share()) * 10_000.0).floor() / 10_000.0;
    let example = |e: &engine::compare::Example| DifferenceExample {
        entity: e.entity.clone(),
        former: e.former.clone(),
        candidate: e.candidate.clone(),
    };
    FeatureDifference {
        name: feature.name.clone(),
        kind: kind.to_owned(),
        checked: count(feature.compared),
        equal: number(equal),
        psi: feature.psi.map(number),
        ks: feature.ks.map(number),
        histogram: feature.histogram.as_ref().map(histogram),
        examples: feature.examples.iter().take(3).map(example).collect(),
    }
}

fn histogram(histogram: &engine::compare::Histogram) -> Histogram {
    let counts = |of: &[usize]| of.iter().map(|n| count(*n)).collect();
    Histogram {
        edges: histogram.edges.iter().map(|edge| short(*edge)).collect(),
        former: counts(&histogram.former),
        candidate: counts(&histogram.candidate),
    }
}

/// A number in as few digits as a person reads on an axis.
fn short(n: f64) -> String {
    match n.abs() {
        small if small < 1e-3 && small > 0.0 => format!("{n:.2e}"),
        small if small < 100.0 => format!("{n:.2}"),
        medium if medium < 1e7 => format!("{n:.0}"),
        _ => format!("{n:.2e}"),
    }
}

fn joined(reasons: &[String]) -> String {
    let first = reasons.iter().take(REASONS).cloned().collect::<Vec<_>>().join("; ");
    match reasons.len().saturating_sub(REASONS) {
        0 => first,
        more => format!("{first}; and {more} more features"),
    }
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

//! What follows from what was seen of the features: which of them keep the candidate from taking over, the worst first.

use std::cmp::Ordering;

use super::report::{FeatureComparison, Verdict};
use super::{Kind, Limits};
use crate::drift;

/// Below this share of values that could be read exactly, nothing follows for a feature.
const LEAST_READABLE: f64 = 0.5;
/// How many features are named of which too little could be read.
const NAMED: usize = 4;

/// The verdict. What was seen to differ stands, however little could be read of another feature.
pub(super) fn verdict(features: &[FeatureComparison], limits: &Limits) -> Verdict {
    let mut both: Vec<&FeatureComparison> =
        features.iter().filter(|f| !matches!(f.kind, Kind::Added | Kind::Removed)).collect();
    both.sort_by(|a, b| worst_first(a, b));
    let reasons: Vec<String> = both.iter().filter_map(|feature| refusal(feature, limits)).collect();
    if !reasons.is_empty() {
        return Verdict::Failed { reasons };
    }
    both.retain(|feature| is_hardly_read(feature));
    both.sort_by(|a, b| readable(a).total_cmp(&readable(b)));
    if both.is_empty() { Verdict::Passed } else { Verdict::Inconclusive { reason: unread(&both) } }
}

/// What was not announced first, then by the share that differs, then by how far it moved.
fn worst_first(a: &FeatureComparison, b: &FeatureComparison) -> Ordering {
    let announced = |f: &FeatureComparison| f.kind == Kind::Expected;
    let psi = |f: &FeatureComparison| f.psi.unwrap_or_default();
    let differing = |f: &FeatureComparison| drift::share(f.mismatches, f.compared);
    let by_share = || differing(b).total_cmp(&differing(a));
    announced(a).cmp(&announced(b)).then_with(by_share).then_with(|| psi(b).total_cmp(&psi(a)))
}

/// The share of a feature's values that could be read exactly; 1 where none was asked for.
fn readable(feature: &FeatureComparison) -> f64 {
    let asked = feature.compared + feature.unreadable;
    if asked == 0 { 1.0 } else { drift::share(feature.compared, asked) }
}

fn is_hardly_read(feature: &FeatureComparison) -> bool {
    readable(feature) < LEAST_READABLE
}

/// That too little could be read of some features.
fn unread(features: &[&FeatureComparison]) -> String {
    let told = features.iter().take(NAMED).map(|feature| {
        let asked = feature.compared + feature.unreadable;
        format!("feature {} for only {} of {asked} entities", feature.name, feature.compared)
    });
    let told = told.collect::<Vec<_>>().join(", ");
    let more = match features.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more features"),
    };
    format!(
        "as of the time that both revisions are complete to, both can be read exactly of {told}{more}; they are compared \
         once more when that time has moved"
    )
}

/// Why a feature keeps the candidate from taking over.
fn refusal(feature: &FeatureComparison, limits: &Limits) -> Option<String> {
    match feature.kind {
        Kind::Added | Kind::Removed => None,
        Kind::Unchanged => differs(feature, limits, "is defined as before", ""),
        Kind::Changed => differs(feature, limits, "was changed", "; list it in expectedChanges if that is meant"),
        Kind::Expected => moved(feature, limits),
    }
}

/// That a feature differs which was not announced to.
fn differs(feature: &FeatureComparison, limits: &Limits, defined: &str, fix: &str) -> Option<String> {
    let FeatureComparison { name, compared, mismatches, .. } = feature;
    let limit = limits.max_mismatch_ratio;
    let ratio = drift::share(*mismatches, *compared);
    let psi = feature.psi.map(|psi| format!("; PSI {psi:.4}")).unwrap_or_default();
    (ratio > limit).then(|| {
        format!(
            "feature {name} {defined}, and its values differ for {mismatches} of {compared} entities ({:.2} %, \
             maxMismatchRatio is {limit}{psi}{}){}{fix}",
            ratio * 100.0,
            nulls(feature),
            example(feature)
        )
    })
}

/// That a feature which was announced to change moved further than the limit, or that nobody can tell whether it did.
fn moved(feature: &FeatureComparison, limits: &Limits) -> Option<String> {
    let FeatureComparison { name, compared, mismatches, .. } = feature;
    let limit = limits.max_psi?;
    let share = drift::share(*mismatches, *compared);
    let how = match feature.psi {
        Some(psi) if psi > limit => {
            format!("moved further than announced: its population stability index (PSI) is {psi:.4}, maxPsi is {limit}")
        }
        // What is as it was has not moved, however few it is of.
        None if share > limits.max_mismatch_ratio && !is_hardly_read(feature) => format!(
            "may have moved further than announced: of fewer than {} entities no population stability index (PSI) can be \
             told, and maxPsi is {limit}",
            drift::LEAST_VALUES
        ),
        _ => return None,
    };
    Some(format!(
        "feature {name} {how}; its values differ for {mismatches} of {compared} entities ({:.2} %{}){}",
        share * 100.0,
        nulls(feature),
        example(feature)
    ))
}

/// How many are NULL, where that has changed.
fn nulls(feature: &FeatureComparison) -> String {
    let (was, is) = (feature.former_null_share * 100.0, feature.candidate_null_share * 100.0);
    let (was, is) = (format!("{was:.2} %"), format!("{is:.2} %"));
    if was == is { String::new() } else { format!("; NULL for {is} instead of {was}") }
}

fn example(feature: &FeatureComparison) -> String {
    let told = |e: &super::Example| format!("; entity #{} has {} and would have {}", e.entity, e.former, e.candidate);
    feature.examples.first().map(told).unwrap_or_default()
}

//! What people are told of checks: in status, as condition `Sound`, in Events. Pure.

use crds::FeatureViewStatus;
use crds::condition::{ConditionStatus, reasons, types};
use crds::feature_view::{
    DriftReference, DriftStatus, DriftWatch, FeatureDrift, FeatureSkew, Monitoring, MonitoringStatus, SkewExample,
    SkewStatus, SkewWatch,
};
use engine::compare::{FeatureComparison, Report as Skew};
use engine::drift::LEAST_VALUES;
use engine::monitor::{FeatureDrift as Moved, Reference, Report as Drift};
use engine::row::RunReport;
use k8s_openapi::jiff::Timestamp;

use crate::conditions::{find, seconds};

#[cfg(test)]
mod tests;

/// How many features are told of.
const FEATURES: usize = 16;
/// How many are named in a message.
const NAMED: usize = 3;

/// How far values are from their reference, as a check says.
pub fn drift(report: &Drift, watch: &DriftWatch) -> DriftStatus {
    let (reference, reference_as_of) = match &report.reference {
        Some(against) => {
            let sort = match against.reference {
                Reference::Baseline { .. } => DriftReference::Baseline,
                Reference::PreviousCheck => DriftReference::PreviousCheck,
            };
            (Some(format!("{sort:?}")), Some(time(against.as_of_ms)))
        }
        None => (None, None),
    };
    let features = report.features.iter().map(moved).collect();
    let as_of = time(report.as_of_ms);
    let status = DriftStatus {
        revision: report.revision.clone(),
        as_of,
        entities: count(report.entities),
        reference,
        reference_as_of,
        ..DriftStatus::default()
    };
    worst(status, features, &watch.max_psi)
}

/// The same, as the quality gate of the run says whose generation is served: against the generation before.
pub fn generation(report: &RunReport, revision: &str, max_psi: &str) -> DriftStatus {
    let feature = |seen: &engine::row::FeatureReport| FeatureDrift {
        name: seen.name.clone(),
        psi: seen.psi.map(number),
        null_share: number(seen.null_share),
        ..FeatureDrift::default()
    };
    let features = report.features.iter().map(feature).collect();
    let status = DriftStatus {
        revision: revision.to_owned(),
        as_of: time(report.horizon_ms),
        entities: i64::try_from(report.rows).unwrap_or(i64::MAX),
        // A first generation has none before it.
        reference: report.features.iter().any(|f| f.psi.is_some()).then(|| "PreviousGeneration".to_owned()),
        ..DriftStatus::default()
    };
    worst(status, features, max_psi)
}

fn moved(feature: &Moved) -> FeatureDrift {
    FeatureDrift {
        name: feature.name.clone(),
        psi: feature.psi.map(number),
        ks: feature.ks.map(number),
        null_share: number(feature.null_share),
        reference_null_share: feature.reference_null_share.map(number),
        outlier_share: feature.outlier_share.map(number),
        reference_outlier_share: feature.reference_outlier_share.map(number),
    }
}

/// With the features that moved furthest.
fn worst(status: DriftStatus, mut features: Vec<FeatureDrift>, max_psi: &str) -> DriftStatus {
    let limit = parsed(max_psi);
    let psi = |feature: &FeatureDrift| feature.psi.as_deref().map_or(-1.0, parsed);
    let drifted = features.iter().filter(|feature| psi(feature) > limit).count();
    features.sort_by(|a, b| psi(b).total_cmp(&psi(a)).then_with(|| a.name.cmp(&b.name)));
    features.truncate(FEATURES);
    DriftStatus { max_psi: max_psi.to_owned(), drifted: small(drifted), features, ..status }
}

/// Whether values are what their history gives, as a check says.
pub fn skew(report: &Skew, watch: &SkewWatch) -> SkewStatus {
    let limit = parsed(&watch.max_mismatch_ratio);
    let skewed = report.features.iter().filter(|f| f.mismatches > 0 && ratio(f) > limit).count();
    let unchecked = report.features.iter().filter(|f| f.unreadable > f.compared).count();
    let mut differing: Vec<&FeatureComparison> = report.features.iter().filter(|f| f.mismatches > 0).collect();
    differing.sort_by(|a, b| ratio(b).total_cmp(&ratio(a)).then_with(|| a.name.cmp(&b.name)));
    differing.truncate(FEATURES);
    let feature = |f: &FeatureComparison| FeatureSkew {
        name: f.name.clone(),
        checked: count(f.compared),
        differs: count(f.mismatches),
        // Not rounded down to nothing: one entity of a million is told of.
        ratio: format!("{:.6}", ratio(f).max(1e-6)),
        examples: f.examples.iter().take(3).map(example).collect(),
    };
    let compared = report.features.iter().any(|f| f.compared > 0);
    SkewStatus {
        revision: report.former.clone(),
        as_of: time(report.as_of_ms),
        entities: if compared { count(report.entities) } else { 0 },
        max_mismatch_ratio: watch.max_mismatch_ratio.clone(),
        skewed: small(skewed),
        unchecked: small(unchecked),
        features: differing.into_iter().map(feature).collect(),
    }
}

fn example(e: &engine::compare::Example) -> SkewExample {
    SkewExample { entity: e.entity.clone(), served: e.former.clone(), recomputed: e.candidate.clone() }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn ratio(feature: &FeatureComparison) -> f64 {
    if feature.compared == 0 { 0.0 } else { feature.mismatches as f64 / feature.compared as f64 }
}

/// A reason and a message, if values are not sound: skew first, for it is a defect, while the world may drift.
pub fn finding(status: &MonitoringStatus) -> Option<(&'static str, String)> {
    let page = |alert: &str| format!("docs/runbooks/{alert}.md says what to do");
    let skewed = status.skew.as_ref().filter(|skew| skew.skewed > 0).map(|skew| {
        let limit = parsed(&skew.max_mismatch_ratio);
        let over = skew.features.iter().filter(|f| parsed(&f.ratio) > limit).take(NAMED);
        let told: Vec<String> = over.map(of_skew).collect();
        let message = format!(
            "what is served is not what its events give: {}{}; as of {}, of {} entities; {}",
            told.join("; "),
            more(skew.skewed, told.len()),
            skew.as_of,
            skew.entities,
            page("FeaturemillFeatureSkew"),
        );
        (reasons::VALUES_SKEWED, message)
    });
    let by_drift = || {
        status.drift.as_ref().filter(|drift| drift.drifted > 0).map(|drift| {
            let told: Vec<String> = drifted(drift).take(NAMED).map(of_drift).collect();
            let message = format!(
                "{}{}; the limit is {}; as of {}, of {} entities, against {}; {}",
                told.join("; "),
                more(drift.drifted, told.len()),
                drift.max_psi,
                drift.as_of,
                drift.entities,
                against(drift),
                page("FeaturemillFeatureDrift"),
            );
            (reasons::FEATURE_DRIFTED, message)
        })
    };
    skewed.or_else(by_drift)
}

/// The features that have drifted, as far as they are told of.
fn drifted(drift: &DriftStatus) -> impl Iterator<Item = &FeatureDrift> {
    let limit = parsed(&drift.max_psi);
    drift.features.iter().filter(move |feature| feature.psi.as_deref().is_some_and(|psi| parsed(psi) > limit))
}

fn of_drift(feature: &FeatureDrift) -> String {
    let mut told = format!("feature {} moved: PSI {}", feature.name, feature.psi.as_deref().unwrap_or_default());
    if let Some(ks) = &feature.ks {
        told = format!("{told}, KS {ks}");
    }
    let percent = |share: &str| format!("{:.1} %", parsed(share) * 100.0);
    let mut beside = |name: &str, is: &str, was: &str| {
        if percent(is) != percent(was) {
            told = format!("{told}, {name} {} instead of {}", percent(is), percent(was));
        }
    };
    if let Some(was) = &feature.reference_null_share {
        beside("NULL for", &feature.null_share, was);
    }
    if let (Some(is), Some(was)) = (&feature.outlier_share, &feature.reference_outlier_share) {
        beside("far out", is, was);
    }
    told
}

fn of_skew(feature: &FeatureSkew) -> String {
    let example = feature.examples.first();
    let example =
        example.map(|e| format!("; entity #{} is served {}, its events give {}", e.entity, e.served, e.recomputed));
    format!(
        "feature {} differs for {} of {} entities{}",
        feature.name,
        feature.differs,
        feature.checked,
        example.unwrap_or_default()
    )
}

fn more(all: i32, named: usize) -> String {
    match usize::try_from(all).unwrap_or_default().saturating_sub(named) {
        0 => String::new(),
        1 => "; and another feature".to_owned(),
        more => format!("; and {more} more features"),
    }
}

fn against(drift: &DriftStatus) -> String {
    let of = drift.reference_as_of.as_ref().map(|time| format!(" of {time}")).unwrap_or_default();
    match drift.reference.as_deref() {
        Some("PreviousCheck") => format!("the check before{of}"),
        Some("PreviousGeneration") => "the generation before".to_owned(),
        _ => format!("the baseline{of}"),
    }
}

/// Why a check that has ended says nothing of the values, if it does not: that nothing was found amiss would be no answer.
pub fn says_nothing(status: &MonitoringStatus, wanted: &Monitoring) -> Option<String> {
    let drift =
        status.drift.as_ref().filter(|drift| wanted.drift.is_some() && drift.entities < count(LEAST_VALUES)).map(
            |drift| {
                let DriftStatus { as_of, entities, .. } = drift;
                format!("as of {as_of}, of {entities} entities no drift can be told; it takes {LEAST_VALUES}")
            },
        );
    let skew = status.skew.as_ref().filter(|skew| wanted.skew.is_some() && skew.entities == 0).map(|skew| {
        format!(
            "as of {}, the skew check could compare nothing: no entity has a row yet, or all features reach further back than \
             monitoring.skew.lookback, or than what the source still holds",
            skew.as_of
        )
    });
    let parts: Vec<String> = drift.into_iter().chain(skew).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// What was seen where nothing is amiss.
pub fn well(status: &MonitoringStatus) -> String {
    let drift = status.drift.as_ref().map(|drift| match (&drift.reference, drift.features.first()) {
        (Some(_), Some(first)) => format!(
            "as of {}, {} moved furthest against {}: PSI {}, the limit is {}",
            drift.as_of,
            first.name,
            against(drift),
            first.psi.as_deref().unwrap_or("not told"),
            drift.max_psi
        ),
        _ => format!("as of {}, {} entities were captured to hold later ones against", drift.as_of, drift.entities),
    });
    let skew = status.skew.as_ref().map(|skew| {
        let unchecked = match skew.unchecked {
            0 => String::new(),
            n => format!("; {n} features reach further back than could be checked"),
        };
        format!("as of {}, {} entities are served what their events give{unchecked}", skew.as_of, skew.entities)
    });
    drift.into_iter().chain(skew).collect::<Vec<_>>().join("; ")
}

/// What is news: that values are no longer sound, that another feature is not, or that they are again.
pub fn happening(before: &FeatureViewStatus, after: &FeatureViewStatus) -> Option<(bool, &'static str, String)> {
    let is = find(&after.conditions, types::SOUND)?;
    let was = find(&before.conditions, types::SOUND);
    let same = was.is_some_and(|was| was.reason == is.reason);
    let known = |name: &&str| named(before).any(|before| before == *name);
    let reason = [reasons::FEATURE_DRIFTED, reasons::VALUES_SKEWED, reasons::CHECK_FAILED]
        .into_iter()
        .find(|reason| *reason == is.reason);
    match (is.status, reason) {
        (ConditionStatus::True, _) if was.is_some_and(|was| was.status == ConditionStatus::False) => {
            Some((false, reasons::SOUND, is.message.clone()))
        }
        (_, Some(reason)) if !same || !named(after).all(|name| known(&name)) => {
            Some((true, reason, is.message.clone()))
        }
        _ => None,
    }
}

/// The features that are not sound.
fn named(status: &FeatureViewStatus) -> impl Iterator<Item = &str> {
    let monitoring = status.monitoring.as_deref();
    let drift = monitoring.and_then(|m| m.drift.as_ref()).into_iter().flat_map(drifted).map(|f| f.name.as_str());
    let skew = monitoring.and_then(|m| m.skew.as_ref());
    let skewed = skew.into_iter().flat_map(|skew| {
        let limit = parsed(&skew.max_mismatch_ratio);
        skew.features.iter().filter(move |f| parsed(&f.ratio) > limit).map(|f| f.name.as_str())
    });
    drift.chain(skewed)
}

fn number(n: f64) -> String {
    format!("{n:.4}")
}

/// A number that this operator wrote, or that the schema let through.
pub(super) fn parsed(text: &str) -> f64 {
    text.parse().unwrap_or_default()
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn small(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

fn time(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map(seconds).unwrap_or_default()
}

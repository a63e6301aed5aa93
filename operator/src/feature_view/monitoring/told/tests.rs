//! What is told of checks, and when it is news.
#![allow(clippy::unwrap_used)]

use crds::Condition;
use engine::compare::{Kind, Verdict};
use engine::monitor::Against;

use super::*;

fn watched(psi: &[(&str, Option<f64>)]) -> DriftStatus {
    let feature = |(name, psi): &(&str, Option<f64>)| Moved { name: (*name).to_owned(), psi: *psi, ..Moved::default() };
    let report = Drift {
        revision: "a".into(),
        as_of_ms: 0,
        finished_ms: 1,
        entities: 300,
        reference: Some(Against { reference: Reference::PreviousCheck, as_of_ms: 0, entities: 300 }),
        features: psi.iter().map(feature).collect(),
    };
    drift(&report, &DriftWatch::default())
}

/// A skew check of one feature.
fn checked(compared: usize, unreadable: usize, mismatches: usize) -> Skew {
    let feature = FeatureComparison {
        name: "f".into(),
        kind: Kind::Unchanged,
        compared,
        unreadable,
        mismatches,
        former_null_share: 0.0,
        candidate_null_share: 0.0,
        psi: None,
        ks: None,
        histogram: None,
        examples: Vec::new(),
    };
    Skew {
        name: "skew".into(),
        former: "a".into(),
        candidate: "a".into(),
        as_of_ms: 0,
        entities: compared + unreadable,
        verdict: Verdict::Passed,
        features: vec![feature],
    }
}

#[test]
fn the_worst_are_told_first_and_no_more_than_fit() {
    let names: Vec<(String, f64)> = (0..100_u32).map(|i| (format!("f{i:02}"), f64::from(i) / 100.0)).collect();
    let all: Vec<(&str, Option<f64>)> = names.iter().map(|(name, psi)| (name.as_str(), Some(*psi))).collect();
    let status = watched(&all);
    assert_eq!((status.drifted, status.features.len(), status.features[0].name.as_str()), (74, FEATURES, "f99"));
    let status = MonitoringStatus { drift: Some(status), skew: None };
    let (reason, message) = finding(&status).unwrap();
    assert_eq!(reason, reasons::FEATURE_DRIFTED);
    assert!(message.contains("f99 moved: PSI 0.9900") && message.contains("; and 71 more features"), "{message}");
    assert!(message.contains("against the check before") && message.len() < 600, "{message}");
    // At the limit it has not moved beyond it; of what no index is told it has not either.
    assert_eq!(
        finding(&MonitoringStatus { drift: Some(watched(&[("a", Some(0.25)), ("b", None)])), skew: None }),
        None
    );
}

#[test]
fn one_entity_of_a_million_is_skew_and_a_ratio_allows_for_it() {
    let report = checked(10_000_000, 0, 1);
    let told = |ratio: &str| {
        let watch = SkewWatch { max_mismatch_ratio: ratio.into(), ..SkewWatch::default() };
        MonitoringStatus { drift: None, skew: Some(skew(&report, &watch)) }
    };
    assert_eq!(finding(&told("0")).unwrap().0, reasons::VALUES_SKEWED);
    assert_eq!(finding(&told("0.01")), None);
    assert_eq!(told("0.01").skew.unwrap().features.len(), 1, "it is shown all the same");
}

#[test]
fn a_check_that_could_look_at_nothing_is_no_proof_that_all_is_well() {
    let wanted = Monitoring { drift: Some(DriftWatch::default()), skew: Some(SkewWatch::default()) };
    let few = DriftStatus { entities: 199, ..watched(&[("a", None)]) };
    let skew = skew(&checked(0, 500, 0), &SkewWatch::default());
    let status = MonitoringStatus { drift: Some(few.clone()), skew: Some(skew) };
    let message = says_nothing(&status, &wanted).unwrap();
    assert!(message.contains("of 199 entities no drift can be told; it takes 200"), "{message}");
    assert!(message.contains("the skew check could compare nothing"), "{message}");
    let numbers = |n: i32| (0..n).map(f64::from).collect::<Vec<_>>();
    assert!(engine::drift::psi(numbers(199), &numbers(199)).is_none() && LEAST_VALUES == 200);
    assert!(engine::drift::psi(numbers(200), &numbers(200)).is_some());
    // A small table whose generations are compared asked for nothing.
    assert_eq!(says_nothing(&MonitoringStatus { drift: Some(few), skew: None }, &Monitoring::default()), None);
    assert_eq!(says_nothing(&MonitoringStatus { drift: Some(watched(&[])), skew: None }, &wanted), None);
}

#[test]
fn what_stays_is_told_once_and_another_feature_is_news() {
    let status = |reason: &str, status, psi: &[(&str, Option<f64>)]| FeatureViewStatus {
        conditions: vec![Condition {
            type_: types::SOUND.into(),
            status,
            observed_generation: None,
            last_transition_time: String::new(),
            reason: reason.into(),
            message: "m".into(),
        }],
        monitoring: Some(Box::new(MonitoringStatus { drift: Some(watched(psi)), skew: None })),
        ..FeatureViewStatus::default()
    };
    let is = |status: Option<(bool, &'static str, String)>| status.map(|(_, reason, _)| reason);
    let well = status(reasons::SOUND, ConditionStatus::True, &[("a", Some(0.0))]);
    let one = status(reasons::FEATURE_DRIFTED, ConditionStatus::False, &[("a", Some(0.5)), ("b", Some(0.1))]);
    let worse = status(reasons::FEATURE_DRIFTED, ConditionStatus::False, &[("a", Some(0.9)), ("b", Some(0.1))]);
    let two = status(reasons::FEATURE_DRIFTED, ConditionStatus::False, &[("a", Some(0.5)), ("b", Some(0.5))]);
    assert_eq!(is(happening(&FeatureViewStatus::default(), &well)), None, "it never was otherwise");
    assert_eq!(is(happening(&well, &one)), Some(reasons::FEATURE_DRIFTED));
    assert_eq!((is(happening(&one, &one)), is(happening(&one, &worse))), (None, None));
    assert_eq!(is(happening(&one, &two)), Some(reasons::FEATURE_DRIFTED));
    assert_eq!(is(happening(&two, &one)), None);
    assert_eq!(is(happening(&one, &well)), Some(reasons::SOUND));
}

//! Profiles against what the definition of each statistic says, and that they stay small.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::compare::Reading;
use crate::definition::FeatureDefinition;
use crate::fixtures;
use crate::value::Value;

const T: i64 = 1_767_225_600_000;

/// A view of one feature: the last value of a column.
fn plan(column: &str) -> Plan {
    let feature = FeatureDefinition {
        name: "f".into(),
        aggregate: Some("Last".into()),
        of: Some(column.into()),
        window: Some("1h".into()),
        ..FeatureDefinition::default()
    };
    fixtures::plan(&[("user", "String"), ("amount", "Double")], vec![feature])
}

fn exact(value: Option<Value>) -> Reading {
    Reading { value, exact: true }
}

fn baseline(name: &str) -> Reference {
    Reference::Baseline { name: name.to_owned() }
}

/// What a check of these values says against what stands, and what is kept afterwards.
fn check(values: &[Option<Value>], reference: &Reference, stands: Option<&Profile>) -> (Report, Option<Profile>) {
    let plan = plan("amount");
    let mut collector = Collector::new(&plan);
    for value in values {
        collector.observe(&[exact(value.clone())]);
    }
    let (report, now) = collector.finish(T, T + 1, reference, stands);
    // As it is kept: through the store and back.
    let kept = reference.keep(stands, now).map(|profile| {
        let back = Profile::decode(&profile.encode()).unwrap();
        assert_eq!(back, profile);
        back
    });
    (report, kept)
}

/// What a check of `now` says against a baseline of `before`.
fn drift(before: &[Option<Value>], now: &[Option<Value>]) -> FeatureDrift {
    let (first, stands) = check(before, &baseline("a"), None);
    assert!(first.reference.is_none() && first.features[0].psi.is_none(), "{first:?}");
    let (report, kept) = check(now, &baseline("a"), stands.as_ref());
    assert!(report.reference.is_some() && kept.is_none(), "{report:?}");
    assert_eq!(Report::decode(&report.encode()).unwrap().reference, report.reference);
    report.features.into_iter().next().unwrap()
}

fn doubles(n: usize, of: impl Fn(f64) -> f64) -> Vec<Option<Value>> {
    (0..n).map(|i| Some(Value::Double(of(f64::from(u32::try_from(i * 7_919 % n).unwrap()))))).collect()
}

fn texts(n: usize, kinds: usize) -> Vec<Option<Value>> {
    (0..n).map(|i| Some(Value::String(format!("t{}", i % kinds)))).collect()
}

#[test]
fn what_did_not_move_has_an_index_of_nothing() {
    for values in [doubles(1_000, |x| x), doubles(1_000, |x| (x / 900.0).floor()), texts(1_000, 4), texts(1_000, 900)] {
        let seen = drift(&values, &values);
        assert!(seen.psi.unwrap() < 1e-9 && seen.ks.is_none_or(|ks| ks < 0.01), "{seen:?}");
        assert_eq!((seen.null_share, seen.reference_null_share), (0.0, Some(0.0)));
        assert_eq!(seen.outlier_share, seen.reference_outlier_share);
    }
}

#[test]
fn halved_values_new_nulls_and_other_texts_are_another_population() {
    let before = doubles(2_000, |x| x);
    let halved = drift(&before, &doubles(2_000, |x| x / 2.0));
    assert!(halved.psi.unwrap() > 0.25 && (halved.ks.unwrap() - 0.5).abs() < 0.01, "{halved:?}");
    let nulls: Vec<_> = before.iter().enumerate().map(|(i, v)| v.clone().filter(|_| i % 10 != 0)).collect();
    let seen = drift(&before, &nulls);
    assert!(seen.psi.unwrap() > 0.25 && (seen.null_share - 0.1).abs() < 1e-9, "{seen:?}");
    assert!(drift(&texts(1_000, 4), &texts(1_000, 2)).psi.unwrap() > 0.25);
    // A text that nobody had before, and that half have now.
    let mut taken_over = texts(1_000, 900);
    taken_over.iter_mut().step_by(2).for_each(|text| *text = Some(Value::String("new".into())));
    assert!(drift(&texts(1_000, 900), &taken_over).psi.unwrap() > 0.25);
}

#[test]
fn a_few_values_a_thousand_times_too_large_are_outliers_that_the_index_does_not_see() {
    let wild = |x: f64| if x < 30.0 { x + 1e6 } else { x };
    let seen = drift(&doubles(2_000, |x| x), &doubles(2_000, wild));
    assert!(seen.psi.unwrap() < 0.25, "{seen:?}");
    assert_eq!(seen.reference_outlier_share, Some(0.0));
    assert!((seen.outlier_share.unwrap() - 0.015).abs() < 1e-9, "{seen:?}");
    // Mostly zero: what is not is no outlier for that alone.
    let rare = |x: f64| if x < 100.0 { x } else { 0.0 };
    assert!(drift(&doubles(2_000, rare), &doubles(2_000, rare)).outlier_share.unwrap() < 0.02);
}

#[test]
fn a_baseline_stays_until_another_is_named_and_a_previous_check_does_not() {
    let (a, b) = (doubles(500, |x| x), doubles(500, |x| x * 3.0));
    let (_, first) = check(&a, &baseline("a"), None);
    let first = first.unwrap();
    // The same drift is told again and again.
    for _ in 0..2 {
        let (report, kept) = check(&b, &baseline("a"), Some(&first));
        assert!(report.features[0].psi.unwrap() > 0.25 && kept.is_none());
    }
    let (report, second) = check(&b, &baseline("b"), Some(&first));
    assert!(report.reference.is_none() && report.features[0].psi.is_none());
    let (report, kept) = check(&b, &baseline("b"), second.as_ref());
    assert!(report.features[0].psi.unwrap() < 1e-9 && kept.is_none());
    // Of two checks in a row, the second has not moved.
    let (_, before) = check(&a, &Reference::PreviousCheck, Some(&first));
    let (report, next) = check(&b, &Reference::PreviousCheck, before.as_ref());
    assert!(report.features[0].psi.unwrap() > 0.25);
    let (report, _) = check(&b, &Reference::PreviousCheck, next.as_ref());
    assert!(report.features[0].psi.unwrap() < 1e-9);
}

#[test]
fn too_few_entities_make_no_baseline_and_what_is_inexact_says_nothing() {
    assert!(check(&doubles(199, |x| x), &baseline("a"), None).1.is_none());
    let plan = plan("amount");
    let mut collector = Collector::new(&plan);
    collector.observe(&[Reading { value: None, exact: false }]);
    // What is no number to anybody is as good as NULL, and stays out of JSON.
    collector.observe(&[exact(Some(Value::Double(f64::NAN)))]);
    let (report, _) = collector.finish(T, T, &baseline("a"), None);
    let seen = &report.features[0];
    assert_eq!((seen.read, seen.unreadable, seen.null_share, report.entities), (1, 1, 1.0, 2));
}

#[test]
fn a_profile_is_as_small_of_many_as_of_few() {
    let of = |n| check(&doubles(n, |x| x * 1.7), &baseline("a"), None).1.unwrap().encode().len();
    assert!(of(20_000) < 8_192 && of(20_000) < of(300) * 2, "{} {}", of(20_000), of(300));
    let (_, texts) = check(&texts(20_000, 19_000), &baseline("a"), None);
    assert!(texts.unwrap().encode().len() < 8_192);
}

proptest! {
    /// Kept and read back, the index is that of both samples side by side.
    #[test]
    fn the_index_of_a_profile_is_that_of_the_values(
        a in prop::collection::vec(-9_i32..9, 200..300), b in prop::collection::vec(-12_i32..6, 200..300),
    ) {
        let values = |all: &[i32]| all.iter().map(|n| Some(Value::Double(f64::from(*n)))).collect::<Vec<_>>();
        let seen = drift(&values(&a), &values(&b));
        let numbers = |all: &[i32]| all.iter().map(|n| f64::from(*n)).collect::<Vec<f64>>();
        let psi = crate::drift::psi(numbers(&a), &numbers(&b)).unwrap();
        prop_assert!((seen.psi.unwrap() - psi).abs() < 1e-9);
        let ks = crate::drift::ks(numbers(&a), numbers(&b)).unwrap();
        prop_assert!((seen.ks.unwrap() - ks).abs() < 0.011, "{} {ks}", seen.ks.unwrap());
    }
}

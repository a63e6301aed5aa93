#![allow(clippy::unwrap_used)]
use crate::definition::FeatureDefinition;
use crate::fixtures;
use crate::plan::Plan;
use crate::value::Value;

use super::{Comparison, Judge, Kind, Limits, Reading, Report, Verdict, equal};

fn feature(name: &str, condition: &str, window: &str) -> FeatureDefinition {
    FeatureDefinition {
        name: name.into(),
        aggregate: Some("Count".into()),
        condition: Some(condition.into()),
        window: Some(window.into()),
        ..Default::default()
    }
}

fn expression(name: &str, sql: &str) -> FeatureDefinition {
    FeatureDefinition { name: name.into(), expression: Some(sql.into()), ..Default::default() }
}

fn plan(features: Vec<FeatureDefinition>) -> Plan {
    fixtures::plan(&[("user", "String"), ("event", "String")], features)
}

fn comparison(former: Vec<FeatureDefinition>, candidate: Vec<FeatureDefinition>) -> Comparison {
    Comparison {
        name: "c".into(),
        former: plan(former),
        candidate: plan(candidate),
        sample_entities: 1_000,
        limits: Limits { max_mismatch_ratio: 0.01, max_psi: None },
        expected_changes: Vec::new(),
    }
}

fn read(value: Option<i64>) -> Reading {
    Reading { value: value.map(Value::Int64), exact: true }
}

/// A thousand entities whose only feature is `former(i)` and would be `candidate(i)`.
fn report(comparison: &Comparison, former: impl Fn(u64) -> Reading, candidate: impl Fn(u64) -> Reading) -> Report {
    let mut judge = Judge::new(comparison);
    for i in 0..1_000 {
        judge.observe(&format!("{i:016x}"), &[former(i)], &[candidate(i)]);
    }
    judge.report(7)
}

fn reasons(report: &Report) -> Vec<String> {
    match &report.verdict {
        Verdict::Failed { reasons } => reasons.clone(),
        _ => Vec::new(),
    }
}

fn views(i: u64) -> Reading {
    read(Some(i64::try_from(i % 20).unwrap()))
}

#[test]
fn a_definition_is_what_a_feature_says_and_not_where_it_stands() {
    let former = plan(vec![
        feature("day", "event = 'view'", "24h"),
        expression("twice", "day * 2"),
        feature("hour", "event = 'view'", "1h"),
        feature("gone", "event = 'cart'", "1h"),
    ]);
    // Another order, another ladder of tiles and other positions of conditions; only `hour` and what it is read by differ.
    let candidate = plan(vec![
        feature("new", "event = 'cart'", "7d"),
        feature("hour", "event = 'view'", "2h"),
        expression("twice", "day * 2"),
        expression("ratio", "hour / 2"),
        feature("day", "event = 'view'", "24h"),
    ]);
    let kind = |name: &str| Kind::of(name, &former, &candidate, &["ratio".to_owned()]);
    assert_eq!(
        ["day", "twice", "hour", "gone", "new", "ratio"].map(kind),
        [Kind::Unchanged, Kind::Unchanged, Kind::Changed, Kind::Removed, Kind::Added, Kind::Added]
    );
    assert_eq!(Kind::of("hour", &former, &candidate, &["hour".to_owned()]), Kind::Expected);
}

#[test]
fn an_expression_changes_with_what_it_reads() {
    let view = |window: &str| plan(vec![feature("base", "event = 'view'", window), expression("twice", "base * 2")]);
    assert_eq!(Kind::of("twice", &view("1h"), &view("2h"), &[]), Kind::Changed);
}

#[test]
fn equal_values_pass_and_one_in_a_hundred_is_tolerated_but_no_more() {
    let of = || vec![feature("views", "event = 'view'", "1h")];
    let comparison = comparison(of(), of());
    assert_eq!(report(&comparison, views, views).verdict, Verdict::Passed);
    let wrong = |n: u64| report(&comparison, views, move |i| if i < n { read(Some(-1)) } else { views(i) });
    assert_eq!(wrong(10).verdict, Verdict::Passed);
    let eleven = wrong(11);
    let text = &reasons(&eleven)[0];
    assert!(text.contains("feature views is defined as before") && text.contains("11 of 1000"), "{text}");
    assert!(text.contains("#0000000000000000 has 0 and would have -1"), "{text}");
    assert_eq!(eleven.features[0].examples.len(), 3);
    assert_eq!(Report::decode(&eleven.encode()).unwrap(), eleven);
}

#[test]
fn a_changed_feature_must_be_announced_and_then_its_drift_is_told() {
    let former = || vec![feature("views", "event = 'view'", "1h")];
    let halved = |i: u64| read(Some(i64::try_from(i % 20 / 2).unwrap()));
    let mut comparison = comparison(former(), vec![feature("views", "event = 'view' and user > 'm'", "1h")]);
    let unannounced = report(&comparison, views, halved);
    let text = &reasons(&unannounced)[0];
    assert!(text.contains("was changed") && text.contains("95.00 %") && text.contains("expectedChanges"), "{text}");

    comparison.expected_changes = vec!["views".into()];
    let announced = report(&comparison, views, halved);
    assert_eq!(announced.verdict, Verdict::Passed);
    assert!(announced.features[0].psi.unwrap() > 0.25 && announced.features[0].ks.unwrap() > 0.3);

    comparison.limits.max_psi = Some(0.25);
    assert!(reasons(&report(&comparison, views, halved))[0].contains("maxPsi is 0.25"));
}

#[test]
fn nulls_where_there_were_values_differ() {
    let of = || vec![feature("views", "event = 'view'", "1h")];
    let report = report(&comparison(of(), of()), views, |i| if i % 10 == 0 { read(None) } else { views(i) });
    assert!(reasons(&report)[0].contains("has 0 and would have NULL"), "{report:?}");
    assert!((report.features[0].candidate_null_share - 0.1).abs() < 1e-9);
}

#[test]
fn what_cannot_be_read_exactly_is_no_mismatch_and_mostly_that_is_no_verdict() {
    let of = || vec![feature("views", "event = 'view'", "1h")];
    let comparison = comparison(of(), of());
    let inexact = |n: u64| move |i: u64| if i < n { Reading { value: None, exact: false } } else { views(i) };
    assert_eq!(report(&comparison, views, inexact(500)).verdict, Verdict::Passed);
    assert!(matches!(report(&comparison, views, inexact(501)).verdict, Verdict::Inconclusive { .. }));
    // A difference that was seen stands, however little could be read.
    let wrong = |i: u64| if i < 900 { Reading { value: None, exact: false } } else { read(Some(-1)) };
    assert!(matches!(report(&comparison, views, wrong).verdict, Verdict::Failed { .. }));
}

#[test]
fn only_what_must_be_equal_is_read_again() {
    let of = || vec![feature("views", "event = 'view'", "1h")];
    let mut comparison = comparison(of(), of());
    assert!(Judge::new(&comparison).differs(&[read(Some(1))], &[read(Some(2))]));
    assert!(!Judge::new(&comparison).differs(&[read(Some(1))], &[read(Some(1))]));
    comparison.expected_changes = vec!["views".into()];
    assert!(!Judge::new(&comparison).differs(&[read(Some(1))], &[read(Some(2))]));
}

#[test]
fn doubles_may_differ_in_their_last_bits_and_nothing_else_may() {
    let double = |x: f64| Some(Value::Double(x));
    assert!(equal(double(0.1 + 0.2).as_ref(), double(0.3).as_ref()));
    assert!(!equal(double(0.3).as_ref(), double(0.300_001).as_ref()));
    assert!(!equal(double(0.0).as_ref(), None) && equal(None, None));
    let list = |x: f64| Some(Value::List(vec![Value::Double(x)]));
    assert!(equal(list(0.1 + 0.2).as_ref(), list(0.3).as_ref()) && !equal(list(0.1).as_ref(), list(0.3).as_ref()));
}

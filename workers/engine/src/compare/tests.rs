#![allow(clippy::unwrap_used, clippy::panic)]
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

/// `n` entities, each with the readings that `of` gives of it for both revisions.
fn many(comparison: &Comparison, n: u64, of: impl Fn(u64) -> [Vec<Reading>; 2]) -> Report {
    let mut judge = Judge::new(comparison);
    for i in 0..n {
        let [former, candidate] = of(i);
        judge.observe(&format!("{i:016x}"), &former, &candidate);
    }
    judge.report(7)
}

/// One listed feature, whose definition was changed, that may move by a PSI of 0.25.
fn listed() -> Comparison {
    let of = |condition| vec![feature("views", condition, "1h")];
    let mut comparison = comparison(of("event = 'view'"), of("event = 'cart'"));
    (comparison.expected_changes, comparison.limits.max_psi) = (vec!["views".into()], Some(0.25));
    comparison
}

#[test]
fn what_was_announced_to_move_must_not_become_null() {
    let nulls = |share: u64| report(&listed(), views, move |i| if i % share == 0 { read(None) } else { views(i) });
    let all = reasons(&nulls(1));
    assert!(all[0].contains("PSI") && all[0].contains("NULL for 100.00 % instead of 0.00 %"), "{all:?}");
    assert!(reasons(&nulls(10))[0].contains("maxPsi is 0.25"));
    assert_eq!(nulls(1_000).verdict, Verdict::Passed);
    // Texts, too.
    let last = |condition: &str| FeatureDefinition {
        aggregate: Some("Last".into()),
        of: Some("event".into()),
        ..feature("views", condition, "1h")
    };
    let texts =
        Comparison { former: plan(vec![last("event = 'a'")]), candidate: plan(vec![last("event = 'b'")]), ..listed() };
    let text = |text: Option<&str>| vec![Reading { value: text.map(|t| Value::String(t.into())), exact: true }];
    let report = many(&texts, 1_000, |i| [text(Some("a")), text(Some("a").filter(|_| i % 10 > 0))]);
    assert!(reasons(&report)[0].contains("maxPsi is 0.25") && report.features[0].ks.is_none(), "{report:?}");
    assert_eq!(many(&texts, 1_000, |_| [text(Some("a")), text(Some("a"))]).verdict, Verdict::Passed);
}

#[test]
fn where_nobody_can_tell_how_far_a_listed_feature_moved_the_limit_is_not_kept() {
    let few = |n, next: i64| many(&listed(), n, move |_| [vec![read(Some(1))], vec![read(Some(next))]]);
    let text = reasons(&few(199, 2));
    assert!(text[0].contains("fewer than 200") && text[0].contains("199 of 199"), "{text:?}");
    assert_eq!(few(199, 1).verdict, Verdict::Passed, "it has not moved");
    assert_eq!(few(0, 1).verdict, Verdict::Passed, "nobody has it");
    let mut unlimited = listed();
    unlimited.limits.max_psi = None;
    assert_eq!(many(&unlimited, 5, |_| [vec![read(Some(1))], vec![read(None)]]).verdict, Verdict::Passed);
}

#[test]
fn every_feature_has_to_be_readable_and_not_only_most() {
    let of = || ["a", "b", "c", "d"].map(|name| feature(name, "event = 'view'", "1h")).to_vec();
    let mut comparison = comparison(of(), of());
    let unread = Reading { value: None, exact: false };
    let one = |last: Reading| vec![views(1), views(1), views(1), last];
    let report = |comparison: &Comparison| many(comparison, 100, |_| [one(views(1)), one(unread.clone())]);
    let Verdict::Inconclusive { reason } = report(&comparison).verdict else { panic!("passed") };
    assert!(reason.contains("feature d for only 0 of 100 entities") && !reason.contains("feature a"), "{reason}");
    // A listed one, too: nothing is known of what it would give.
    (comparison.expected_changes, comparison.limits.max_psi) = (vec!["d".into()], Some(0.25));
    assert!(matches!(report(&comparison).verdict, Verdict::Inconclusive { .. }));
}

#[test]
fn the_worst_is_told_first_with_its_share_and_how_far_it_moved() {
    let of = |condition: &str| ["a", "b", "c"].map(|name| feature(name, condition, "1h")).to_vec();
    let mut comparison = comparison(of("event = 'view'"), of("event = 'cart'"));
    let wrong = |i: u64, share: u64| if i % 100 < share { read(Some(90)) } else { views(i) };
    let of = |i: u64| [vec![views(i), views(i), views(i)], vec![wrong(i, 20), wrong(i, 99), wrong(i, 40)]];
    let told = |comparison: &Comparison| {
        let all = reasons(&many(comparison, 1_000, of));
        (all.iter().map(|reason| reason.split(' ').nth(1).unwrap().to_owned()).collect::<Vec<_>>(), all[0].clone())
    };
    let (names, first) = told(&comparison);
    assert_eq!(names, ["b", "c", "a"]);
    assert!(first.contains("(99.00 %, maxMismatchRatio is 0.01; PSI "), "{first}");
    // What was announced comes after what was not.
    (comparison.expected_changes, comparison.limits.max_psi) = (vec!["b".into()], Some(0.25));
    assert_eq!(told(&comparison).0, ["c", "a", "b"]);
}

#![allow(clippy::unwrap_used)]
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use proptest::prelude::*;

use super::{Before, Limits, Summary, Verdict, judge, psi};
use engine::plan::Plan;

fn plan() -> Plan {
    crate::fixtures::plan("uid", "file:///nowhere")
}

/// A generation of `rows` entities in which every feature is `value(row)`.
fn generation(rows: usize, value: impl Fn(usize) -> Option<i64>) -> Summary {
    let plan = plan();
    let width = plan.features.len();
    let entities: Vec<String> = (0..rows).map(|row| format!("u{row}")).collect();
    let column: ArrayRef = Arc::new((0..rows).map(&value).collect::<Int64Array>());
    let columns = (0..width).map(|i| (format!("f{i}"), column.clone()));
    let mut summary = Summary::new(width);
    summary.observe(&entities, &RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).unwrap());
    summary
}

#[expect(clippy::unnecessary_wraps, reason = "as what it stands beside gives it")]
fn row(i: usize) -> Option<i64> {
    Some(i64::try_from(i * 7_919 % 1_000).unwrap())
}

fn verdict(before: Option<&Summary>, next: &Summary) -> Verdict {
    judge(&plan(), &Limits::default(), before.map_or(Before::Nothing, Before::Known), next)
}

#[test]
fn a_first_generation_passes_with_a_note() {
    let verdict = verdict(None, &generation(10, |_| None));
    assert!(verdict.refusals.is_empty() && verdict.notes.len() == 1);
}

#[test]
fn the_same_again_passes() {
    let before = generation(5_000, row);
    assert_eq!(verdict(Some(&before), &generation(5_100, row)).refusals, Vec::<String>::new());
}

#[test]
fn half_the_rows_missing_is_refused_by_number_and_limit() {
    let refusals = verdict(Some(&generation(5_000, row)), &generation(2_500, row)).refusals;
    assert_eq!(refusals, ["entities: their number fell from 5000 to 2500, by 0.5000 of it; maxRowCountDrop is 0.2"]);
    let none = verdict(Some(&generation(5_000, row)), &generation(0, row)).refusals;
    assert_eq!(none.len(), 1, "{none:?}");
}

#[test]
fn a_column_of_nulls_is_refused_by_its_name() {
    let refusals = verdict(Some(&generation(5_000, row)), &generation(5_000, |_| None)).refusals;
    assert!(refusals[0].starts_with("feature events: its share of NULLs rose from 0.0000 to 1.0000"), "{refusals:?}");
    assert!(refusals[0].ends_with("maxNullShareRise is 0.1"));
}

/// Of a feature that one entity in twenty has, the share of NULLs rises by a twentieth when it is gone: that was let pass, and
/// an index needs values.
#[test]
fn a_column_that_few_have_is_refused_when_nobody_has_it_any_more() {
    let few = |every: usize| move |i: usize| row(i).filter(|_| i.is_multiple_of(every));
    let nobody = generation(5_000, |_| None);
    let refusals = verdict(Some(&generation(5_000, few(20))), &nobody).refusals;
    assert!(refusals[0].starts_with("feature events: all of its 250 values are gone"), "{refusals:?}");
    assert!(verdict(Some(&generation(5_000, few(100))), &nobody).refusals.is_empty(), "so few may go");
    assert!(verdict(Some(&nobody), &nobody).refusals.is_empty());
    let any = Limits { max_null_share_rise: 1.0, ..Limits::default() };
    let before = generation(5_000, few(20));
    assert!(judge(&plan(), &any, Before::Known(&before), &nobody).refusals.is_empty());
}

/// Half of the entities were let go with the note that this was the first generation.
#[test]
fn of_a_generation_that_the_feature_table_lost_the_number_of_entities_is_held_against_the_next() {
    let judged = |before, next: usize| judge(&plan(), &Limits::default(), before, &generation(next, row));
    let refused = judged(Before::Lost(Some(5_000)), 2_500);
    assert!(refused.refusals[0].starts_with("entities: their number fell from 5000 to 2500"), "{refused:?}");
    for before in [Before::Lost(Some(5_000)), Before::Lost(None)] {
        let passed = judged(before, 4_500);
        assert!(passed.refusals.is_empty() && passed.notes[0].contains("does not hold the generation"), "{passed:?}");
    }
}

#[test]
fn a_shifted_distribution_is_refused_by_its_index() {
    let shifted = |i| row(i).map(|v| v + 500);
    let refusals = verdict(Some(&generation(5_000, row)), &generation(5_000, shifted)).refusals;
    assert!(
        refusals[0].contains("population stability index") && refusals[0].ends_with("maxPsi is 0.25"),
        "{refusals:?}"
    );
    // Too few values to tell.
    assert!(verdict(Some(&generation(150, row)), &generation(150, shifted)).refusals.is_empty());
}

#[test]
fn a_constant_that_changes_is_seen_and_one_that_stays_is_not() {
    assert!(psi(vec![1.0; 500], &[1.0; 500]).unwrap().abs() < 1e-9);
    assert!(psi(vec![1.0; 500], &[2.0; 500]).unwrap() > 1.0);
    assert!(psi(vec![1.0; 500], &[0.0; 500]).unwrap() > 1.0);
}

proptest! {
    #[test]
    fn parts_in_any_order_have_the_summary_of_the_whole(rows in 1_usize..400, cut in 0_usize..400) {
        let whole = generation(rows, row);
        let plan = plan();
        let width = plan.features.len();
        let cut = cut.min(rows);
        let part = |from: usize, to: usize| {
            let entities: Vec<String> = (from..to).map(|row| format!("u{row}")).collect();
            let column: ArrayRef = Arc::new((from..to).map(row).collect::<Int64Array>());
            let columns = (0..width).map(|i| (format!("f{i}"), column.clone(), true));
            let mut summary = Summary::new(width);
            summary.observe(&entities, &RecordBatch::try_from_iter_with_nullable(columns).unwrap());
            summary
        };
        let mut merged = part(cut, rows);
        merged.merge(part(0, cut));
        prop_assert_eq!(merged.rows, whole.rows);
        prop_assert_eq!(&merged.nulls, &whole.nulls);
        let sorted = |s: &Summary| { let mut v: Vec<f64> = s.values(0).collect(); v.sort_by(f64::total_cmp); v };
        prop_assert_eq!(sorted(&merged), sorted(&whole));
    }
}

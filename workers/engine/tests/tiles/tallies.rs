//! What is tallied from events is what a lane of them holds and says: byte for byte, value for value.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int64Array};
use engine::lane::{Lane, Layout};
use engine::plan::{Function, Plan};
use engine::program::Evaluated;
use engine::read::{Reader, Status};
use engine::tally::{Sheet, Tallied, Tally};
use engine::value::Value;
use proptest::prelude::*;

use crate::events::{Event, H, M, events};
use crate::orders::whole;
use crate::plans::{INPUTS, Spec, any_window, plan};

/// What numbers a plan has inputs of: these are the first of its inputs here.
const NUMBERS: Range<usize> = 1..4;

fn spec() -> impl Strategy<Value = Spec> {
    let functions = vec![
        Function::Count,
        Function::Sum,
        Function::Avg,
        Function::Min,
        Function::Max,
        Function::StdDev,
        Function::Variance,
    ];
    let of_nothing = Just((Function::Count, None));
    let of_number = (prop::sample::select(functions), NUMBERS).prop_map(|(function, input)| (function, Some(input)));
    let conditions = prop::option::weighted(0.3, 0_usize..2);
    (prop_oneof![1 => of_nothing, 6 => of_number], conditions, prop::collection::vec(any_window(), 1..4))
        .prop_map(|((function, input), condition, windows)| Spec { function, input, condition, windows })
}

/// Plans of numbers alone, of which the inputs are numbers alone, too.
fn numeric_plan() -> impl Strategy<Value = Plan> {
    let lateness = prop::sample::select(vec![0, 10 * M, 4 * H]);
    (prop::collection::vec(spec(), 1..8), lateness).prop_map(|(specs, lateness)| plan(&specs, lateness, 5 * M))
}

/// Events as columns. Inputs that are no numbers are columns of nothing, which no aggregate reads.
fn evaluated(events: &[Event]) -> Evaluated {
    let value = |input: usize| events.iter().map(move |event| event.values[input].as_ref());
    let inputs = INPUTS.iter().enumerate().map(|(input, _)| match input {
        1 => {
            let of = |v: Option<&Value>| if let Some(Value::Int64(x)) = v { Some(*x) } else { None };
            Arc::new(value(input).map(of).collect::<Int64Array>()) as ArrayRef
        }
        2 => {
            let of = |v: Option<&Value>| if let Some(Value::Double(x)) = v { Some(*x) } else { None };
            Arc::new(value(input).map(of).collect::<Float64Array>())
        }
        3 => {
            let of = |v: Option<&Value>| if let Some(Value::Decimal(x)) = v { Some(*x) } else { None };
            Arc::new(value(input).map(of).collect::<Decimal128Array>())
        }
        _ => Arc::new(Int64Array::new_null(events.len())),
    });
    let condition = |c: usize| {
        Arc::new(BooleanArray::from(events.iter().map(|event| event.conditions[c]).collect::<Vec<_>>())) as ArrayRef
    };
    let times = events.iter().map(|event| event.time).collect();
    Evaluated::of_arrays(times, &[condition(0), condition(1)], &inputs.collect::<Vec<_>>())
}

/// Tallies `rows` and holds bytes and values against a lane's; what became of them.
fn check(plan: &Plan, events: &Evaluated, rows: Range<usize>, newest: i64, sheet: &mut Sheet) -> Option<Tallied> {
    let layout = Arc::new(Layout::new(plan).unwrap());
    let all: Vec<usize> = (0..plan.features.len()).collect();
    let tally = Tally::new(layout.clone(), newest, 7).expect("numbers alone");
    let mut lane = Lane::aged(&layout, newest);
    lane.set_offset(7);
    rows.clone().for_each(|row| lane.insert(&layout, events, row));
    let stored = whole(&layout, &lane);
    let reads = Reader::new(&layout).read(&[lane.clone()], newest + 1, &all);
    let is_exact = reads.iter().all(|read| read.status != Status::Inexact);
    let reading = tally.clone().reading(&all, newest + 1);
    assert!(is_exact || reading.is_none(), "a window that cuts tiles is read");
    let mut out = vec![1, 2, 3];
    let tally = reading.as_ref().unwrap_or(&tally);
    let tallied = tally.fold(events, rows, sheet, &mut out);
    if tallied == Tallied::Declined {
        assert_eq!(out, [1, 2, 3], "what is declined leaves nothing");
        return None;
    }
    assert_eq!(stored.len(), 1);
    assert_eq!(&out[3..], stored[&0], "the bytes of a lane");
    assert_eq!(tallied == Tallied::Nothing, lane.is_empty());
    if reading.is_some() {
        for ((feature, read), value) in plan.features.iter().zip(reads).zip(sheet.values()) {
            assert_eq!(value, read.value, "{feature:?}");
        }
    }
    Some(tallied)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn tallies_are_the_bytes_and_values_of_lanes(
        plan in numeric_plan(), mut events in events(60), ahead in 0_i64..40 * H, cut in 0_usize..61,
    ) {
        events.sort_by_key(|event| event.time);
        let newest = events.last().unwrap().time + ahead;
        let columns = evaluated(&events);
        let cut = cut.min(events.len());
        // One sheet is used again for each, as whoever folds many does.
        let mut sheet = Sheet::default();
        check(&plan, &columns, 0..cut, newest, &mut sheet);
        check(&plan, &columns, cut..events.len(), newest, &mut sheet);
        check(&plan, &columns, 0..events.len(), newest, &mut sheet);
    }
}

fn one(function: Function, input: usize) -> Plan {
    plan(
        &[Spec { function, input: Some(input), condition: None, windows: vec![crate::plans::sliding(H, None)] }],
        0,
        5 * M,
    )
}

fn event(time: i64, value: Value) -> Event {
    let mut values = vec![None; INPUTS.len()];
    let input = match value {
        Value::Int64(_) => 1,
        Value::Double(_) => 2,
        _ => 3,
    };
    values[input] = Some(value);
    Event { time, conditions: vec![true, true], values }
}

#[test]
fn numbers_that_are_too_far_apart_or_too_large_are_left_to_a_lane() {
    let declined = |plan: &Plan, values: &[Value]| {
        let events: Vec<Event> = (0..).zip(values).map(|(at, value)| event(1_000 * H + at, value.clone())).collect();
        check(plan, &evaluated(&events), 0..events.len(), 1_001 * H - 1, &mut Sheet::default()).is_none()
    };
    let doubles = |xs: &[f64]| xs.iter().map(|x| Value::Double(*x)).collect::<Vec<_>>();
    assert!(declined(&one(Function::Variance, 2), &doubles(&[1e30, 1e-30])));
    assert!(!declined(&one(Function::Variance, 2), &doubles(&[499.99, 0.01, -17.5, 0.0, -0.0])));
    assert!(!declined(&one(Function::Variance, 2), &doubles(&[f64::MAX, f64::MIN])));
    assert!(!declined(&one(Function::Variance, 2), &doubles(&[5e-324, 1e-320])));
    let decimals = |xs: &[i128]| xs.iter().map(|x| Value::Decimal(*x)).collect::<Vec<_>>();
    assert!(declined(&one(Function::StdDev, 3), &decimals(&[1 << 63])));
    assert!(!declined(&one(Function::StdDev, 3), &decimals(&[(1 << 63) - 1, -(1 << 63), 5])));
    assert!(!declined(&one(Function::Sum, 1), &[Value::Int64(i64::MIN), Value::Int64(i64::MIN)]));
}

#[test]
fn texts_and_times_are_left_to_lanes() {
    for (function, input) in [(Function::Last, 1), (Function::Max, 4), (Function::CountDistinct, 1), (Function::Min, 5)]
    {
        let layout = Layout::new(&one(function, input)).unwrap();
        assert!(Tally::new(Arc::new(layout), 0, 0).is_none(), "{function:?}");
    }
}

/// So many tiles that a lane has further segments.
#[test]
fn a_heavy_entity_is_left_to_a_lane() {
    let events: Vec<Event> = (0..40_000).map(|at| event(at * M, Value::Double(at as f64))).collect();
    let windows = vec![crate::plans::sliding(30 * 24 * H, Some(H))];
    let plan = plan(&[Spec { function: Function::StdDev, input: Some(2), condition: None, windows }], 0, 5 * M);
    let tallied = check(&plan, &evaluated(&events), 0..events.len(), 40_000 * M, &mut Sheet::default());
    assert_eq!(tallied, None);
}

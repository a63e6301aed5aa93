//! What every feature must be, from all events, from scratch.
//!
//! Written unlike the engine on purpose: it keeps events, sorts and filters them, has no tiles, states or merges, holds
//! doubles as big integers times 2^-1074, and does not compute roundings but checks that none is nearer.

use std::collections::HashSet;

use engine::plan::{FeatureSource, Function, Plan, Window};
use engine::value::{Value, ValueType};
use num_bigint::BigInt;

use crate::events::Event;

/// The bounds of a window, by division of wide integers.
pub fn bounds(window: &Window, finest: i64, t: i64) -> (i128, i128) {
    let (t, finest) = (i128::from(t), i128::from(finest));
    let up = -((-t).div_euclid(finest)) * finest;
    match *window {
        Window::Sliding { length_ms, hop_ms } => {
            ((t - i128::from(length_ms)).div_euclid(hop_ms.into()) * i128::from(hop_ms), up)
        }
        Window::Tumbling { length_ms, .. } => {
            let k = t.div_euclid(length_ms.into());
            ((k - 1) * i128::from(length_ms), k * i128::from(length_ms))
        }
        Window::Lifetime => (i128::MIN, up),
    }
}

/// Panics unless `got` is feature `f` of `plan` at `t` over `events`.
pub fn check(plan: &Plan, f: usize, events: &[Event], t: i64, got: Option<&Value>) {
    let feature = &plan.features[f];
    let FeatureSource::Window { aggregate, window } = &feature.source else { panic!("not a windowed feature") };
    let of = &plan.aggregates[*aggregate];
    let (start, end) = bounds(window, plan.time.finest_tile_ms, t);
    let seen: Vec<(i64, Option<Value>)> = (events.iter())
        .filter(|e| i128::from(e.time) >= start && i128::from(e.time) < end)
        .filter(|e| of.condition.is_none_or(|c| e.conditions[c]))
        .filter_map(|e| match of.input {
            None => Some((e.time, None)),
            Some(k) => clean(e.values[k].clone()?).map(|v| (e.time, Some(v))),
        })
        .collect();
    let context = || format!("{:?} over {window:?} at {t}: {got:?} of {seen:?}", of.function);
    let input = of.input.map(|k| &plan.inputs[k].value_type);
    assert!(holds(&of.function, input, &feature.value_type, &seen, got), "{}", context());
}

/// The value as aggregates see it; `None` if it is no number at all.
fn clean(value: Value) -> Option<Value> {
    match value {
        Value::Double(x) if !x.is_finite() => None,
        Value::Double(0.0) => Some(Value::Double(0.0)),
        other => Some(other),
    }
}

fn holds(
    function: &Function,
    input: Option<&ValueType>,
    output: &ValueType,
    seen: &[(i64, Option<Value>)],
    got: Option<&Value>,
) -> bool {
    let n = seen.len();
    let values = || seen.iter().filter_map(|(_, v)| v.clone());
    let mut timed: Vec<(i64, Value)> = seen.iter().filter_map(|(t, v)| Some((*t, v.clone()?))).collect();
    timed.sort_by(|a, b| a.0.cmp(&b.0).then(compare(&a.1, &b.1)));
    let mut sorted: Vec<Value> = values().collect();
    sorted.sort_by(compare);
    let same = |expected: Option<&Value>| expected == got;
    match function {
        Function::Count => same(Some(&Value::Int64(n as i64))),
        Function::MinTimestamp => same(seen.iter().map(|e| e.0).min().map(Value::Timestamp).as_ref()),
        Function::MaxTimestamp => same(seen.iter().map(|e| e.0).max().map(Value::Timestamp).as_ref()),
        Function::Min => same(sorted.first()),
        Function::Max => same(sorted.last()),
        Function::First => same(timed.first().map(|e| &e.1)),
        Function::Last => same(timed.last().map(|e| &e.1)),
        Function::LastK { k } => {
            let list: Vec<_> = timed.into_iter().rev().take(*k as usize).map(|e| e.1).collect();
            same((!list.is_empty()).then_some(Value::List(list)).as_ref())
        }
        Function::TopK { k } => {
            let list: Vec<_> = sorted.into_iter().rev().take(*k as usize).collect();
            same((!list.is_empty()).then_some(Value::List(list)).as_ref())
        }
        Function::CountDistinct => {
            let distinct = values().map(|v| format!("{v:?}")).collect::<HashSet<_>>().len() as i64;
            match got {
                Some(Value::Int64(x)) if distinct <= 256 => *x == distinct,
                Some(Value::Int64(x)) => (x - distinct).abs() * 10 < distinct,
                _ => false,
            }
        }
        Function::Percentile { q } => match (got, n) {
            (None, 0) => true,
            (Some(Value::Double(x)), 1..) => {
                let at = approximate(&sorted[(q * (n - 1) as f64 + 0.5) as usize], input);
                (x - at).abs() <= 0.01 * at.abs() * (1.0 + 1e-9) + 2.3e-308
            }
            _ => false,
        },
        Function::Sum | Function::Avg if n == 0 => got.is_none(),
        Function::Sum => match output {
            ValueType::Int64 => {
                let sum: i128 = values().map(|v| if let Value::Int64(x) = v { i128::from(x) } else { 0 }).sum();
                same(i64::try_from(sum).ok().map(Value::Int64).as_ref())
            }
            ValueType::Decimal { .. } => {
                let sum: i128 = values().map(|v| if let Value::Decimal(x) = v { x } else { 0 }).sum();
                same((sum.abs() < 10_i128.pow(28)).then_some(Value::Decimal(sum)).as_ref())
            }
            _ => nearest(got, &values().map(|v| scaled(&v)).sum(), &unit(input)),
        },
        Function::Avg => nearest(got, &values().map(|v| scaled(&v)).sum(), &(unit(input) * n)),
        Function::Variance | Function::StdDev if n < 2 => got.is_none(),
        Function::Variance | Function::StdDev => {
            // Σ(n·x − Σx)² / (n²·(n − 1)): the textbook's form, not the engine's.
            let sum: BigInt = values().map(|v| scaled(&v)).sum();
            let squares: BigInt = values().map(|v| (scaled(&v) * n - &sum).pow(2)).sum();
            let denominator = unit(input).pow(2) * n * n * (n - 1);
            if *function == Function::Variance {
                return nearest(got, &squares, &denominator);
            }
            match got {
                None => overflows(&squares, &denominator),
                Some(Value::Double(root)) => {
                    let square = exact(*root).pow(2);
                    let error = (&square * &denominator - &squares * one().pow(2)).magnitude().clone();
                    // A root of a correctly rounded variance is within 2^-51 of itself, and its square within 2^-50;
                    // where variances are subnormal, within their last bit.
                    let bound = (square * &denominator).magnitude() >> 50_u32;
                    error <= bound || *root < 1e-150
                }
                Some(_) => false,
            }
        }
    }
}

/// 2^1074, in units of which every finite double is an integer.
fn one() -> BigInt {
    BigInt::from(1) << 1074_u32
}

/// A finite double in units of 2^-1074.
fn exact(x: f64) -> BigInt {
    let bits = x.abs().to_bits();
    let (exponent, fraction) = (bits >> 52, bits & ((1 << 52) - 1));
    let size = if exponent == 0 { BigInt::from(fraction) } else { BigInt::from(fraction | 1 << 52) << (exponent - 1) };
    if x < 0.0 { -size } else { size }
}

/// A number as an integer, in units of one over [`unit`].
fn scaled(value: &Value) -> BigInt {
    match value {
        Value::Int64(x) => BigInt::from(*x),
        Value::Decimal(x) => BigInt::from(*x),
        Value::Double(x) => exact(*x),
        _ => panic!("not a number"),
    }
}

fn unit(input: Option<&ValueType>) -> BigInt {
    match input {
        Some(ValueType::Double) => one(),
        Some(ValueType::Decimal { scale, .. }) => BigInt::from(10).pow((*scale).into()),
        _ => BigInt::from(1),
    }
}

fn approximate(value: &Value, input: Option<&ValueType>) -> f64 {
    match (value, input) {
        (Value::Int64(x), _) => *x as f64,
        (Value::Double(x), _) => *x,
        (Value::Decimal(x), Some(ValueType::Decimal { scale, .. })) => *x as f64 / 10_f64.powi((*scale).into()),
        _ => panic!("not a number"),
    }
}

/// Whether a ratio rounds to infinity: at or beyond the middle between the largest double and the next power of two.
fn overflows(numerator: &BigInt, denominator: &BigInt) -> bool {
    let limit: BigInt = (exact(f64::MAX) * 2 + (BigInt::from(1) << (971_u32 + 1074))) * denominator;
    numerator.magnitude() * one().magnitude() * 2_u32 >= *limit.magnitude()
}

/// Whether `got` is the double nearest to a ratio: no neighbour is nearer, and of two as near it is the even one.
fn nearest(got: Option<&Value>, numerator: &BigInt, denominator: &BigInt) -> bool {
    let Some(got) = got else { return overflows(numerator, denominator) };
    let Value::Double(x) = got else { return false };
    if overflows(numerator, denominator) {
        return false;
    }
    let distance = |y: f64| (exact(y) * denominator - numerator * one()).magnitude().clone();
    let mine = distance(*x);
    let neighbours = [x.next_up(), x.next_down()];
    neighbours.into_iter().filter(|y| y.is_finite()).all(|y| {
        let theirs = distance(y);
        mine < theirs || (mine == theirs && x.to_bits() & 1 == 0)
    })
}

fn compare(a: &Value, b: &Value) -> std::cmp::Ordering {
    match (a, b) {
        (Value::Boolean(a), Value::Boolean(b)) => a.cmp(b),
        (Value::Int64(a), Value::Int64(b)) | (Value::Timestamp(a), Value::Timestamp(b)) => a.cmp(b),
        (Value::Double(a), Value::Double(b)) => a.partial_cmp(b).unwrap(),
        (Value::Decimal(a), Value::Decimal(b)) => a.cmp(b),
        (Value::String(a), Value::String(b)) => a.as_bytes().cmp(b.as_bytes()),
        _ => panic!("values of two types"),
    }
}

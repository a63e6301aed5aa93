//! Events as plain values, and strategies that make awkward ones.

use engine::aggregate::ValueRef;
use engine::lane::Events;
use engine::value::Value;
use proptest::prelude::*;

pub const S: i64 = 1_000;
pub const M: i64 = 60 * S;
pub const H: i64 = 60 * M;
pub const D: i64 = 24 * H;

/// One event: its time, which conditions it meets, and its inputs in the order of [`crate::plans::INPUTS`].
#[derive(Clone, Debug)]
pub struct Event {
    pub time: i64,
    pub conditions: Vec<bool>,
    pub values: Vec<Option<Value>>,
}

#[derive(Debug)]
pub struct Batch<'a>(pub &'a [Event]);

impl Events for Batch<'_> {
    fn time(&self, row: usize) -> i64 {
        self.0[row].time
    }

    fn condition(&self, condition: usize, row: usize) -> bool {
        self.0[row].conditions[condition]
    }

    fn value(&self, input: usize, row: usize) -> Option<ValueRef<'_>> {
        Some(match self.0[row].values[input].as_ref()? {
            Value::Boolean(x) => ValueRef::Boolean(*x),
            Value::Int64(x) => ValueRef::Int64(*x),
            Value::Double(x) => ValueRef::Double(*x),
            Value::Decimal(x) => ValueRef::Decimal(*x),
            Value::String(x) => ValueRef::String(x),
            Value::Timestamp(x) => ValueRef::Timestamp(*x),
            Value::List(_) => return None,
        })
    }
}

/// Times around `origin`: bursts on tile edges, and gaps from milliseconds to weeks.
fn time(origin: i64) -> impl Strategy<Value = i64> {
    prop_oneof![
        3 => (0..50 * D).prop_map(move |t| origin + t),
        3 => (0..3 * H).prop_map(move |t| origin + 49 * D + t),
        2 => (0..90_i64, -1..2_i64).prop_map(move |(k, off)| origin + 49 * D + k * M + off),
        2 => (0..50_i64, -1..2_i64).prop_map(move |(k, off)| origin + k * D + off),
        1 => (0..20 * S).prop_map(move |t| origin + 50 * D + t),
    ]
}

fn double() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (-5_000_i32..50_000).prop_map(|c| f64::from(c) / 100.0),
        2 => prop::sample::select(vec![0.0, -0.0, 1.0, -1.0, 0.1, 0.2, 0.3, 1e16, -1e16, 1e-300, 5e-324, f64::MAX, f64::MIN]),
        1 => any::<f64>(),
    ]
}

fn nullable<T: std::fmt::Debug>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Option<T>> {
    prop::option::weighted(0.85, value)
}

pub fn event(origin: i64) -> impl Strategy<Value = Event> {
    let ints = prop_oneof![4 => -20_i64..100, 1 => any::<i64>()];
    let decimals = prop_oneof![4 => -10_000_i128..1_000_000, 1 => -(10_i128.pow(20))..10_i128.pow(20)];
    let texts = prop_oneof![4 => "[a-d]", 1 => "\\PC{0,12}"];
    (
        time(origin),
        any::<[bool; 2]>(),
        nullable(any::<bool>()),
        nullable(ints),
        nullable(double()),
        nullable(decimals),
        nullable(texts),
        nullable(-5_i64..5),
    )
        .prop_map(|(time, conditions, boolean, int, double, decimal, text, timestamp)| Event {
            time,
            conditions: conditions.to_vec(),
            values: vec![
                boolean.map(Value::Boolean),
                int.map(Value::Int64),
                double.map(Value::Double),
                decimal.map(Value::Decimal),
                text.map(Value::String),
                timestamp.map(Value::Timestamp),
            ],
        })
}

/// Up to `most` events, at an origin before or after the epoch, with some repeated.
pub fn events(most: usize) -> impl Strategy<Value = Vec<Event>> {
    prop::sample::select(vec![-20 * D - 7, 0, 20_000 * D + 12_345])
        .prop_flat_map(move |origin| prop::collection::vec(event(origin), 1..most))
        .prop_map(|mut events| {
            if let Some(first) = events.first().cloned().filter(|_| events.len() > 3) {
                events.push(first);
            }
            events
        })
}

//! Plans made by hand, as the resolver would make them: every function over every type it takes.

use engine::plan::{
    Aggregate, Feature, FeatureSource, Function, Input, Mode, Plan, SEMANTICS, Source, TimePolicy, TimestampField,
    TimestampUnit, ViewIdentity, Window,
};
use engine::time::{build_ladder, default_hop, horizon_rung, tumbling_hop};
use engine::value::ValueType;
use proptest::prelude::*;

use crate::events::{D, H, M, S};

pub const DECIMAL: ValueType = ValueType::Decimal { precision: 20, scale: 2 };

/// The inputs of every plan here, by position.
pub const INPUTS: [(&str, ValueType); 6] = [
    ("boolean", ValueType::Boolean),
    ("int", ValueType::Int64),
    ("double", ValueType::Double),
    ("decimal", DECIMAL),
    ("text", ValueType::String),
    ("moment", ValueType::Timestamp),
];

#[derive(Clone, Debug)]
pub struct Spec {
    pub function: Function,
    pub input: Option<usize>,
    pub condition: Option<usize>,
    pub windows: Vec<Window>,
}

pub fn sliding(length_ms: i64, hop_ms: Option<i64>) -> Window {
    Window::Sliding { length_ms, hop_ms: hop_ms.or(default_hop(length_ms)).unwrap() }
}

pub fn tumbling(length_ms: i64) -> Window {
    Window::Tumbling { length_ms, hop_ms: tumbling_hop(length_ms).unwrap() }
}

fn hop(window: &Window) -> Option<i64> {
    match window {
        Window::Sliding { hop_ms, .. } | Window::Tumbling { hop_ms, .. } => Some(*hop_ms),
        Window::Lifetime => None,
    }
}

fn output(function: &Function, input: Option<usize>) -> ValueType {
    let input = input.map_or(ValueType::Int64, |k| INPUTS[k].1.clone());
    match function {
        Function::Count | Function::CountDistinct => ValueType::Int64,
        Function::Sum => match input {
            ValueType::Decimal { scale, .. } => ValueType::Decimal { precision: 28, scale },
            other => other,
        },
        Function::Avg | Function::StdDev | Function::Variance | Function::Percentile { .. } => ValueType::Double,
        Function::Min | Function::Max | Function::First | Function::Last => input,
        Function::LastK { .. } | Function::TopK { .. } => ValueType::List(Box::new(input)),
        Function::MinTimestamp | Function::MaxTimestamp => ValueType::Timestamp,
    }
}

/// A Kappa's plan of these aggregates; a feature for each of their windows, in order.
pub fn plan(specs: &[Spec], lateness: i64, future: i64) -> Plan {
    plan_of(specs, lateness, future, None)
}

/// As [`plan`]; a Lambda's if there is an age up to which its horizon may grow.
fn plan_of(specs: &[Spec], lateness: i64, future: i64, horizon_max_age: Option<i64>) -> Plan {
    let finest = specs.iter().flat_map(|s| s.windows.iter().filter_map(hop)).min().unwrap_or(M);
    let time =
        TimePolicy { allowed_lateness_ms: lateness, max_future_ms: future, retention_ms: None, finest_tile_ms: finest };
    let hops = specs.iter().flat_map(|s| s.windows.iter().filter_map(hop));
    let horizon = horizon_max_age.map(|max_age| horizon_rung(hops, &time, max_age));
    let mut aggregates = Vec::new();
    let mut features = Vec::new();
    for spec in specs {
        for window in &spec.windows {
            features.push(Feature {
                name: format!("f{}", features.len()),
                value_type: output(&spec.function, spec.input),
                source: FeatureSource::Window { aggregate: aggregates.len(), window: *window },
            });
        }
        aggregates.push(Aggregate {
            function: spec.function,
            input: spec.input,
            condition: spec.condition,
            ladder: build_ladder(&spec.windows, &time, horizon),
        });
    }
    Plan {
        semantics: SEMANTICS,
        view: ViewIdentity { uid: "uid".into(), namespace: "ns".into(), name: "view".into() },
        revision: "0123456789".into(),
        mode: if horizon.is_some() { Mode::Lambda } else { Mode::Kappa },
        source: Source {
            stream: None,
            table: None,
            timestamp: TimestampField { field: "time".into(), unit: TimestampUnit::Milliseconds },
            columns: Vec::new(),
        },
        entity: vec!["user".into()],
        time,
        conditions: vec!["c0".into(), "c1".into()],
        inputs: INPUTS.map(|(sql, value_type)| Input { sql: sql.into(), value_type }).to_vec(),
        aggregates,
        features,
    }
}

/// Windows of all types, with the usual hops and others.
pub fn any_window() -> impl Strategy<Value = Window> {
    prop_oneof![
        prop::sample::select(vec![
            sliding(30 * S, Some(S)),
            sliding(M, None),
            sliding(10 * M, None),
            sliding(H, None),
            sliding(H, Some(5 * M)),
            sliding(D, None),
            sliding(7 * D, None),
            sliding(30 * D, None),
        ]),
        prop::sample::select(vec![tumbling(M), tumbling(90 * M), tumbling(D), tumbling(7 * D)]),
        Just(Window::Lifetime),
    ]
}

fn spec() -> impl Strategy<Value = Spec> {
    let anything = 0_usize..6;
    let numeric = 1_usize..4;
    let typed = prop_oneof![
        prop::sample::select(vec![Function::Count, Function::MinTimestamp, Function::MaxTimestamp])
            .prop_flat_map(|f| prop::option::of(0_usize..6).prop_map(move |k| (f, k))),
        (
            prop_oneof![
                prop::sample::select(vec![Function::Sum, Function::Avg, Function::StdDev, Function::Variance]),
                prop::sample::select(vec![0.0, 0.25, 0.5, 0.9, 0.99, 1.0]).prop_map(|q| Function::Percentile { q }),
            ],
            numeric
        )
            .prop_map(|(f, k)| (f, Some(k))),
        (
            prop_oneof![
                prop::sample::select(vec![
                    Function::Min,
                    Function::Max,
                    Function::First,
                    Function::Last,
                    Function::CountDistinct
                ]),
                (1_u32..6).prop_map(|k| Function::LastK { k }),
                (1_u32..6).prop_map(|k| Function::TopK { k }),
            ],
            anything
        )
            .prop_map(|(f, k)| (f, Some(k))),
    ];
    (typed, prop::option::of(0_usize..2), prop::collection::vec(any_window(), 1..5))
        .prop_map(|((function, input), condition, windows)| Spec { function, input, condition, windows })
}

/// Plans of up to `most` aggregates.
pub fn any_plan(most: usize) -> impl Strategy<Value = Plan> {
    let lateness = prop::sample::select(vec![0, 10 * M, 4 * H, 3 * D]);
    let future = prop::sample::select(vec![0, 5 * M]);
    (prop::collection::vec(spec(), 1..most), lateness, future)
        .prop_map(|(specs, lateness, future)| plan(&specs, lateness, future))
}

/// Plans of a Lambda of up to `most` aggregates, and how old their horizon may become.
pub fn any_lambda(most: usize) -> impl Strategy<Value = (Plan, i64)> {
    let lateness = prop::sample::select(vec![0, 10 * M, 4 * H, 3 * D]);
    let future = prop::sample::select(vec![0, 5 * M]);
    let max_age = prop::sample::select(vec![10 * M, 6 * H, 2 * D, 7 * D]);
    (prop::collection::vec(spec(), 1..most), lateness, future, max_age)
        .prop_map(|(specs, lateness, future, age)| (plan_of(&specs, lateness, future, Some(age)), age))
}

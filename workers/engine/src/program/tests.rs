#![allow(clippy::panic, clippy::unwrap_used)]
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};
use arrow::record_batch::RecordBatch;
use serde_json::json;

use super::*;
use crate::value::Value;

/// A small plan, written as the JSON a worker is handed.
fn plan() -> Plan {
    let aggregate = json!({"function": {"name": "Count"}, "input": null, "condition": 0,
        "ladder": {"rungs": [{"tileMs": 1000, "keepMs": 9000}], "forever": false}});
    let windowed = |name: &str| {
        json!({"name": name, "type": "Int64", "source": {"kind": "Window", "aggregate": 0,
        "window": {"type": "Sliding", "lengthMs": 60000, "hopMs": 1000}}})
    };
    serde_json::from_value(json!({
        "semantics": SEMANTICS,
        "view": {"uid": "u", "namespace": "n", "name": "v"},
        "revision": "r",
        "mode": "Kappa",
        "source": {"timestamp": {"field": "ts", "unit": "Milliseconds"}, "columns": [
            {"name": "user", "type": "String"}, {"name": "shop", "type": "Int64"}, {"name": "price", "type": "Double"}]},
        "entity": ["user", "shop"],
        "time": {"allowedLatenessMs": 0, "maxFutureMs": 0, "retentionMs": null, "finestTileMs": 1000},
        "conditions": ["price > 1"],
        "inputs": [{"sql": "price / (shop - 1)", "type": "Double"}],
        "aggregates": [aggregate],
        "features": [
            {"name": "twice", "type": "Double", "source": {"kind": "Expression", "sql": "ratio * 2", "reads": [1]}},
            {"name": "ratio", "type": "Double", "source": {"kind": "Expression", "sql": "a / nullif(b, 0)", "reads": [2, 3]}},
            windowed("a"), windowed("b"),
            {"name": "rest", "type": "Int64", "source": {"kind": "Expression", "sql": "a % b", "reads": [2, 3]}},
        ],
    }))
    .unwrap()
}

fn events() -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([
        ("user", Arc::new(StringArray::from(vec!["a|b", "x", "y"])) as ArrayRef, true),
        ("shop", Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef, true),
        ("price", Arc::new(Float64Array::from(vec![Some(1.0), Some(4.0), None])) as ArrayRef, true),
    ])
    .unwrap()
}

#[test]
fn a_batch_evaluates_to_entities_conditions_and_inputs() {
    let program = Program::new(Arc::new(plan())).unwrap();
    let evaluated = program.evaluate(&events(), vec![10, 20, 30]);
    assert_eq!((0..3).map(|i| evaluated.entity(i)).collect::<Vec<_>>(), ["a%7Cb|1", "x|2", "y|3"]);
    assert_eq!((0..3).map(|i| evaluated.condition(0, i)).collect::<Vec<_>>(), [false, true, false]);
    let InputColumn::Double(input) = evaluated.input(0) else { panic!("a double") };
    assert_eq!(input.iter().collect::<Vec<_>>(), [None, Some(4.0), None], "division by zero is NULL");
    assert_eq!(evaluated.time(2), 30);
    assert!(evaluated.failures().is_empty());
}

#[test]
fn derived_features_come_in_the_order_they_read_each_other() {
    let program = Program::new(Arc::new(plan())).unwrap();
    assert_eq!(program.base_features(&[0]), [2, 3]);
    assert_eq!(program.base_features(&[2]), [2]);
    let count = |n: i64| Some(Value::Int64(n));
    let mut features =
        FeatureColumns { columns: vec![None, None, Some(vec![count(1), count(3)]), Some(vec![count(2), count(0)])] };
    program.derive(&[0, 4], 2, &mut features).unwrap();
    assert_eq!(features.columns[0], Some(vec![Some(Value::Double(1.0)), None]));
    assert_eq!(features.columns[4], Some(vec![count(1), None]), "a remainder by zero is NULL for that entity alone");
}

#[test]
fn a_plan_of_another_engine_or_out_of_joint_is_refused() {
    let refused = |change: fn(&mut Plan)| {
        let mut plan = plan();
        change(&mut plan);
        Program::new(Arc::new(plan)).unwrap_err().to_string()
    };
    assert!(refused(|p| p.semantics += 1).contains("semantics"));
    assert!(refused(|p| p.entity.push("nosuch".into())).contains("nosuch"));
    assert!(refused(|p| p.conditions[0] = "nosuch > 1".into()).contains("condition 0"));
    assert!(refused(|p| p.aggregates[0].input = Some(9)).contains("aggregate 0"));
    assert!(refused(|p| p.aggregates[0].ladder.rungs.clear()).contains("ladder"));
    assert!(
        refused(
            |p| p.features[1].source = crate::plan::FeatureSource::Expression { sql: "twice".into(), reads: vec![0] }
        )
        .contains("reads itself")
    );
}

#[test]
fn events_of_many_batches_are_gathered_with_all_they_have() {
    let program = Program::new(Arc::new(plan())).unwrap();
    let batches =
        [program.evaluate(&events(), vec![10, 20, 30]), program.evaluate_without_entities(&events(), vec![11, 21, 31])];
    assert!(batches[0].memory() > batches[0].clone().without_entities().memory());
    let rows = [(1, 2), (0, 1), (1, 0), (0, 0), (1, 1)];
    let gathered = Evaluated::gather(&batches, &rows);
    assert_eq!(gathered.times(), [31, 20, 11, 10, 21]);
    let InputColumn::Double(input) = gathered.input(0) else { panic!("a double") };
    assert_eq!(input.iter().collect::<Vec<_>>(), [None, Some(4.0), None, None, Some(4.0)]);
    assert_eq!((0..5).map(|i| gathered.condition(0, i)).collect::<Vec<_>>(), [false, true, false, false, true]);
    assert!(Evaluated::gather(&[], &[]).is_empty());
}

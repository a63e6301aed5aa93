#![allow(clippy::unwrap_used)]
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, StringArray};
use arrow::datatypes::{Field, Float64Type, Int64Type};
use arrow::record_batch::RecordBatch;

use super::*;

fn batch() -> RecordBatch {
    RecordBatch::try_from_iter([
        ("eventType", Arc::new(StringArray::from(vec![Some("click"), Some("cart"), None])) as ArrayRef),
        ("a", Arc::new(Int64Array::from(vec![Some(1), Some(7), None])) as ArrayRef),
        ("b", Arc::new(Int64Array::from(vec![2, 0, 3])) as ArrayRef),
        ("price", Arc::new(Float64Array::from(vec![1.5, 2.5, 0.0])) as ArrayRef),
    ])
    .unwrap()
}

fn run(sql: &str) -> (ArrayRef, Vec<Failure>) {
    let mut failures = Vec::new();
    let compiled = compile(sql, batch().schema().as_ref()).unwrap();
    (compiled.evaluate(&batch(), &mut failures), failures)
}

fn refused(sql: &str) -> String {
    compile(sql, batch().schema().as_ref()).unwrap_err().to_string()
}

#[test]
fn identifiers_keep_their_case_and_functions_do_not() {
    let (array, failures) = run("UPPER(eventType) = 'CLICK'");
    assert_eq!(array.as_boolean().iter().collect::<Vec<_>>(), [Some(true), Some(false), None]);
    assert!(failures.is_empty());
}

#[test]
fn the_ratio_of_two_counts_is_a_ratio() {
    let (array, _) = run("a / nullif(b, 0)");
    assert_eq!(array.as_primitive::<Float64Type>().iter().collect::<Vec<_>>(), [Some(0.5), None, None]);
}

#[test]
fn division_by_zero_is_null_not_infinity() {
    let (array, failures) = run("price / b");
    assert_eq!(array.as_primitive::<Float64Type>().iter().collect::<Vec<_>>(), [Some(0.75), None, Some(0.0)]);
    assert!(failures.is_empty());
}

#[test]
fn one_failing_row_costs_that_row_alone() {
    let (array, failures) = run("a % b");
    assert_eq!(array.as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), [Some(1), None, None]);
    assert_eq!(failures.iter().map(|f| f.row).collect::<Vec<_>>(), [1]);
    let (_, failures) = run("cast(eventType as bigint)");
    assert_eq!(failures.iter().map(|f| f.row).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn constants_and_arithmetic_have_value_types() {
    assert_eq!(run("1").0.len(), 3);
    let of = |sql: &str| compile(sql, batch().schema().as_ref()).unwrap().value_type;
    assert_eq!(of("a * 10 + b"), ValueType::Int64);
    assert_eq!(of("a * 0.5"), ValueType::Double);
    assert_eq!(of("eventType || 'x'"), ValueType::String);
    assert_eq!(of("a > 1 and price < 2"), ValueType::Boolean);
    assert_eq!(of("case when a > 1 then 'x' else 'y' end"), ValueType::String);
    assert_eq!(of("cast(price as decimal(10, 2))"), ValueType::Decimal { precision: 10, scale: 2 });
}

#[test]
fn reads_are_the_columns_named() {
    let compiled = compile("a + coalesce(b, 0)", batch().schema().as_ref()).unwrap();
    assert_eq!(compiled.reads.iter().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(names("x / nullif(y, 0)").unwrap().iter().collect::<Vec<_>>(), ["x", "y"]);
}

#[test]
fn refusals_name_what_is_wrong() {
    assert!(refused("nosuch = 1").contains("nosuch"), "{}", refused("nosuch = 1"));
    assert!(refused("eventType +").contains("not a SQL expression"));
    assert!(refused("a b").contains("unexpected \"b\""), "{}", refused("a b"));
    assert!(refused("random() > 0.5").contains("random()"));
    assert!(refused("now() > to_timestamp(a)").contains("now()"), "{}", refused("now() > to_timestamp(a)"));
    assert!(refused("eventType - a").contains("eventType - a"));
    assert!(refused("sum(a)").contains("sum"), "{}", refused("sum(a)"));
    assert!(refused("nosuchfunction(a)").contains("nosuchfunction"));
    assert!(refused("(select 1)").len() > 5);
    assert!(refused("a in (select b from t)").contains('t'));
    assert!(refused("null").contains("cast it"), "{}", refused("null"));
    let deep = format!("{}a{}", "(".repeat(400), ")".repeat(400));
    assert!(refused(&deep).contains("recursion"), "{}", refused(&deep));
}

#[test]
fn a_schema_without_columns_still_compiles_constants() {
    let empty = Schema::new(Vec::<Field>::new());
    assert_eq!(compile("1 + 1", &empty).unwrap().value_type, ValueType::Int64);
}

#[test]
fn an_integer_that_overflows_is_a_failure_and_not_another_number() {
    let batch =
        RecordBatch::try_from_iter([("a", Arc::new(Int64Array::from(vec![i64::MAX, i64::MIN, 3])) as ArrayRef)])
            .unwrap();
    let mut wrong = Vec::new();
    for sql in ["a + 1", "a - 1", "a * 2", "-a", "abs(a)"] {
        let mut failures = Vec::new();
        let values = compile(sql, batch.schema().as_ref()).unwrap().evaluate(&batch, &mut failures);
        let values: Vec<_> = values.as_primitive::<Int64Type>().iter().collect();
        let exact = |a: i128| match sql {
            "a + 1" => a + 1,
            "a - 1" => a - 1,
            "a * 2" => a * 2,
            "-a" => -a,
            _ => a.abs(),
        };
        for (row, a) in [i64::MAX, i64::MIN, 3].into_iter().enumerate() {
            let expected = i64::try_from(exact(a.into())).ok();
            if values[row] != expected || failures.iter().any(|f| f.row == row) == expected.is_some() {
                wrong.push(format!("{sql} of {a} is {:?}, not {expected:?}", values[row]));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

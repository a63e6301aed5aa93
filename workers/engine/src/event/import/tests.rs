#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int16Array, Int64Array,
    LargeStringArray, RecordBatch, StringArray, StringViewArray, TimestampMicrosecondArray, TimestampNanosecondArray,
    UInt64Array,
};
use arrow::datatypes::{DataType, Decimal128Type, Field, Float64Type, Int64Type, Schema, TimestampMillisecondType};

use super::{Admission, ImportError, Imported, Importer};
use crate::event::{Decoder, Reason};
use crate::plan::{Plan, TimestampUnit};
use crate::value::ValueType;

const DECIMAL: ValueType = ValueType::Decimal { precision: 6, scale: 2 };

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let fields = columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    RecordBatch::try_new(schema, columns.into_iter().map(|(_, array)| array).collect()).unwrap()
}

fn plan(columns: &[(&str, ValueType)], unit: TimestampUnit) -> Plan {
    super::super::tests::plan(columns, &["k"], unit)
}

fn import(plan: &Plan, batch: &RecordBatch, admission: Admission) -> Imported {
    let needed: Vec<usize> = (0..plan.source.columns.len()).collect();
    Importer::new(plan, &batch.schema(), &needed).unwrap().import(batch, admission).unwrap()
}

#[test]
fn types_that_hold_the_declared_one_are_taken_exactly() {
    let columns = [
        ("k", ValueType::String),
        ("i", ValueType::Int64),
        ("d", ValueType::Double),
        ("m", DECIMAL),
        ("t", ValueType::Timestamp),
    ];
    let batch = batch(vec![
        ("m", Arc::new(Decimal128Array::from(vec![12_500, 1]).with_precision_and_scale(10, 3).unwrap())),
        ("t", Arc::new(TimestampNanosecondArray::from(vec![-1, 1_999_999]).with_timezone("+02:00"))),
        ("k", Arc::new(StringViewArray::from(vec!["a", "b"]))),
        ("i", Arc::new(Int16Array::from(vec![Some(-3), None]))),
        ("d", Arc::new(Float32Array::from(vec![0.5, f32::NAN]))),
        ("ts", Arc::new(TimestampMicrosecondArray::from(vec![1_999, -1]))),
    ]);
    let imported = import(&plan(&columns, TimestampUnit::Seconds), &batch, Admission::ALL);
    assert_eq!(imported.rejected, BTreeMap::from([(Reason::WrongType, 1)]), "0.001 has too many digits for scale 2");
    let columns = imported.columns;
    assert_eq!(columns.times(), [1]);
    assert_eq!(columns.column(0).as_string::<i32>().value(0), "a");
    assert_eq!(columns.column(1).as_primitive::<Int64Type>().value(0), -3);
    assert!((columns.column(2).as_primitive::<Float64Type>().value(0) - 0.5).abs() < f64::EPSILON);
    assert_eq!(columns.column(3).as_primitive::<Decimal128Type>().value(0), 1_250);
    assert_eq!(columns.column(4).as_primitive::<TimestampMillisecondType>().value(0), -1);
}

#[test]
fn rows_are_refused_by_reason_and_the_rest_taken() {
    let batch = batch(vec![
        ("k", Arc::new(StringArray::from(vec![None, Some("a"), Some("b"), Some("c"), Some("d"), Some("e")]))),
        ("i", Arc::new(UInt64Array::from(vec![1, 2, u64::MAX, 4, 5, 6]))),
        ("ts", Arc::new(Int64Array::from(vec![Some(1), None, Some(3), Some(4), Some(99), Some(7)]))),
    ]);
    let plan = plan(&[("k", ValueType::String), ("i", ValueType::Int64)], TimestampUnit::Milliseconds);
    let imported = import(&plan, &batch, Admission { from: 0, until: 5, latest: 50 });
    let expected = [(Reason::NullField, 2), (Reason::WrongType, 1), (Reason::TooFarInFuture, 1)];
    assert_eq!(imported.rejected, BTreeMap::from(expected));
    assert_eq!((imported.columns.times(), imported.beyond, imported.newest), (&[4][..], 1, Some(7)));
    assert_eq!(imported.columns.column(0).as_string::<i32>().value(0), "c");
}

#[test]
fn doubles_that_are_not_finite_are_null_and_cost_no_row() {
    let batch = batch(vec![
        ("k", Arc::new(LargeStringArray::from(vec!["a", "b"]))),
        ("d", Arc::new(Float64Array::from(vec![f64::NAN, f64::INFINITY]))),
        ("ts", Arc::new(Date32Array::from(vec![1, 2]))),
    ]);
    let plan = plan(&[("k", ValueType::String), ("d", ValueType::Double)], TimestampUnit::Milliseconds);
    let imported = import(&plan, &batch, Admission::ALL);
    assert_eq!(imported.columns.times(), [86_400_000, 172_800_000]);
    assert_eq!((imported.columns.column(1).null_count(), imported.rejected.len()), (2, 0));
}

#[test]
fn event_times_read_as_the_json_decoder_reads_them() {
    let seconds = [0.0, 1.001, -0.0005, 1_700_000_000.123, 1e15, 3.000_999];
    for unit in [TimestampUnit::Seconds, TimestampUnit::Milliseconds, TimestampUnit::Microseconds] {
        let plan = plan(&[("k", ValueType::String)], unit);
        for value in seconds {
            let table = batch(vec![
                ("k", Arc::new(StringArray::from(vec!["a"]))),
                ("ts", Arc::new(Float64Array::from(vec![value]))),
            ]);
            let imported = import(&plan, &table, Admission::ALL);
            let mut decoder = Decoder::new(&plan);
            // The record's time is the event's, so that the rule on it never refuses.
            let time = imported.columns.times().first().copied().unwrap_or_default();
            let json = decoder.push(Some(format!(r#"{{"k":"a","ts":{value}}}"#).as_bytes()), time);
            assert_eq!(json.is_ok(), imported.rejected.is_empty(), "{value} {unit:?}");
            assert_eq!(decoder.take().times(), imported.columns.times(), "{value} {unit:?}");
        }
    }
}

#[test]
fn texts_read_as_the_json_decoder_reads_them() {
    let texts = ["1.50", "-0.01", "99999.999", "x", "", "1e2", "2024-02-29T12:00:00.5+01:00", "2023-02-29T00:00:00Z"];
    for value_type in [DECIMAL, ValueType::Timestamp, ValueType::String] {
        let plan = plan(&[("k", ValueType::String), ("v", value_type.clone())], TimestampUnit::Milliseconds);
        for text in texts {
            let table = batch(vec![
                ("k", Arc::new(StringArray::from(vec!["a"]))),
                ("v", Arc::new(StringViewArray::from(vec![text]))),
                ("ts", Arc::new(Int64Array::from(vec![5]))),
            ]);
            let imported = import(&plan, &table, Admission::ALL);
            let mut decoder = Decoder::new(&plan);
            let json = decoder.push(Some(format!(r#"{{"k":"a","ts":5,"v":"{text}"}}"#).as_bytes()), 5);
            assert_eq!(json.is_ok(), imported.rejected.is_empty(), "{text:?} {value_type:?}");
            assert_eq!(decoder.take().column(1), imported.columns.column(1), "{text:?} {value_type:?}");
        }
    }
}

#[test]
fn a_table_that_can_never_fit_is_refused_by_its_column() {
    let plan = plan(&[("k", ValueType::String), ("i", ValueType::Int64)], TimestampUnit::Rfc3339);
    let field = |name: &str, data_type: DataType| Field::new(name, data_type, true);
    let refuse = |fields: Vec<Field>| Importer::new(&plan, &Schema::new(fields), &[0, 1]).unwrap_err();
    let good = || vec![field("k", DataType::Utf8), field("i", DataType::Int32), field("ts", DataType::Utf8)];
    assert!(Importer::new(&plan, &Schema::new(good()), &[0, 1]).is_ok());
    for (at, data_type) in [(0, DataType::Int64), (1, DataType::Float64), (2, DataType::Int64)] {
        let mut fields = good();
        fields[at] = field(fields[at].name(), data_type);
        let name = fields[at].name().clone();
        assert!(matches!(refuse(fields), ImportError::Type { column, .. } if column == name));
    }
    assert!(matches!(refuse(good()[..2].to_vec()), ImportError::Missing { column, .. } if column == "ts"));
}

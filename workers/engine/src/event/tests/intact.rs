//! Batches: rows in order, rejects that leave no trace, fields that come and go.

use super::*;

/// The users, kinds and prices of a batch, and its times.
fn rows(columns: &Columns) -> Vec<([Option<Value>; 3], i64)> {
    let row = |row| ([0, 1, 2].map(|column| value(columns, column, row)), columns.times()[row]);
    (0..columns.len()).map(row).collect()
}

/// The ten sorts of malformed events, one between any two good ones.
#[test]
fn rejects_leave_the_columns_as_they_were() {
    let huge = format!(r#"{{"user":"u","ts":{NOW},"kind":"{}"}}"#, "x".repeat(DEFAULT_MAX));
    let deep = format!(r#"{{"user":"u","ts":{NOW},"x":{}{}}}"#, "[".repeat(500), "]".repeat(500));
    let malformed: Vec<(Vec<u8>, Reason)> = vec![
        (b"click by u".to_vec(), Reason::InvalidJson),
        (format!(r#"{{"kind":"click","price":1,"ts":{NOW}}}"#).into(), Reason::MissingField),
        (format!(r#"{{"user":"u","kind":"esc\naped","price":"1","ts":{NOW}}}"#).into(), Reason::WrongType),
        (format!(r#"{{"user":null,"kind":"click","ts":{NOW}}}"#).into(), Reason::NullField),
        (format!(r#"{{"user":"u","kind":"click","ts":{}}}"#, NOW + 3_600_000).into(), Reason::TooFarInFuture),
        (format!(r#"{{"user":"u","kind":"click","ts":{}}}"#, NOW - 86_500_000).into(), Reason::TooLate),
        (huge.into(), Reason::TooLarge),
        (deep.into(), Reason::NestedTooDeep),
        (format!(r#"{{"user":"u","kind":"a","kind":"b","ts":{NOW}}}"#).into(), Reason::DuplicateField),
        (b"{\"user\":\"u\",\"kind\":\"\xc3\x28\"}".to_vec(), Reason::InvalidUtf8),
    ];
    let good = |n: i64| format!(r#"{{"user":"u{n}","kind":"{n}\n","price":{n}.5,"ts":{}}}"#, NOW + n);
    let (mut mixed, mut pure) = (Decoder::new(&shop()), Decoder::new(&shop()));
    for round in 0..3 {
        for (n, (payload, reason)) in (round * 10..).zip(&malformed) {
            for decoder in [&mut mixed, &mut pure] {
                decoder.push(Some(good(n).as_bytes()), NOW).unwrap();
            }
            let (length, bytes) = (mixed.len(), mixed.bytes());
            assert_eq!(mixed.push(Some(payload), NOW).unwrap_err().reason, *reason);
            assert_eq!((mixed.len(), mixed.bytes()), (length, bytes));
        }
        let (mixed, pure) = (mixed.take(), pure.take());
        assert_eq!(mixed.len(), 10);
        assert_eq!(mixed.record_batch().unwrap(), pure.record_batch().unwrap());
        assert_eq!(mixed.times(), pure.times());
    }
    assert!(mixed.is_empty() && mixed.bytes() == 0);
}

const DEFAULT_MAX: usize = super::super::DEFAULT_MAX_BYTES;

#[test]
fn fields_come_in_any_order_and_may_be_absent() {
    let mut decoder = Decoder::new(&shop());
    for payload in [
        format!(r#"{{"user":"a","kind":"k","price":1,"ts":{NOW}}}"#),
        format!(r#" {{ "extra" : {{"user":[1,{{}}]}} , "ts" : {NOW} , "price" : 2 , "user" : "b" }} "#),
        format!(r#"{{"user":"c","ts":{NOW}}}"#),
        format!(
            r#"{{"us\u0065r":"d","price":null,"kind":"k","ts":{NOW},"e1":1,"e2":"\"","e3":[[]],"e4":{{"a":{{}}}}}}"#
        ),
        format!(r#"{{"user":"e","kind":"k","price":1,"ts":{NOW}}}"#),
        format!(r#"{{"users":"x","use":"x","":"x","user":"f","ts":{NOW},"kind":"k"}}"#),
    ] {
        decoder.push(Some(payload.as_bytes()), NOW).unwrap();
    }
    let text = |text: &str| Some(Value::String(text.into()));
    let expected = vec![
        ([text("a"), text("k"), Some(Value::Double(1.0))], NOW),
        ([text("b"), None, Some(Value::Double(2.0))], NOW),
        ([text("c"), None, None], NOW),
        ([text("d"), text("k"), None], NOW),
        ([text("e"), text("k"), Some(Value::Double(1.0))], NOW),
        ([text("f"), text("k"), None], NOW),
    ];
    assert_eq!(rows(&decoder.take()), expected);
}

/// More names than are remembered, and longer ones, are read as well.
#[test]
fn events_with_many_fields() {
    let mut decoder = Decoder::new(&shop());
    let field = |n: usize| format!(r#""{}{n}":{n},"#, "f".repeat(n % 200));
    let many = (0..600).map(field).collect::<Vec<_>>().concat();
    for _ in 0..3 {
        decoder.push(Some(format!(r#"{{{many}"user":"u","ts":{NOW}}}"#).as_bytes()), NOW).unwrap();
        let duplicate = format!(r#"{{"user":"u",{many}"user":"u","ts":{NOW}}}"#);
        assert_eq!(decoder.push(Some(duplicate.as_bytes()), NOW).unwrap_err().reason, Reason::DuplicateField);
    }
    assert_eq!(decoder.take().len(), 3);
}

#[test]
fn a_batch_without_columns_has_rows() {
    let columns = decode(&plan(&[], &[], TimestampUnit::Milliseconds), &format!(r#"{{"ts":{NOW}}}"#)).unwrap();
    assert_eq!(columns.record_batch().unwrap().num_rows(), 1);
    assert!(!columns.is_empty() && columns.columns().is_empty());
}

#[test]
fn the_schema_is_that_of_the_plan() {
    let plan = shop();
    let columns = decode(&plan, &format!(r#"{{"user":"u","ts":{NOW}}}"#)).unwrap();
    assert_eq!(*columns.schema(), super::super::schema(&plan.source));
    for (column, declared) in columns.columns().iter().zip(&plan.source.columns) {
        assert_eq!(*column.data_type(), declared.value_type.arrow());
    }
    assert!(Decoder::new(&plan).take().is_empty());
}

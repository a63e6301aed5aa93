#![allow(clippy::unwrap_used)]
use super::*;

fn present(value: Value, event_time: i64) -> Cell {
    Cell { value: Some(value), status: Status::Present, event_time: Some(event_time), overflow: false }
}

fn without_value(status: Status) -> Cell {
    Cell { value: None, status, event_time: None, overflow: false }
}

fn answer<'a>(features: Vec<FeatureColumn<'a>>, entities: &'a [serde_json::Value]) -> Answer<'a> {
    Answer {
        t: 1_640_991_600_000,
        complete_to: Some(1_640_991_599_500),
        degraded: false,
        views: vec![ViewNote {
            name: "drivers",
            revision: "abc",
            incarnation: 2,
            t: 0,
            published: None,
            complete_from: None,
            complete_to: Some(1_640_991_599_500),
            degraded: false,
        }],
        entities: vec![("driver_id", entities)],
        features,
        include_windows: false,
    }
}

/// The response of Feast 0.66's feature server, with our additions taken out of ours.
#[test]
fn the_answer_is_feasts() {
    let entities = [1001.into(), 1002.into()];
    let cells = vec![present(Value::Double(0.7), 1_640_991_600_000), without_value(Status::NotFound)];
    let column =
        FeatureColumn { name: "conv_rate".into(), value_type: &ValueType::Double, cells, slots: &[0, 1], window: None };
    let mut ours: serde_json::Value = serde_json::from_slice(&answer(vec![column], &entities).json()).unwrap();
    let metadata = ours["metadata"].as_object_mut().unwrap();
    let added: Vec<_> =
        ["t", "complete_to", "degraded", "views"].map(|name| metadata.remove(name)).into_iter().collect();
    assert!(added.iter().all(Option::is_some));
    let feasts = serde_json::json!({
        "metadata": {"feature_names": ["driver_id", "conv_rate"]},
        "results": [
            {"values": [1001, 1002], "statuses": ["PRESENT", "PRESENT"],
             "event_timestamps": ["1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"]},
            {"values": [0.7, null], "statuses": ["PRESENT", "NOT_FOUND"],
             "event_timestamps": ["2021-12-31T23:00:00Z", "1970-01-01T00:00:00Z"]}]
    });
    assert_eq!(ours, feasts);
}

#[test]
fn the_whole_answer_reads_so() {
    let entities = ["u\"1".into(), "u2".into(), "u\"1".into()];
    let cells = vec![present(Value::Int64(3), 1_500), without_value(Status::NullValue)];
    let window = Some((Some(1_000), 61_000));
    let mut answer = answer(
        vec![
            FeatureColumn { name: "clicks".into(), value_type: &ValueType::Int64, cells, slots: &[0, 1, 0], window },
            FeatureColumn {
                name: "ever".into(),
                value_type: &ValueType::Int64,
                cells: vec![without_value(Status::Invalid), without_value(Status::NotFound)],
                slots: &[0, 1, 0],
                window: Some((None, 61_000)),
            },
        ],
        &entities,
    );
    answer.complete_to = None;
    answer.degraded = true;
    answer.include_windows = true;
    let pretty: serde_json::Value = serde_json::from_slice(&answer.json()).unwrap();
    insta::assert_snapshot!(String::from_utf8(answer.json()).unwrap(), @r#"{"metadata":{"feature_names":["driver_id","clicks","ever"],"t":"2021-12-31T23:00:00Z","complete_to":null,"degraded":true,"views":{"drivers":{"revision":"abc","incarnation":2,"complete_to":"2021-12-31T22:59:59.500Z","degraded":false}},"windows":{"clicks":{"start":"1970-01-01T00:00:01Z","end":"1970-01-01T00:01:01Z"},"ever":{"start":null,"end":"1970-01-01T00:01:01Z"}}},"results":[{"values":["u\"1","u2","u\"1"],"statuses":["PRESENT","PRESENT","PRESENT"],"event_timestamps":["1970-01-01T00:00:00Z","1970-01-01T00:00:00Z","1970-01-01T00:00:00Z"]},{"values":[3,null,3],"statuses":["PRESENT","NULL_VALUE","PRESENT"],"event_timestamps":["1970-01-01T00:00:01.500Z","1970-01-01T00:00:00Z","1970-01-01T00:00:01.500Z"]},{"values":[null,null,null],"statuses":["INVALID","NOT_FOUND","INVALID"],"event_timestamps":["1970-01-01T00:00:00Z","1970-01-01T00:00:00Z","1970-01-01T00:00:00Z"]}]}"#);
    assert_eq!(pretty["results"].as_array().unwrap().len(), 3);
}

#[test]
fn every_type_has_its_exact_json() {
    let decimal = ValueType::Decimal { precision: 28, scale: 2 };
    let list = |item: ValueType| ValueType::List(Box::new(item));
    for (v, value_type, expected) in [
        (Value::Boolean(true), ValueType::Boolean, "true"),
        (Value::Int64(i64::MIN), ValueType::Int64, "-9223372036854775808"),
        (Value::Int64(9_007_199_254_740_993), ValueType::Int64, "9007199254740993"),
        (Value::Double(0.1), ValueType::Double, "0.1"),
        (Value::Double(1.0), ValueType::Double, "1.0"),
        (Value::Double(5e-324), ValueType::Double, "5e-324"),
        (Value::Decimal(-5), decimal.clone(), "-0.05"),
        (Value::Decimal(-1_250), decimal.clone(), "-12.50"),
        (Value::Decimal(0), decimal.clone(), "0.00"),
        (Value::Decimal(9_999_999_999_999_999_999_999_999_999), decimal.clone(), "99999999999999999999999999.99"),
        (Value::Decimal(7), ValueType::Decimal { precision: 5, scale: 0 }, "7"),
        (Value::String("é\"\\\n\u{1}".into()), ValueType::String, "\"é\\\"\\\\\\n\\u0001\""),
        (Value::Timestamp(1_500), ValueType::Timestamp, "\"1970-01-01T00:00:01.500Z\""),
        (Value::List(vec![]), list(ValueType::Int64), "[]"),
        (Value::List(vec![Value::Decimal(150), Value::Decimal(1)]), list(decimal), "[1.50,0.01]"),
    ] {
        let mut out = Vec::new();
        value(&mut out, &v, &value_type);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, expected);
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
    }
}

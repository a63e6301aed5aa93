//! Each type: what it takes, as what, and what it refuses.

use super::*;

/// What a column `x` of a type makes of a literal: `Err` if it is refused, which must be as the wrong type.
fn read(value_type: &ValueType, literal: &str) -> Result<Option<Value>, String> {
    let plan = plan(&[("x", value_type.clone())], &[], TimestampUnit::Milliseconds);
    match decode(&plan, &format!(r#"{{"x":{literal},"ts":{NOW}}}"#)) {
        Ok(columns) => Ok(value(&columns, 0, 0)),
        Err(reject) if reject.reason == Reason::WrongType => Err(reject.detail),
        Err(reject) => panic!("{literal}: {reject}"),
    }
}

fn takes(value_type: &ValueType, cases: &[(&str, Value)]) {
    for (literal, expected) in cases {
        assert_eq!(read(value_type, literal).as_ref(), Ok(&Some(expected.clone())), "{literal}");
    }
    assert_eq!(read(value_type, "null"), Ok(None));
}

fn refuses(value_type: &ValueType, cases: &[&str]) {
    for literal in cases {
        let detail = read(value_type, literal).expect_err(literal);
        assert!(detail.starts_with("field `x`: expected ") && detail.ends_with(" at byte 5"), "{detail}");
    }
}

#[test]
fn boolean() {
    takes(&ValueType::Boolean, &[("true", Value::Boolean(true)), ("false", Value::Boolean(false))]);
    refuses(&ValueType::Boolean, &["0", "\"true\"", "[]"]);
}

#[test]
fn int64() {
    let cases =
        [("0", 0), ("-0", 0), ("-7", -7), ("9223372036854775807", i64::MAX), ("-9223372036854775808", i64::MIN)];
    takes(&ValueType::Int64, &cases.map(|(literal, value)| (literal, Value::Int64(value))));
    let beyond = ["9223372036854775808", "-9223372036854775809", "99999999999999999999", "1.0", "1e2", "\"1\"", "true"];
    refuses(&ValueType::Int64, &beyond);
}

#[test]
fn double() {
    let literals = [
        "0",
        "0.1",
        "-12.50",
        "1e22",
        "1e23",
        "123456789012345678901234567890",
        "9007199254740993",
        "1E-22",
        "1e-23",
        "2.2250738585072011e-308",
        "4.9e-324",
        "1e-999",
        "1.7976931348623157e308",
        "0.000000000000000000000000001",
        "179769313486231570793e288",
        "8.5e+3",
        "0e999999999999999999999",
        "3.14159265358979323846264338327950288",
    ];
    for literal in literals {
        let expected: f64 = literal.parse().unwrap();
        assert_eq!(read(&ValueType::Double, literal), Ok(Some(Value::Double(expected))), "{literal}");
    }
    refuses(&ValueType::Double, &["1e309", "-1e999999999999999999999", "\"1\"", "false", "{}"]);
    let Ok(Some(Value::Double(zero))) = read(&ValueType::Double, "-0") else { panic!("-0 is a double") };
    assert!(zero == 0.0 && zero.is_sign_negative());
}

#[test]
fn decimal() {
    let money = ValueType::Decimal { precision: 6, scale: 2 };
    let cases = [
        ("0", 0),
        ("-0.00", 0),
        ("12.5", 1_250),
        ("-12.34", -1_234),
        ("9999.99", 999_999),
        ("1e3", 100_000),
        ("1.23e1", 1_230),
        ("12.3400000", 1_234),
        ("1230e-2", 1_230),
        ("\"12.34\"", 1_234),
        ("\"1\\u0032.34\"", 1_234),
        ("0e99999999999999999999", 0),
        ("1.00000000000000000000000000000000000000000000000000", 100),
    ];
    takes(&money, &cases.map(|(literal, value)| (literal, Value::Decimal(value))));
    refuses(
        &money,
        &["0.001", "10000", "1e4", "1e999999999999", "1e-99999999999999999999", "\"\"", "\"1,5\"", "\" 1\""],
    );
    refuses(&money, &["12345678901234567890123456789012345678901234567890", "\"+1\"", "true", "[]"]);
    let detail = read(&money, "12.345").unwrap_err();
    assert!(detail.contains("at most 6 digits, 2 of them behind the point, found the number 12.345"), "{detail}");
    let widest = ValueType::Decimal { precision: 28, scale: 28 };
    takes(&widest, &[("-0.9999999999999999999999999999", Value::Decimal(-9_999_999_999_999_999_999_999_999_999))]);
    refuses(&widest, &["1", "0.00000000000000000000000000001"]);
}

#[test]
fn string() {
    let cases = [
        (r#""""#, ""),
        (r#""plain, longer than a word""#, "plain, longer than a word"),
        (r#""é😀""#, "é😀"),
        (r#""a\"b\\c\/d\b\f\n\r\t""#, "a\"b\\c/d\u{8}\u{c}\n\r\t"),
        (r#""\u00e9\ud83d\ude00\u0000""#, "é😀\0"),
    ];
    takes(&ValueType::String, &cases.map(|(literal, value)| (literal, Value::String(value.into()))));
    refuses(&ValueType::String, &["1", "true", r#"{"a":"b"}"#]);
}

#[test]
fn timestamp_column() {
    let cases = [("1700000000123", NOW + 123), (r#""2023-11-14T22:13:20Z""#, NOW), ("-1", -1)];
    takes(&ValueType::Timestamp, &cases.map(|(literal, value)| (literal, Value::Timestamp(value))));
    refuses(&ValueType::Timestamp, &["1.5", r#""2023-11-14""#, "true"]);
}

/// The event time that a unit makes of a literal.
fn event_time(unit: TimestampUnit, literal: &str) -> Option<i64> {
    let mut plan = plan(&[], &[], unit);
    plan.time.retention_ms = None;
    plan.time.max_future_ms = i64::MAX / 2;
    match decode(&plan, &format!(r#"{{"ts":{literal}}}"#)) {
        Ok(columns) => Some(columns.times()[0]),
        Err(reject) if reject.reason == Reason::WrongType => None,
        Err(reject) => panic!("{literal}: {reject}"),
    }
}

#[test]
fn event_times_are_rounded_down() {
    use TimestampUnit::{Microseconds, Milliseconds, Rfc3339, Seconds};
    let cases = [
        (Seconds, "1700000000", Some(NOW)),
        (Seconds, "1700000000.1239", Some(NOW + 123)),
        (Seconds, "1.7e9", Some(NOW)),
        (Seconds, "-0.0001", Some(-1)),
        (Seconds, "-1e-99", Some(-1)),
        (Seconds, "1e99", None),
        (Seconds, "\"1700000000\"", None),
        (Milliseconds, "1700000000000", Some(NOW)),
        (Milliseconds, "1.7000000000009e12", Some(NOW)),
        (Microseconds, "1700000000000999", Some(NOW)),
        (Microseconds, "-1", Some(-1)),
        (Rfc3339, "\"2023-11-14T22:13:20Z\"", Some(NOW)),
        (Rfc3339, "\"2023-11-14T22:13:20\\u005a\"", Some(NOW)),
        (Rfc3339, "1700000000000", None),
    ];
    for (unit, literal, expected) in cases {
        assert_eq!(event_time(unit, literal), expected, "{unit:?} {literal}");
    }
}

#[test]
fn rfc3339() {
    let parse = super::super::rfc3339::parse;
    let cases = [
        ("1970-01-01T00:00:00Z", 0),
        ("1969-12-31T23:59:59.9999Z", -1),
        ("2023-11-14t22:13:20.5z", NOW + 500),
        ("2023-11-14 22:13:20.123456789Z", NOW + 123),
        ("2023-11-15T03:43:20+05:30", NOW),
        ("2023-11-14T14:13:20-08:00", NOW),
        ("2016-12-31T23:59:60Z", 1_483_228_800_000),
        ("2024-02-29T00:00:00Z", 1_709_164_800_000),
        ("0000-01-01T00:00:00Z", -62_167_219_200_000),
        ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
    ];
    for (text, expected) in cases {
        assert_eq!(parse(text), Some(expected), "{text}");
    }
    for text in [
        "",
        "2023-11-14",
        "2023-11-14T22:13:20",
        "2023-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2023-13-01T00:00:00Z",
        "2023-00-01T00:00:00Z",
        "2023-04-31T00:00:00Z",
        "2023-11-14T24:00:00Z",
        "2023-11-14T22:60:00Z",
        "2023-11-14T22:13:61Z",
        "2023-11-14T22:13:20.Z",
        "2023-11-14T22:13:20+0530",
        "2023-11-14T22:13:20+24:00",
        "2023-11-14T22:13:20Zx",
        "2023-11-14T22:13:20+05:3",
        "2023/11/14T22:13:20Z",
        "+023-11-14T22:13:20Z",
        "٢٠٢٣-11-14T22:13:20Z",
    ] {
        assert_eq!(parse(text), None, "{text}");
    }
}

/// A column that is also the event time: each reads the literal its own way, and a Timestamp means the event's time.
#[test]
fn the_event_time_may_be_a_column() {
    let of = |value_type| {
        let plan = plan(&[("ts", value_type)], &[], TimestampUnit::Seconds);
        let columns = decode(&plan, r#"{"ts":1700000000}"#).unwrap();
        assert_eq!(columns.times(), [NOW]);
        value(&columns, 0, 0)
    };
    assert_eq!(of(ValueType::Int64), Some(Value::Int64(1_700_000_000)));
    assert_eq!(of(ValueType::Double), Some(Value::Double(1.7e9)));
    assert_eq!(of(ValueType::Timestamp), Some(Value::Timestamp(NOW)));
    let text = plan(&[("ts", ValueType::String)], &[], TimestampUnit::Rfc3339);
    let columns = decode(&text, r#"{"ts":"2023-11-14T22:13:20Z"}"#).unwrap();
    assert_eq!(
        (columns.times(), value(&columns, 0, 0)),
        (&[NOW][..], Some(Value::String("2023-11-14T22:13:20Z".into())))
    );
}

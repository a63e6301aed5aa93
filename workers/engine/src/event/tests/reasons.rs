//! Each reason, and what its detail says.

use super::*;

#[test]
fn every_reason_has_its_event() {
    let ts = NOW;
    let good = format!(r#""user":"u1","ts":{ts}"#);
    let deep = |levels: usize| format!(r#"{{{good},"x":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
    let cases: Vec<(String, Reason, &str)> = vec![
        ("{".into(), Reason::InvalidJson, "expected the name of a field, found the end at byte 1"),
        ("user=u1&ts=5".into(), Reason::InvalidJson, "expected an object, found `u` at byte 0"),
        ("  ".into(), Reason::InvalidJson, "expected an object, found the end at byte 2"),
        ("[1]".into(), Reason::InvalidJson, "expected an object, found `[` at byte 0"),
        (format!("{{{good}}} x"), Reason::InvalidJson, "expected nothing behind the object, found `x`"),
        (format!("{{{good},}}"), Reason::InvalidJson, "expected the name of a field, found `}`"),
        (format!("{{{good} \"x\":1}}"), Reason::InvalidJson, "expected `,` or `}`, found `\"`"),
        (format!("{{{good},\"x\" 1}}"), Reason::InvalidJson, "expected `:`, found `1`"),
        (format!("{{{good},\"x\":01}}"), Reason::InvalidJson, "no digit after a leading zero"),
        (format!("{{{good},\"x\":NaN}}"), Reason::InvalidJson, "expected a value, found `N`"),
        (format!("{{{good},\"x\":\"\\ud800\"}}"), Reason::InvalidJson, "second half of a surrogate pair"),
        (format!("{{{good},\"x\":\"a\tb\"}}"), Reason::InvalidJson, "found the byte 0x09"),
        (deep(128), Reason::NestedTooDeep, "at most 128 levels"),
        (
            format!(r#"{{{good},"user":"u2"}}"#),
            Reason::DuplicateField,
            "field `user` (of the entity's key) stands twice",
        ),
        (format!(r#"{{{good},"us\u0065r":"u2"}}"#), Reason::DuplicateField, "field `user`"),
        (format!(r#"{{{good},"ts":{ts}}}"#), Reason::DuplicateField, "field `ts` (the event time) stands twice"),
        (format!(r#"{{"ts":{ts}}}"#), Reason::MissingField, "field `user` (of the entity's key) is missing"),
        (r#"{"user":"u1"}"#.into(), Reason::MissingField, "field `ts` (the event time) is missing"),
        (
            format!(r#"{{"user":null,"ts":{ts}}}"#),
            Reason::NullField,
            "field `user` (of the entity's key) is null at byte 8",
        ),
        (r#"{"user":"u","ts":null}"#.into(), Reason::NullField, "field `ts` (the event time) is null at byte 17"),
        (
            r#"{"user":"u1","ts":17,"price":"cheap"}"#.into(),
            Reason::WrongType,
            "field `price`: expected a number in the range of a double, found the string \"cheap\" at byte 29",
        ),
        (format!(r#"{{{good},"price":{{"eur":1}}}}"#), Reason::WrongType, "found an object at byte"),
        (format!(r#"{{{good},"kind":["a"]}}"#), Reason::WrongType, "field `kind`: expected a string, found an array"),
        (format!(r#"{{{good},"price":true}}"#), Reason::WrongType, "found a boolean"),
        (format!(r#"{{{good},"price":1e999}}"#), Reason::WrongType, "found the number 1e999"),
        (
            r#"{"user":"u1","ts":"now"}"#.into(),
            Reason::WrongType,
            "expected a number of milliseconds, found the string \"now\"",
        ),
        (
            format!(r#"{{"user":"u1","ts":{}}}"#, ts + 60_001),
            Reason::TooFarInFuture,
            "the event time 1700000060001 is 60001 ms ahead of the record's time 1700000000000, of at most 60000 ms",
        ),
        (
            format!(r#"{{"user":"u1","ts":{}}}"#, ts - 86_400_001),
            Reason::TooLate,
            "is 86400001 ms behind the record's time 1700000000000, of at most 86400000 ms",
        ),
    ];
    for (payload, reason, detail) in cases {
        let reject = decode(&shop(), &payload).expect_err(&payload);
        assert_eq!(reject.reason, reason, "{payload}: {}", reject.detail);
        assert!(reject.detail.contains(detail), "{payload}: {}", reject.detail);
    }
    assert_eq!(reason(&shop(), &deep(127)), None, "with the event's own object that is 128 levels");
}

#[test]
fn reasons_that_are_not_of_text() {
    let mut decoder = Decoder::new(&shop()).with_max_bytes(64);
    let mut refuse = |payload: Option<&[u8]>| {
        let reject = decoder.push(payload, NOW).unwrap_err();
        (reject.reason, reject.detail)
    };
    assert_eq!(refuse(None), (Reason::EmptyPayload, "the record has no payload: it is a tombstone".into()));
    assert_eq!(refuse(Some(b"")), (Reason::EmptyPayload, "the payload has no bytes".into()));
    assert_eq!(refuse(Some(&[b'{'; 65])), (Reason::TooLarge, "the payload has 65 bytes, of at most 64".into()));
    assert_eq!(
        refuse(Some(b"{\"user\":\"\xff\"}")),
        (Reason::InvalidUtf8, "the byte 0xff at byte 9 is not UTF-8".into())
    );
}

#[test]
fn names_are_stable() {
    for reason in Reason::ALL {
        assert_eq!(reason.as_str(), format!("{reason:?}"));
    }
    let distinct: std::collections::HashSet<_> = Reason::ALL.iter().collect();
    assert_eq!(distinct.len(), Reason::ALL.len());
}

#[test]
fn the_bounds_of_time_belong_to_it() {
    for time in [NOW - 86_400_000, NOW + 60_000] {
        assert_eq!(reason(&shop(), &format!(r#"{{"user":"u","ts":{time}}}"#)), None);
    }
    let mut forever = shop();
    forever.time.retention_ms = None;
    assert_eq!(reason(&forever, r#"{"user":"u","ts":-4503599627370496}"#), None);
    let reject = decode(&forever, r#"{"user":"u","ts":-4503599627370497}"#).unwrap_err();
    assert_eq!(reject.reason, Reason::WrongType);
    assert!(reject.detail.contains("is further than 4503599627370496 ms from 1970"), "{}", reject.detail);
    assert_eq!(reason(&shop(), r#"{"user":"u","ts":-9223372036854775808}"#), Some(Reason::TooLate));
    assert_eq!(reason(&shop(), r#"{"user":"u","ts":9223372036854775807}"#), Some(Reason::TooFarInFuture));
    assert_eq!(reason(&shop(), r#"{"user":"u","ts":9223372036854775808}"#), Some(Reason::WrongType));
}

/// What is not JSON is called that, whatever else is wrong before it; of the rest, the first in the payload is told.
#[test]
fn of_several_faults_one_is_told() {
    assert_eq!(reason(&shop(), r#"{"user":5,"price":"x""#), Some(Reason::InvalidJson));
    assert_eq!(reason(&shop(), r#"{"price":"x","user":null}"#), Some(Reason::WrongType));
    assert_eq!(reason(&shop(), r#"{"user":null,"price":"x"}"#), Some(Reason::NullField));
    assert_eq!(reason(&shop(), r#"{"ts":1,"price":"x"}"#), Some(Reason::WrongType));
    assert_eq!(reason(&shop(), r#"{"ts":1}"#), Some(Reason::MissingField));
}

/// A dead letter carries its payload; its detail, a header, must not repeat it.
#[test]
fn details_quote_little_of_the_payload() {
    let long = "ä".repeat(5_000);
    let payload = format!(r#"{{"user":"u","ts":{NOW},"price":"{long}"}}"#);
    let detail = decode(&shop(), &payload).unwrap_err().detail;
    assert!(detail.matches('ä').count() * 2 <= 64, "{detail}");
    let payload = format!(r#"{{"user":"u","ts":{NOW},"price":1{}}}"#, "0".repeat(5_000));
    let detail = decode(&shop(), &payload).unwrap_err().detail;
    assert!(detail.matches('0').count() <= 64, "{detail}");
}

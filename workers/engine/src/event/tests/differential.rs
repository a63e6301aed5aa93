//! The decoder against `serde_json`: the same payloads are JSON, and the same values stand in them.

use proptest::prelude::*;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value as Json;

use super::*;

/// A plan whose column `d{n}` is of the type `n`; all may be absent, so that every object with a time is taken.
fn all_types() -> Plan {
    let columns = [
        ("d0", ValueType::Boolean),
        ("d1", ValueType::Int64),
        ("d2", ValueType::Double),
        ("d3", ValueType::String),
        ("d4", ValueType::Decimal { precision: 28, scale: 4 }),
    ];
    let mut plan = plan(&columns, &[], TimestampUnit::Milliseconds);
    plan.time.retention_ms = None;
    plan.time.max_future_ms = i64::MAX;
    plan
}

/// Strings as they stand in JSON: plain, escaped in each way, half surrogates among them.
fn string() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[ -!#-\\[\\]-~]{0,12}",
        1 => "[^\"\\\\\\p{Cc}]{0,3}",
        1 => prop::sample::select(vec!["\\\"", "\\\\", "\\/", "\\b", "\\n", "\\u0041", "\\u00E9", "\\ud83d\\ude00", "\\u0000"])
            .prop_map(str::to_owned),
        1 => prop_oneof![9 => Just(""), 1 => prop::sample::select(vec!["\\ud800", "\\udc00", "\\x", "\u{1}", "\t", "\\u12g4"])]
            .prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..4).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<i16>().prop_map(|number| number.to_string()),
        any::<f64>()
            .prop_filter("JSON has no other", |number| number.is_finite())
            .prop_map(|number| format!("{number:e}")),
        (any::<i32>(), 0..100_000_u32).prop_map(|(whole, part)| format!("{whole}.{part}")),
        "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,25})?([eE][+-]?[0-9]{1,2})?",
        "-?[0-9]{0,3}\\.?[0-9]{0,3}e?[+-]?[0-9]{0,2}",
    ]
}

fn blank() -> impl Strategy<Value = &'static str> {
    prop_oneof![6 => Just(""), 1 => prop::sample::select(vec![" ", "\n\t", "\r\n  "])]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => prop::sample::select(vec!["d0", "d1", "d2", "d3", "d4", "other", "d", "d00", "\\u0064\\u0031"])
            .prop_map(|name| format!("\"{name}\"")),
        1 => string(),
    ]
}

fn object(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let field = (blank(), name(), blank(), blank(), value, blank());
    let field = field.prop_map(|(a, name, b, c, value, d)| format!("{a}{name}{b}:{c}{value}{d}"));
    prop::collection::vec(field, 0..6).prop_map(|fields| format!("{{{}}}", fields.join(",")))
}

fn any_value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        3 => string(),
        3 => number(),
        2 => prop::sample::select(vec!["true", "false", "null", "[]", "{}", "[ ]", "{ }"]).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(4, 24, 5, |value| {
        let array = prop::collection::vec((blank(), value.clone(), blank()), 0..5).prop_map(|items| {
            let items: Vec<_> = items.into_iter().map(|(a, item, b)| format!("{a}{item}{b}")).collect();
            format!("[{}]", items.join(","))
        });
        prop_oneof![array, object(value)]
    })
}

/// An event with its time first, and up to three bytes of it changed, put in or taken out.
fn event() -> impl Strategy<Value = Vec<u8>> {
    let change = (
        any::<prop::sample::Index>(),
        0..3_u8,
        prop_oneof![any::<u8>(), prop::sample::select(b"{}[],:\"\\0e.-tn ".to_vec())],
    );
    let changes = prop_oneof![2 => Just(vec![]), 1 => prop::collection::vec(change, 1..4)];
    (object(any_value()), changes).prop_map(|(object, changes)| {
        let separator = if object.len() > 2 { "," } else { "" };
        let mut event = format!("{{\"ts\":5{separator}{}", &object[1..]).into_bytes();
        for (index, what, byte) in changes {
            let at = index.index(event.len());
            match what {
                0 => event[at] = byte,
                1 => event.insert(at, byte),
                _ => drop(event.remove(at)),
            }
        }
        if event.is_empty() { vec![b' '] } else { event }
    })
}

/// An object's fields as they stand in it, repetitions included, which a map would hide.
#[derive(Debug)]
struct Pairs(Vec<(String, Json)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Pairs;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// The fields that `serde_json` finds, or `Err(true)` where it is stricter than the grammar: numbers beyond a double.
fn oracle(payload: &[u8]) -> Result<Pairs, bool> {
    serde_json::from_slice(payload).map_err(|error| error.to_string().starts_with("number out of range"))
}

/// What a declared column makes of a value; `None` for other names and for decimals, which have a test of their own.
fn expected(name: &str, json: &Json) -> Option<Result<Option<Value>, ()>> {
    Some(match (name, json) {
        ("d0" | "d1" | "d2" | "d3", Json::Null) => Ok(None),
        ("d0", Json::Bool(value)) => Ok(Some(Value::Boolean(*value))),
        ("d1", Json::Number(value)) => value.as_i64().map(|value| Some(Value::Int64(value))).ok_or(()),
        ("d2", Json::Number(value)) => value.as_f64().map(|value| Some(Value::Double(value))).ok_or(()),
        ("d3", Json::String(value)) => Ok(Some(Value::String(value.clone()))),
        ("d0" | "d1" | "d2" | "d3", _) => Err(()),
        _ => return None,
    })
}

fn check(decoder: &mut Decoder, payload: &[u8]) -> Result<(), TestCaseError> {
    let outcome = decoder.push(Some(payload), 0);
    let columns = decoder.take();
    prop_assert_eq!(columns.len(), usize::from(outcome.is_ok()));
    let reason = outcome.as_ref().err().map(|reject| reject.reason);
    let shown = format!("{}: {outcome:?}", String::from_utf8_lossy(payload));
    let pairs = match oracle(payload) {
        Ok(Pairs(pairs)) => pairs,
        Err(true) => return Ok(()),
        Err(false) => {
            let refused = matches!(reason, Some(Reason::InvalidJson | Reason::InvalidUtf8));
            prop_assert!(refused, "not JSON, but {}", shown);
            return Ok(());
        }
    };
    // The other reader makes a double of both -0, which is an integer, and -0.0, which is none; it cannot tell which it was.
    let negative_zero = |json: &Json| json.is_f64() && json.as_f64().is_some_and(|x| x == 0.0 && x.is_sign_negative());
    if pairs.iter().any(|(name, json)| matches!(name.as_str(), "d1" | "ts") && negative_zero(json)) {
        return Ok(());
    }
    let count = |name: &str| pairs.iter().filter(|(other, _)| other == name).count();
    let twice = ["d0", "d1", "d2", "d3", "d4", "ts"].iter().any(|name| count(name) > 1);
    let wrong = pairs.iter().any(|(name, json)| expected(name, json) == Some(Err(())));
    let wrong_decimal = pairs.iter().any(|(name, json)| name == "d4" && !json.is_null());
    let wrong_time = pairs.iter().any(|(name, json)| name == "ts" && !(json.is_i64() || json.is_null()));
    let explained = match reason {
        None => !twice && !wrong && count("ts") == 1,
        Some(Reason::DuplicateField) => twice,
        Some(Reason::WrongType) => wrong || wrong_decimal || wrong_time,
        Some(Reason::MissingField) => count("ts") == 0,
        Some(Reason::NullField) => pairs.contains(&("ts".into(), Json::Null)),
        Some(_) => false,
    };
    prop_assert!(explained, "{}", shown);
    if outcome.is_ok() { agree(&columns, &pairs) } else { Ok(()) }
}

/// Every column that was decoded is what the other reader has.
fn agree(columns: &Columns, pairs: &[(String, Json)]) -> Result<(), TestCaseError> {
    for (index, name) in ["d0", "d1", "d2", "d3"].into_iter().enumerate() {
        let json = pairs.iter().find(|(other, _)| other == name).map(|(_, json)| json);
        let expected = json.and_then(|json| expected(name, json)?.ok()?);
        match (value(columns, index, 0), expected) {
            // The other reader may be off by a unit in the last place; the bits have a test of their own.
            (Some(Value::Double(found)), Some(Value::Double(expected))) => {
                prop_assert!((found - expected).abs() <= expected.abs() * 1e-15, "{} {}", found, expected);
            }
            (found, expected) => prop_assert_eq!(found, expected, "{}", name),
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    /// Several events through one decoder, so that what it remembers of the earlier ones is tried too.
    #[test]
    fn agrees_with_serde_json(events in prop::collection::vec(event(), 1..4)) {
        let mut decoder = Decoder::new(&all_types());
        for event in events {
            check(&mut decoder, &event)?;
        }
    }

    /// A decoder that has seen anything answers as a new one does.
    #[test]
    fn the_past_changes_nothing(events in prop::collection::vec(event(), 1..6)) {
        let plan = all_types();
        let mut old = Decoder::new(&plan);
        for event in events {
            let mut new = Decoder::new(&plan);
            prop_assert_eq!(old.push(Some(&event), 0), new.push(Some(&event), 0));
            let (old, new) = (old.take(), new.take());
            prop_assert_eq!(old.times(), new.times());
            prop_assert_eq!(old.record_batch().unwrap(), new.record_batch().unwrap());
        }
    }

    /// Doubles are the standard library's, to the bit.
    #[test]
    fn doubles_are_correctly_rounded(literal in "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?") {
        let payload = format!(r#"{{"ts":5,"d2":{literal}}}"#);
        let mut decoder = Decoder::new(&all_types());
        let expected: f64 = literal.parse().unwrap();
        prop_assert_eq!(decoder.push(Some(payload.as_bytes()), 0).is_ok(), expected.is_finite());
        if let Some(Value::Double(found)) = expected.is_finite().then(|| value(&decoder.take(), 2, 0)).flatten() {
            prop_assert_eq!(found.to_bits(), expected.to_bits());
        }
    }

    /// Decimals are those that integers and their shift by places give.
    #[test]
    fn decimals_are_exact(whole in -10_i128.pow(23)..10_i128.pow(23), places in 0..6_usize, quoted: bool) {
        let sign = if whole < 0 { "-" } else { "" };
        let digits = format!("{:0>width$}", whole.unsigned_abs(), width = places + 1);
        let (front, back) = digits.split_at(digits.len() - places);
        let literal = if places == 0 { format!("{sign}{front}") } else { format!("{sign}{front}.{back}") };
        let mark = if quoted { "\"" } else { "" };
        let mut decoder = Decoder::new(&all_types());
        let outcome = decoder.push(Some(format!(r#"{{"ts":5,"d4":{mark}{literal}{mark}}}"#).as_bytes()), 0);
        let beyond = 10_i128.pow(u32::try_from(places.saturating_sub(4)).unwrap());
        let scaled = whole * 10_i128.pow(u32::try_from(4_usize.saturating_sub(places)).unwrap());
        prop_assert_eq!(outcome.is_ok(), scaled % beyond == 0, "{}", literal);
        if outcome.is_ok() {
            prop_assert_eq!(value(&decoder.take(), 4, 0), Some(Value::Decimal(scaled / beyond)));
        }
    }
}

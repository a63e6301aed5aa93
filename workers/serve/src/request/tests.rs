#![allow(clippy::unwrap_used)]
use super::*;

fn failure(body: &str) -> (Option<String>, String) {
    let failure = parse(body.as_bytes()).unwrap_err();
    assert_eq!(failure.code(), 400);
    (failure.field().map(str::to_owned), failure.to_string())
}

#[test]
fn feasts_request_reads() {
    let body = br#"{"features":["a:x","b:y"],"entities":{"z":["u1",2],"a":[true,"\u00e9"]},"full_feature_names":true,
                    "include_feature_view_version_metadata":false}"#;
    let request = parse(body).unwrap();
    assert_eq!(request.features, Features::List(vec![("a".into(), "x".into()), ("b".into(), "y".into())]));
    assert!(request.full_feature_names);
    assert_eq!((request.as_of, request.rows()), (None, 2));
    let names: Vec<_> = request.entities.iter().map(|(name, _)| name.as_ref()).collect();
    assert_eq!(names, ["z", "a"], "the client's order is kept");
    assert_eq!(request.entities[0].1, [Value::from("u1"), Value::from(2)]);
    assert_eq!(request.entities[1].1, [Value::from(true), Value::from("é")]);
}

#[test]
fn as_of_is_text_or_milliseconds() {
    let with = |as_of: &str| format!(r#"{{"feature_service":"v","entities":{{"u":["1"]}},"as_of":{as_of}}}"#);
    assert_eq!(parse(with("1500").as_bytes()).unwrap().as_of, Some(1500));
    assert_eq!(parse(with("\"1970-01-01T00:00:01.5Z\"").as_bytes()).unwrap().as_of, Some(1500));
    for bad in ["\"noon\"", "1.5", "true", "[]", "\"2026-01-01\""] {
        assert_eq!(failure(&with(bad)).0.as_deref(), Some("as_of"), "{bad}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    for (body, field, says) in [
        (r#"{"entities":{"u":["1"]}}"#, Some("features"), "nothing is asked for"),
        (r#"{"features":[],"entities":{"u":["1"]}}"#, Some("features"), "empty"),
        (r#"{"features":["a:b"],"feature_service":"a","entities":{"u":["1"]}}"#, Some("feature_service"), "not both"),
        (r#"{"features":["a:b","ab"],"entities":{"u":["1"]}}"#, Some("features[1]"), "view:feature"),
        (r#"{"features":[":b"],"entities":{"u":["1"]}}"#, Some("features[0]"), "view:feature"),
        (r#"{"features":["a:b"],"entities":{}}"#, Some("entities"), "no entity"),
        (r#"{"features":["a:b"],"entities":{"u":[]}}"#, Some("entities.u"), "empty"),
        (r#"{"features":["a:b"],"entities":{"u":["1"],"w":["1","2"]}}"#, Some("entities.w"), "equally long"),
        (r#"{"features":["a:b"],"entities":{"u":["1"],"u":["2"]}}"#, Some("entities.u"), "twice"),
        (r#"{"features":["a:b"]}"#, None, "entities"),
        (r#"{"features":["a:b"],"entities":{"u":["1"]},"asof":3}"#, None, "asof"),
        (r#"{"features":["a:b"],"entities":{"u":"1"}}"#, None, "sequence"),
        ("{\"features\":\n  [\"a:b\",", None, "line 2 column 9"),
        ("", None, "line 1 column 0"),
    ] {
        let (got, message) = failure(body);
        assert_eq!(got.as_deref(), field, "{body}");
        assert!(message.contains(says), "{body}: {message}");
    }
}

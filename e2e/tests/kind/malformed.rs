//! A thousand malformed events of ten sorts among good ones: each in the dead-letter topic with its reason, every good one
//! counted.

use std::collections::BTreeMap;

use engine::plan::ViewIdentity;
use engine::row::dead_letter_topic;
use jiff::Timestamp;
use rdkafka::message::{Headers, Message};
use serde_json::json;

use crate::world::{SHOPPER, World};

const OF_EACH: usize = 100;
const DAY: i64 = 86_400_000;

/// The ten sorts: what it is, its payload as of `now`, and the reason it must be given.
fn sorts(now: i64) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let good = json!({"user_id": "u1", "session_id": "s", "event": "purchase", "ts": now});
    let with = |key: &str, value: serde_json::Value| {
        let mut event = good.clone();
        event[key] = value;
        event.to_string().into_bytes()
    };
    let without_user = json!({"session_id": "s", "event": "purchase", "ts": now}).to_string().into_bytes();
    let twice = format!(r#"{{"user_id":"u1","user_id":"u2","event":"purchase","ts":{now}}}"#).into_bytes();
    let mut not_utf8 = br#"{"user_id":"u1","event":"purch"#.to_vec();
    not_utf8.extend([0xff, 0xfe]);
    not_utf8.extend(format!(r#"","ts":{now}}}"#).into_bytes());
    vec![
        ("not JSON", br#"{"user_id": "u1", "#.to_vec(), "InvalidJson"),
        ("missing key", without_user, "MissingField"),
        ("wrong type", with("user_id", json!(42)), "WrongType"),
        ("null key", with("user_id", json!(null)), "NullField"),
        ("far future", with("ts", json!(now + DAY)), "TooFarInFuture"),
        ("too late", with("ts", json!(now - 60 * DAY)), "TooLate"),
        ("huge", with("platform", json!("x".repeat(1_100_000))), "TooLarge"),
        ("nested", with("event", json!({"name": "purchase"})), "WrongType"),
        ("duplicate key", twice, "DuplicateField"),
        ("invalid UTF-8", not_utf8, "InvalidUtf8"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_events_are_dead_lettered_with_their_reason_and_good_ones_all_counted() {
    let mut world = World::new("malformed", 4).await;
    world.serve_shopper();
    let uid = world.uid(SHOPPER);
    let now = Timestamp::now().as_millisecond();
    let sorts = sorts(now);
    let good = json!({"user_id": "u1", "session_id": "s", "event": "purchase", "ts": now}).to_string();
    for i in 0..OF_EACH {
        for (j, (_, payload, _)) in sorts.iter().enumerate() {
            // The record's number in the key, so that what comes back can be matched with what was sent.
            let partition = i32::try_from((i + j) % 4).unwrap();
            world.feed.send(format!("{j}").as_bytes(), payload, now, Some(partition)).unwrap();
            world.feed.send(b"good", good.as_bytes(), now, Some(partition)).unwrap();
        }
    }
    world.feed.flush().unwrap();
    world.settled(&uid).await.unwrap();

    let view = ViewIdentity { uid: uid.clone(), namespace: world.namespace.clone(), name: SHOPPER.into() };
    let letters = world.feed.read_all(&dead_letter_topic(&view)).unwrap();
    let mut reasons: BTreeMap<(usize, String), usize> = BTreeMap::new();
    let mut places = std::collections::BTreeSet::new();
    for letter in &letters {
        let header = |name: &str| {
            let headers = letter.headers().unwrap_or_else(|| panic!("a dead letter without headers"));
            let found = headers
                .iter()
                .find(|h| h.key == name)
                .and_then(|h| h.value)
                .unwrap_or_else(|| panic!("no header {name}"));
            String::from_utf8(found.to_vec()).unwrap()
        };
        assert_eq!(header("featuremill-view-uid"), uid);
        assert_eq!(header("featuremill-topic"), world.topic);
        places.insert((header("featuremill-partition"), header("featuremill-offset")));
        let sort: usize = String::from_utf8(letter.key().unwrap().to_vec()).unwrap().parse().unwrap();
        *reasons.entry((sort, header("featuremill-reason"))).or_default() += 1;
    }
    assert_eq!(places.len(), sorts.len() * OF_EACH, "each bad event has its place in the source topic");
    let expected: BTreeMap<_, _> =
        sorts.iter().enumerate().map(|(j, (_, _, reason))| ((j, (*reason).to_owned()), OF_EACH)).collect();
    assert_eq!(reasons, expected);

    let client = world.client();
    let answer = client.get(SHOPPER, &["purchases_1h".to_owned()], "user_id", &["u1".to_owned()], Some(now)).unwrap();
    assert_eq!(answer.features["purchases_1h"][0].value, json!(sorts.len() * OF_EACH));
}

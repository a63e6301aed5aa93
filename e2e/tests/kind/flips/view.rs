//! A view of which every feature of every entity is known in both revisions, and differs between them.
//!
//! One reads `a` of each event, the other `b`, and every `b` is larger than any sum of `a`. What they come to is computed here,
//! from the events as they were made, by nothing of the product's.

use std::collections::BTreeMap;

use e2e::feed::Feed;
use e2e::flips::Expected;
use jiff::Timestamp;
use serde_json::{Value, json};

pub const VIEW: &str = "scores";
const ENTITIES: i64 = 300;
const EVENTS: i64 = 10;
const FEATURES: [(&str, &str); 6] = [
    ("sum_30d", "aggregate: Sum, of: FIELD, window: 30d"),
    ("least_30d", "aggregate: Min, of: FIELD, window: 30d"),
    ("most_30d", "aggregate: Max, of: FIELD, window: 30d"),
    ("mean_7d", "aggregate: Avg, of: FIELD, window: 7d"),
    ("last_7d", "aggregate: Last, of: FIELD, window: 7d"),
    ("sum_and_last", r#"expression: "sum_30d + last_7d""#),
];

/// The view over `topic`, of one of the fields `a` and `b`.
pub fn manifest(topic: &str, field: &str) -> String {
    let line = |(name, what): &(&str, &str)| format!("  - {{name: {name}, {}}}\n", what.replace("FIELD", field));
    let features: String = FEATURES.iter().map(line).collect();
    let names = FEATURES.map(|(name, _)| name).join(", ");
    format!(
        "apiVersion: featuremill.dev/v1alpha1
kind: FeatureView
metadata: {{name: {VIEW}}}
spec:
  architectureRef: {{name: realtime}}
  entity: {{keys: [user_id]}}
  source:
    topic: {topic}
    format: JSON
    timestamp: {{field: ts, unit: Milliseconds}}
    schema:
    - {{name: user_id, type: String}}
    - {{name: a, type: Int64}}
    - {{name: b, type: Int64}}
  rollout:
    catchUp: {{stableForSeconds: 3}}
    comparison: {{sampleKeys: 100, expectedChanges: [{names}]}}
    scaleDownDelaySeconds: 86400
  features:
{features}"
    )
}

/// `a` and `b` of an entity's events, in their order.
fn events(entity: i64) -> impl Iterator<Item = (i64, i64)> {
    (0..EVENTS).map(move |n| ((entity * 7 + n * 13) % 400 + 1, 10_000 + (entity * 11 + n * 17) % 400))
}

/// Sends all events, the last of them a minute old.
pub fn send(feed: &Feed) {
    let now = Timestamp::now().as_millisecond();
    for n in 0..EVENTS {
        for entity in 0..ENTITIES {
            let (a, b) = events(entity).nth(usize::try_from(n).unwrap()).unwrap();
            let (user, ts) = (format!("user_{entity:04}"), now - (EVENTS - n) * 60_000);
            let event = json!({"user_id": user, "ts": ts, "a": a, "b": b}).to_string();
            feed.send(user.as_bytes(), event.as_bytes(), ts, None).unwrap();
        }
    }
    feed.flush().unwrap();
}

/// Every value of the revisions, given by the field that each reads.
pub fn expected(uid: &str, revisions: &[(&str, &str)]) -> Expected {
    let of = |field: &str| -> BTreeMap<String, Vec<Value>> {
        let values = |entity| -> Vec<i64> {
            let pick = |(a, b)| if field == "a" { a } else { b };
            events(entity).map(pick).collect()
        };
        let row = |entity| {
            let values = values(entity);
            let (sum, last) = (values.iter().sum::<i64>(), values[values.len() - 1]);
            #[allow(clippy::cast_precision_loss)]
            let mean = sum as f64 / EVENTS as f64;
            let (least, most) = (values.iter().min(), values.iter().max());
            vec![json!(sum), json!(least), json!(most), json!(mean), json!(last), json!(sum + last)]
        };
        (0..ENTITIES).map(|entity| (format!("user_{entity:04}"), row(entity))).collect()
    };
    let revisions = revisions.iter().map(|(revision, field)| ((*revision).to_owned(), of(field))).collect();
    let features = FEATURES.map(|(name, _)| name.to_owned()).to_vec();
    Expected { view: VIEW.to_owned(), uid: uid.to_owned(), key: "user_id".to_owned(), features, revisions }
}

//! Whole answers over lanes that the engine made: values, statuses, times, and what is refused.

use engine::plan::Plan;
use engine::row::{Marker, entity_hash};
use serde_json::{Value as Json, json};
use serve::answer::answer;
use serve::failure::Failure;
use serve::read::Reader;

use crate::fixtures::{FakeStore, aggregate, count, expression, plan, reader};
use crate::lanes::{event, store};

/// 2026-01-01T12:00:00Z.
const NOON: i64 = 1_767_268_800_000;
const MINUTE: i64 = 60_000;

async fn ask(reader: &Reader, body: &Json, now: i64) -> Result<Json, Failure> {
    let answer = answer(reader, body.to_string().as_bytes(), now).await?;
    Ok(serde_json::from_slice(&answer).unwrap())
}

fn users() -> Plan {
    let features = vec![
        count("clicks_1h", "click", Some("1h")),
        count("clicks_ever", "click", None),
        aggregate("spent", "Sum", Some("price"), Some("24h")),
        aggregate("average", "Avg", Some("amount"), Some("24h")),
        aggregate("last_kind", "Last", Some("kind"), None),
        aggregate("last_seen", "MaxTimestamp", None, None),
        expression("share", "clicks_1h / nullif(clicks_ever, 0)"),
        expression("double_share", "share * 2"),
    ];
    plan("users", &[("u", "String")], features)
}

/// Ada clicks thrice over two partitions and buys once; Bob has only looked.
fn shop(plan: &Plan) -> std::sync::Arc<FakeStore> {
    FakeStore::new(|contents| {
        contents.publish(plan, NOON);
        let ada = |minutes: i64, kind: &str, amount: f64| event(NOON - minutes * MINUTE, "ada", kind, amount);
        store(
            contents,
            plan,
            0,
            0,
            &[ada(180, "click", 1.0), ada(20, "click", 2.0), event(NOON - MINUTE, "bob", "look", 0.25)],
        );
        store(contents, plan, 0, 1, &[ada(10, "click", 0.5), ada(5, "buy", 9.99)]);
    })
}

#[tokio::test]
async fn values_statuses_and_times_of_several_entities() {
    let users = users();
    let (reader, _stop) = reader(shop(&users)).await;
    let body = json!({"feature_service": "users", "entities": {"u": ["ada", "nobody", "bob", "ada"]}});
    let answer = ask(&reader, &body, NOON + 500).await.unwrap();
    let names = answer["metadata"]["feature_names"].clone();
    assert_eq!(
        names,
        json!(["u", "clicks_1h", "clicks_ever", "spent", "average", "last_kind", "last_seen", "share", "double_share"])
    );
    let values: Vec<&Json> = answer["results"].as_array().unwrap().iter().map(|column| &column["values"]).collect();
    assert_eq!(
        json!(values),
        json!([
            ["ada", "nobody", "bob", "ada"],
            [2, null, 0, 2],
            [3, null, 0, 3],
            [13.49, null, 0.25, 13.49],
            [3.3725, null, 0.25, 3.3725],
            ["buy", null, "look", "buy"],
            ["2026-01-01T11:55:00Z", null, "2026-01-01T11:59:00Z", "2026-01-01T11:55:00Z"],
            [2.0 / 3.0, null, null, 2.0 / 3.0],
            [4.0 / 3.0, null, null, 4.0 / 3.0]
        ])
    );
    let statuses = |i: usize| answer["results"][i]["statuses"].clone();
    assert_eq!(statuses(0), json!(["PRESENT", "PRESENT", "PRESENT", "PRESENT"]));
    assert_eq!(statuses(1), json!(["PRESENT", "NOT_FOUND", "PRESENT", "PRESENT"]));
    assert_eq!(statuses(7), json!(["PRESENT", "NOT_FOUND", "NULL_VALUE", "PRESENT"]));
    let times = answer["results"][3]["event_timestamps"].as_array().unwrap();
    assert_eq!(times[1], "1970-01-01T00:00:00Z");
    assert!(times[0].as_str().unwrap() >= "2026-01-01T11:55:00Z", "never too small: {}", times[0]);
}

#[tokio::test]
async fn as_of_reads_the_past_and_never_a_wrong_number() {
    let users = users();
    let (reader, _stop) = reader(shop(&users)).await;
    let body = |as_of: Json| json!({"features": ["users:clicks_1h", "users:share"], "entities": {"u": ["ada"]}, "as_of": as_of, "include_windows": true});
    let answer = ask(&reader, &body(json!("2026-01-01T11:45:00Z")), 0).await.unwrap();
    assert_eq!(answer["results"][1]["values"], json!([1]));
    assert_eq!(answer["metadata"]["t"], "2026-01-01T11:45:00Z");
    assert_eq!(
        answer["metadata"]["windows"],
        json!({"clicks_1h": {"start": "2026-01-01T10:45:00Z", "end": "2026-01-01T11:45:00Z"}})
    );
    assert_eq!(ask(&reader, &body(json!(NOON - 15 * MINUTE)), 0).await.unwrap()["results"], answer["results"]);
    // Long before the tiles kept: the count is not known, so neither is what stands on it.
    let answer = ask(&reader, &body(json!("2026-01-01T09:30:30Z")), 0).await.unwrap();
    for i in [1, 2] {
        assert_eq!(answer["results"][i]["statuses"], json!(["INVALID"]), "{answer}");
        assert_eq!(answer["results"][i]["values"], json!([null]));
    }
}

#[tokio::test]
async fn several_views_with_keys_of_their_own() {
    let users = users();
    let items = plan("items", &[("item", "Int64")], vec![count("clicks_1h", "click", Some("1h"))]);
    let both = plan("both", &[("item", "Int64"), ("u", "String")], vec![count("n", "click", None)]);
    let fake = shop(&users);
    {
        let mut contents = fake.contents.lock().unwrap();
        contents.publish(&items, NOON - 5 * MINUTE);
        contents.publish(&both, NOON);
        let mut click = event(NOON - MINUTE, "ada", "click", 1.0);
        click.columns.push(("item", engine::value::Value::Int64(7)));
        store(&mut contents, &items, 0, 3, std::slice::from_ref(&click));
        store(&mut contents, &both, 0, 3, &[click]);
    }
    let (reader, _stop) = reader(fake).await;
    let mut body = json!({
        "features": ["users:clicks_1h", "both:n", "items:clicks_1h", "users:last_kind"],
        "entities": {"u": ["ada", "ada"], "item": [7, 8]}, "full_feature_names": true
    });
    let answer = ask(&reader, &body, NOON).await.unwrap();
    let names = json!(["item", "u", "users__clicks_1h", "both__n", "items__clicks_1h", "users__last_kind"]);
    assert_eq!(answer["metadata"]["feature_names"], names);
    let values: Vec<&Json> = answer["results"].as_array().unwrap().iter().map(|column| &column["values"]).collect();
    assert_eq!(json!(values), json!([[7, 8], ["ada", "ada"], [2, 2], [1, null], [1, null], ["buy", "buy"]]));
    let metadata = &answer["metadata"];
    assert_eq!(metadata["views"]["users"]["degraded"], false);
    assert_eq!(
        metadata["views"]["items"],
        json!({"revision": items.revision, "incarnation": 0, "complete_to": "2026-01-01T11:55:00Z", "degraded": true})
    );
    assert_eq!((&metadata["complete_to"], &metadata["degraded"]), (&json!("2026-01-01T11:55:00Z"), &json!(true)));
    body["full_feature_names"] = false.into();
    let failure = ask(&reader, &body, NOON).await.unwrap_err();
    assert_eq!(failure.field(), Some("features[2]"));
    assert!(failure.to_string().contains("full_feature_names"), "{failure}");
}

#[tokio::test]
async fn a_partition_without_a_marker_leaves_completeness_unknown() {
    let users = users();
    let fake = shop(&users);
    fake.contents.lock().unwrap().set_marker(
        &users,
        0,
        2,
        Marker { offset: 9, event_time: 5, end_offset: 9, read_to_end_at: NOON },
    );
    let (reader, _stop) = reader(fake).await;
    let body = json!({"features": ["users:clicks_1h"], "entities": {"u": ["ada"]}});
    let metadata = ask(&reader, &body, NOON).await.unwrap()["metadata"].clone();
    assert_eq!((&metadata["complete_to"], &metadata["degraded"]), (&Json::Null, &json!(true)));
}

#[tokio::test]
async fn an_entity_column_that_no_view_knows_is_refused() {
    let users = users();
    let (reader, _stop) = reader(shop(&users)).await;
    let body = json!({"features": ["users:clicks_1h"], "entities": {"u": ["ada"], "usr": ["x"]}});
    let failure = ask(&reader, &body, NOON).await.unwrap_err();
    assert_eq!((failure.code(), failure.field()), (400, Some("entities.usr")));
}

#[tokio::test]
async fn a_lane_that_cannot_be_decoded_fails_the_answer_and_names_no_person() {
    let users = users();
    let fake = shop(&users);
    fake.contents.lock().unwrap().set_lane(&users, 0, "ada", 1, &[(0, b"not a lane".to_vec())]);
    let (reader, _stop) = reader(fake).await;
    let body = |who: Json| json!({"features": ["users:clicks_1h"], "entities": {"u": who}});
    let failure = ask(&reader, &body(json!(["bob", "ada"])), NOON).await.unwrap_err();
    assert_eq!(failure.code(), 500);
    let message = failure.to_string();
    assert!(
        message.contains("`users`") && message.contains("partition 1") && message.contains(&entity_hash("ada")),
        "{message}"
    );
    assert!(!message.contains("ada "), "{message}");
    assert!(ask(&reader, &body(json!(["bob"])), NOON).await.is_ok());
}

#[tokio::test]
async fn a_sum_too_large_for_its_type_is_null_and_counted() {
    let features = vec![
        aggregate("total", "Sum", Some("amount"), Some("1h")),
        expression("half", "total / 2"),
        count("looks", "look", Some("1h")),
    ];
    let huge = plan("huge", &[("u", "String")], features);
    let fake = FakeStore::new(|contents| {
        contents.publish(&huge, NOON);
        let look = |seconds: i64| event(NOON - seconds * 1_000, "ada", "look", 1.7e308);
        store(contents, &huge, 0, 0, &[look(2), look(1)]);
    });
    let (reader, _stop) = reader(fake).await;
    let mut registry = prometheus_client::registry::Registry::default();
    let reader = Reader { metrics: std::sync::Arc::new(serve::metrics::Metrics::new(&mut registry)), ..reader };
    let body = json!({"feature_service": "huge", "entities": {"u": ["ada"]}});
    let answer = ask(&reader, &body, NOON + 500).await.unwrap();
    let statuses: Vec<&Json> = answer["results"].as_array().unwrap().iter().map(|r| &r["statuses"][0]).collect();
    assert_eq!(statuses[statuses.len() - 3..], ["NULL_VALUE", "NULL_VALUE", "PRESENT"]);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(text.contains("featuremill_serve_overflows_total 2\n"), "{text}");
}

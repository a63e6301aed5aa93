//! Erasure from an archive whose worker is behind, and goes on.

use std::collections::BTreeMap;
use std::sync::Arc;

use e2e::services::{Message, Process, Program, Redis, Signal};
use engine::definition::{ColumnDefinition, FeatureDefinition, ViewDefinition};
use engine::erase::Origin;
use engine::plan::{Plan, Stream, TimestampField, TimestampUnit, ViewIdentity};
use lake::Storage;
use lake::session::{SessionOptions, session};
use serde_json::{Value, json};

use super::world::{Chance, LIMIT, TOPIC, World, now};

fn plan() -> Plan {
    let column =
        |name: &str, kind: &str| ColumnDefinition { name: name.into(), type_name: kind.into(), ..Default::default() };
    let definition = ViewDefinition {
        view: ViewIdentity { uid: "view".into(), namespace: "shop".into(), name: "clicks".into() },
        mode: "Lakehouse".into(),
        entity_keys: vec!["user".into()],
        stream: Some(Stream { topic: TOPIC.into(), epoch: 0 }),
        table: None,
        archive: false,
        timestamp: TimestampField { field: "at".into(), unit: TimestampUnit::Milliseconds },
        schema: vec![column("user", "Int64")],
        allowed_lateness: "4h".into(),
        max_future: "5m".into(),
        horizon_max_age: None,
        features: vec![FeatureDefinition {
            name: "clicks".into(),
            aggregate: Some("Count".into()),
            window: Some("24h".into()),
            ..FeatureDefinition::default()
        }],
    };
    engine::resolve::resolve(&definition).unwrap()
}

/// Records of users 0 to 9, in either partition.
fn records(chance: &mut Chance, count: i64) -> Vec<Message> {
    let record = |number| {
        let payload = json!({"user": chance.below(10), "at": now(), "number": number});
        let partition = Some(i32::try_from(chance.below(2)).unwrap());
        Message { partition, payload: Some(payload.to_string().into_bytes()), time: Some(now()), ..Message::default() }
    };
    (0..count).map(record).collect()
}

fn user(payload: &[u8]) -> i64 {
    serde_json::from_slice::<Value>(payload).unwrap()["user"].as_i64().unwrap()
}

fn eraser(world: &World, redis: &Redis, name: &str) -> Process {
    let lake = world.directory.path().join("lake").display().to_string();
    let silver = format!("{lake}/silver/shop.clicks");
    let config = json!({
        // As who writes objects by hand does.
        "entity": {"user": "7"},
        "lake": lake,
        "views": [{"assignment": {"incarnation": 0, "plan": plan()}, "bronze": world.uri(), "silver": silver}],
    });
    let path = world.directory.path().join("erase.json");
    std::fs::write(&path, config.to_string()).unwrap();
    Program::of_workspace("featuremill-archive")
        .unwrap()
        .args(["erase", "--kafka-bootstrap", &world.kafka.bootstrap(), "--redis-url", &redis.url()])
        .args(["--retention-hours", "0", "--log-format", "text", "--config"])
        .arg(path)
        .arg("--report")
        .arg(world.directory.path().join("report.json"))
        .start(world.directory.path().join(format!("{name}.log")))
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_lags_gets_and_keeps_nothing_of_who_is_erased() {
    let world = World::new(2).await;
    let (redis, mut chance) = (Redis::start().await.unwrap(), Chance(47));
    let mut worker = world.worker("worker", &[]);
    world.kafka.produce(TOPIC, records(&mut chance, 2_000)).await.unwrap();
    world.until_archived().await;
    let (early, _) = world.state().await.unwrap();
    // It stands still, and records wait for it, while the erasure is asked for.
    worker.process.signal(Signal::Stop).unwrap();
    world.kafka.produce(TOPIC, records(&mut chance, 500)).await.unwrap();
    let mut process = eraser(&world, &redis, "eraser");
    let log = process.log().to_path_buf();
    let waits = async || match std::fs::read_to_string(&log) {
        Ok(text) if text.contains("waiting for the archive") => Ok(()),
        Ok(text) => Err(text),
        Err(error) => Err(error.to_string()),
    };
    process.until("the eraser to wait", LIMIT, waits).await.unwrap();
    world.kafka.produce(TOPIC, records(&mut chance, 500)).await.unwrap();
    worker.process.signal(Signal::Continue).unwrap();
    assert!(process.wait(LIMIT).await.unwrap().success(), "{}", process.log_tail());
    world.until_archived().await;

    let report = std::fs::read(world.directory.path().join("report.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    let covers: BTreeMap<i32, i64> = serde_json::from_value(report["views"][0]["covers"].clone()).unwrap();
    assert_eq!(covers.values().sum::<i64>(), 2_500);
    let written = world.kafka.read_all(TOPIC).await.unwrap();
    let is_erased = |message: &&Message| {
        user(message.payload.as_deref().unwrap()) == 7 && message.offset < covers[&message.partition.unwrap()]
    };
    let erased: Vec<&Message> = written.iter().filter(is_erased).collect();
    assert_eq!(report["views"][0]["bronze"], erased.len());
    assert!(erased.len() > 150);
    let check = async || {
        let rows = world.rows(None).await;
        for message in &written {
            let at = (message.partition.unwrap(), message.offset);
            let times = rows.get(&at).map_or(0, Vec::len);
            assert_eq!(times, usize::from(!is_erased(&message)), "{at:?}");
        }
    };
    check().await;
    // Older versions are gone with their files.
    let storage = Storage::local();
    let session = session(&SessionOptions::default()).unwrap();
    let read = async {
        let table = lake::open(&world.uri(), &storage, Some(early)).await.map_err(|error| error.to_string())?;
        let frame = lake::source::frame(&table, &world.uri(), &session).await.map_err(|error| error.to_string())?;
        frame.collect().await.map_err(|error| error.to_string())
    };
    assert!(read.await.is_err(), "files of who was erased are left");
    let tombstones = lake::erase::uri(&world.directory.path().join("lake").display().to_string(), &Arc::new(plan()));
    let tombstones = lake::erase::tombstones(&tombstones, &storage, &session).await.unwrap();
    for message in &erased {
        let (partition, offset) = (message.partition.unwrap(), message.offset);
        assert!(tombstones.covers("7", Origin::Record { partition, offset }));
    }
    // Nothing is done twice, and the worker goes on.
    world.kafka.produce(TOPIC, records(&mut chance, 500)).await.unwrap();
    world.until_archived().await;
    check().await;
    worker.ready().await;
}

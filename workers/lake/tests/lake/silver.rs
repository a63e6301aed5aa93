//! Silver: duplicates, malformed events, rules; and runs that are cut off anywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, AsArray, BinaryArray, Date32Array, Int32Array, Int64Array, RecordBatch};
use arrow::array::{TimestampMicrosecondArray, new_null_array};
use arrow::datatypes::Int64Type;
use engine::definition::{ColumnDefinition, FeatureDefinition, ViewDefinition};
use engine::erase::Covers;
use engine::plan::{Plan, Stream, TimestampField, TimestampUnit, ViewIdentity};
use lake::bronze::{self, Bronze, Chunk, Progress};
use lake::erase::{Erased, Erasure, erase};
use lake::silver::{Report, Rule, Silver, run};
use lake::{Identity, LakeError, Owner, completeness, open, source};

use super::fixtures::World;

/// The record time of every record.
const NOW: i64 = 1_700_000_000_000;

fn plan() -> Plan {
    let column = |name: &str, kind: &str| ColumnDefinition {
        name: name.into(),
        type_name: kind.into(),
        ..ColumnDefinition::default()
    };
    let definition = ViewDefinition {
        view: ViewIdentity { uid: "view".into(), namespace: "shop".into(), name: "clicks".into() },
        mode: "Lakehouse".into(),
        entity_keys: vec!["user".into()],
        stream: Some(Stream { topic: "events".into(), epoch: 0 }),
        table: None,
        archive: false,
        timestamp: TimestampField { field: "at".into(), unit: TimestampUnit::Milliseconds },
        schema: vec![column("user", "String"), column("id", "String"), column("price", "Int64")],
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

fn config(world: &World) -> Silver {
    Silver {
        plan: Arc::new(plan()),
        dedup: vec!["id".into()],
        rules: vec![Rule { name: "price-is-not-negative".into(), sql: "price >= 0".into() }],
        bronze: world.uri("bronze/events"),
        silver: world.uri("silver/shop.clicks"),
        tombstones: lake::erase::uri(&world.uri(""), &plan()),
    }
}

/// A topic in the making.
struct Topic {
    bronze: Bronze,
    ends: BTreeMap<i32, i64>,
}

impl Topic {
    async fn new(world: &World) -> Self {
        let identity = Identity { uid: "arch".into(), owner: Owner::Topic("events".into()) };
        let (uri, time) = (world.uri("bronze/events"), plan().source.timestamp.clone());
        let bronze = Bronze::open(&uri, &world.storage, identity, Some(&time)).await.unwrap();
        Self { bronze, ends: BTreeMap::new() }
    }

    /// Appends payloads to a partition; their coordinates.
    async fn append(&mut self, partition: i32, payloads: &[Option<String>]) -> Vec<(i32, i64)> {
        let after = self.ends.get(&partition).copied();
        let from = after.unwrap_or(0);
        let (rows, to) = (payloads.len(), from + i64::try_from(payloads.len()).unwrap());
        let schema = bronze::schema();
        let micros = |times: Vec<i64>| TimestampMicrosecondArray::from(times).with_timezone("UTC");
        let event_time = |payload: &Option<String>| {
            let event: serde_json::Value = serde_json::from_str(payload.as_ref()?).ok()?;
            event["at"].as_i64()
        };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from(vec![partition; rows])),
            Arc::new(Int64Array::from_iter_values(from..to)),
            Arc::new(micros(vec![NOW * 1_000; rows])),
            Arc::new(micros(payloads.iter().map(|payload| event_time(payload).unwrap_or(NOW) * 1_000).collect())),
            new_null_array(schema.field(4).data_type(), rows),
            Arc::new(payloads.iter().map(|payload| payload.as_ref().map(String::as_bytes)).collect::<BinaryArray>()),
            new_null_array(schema.field(6).data_type(), rows),
            Arc::new(Date32Array::from(vec![19_675; rows])),
        ];
        let progress = Progress { offset: to, event_time: Some(NOW), end_offset: to, read_to_end_at: NOW };
        let chunk = Chunk {
            batches: vec![RecordBatch::try_new(schema, columns).unwrap()],
            progress: [(partition, (after, progress))].into(),
            partitions: 2,
            gaps: Vec::new(),
        };
        self.bronze.append(&chunk).await.unwrap();
        self.ends.insert(partition, to);
        (from..to).map(|offset| (partition, offset)).collect()
    }
}

#[expect(clippy::unnecessary_wraps, reason = "as what it stands beside gives it")]
fn event(id: &str, age: i64, price: i64) -> Option<String> {
    Some(format!(r#"{{"user": "u", "id": "{id}", "at": {}, "price": {price}}}"#, NOW - age))
}

async fn once(world: &World, config: &Silver) -> Report {
    run(config, &world.storage, &world.session, None, None).await.unwrap()
}

/// Column values of a table: the coordinates, and one text column.
async fn read(world: &World, uri: &str, column: &str) -> Vec<((i32, i64), String)> {
    let table = open(uri, &world.storage, None).await.unwrap();
    let frame = source::frame(&table, uri, &world.session).await.unwrap();
    let batches = frame.select_columns(&["_partition", "_offset", column]).unwrap().collect().await.unwrap();
    let mut rows = Vec::new();
    for batch in batches {
        let text = arrow::compute::cast(batch.column(2), &arrow::datatypes::DataType::Utf8).unwrap();
        for row in 0..batch.num_rows() {
            let partition = batch.column(0).as_primitive::<arrow::datatypes::Int32Type>().value(row);
            let offset = batch.column(1).as_primitive::<Int64Type>().value(row);
            rows.push(((partition, offset), text.as_string::<i32>().value(row).to_owned()));
        }
    }
    rows.sort();
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_are_dropped_and_rejects_are_kept_with_their_reason() {
    let world = World::new();
    let config = config(&world);
    let mut topic = Topic::new(&world).await;
    let payloads = [
        event("a", 50, 1),
        // Earlier than its duplicate above, so that it is the one that is kept.
        event("a", 60, 2),
        event("b", 10, -1),
        Some("not JSON".to_owned()),
        None,
        event("c", 10, 3),
        Some(format!(r#"{{"user": "u", "at": {NOW}}}"#)),
        Some(format!(r#"{{"user": "u", "at": {NOW}}}"#)),
        Some(format!(r#"{{"id": "d", "at": {NOW}}}"#)),
        Some(format!(r#"{{"user": "u", "id": "e", "at": {}}}"#, NOW + 3_600_000)),
    ];
    topic.append(0, &payloads).await;
    topic.append(1, &[event("c", 10, 4), event("b", 5, 1)]).await;
    let report = once(&world, &config).await;
    assert_eq!((report.read, report.added, report.duplicates, report.rejected), (12, 5, 2, 5));
    let silver = read(&world, &config.silver, "price").await;
    let expected = [((0, 1), "2"), ((0, 5), "3"), ((0, 6), ""), ((0, 7), ""), ((1, 1), "1")];
    assert_eq!(silver, expected.map(|(at, price)| (at, price.to_owned())));
    let quarantine = read(&world, &config.quarantine(), "reason").await;
    let expected = [
        ((0, 2), "RuleFailed"),
        ((0, 3), "InvalidJson"),
        ((0, 4), "EmptyPayload"),
        ((0, 8), "MissingField"),
        ((0, 9), "TooFarInFuture"),
    ];
    assert_eq!(quarantine, expected.map(|(at, reason)| (at, reason.to_owned())));
    let table = open(&config.silver, &world.storage, None).await.unwrap();
    assert_eq!(completeness(&table, &config.silver).await.unwrap(), Some(NOW));

    // Nothing new, and nothing to say.
    let again = once(&world, &config).await;
    assert_eq!((again.read, again.version), (0, report.version));
    // No record, but the topic was read to its end once more.
    for partition in 0..2 {
        let end = topic.ends[&partition];
        let progress = Progress { offset: end, event_time: Some(NOW), end_offset: end, read_to_end_at: NOW + 9 };
        let chunk = Chunk { progress: [(partition, (Some(end), progress))].into(), partitions: 2, ..Chunk::default() };
        topic.bronze.append(&chunk).await.unwrap();
    }
    assert_eq!(once(&world, &config).await.version, report.version + 1);
    let table = open(&config.silver, &world.storage, None).await.unwrap();
    assert_eq!(completeness(&table, &config.silver).await.unwrap(), Some(NOW + 9));
    // Then what Silver already has, and what it has not.
    topic.append(1, &[event("a", 70, 9), event("f", 1, 9)]).await;
    let report = once(&world, &config).await;
    assert_eq!((report.read, report.added, report.duplicates, report.rejected), (2, 1, 1, 0));
    assert_eq!(read(&world, &config.silver, "id").await.last().unwrap(), &((1, 3), "f".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_bronze_makes_the_older_silver_and_the_rest_follows() {
    let world = World::new();
    let config = config(&world);
    let mut topic = Topic::new(&world).await;
    topic.append(0, &[event("a", 50, 1)]).await;
    let early = topic.bronze.version();
    topic.append(0, &[event("b", 50, 1), event("a", 40, 1)]).await;
    let report = run(&config, &world.storage, &world.session, None, Some(early)).await.unwrap();
    assert_eq!((report.bronze_version, report.read, report.added), (early, 1, 1));
    let report = once(&world, &config).await;
    assert_eq!((report.read, report.added, report.duplicates), (2, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_cut_off_anywhere_repeats_neither_rows_nor_rejects() {
    let world = World::new();
    let config = config(&world);
    let mut topic = Topic::new(&world).await;
    let (mut ids, mut rejects) = (BTreeSet::new(), BTreeSet::new());
    let (mut cut, mut whole) = (0, Duration::ZERO);
    for round in 0..25_i64 {
        let partition = i32::from(round % 2 == 1);
        let mut payloads = Vec::new();
        for i in 0..40 {
            // Each identifier comes in two rounds.
            let id = format!("{}-{i}", round / 2);
            payloads.push(if i % 8 == 7 { None } else { event(&id, i, i - 4) });
            if i % 8 != 7 && i >= 4 {
                ids.insert(id);
            }
        }
        for (at, payload) in topic.append(partition, &payloads).await.into_iter().zip(&payloads) {
            if payload.as_ref().is_none_or(|payload| payload.contains("\"price\": -")) {
                rejects.insert(at);
            }
        }
        // The first run is whole, and tells how long one takes here; the others are cut off ever later.
        let limit = whole * u32::try_from(round).unwrap() / 14;
        let (limit, started) = (if round == 0 { Duration::from_mins(1) } else { limit }, Instant::now());
        // Dropping the future is a crash between any two of its awaits.
        match tokio::time::timeout(limit, run(&config, &world.storage, &world.session, None, None)).await {
            Err(_) => cut += 1,
            Ok(outcome) => {
                outcome.unwrap();
                whole = if round == 0 { started.elapsed() } else { whole };
            }
        }
    }
    assert!((5..25).contains(&cut), "{cut} of 25 runs were cut off; the test needs both");
    once(&world, &config).await;
    let silver = read(&world, &config.silver, "id").await;
    let found: Vec<_> = silver.iter().map(|(_, id)| id.clone()).collect();
    assert_eq!((found.len(), found.into_iter().collect::<BTreeSet<_>>()), (ids.len(), ids));
    let quarantine: Vec<_> = read(&world, &config.quarantine(), "reason").await.into_iter().map(|(at, _)| at).collect();
    assert_eq!(quarantine, rejects.into_iter().collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_table_is_refused_by_name() {
    let world = World::new();
    let mut topic = Topic::new(&world).await;
    topic.append(0, &[event("a", 1, 1)]).await;
    let refused = async |change: &dyn Fn(&mut Silver)| {
        let mut config = config(&world);
        change(&mut config);
        match run(&config, &world.storage, &world.session, None, None).await {
            Err(LakeError::Definition { what, .. }) => what,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused(&|config| config.dedup = vec!["colour".into()]).await, "dedup column colour");
    let rule = |sql: &str| vec![Rule { name: "r".into(), sql: sql.into() }];
    assert_eq!(refused(&|config| config.rules = rule("price + 1")).await, "rule r");
    assert_eq!(refused(&|config| config.rules = rule("colour = 'red'")).await, "rule r");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_erased_leaves_every_table_and_does_not_come_back() {
    let world = World::new();
    let config = config(&world);
    let mut topic = Topic::new(&world).await;
    let of = |user: &str, id: &str, price: i64| {
        Some(format!(r#"{{"user": "{user}", "id": "{id}", "at": {NOW}, "price": {price}}}"#))
    };
    topic.append(0, &[of("ada", "1", 1), of("bob", "2", 1), of("ada", "3", -1), None]).await;
    topic.append(1, &[of("bob", "4", -1), of("ada", "5", 1)]).await;
    let whole = topic.bronze.version();
    once(&world, &config).await;
    let erasure = Erasure {
        plan: config.plan.clone(),
        entity: vec!["ada".into()],
        lake: world.uri(""),
        bronze: Some(config.bronze.clone()),
        silver: Some(config.silver.clone()),
        gold: Some(world.uri("gold/none")),
        covers: Covers { offsets: topic.ends.clone(), before_ms: NOW },
    };
    let erased = erase(&erasure, &world.storage, &world.session).await.unwrap();
    assert_eq!(erased, Erased { bronze: 3, silver: 2, quarantine: 1, gold: 0 });
    assert_eq!(erase(&erasure, &world.storage, &world.session).await.unwrap(), Erased::default());
    assert_eq!(read(&world, &config.silver, "user").await, [((0, 1), "bob".to_owned())]);
    assert_eq!(read(&world, &config.quarantine(), "reason").await.len(), 2);
    // What comes later counts.
    topic.bronze.refresh().await.unwrap();
    topic.append(0, &[of("ada", "6", 1)]).await;
    once(&world, &config).await;
    assert_eq!(read(&world, &config.silver, "id").await, [((0, 1), "2".to_owned()), ((0, 4), "6".to_owned())]);
    // A Silver made anew from the Bronze as it was before: the tombstone holds, for what was refused too.
    let anew = Silver { silver: world.uri("silver/anew"), ..config.clone() };
    run(&anew, &world.storage, &world.session, None, Some(whole)).await.unwrap();
    assert_eq!(read(&world, &anew.silver, "user").await, [((0, 1), "bob".to_owned())]);
    let rejected: Vec<_> = read(&world, &anew.quarantine(), "reason").await.into_iter().map(|(at, _)| at).collect();
    assert_eq!(rejected, [(0, 3), (1, 0)], "the refused event of who was erased is not kept anew");
    let refused = Erasure { entity: vec![7.into()], ..erasure };
    let error = erase(&refused, &world.storage, &world.session).await.unwrap_err().to_string();
    assert!(error.contains("entity key user"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_set_out_before_an_erasure_brings_nobody_back() {
    let world = World::new();
    let config = config(&world);
    let mut topic = Topic::new(&world).await;
    let of = |user: &str, id: i64| Some(format!(r#"{{"user": "{user}", "id": "{id}", "at": {NOW}, "price": 1}}"#));
    topic.append(0, &[of("ada", 1), of("bob", 2)]).await;
    once(&world, &config).await;
    let mut overtaken = 0;
    for round in 1..=12_i64 {
        let at = round * 10;
        topic.append(0, &[of("ada", at), of("bob", at + 1), of("ada", at + 2)]).await;
        let erasure = Erasure {
            plan: config.plan.clone(),
            entity: vec!["ada".into()],
            lake: world.uri(""),
            bronze: Some(config.bronze.clone()),
            silver: Some(config.silver.clone()),
            gold: None,
            covers: Covers { offsets: topic.ends.clone(), before_ms: NOW },
        };
        // At ever later points of the run.
        let (run, erased) = tokio::join!(run(&config, &world.storage, &world.session, None, None), async {
            tokio::time::sleep(Duration::from_millis(u64::try_from(round - 1).unwrap() * 15)).await;
            erase(&erasure, &world.storage, &world.session).await
        });
        erased.unwrap();
        match run {
            Err(LakeError::Superseded { .. }) => overtaken += 1,
            run => drop(run.unwrap()),
        }
        topic.bronze.refresh().await.unwrap();
        let left = read(&world, &config.silver, "user").await;
        assert!(left.iter().all(|(_, user)| user == "bob"), "round {round}: {left:?}");
    }
    assert!(overtaken > 0, "no run was under way when it mattered");
    once(&world, &config).await;
    let left = read(&world, &config.silver, "user").await;
    assert_eq!(left.len(), 13, "every event of others is there once: {left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_is_behind_is_waited_for() {
    let world = World::new();
    let mut topic = Topic::new(&world).await;
    let payload = |user: &str| Some(format!(r#"{{"user": "{user}", "id": "1", "at": {NOW}}}"#));
    topic.append(0, &[payload("ada"), payload("bob")]).await;
    let mut erasure = Erasure {
        plan: Arc::new(plan()),
        entity: vec!["ada".into()],
        lake: world.uri(""),
        bronze: Some(world.uri("bronze/events")),
        silver: None,
        gold: None,
        covers: Covers { offsets: [(0, 3), (1, 0)].into(), before_ms: NOW },
    };
    let behind = erase(&erasure, &world.storage, &world.session).await.unwrap_err();
    assert!(
        matches!(behind, LakeError::Behind { partition: 0, at: 2, end: 3, .. }) && behind.is_transient(),
        "{behind}"
    );
    topic.append(0, &[payload("ada")]).await;
    let erased = erase(&erasure, &world.storage, &world.session).await.unwrap();
    assert_eq!(erased, Erased { bronze: 2, ..Erased::default() });
    erasure.bronze = Some(world.uri("bronze/others"));
    let error = erase(&erasure, &world.storage, &world.session).await.unwrap_err();
    assert!(matches!(error, LakeError::Behind { at: 0, .. }), "an archive that is yet to be made: {error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_is_rid_of_an_entity_however_its_key_is_written() {
    let world = World::new();
    let mut keyed = plan();
    let account = keyed.source.columns.iter_mut().find(|column| column.name == "id").unwrap();
    account.value_type = engine::value::ValueType::Decimal { precision: 9, scale: 2 };
    keyed.entity = vec!["id".into()];
    let mut topic = Topic::new(&world).await;
    let payload = |id: &str| Some(format!(r#"{{"user": "u", "id": {id}, "at": {NOW}}}"#));
    topic.append(0, &["\"4.2\"", "4.2", "4.20", "42e-1", "4.3"].map(payload)).await;
    let erasure = Erasure {
        plan: Arc::new(keyed),
        entity: vec!["4.2".into()],
        lake: world.uri(""),
        bronze: Some(world.uri("bronze/events")),
        silver: None,
        gold: None,
        covers: Covers { offsets: topic.ends.clone(), before_ms: NOW },
    };
    let erased = erase(&erasure, &world.storage, &world.session).await.unwrap();
    assert_eq!(erased, Erased { bronze: 4, ..Erased::default() });
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_erased_leaves_the_tables_of_revisions_that_ended_too() {
    let world = World::new();
    let made = |name: &str| Silver { silver: world.uri(&format!("silver/{name}")), ..config(&world) };
    let (live, ended, anothers) = (made("shop.clicks.aaaaaaaa"), made("shop.clicks.bbbbbbbb"), made("shop.clicks.c"));
    let mut plan = plan();
    plan.view.uid = "another".into();
    let anothers = Silver { plan: Arc::new(plan), ..anothers };
    let mut topic = Topic::new(&world).await;
    let of = |user: &str, id: &str, price: i64| {
        Some(format!(r#"{{"user": "{user}", "id": "{id}", "at": {NOW}, "price": {price}}}"#))
    };
    topic.append(0, &[of("ada", "1", 1), of("bob", "2", 1), of("ada", "3", -1)]).await;
    for config in [&live, &ended, &anothers] {
        once(&world, config).await;
    }
    let erasure = Erasure {
        plan: live.plan.clone(),
        entity: vec!["ada".into()],
        lake: world.uri(""),
        bronze: None,
        silver: Some(live.silver.clone()),
        gold: None,
        covers: Covers { offsets: topic.ends.clone(), before_ms: NOW },
    };
    let erased = erase(&erasure, &world.storage, &world.session).await.unwrap();
    assert_eq!(erased, Erased { silver: 2, quarantine: 2, ..Erased::default() });
    for config in [&live, &ended] {
        assert_eq!(read(&world, &config.silver, "user").await, [((0, 1), "bob".to_owned())]);
        assert!(read(&world, &config.quarantine(), "reason").await.is_empty());
    }
    assert_eq!(read(&world, &anothers.silver, "user").await.len(), 2, "a table of another is not ours to change");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_from_long_before_history_spoils_no_table() {
    let world = World::new();
    let mut plan = plan();
    plan.time.retention_ms = None;
    let config = Silver { plan: Arc::new(plan), ..config(&world) };
    let mut topic = Topic::new(&world).await;
    let limit = engine::time::TIME_LIMIT;
    let of = |id: usize, at: i64| Some(format!(r#"{{"user": "u", "id": "{id}", "at": {at}, "price": 1}}"#));
    let year = 31_557_600_000_i64;
    let times = [NOW, -limit, -limit + 1, -20_000 * year, -3_000 * year, -1, 0];
    let payloads: Vec<_> = times.iter().enumerate().map(|(id, at)| of(id, *at)).collect();
    topic.append(0, &payloads).await;
    topic.append(0, &[of(10, NOW - 1)]).await;
    let report = once(&world, &config).await;
    assert_eq!((report.read, report.added, report.rejected), (8, 8, 0));
    assert_eq!(read(&world, &config.silver, "id").await.len(), 8);
    // What is skipped by statistics, too.
    for uri in [&config.bronze, &config.silver] {
        let table = open(uri, &world.storage, None).await.unwrap();
        let name = if uri == &config.bronze { bronze::EVENT_TIME } else { lake::silver::EVENT_TIME };
        let at = |ms: i64| {
            let value = datafusion::common::ScalarValue::TimestampMicrosecond(Some(ms * 1_000), Some("UTC".into()));
            datafusion::prelude::lit(value)
        };
        for (from, count) in [(-limit, 8), (-limit + 1, 7), (-1, 4), (NOW, 1)] {
            let frame = source::frame(&table, uri, &world.session).await.unwrap();
            let frame = frame.filter(datafusion::prelude::ident(name).gt_eq(at(from))).unwrap();
            assert_eq!(frame.count().await.unwrap(), count, "{uri} from {from}");
        }
        let maintenance = lake::maintain::Maintenance {
            retention: Duration::from_hours(48),
            target_bytes: std::num::NonZeroU64::new(1 << 26).unwrap(),
        };
        lake::maintain::maintain(uri, &world.storage, &world.session, maintenance).await.unwrap();
    }
    topic.bronze.refresh().await.unwrap();
    topic.append(0, &[of(11, NOW)]).await;
    once(&world, &config).await;
    assert_eq!(read(&world, &config.silver, "id").await.len(), 9);
}

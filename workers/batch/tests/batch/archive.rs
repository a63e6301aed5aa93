//! Runs that read an archive, which several views share: each means another time by its events.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Date32Array, Int32Array, Int64Array, RecordBatch, TimestampMicrosecondArray, new_null_array,
};
use batch::config::{Completeness, Rows, SourceTable};
use engine::plan::{Table, TableFormat, TimestampField, TimestampUnit};
use lake::bronze::{self, Bronze, Chunk, Progress};
use lake::{Identity, Owner, Storage};

use crate::fixtures::{DAY, HOUR, MINUTE};
use crate::oracle;
use crate::source::{Event, START};
use crate::world::World;

/// An archive of these events, whose times it reads `by` a field as `event_time`.
pub async fn archive(uri: &str, events: &[Event], by: &TimestampField, event_time: impl Fn(usize, i64) -> i64) {
    let times: Vec<i64> = events.iter().map(|event| event.at.unwrap()).collect();
    let payload = |event: &Event| {
        let Event { user, at, kind, amount } = event;
        serde_json::json!({"user": user, "at": at, "kind": kind, "amount": amount}).to_string()
    };
    let payloads: Vec<String> = events.iter().map(payload).collect();
    let count = i64::try_from(events.len()).unwrap();
    let micros = |times: Vec<i64>| {
        let times = times.into_iter().map(|time| time * 1_000);
        Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC")) as ArrayRef
    };
    let schema = bronze::schema();
    let null = |name: &str| new_null_array(schema.field_with_name(name).unwrap().data_type(), events.len());
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from_value(0, events.len())),
        Arc::new(Int64Array::from_iter_values(0..count)),
        micros(times.iter().map(|time| time + MINUTE).collect()),
        micros(times.iter().enumerate().map(|(i, time)| event_time(i, *time)).collect()),
        null(bronze::KEY),
        Arc::new(BinaryArray::from_iter_values(&payloads)),
        null(bronze::HEADERS),
        Arc::new(Date32Array::from_iter_values(times.iter().map(|time| i32::try_from(time / DAY).unwrap()))),
    ];
    let until = START + 2 * DAY;
    let progress = Progress { offset: count, event_time: Some(until), end_offset: count, read_to_end_at: until };
    let chunk = Chunk {
        batches: vec![RecordBatch::try_new(schema.clone(), columns).unwrap()],
        progress: BTreeMap::from([(0, (None, progress))]),
        partitions: 1,
        gaps: Vec::new(),
    };
    let identity = Identity { uid: "architecture".to_owned(), owner: Owner::Topic("events".to_owned()) };
    Bronze::open(uri, &Storage::local(), identity, Some(by)).await.unwrap().append(&chunk).await.unwrap();
}

pub fn day_of_events() -> Vec<Event> {
    let event = |i: i64| Event {
        user: Some(format!("u{}", i % 3)),
        at: Some(START + i * HOUR),
        kind: Some("buy".to_owned()),
        amount: Some(i),
    };
    (0..24).map(event).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_is_read_as_the_events_themselves_are() {
    let mut world = World::new().await;
    let uri = world.folder.path().join("bronze").display().to_string();
    let events = day_of_events();
    archive(&uri, &events, &world.plan().source.timestamp, |_, time| time).await;
    world.config.source = Some(SourceTable { table: Table { uri, format: TableFormat::Delta }, rows: Rows::Archive });
    world.config.completeness = Completeness::Archive;
    world.run_to(0).await;
    let head = world.head().await.unwrap();
    assert_eq!(head.horizon, START + 2 * DAY - HOUR);
    let counts = |served: &crate::world::Served| {
        served.iter().map(|(user, values)| (user.clone(), values["events"].clone())).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(counts(&world.served().await), counts(&oracle::values(&events, head.horizon)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_means_another_time_by_its_events_is_refused() {
    let mut world = World::new().await;
    let uri = world.folder.path().join("bronze").display().to_string();
    // The view by whose field the archive goes means, of every other event, a time days later.
    let theirs = TimestampField { field: "seen_at".to_owned(), unit: TimestampUnit::Milliseconds };
    archive(&uri, &day_of_events(), &theirs, |i, time| if i % 2 == 0 { time } else { time + 5 * DAY }).await;
    world.config.source = Some(SourceTable { table: Table { uri, format: TableFormat::Delta }, rows: Rows::Archive });
    world.config.completeness = Completeness::Archive;
    let ended = world.run_to(2).await;
    assert!(ended.log.contains("by seen_at in Milliseconds, not by at in Milliseconds"), "{}", ended.log);
    assert!(world.head().await.is_none_or(|head| head.generation == 0), "it served something");
}

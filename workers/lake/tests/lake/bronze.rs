//! Bronze: positions, zombies, completeness, compaction, going back.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, BinaryArray, Date32Array, Int32Array, Int64Array, RecordBatch};
use arrow::array::{TimestampMicrosecondArray, new_null_array};
use arrow::datatypes::{Int32Type, Int64Type};
use lake::bronze::{self, Bronze, Chunk, Progress};
use lake::maintain::{Maintenance, maintain, restore};
use lake::{Identity, LakeError, Owner, completeness, open, source};

use super::fixtures::World;

fn identity() -> Identity {
    Identity { uid: "u".into(), owner: Owner::Topic("events".into()) }
}

fn records(partition: i32, from: i64, to: i64) -> RecordBatch {
    let rows = usize::try_from(to - from).unwrap();
    let times =
        || TimestampMicrosecondArray::from_iter_values((from..to).map(|offset| offset * 1_000)).with_timezone("UTC");
    let payloads: Vec<String> = (from..to).map(|offset| format!("{partition}:{offset}")).collect();
    let schema = bronze::schema();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from(vec![partition; rows])),
        Arc::new(Int64Array::from_iter_values(from..to)),
        Arc::new(times()),
        Arc::new(times()),
        new_null_array(schema.field(4).data_type(), rows),
        Arc::new(BinaryArray::from_iter_values(&payloads)),
        new_null_array(schema.field(6).data_type(), rows),
        Arc::new(Date32Array::from(vec![0; rows])),
    ];
    RecordBatch::try_new(schema, columns).unwrap()
}

fn chunk(of: &[(i32, Option<i64>, i64)], partitions: i32) -> Chunk {
    let mut chunk = Chunk { partitions, ..Chunk::default() };
    for (partition, after, to) in of {
        chunk.batches.push(records(*partition, after.unwrap_or(0), *to));
        let progress = Progress { offset: *to, event_time: Some(*to - 1), end_offset: *to + 1, read_to_end_at: 0 };
        chunk.progress.insert(*partition, (*after, progress));
    }
    chunk
}

async fn coordinates(world: &World, uri: &str, version: Option<u64>) -> Vec<(i32, i64)> {
    let table = open(uri, &world.storage, version).await.unwrap();
    let frame = source::frame(&table, uri, &world.session).await.unwrap();
    let batches = frame.select_columns(&["partition", "offset"]).unwrap().collect().await.unwrap();
    let mut found = Vec::new();
    for batch in batches {
        let (partitions, offsets) =
            (batch.column(0).as_primitive::<Int32Type>().clone(), batch.column(1).as_primitive::<Int64Type>().clone());
        found.extend(partitions.values().iter().copied().zip(offsets.values().iter().copied()));
    }
    found.sort_unstable();
    found
}

fn up_to(ends: &[i64]) -> Vec<(i32, i64)> {
    (0..).zip(ends).flat_map(|(partition, end)| (0..*end).map(move |offset| (partition, offset))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_offset_stands_once_whatever_zombies_do_and_states_add_up() {
    let world = World::new();
    let uri = bronze::uri(&world.uri("lake"), "events");
    let mut a = Bronze::open(&uri, &world.storage, identity(), None).await.unwrap();
    let mut b = Bronze::open(&uri, &world.storage, identity(), None).await.unwrap();
    assert_eq!(a.positions(&[0, 1]).await.unwrap(), [(0, None), (1, None)].into());
    a.append(&chunk(&[(0, None, 10)], 2)).await.unwrap();
    // Another partition, of a worker that has not seen this commit: both states are kept.
    b.append(&chunk(&[(1, None, 4)], 2)).await.unwrap();
    assert_eq!(b.state().progress.keys().copied().collect::<Vec<_>>(), [0, 1]);
    // The same partition: refused, and nothing is written.
    let error = a.append(&chunk(&[(0, Some(10), 12), (1, None, 4)], 2)).await.unwrap_err();
    assert!(matches!(error, LakeError::Superseded { .. }), "{error}");
    a.refresh().await.unwrap();
    assert_eq!(a.positions(&[0, 1]).await.unwrap(), [(0, Some(10)), (1, Some(4))].into());
    a.append(&chunk(&[(0, Some(10), 12), (1, Some(4), 5)], 2)).await.unwrap();
    assert_eq!(coordinates(&world, &uri, None).await, up_to(&[12, 5]));
    let table = open(&uri, &world.storage, None).await.unwrap();
    assert_eq!(completeness(&table, &uri).await.unwrap(), Some(4));
    // Time travel: the first commit knew nothing of partition 1.
    let then = open(&uri, &world.storage, Some(1)).await.unwrap();
    assert_eq!(completeness(&then, &uri).await.unwrap(), None);
    assert_eq!(coordinates(&world, &uri, Some(1)).await, up_to(&[10]));
}

#[tokio::test(flavor = "multi_thread")]
async fn compaction_keeps_the_rows_and_the_state() {
    let world = World::new();
    let uri = bronze::uri(&world.uri("lake"), "events");
    let mut bronze = Bronze::open(&uri, &world.storage, identity(), None).await.unwrap();
    for step in 0..6 {
        let after = (step > 0).then_some(step * 10);
        bronze.append(&chunk(&[(0, after, step * 10 + 10)], 1)).await.unwrap();
    }
    let maintenance =
        Maintenance { retention: Duration::from_hours(1), target_bytes: NonZeroU64::new(64 << 20).unwrap() };
    let done = maintain(&uri, &world.storage, &world.session, maintenance).await.unwrap();
    assert_eq!((done.merged, done.into), (6, 1));
    assert_eq!(coordinates(&world, &uri, None).await, up_to(&[60]));
    assert_eq!(coordinates(&world, &uri, Some(3)).await, up_to(&[30]));
    // The worker that was running all the while goes on behind it.
    bronze.append(&chunk(&[(0, Some(60), 61)], 1)).await.unwrap();
    assert_eq!(coordinates(&world, &uri, None).await, up_to(&[61]));
    assert_eq!(bronze.state().progress[&0].offset, 61);
    // Without retention only the newest version is left.
    let now = Maintenance { retention: Duration::ZERO, ..maintenance };
    let done = maintain(&uri, &world.storage, &world.session, now).await.unwrap();
    assert!(done.vacuumed >= 6, "{done:?}");
    assert_eq!(coordinates(&world, &uri, None).await, up_to(&[61]));
    let mut again = Bronze::open(&uri, &world.storage, identity(), None).await.unwrap();
    assert_eq!(again.positions(&[0]).await.unwrap(), [(0, Some(61))].into());
    again.append(&chunk(&[(0, Some(61), 70)], 1)).await.unwrap();
    assert_eq!(coordinates(&world, &uri, None).await, up_to(&[70]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_bronze_reads_again_what_came_later() {
    let world = World::new();
    let uri = bronze::uri(&world.uri("lake"), "events");
    let mut bronze = Bronze::open(&uri, &world.storage, identity(), None).await.unwrap();
    bronze.append(&chunk(&[(0, None, 10)], 2)).await.unwrap();
    bronze.append(&chunk(&[(0, Some(10), 20), (1, None, 3)], 2)).await.unwrap();
    let ids = [bronze::app_id("u", 0), bronze::app_id("u", 1)];
    restore(&uri, &world.storage, 1, &ids).await.unwrap();
    assert_eq!(coordinates(&world, &uri, None).await, up_to(&[10]));
    // The running worker is told, also when it has nothing to add but that there is nothing.
    let mut idle = Bronze::open(&uri, &world.storage, identity(), None).await.unwrap();
    idle.append(&chunk(&[(0, Some(10), 20), (1, None, 3)], 2)).await.unwrap();
    let still = Chunk { batches: Vec::new(), ..chunk(&[(0, Some(20), 20)], 2) };
    restore(&uri, &world.storage, 1, &ids).await.unwrap();
    let error = idle.append(&still).await.unwrap_err();
    assert!(matches!(error, LakeError::Superseded { found: Some(10), .. }), "{error}");
    // It finds where to go back to.
    let error = bronze.append(&chunk(&[(0, Some(20), 25)], 2)).await.unwrap_err();
    assert!(matches!(error, LakeError::Superseded { found: Some(10), .. }), "{error}");
    bronze.refresh().await.unwrap();
    assert_eq!(bronze.positions(&[0, 1]).await.unwrap(), [(0, Some(10)), (1, None)].into());
    assert_eq!(bronze.state().progress.len(), 1);
    bronze.append(&chunk(&[(0, Some(10), 25), (1, None, 3)], 2)).await.unwrap();
    assert_eq!(coordinates(&world, &uri, None).await, up_to(&[25, 3]));
    restore(&uri, &world.storage, 0, &ids).await.unwrap();
    assert_eq!(coordinates(&world, &uri, None).await, []);
    let table = open(&uri, &world.storage, None).await.unwrap();
    assert_eq!(bronze::completeness(&table, &uri).await.unwrap(), None);
}

//! Deletions beside other writers of the table.
#![allow(clippy::unwrap_used)]

use std::num::NonZeroU64;
use std::time::Duration;

use arrow::array::{AsArray, Int32Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use serde_json::Map;
use tempfile::TempDir;

use super::*;
use crate::maintain::{Maintenance, maintain};
use crate::session::{SessionOptions, session};
use crate::table::{Identity, Owner, TableSpec};
use crate::{append, ensure, source};

fn schema() -> SchemaRef {
    let field = |name: &str, data_type| Field::new(name, data_type, false);
    Arc::new(Schema::new(vec![field("partition", DataType::Int32), field("offset", DataType::Int64)]))
}

/// A table of records, in a folder of its own.
struct World {
    _folder: TempDir,
    uri: String,
    storage: Storage,
    session: SessionContext,
}

impl World {
    async fn new(files: &[std::ops::Range<i64>]) -> Self {
        let folder = TempDir::new().unwrap();
        let options = SessionOptions { memory_bytes: 256 << 20, threads: 2, ..SessionOptions::default() };
        let (uri, session) = (folder.path().join("t").display().to_string(), session(&options).unwrap());
        let world = Self { _folder: folder, uri, storage: Storage::local(), session };
        for offsets in files {
            world.append(offsets.clone()).await;
        }
        world
    }

    async fn append(&self, offsets: std::ops::Range<i64>) {
        let owner = Owner::Topic("events".to_owned());
        let spec = TableSpec {
            schema: schema(),
            partition_by: Vec::new(),
            identity: Identity { uid: "u".to_owned(), owner },
            properties: Vec::new(),
            evolves: false,
        };
        let mut table = ensure(&self.uri, &self.storage, &spec).await.unwrap();
        let offsets: Vec<i64> = offsets.collect();
        let partitions = Int32Array::from(vec![0; offsets.len()]);
        let batch =
            RecordBatch::try_new(schema(), vec![Arc::new(partitions), Arc::new(Int64Array::from(offsets))]).unwrap();
        append(&mut table, &self.uri, &[batch], None, Map::new()).await.unwrap();
    }

    async fn open(&self) -> DeltaTable {
        table::open(&self.uri, &self.storage, None).await.unwrap()
    }

    async fn offsets(&self) -> Vec<i64> {
        let frame = source::frame(&self.open().await, &self.uri, &self.session).await.unwrap();
        let batches = frame.select_columns(&["offset"]).unwrap().collect().await.unwrap();
        let mut offsets: Vec<i64> =
            batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
        offsets.sort_unstable();
        offsets
    }
}

const COLUMNS: [&str; 2] = ["partition", "offset"];

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_a_compaction_overtook_is_made_anew() {
    let world = World::new(&[0..10, 10..20, 20..30]).await;
    let before = world.open().await;
    let maintenance =
        Maintenance { retention: Duration::from_hours(2), target_bytes: NonZeroU64::new(1 << 28).unwrap() };
    let done = maintain(&world.uri, &world.storage, &world.session, maintenance).await.unwrap();
    assert_eq!((done.merged, done.into), (3, 1));
    // To go on as if nothing had happened would leave the records in the merged file, and all others twice.
    let rows = records(COLUMNS, 0, &[3, 15]);
    let overtaken = delete_from(before, &world.session, &rows).await;
    assert!(matches!(overtaken, Err(DeltaTableError::Transaction { .. })), "{overtaken:?}");
    assert_eq!(delete(&world.uri, &world.storage, &world.session, &rows).await.unwrap(), 2);
    assert_eq!(world.offsets().await, (0..30).filter(|offset| ![3, 15].contains(offset)).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_of_many_records_is_not_held_up_by_a_worker_that_appends() {
    let world = World::new(&[0..100, 100..200]).await;
    let gone: Vec<i64> = (0..150).filter(|offset| offset % 3 == 0).collect();
    let before = world.open().await;
    world.append(200..210).await;
    assert_eq!(delete_from(before, &world.session, &records(COLUMNS, 0, &gone)).await.unwrap(), gone.len());
    assert_eq!(world.offsets().await, (0..210).filter(|offset| !gone.contains(offset)).collect::<Vec<_>>());
}

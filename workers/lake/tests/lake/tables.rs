//! Whose a table is, what it takes, and reading it as it was.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use futures::future::join_all;
use lake::table::{UID, properties};
use lake::{COMPLETE_UNTIL, LakeError, append, completeness, ensure, open, source};
use serde_json::{Map, Value};

use super::fixtures::{World, batch, identity, schema, spec};

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_ours_is_made_once_and_anothers_is_refused() {
    let world = World::new();
    let uri = world.uri("t");
    assert!(matches!(open(&uri, &world.storage, None).await, Err(LakeError::Missing { .. })));
    // Several workers start at the same moment.
    let all = join_all((0..8).map(|_| async { ensure(&uri, &world.storage, &spec("a")).await })).await;
    for table in all {
        let table = table.unwrap();
        assert_eq!(table.version(), Some(0));
        assert_eq!(properties(&table, &uri).unwrap().get(UID).map(String::as_str), Some("a"));
    }
    let error = ensure(&uri, &world.storage, &spec("b")).await.unwrap_err().to_string();
    assert!(error.contains("belongs to view shop/clicks (a)") && error.contains("(b)"), "{error}");
    // Also one that nobody marked.
    let plain = world.uri("plain");
    let log = open(&uri, &world.storage, None).await.unwrap();
    drop(log);
    let url = lake::address(&plain).unwrap();
    std::fs::create_dir_all(&plain).unwrap();
    let table = deltalake::DeltaTable::try_from_url(url).await.unwrap();
    table.write([batch(&[1])]).await.unwrap();
    let error = ensure(&plain, &world.storage, &spec("a")).await.unwrap_err();
    assert!(matches!(error, LakeError::Foreign { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_does_not_fit_is_refused_by_its_column() {
    let world = World::new();
    let uri = world.uri("t");
    ensure(&uri, &world.storage, &spec("a")).await.unwrap();
    let with = |fields: Vec<Field>| lake::TableSpec { schema: Arc::new(Schema::new(fields)), ..spec("a") };
    let number = || Field::new("number", DataType::Int64, false);
    let text = || Field::new("text", DataType::Utf8, true);
    let column = async |spec: lake::TableSpec| match ensure(&uri, &world.storage, &spec).await {
        Err(LakeError::Schema { column, .. }) => Some(column),
        Ok(_) => None,
        Err(other) => panic!("{other}"),
    };
    assert_eq!(column(with(vec![number(), Field::new("text", DataType::Int64, true)])).await.as_deref(), Some("text"));
    assert_eq!(column(with(vec![number()])).await.as_deref(), Some("text"));
    let price = || Field::new("price", DataType::Float64, true);
    assert_eq!(column(with(vec![number(), text(), price()])).await.as_deref(), Some("price"));
    let nullable = Field::new("number", DataType::Int64, true);
    assert_eq!(column(with(vec![nullable, text()])).await.as_deref(), Some("number"));
    let partitioned = lake::TableSpec { partition_by: vec!["text".into()], ..spec("a") };
    assert_eq!(column(partitioned).await.as_deref(), Some("text"));
    // Another way to write the same type is the same type.
    assert_eq!(column(with(vec![number(), Field::new("text", DataType::Utf8View, true)])).await, None);

    // One that may evolve gets the column, and keeps what only it has.
    let mut evolving = with(vec![number(), price()]);
    evolving.evolves = true;
    let mut table = ensure(&uri, &world.storage, &evolving).await.unwrap();
    append(&mut table, &uri, &[batch(&[1])], None, Map::new()).await.unwrap();
    assert_eq!(lake::table::schema(&table, &uri).unwrap().fields().len(), 3);
    assert_eq!(world.numbers(&table).await, [1]);
    assert_eq!(schema().fields().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_version_reads_as_it_was() {
    let world = World::new();
    let uri = world.uri("t");
    let mut table = ensure(&uri, &world.storage, &spec("a")).await.unwrap();
    for number in 1..=3 {
        append(&mut table, &uri, &[batch(&[number])], None, Map::new()).await.unwrap();
    }
    for (version, numbers) in [(0, vec![]), (1, vec![1]), (2, vec![1, 2]), (3, vec![1, 2, 3])] {
        let then = open(&uri, &world.storage, Some(version)).await.unwrap();
        assert_eq!(world.numbers(&then).await, numbers, "version {version}");
    }
    let error = open(&uri, &world.storage, Some(4)).await.unwrap_err();
    assert!(matches!(error, LakeError::Version { version: 4, .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn completeness_is_what_the_newest_commit_or_the_property_says() {
    let world = World::new();
    let uri = world.uri("t");
    let mut spec = spec("a");
    spec.properties.push((COMPLETE_UNTIL.to_owned(), "1970-01-01T00:00:05Z".to_owned()));
    let mut table = ensure(&uri, &world.storage, &spec).await.unwrap();
    assert_eq!(completeness(&table, &uri).await.unwrap(), Some(5_000));
    append(&mut table, &uri, &[batch(&[1])], None, Map::new()).await.unwrap();
    let declared = Map::from_iter([(COMPLETE_UNTIL.to_owned(), Value::from(7_000))]);
    append(&mut table, &uri, &[batch(&[2])], None, declared).await.unwrap();
    append(&mut table, &uri, &[batch(&[3])], None, Map::new()).await.unwrap();
    assert_eq!(completeness(&table, &uri).await.unwrap(), Some(7_000));
    let then = open(&uri, &world.storage, Some(1)).await.unwrap();
    assert_eq!(completeness(&then, &uri).await.unwrap(), Some(5_000));
    let other = world.uri("other");
    let table = ensure(&other, &world.storage, &super::fixtures::spec("a")).await.unwrap();
    assert_eq!(completeness(&table, &other).await.unwrap(), None);
    assert_eq!(identity("a").uid, "a");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_parquet_files_is_a_source() {
    let world = World::new();
    let uri = world.uri("t");
    let mut table = ensure(&uri, &world.storage, &spec("a")).await.unwrap();
    append(&mut table, &uri, &[batch(&[1, 2])], None, Map::new()).await.unwrap();
    // Delta's data files, without their log.
    let folder = world.uri("parquet");
    std::fs::create_dir(&folder).unwrap();
    for file in std::fs::read_dir(&uri).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "parquet") {
            std::fs::copy(&path, std::path::Path::new(&folder).join(path.file_name().unwrap())).unwrap();
        }
    }
    let frame = source::parquet(&folder, &world.storage, &world.session).await.unwrap();
    assert_eq!(frame.count().await.unwrap(), 2);
    let empty = world.uri("empty");
    std::fs::create_dir(&empty).unwrap();
    assert!(source::parquet(&empty, &world.storage, &world.session).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_its_owner_restored_is_as_complete_as_it_was_then() {
    let world = World::new();
    let uri = world.uri("t");
    let mut table = ensure(&uri, &world.storage, &spec("a")).await.unwrap();
    for (number, until) in [(1, 5_000), (2, 7_000), (3, 9_000)] {
        let declared = Map::from_iter([(COMPLETE_UNTIL.to_owned(), Value::from(until))]);
        append(&mut table, &uri, &[batch(&[number])], None, declared).await.unwrap();
    }
    // As any tool does it, which knows nothing of us.
    let restored = |version: u64| {
        let (uri, storage) = (uri.clone(), world.storage.clone());
        async move {
            let table = open(&uri, &storage, None).await.unwrap();
            table.restore().with_version_to_restore(version).await.unwrap();
            open(&uri, &storage, None).await.unwrap()
        }
    };
    let table = restored(2).await;
    assert_eq!((world.numbers(&table).await, completeness(&table, &uri).await.unwrap()), (vec![1, 2], Some(7_000)));
    let mut table = restored(1).await;
    assert_eq!((world.numbers(&table).await, completeness(&table, &uri).await.unwrap()), (vec![1], Some(5_000)));
    append(&mut table, &uri, &[batch(&[4])], None, Map::new()).await.unwrap();
    assert_eq!(completeness(&table, &uri).await.unwrap(), Some(5_000));
    let declared = Map::from_iter([(COMPLETE_UNTIL.to_owned(), Value::from(8_000))]);
    append(&mut table, &uri, &[batch(&[5])], None, declared).await.unwrap();
    assert_eq!(completeness(&table, &uri).await.unwrap(), Some(8_000));
    let table = restored(0).await;
    assert_eq!(completeness(&table, &uri).await.unwrap(), None);
}

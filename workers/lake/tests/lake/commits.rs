//! Commits are made once, whoever else writes.

use futures::future::join_all;
use lake::commit::{Txn, commit};
use lake::files::Writer;
use lake::{LakeError, append, ensure, last_txn, open};
use serde_json::Map;

use super::fixtures::{World, batch, spec};

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_made_once() {
    let world = World::new();
    let uri = world.uri("t");
    let mut table = ensure(&uri, &world.storage, &spec("a")).await.unwrap();
    assert_eq!(last_txn(&table, &uri, "app").await.unwrap(), None);
    assert!(append(&mut table, &uri, &[batch(&[1])], Some(("app", 5)), Map::new()).await.unwrap());
    assert!(!append(&mut table, &uri, &[batch(&[1])], Some(("app", 5)), Map::new()).await.unwrap());
    assert!(!append(&mut table, &uri, &[batch(&[0])], Some(("app", 4)), Map::new()).await.unwrap());
    assert!(append(&mut table, &uri, &[batch(&[2])], Some(("app", 6)), Map::new()).await.unwrap());
    assert_eq!(last_txn(&table, &uri, "app").await.unwrap(), Some(6));
    assert_eq!(world.numbers(&table).await, [1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_is_told_and_writes_nothing() {
    let world = World::new();
    let uri = world.uri("t");
    let mut owner = ensure(&uri, &world.storage, &spec("a")).await.unwrap();
    let mut zombie = owner.clone();
    append(&mut owner, &uri, &[batch(&[1])], Some(("app", 1)), Map::new()).await.unwrap();
    // It looked before the owner wrote.
    let mut writer = Writer::new(&zombie, &uri).unwrap();
    writer.write(&batch(&[1])).await.unwrap();
    let adds = writer.finish().await.unwrap();
    let txns = [Txn { app_id: "app".into(), after: None, version: 1 }];
    let error = commit(&mut zombie, &uri, adds, &txns, &Map::new()).await.unwrap_err();
    assert!(matches!(error, LakeError::Superseded { found: Some(1), .. }), "{error}");
    let table = open(&uri, &world.storage, None).await.unwrap();
    assert_eq!((table.version(), world.numbers(&table).await), (Some(1), vec![1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_of_different_transactions_all_come_through() {
    let world = World::new();
    let uri = world.uri("t");
    let table = ensure(&uri, &world.storage, &spec("a")).await.unwrap();
    let writer = |app: i64| {
        let (mut table, uri) = (table.clone(), uri.clone());
        async move {
            let id = format!("app-{app}");
            for version in 0..5 {
                let batch = batch(&[app * 10 + version]);
                assert!(append(&mut table, &uri, &[batch], Some((&id, version)), Map::new()).await.unwrap());
            }
        }
    };
    join_all((0..4).map(writer)).await;
    let table = open(&uri, &world.storage, None).await.unwrap();
    let expected: Vec<i64> = (0..4).flat_map(|app| (0..5).map(move |version| app * 10 + version)).collect();
    assert_eq!((table.version(), world.numbers(&table).await), (Some(20), expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_do_not_fit_are_refused_by_their_column() {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, RecordBatch, StringArray};

    let world = World::new();
    let uri = world.uri("t");
    let mut table = ensure(&uri, &world.storage, &spec("a")).await.unwrap();
    let of = |columns: Vec<(&str, ArrayRef)>| RecordBatch::try_from_iter(columns).unwrap();
    let texts = |text: &str| Arc::new(StringArray::from(vec![text])) as ArrayRef;
    for (batch, column) in [
        (of(vec![("number", texts("many"))]), "number"),
        (of(vec![("text", texts("no number"))]), "number"),
        (of(vec![("number", texts("1")), ("colour", texts("red"))]), "colour"),
    ] {
        match append(&mut table, &uri, &[batch], None, Map::new()).await {
            Err(LakeError::Schema { column: found, .. }) => assert_eq!(found, column),
            other => panic!("{other:?}"),
        }
    }
    append(&mut table, &uri, &[of(vec![("number", texts("12"))])], None, Map::new()).await.unwrap();
    assert_eq!((table.version(), world.numbers(&table).await), (Some(1), vec![12]));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_a_run_of_hours_outlive_a_vacuum_until_their_commit() {
    let world = World::new();
    let uri = world.uri("t");
    let mut table = ensure(&uri, &world.storage, &spec("a")).await.unwrap();
    let mut writer = Writer::new(&table, &uri).unwrap();
    writer.write(&batch(&[1, 2])).await.unwrap();
    let adds = writer.finish().await.unwrap();
    let written = std::time::SystemTime::now() - std::time::Duration::from_hours(5);
    for add in &adds {
        let path = std::path::Path::new(&uri).join(&add.path);
        std::fs::File::options().append(true).open(path).unwrap().set_modified(written).unwrap();
    }
    lake::maintain::vacuum(&uri, &world.storage, std::time::Duration::from_hours(4)).await.unwrap();
    commit(&mut table, &uri, adds, &[], &Map::new()).await.unwrap();
    let table = open(&uri, &world.storage, None).await.unwrap();
    assert_eq!(world.numbers(&table).await, [1, 2]);
}

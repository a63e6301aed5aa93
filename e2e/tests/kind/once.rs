//! What is done once, on the cluster: a training set whose every value equals DuckDB, and a person who is removed from everywhere.

use std::collections::BTreeMap;
use std::time::Duration;

use e2e::clickstream::Clickstream;
use e2e::cluster::Cluster;
use e2e::history::{self, History};
use e2e::oracle;
use e2e::progress::wait_for;
use jiff::Timestamp;
use serde_json::Value;

use crate::modes::{example, history as write_history, horizon, lake, send, table};
use crate::values::features;
use crate::world::{SHOPPER, World};

const TRAINING_SET: &str = include_str!("../../../examples/training-set.yaml");
const ERASURE: &str = include_str!("../../../examples/erasure.yaml");
const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

/// Waits until an object is done; if it is not, says what it tells.
fn complete(world: &World, object: &str) {
    if let Err(error) = world.kubectl(&["wait", object, "--for=condition=Complete", "--timeout=300s"]) {
        let told = world.kubectl(&["get", object, "-o", "yaml"]).unwrap_or_else(|e| e);
        panic!("{error}\n{told}");
    }
}

fn status(world: &World, object: &str) -> Value {
    serde_json::from_str(&world.kubectl(&["get", object, "-o", "jsonpath={.status}"]).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_value_of_a_training_set_equals_duckdb() {
    let world = World::bare("training-set", 1).await;
    let clickstream = Clickstream::fetch().unwrap().ending_at(Timestamp::now().as_millisecond() - 10 * DAY);
    let (lake, last) = (lake(&world), clickstream.events.last().unwrap().ts);
    write_history(&clickstream, &table(&lake), "true", last);
    // A question for every fortieth event: of whom, and as of the minute in which it happened.
    let storage = Cluster::from_env().lake();
    let asks = History {
        events: "i % 40 = 0".to_owned(),
        uri: format!("{lake}/asks"),
        format: "Delta",
        mode: "overwrite",
        storage: storage.clone(),
        properties: BTreeMap::new(),
        columns: BTreeMap::from([
            ("asked_at".to_owned(), "make_timestamptz((ts // 60000) * 60000 * 1000)".to_owned()),
            ("label".to_owned(), "event = 'purchase'".to_owned()),
        ]),
    };
    let asked = asks.write(&clickstream).unwrap();
    world.apply(&example(&world, "Batch", &lake));
    let training_set = TRAINING_SET.replace("s3://lake/shop", &lake);
    world.apply(&training_set);
    complete(&world, "trainingset/churn");

    let told = status(&world, "trainingset/churn");
    assert_eq!(told["rows"], asked.rows, "{told}");
    let live = world.kubectl(&["get", "featureview", SHOPPER, "-o", "jsonpath={.status.activeRevision}"]).unwrap();
    assert_eq!(told["views"][0]["revision"], live.trim(), "{told}");
    let rows = history::rows(&clickstream, &format!("{lake}/training/churn"), &storage).unwrap();
    assert_eq!(rows.len(), asked.rows);
    let reads: Vec<(String, i64)> = rows
        .iter()
        .map(|row| (row["user_id"].as_str().unwrap().to_owned(), row["asked_at"].as_i64().unwrap()))
        .collect();
    let expected = oracle::ask(&clickstream, &reads).unwrap();
    let (names, mut compared, mut telling, mut wrong) = (features(&world), 0, 0, Vec::new());
    for ((row, computed), read) in rows.iter().zip(&expected).zip(&reads) {
        for feature in &names {
            let (found, computed) = (&row[feature], &computed[feature]);
            compared += 1;
            telling += usize::from(oracle::telling(computed));
            // Of a shopper with no event in reach nothing is known: not even that there were none.
            let unknown = found.is_null() && !oracle::telling(computed);
            if !oracle::equal(found, computed) && !unknown {
                wrong.push(format!("{feature} of {read:?}: {found}, DuckDB {computed}"));
            }
        }
    }
    println!("{compared} values equal, {telling} of them not zero");
    assert!(wrong.is_empty(), "{} of {compared} differ: {:#?}", wrong.len(), &wrong[..wrong.len().min(8)]);
    assert!(telling > 1_000, "a training set could pass by knowing nothing: {telling}");

    // Another of the same name there makes the table's next version.
    world.apply(&training_set.replace("name: churn", "name: churn-again"));
    complete(&world, "trainingset/churn-again");
    let again = status(&world, "trainingset/churn-again");
    assert_eq!(again["outputVersion"].as_i64().unwrap(), told["outputVersion"].as_i64().unwrap() + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_shopper_is_nowhere_and_stays_away() {
    let mut world = World::bare("erasure", 4).await;
    let clickstream = Clickstream::fetch().unwrap().ending_at(Timestamp::now().as_millisecond() - 4 * DAY);
    let (lake, last) = (lake(&world), clickstream.events.last().unwrap().ts);
    send(&world, &clickstream.events);
    world.apply(&example(&world, "Lakehouse", &lake));
    let served = horizon(&world, (last + HOUR) / HOUR * HOUR).await;
    world.ready("featureview/shopper");
    let client = world.client_of("service/shop-server");
    let names = features(&world);
    let users = clickstream.users();
    let (erased, other) = (users[0].clone(), users[1].clone());
    let status_of = |user: &String, as_of| {
        let answer = client.get(SHOPPER, &names, "user_id", std::slice::from_ref(user), as_of).unwrap();
        answer.features[&names[0]][0].status.clone()
    };
    assert_eq!(status_of(&erased, Some(served)), "PRESENT");
    let events = clickstream.events.iter().filter(|event| event.user == erased).count();
    world.apply(&ERASURE.replace("user_id: user_0001", &format!("user_id: {erased}")));
    complete(&world, "erasure/request-17");

    let told = status(&world, "erasure/request-17");
    let view = &told["views"][0];
    assert_eq!((view["name"].as_str(), view["bronze"].as_u64()), (Some(SHOPPER), Some(events as u64)), "{told}");
    assert!(!told.to_string().contains(&erased), "{told}");
    wait_for("the row to be gone", Duration::from_mins(1), || async {
        let (gone, stays) = (status_of(&erased, None), status_of(&other, None));
        if gone == "NOT_FOUND" && stays == "PRESENT" { Ok(()) } else { Err(format!("{gone}, {stays}")) }
    })
    .await
    .unwrap();
    let bronze = format!("{lake}/bronze/{}", world.topic);
    let records = history::rows(&clickstream, &bronze, &Cluster::from_env().lake()).unwrap();
    assert!(records.len() == clickstream.events.len() - events, "{} records", records.len());
    // Another revision is computed from the archive as a whole, and does not bring it back.
    let revision = || world.kubectl(&["get", "featureview", SHOPPER, "-o", "jsonpath={.status.activeRevision}"]);
    let (first, window) = (revision().unwrap(), "where: \"event = 'product_view'\", window: 1h");
    let lakehouse = example(&world, "Lakehouse", &lake);
    let edited = lakehouse.replace(window, "where: \"event = 'product_view'\", window: 2h");
    assert_ne!(edited, lakehouse, "the example has changed");
    world.apply(&edited);
    wait_for("another revision", Duration::from_mins(4), || async {
        let live = revision()?;
        if live == first { Err(live) } else { Ok(()) }
    })
    .await
    .unwrap();
    assert_eq!((status_of(&erased, None).as_str(), status_of(&other, None).as_str()), ("NOT_FOUND", "PRESENT"));
}

//! The whole server over HTTP and a real Redis: its bounds, its drain, a store that goes away, and pointers that flip
//! under load.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use engine::plan::Plan;
use engine::row::{catalog_key, catalog_version_key};
use serde_json::{Value as Json, json};
use serve::store::{CatalogReply, Store as _, StoreError};
use tokio::sync::{Barrier, Semaphore};
use tokio::task::JoinSet;

use crate::fixtures::{CATALOG, Contents, FakeStore, count, plan};
use crate::http::{Client, start, start_unready};
use crate::lanes::{event, store};
use crate::redis_server::Redis;

const ENTITIES: usize = 8;

/// Two features that are always equal, so that a mixed answer shows.
fn pair(kind: &str) -> Plan {
    plan("v", &[("u", "String")], vec![count("x", kind, None), count("y", kind, None)])
}

/// Every entity has seen `n` events of every kind.
fn fill(contents: &mut Contents, plan: &Plan, incarnation: u32, n: i64) {
    let events = |user: usize| (0..n).flat_map(move |i| ["a", "b"].map(|kind| event(i, &user.to_string(), kind, 1.0)));
    let events: Vec<_> = (0..ENTITIES).flat_map(events).collect();
    store(contents, plan, incarnation, 0, &events);
}

fn body() -> String {
    let users: Vec<String> = (0..ENTITIES).map(|user| user.to_string()).collect();
    json!({"features": ["v:x", "v:y"], "entities": {"u": users}}).to_string()
}

/// Revision, incarnation, and the one value that all cells have.
fn state(answer: &Json) -> (String, u64, i64) {
    let view = &answer["metadata"]["views"]["v"];
    let first = answer["results"][1]["values"][0].as_i64().unwrap_or_else(|| panic!("{answer}"));
    for i in [1, 2] {
        assert_eq!(answer["results"][i]["values"], json!(vec![first; ENTITIES]), "an answer mixes revisions: {answer}");
        assert_eq!(answer["results"][i]["statuses"], json!(vec!["PRESENT"; ENTITIES]), "{answer}");
    }
    (view["revision"].as_str().unwrap().to_owned(), view["incarnation"].as_u64().unwrap(), first)
}

/// The promise: under flips of both pointers and full load, no answer is mixed, failed, or of a state that was left
/// before the request began.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flips_under_load_mix_nothing_fail_nothing_and_are_seen_at_once() {
    const FLIPS: usize = 200;
    let (a, b) = (pair("a"), pair("b"));
    let mut contents = Contents::default();
    contents.publish(&a, 1);
    contents.set_entry(&[&a, &b]);
    contents.set_head(&b, 0);
    fill(&mut contents, &a, 0, 1);
    fill(&mut contents, &b, 0, 2);
    fill(&mut contents, &b, 1, 3);
    let redis = Redis::start().await;
    redis.fill(&contents).await;
    let server = start(Arc::new(redis.store()), &[]).await;

    // One write leads from each state to the next, and from the last to the first.
    let states: [(String, u64, i64); 4] =
        [(&a, 0, 1), (&b, 0, 2), (&b, 1, 3), (&b, 0, 2)].map(|(plan, inc, n)| (plan.revision.clone(), inc, n));
    let write = |to: usize| {
        let mut contents = Contents::default();
        match to % 4 {
            0 => contents.set_live(&a, to as u64 + 2),
            1 => contents.set_live(&b, to as u64 + 2),
            2 => contents.set_head(&b, 1),
            _ => contents.set_head(&b, 0),
        }
        contents
    };
    let (begun, done, answered) =
        (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    // A permit an answer: flips are paced by answers, so that every state is read under.
    let answers = Arc::new(Semaphore::new(0));
    let mut readers = JoinSet::new();
    for _ in 0..8 {
        let (begun, done, answered) = (Arc::clone(&begun), Arc::clone(&done), Arc::clone(&answered));
        let (address, states, answers) = (server.address, states.clone(), Arc::clone(&answers));
        readers.spawn(async move {
            let mut client = Client::connect(address).await;
            while done.load(Ordering::SeqCst) < FLIPS {
                let earliest = done.load(Ordering::SeqCst);
                let (code, answer) = client.post(&body()).await;
                let latest = begun.load(Ordering::SeqCst);
                assert_eq!(code, 200, "{answer}");
                let seen = state(&answer);
                let possible = (earliest..=latest).any(|n| states[n % 4] == seen);
                assert!(possible, "{seen:?} was none of the states {earliest} to {latest}");
                answered.fetch_add(1, Ordering::SeqCst);
                answers.add_permits(1);
            }
        });
    }
    for flip in 1..=FLIPS {
        tokio::select! {
            permits = answers.acquire_many(10) => permits.unwrap().forget(),
            Some(reader) = readers.join_next() => reader.unwrap(),
        }
        begun.store(flip, Ordering::SeqCst);
        redis.fill(&write(flip)).await;
        done.store(flip, Ordering::SeqCst);
    }
    while let Some(reader) = readers.join_next().await {
        reader.unwrap();
    }
    let metrics = Client::connect(server.admin).await.get("/metrics").await.1;
    let metric = |name: &str| -> u64 {
        metrics
            .lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
            .unwrap_or_else(|| panic!("{name}: {metrics}"))
    };
    assert!(answered.load(Ordering::SeqCst) >= FLIPS * 10);
    assert_eq!(metric("featuremill_serve_requests_total{code=\"200\"} "), answered.load(Ordering::SeqCst) as u64);
    assert!(metric("featuremill_serve_pointer_retries_total ") >= 1);
    assert!(metric("featuremill_serve_features_served_total{status=\"PRESENT\"} ") > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_goes_away_is_503_and_comes_back_by_itself() {
    let a = pair("a");
    let mut contents = Contents::default();
    contents.publish(&a, 1);
    fill(&mut contents, &a, 0, 1);
    let redis = Redis::start().await;
    redis.fill(&contents).await;
    let server = start(Arc::new(redis.store()), &[]).await;
    let mut client = Client::connect(server.address).await;
    let (code, answer) = client.post(&body()).await;
    assert_eq!((code, state(&answer).2), (200, 1));

    let port = redis.port();
    drop(redis);
    let (code, answer) = client.post(&body()).await;
    assert_eq!(code, 503, "{answer}");
    assert!(answer["error"].as_str().unwrap().contains("online store cannot be reached"), "{answer}");

    let redis = Redis::start_on(port).await;
    // The server is back but holds nothing: that is no answer either.
    let mut answers = HashMap::new();
    loop {
        let (code, answer) = client.post(&body()).await;
        assert_ne!(code, 200, "an empty store made an answer: {answer}");
        let error = answer["error"].as_str().unwrap().to_owned();
        let emptied = error.contains("no view `v`") || error.contains("no revision of it is live");
        *answers.entry(error).or_insert(0) += 1;
        if emptied {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    redis.fill(&contents).await;
    let (code, answer) = client.post(&body()).await;
    assert_eq!((code, state(&answer).2), (200, 1), "{answers:?}");
}

#[tokio::test]
async fn the_catalog_is_read_whole_only_when_its_version_changed() {
    let redis = Redis::start().await;
    let store = redis.store();
    let a = pair("a");
    let mut contents = Contents::default();
    contents.set_entry(&[&a]);
    redis.fill(&contents).await;
    let mut connection = redis.connect().await;
    let key = catalog_key("arch");
    assert_eq!(key, CATALOG);
    let poll = async |known: Option<&[u8]>| loop {
        match store.catalog(&key, known).await {
            Err(StoreError::Away(_)) => tokio::task::yield_now().await,
            reply => break reply.unwrap(),
        }
    };
    // A writer that keeps no version is read whole every time.
    let CatalogReply::Changed { version: None, fields } = poll(None).await else { panic!() };
    assert_eq!(fields.len(), 1);
    assert!(matches!(poll(Some(b"1")).await, CatalogReply::Changed { .. }));
    redis::cmd("INCR").arg(catalog_version_key(&key)).query_async::<()>(&mut connection).await.unwrap();
    assert_eq!(poll(Some(b"1")).await, CatalogReply::Unchanged);
    let CatalogReply::Changed { version: Some(version), .. } = poll(Some(b"0")).await else { panic!() };
    assert_eq!(version, b"1");
    // Neither a hash nor a string of the wrong kind is taken for an empty one.
    redis::cmd("SET").arg("wrong").arg(1).query_async::<()>(&mut connection).await.unwrap();
    assert!(matches!(store.catalog("wrong", None).await, Err(StoreError::Refused(_))));
}

#[tokio::test]
async fn every_refusal_is_json_and_counted() {
    let a = pair("a");
    let fake = FakeStore::new(|contents| {
        contents.publish(&a, 1);
        fill(contents, &a, 0, 1);
    });
    let server = start(fake, &["--max-body-bytes", "200", "--max-entities", "3"]).await;
    let mut client = Client::connect(server.address).await;
    for (body, code, field) in [
        ("{", 400, Json::Null),
        (r#"{"features":["v:x"],"entities":{"u":["1","2","3","4"]}}"#, 400, json!("entities")),
        (r#"{"features":["v:nope"],"entities":{"u":["1"]}}"#, 404, json!("features[0]")),
        (r#"{"features":["nope:x"],"entities":{"u":["1"]}}"#, 404, json!("features[0]")),
        (r#"{"features":["v:x"],"entities":{"u":[1]}}"#, 400, json!("entities.u[0]")),
        (&" ".repeat(201), 413, Json::Null),
    ] {
        let mut client = Client::connect(server.address).await;
        let (got, answer) = client.post(body).await;
        assert_eq!((got, &answer["field"]), (code, &field), "{body}: {answer}");
        assert!(!answer["error"].as_str().unwrap().is_empty());
    }
    assert_eq!(client.get("/nowhere").await.0, 404);
    assert_eq!(client.get("/get-online-features").await.0, 405);
    let metrics = Client::connect(server.admin).await.get("/metrics").await.1;
    for (code, n) in [(400, 3), (404, 2), (413, 1), (200, 0)] {
        let line = format!("featuremill_serve_requests_total{{code=\"{code}\"}} {n}");
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn too_many_requests_are_refused_and_those_in_flight_outlive_the_shutdown() {
    let a = pair("a");
    let fake = FakeStore::new(|contents| {
        contents.publish(&a, 1);
        fill(contents, &a, 0, 1);
    });
    let server = start(fake.clone(), &["--max-in-flight", "1"]).await;
    // The first request stays in the store until the test lets it go on.
    let (entered, leave) = (Arc::new(Barrier::new(2)), Arc::new(std::sync::Barrier::new(2)));
    let held = (Arc::clone(&entered), Arc::clone(&leave));
    let runtime = tokio::runtime::Handle::current();
    fake.script(move |n, _| {
        if n == 0 {
            tokio::task::block_in_place(|| {
                runtime.block_on(held.0.wait());
                held.1.wait();
            });
        }
        Ok(())
    });
    let mut first = Client::connect(server.address).await;
    first.begin_post(&body()).await;
    entered.wait().await;
    let mut second = Client::connect(server.address).await;
    let (code, answer) = second.post(&body()).await;
    assert_eq!(code, 429, "{answer}");

    server.shutdown.cancel();
    // Not ready at once, and no new connection once the port is closed; the admin port still answers.
    let mut admin = Client::connect(server.admin).await;
    while admin.get("/readyz").await.0 != 503 {
        tokio::task::yield_now().await;
    }
    while tokio::net::TcpStream::connect(server.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!server.ended.is_finished());
    tokio::task::spawn_blocking(move || leave.wait()).await.unwrap();
    let (code, answer) = first.receive().await;
    assert_eq!((code, state(&serde_json::from_str(&answer).unwrap()).2), (200, 1));
    drop((first, second, admin));
    server.ended.await.unwrap().unwrap();
}

#[tokio::test]
async fn health_says_why_not() {
    struct Away;
    impl serve::store::Store for Away {
        fn read<'a>(
            &'a self,
            _: serve::store::Query<'a>,
        ) -> futures::future::BoxFuture<'a, Result<serve::store::Reply, StoreError>> {
            Box::pin(async { Err(StoreError::Away("gone".into())) })
        }

        fn say_shadow<'a>(
            &'a self,
            _: &'a str,
            _: &'a str,
            _: Vec<u8>,
            _: i64,
        ) -> futures::future::BoxFuture<'a, Result<(), StoreError>> {
            Box::pin(async { Err(StoreError::Away("gone".into())) })
        }

        fn catalog<'a>(
            &'a self,
            _: &'a str,
            _: Option<&'a [u8]>,
        ) -> futures::future::BoxFuture<'a, Result<CatalogReply, StoreError>> {
            Box::pin(async { Err(StoreError::Away("gone".into())) })
        }
    }
    let server = start_unready(Arc::new(Away), &[]).await;
    let mut client = Client::connect(server.address).await;
    while !client.get("/health").await.1.contains("gone") {
        tokio::task::yield_now().await;
    }
    assert_eq!(client.get("/health").await.0, 503);
    assert_eq!(Client::connect(server.admin).await.get("/readyz").await.0, 503);
    assert_eq!(Client::connect(server.admin).await.get("/livez").await.0, 200);
    let (code, answer) = client.post(&body()).await;
    assert_eq!(code, 503, "{answer}");
}

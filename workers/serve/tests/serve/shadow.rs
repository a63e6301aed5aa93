//! Live requests that are read with a candidate, too: what is told of it, and that no live answer is touched by it.

use std::sync::Arc;
use std::time::Duration;

use engine::plan::Plan;
use engine::row::{Marker, row_prefix, shadow_key};
use engine::shadow::{Report, Shadow};
use futures::future::BoxFuture;
use prometheus_client::registry::Registry;
use serde_json::json;
use serve::answer::answer_of;
use serve::metrics::Metrics;
use serve::shadow::Shadows;
use serve::store::{CatalogReply, Query, Reply, Store, StoreError};
use shell::clock::now_ms;

use crate::fixtures::{Contents, FakeStore, count, plan, reader};
use crate::http::{Client, Running, start};
use crate::lanes::{event, store};
use crate::redis_server::Redis;

const USERS: usize = 4;

fn live() -> Plan {
    plan("v", &[("u", "String")], vec![count("x", "a", None), count("y", "b", None)])
}

/// Its `y` counts something else.
fn candidate() -> Plan {
    plan("v", &[("u", "String")], vec![count("x", "a", None), count("y", "a", None)])
}

/// Every user has seen one `a`, and as many `b` as the user's number and two more.
fn fill(contents: &mut Contents, plan: &Plan) {
    let then = now_ms() - 600_000;
    let of = |user: usize| {
        let name = user.to_string();
        let b = (0..=user + 1).map({
            let name = name.clone();
            move |_| event(then, &name, "b", 1.0)
        });
        b.chain([event(then, &name, "a", 1.0)]).collect::<Vec<_>>()
    };
    store(contents, plan, 0, 0, &(0..USERS).flat_map(of).collect::<Vec<_>>());
}

/// Both revisions, read to their end just now; the live one has rows.
fn both(percent: u8) -> Contents {
    let (live, candidate) = (live(), candidate());
    let mut contents = Contents::default();
    let marker = Marker { offset: 9, event_time: now_ms(), end_offset: 9, read_to_end_at: now_ms() };
    contents.publish(&live, now_ms());
    contents.set_entry(&[&live, &candidate]);
    for plan in [&live, &candidate] {
        contents.set_head(plan, 0);
        contents.set_marker(plan, 0, 1, marker);
    }
    fill(&mut contents, &live);
    let shadow = Shadow { former: live.revision, candidate: candidate.revision, percent };
    let entry = contents.catalog().get_mut("v").unwrap();
    let mut json: serde_json::Value = serde_json::from_slice(entry).unwrap();
    json["shadow"] = serde_json::to_value(shadow).unwrap();
    *entry = serde_json::to_vec(&json).unwrap();
    contents
}

fn body() -> String {
    let users: Vec<String> = (0..USERS).map(|user| user.to_string()).collect();
    json!({"features": ["v:x", "v:y"], "entities": {"u": users}}).to_string()
}

fn key() -> String {
    shadow_key("uid-v", &candidate().revision)
}

/// What a metric counts; 0 while it stands nowhere.
fn metric(metrics: &str, name: &str) -> u64 {
    metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0)
}

/// Asks for the metrics until one counts so much.
async fn counted(server: &Running, name: &str, least: u64) -> String {
    let mut client = Client::connect(server.admin).await;
    let until = async {
        loop {
            let metrics = client.get("/metrics").await.1;
            if metric(&metrics, name) >= least {
                return metrics;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), until).await.unwrap_or_else(|_| panic!("{name} never counts {least}"))
}

/// What the store was told, once it was of so many reads.
async fn told(redis: &Redis, reads: u64) -> Report {
    let mut connection = redis.connect().await;
    let until = async {
        loop {
            let mut ask = redis::cmd("HGETALL");
            let fields: Vec<(String, String)> = ask.arg(key()).query_async(&mut connection).await.unwrap();
            let reports: Vec<Report> = fields.iter().map(|(_, json)| serde_json::from_str(json).unwrap()).collect();
            let all = Report::of_all(&live().revision, &reports);
            if all.reads >= reads {
                return all;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), until).await.expect("the store is never told")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_that_differs_in_one_feature_is_told_by_the_hash_of_the_worst() {
    let mut contents = both(50);
    fill(&mut contents, &candidate());
    let redis = Redis::start().await;
    redis.fill(&contents).await;
    let server = start(Arc::new(redis.store()), &["--name", "one"]).await;
    let mut client = Client::connect(server.address).await;
    for _ in 0..20 {
        assert_eq!(client.post(&body()).await.0, 200);
    }
    // Half of them, of four users each.
    let metrics = counted(&server, "featuremill_serve_shadow_reads_total{view=\"v\",result=\"compared\"} ", 10).await;
    let value = |feature: &str, result: &str| {
        let of = format!("view=\"v\",feature=\"{feature}\",result=\"{result}\"");
        metric(&metrics, &format!("featuremill_serve_shadow_values_total{{{of}}} "))
    };
    let values = [value("x", "equal"), value("x", "differs"), value("y", "equal"), value("y", "differs")];
    assert_eq!(values, [40, 0, 0, 40], "{metrics}");
    assert_eq!(metric(&metrics, "featuremill_serve_shadow_duration_seconds_count "), 10);

    let report = told(&redis, 10).await;
    assert_eq!((report.reads, report.dropped, report.failed, report.missing), (10, 0, 0, 0));
    assert!(report.latency.quantile(0.95).is_some());
    assert_eq!((report.features["x"].compared, report.features["x"].differing), (40, 0));
    let worst = &report.features["y"].worst[0].1;
    // User 3 has five `b` and one `a`.
    assert_eq!((worst.former.as_str(), worst.candidate.as_str()), ("5", "1"));
    assert_eq!(worst.entity, engine::row::entity_hash("3"));
    let expires: i64 = redis::cmd("PTTL").arg(key()).query_async(&mut redis.connect().await).await.unwrap();
    assert!(expires > 0, "it is never forgotten");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_without_rows_is_told_and_one_without_a_head_fails_alone() {
    let redis = Redis::start().await;
    redis.fill(&both(100)).await;
    let server = start(Arc::new(redis.store()), &[]).await;
    let mut client = Client::connect(server.address).await;
    assert_eq!(client.post(&body()).await.0, 200);
    let report = told(&redis, 1).await;
    assert_eq!((report.missing, report.features["x"].differing), (USERS as u64, USERS as u64));
    assert_eq!(report.features["x"].worst[0].1.candidate, "0");

    let head = engine::row::head_key("uid-v", &candidate().revision);
    redis::cmd("DEL").arg(head).query_async::<()>(&mut redis.connect().await).await.unwrap();
    let (code, answer) = client.post(&body()).await;
    assert_eq!((code, &answer["results"][1]["values"]), (200, &json!([1, 1, 1, 1])), "{answer}");
    counted(&server, "featuremill_serve_shadow_reads_total{view=\"v\",result=\"failed\"} ", 1).await;
}

#[tokio::test]
async fn what_finds_the_queue_full_is_dropped_and_counted() {
    let store = FakeStore::new(|contents| *contents = both(100));
    let (reader, _stop) = reader(store.clone()).await;
    let mut registry = Registry::default();
    let metrics = Arc::new(Metrics::new(&mut registry));
    let (shadows, worker) = Shadows::new(store, metrics, "one", 2);
    for _ in 0..5 {
        let answered = answer_of(&reader, body().as_bytes(), now_ms()).await.unwrap();
        shadows.offer(answered.views, answered.asked);
    }
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert_eq!(metric(&text, "featuremill_serve_shadow_reads_total{view=\"v\",result=\"dropped\"} "), 3, "{text}");
    drop(worker);
}

#[tokio::test]
async fn a_row_that_is_too_large_to_wait_is_dropped_and_counted() {
    let store = FakeStore::new(|contents| *contents = both(100));
    let (reader, _stop) = reader(store.clone()).await;
    let mut registry = Registry::default();
    let (shadows, worker) = Shadows::new(store, Arc::new(Metrics::new(&mut registry)), "one", 2);
    let mut answered = answer_of(&reader, body().as_bytes(), now_ms()).await.unwrap();
    answered.views[0].rows[0].push((b"large".to_vec(), vec![0; 300 << 10]));
    shadows.offer(answered.views, answered.asked);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert_eq!(metric(&text, "featuremill_serve_shadow_reads_total{view=\"v\",result=\"dropped\"} "), 1, "{text}");
    drop(worker);
}

/// A store in which the rows of the candidate are read for ever.
struct Stuck(Arc<FakeStore>);

impl Store for Stuck {
    fn read<'a>(&'a self, query: Query<'a>) -> BoxFuture<'a, Result<Reply, StoreError>> {
        if query.row_prefix == row_prefix("uid-v", &candidate().revision, 0) {
            return Box::pin(std::future::pending());
        }
        self.0.read(query)
    }

    fn say_shadow<'a>(
        &'a self,
        key: &'a str,
        server: &'a str,
        json: Vec<u8>,
        ttl_ms: i64,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.0.say_shadow(key, server, json, ttl_ms)
    }

    fn catalog<'a>(&'a self, key: &'a str, known: Option<&'a [u8]>) -> BoxFuture<'a, Result<CatalogReply, StoreError>> {
        self.0.catalog(key, known)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_that_never_answers_delays_no_live_answer() {
    let store = Stuck(FakeStore::new(|contents| *contents = both(100)));
    let server = start(Arc::new(store), &[]).await;
    let mut client = Client::connect(server.address).await;
    let answers = 3 * serve::shadow::QUEUE;
    for _ in 0..answers {
        let (code, answer) = client.post(&body()).await;
        assert_eq!((code, &answer["results"][1]["values"]), (200, &json!([1, 1, 1, 1])), "{answer}");
    }
    // One is being read, and as many wait as may.
    let least = (answers - serve::shadow::QUEUE - 1) as u64;
    counted(&server, "featuremill_serve_shadow_reads_total{view=\"v\",result=\"dropped\"} ", least).await;
}

#[tokio::test]
async fn what_another_revision_answers_is_not_read_with_the_candidate() {
    let store = FakeStore::new(|contents| {
        *contents = both(100);
        fill(contents, &candidate());
        // The pointer has moved; the entry has not been written anew.
        contents.set_live(&candidate(), 2);
    });
    let server = start(store.clone(), &[]).await;
    let (code, answer) = Client::connect(server.address).await.post(&body()).await;
    assert_eq!((code, &answer["results"][2]["values"]), (200, &json!([1, 1, 1, 1])), "{answer}");
    let metrics = Client::connect(server.admin).await.get("/metrics").await.1;
    assert!(!metrics.contains("shadow_reads_total{"), "{metrics}");
}

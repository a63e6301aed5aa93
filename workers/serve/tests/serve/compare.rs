//! Two revisions compared by their rows: in memory, where events can come between two reads, and over a real Redis.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use engine::compare::{Comparison, Limits, Report, Verdict};
use engine::plan::Plan;
use engine::row::{Marker, comparison_key, head_key};
use futures::future::BoxFuture;
use serve::compare::{CompareError, compare};
use serve::store::{CatalogReply, Query, Reply, Store, StoreError};
use shell::store::{MemoryStore, RowStore as _};

use crate::fixtures::{Contents, FakeStore, aggregate, count, plan, plan_of};
use crate::lanes::{Event, event, store, store_generation};
use crate::redis_server::Redis;

const MINUTE: i64 = 60_000;
/// 2026-01-01T12:00:00Z.
const T: i64 = 1_767_268_800_000;

fn before() -> Plan {
    plan("v", &[("u", "String")], vec![count("hour", "view", Some("1h"))])
}

/// The same feature, beside a new one: another revision.
fn after() -> Plan {
    plan("v", &[("u", "String")], vec![count("day", "view", Some("24h")), count("hour", "view", Some("1h"))])
}

/// One whose feature counts something else.
fn wrong() -> Plan {
    plan("v", &[("u", "String")], vec![count("hour", "cart", Some("1h"))])
}

fn comparison(former: Plan, candidate: Plan) -> Comparison {
    Comparison {
        name: "c".into(),
        former,
        candidate,
        sample_entities: 100,
        limits: Limits { max_mismatch_ratio: 0.0, max_psi: None },
        expected_changes: Vec::new(),
    }
}

fn events() -> Vec<Event> {
    let users = (0..40).map(|i| (format!("u{i}"), i));
    users.flat_map(|(user, i)| (0..=i % 7).map(move |n| event(T - (n + 1) * MINUTE, &user, "view", 1.0))).collect()
}

/// Rows of one revision, read to their end at `complete`.
fn fill(contents: &mut Contents, plan: &Plan, events: &[Event], complete: i64) {
    contents.set_head(plan, 0);
    contents.set_marker(plan, 0, 1, Marker { offset: 9, event_time: T, end_offset: 9, read_to_end_at: complete });
    store(contents, plan, 0, 0, events);
}

/// From when the time to compare at is known, both read on as the clock does.
fn read_on(fake: &FakeStore, plans: [Plan; 2]) {
    fake.script(move |reads, contents| {
        for plan in plans.iter().filter(|_| reads >= 4) {
            let now = shell::clock::now_ms() + MINUTE;
            contents.set_marker(plan, 0, 1, Marker { offset: 9, event_time: T, end_offset: 9, read_to_end_at: now });
        }
        Ok(())
    });
}

/// What the key lister sees of the same rows.
async fn keys(contents: &Contents) -> MemoryStore {
    let rows = MemoryStore::default();
    let report = Report {
        name: String::new(),
        former: String::new(),
        candidate: String::new(),
        as_of_ms: 0,
        entities: 0,
        verdict: Verdict::Passed,
        features: vec![],
    };
    for key in contents.hashes.keys() {
        rows.put_comparison(key, &report).await.unwrap();
    }
    rows
}

async fn report(fake: &Arc<FakeStore>, comparison: &Comparison) -> Result<Report, CompareError> {
    let contents = fake.contents.lock().unwrap().clone();
    let rows = keys(&contents).await;
    let store: &dyn Store = fake.as_ref();
    compare(store, &rows, comparison, Duration::from_secs(1)).await
}

#[tokio::test]
async fn revisions_that_read_the_same_events_are_equal_where_they_mean_the_same() {
    let fake = FakeStore::new(|contents| {
        fill(contents, &before(), &events(), T + 3);
        // The candidate has read on, and has no row of who has no events any more.
        fill(contents, &after(), &events()[1..], T + MINUTE + 5);
        store(contents, &before(), 0, 0, &[event(T - 90 * MINUTE, "long-ago", "view", 1.0)]);
    });
    read_on(&fake, [before(), after()]);
    let comparison = comparison(before(), after());
    let seen = report(&fake, &comparison).await.unwrap();
    // `u0` had one event, which the candidate never read.
    let Verdict::Failed { reasons } = &seen.verdict else { panic!("{seen:?}") };
    assert!(reasons[0].contains("1 of 41 entities") && reasons[0].contains("has 1 and would have 0"), "{reasons:?}");
    assert_eq!((seen.as_of_ms, seen.entities), (T, 41));
}

#[tokio::test]
async fn a_feature_that_counts_something_else_does_not_pass_unless_announced() {
    let fake = FakeStore::new(|contents| {
        fill(contents, &before(), &events(), T);
        fill(contents, &wrong(), &events(), T);
    });
    read_on(&fake, [before(), wrong()]);
    let comparison = comparison(before(), wrong());
    let Verdict::Failed { reasons } = report(&fake, &comparison).await.unwrap().verdict else { panic!() };
    assert!(reasons[0].contains("40 of 40") && reasons[0].contains("expectedChanges"), "{reasons:?}");
}

#[tokio::test]
async fn an_event_that_only_one_has_read_yet_is_waited_for() {
    let late = || event(T - 2 * MINUTE, "u3", "view", 1.0);
    let mut all = events();
    all.push(late());
    let fake = FakeStore::new(|contents| {
        fill(contents, &before(), &all, T);
        fill(contents, &after(), &events(), T);
    });
    let (plans, whole) = ((before(), after()), all.clone());
    fake.script(move |reads, contents| {
        // Once the difference was seen both read on past it, the candidate to the late event.
        if reads == 8 {
            let now = shell::clock::now_ms() + 60_000;
            fill(contents, &plans.0, &whole, now);
            fill(contents, &plans.1, &whole, now);
        }
        Ok(())
    });
    let seen = report(&fake, &comparison(before(), after())).await.unwrap();
    assert_eq!(seen.verdict, Verdict::Passed, "after {} reads", fake.reads());
    assert!(fake.reads() > 8, "nothing was read again: {}", fake.reads());
}

#[tokio::test]
async fn one_that_does_not_read_on_gives_no_report() {
    let fake = FakeStore::new(|contents| {
        fill(contents, &before(), &events(), T);
        fill(contents, &wrong(), &events(), T);
        contents.hashes.retain(|key, _| !(key.contains(&wrong().revision) && key.contains("/m/")));
    });
    let error = report(&fake, &comparison(before(), wrong())).await.unwrap_err();
    assert!(matches!(&error, CompareError::Unknown { revision, .. } if *revision == wrong().revision), "{error}");
    // One without rows at all, too.
    fake.contents.lock().unwrap().strings.remove(&head_key("uid-v", &wrong().revision));
    assert!(report(&fake, &comparison(before(), wrong())).await.is_err());
}

#[tokio::test]
async fn generations_are_compared_at_the_earlier_horizon_and_another_mode_is_but_another_revision() {
    let batch = plan_of("Batch", "v", &[("u", "String")], vec![count("hour", "view", Some("1h"))]);
    let fake = FakeStore::new(|contents| {
        fill(contents, &before(), &events(), T + MINUTE);
        contents.set_generation(&batch, 4, T);
        store_generation(contents, &batch, 4, &events());
        // An entity of an earlier generation that the one served no longer holds.
        store_generation(contents, &batch, 2, &[event(T - MINUTE, "gone", "view", 1.0)]);
    });
    let seen = report(&fake, &comparison(before(), batch)).await.unwrap();
    assert_eq!((seen.verdict, seen.as_of_ms, seen.entities), (Verdict::Passed, T, 41));
}

/// A store that knows of how many entities it was asked at once.
struct Counting(Arc<FakeStore>, AtomicUsize);

impl Store for Counting {
    fn read<'a>(&'a self, query: Query<'a>) -> BoxFuture<'a, Result<Reply, StoreError>> {
        self.1.fetch_max(query.entities.len(), Ordering::Relaxed);
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

#[tokio::test]
async fn the_larger_the_rows_the_fewer_are_held_at_once() {
    let largest = |features: usize| async move {
        let wide = |other: &str| {
            let percentile = |i: usize| aggregate(&format!("p{i}"), "Percentile", Some("amount"), Some("7d"));
            let mut features: Vec<_> = (0..features).map(percentile).collect();
            for (i, feature) in features.iter_mut().enumerate() {
                feature.percentile = Some("0.9".into());
                feature.condition = Some(format!("kind = '{i}'"));
            }
            plan("v", &[("u", "String")], features.into_iter().chain([count(other, "view", Some("1h"))]).collect())
        };
        let (before, after) = (wide("hour"), wide("other"));
        let all: Vec<Event> = (0..300).map(|i| event(T - MINUTE, &format!("u{i}"), "view", 1.0)).collect();
        let fake = FakeStore::new(|contents| {
            fill(contents, &before, &all, T);
            fill(contents, &after, &all, T);
        });
        let contents = fake.contents.lock().unwrap().clone();
        let rows = keys(&contents).await;
        let store = Counting(fake, AtomicUsize::new(0));
        let comparison = Comparison { sample_entities: 1_000, ..comparison(before, after) };
        let report = compare(&store, &rows, &comparison, Duration::from_secs(1)).await.unwrap();
        assert_eq!((report.entities, &report.verdict), (300, &Verdict::Passed));
        store.1.load(Ordering::Relaxed)
    };
    let (narrow, wide) = (largest(0).await, largest(60).await);
    assert!(narrow == 256 && wide < 64, "{narrow}, {wide}");
}

#[tokio::test]
async fn the_job_leaves_its_report_in_redis() {
    let redis = Redis::start().await;
    let mut contents = Contents::default();
    fill(&mut contents, &before(), &events(), T);
    fill(&mut contents, &wrong(), &events(), T);
    redis.fill(&contents).await;
    let folder = std::env::temp_dir().join(format!("featuremill-compare-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("comparison.json");
    let job = comparison(before(), after());
    let mut small = job.clone();
    small.candidate = wrong();
    small.expected_changes = vec!["hour".into()];
    small.sample_entities = 7;
    std::fs::write(&file, serde_json::to_string(&small).unwrap()).unwrap();
    let flags = ["compare", "--redis-url", &redis.url(), "--comparison-file", file.to_str().unwrap()];
    let status = std::process::Command::new(env!("CARGO_BIN_EXE_featuremill-serve"))
        .args(flags)
        // As in a pod: what a server takes from there is no reason to be one.
        .env("HOSTNAME", "pod")
        .status()
        .unwrap();
    assert!(status.success());
    let connector = shell::redis::Connector::new(&redis.url(), None).unwrap();
    let store = shell::store::RedisStore::connect(&connector).await.unwrap();
    let seen = store.comparison(&comparison_key("uid-v", &wrong().revision)).await.unwrap().unwrap();
    assert_eq!((seen.entities, seen.verdict, seen.name.as_str()), (7, Verdict::Passed, "c"));
    std::fs::remove_dir_all(&folder).unwrap();
}

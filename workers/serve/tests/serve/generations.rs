//! Views that batch runs fill: what is read before, at and after a generation, beside a stream, and while it is flipped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use engine::plan::Plan;
use engine::row::head_key;
use serde_json::{Value as Json, json};
use serve::answer::answer;
use serve::read::Reader;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::fixtures::{Contents, FakeStore, count, plan_of, reader};
use crate::http::{Client, start};
use crate::lanes::{Event, event, store, store_generation};
use crate::redis_server::Redis;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// 2026-01-01T12:00:00Z, a multiple of every hop below.
const H: i64 = 1_767_268_800_000;

async fn ask(reader: &Reader, body: Json, now: i64) -> Json {
    let answer = answer(reader, body.to_string().as_bytes(), now).await.unwrap();
    serde_json::from_slice(&answer).unwrap()
}

fn view(mode: &str) -> Plan {
    plan_of(mode, "v", &[("u", "String")], vec![count("hour", "k", Some("1h")), count("ever", "k", None)])
}

fn body() -> Json {
    json!({"features": ["v:hour", "v:ever"], "entities": {"u": ["ada", "bob", "nobody"]}})
}

fn at(user: &str, time: i64) -> Event {
    event(time, user, "k", 1.0)
}

fn column(answer: &Json, i: usize, what: &str) -> Json {
    answer["results"][i][what].clone()
}

#[tokio::test]
async fn before_the_first_generation_nobody_is_found_and_the_answer_is_degraded() {
    for mode in ["Batch", "Lakehouse", "Lambda"] {
        for head in [false, true] {
            let plan = view(mode);
            let fake = FakeStore::new(|contents| {
                contents.publish(&plan, H);
                // What a stream has laid by now is not all there is, so it is not shown.
                store(contents, &plan, 0, 0, &[at("ada", H - MINUTE)]);
                if !head {
                    contents.strings.remove(&head_key(&plan.view.uid, &plan.revision)).unwrap();
                }
            });
            let (reader, _stop) = reader(fake).await;
            let answer = ask(&reader, body(), H).await;
            for i in [1, 2] {
                assert_eq!(column(&answer, i, "statuses"), json!(["NOT_FOUND", "NOT_FOUND", "NOT_FOUND"]), "{mode}");
            }
            assert_eq!(
                (&answer["metadata"]["degraded"], &answer["metadata"]["complete_to"]),
                (&json!(true), &Json::Null)
            );
            assert_eq!(answer["metadata"]["t"], "2026-01-01T12:00:00Z");
        }
    }
}

#[tokio::test]
async fn a_batch_view_answers_at_its_horizon_from_the_generation_that_the_head_names() {
    for mode in ["Batch", "Lakehouse"] {
        let plan = view(mode);
        let fake = FakeStore::new(|contents| {
            contents.publish(&plan, 0);
            contents.set_generation(&plan, 7, H);
            // Bob is in generation 5 and no longer in 7, whose slot he left it in; 6 is the one before.
            store_generation(contents, &plan, 5, &[at("ada", 1), at("bob", 1)]);
            store_generation(contents, &plan, 6, &[at("ada", 1), at("ada", 2)]);
            store_generation(contents, &plan, 7, &[at("ada", H - 3 * HOUR), at("ada", H - MINUTE), at("ada", H - 1)]);
            // A stream worker's lane has no place in such a view.
            contents.set_lane(&plan, 0, "ada", 0, &[(0, b"not a lane".to_vec())]);
        });
        let (reader, _stop) = reader(fake.clone()).await;
        let answer = ask(&reader, body(), H + MINUTE).await;
        assert_eq!(column(&answer, 1, "values"), json!([2, null, null]), "{mode}");
        assert_eq!(column(&answer, 2, "values"), json!([3, null, null]));
        assert_eq!(column(&answer, 2, "statuses"), json!(["PRESENT", "NOT_FOUND", "NOT_FOUND"]));
        let metadata = &answer["metadata"];
        assert_eq!(
            (&metadata["t"], &metadata["complete_to"]),
            (&json!("2026-01-01T12:00:00Z"), &json!("2026-01-01T12:00:00Z"))
        );
        assert_eq!((&metadata["degraded"], &metadata["views"]["v"]["generation"]), (&json!(false), &json!(7)));
        // Fresh within a minute, and no longer.
        assert_eq!(ask(&reader, body(), H + MINUTE + 1).await["metadata"]["degraded"], true);
        let as_of = |t: i64| {
            let mut body = body();
            body["as_of"] = json!(t);
            body
        };
        let answer = ask(&reader, as_of(H - MINUTE), H).await;
        assert_eq!(
            (column(&answer, 1, "values"), &answer["metadata"]["degraded"]),
            (json!([0, null, null]), &json!(false))
        );
        // Of a time after the horizon not all is known.
        assert_eq!(ask(&reader, as_of(H + 1), H + 1).await["metadata"]["degraded"], true);
        // The one before is a pointer away.
        fake.contents.lock().unwrap().set_generation(&plan, 6, H - HOUR);
        let answer = ask(&reader, body(), H).await;
        assert_eq!(
            (column(&answer, 2, "values"), &answer["metadata"]["views"]["v"]["horizon"]),
            (json!([2, null, null]), &json!("2026-01-01T11:00:00Z"))
        );
    }
}

#[tokio::test]
async fn a_lambda_takes_batch_tiles_below_the_horizon_and_stream_tiles_from_it_on() {
    let plan = view("Lambda");
    let fake = FakeStore::new(|contents| {
        contents.publish(&plan, H + 40 * MINUTE);
        contents.set_generation(&plan, 1, H);
        store_generation(contents, &plan, 1, &[at("ada", H - 9 * DAY), at("ada", H - 30 * MINUTE), at("ada", H - 1)]);
        // The stream has seen two of those and one that came too late for the batch, and what is after the horizon.
        let early =
            [at("ada", H - 30 * MINUTE), at("ada", H - 1), at("ada", H - 2), at("ada", H), at("ada", H + 10 * MINUTE)];
        store(contents, &plan, 0, 0, &early);
        store(contents, &plan, 0, 4, &[at("ada", H + 20 * MINUTE), at("bob", H + MINUTE)]);
    });
    let (reader, _stop) = reader(fake.clone()).await;
    let now = H + 40 * MINUTE;
    let answer = ask(&reader, body(), now).await;
    assert_eq!(
        column(&answer, 1, "values"),
        json!([4, 1, null]),
        "30 and 0 minutes before; 0, 10, 20 after; less what is over 60 old"
    );
    assert_eq!(column(&answer, 2, "values"), json!([6, 1, null]));
    let note = &answer["metadata"]["views"]["v"];
    assert_eq!(
        (&note["degraded"], &note["horizon"], &note["generation"]),
        (&json!(false), &json!("2026-01-01T12:00:00Z"), &json!(1))
    );
    assert_eq!(answer["metadata"]["complete_to"], "2026-01-01T12:40:00Z");
    // At the horizon itself the batch answers alone.
    let mut before = body();
    before["as_of"] = json!(H);
    assert_eq!(column(&ask(&reader, before, now).await, 1, "values"), json!([2, 0, null]));
    // A stream that is behind the horizon does not make the whole less complete than the batch is.
    fake.contents.lock().unwrap().hashes.retain(|key, _| !key.ends_with("/m/0"));
    assert_eq!(ask(&reader, body(), now).await["metadata"]["complete_to"], "2026-01-01T12:00:00Z");
}

#[tokio::test]
async fn a_lambda_whose_batch_is_overdue_says_so_and_never_thins_out() {
    let plan = view("Lambda");
    let late = H + 30 * DAY;
    let fake = FakeStore::new(|contents| {
        contents.publish(&plan, late);
        contents.set_generation(&plan, 1, H);
        store_generation(contents, &plan, 1, &[at("ada", H - HOUR)]);
        store(contents, &plan, 0, 0, &[at("ada", H + HOUR), at("ada", late - MINUTE), at("bob", late - MINUTE)]);
    });
    let (reader, _stop) = reader(fake.clone()).await;
    // Ada's first event after the horizon is in the tile of all time by now; Bob has none that could be.
    let answer = ask(&reader, body(), late).await;
    assert_eq!(column(&answer, 1, "values"), json!([1, 1, null]));
    assert_eq!(column(&answer, 2, "statuses"), json!(["INVALID", "PRESENT", "NOT_FOUND"]));
    assert_eq!(answer["metadata"]["degraded"], true);
    let windowed = json!({"features": ["v:hour"], "entities": {"u": ["ada"]}});
    assert_eq!(ask(&reader, windowed.clone(), late).await["metadata"]["degraded"], false);
    // A declared age of the horizon is watched before anything is lost.
    {
        let mut contents = fake.contents.lock().unwrap();
        let mut entry: Json = serde_json::from_slice(&contents.catalog()["v"]).unwrap();
        entry["horizonTargetMs"] = json!(DAY);
        contents.catalog().insert("v".into(), entry.to_string().into_bytes());
    }
    reader.catalog.refresh().await.unwrap();
    assert_eq!(ask(&reader, windowed.clone(), late).await["metadata"]["degraded"], true);
    fake.contents.lock().unwrap().set_generation(&plan, 1, late - DAY);
    assert_eq!(ask(&reader, windowed, late).await["metadata"]["degraded"], false);
}

#[tokio::test]
async fn a_slot_that_a_newer_generation_took_is_read_again_and_never_left_out() {
    let plan = view("Batch");
    let fake = FakeStore::new(|contents| {
        contents.publish(&plan, 0);
        contents.set_generation(&plan, 3, H);
        store_generation(contents, &plan, 3, &[at("ada", H - 1), at("bob", H - 1)]);
        store_generation(contents, &plan, 5, &[at("ada", H - 2), at("ada", H - 1)]);
    });
    let next = plan.clone();
    fake.script(move |n, contents| {
        if n == 1 {
            contents.set_generation(&next, 5, H);
        }
        Ok(())
    });
    let (reader, _stop) = reader(fake.clone()).await;
    let answer = ask(&reader, body(), H).await;
    assert_eq!(column(&answer, 2, "values"), json!([2, null, null]), "Bob is not in generation 5");
    assert_eq!((answer["metadata"]["views"]["v"]["generation"].clone(), fake.reads()), (json!(5), 2));
    // A head that stays where its rows were taken from is no answer.
    fake.contents.lock().unwrap().set_generation(&plan, 3, H);
    let failure = serve::answer::answer(&reader, body().to_string().as_bytes(), H).await.unwrap_err();
    assert_eq!(failure.code(), 503);
    assert!(failure.to_string().contains("newer generation"), "{failure}");
}

#[tokio::test]
async fn a_generations_lane_that_cannot_be_decoded_fails_the_answer() {
    let plan = view("Batch");
    let fake = FakeStore::new(|contents| {
        contents.publish(&plan, 0);
        contents.set_generation(&plan, 3, H);
        store_generation(contents, &plan, 3, &[at("ada", H - 1)]);
        let row = contents.hashes.iter_mut().find(|(key, _)| key.ends_with("/e/ada")).unwrap().1;
        row.get_mut("b1").unwrap().truncate(20);
    });
    let (reader, _stop) = reader(fake).await;
    let failure = serve::answer::answer(&reader, body().to_string().as_bytes(), H).await.unwrap_err();
    assert_eq!(failure.code(), 500);
    assert!(failure.to_string().contains("generation 3"), "{failure}");
}

const ENTITIES: usize = 8;
/// What a Lambda's stream lane adds to each count.
const STREAMED: i64 = 1_000;

/// The promise over a real Redis: while generations are written beside the served one and flipped, no answer is mixed,
/// failed, thinned out, or older than one that was published before the request began.
async fn flips_under_load(mode: &str) {
    const GENERATIONS: u64 = 60;
    let plan = plan_of(mode, "v", &[("u", "String")], vec![count("x", "k", None), count("y", "k", None)]);
    let users: Vec<String> = (0..ENTITIES).map(|user| user.to_string()).collect();
    let generation = |number: u64| {
        let mut contents = Contents::default();
        let events: Vec<Event> =
            (users.iter()).flat_map(|user| (0..number).map(move |i| at(user, i64::try_from(i).unwrap()))).collect();
        store_generation(&mut contents, &plan, number, &events);
        contents
    };
    // Every hour of the stream is after every horizon.
    let horizon = |number: u64| i64::try_from(number).unwrap() * HOUR;
    let flip = |number: u64| {
        let mut contents = Contents::default();
        contents.set_generation(&plan, number, horizon(number));
        contents
    };
    let redis = Redis::start().await;
    let mut contents = generation(1);
    contents.publish(&plan, 1);
    contents.set_generation(&plan, 1, horizon(1));
    if mode == "Lambda" {
        let first = horizon(GENERATIONS);
        let events: Vec<Event> =
            users.iter().flat_map(|user| (0..STREAMED).map(move |i| at(user, first + i))).collect();
        store(&mut contents, &plan, 0, 0, &events);
    }
    redis.fill(&contents).await;
    let server = start(Arc::new(redis.store()), &[]).await;
    let beside = if mode == "Lambda" { STREAMED } else { 0 };
    let text = json!({"features": ["v:x", "v:y"], "entities": {"u": users}}).to_string();

    let (begun, done) = (Arc::new(AtomicU64::new(1)), Arc::new(AtomicU64::new(1)));
    let (answered, answers) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let mut readers = JoinSet::new();
    for _ in 0..4 {
        let (begun, done, answered, answers) = (begun.clone(), done.clone(), answered.clone(), answers.clone());
        let (address, text) = (server.address, text.clone());
        readers.spawn(async move {
            let mut client = Client::connect(address).await;
            while done.load(Ordering::SeqCst) < GENERATIONS {
                let earliest = done.load(Ordering::SeqCst);
                let (code, answer) = client.post(&text).await;
                let latest = begun.load(Ordering::SeqCst);
                assert_eq!(code, 200, "{answer}");
                let seen = answer["metadata"]["views"]["v"]["generation"].as_u64().unwrap();
                assert!((earliest..=latest).contains(&seen), "{seen} is none of {earliest} to {latest}");
                let value = i64::try_from(seen).unwrap() + beside;
                for i in [1, 2] {
                    assert_eq!(answer["results"][i]["values"], json!(vec![value; ENTITIES]), "mixed: {answer}");
                }
                answered.fetch_add(1, Ordering::SeqCst);
                answers.add_permits(1);
            }
        });
    }
    for number in 2..=GENERATIONS {
        // Written over the last but one, entity by entity, while the last one is read.
        redis.fill(&generation(number)).await;
        tokio::select! {
            permits = answers.acquire_many(8) => permits.unwrap().forget(),
            Some(reader) = readers.join_next() => reader.unwrap(),
        }
        begun.store(number, Ordering::SeqCst);
        redis.fill(&flip(number)).await;
        done.store(number, Ordering::SeqCst);
    }
    while let Some(reader) = readers.join_next().await {
        reader.unwrap();
    }
    assert!(answered.load(Ordering::SeqCst) >= 8 * usize::try_from(GENERATIONS - 1).unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generations_flip_under_load_and_mix_nothing() {
    flips_under_load("Batch").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lambdas_generations_flip_under_load_and_mix_nothing() {
    flips_under_load("Lambda").await;
}

//! How far back rows can tell: where older events were left out on purpose, a read is exact or says that it is not, of whom
//! there are rows and of whom there are none.

use std::sync::Arc;

use engine::plan::Plan;
use engine::row::{COMPLETE_FROM_FIELD, marker_key};
use serde_json::{Value as Json, json};
use serve::answer::answer;
use serve::read::Reader;

use crate::fixtures::{Contents, FakeStore, aggregate, count, expression, plan_of, reader};
use crate::lanes::{Event, event, store, store_generation};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// 2026-01-01T12:00:00Z: when the replay was ordered.
const T: i64 = 1_767_268_800_000;
const USERS: [&str; 5] = ["ada", "bob", "cid", "dan", "nobody"];

fn view(mode: &str) -> Plan {
    let features = vec![
        count("hour", "k", Some("1h")),
        count("day", "k", Some("24h")),
        aggregate("sum", "Sum", Some("amount"), Some("24h")),
        expression("share", "hour / nullif(day, 0)"),
    ];
    plan_of(mode, "v", &[("u", "String")], features)
}

/// The last is of long ago; `dan` has nothing else, `nobody` nothing at all.
fn events() -> Vec<Event> {
    let of = |user: &'static str, step: i64| {
        (1..).map(move |i| T - i * step).take_while(|t| *t > T - 5 * DAY).map(move |t| event(t, user, "k", 3.0))
    };
    of("ada", 17 * MINUTE)
        .chain(of("bob", 7 * HOUR))
        .chain([T - 2 * DAY - HOUR, T - 4 * DAY].map(|t| event(t, "cid", "k", 5.0)))
        .chain([event(T - 3 * DAY, "dan", "k", 7.0)])
        .collect()
}

fn say_complete_from(contents: &mut Contents, plan: &Plan, time: i64) {
    let key = marker_key(&plan.view.uid, &plan.revision, 0, 0);
    let markers = contents.hashes.entry(key).or_default();
    markers.insert(COMPLETE_FROM_FIELD.to_owned(), time.to_string().into_bytes());
}

async fn ask(reader: &Reader, as_of: i64) -> Vec<Vec<(Json, Json)>> {
    let body = json!({"features": ["v:hour", "v:day", "v:sum", "v:share"], "entities": {"u": USERS}, "as_of": as_of});
    let answer: Json = serde_json::from_slice(&answer(reader, body.to_string().as_bytes(), T).await.unwrap()).unwrap();
    let of = |feature: usize, user: usize| {
        let column = &answer["results"][feature + 1];
        (column["values"][user].clone(), column["statuses"][user].clone())
    };
    (0..4).map(|feature| (0..USERS.len()).map(|user| of(feature, user)).collect()).collect()
}

/// What is answered as of many times is what all events give, or `INVALID`. Gives how often it was which, by feature.
async fn compare(whole: Arc<FakeStore>, part: Arc<FakeStore>, times: impl Iterator<Item = i64>) -> Vec<[usize; 2]> {
    let ((whole, _stop), (part, _stop_too)) = (reader(whole).await, reader(part).await);
    let mut tally = vec![[0; 2]; 4];
    for t in times {
        let (expected, found) = (ask(&whole, t).await, ask(&part, t).await);
        for (feature, (expected, found)) in expected.iter().zip(&found).enumerate() {
            for ((user, expected), found) in USERS.iter().zip(expected).zip(found) {
                let invalid = found.1 == "INVALID";
                tally[feature][usize::from(invalid)] += 1;
                // Nothing that counts in a window is nothing, whether a row says so or none does.
                let nothing = |cell: &(Json, Json)| cell.0.is_null() || cell.0 == json!(0);
                let equal = found.0 == expected.0 || found.1 == "NOT_FOUND" && nothing(expected);
                assert!(
                    invalid || equal,
                    "feature {feature} of {user}, {} min before: {found:?}, not {expected:?}",
                    (T - t) / MINUTE
                );
            }
        }
    }
    tally
}

#[tokio::test]
async fn what_a_replay_left_out_is_told_and_never_counted_as_nothing() {
    let plan = view("Kappa");
    let left_out = T - plan.time.retention_ms.unwrap();
    let from = left_out + plan.time.max_future_ms;
    let whole = FakeStore::new(|contents| {
        contents.publish(&plan, T);
        store(contents, &plan, 0, 0, &events());
    });
    let part = FakeStore::new(|contents| {
        contents.publish(&plan, T);
        say_complete_from(contents, &plan, from);
        let read: Vec<Event> = events().into_iter().filter(|event| event.time >= left_out).collect();
        store(contents, &plan, 0, 0, &read);
    });
    let mut without = part.contents.lock().unwrap().clone();
    let tally = compare(whole.clone(), part.clone(), (0..400).map(|i| T - i * 13 * MINUTE)).await;
    assert!(tally.iter().all(|[told, invalid]| *told > 25 && *invalid > 25), "{tally:?}");
    assert!(tally[0][0] > tally[1][0], "a short window can be read further back than a long one: {tally:?}");
    // As of now, and of any time that a late event could still change, all is exact.
    let late = plan.time.allowed_lateness_ms;
    let tally = compare(whole.clone(), part.clone(), (0..=late / MINUTE).map(|i| T - i * MINUTE)).await;
    assert!(tally.iter().all(|[_, invalid]| *invalid == 0), "{tally:?}");
    let (part, _stop) = reader(part).await;
    // Without what is said, values would be wrong: the test can fail.
    for hash in without.hashes.values_mut() {
        hash.remove(COMPLETE_FROM_FIELD);
    }
    let without = FakeStore::new(|contents| *contents = without);
    let ((whole, _stop), (without, _stop_too)) = (reader(whole).await, reader(without).await);
    let said = async |reader: &Reader| {
        let body = json!({"features": ["v:day"], "entities": {"u": USERS}, "as_of": T}).to_string();
        let answer: Json = serde_json::from_slice(&answer(reader, body.as_bytes(), T).await.unwrap()).unwrap();
        let said = answer["metadata"]["views"]["v"]["complete_from"].as_str().map(str::parse::<jiff::Timestamp>);
        said.map(|time| time.unwrap().as_millisecond())
    };
    assert_eq!((said(&part).await, said(&whole).await), (Some(from), None));
    let differs = |t| {
        let (whole, without) = (&whole, &without);
        async move { ask(whole, t).await[1] != ask(without, t).await[1] }
    };
    assert!(differs(T - DAY).await);
}

#[tokio::test]
async fn a_lambda_counts_streams_from_its_horizon_and_knows_where_they_begin() {
    let plan = view("Lambda");
    let horizon = T - 2 * DAY;
    let fill = |contents: &mut Contents, from: Option<i64>| {
        contents.publish(&plan, T);
        contents.set_generation(&plan, 1, horizon);
        let (old, new): (Vec<_>, Vec<_>) = events().into_iter().partition(|event| event.time < horizon);
        store_generation(contents, &plan, 1, &old);
        let new: Vec<Event> = new.into_iter().filter(|event| from.is_none_or(|from| event.time >= from)).collect();
        store(contents, &plan, 0, 0, &new);
        if let Some(from) = from {
            say_complete_from(contents, &plan, from);
        }
    };
    let whole = FakeStore::new(|contents| fill(contents, None));
    // What is before the horizon the stream need not have read.
    let before = FakeStore::new(|contents| fill(contents, Some(horizon - HOUR)));
    let exact = compare(whole.clone(), before, (0..300).map(|i| T - i * 11 * MINUTE)).await;
    let same = compare(whole.clone(), whole.clone(), (0..300).map(|i| T - i * 11 * MINUTE)).await;
    assert_eq!(exact, same);
    let behind = FakeStore::new(|contents| fill(contents, Some(horizon + 6 * HOUR)));
    let tally = compare(whole, behind, (0..300).map(|i| T - i * 11 * MINUTE)).await;
    assert!(tally.iter().zip(&same).all(|(found, same)| found[1] > same[1] && found[0] > 0), "{tally:?} {same:?}");
}

#[tokio::test]
async fn whom_a_generation_does_not_hold_may_have_been_too_old_for_it() {
    let plan = view("Batch");
    let fake = FakeStore::new(|contents| {
        contents.publish(&plan, 0);
        contents.set_generation(&plan, 1, T);
        store_generation(contents, &plan, 1, &[event(T - 1, "ada", "k", 1.0)]);
    });
    let (reader, _stop) = reader(fake).await;
    let status = |answer: &[Vec<(Json, Json)>], user: usize| answer[1][user].1.clone();
    let now = ask(&reader, T).await;
    assert_eq!((status(&now, 0), status(&now, 4)), (json!("PRESENT"), json!("NOT_FOUND")));
    let then = ask(&reader, T - 3 * DAY).await;
    assert_eq!((status(&then, 0), status(&then, 4)), (json!("INVALID"), json!("INVALID")));
}

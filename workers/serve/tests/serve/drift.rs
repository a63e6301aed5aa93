//! Drift checks over a real Redis, as the Job runs them: the drifted feature is found, and named, and no other.

use engine::monitor::{DriftCheck, Reference, Report};
use engine::plan::Plan;
use engine::row::{Marker, drift_key};
use shell::store::RowStore as _;

use crate::fixtures::{Contents, count, plan};
use crate::lanes::{Event, event, store};
use crate::redis_server::Redis;

const MINUTE: i64 = 60_000;
/// 2026-01-01T12:00:00Z.
const T: i64 = 1_767_268_800_000;

fn view() -> Plan {
    plan("v", &[("u", "String")], vec![count("views", "view", Some("1h")), count("carts", "cart", Some("1h"))])
}

/// Of each user so many views and carts in the hour before `t`.
fn fill(contents: &mut Contents, t: i64, views: impl Fn(i64) -> i64) {
    let plan = view();
    contents.set_head(&plan, 0);
    contents.set_marker(&plan, 0, 1, Marker { offset: 9, event_time: t, end_offset: 9, read_to_end_at: t + 7 });
    let of = |user: i64| {
        let user_name = format!("u{user}");
        let all = (0..views(user)).map(move |_| "view").chain((0..user % 5).map(|_| "cart"));
        all.map(move |kind| event(t - MINUTE, &user_name, kind, 1.0)).collect::<Vec<Event>>()
    };
    let events: Vec<Event> = (0..400).flat_map(of).collect();
    store(contents, &plan, 0, 0, &events);
}

/// Runs the Job; what it left in the store.
async fn check(redis: &Redis, name: &str, sample: usize) -> Report {
    let asked =
        DriftCheck { plan: view(), sample_entities: sample, reference: Reference::Baseline { name: name.into() } };
    let file = std::env::temp_dir().join(format!("featuremill-drift-{}-{name}.json", std::process::id()));
    std::fs::write(&file, serde_json::to_string(&asked).unwrap()).unwrap();
    let flags = ["drift", "--redis-url", &redis.url(), "--drift-file", file.to_str().unwrap()];
    let status = std::process::Command::new(env!("CARGO_BIN_EXE_featuremill-serve")).args(flags).status().unwrap();
    assert!(status.success());
    std::fs::remove_file(&file).unwrap();
    let connector = shell::redis::Connector::new(&redis.url(), None).unwrap();
    let rows = shell::store::RedisStore::connect(&connector).await.unwrap();
    Report::decode(&rows.text(&drift_key("uid-v", &view().revision)).await.unwrap().unwrap()).unwrap()
}

#[tokio::test]
async fn a_feature_that_moved_is_found_by_the_job_and_no_other() {
    let redis = Redis::start().await;
    let mut contents = Contents::default();
    fill(&mut contents, T, |user| user % 7 + 1);
    redis.fill(&contents).await;
    let first = check(&redis, "a", 300).await;
    assert_eq!((first.reference.as_ref(), first.entities, first.as_of_ms), (None, 300, T));
    assert!(first.features.iter().all(|f| f.psi.is_none() && f.read == 300), "{first:?}");
    let same = check(&redis, "a", 300).await;
    assert!(same.features.iter().all(|f| f.psi.unwrap() < 1e-9), "{same:?}");

    // Half an hour later a third of the views is lost; carts go on as they were.
    let later = T + 30 * MINUTE;
    let mut contents = Contents::default();
    fill(&mut contents, later, |user| (user % 7 + 1) / 3);
    let mut connection = redis.connect().await;
    redis::cmd("EVAL")
        .arg("for _,k in ipairs(redis.call('KEYS','*/e/*')) do redis.call('DEL',k) end")
        .arg(0)
        .query_async::<()>(&mut connection)
        .await
        .unwrap();
    redis.fill(&contents).await;
    for _ in 0..2 {
        let moved = check(&redis, "a", 300).await;
        assert_eq!(moved.reference.unwrap().as_of_ms, T);
        let psi = |name: &str| moved.features.iter().find(|f| f.name == name).unwrap().psi.unwrap();
        assert!(psi("views") > 0.25 && psi("carts") < 0.05, "{:?}", moved.features);
    }
    // Another baseline begins anew.
    assert_eq!(check(&redis, "b", 300).await.reference, None);
}

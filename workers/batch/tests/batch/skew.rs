//! Skew checks of a generation: a row that its source does not give is found and named, and nothing else is.

use engine::compare::Report;
use engine::lane::{Lane, Layout};
use engine::monitor::SkewCheck;
use engine::row::{batch_field, entity_hash, row_key, skew_key};

use crate::fixtures::DAY;
use crate::source::{Dice, START, append, events};
use crate::world::{World, binary};

/// Runs the check; its exit code, and what it left in the store.
async fn check(world: &World) -> (i32, Option<Report>) {
    let file = |name: &str| world.folder.path().join(name);
    let asked =
        SkewCheck { plan: world.plan().clone(), sample_entities: 1_000, lookback_ms: DAY, records_per_second: None };
    std::fs::write(file("skew.json"), serde_json::to_string(&asked).unwrap()).unwrap();
    std::fs::write(file("batch.json"), serde_json::to_string(&world.config).unwrap()).unwrap();
    let status = tokio::process::Command::new(binary())
        .args(["skew", "--redis-url", &world.redis.url(), "--threads", "2", "--config"])
        .arg(file("batch.json"))
        .arg("--skew-file")
        .arg(file("skew.json"))
        .status()
        .await
        .unwrap();
    let key = skew_key(&world.plan().view.uid, &world.plan().revision);
    let text: Option<String> = redis::cmd("GET").arg(key).query_async(&mut world.connection.clone()).await.unwrap();
    (status.code().unwrap(), text.map(|text| Report::decode(&text).unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_that_its_source_does_not_give_is_found_and_later_events_are_no_skew() {
    let world = World::new().await;
    assert_eq!(check(&world).await, (1, None), "nothing is published yet");
    let mut dice = Dice(71);
    append(&world.source(), &events(&mut dice, 60, 4_000, START, START + 10 * DAY)).await;
    world.run_to(0).await;
    append(&world.source(), &events(&mut dice, 60, 40, START + 9 * DAY, START + 10 * DAY + DAY / 2)).await;
    world.run_to(0).await;
    // Events from long before the horizon, which the next generation will have: the check pins the version of this one.
    append(&world.source(), &events(&mut dice, 60, 500, START + 5 * DAY, START + 6 * DAY)).await;
    let (code, report) = check(&world).await;
    let report = report.unwrap();
    assert_eq!((code, report.entities), (0, 60));
    for feature in &report.features {
        assert_eq!((feature.compared, feature.mismatches, feature.unreadable), (60, 0, 0), "{feature:?}");
    }

    // The lane of another entity in its place.
    let head = world.head().await.unwrap();
    let lanes = world.lanes(head.generation).await;
    let (victim, other) = ("u7", "u8");
    let segments: Vec<(u8, &[u8])> = lanes[other].iter().map(|(n, bytes)| (*n, bytes.as_slice())).collect();
    let layout = Layout::new(world.plan()).unwrap();
    let mut lane = Lane::decode(&layout, &segments).unwrap();
    lane.forget_written();
    let key = row_key(&world.plan().view.uid, &world.plan().revision, 0, victim);
    let mut pipeline = redis::pipe();
    pipeline.cmd("DEL").arg(&key).ignore();
    for (segment, bytes) in lane.encode(&layout).segments {
        pipeline.cmd("HSET").arg(&key).arg(batch_field(head.generation, segment)).arg(bytes).ignore();
    }
    pipeline.query_async::<()>(&mut world.connection.clone()).await.unwrap();
    let (code, report) = check(&world).await;
    let report = report.unwrap();
    assert_eq!((code, report.entities), (0, 60));
    let events = report.features.iter().find(|feature| feature.name == "events").unwrap();
    assert_eq!((events.compared, events.mismatches), (60, 1));
    assert_eq!(events.examples[0].entity, entity_hash(victim));
    assert_ne!(events.examples[0].former, events.examples[0].candidate);
}

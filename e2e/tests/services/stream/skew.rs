//! Skew checks with a real Kafka and a real Redis: a row with one event too many is found and named, and nothing else ever is.

use std::path::PathBuf;

use e2e::services::Program;
use engine::compare::Report;
use engine::monitor::SkewCheck;
use engine::plan::{Assignment, Assignments};
use engine::row::{self, Head, entity_hash, skew_key};

use super::world::{Chance, Event, LIMIT, UID, World, definition, events, now, record};

/// Further back than anything.
const ALWAYS: i64 = 36_500 * 86_400_000;

/// Runs the Job; what it left in the store.
async fn check(world: &World, name: &str, sample_entities: usize, lookback_ms: i64) -> Report {
    let asked = SkewCheck { plan: world.plan.clone(), sample_entities, lookback_ms, records_per_second: None };
    let file: PathBuf = world.directory.path().join(format!("{name}.json"));
    std::fs::write(&file, serde_json::to_vec(&asked).unwrap()).unwrap();
    let mut process = Program::of_workspace("featuremill-stream")
        .unwrap()
        .args(["skew", "--kafka-bootstrap", &world.kafka.bootstrap(), "--redis-url", &world.redis.url()])
        .args(["--log-format", "text", "--skew-file"])
        .arg(&file)
        .start(world.directory.path().join(format!("{name}.log")))
        .unwrap();
    let status = process.wait(LIMIT).await.unwrap();
    assert!(status.success(), "{}", process.log_tail());
    let text: String = world.redis.command(&["GET", &skew_key(UID, &world.plan.revision)]).await.unwrap();
    Report::decode(&text).unwrap()
}

/// Says where the rows of a revision are, as the operator does.
async fn point_at(world: &World, head: &Head) {
    let key = row::head_key(UID, &world.plan.revision);
    let _: String = world.redis.command(&["SET", &key, &serde_json::to_string(head).unwrap()]).await.unwrap();
}

fn mismatches(report: &Report) -> Vec<(&str, usize)> {
    report.features.iter().map(|feature| (feature.name.as_str(), feature.mismatches)).collect()
}

/// Adds an event to an entity's row that no record holds, and leaves its offset as it was.
async fn plant(world: &World, user: &str, partition: i32, event: &Event) {
    let payload = record(event, partition, now()).payload.unwrap();
    let (url, plan, user) = (world.redis.url(), world.plan.clone(), user.to_owned());
    let planted = move || e2e::planted::plant(&url, &plan, 0, (&user, partition), &payload, now()).unwrap();
    tokio::task::spawn_blocking(planted).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_with_one_event_too_many_is_found_and_named_and_looked_at_again() {
    let world = World::new(3).await;
    point_at(&world, &Head { fence: 1, ..Head::default() }).await;
    let (mut chance, now) = (Chance(51), now());
    let all = events(&mut chance, 9_000, 400, now);
    let spread = |(i, event): (usize, &Event)| record(event, i32::try_from(i % 3).unwrap(), now);
    world.kafka.produce(super::world::TOPIC, all.iter().enumerate().map(spread)).await.unwrap();
    let mut worker = world.worker("live");
    world.until_read(all.len()).await;
    worker.process.terminate(LIMIT).await.unwrap();

    let well = check(&world, "well", 1_000, ALWAYS).await;
    assert_eq!(well.entities, 400);
    for feature in &well.features {
        assert_eq!((feature.compared, feature.unreadable, feature.mismatches), (400, 0, 0), "{feature:?}");
    }

    // A purchase that never was.
    let user = all[7].user.replace('|', "%7C");
    let planted = Event { user: all[7].user.clone(), kind: "buy", amount: 1_000_000, time: now - 60_000 };
    plant(&world, &user, 1, &planted).await;
    for (name, sample) in [("planted", 1_000), ("again", 1)] {
        let found = check(&world, name, sample, ALWAYS).await;
        assert_eq!(found.entities, sample.min(400));
        // It is no click, and so that feature does not differ; whether it is the latest is for the times to say.
        let differing = mismatches(&found);
        assert_eq!(differing[0], ("events", 1), "{differing:?}");
        assert_eq!((differing[1], differing[2]), (("total", 1), ("clicks", 0)), "{differing:?}");
        let example = &found.features[0].examples[0];
        assert_eq!(example.entity, entity_hash(&user));
        let (served, given): (i64, i64) = (example.former.parse().unwrap(), example.candidate.parse().unwrap());
        assert_eq!(served, given + 1);
        let total = &found.features[1].examples[0];
        assert_eq!(total.former.parse::<i64>().unwrap() - total.candidate.parse::<i64>().unwrap(), 1_000_000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_are_late_or_come_while_it_looks_are_no_skew() {
    let world = World::new(3).await;
    point_at(&world, &Head { fence: 1, ..Head::default() }).await;
    let (mut chance, now) = (Chance(52), now());
    let mut all = events(&mut chance, 20_000, 300, now);
    // Every other event is up to three hours late.
    for event in all.iter_mut().step_by(2) {
        event.time -= i64::try_from(chance.below(3 * 3_600_000)).unwrap();
    }
    let mut worker = world.worker("live");
    worker.ready().await;
    let (done, mut wait) = tokio::sync::oneshot::channel::<()>();
    let produce = async {
        for (round, chunk) in all.chunks(500).enumerate() {
            let spread = |(i, event): (usize, &Event)| record(event, i32::try_from((round + i) % 3).unwrap(), now);
            world.kafka.produce(super::world::TOPIC, chunk.iter().enumerate().map(spread)).await.unwrap();
        }
        drop(done);
    };
    let look = async {
        let mut looks = 0;
        loop {
            let over = wait.try_recv() == Err(tokio::sync::oneshot::error::TryRecvError::Closed);
            let report = check(&world, &format!("look-{looks}"), 300, ALWAYS).await;
            assert!(report.features.iter().all(|feature| feature.mismatches == 0), "{report:?}");
            looks += usize::from(report.entities > 0 && report.features.iter().all(|f| f.compared > 0));
            if over && looks > 1 {
                return looks;
            }
        }
    };
    let ((), looks) = tokio::join!(produce, look);
    assert!(looks >= 2, "{looks} looks saw anything");
    world.until_read(all.len()).await;
    worker.process.terminate(LIMIT).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_lambda_what_is_below_its_horizon_is_the_generations() {
    let mut world = World::new(1).await;
    let mut definition = definition(UID);
    (definition.mode, definition.archive) = ("Lambda".into(), true);
    world.plan = engine::resolve::resolve(&definition).unwrap();
    let assignments = Assignments { assignments: vec![Assignment { incarnation: 0, plan: world.plan.clone() }] };
    std::fs::write(world.assignments(), serde_json::to_vec(&assignments).unwrap()).unwrap();
    let now = now();
    let horizon = engine::time::floor(now - 3 * 3_600_000, 86_400_000 / 4);
    let head = Head { incarnation: 0, generation: 1, horizon, fence: 2 };
    point_at(&world, &head).await;
    // Half of the events came after the run that they are too late for, and count from the next generation on.
    let (mut chance, hour) = (Chance(54), 3_600_000_i64);
    let mut all = events(&mut chance, 2_000, 60, now);
    for event in all.iter_mut().step_by(2) {
        event.time = horizon - 1 - i64::try_from(chance.below(hour.unsigned_abs())).unwrap();
    }
    world.kafka.produce(super::world::TOPIC, all.iter().map(|event| record(event, 0, now))).await.unwrap();
    let mut worker = world.worker("live");
    world.until_read(all.len()).await;
    worker.process.terminate(LIMIT).await.unwrap();

    let well = check(&world, "well", 100, 24 * hour).await;
    let clicks = |report: &Report| {
        let clicks = report.features.iter().find(|feature| feature.name == "clicks").unwrap();
        (clicks.compared, clicks.mismatches)
    };
    assert_eq!((well.entities, clicks(&well)), (60, (60, 0)), "{well:?}");
    // One too many below the horizon is read by nobody; from it on, it is.
    let user = all[7].user.replace('|', "%7C");
    let planted = |time| Event { user: all[7].user.clone(), kind: "click", amount: 1, time };
    plant(&world, &user, 0, &planted(horizon - 60_000)).await;
    assert_eq!(clicks(&check(&world, "below", 100, 24 * hour).await), (60, 0));
    plant(&world, &user, 0, &planted(now - 60_000)).await;
    let found = check(&world, "above", 100, 24 * hour).await;
    assert_eq!(clicks(&found), (60, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_read_again_far_enough_back_is_not_judged() {
    let world = World::new(1).await;
    point_at(&world, &Head { fence: 1, ..Head::default() }).await;
    let (mut chance, now) = (Chance(53), now());
    let old_now = now - 6 * 3_600_000;
    let old = events(&mut chance, 600, 50, old_now);
    let young = events(&mut chance, 600, 50, now);
    world.kafka.produce(super::world::TOPIC, old.iter().map(|event| record(event, 0, old_now))).await.unwrap();
    world.kafka.produce(super::world::TOPIC, young.iter().map(|event| record(event, 0, now))).await.unwrap();
    let mut worker = world.worker("live");
    world.until_read(1_200).await;
    worker.process.terminate(LIMIT).await.unwrap();
    // Two hours do not tell of a day, or of all time.
    let report = check(&world, "short", 100, 2 * 3_600_000).await;
    for feature in &report.features {
        assert_eq!((feature.compared, feature.mismatches, feature.unreadable), (0, 0, 50), "{feature:?}");
    }
    // A day does of a day.
    let report = check(&world, "day", 100, 24 * 3_600_000).await;
    let clicks = report.features.iter().find(|feature| feature.name == "clicks").unwrap();
    assert_eq!((clicks.compared, clicks.mismatches), (50, 0));
}

//! An entity is erased while workers write: one is busy, one lags, one comes later and replays, and the eraser is killed. What
//! stands in the rows afterwards is counted by hand from the records behind the offsets that it says to cover.

use std::collections::BTreeMap;
use std::time::Duration;

use e2e::services::{Process, Program, Signal, until};
use engine::plan::{Assignment, Assignments, Plan};
use engine::row;
use serde_json::{Value, json};

use super::world::{Chance, Event, LIMIT, TOPIC, UID, Worker, World, brute_force, events, now, plan, record};

const PARTITIONS: i32 = 4;
/// Who is erased; its name has a character that keys escape.
const USER: &str = "user|7";

/// The view as it was at another revision.
fn revision(allowed_lateness: &str) -> Plan {
    let mut definition = super::world::definition(UID);
    definition.allowed_lateness = allowed_lateness.into();
    engine::resolve::resolve(&definition).unwrap()
}

impl World {
    /// Starts a worker of another revision.
    fn worker_for(&self, name: &str, plan: &Plan) -> Worker {
        let assignments = Assignments { assignments: vec![Assignment { incarnation: 0, plan: plan.clone() }] };
        let path = self.directory.path().join(format!("{name}.json"));
        std::fs::write(&path, serde_json::to_vec(&assignments).unwrap()).unwrap();
        self.worker_with(name, "consumer", &path)
    }

    /// Starts an eraser.
    fn eraser(&self, name: &str) -> Process {
        let config = json!({
            "entity": {"user": USER},
            "views": [{"assignment": {"incarnation": 0, "plan": plan(UID)}}],
        });
        let path = self.directory.path().join("erase.json");
        std::fs::write(&path, config.to_string()).unwrap();
        Program::of_workspace("featuremill-archive")
            .unwrap()
            .arg("erase")
            .arg("--config")
            .arg(path)
            .args(["--kafka-bootstrap", &self.kafka.bootstrap(), "--redis-url", &self.redis.url()])
            .arg("--report")
            .arg(self.report_path())
            .args(["--log-format", "text"])
            .start(self.directory.path().join(format!("{name}.log")))
            .unwrap()
    }

    /// What the erasure under way covers, if one is.
    async fn noted(&self) -> Option<String> {
        let key = row::erasing_key(UID, "user%7C7");
        self.redis.command(&["HGET", &key, "covers"]).await.unwrap()
    }

    /// How many clients the store has.
    async fn clients(&self) -> u64 {
        let info: String = self.redis.command(&["INFO", "clients"]).await.unwrap();
        let line = info.lines().find_map(|line| line.strip_prefix("connected_clients:"));
        line.unwrap().trim().parse().unwrap()
    }

    fn report_path(&self) -> std::path::PathBuf {
        self.directory.path().join("report.json")
    }

    /// What the last eraser that came to its end says of the one view.
    fn report(&self) -> Value {
        let report: Value = serde_json::from_slice(&std::fs::read(self.report_path()).unwrap()).unwrap();
        assert_eq!(report["views"].as_array().unwrap().len(), 1, "{report}");
        report["views"][0].clone()
    }

    /// Holds the rows of a revision against the records that are not covered.
    async fn assert_erased(&mut self, plan: &Plan, covers: &BTreeMap<i32, i64>, now: i64) {
        let records = self.kafka.read_all(TOPIC).await.unwrap();
        self.plan = plan.clone();
        self.until_read(records.len()).await;
        let event = |payload: &[u8]| {
            let value: Value = serde_json::from_slice(payload).unwrap();
            let kind = if value["kind"] == "buy" { "buy" } else { "click" };
            let (amount, time) = (value["amount"].as_i64().unwrap(), value["at"].as_i64().unwrap());
            Event { user: value["user"].as_str().unwrap().to_owned(), kind, amount, time }
        };
        let mut left: Vec<Event> = (records.iter())
            .map(|record| (record, event(record.payload.as_deref().unwrap())))
            .filter(|(record, event)| event.user != USER || record.offset >= covers[&record.partition.unwrap()])
            .map(|(_, event)| event)
            .collect();
        left.sort_by_key(|event| event.time);
        // A worker that has read everything may be about to go back once more.
        until("rows without what was erased", LIMIT, async || {
            let (expected, found) = (brute_force(&left), self.values(now).await);
            let wrong = expected.iter().find(|(user, of)| found.get(*user) != Some(*of));
            match wrong {
                Some((user, of)) => Err(format!("{user}: expected {of:?}, found {:?}", found.get(user))),
                None if found.len() == expected.len() => Ok(()),
                None => Err(format!("{} rows, {} expected", found.len(), expected.len())),
            }
        })
        .await
        .unwrap();
    }
}

fn covers(report: &Value) -> BTreeMap<i32, i64> {
    serde_json::from_value(report["covers"].clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_erased_under_load_is_brought_back_by_nobody() {
    let mut world = World::new(PARTITIONS).await;
    let (mut chance, now) = (Chance(41), now());
    let all = events(&mut chance, 24_000, 60, now);
    let put = |chance: &mut Chance, events: &[Event]| -> Vec<_> {
        let partition = |chance: &mut Chance| i32::try_from(chance.below(4)).unwrap();
        events.iter().map(|event| record(event, partition(chance), now)).collect()
    };
    let (live, lagging, later) = (revision("4h"), revision("5h"), revision("6h"));
    let mut worker = world.worker_for("live", &live);
    let mut behind = world.worker_for("lagging", &lagging);
    world.kafka.produce(TOPIC, put(&mut chance, &all[..8_000])).await.unwrap();
    world.plan = lagging.clone();
    world.until_read(8_000).await;
    // It holds the entity's lane, and has records before it that it has not read.
    behind.process.signal(Signal::Stop).unwrap();
    world.kafka.produce(TOPIC, put(&mut chance, &all[8_000..12_000])).await.unwrap();
    world.plan = live.clone();
    world.until_read(12_000).await;
    assert!(world.values(now).await.contains_key(USER));

    // Events go on all the while.
    let mut eraser = world.eraser("eraser");
    for (number, events) in all[12_000..20_000].chunks(400).enumerate() {
        if number == 10 {
            // What is covered is known by now, and its rows may be there or not.
            until("the eraser at work", LIMIT, async || {
                let pattern = format!("{UID}/eras*");
                let keys: Vec<String> = world.redis.command(&["KEYS", &pattern]).await.map_err(|e| e.to_string())?;
                if keys.is_empty() { Err("nothing is noted".to_owned()) } else { Ok(()) }
            })
            .await
            .unwrap();
        }
        world.kafka.produce(TOPIC, put(&mut chance, events)).await.unwrap();
    }
    let status = eraser.wait(LIMIT).await.unwrap();
    assert!(status.success(), "{}", eraser.log_tail());
    let report = world.report();
    let covered = covers(&report);
    assert_eq!(report["onlineRows"], 2, "{report}");
    assert_eq!(report["view"], "shop/user-events");
    let end: i64 = covered.values().sum();
    assert!(
        covered.len() == 4 && (12_000..20_000).contains(&end),
        "the test needs events behind what is covered: {report}"
    );
    world.kafka.produce(TOPIC, put(&mut chance, &all[20_000..])).await.unwrap();
    world.assert_erased(&live, &covered, now).await;
    // The one that lagged has all of it still before it.
    behind.process.signal(Signal::Continue).unwrap();
    world.assert_erased(&lagging, &covered, now).await;
    // And one that begins with the first record.
    let mut replay = world.worker_for("later", &later);
    world.assert_erased(&later, &covered, now).await;
    for worker in [&mut worker, &mut behind, &mut replay] {
        worker.ready().await;
    }
    let left: Vec<String> = world.redis.command(&["KEYS", &format!("{UID}/erasing*")]).await.unwrap();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_eraser_that_is_killed_again_and_again_ends_as_one_that_is_not() {
    let mut world = World::new(PARTITIONS).await;
    let (mut chance, now) = (Chance(43), now());
    let all = events(&mut chance, 6_000, 30, now);
    let records: Vec<_> = all.iter().map(|event| record(event, i32::try_from(chance.below(4)).unwrap(), now)).collect();
    let first = records.len() / 2;
    let plan = world.plan.clone();
    let mut worker = world.worker("worker");
    world.kafka.produce(TOPIC, records[..first].to_vec()).await.unwrap();
    world.until_read(first).await;
    assert!(world.eraser("whole").wait(LIMIT).await.unwrap().success());
    world.assert_erased(&plan, &covers(&world.report()), now).await;
    world.kafka.produce(TOPIC, records[first..].to_vec()).await.unwrap();
    world.until_read(records.len()).await;
    let (mut killed, mut first_note) = (0, None);
    for round in 0..10 {
        let others = world.clients().await;
        let mut eraser = world.eraser(&format!("eraser-{round}"));
        // As soon as it has reached the store, and by turns somewhere on its way from there.
        while world.clients().await <= others && eraser.ended().unwrap().is_none() {}
        tokio::time::sleep(Duration::from_millis(chance.below(if round % 2 == 0 { 5 } else { 80 }))).await;
        killed += u32::from(eraser.ended().unwrap().is_none());
        eraser.kill().await.unwrap();
        let note = world.noted().await;
        if let (Some(before), Some(note)) = (&first_note, &note) {
            assert_eq!(before, note, "what is covered is noted once");
        }
        first_note = note;
    }
    assert!(killed >= 3, "only {killed} of 10 were killed before their end");
    assert!(world.eraser("last").wait(LIMIT).await.unwrap().success());
    let report = world.report();
    world.assert_erased(&plan, &covers(&report), now).await;
    assert_eq!(covers(&report).values().sum::<i64>(), i64::try_from(records.len()).unwrap(), "{report}");
    assert!(!world.values(now).await.contains_key(USER));
    assert_eq!(world.noted().await, None);
    // Twice it removes nothing.
    assert!(world.eraser("again").wait(LIMIT).await.unwrap().success());
    assert_eq!(world.report()["onlineRows"], 0);
    worker.ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_cannot_be_done_says_what_a_person_must_do() {
    let world = World::new(1).await;
    let config = json!({
        "entity": {"customer": 1}, "views": [{"assignment": {"incarnation": 0, "plan": plan(UID)}}],
    });
    let path = world.directory.path().join("wrong.json");
    std::fs::write(&path, config.to_string()).unwrap();
    let eraser = |url: &str| {
        let program = Program::of_workspace("featuremill-archive").unwrap();
        program.args(["erase", "--redis-url", url, "--log-format", "text", "--config"])
    };
    let mut wrong = eraser(&world.redis.url()).arg(&path).start(world.directory.path().join("wrong.log")).unwrap();
    assert_eq!(wrong.wait(LIMIT).await.unwrap().code(), Some(2));
    assert!(wrong.log_tail().contains("keyed by [\"user\"]"), "{}", wrong.log_tail());
    std::fs::write(&path, config.to_string().replace("\"customer\":1", "\"user\":\"a\"")).unwrap();
    let mut alone = eraser(&world.redis.url()).arg(&path).start(world.directory.path().join("alone.log")).unwrap();
    assert_eq!(alone.wait(LIMIT).await.unwrap().code(), Some(2));
    assert!(alone.log_tail().contains("--kafka-bootstrap"), "{}", alone.log_tail());
    let mut away = eraser("redis://127.0.0.1:1").arg(&path).start(world.directory.path().join("away.log")).unwrap();
    assert_eq!(away.wait(LIMIT).await.unwrap().code(), Some(1));
}

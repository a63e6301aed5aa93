//! A replay that begins in Bronze and goes on in the topic makes the rows of one that read a whole topic, to the byte, whatever
//! is killed and whoever is erased meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use e2e::services::{Message, Process, Program, Redis, free_ports};
use engine::definition::{ColumnDefinition, FeatureDefinition, ViewDefinition};
use engine::plan::{Assignment, Plan, Stream, TimestampField, TimestampUnit, ViewIdentity};
use engine::replay::{Archive, Part, Replay};
use engine::row::{self, Marker};
use rdkafka::admin::AdminOptions;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::json;

use super::world::{Chance, LIMIT, TOPIC, World, now};

/// Filled from the topic, while it holds all.
const WHOLE: u32 = 0;
/// Filled from Bronze, and then from what the topic still holds.
const HANDED_OVER: u32 = 1;
const LETTERS: &str = "featuremill.shop.clicks.dead-letters";

fn plan(lifetime: bool) -> Plan {
    let column =
        |name: &str, kind: &str| ColumnDefinition { name: name.into(), type_name: kind.into(), ..Default::default() };
    let feature = |name: &str, aggregate: &str, window: Option<&str>| FeatureDefinition {
        name: name.into(),
        aggregate: Some(aggregate.into()),
        of: (aggregate != "Count").then(|| "amount".into()),
        window: window.map(Into::into),
        ..FeatureDefinition::default()
    };
    let windows = if lifetime { [None, Some("24h")] } else { [Some("1h"), Some("24h")] };
    let definition = ViewDefinition {
        view: ViewIdentity { uid: "view".into(), namespace: "shop".into(), name: "clicks".into() },
        mode: "Kappa".into(),
        entity_keys: vec!["user".into()],
        stream: Some(Stream { topic: TOPIC.into(), epoch: 0 }),
        table: None,
        archive: true,
        timestamp: TimestampField { field: "at".into(), unit: TimestampUnit::Milliseconds },
        schema: vec![column("user", "String"), column("amount", "Int64")],
        allowed_lateness: "1h".into(),
        max_future: "5m".into(),
        horizon_max_age: None,
        features: vec![
            feature("clicks", "Count", windows[0]),
            feature("total", "Sum", windows[1]),
            feature("last", "Last", windows[1]),
        ],
    };
    engine::resolve::resolve(&definition).unwrap()
}

/// Records of `users` users over two partitions in turn, one in a hundred of them broken, the last of them of now.
fn records(chance: &mut Chance, count: i64, users: u64, step_ms: i64) -> Vec<Message> {
    let now = now();
    let record = |i: i64| {
        let at = now - (count - i) * step_ms;
        let (user, amount) = (format!("user-{}", chance.below(users)), chance.below(1_000));
        let payload = match chance.below(100) {
            0 => "broken".to_owned(),
            _ => json!({"user": user, "amount": amount, "at": at}).to_string(),
        };
        let partition = Some(i32::try_from(i % 2).unwrap());
        Message { partition, payload: Some(payload.into_bytes()), time: Some(at), ..Message::default() }
    };
    (0..count).map(record).collect()
}

struct Setting {
    world: World,
    redis: Redis,
    plan: Plan,
}

impl Setting {
    async fn new(lifetime: bool) -> Self {
        let world = World::new(2).await;
        Self { world, redis: Redis::start_append_only().await.unwrap(), plan: plan(lifetime) }
    }

    /// Writes records, and has them archived.
    async fn archived(&self, records: Vec<Message>) {
        self.world.kafka.produce(TOPIC, records).await.unwrap();
        let mut worker = self.world.worker("archive", &[]);
        self.world.until_archived().await;
        worker.process.terminate(LIMIT).await.unwrap();
    }

    /// Has the topic lose what is before `low` in both partitions.
    async fn lose(&self, low: i64) {
        let mut to = TopicPartitionList::new();
        for partition in 0..2 {
            to.add_partition_offset(TOPIC, partition, Offset::Offset(low)).unwrap();
        }
        self.world.kafka.admin().unwrap().delete_records(&to, &AdminOptions::new()).await.unwrap();
    }

    fn start(&self, program: &str, name: &str, index: usize, replay: &Replay) -> Process {
        let [admin] = free_ports().unwrap();
        let path = self.world.directory.path().join(format!("{name}.json"));
        std::fs::write(&path, serde_json::to_vec(replay).unwrap()).unwrap();
        Program::of_workspace(program)
            .unwrap()
            .args(["replay", "--replay"])
            .arg(path)
            .args(["--kafka-bootstrap", &self.world.kafka.bootstrap(), "--redis-url", &self.redis.url()])
            .args(["--admin", &format!("127.0.0.1:{admin}"), "--memory-mib", "16", "--log-format", "text"])
            .env("JOB_COMPLETION_INDEX", index.to_string())
            .start(self.world.directory.path().join(format!("{name}.log")))
            .unwrap()
    }

    fn replay(&self, incarnation: u32, parts: [(i64, i64); 2], archive: Option<Archive>) -> Replay {
        let part = |(partition, (from, to))| Part { partition, from, to };
        Replay {
            assignment: Assignment { incarnation, plan: self.plan.clone() },
            parts: (0..).zip(parts).map(part).collect(),
            records_per_second: None,
            complete_from_ms: None,
            archive,
        }
    }

    fn archive(&self, since_ms: Option<i64>) -> Archive {
        Archive { table: self.world.uri(), since_ms, partitions: vec![0, 1] }
    }

    /// Runs a replay's process to its end.
    async fn run(&self, program: &str, name: &str, index: usize, replay: &Replay) -> (Option<i32>, String) {
        let mut process = self.start(program, name, index, replay);
        let status = process.wait(LIMIT).await.unwrap();
        (status.code(), process.log_tail())
    }

    async fn marker(&self, incarnation: u32, partition: i32) -> Option<i64> {
        let key = row::marker_key("view", &self.plan.revision, incarnation, 0);
        let text: Option<String> = self.redis.command(&["HGET", &key, &partition.to_string()]).await.unwrap();
        text.map(|text| Marker::decode(&text).unwrap().offset)
    }

    /// Every byte of an incarnation's rows.
    async fn rows(&self, incarnation: u32) -> BTreeMap<String, BTreeMap<String, Vec<u8>>> {
        let prefix = row::row_prefix("view", &self.plan.revision, incarnation);
        let client = redis::Client::open(self.redis.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        connection.set_response_timeout(LIMIT);
        let keys: Vec<String> =
            redis::cmd("KEYS").arg(format!("{prefix}*")).query_async(&mut connection).await.unwrap();
        let mut pipeline = redis::pipe();
        for key in &keys {
            pipeline.cmd("HGETALL").arg(key);
        }
        let rows: Vec<BTreeMap<String, Vec<u8>>> = pipeline.query_async(&mut connection).await.unwrap();
        keys.iter().map(|key| key.strip_prefix(&prefix).unwrap().to_owned()).zip(rows).collect()
    }

    async fn assert_same(&self) {
        let (whole, found) = (self.rows(WHOLE).await, self.rows(HANDED_OVER).await);
        assert!(!whole.is_empty());
        let differ: Vec<_> = whole.iter().filter(|(entity, row)| found.get(*entity) != Some(*row)).take(2).collect();
        assert!(
            differ.is_empty(),
            "{differ:?}, found {:?}",
            differ.iter().map(|(e, _)| found.get(*e)).collect::<Vec<_>>()
        );
        assert_eq!(whole.len(), found.len());
    }

    async fn erase(&self, user: &str) {
        let lake = self.world.directory.path().join("lake").display().to_string();
        let assignment = Assignment { incarnation: WHOLE, plan: self.plan.clone() };
        let config = json!({
            "entity": {"user": user},
            "lake": lake,
            "views": [{"assignment": assignment, "bronze": self.world.uri()}],
        });
        let path = self.world.directory.path().join("erase.json");
        std::fs::write(&path, config.to_string()).unwrap();
        let mut process = Program::of_workspace("featuremill-archive")
            .unwrap()
            .args(["erase", "--kafka-bootstrap", &self.world.kafka.bootstrap(), "--redis-url", &self.redis.url()])
            .args(["--retention-hours", "0", "--log-format", "text", "--config"])
            .arg(path)
            .start(self.world.directory.path().join("erase.log"))
            .unwrap();
        assert!(process.wait(LIMIT).await.unwrap().success(), "{}", process.log_tail());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn history_from_bronze_and_then_the_topic_is_that_of_a_whole_topic_whatever_is_killed() {
    let setting = Setting::new(true).await;
    let mut chance = Chance(61);
    // More lanes than 16 MiB hold: they are flushed, dropped and read back on the way.
    setting.archived(records(&mut chance, 60_000, 12_000, 400)).await;
    // What is not archived yet, the topic has.
    setting.world.kafka.produce(TOPIC, records(&mut chance, 4_000, 12_000, 1)).await.unwrap();
    let whole = setting.replay(WHOLE, [(0, 32_000); 2], None);
    for index in 0..2 {
        let (code, log) = setting.run("featuremill-stream", &format!("whole-{index}"), index, &whole).await;
        assert_eq!(code, Some(0), "{log}");
    }
    setting.lose(20_000).await;
    let replay = setting.replay(HANDED_OVER, [(20_000, 32_000); 2], Some(setting.archive(None)));
    let slow = Replay { records_per_second: std::num::NonZeroU32::new(1_500), ..replay.clone() };
    let mut kills = 0;
    for index in 0..2 {
        let partition = i32::try_from(index).unwrap();
        for round in 0..5 {
            let before = setting.redis.append_only_length().unwrap();
            let mut process = setting.start("featuremill-archive", &format!("killed-{index}-{round}"), index, &slow);
            let written = process.until("rows in the store", LIMIT, async || {
                let length = setting.redis.append_only_length().map_err(|error| error.to_string())?;
                if length > before + 20_000 { Ok(()) } else { Err(format!("{length} bytes, {before} before")) }
            });
            written.await.unwrap();
            // At no particular point of its work.
            tokio::time::sleep(Duration::from_millis(chance.below(300))).await;
            kills += usize::from(process.kill().await.unwrap().code().is_none());
        }
        // The topic cannot be read before the archive is.
        if setting.marker(HANDED_OVER, partition).await.is_none_or(|marker| marker < 20_000) {
            let (code, log) = setting.run("featuremill-stream", &format!("early-{index}"), index, &replay).await;
            assert_eq!(code, Some(1), "{log}");
        }
        let (code, log) = setting.run("featuremill-archive", &format!("archive-{index}"), index, &replay).await;
        assert_eq!(code, Some(0), "{log}");
        let marker = setting.marker(HANDED_OVER, partition).await.unwrap();
        assert!((20_000..=30_000).contains(&marker), "{marker}");
        // Asked again it has nothing to do, and the topic is read on from there.
        let (code, log) = setting.run("featuremill-archive", &format!("again-{index}"), index, &replay).await;
        assert_eq!((code, setting.marker(HANDED_OVER, partition).await), (Some(0), Some(marker)), "{log}");
        let (code, log) = setting.run("featuremill-stream", &format!("topic-{index}"), index, &replay).await;
        assert_eq!((code, setting.marker(HANDED_OVER, partition).await), (Some(0), Some(32_000)), "{log}");
    }
    assert!(kills > 5, "{kills}");
    setting.assert_same().await;
    let letters = setting.world.kafka.read_all(LETTERS).await.unwrap();
    assert!(letters.len() > 1_000, "both have dead letters of what was archived: {}", letters.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn bronze_gives_what_the_longest_window_needs_and_nothing_of_who_was_erased() {
    let setting = Setting::new(false).await;
    let mut chance = Chance(62);
    // Two days of events; the longest window needs about one.
    setting.archived(records(&mut chance, 6_000, 40, 30_000)).await;
    let since = now() - setting.plan.time.retention_ms.unwrap();
    setting.erase("user-7").await;
    let first = |partition: i32| {
        let written = &setting.world.kafka;
        async move {
            let all = written.read_all(TOPIC).await.unwrap();
            let counts = |m: &&Message| m.partition == Some(partition) && m.time.unwrap() >= since;
            all.iter().filter(counts).map(|message| message.offset).min().unwrap()
        }
    };
    let (a, b) = (first(0).await, first(1).await);
    assert!(a > 500 && a < 2_000, "{a}");
    let whole = setting.replay(WHOLE, [(a, 3_000), (b, 3_000)], None);
    for index in 0..2 {
        let (code, log) = setting.run("featuremill-stream", &format!("whole-{index}"), index, &whole).await;
        assert_eq!(code, Some(0), "{log}");
    }
    setting.lose(2_500).await;
    let replay = setting.replay(HANDED_OVER, [(2_500, 3_000); 2], Some(setting.archive(Some(since))));
    for index in 0..2 {
        for program in ["featuremill-archive", "featuremill-stream"] {
            let (code, log) = setting.run(program, &format!("{program}-{index}"), index, &replay).await;
            assert_eq!(code, Some(0), "{log}");
        }
    }
    setting.assert_same().await;
    assert!(!setting.rows(HANDED_OVER).await.contains_key("user-7"));
    assert_eq!(setting.rows(HANDED_OVER).await.len(), 39);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_reaches_no_further_is_refused_and_says_what_it_holds() {
    let setting = Setting::new(true).await;
    let mut chance = Chance(63);
    // The archive begins when the topic has lost its first records already.
    setting.world.kafka.produce(TOPIC, records(&mut chance, 400, 20, 1_000)).await.unwrap();
    setting.lose(100).await;
    setting.archived(records(&mut chance, 400, 20, 1_000)).await;
    setting.lose(300).await;
    let replay = setting.replay(HANDED_OVER, [(300, 400); 2], Some(setting.archive(None)));
    let (code, log) = setting.run("featuremill-archive", "short", 0, &replay).await;
    assert_eq!(code, Some(2), "{log}");
    for text in ["RetentionTooShort", "begins at offset 300", "at offset 100", "all records there ever were"] {
        assert!(log.contains(text), "{text}: {log}");
    }
    assert_eq!(setting.marker(HANDED_OVER, 0).await, None, "nothing was written");
    // A partition that the topic holds whole is not the archive's.
    let mut of_one = replay.clone();
    of_one.archive.as_mut().unwrap().partitions = vec![1];
    let (code, log) = setting.run("featuremill-archive", "not-mine", 0, &of_one).await;
    assert_eq!((code, setting.marker(HANDED_OVER, 0).await), (Some(0), None), "{log}");
}

//! A topic, a view and a worker; and what the rows must say, counted from all events by hand.

use std::collections::BTreeMap;
use std::time::Duration;

use e2e::services::{Directory, Kafka, Message, Process, Program, Redis, free_ports, until};
use engine::definition::{ColumnDefinition, FeatureDefinition, ViewDefinition};
use engine::lane::{Lane, Layout};
use engine::plan::{Assignment, Assignments, Plan, Stream, TimestampField, TimestampUnit, ViewIdentity};
use engine::read::Reader;
use engine::replay::{Part, Progress, Replay};
use engine::row::{self, Marker};
use engine::value::Value;

/// How long anything may take; nothing waits so long when it works.
pub const LIMIT: Duration = Duration::from_secs(90);
/// The topic of every test's events.
pub const TOPIC: &str = "events";
/// The view's UID.
pub const UID: &str = "6a1e5f0c-1d2b-4c3d-9e8f-000000000001";

/// The features' values of one entity: count, sum, count of clicks within a day, latest kind.
pub type Values = (i64, Option<i64>, i64, Option<String>);

/// One event, as the oracle knows it.
#[derive(Clone, Debug)]
pub struct Event {
    /// The entity.
    pub user: String,
    /// `click` or `buy`.
    pub kind: &'static str,
    /// Its number.
    pub amount: i64,
    /// Its time.
    pub time: i64,
}

/// Numbers without chance: a linear congruential generator.
pub struct Chance(pub u64);

impl Chance {
    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Events of `users` users, the times strictly rising up to `now`, so that every latest event is one event.
pub fn events(chance: &mut Chance, count: u64, users: u64, now: i64) -> Vec<Event> {
    let event = |i: u64| Event {
        user: format!("user|{}", chance.below(users)),
        kind: if chance.below(3) == 0 { "buy" } else { "click" },
        amount: i64::try_from(chance.below(1_000)).unwrap() - 200,
        time: now - i64::try_from((count - i) * 7).unwrap(),
    };
    (0..count).map(event).collect()
}

/// An event as a record, on `partition`.
pub fn record(event: &Event, partition: i32, now: i64) -> Message {
    let Event { user, kind, amount, time } = event;
    let payload = serde_json::json!({"user": user, "kind": kind, "amount": amount, "at": time, "ignored": [1, {}]});
    Message {
        partition: Some(partition),
        key: Some(b"any".to_vec()),
        payload: Some(payload.to_string().into_bytes()),
        time: Some(now),
        ..Message::default()
    }
}

/// The view of every test.
pub fn plan(uid: &str) -> Plan {
    engine::resolve::resolve(&definition(uid)).unwrap()
}

/// Its definition.
pub fn definition(uid: &str) -> ViewDefinition {
    let column =
        |name: &str, kind: &str| ColumnDefinition { name: name.into(), type_name: kind.into(), ..Default::default() };
    let feature = |name: &str, aggregate: &str| FeatureDefinition {
        name: name.into(),
        aggregate: Some(aggregate.into()),
        ..Default::default()
    };
    ViewDefinition {
        view: ViewIdentity { uid: uid.into(), namespace: "shop".into(), name: "user-events".into() },
        mode: "Kappa".into(),
        entity_keys: vec!["user".into()],
        stream: Some(Stream { topic: TOPIC.into(), epoch: 0 }),
        table: None,
        archive: false,
        timestamp: TimestampField { field: "at".into(), unit: TimestampUnit::Milliseconds },
        schema: vec![column("user", "String"), column("kind", "String"), column("amount", "Int64")],
        allowed_lateness: "4h".into(),
        max_future: "5m".into(),
        horizon_max_age: None,
        features: vec![
            feature("events", "Count"),
            FeatureDefinition { of: Some("amount".into()), ..feature("total", "Sum") },
            FeatureDefinition {
                condition: Some("kind = 'click'".into()),
                window: Some("24h".into()),
                ..feature("clicks", "Count")
            },
            FeatureDefinition { of: Some("kind".into()), ..feature("latest", "Last") },
        ],
    }
}

/// The values that these events give, counted one by one.
pub fn brute_force(events: &[Event]) -> BTreeMap<String, Values> {
    let mut values = BTreeMap::<String, Values>::new();
    for event in events {
        let (count, sum, clicks, latest) = values.entry(event.user.clone()).or_default();
        *count += 1;
        *sum = Some(sum.unwrap_or(0) + event.amount);
        *clicks += i64::from(event.kind == "click");
        *latest = Some(event.kind.to_owned());
    }
    values
}

/// The world of one test.
pub struct World {
    /// Where workers find Redis, if not at its own URL.
    pub redis_url: Option<String>,
    /// Further arguments of every worker.
    pub arguments: Vec<std::ffi::OsString>,
    pub kafka: Kafka,
    pub redis: Redis,
    pub plan: Plan,
    pub directory: Directory,
}

impl World {
    /// Servers, and a topic of `partitions`.
    pub async fn new(partitions: i32) -> Self {
        let (kafka, redis) = tokio::join!(Kafka::start(), Redis::start_append_only());
        Self::over(kafka.unwrap(), redis.unwrap(), partitions).await
    }

    /// A topic of `partitions` on servers that are there.
    pub async fn over(kafka: Kafka, redis: Redis, partitions: i32) -> Self {
        kafka.create_topic(TOPIC, partitions).await.unwrap();
        let world = Self {
            redis_url: None,
            arguments: Vec::new(),
            kafka,
            redis,
            plan: plan(UID),
            directory: Directory::new("stream").unwrap(),
        };
        let assignments = Assignments { assignments: vec![Assignment { incarnation: 0, plan: world.plan.clone() }] };
        std::fs::write(world.assignments(), serde_json::to_vec(&assignments).unwrap()).unwrap();
        world
    }

    /// The file of assignments.
    pub fn assignments(&self) -> std::path::PathBuf {
        self.directory.path().join("assignments.json")
    }

    /// Starts a worker; it is not waited for.
    pub fn worker(&self, name: &str) -> Worker {
        self.worker_of(name, "consumer")
    }

    /// Starts a worker that speaks this group protocol.
    pub fn worker_of(&self, name: &str, protocol: &str) -> Worker {
        self.worker_with(name, protocol, &self.assignments())
    }

    /// Starts a worker of these assignments.
    pub fn worker_with(&self, name: &str, protocol: &str, assignments: &std::path::Path) -> Worker {
        let program = Program::of_workspace("featuremill-stream").unwrap().arg("--assignments").arg(assignments);
        self.start(name, program.args(["--group-protocol", protocol]))
    }

    /// Starts a worker that fills an incarnation of the rows.
    pub fn worker_of_incarnation(&self, name: &str, incarnation: u32) -> Worker {
        let assignments = Assignments { assignments: vec![self.assignment(incarnation)] };
        let path = self.directory.path().join(format!("{name}.json"));
        std::fs::write(&path, serde_json::to_vec(&assignments).unwrap()).unwrap();
        self.worker_with(name, "consumer", &path)
    }

    /// Starts the process of `index` of a replay into an incarnation of the rows.
    pub fn replay(
        &self,
        name: &str,
        (incarnation, index): (u32, usize),
        parts: &[Part],
        records_per_second: Option<u32>,
    ) -> Worker {
        self.replay_from(name, (incarnation, index), parts, records_per_second, None)
    }

    /// The same of a replay that leaves out what is older than `complete_from_ms`.
    pub fn replay_from(
        &self,
        name: &str,
        (incarnation, index): (u32, usize),
        parts: &[Part],
        records_per_second: Option<u32>,
        complete_from_ms: Option<i64>,
    ) -> Worker {
        let records_per_second = records_per_second.and_then(std::num::NonZeroU32::new);
        let (assignment, parts) = (self.assignment(incarnation), parts.to_vec());
        let path = self.directory.path().join(format!("{name}.json"));
        let replay = Replay { assignment, parts, records_per_second, complete_from_ms, archive: None };
        std::fs::write(&path, serde_json::to_vec(&replay).unwrap()).unwrap();
        let program = Program::of_workspace("featuremill-stream").unwrap().args(["replay", "--replay"]).arg(path);
        self.start(name, program.env("JOB_COMPLETION_INDEX", index.to_string()))
    }

    fn assignment(&self, incarnation: u32) -> Assignment {
        Assignment { incarnation, plan: self.plan.clone() }
    }

    fn start(&self, name: &str, program: Program) -> Worker {
        let [admin] = free_ports().unwrap();
        let process = program
            .args([
                "--kafka-bootstrap",
                &self.kafka.bootstrap(),
                "--redis-url",
                &self.redis_url.clone().unwrap_or_else(|| self.redis.url()),
            ])
            .args(["--admin", &format!("127.0.0.1:{admin}"), "--memory-mib", "16", "--log-format", "text"])
            .args(["--flush-interval-ms", "20"])
            .args(&self.arguments)
            .env("RUST_LOG", "info,stream=debug")
            .start(self.directory.path().join(format!("{name}.log")))
            .unwrap();
        Worker { process, admin: format!("http://127.0.0.1:{admin}") }
    }

    /// The markers as they stand.
    pub async fn markers(&self) -> BTreeMap<i32, Marker> {
        self.markers_of(0).await
    }

    /// Those of an incarnation of the rows.
    pub async fn markers_of(&self, incarnation: u32) -> BTreeMap<i32, Marker> {
        let key = row::marker_key(UID, &self.plan.revision, incarnation, 0);
        let fields: BTreeMap<String, String> = self.redis.command(&["HGETALL", &key]).await.unwrap();
        let marker = |(field, text): (String, String)| Some((field.parse().ok()?, Marker::decode(&text).unwrap()));
        fields.into_iter().filter_map(marker).collect()
    }

    /// How far a replay into an incarnation of the rows says that it has come.
    pub async fn progress(&self, incarnation: u32) -> BTreeMap<i32, Progress> {
        let key = row::replay_key(UID, &self.plan.revision, incarnation);
        let fields: BTreeMap<i32, String> = self.redis.command(&["HGETALL", &key]).await.unwrap();
        fields.into_iter().map(|(partition, text)| (partition, serde_json::from_str(&text).unwrap())).collect()
    }

    /// Waits until the markers cover `records` in all.
    pub async fn until_read(&self, records: usize) {
        self.until_read_of(0, records).await;
    }

    /// Waits until those of an incarnation of the rows do.
    pub async fn until_read_of(&self, incarnation: u32, records: usize) {
        let what = format!("markers that cover {records} records");
        until(&what, LIMIT, async || {
            let covered: i64 = self.markers_of(incarnation).await.values().map(|marker| marker.offset).sum();
            if covered == i64::try_from(records).unwrap() { Ok(()) } else { Err(format!("they cover {covered}")) }
        })
        .await
        .unwrap();
    }

    /// Every byte of an incarnation's rows: by entity, the fields.
    pub async fn bytes(&self, incarnation: u32) -> BTreeMap<String, BTreeMap<String, Vec<u8>>> {
        let prefix = row::row_prefix(UID, &self.plan.revision, incarnation);
        let keys = self.keys(&prefix).await;
        let rows = self.rows(&keys).await;
        let entity = |key: &String| key.strip_prefix(&prefix).unwrap().to_owned();
        keys.iter().zip(rows).map(|(key, fields)| (entity(key), fields.into_iter().collect())).collect()
    }

    /// Holds the rows of two incarnations against each other, to the byte; there are some.
    pub async fn assert_same_bytes(&self, one: u32, other: u32) {
        let (one, other) = (self.bytes(one).await, self.bytes(other).await);
        assert!(!one.is_empty());
        let differ: Vec<_> = one.iter().filter(|(entity, row)| other.get(*entity) != Some(*row)).take(3).collect();
        let found: Vec<_> = differ.iter().map(|(entity, _)| other.get(*entity)).collect();
        assert!(differ.is_empty(), "expected {differ:?}, found {found:?}");
        assert_eq!(one.len(), other.len());
    }

    /// What the rows say, by entity.
    pub async fn values(&self, now: i64) -> BTreeMap<String, Values> {
        let layout = Layout::new(&self.plan).unwrap();
        let reader = Reader::new(&layout);
        let prefix = row::row_prefix(UID, &self.plan.revision, 0);
        let keys = self.keys(&prefix).await;
        let mut values = BTreeMap::new();
        let rows = self.rows(&keys).await;
        for (key, fields) in keys.iter().zip(rows) {
            let mut by_partition = BTreeMap::<i32, Vec<(u8, &[u8])>>::new();
            for (field, bytes) in &fields {
                let (partition, segment) = row::parse_lane_field(field).unwrap();
                by_partition.entry(partition).or_default().push((segment, bytes));
            }
            let lanes: Vec<Lane> =
                by_partition.values().map(|segments| Lane::decode(&layout, segments).unwrap()).collect();
            let read = reader.read(&lanes, now, &[0, 1, 2, 3]);
            let int = |i: usize| match &read[i].value {
                Some(Value::Int64(value)) => Some(*value),
                None => None,
                other => panic!("{other:?}"),
            };
            let latest = match &read[3].value {
                Some(Value::String(text)) => Some(text.clone()),
                other => panic!("{other:?}"),
            };
            let user = key.strip_prefix(&prefix).unwrap().replace("%7C", "|");
            values.insert(user, (int(0).unwrap(), int(1), int(2).unwrap(), latest));
        }
        values
    }

    /// A connection that waits for long answers; the default gives up after half a second.
    async fn patient(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.redis.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        connection.set_response_timeout(LIMIT);
        connection
    }

    async fn keys(&self, prefix: &str) -> Vec<String> {
        let mut connection = self.patient().await;
        redis::cmd("KEYS").arg(format!("{prefix}*")).query_async(&mut connection).await.unwrap()
    }

    async fn rows(&self, keys: &[String]) -> Vec<Vec<(String, Vec<u8>)>> {
        let mut connection = self.patient().await;
        let mut pipeline = redis::pipe();
        for key in keys {
            pipeline.cmd("HGETALL").arg(key);
        }
        pipeline.query_async(&mut connection).await.unwrap()
    }

    /// Holds the rows against all events.
    pub async fn assert_equal(&self, events: &[Event], now: i64) {
        let (expected, values) = (brute_force(events), self.values(now).await);
        let wrong: Vec<_> = expected.iter().filter(|(user, of)| values.get(*user) != Some(*of)).take(5).collect();
        let found: Vec<_> = wrong.iter().map(|(user, _)| values.get(*user)).collect();
        assert!(wrong.is_empty(), "expected {wrong:?}, found {found:?}");
        assert_eq!(values.len(), expected.len());
    }
}

/// A running worker.
pub struct Worker {
    pub process: Process,
    pub admin: String,
}

impl Worker {
    /// Waits until it is ready.
    pub async fn ready(&mut self) {
        let url = format!("{}/readyz", self.admin);
        self.process.until_ok(&url, LIMIT).await.unwrap();
    }

    /// Waits until it is not ready for a reason that contains `text`.
    pub async fn unready(&mut self, text: &str) {
        let admin = self.admin.clone();
        self.process
            .until(&format!("the reason {text:?}"), LIMIT, async || {
                let body = get(format!("{admin}/readyz")).await?;
                if body.contains("\"ready\":false") && body.contains(text) { Ok(()) } else { Err(body) }
            })
            .await
            .unwrap();
    }

    /// The value of a metric, with its labels as they are written.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = get(format!("{}/metrics", self.admin)).await.unwrap();
        value(&text, name).unwrap_or_else(|| panic!("no {name} in\n{text}"))
    }

    /// The same of a worker that may not be there yet, or any more.
    pub async fn try_metric(&self, name: &str) -> Option<f64> {
        value(&get(format!("{}/metrics", self.admin)).await.ok()?, name)
    }
}

fn value(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

async fn get(url: String) -> Result<String, String> {
    let ask = move || {
        let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().http_status_as_error(false).build());
        agent.get(&url).call()?.body_mut().read_to_string()
    };
    tokio::task::spawn_blocking(ask).await.unwrap().map_err(|error| error.to_string())
}

/// The clock.
pub fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

//! A topic, its Bronze table, and workers.

use std::collections::BTreeMap;
use std::time::Duration;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use e2e::services::{Directory, Header, Kafka, Message, Process, Program, free_ports, until};
use lake::session::{SessionOptions, session};
use lake::{LakeError, Storage, bronze, source};

/// How long anything may take; nothing waits so long when it works.
pub const LIMIT: Duration = Duration::from_secs(90);
/// The topic of every test's events.
pub const TOPIC: &str = "events";
/// The owner's UID.
pub const UID: &str = "6a1e5f0c-1d2b-4c3d-9e8f-0000000000aa";

/// Numbers without chance: a linear congruential generator.
pub struct Chance(pub u64);

impl Chance {
    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// The world of one test.
pub struct World {
    pub kafka: Kafka,
    pub directory: Directory,
}

/// A record of the table.
pub type Row = (i64, Option<i64>, Option<Vec<u8>>, Option<Vec<u8>>, Vec<Header>);

impl World {
    /// A broker, and a topic of `partitions`.
    pub async fn new(partitions: i32) -> Self {
        lake::install_crypto();
        let kafka = Kafka::start().await.unwrap();
        kafka.create_topic(TOPIC, partitions).await.unwrap();
        Self { kafka, directory: Directory::new("archive").unwrap() }
    }

    /// The table's address.
    pub fn uri(&self) -> String {
        bronze::uri(&self.directory.path().join("lake").display().to_string(), TOPIC)
    }

    /// The binary.
    pub fn program(&self, command: &str) -> Program {
        Program::of_workspace("featuremill-archive")
            .unwrap()
            .arg(command)
            .args(["--table", &self.uri(), "--uid", UID, "--log-format", "text"])
            .env("RUST_LOG", "info,archive=debug")
    }

    /// Starts a worker with these further arguments; it is not waited for.
    pub fn worker(&self, name: &str, arguments: &[&str]) -> Worker {
        let [admin] = free_ports().unwrap();
        let process = self
            .program("run")
            .args(["--topic", TOPIC, "--kafka-bootstrap", &self.kafka.bootstrap(), "--timestamp-field", "at"])
            .args(["--admin", &format!("127.0.0.1:{admin}"), "--idle-commit-interval-ms", "500"])
            .args(["--commit-interval-ms", "40", "--max-bytes", "1000000"])
            .args(arguments)
            .start(self.directory.path().join(format!("{name}.log")))
            .unwrap();
        Worker { process, admin: format!("http://127.0.0.1:{admin}") }
    }

    /// Writes `count` records, in any partition and of any size and form.
    pub async fn produce(&self, chance: &mut Chance, partitions: u64, count: u64) {
        let now = now();
        let records = (0..count).map(|i| record(chance, partitions, i, now)).collect::<Vec<_>>();
        self.kafka.produce(TOPIC, records).await.unwrap();
    }

    /// What the table says of itself; `None` while there is none.
    pub async fn state(&self) -> Option<(u64, bronze::State)> {
        match lake::open(&self.uri(), &Storage::local(), None).await {
            Ok(table) => {
                let state = bronze::state(&table, &self.uri()).await.unwrap().unwrap_or_default();
                Some((table.version().unwrap(), state))
            }
            Err(LakeError::Missing { .. }) => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Waits until the table has everything that the topic has.
    pub async fn until_archived(&self) {
        let written = self.kafka.read_all(TOPIC).await.unwrap();
        let mut ends = BTreeMap::<i32, i64>::new();
        for message in written {
            ends.insert(message.partition.unwrap(), message.offset + 1);
        }
        until("the whole topic in the table", LIMIT, async || {
            let Some((version, state)) = self.state().await else { return Err("no table".to_owned()) };
            let missing = ends
                .iter()
                .find(|(partition, end)| state.progress.get(*partition).is_none_or(|progress| progress.offset < **end));
            match missing {
                None => Ok(()),
                Some((partition, end)) => Err(format!("version {version}: partition {partition} of {end}: {state:?}")),
            }
        })
        .await
        .unwrap();
    }

    /// Waits until the table has this many more versions.
    pub async fn until_versions(&self, worker: &mut Worker, more: u64) {
        let before = self.state().await.map_or(0, |(version, _)| version);
        worker
            .process
            .until("more versions", LIMIT, async || match self.state().await {
                Some((version, _)) if version >= before + more => Ok(()),
                other => Err(format!("{:?}, {before} before", other.map(|(version, _)| version))),
            })
            .await
            .unwrap();
    }

    /// Every record of the table, at a version: by partition and offset, with how often it stands there.
    pub async fn rows(&self, version: Option<u64>) -> BTreeMap<(i32, i64), Vec<Row>> {
        let storage = Storage::local();
        let table = lake::open(&self.uri(), &storage, version).await.unwrap();
        let session = session(&SessionOptions::default()).unwrap();
        let frame = source::frame(&table, &self.uri(), &session).await.unwrap();
        let columns = ["partition", "offset", "timestamp", "event_time", "key", "value", "headers"];
        let mut rows = BTreeMap::<(i32, i64), Vec<Row>>::new();
        for batch in frame.select_columns(&columns).unwrap().collect().await.unwrap() {
            let batch = lake::files::conform(&batch, &readable(), "test").unwrap();
            let partitions = batch.column(0).as_primitive::<Int32Type>();
            let offsets = batch.column(1).as_primitive::<Int64Type>();
            let times = batch.column(2).as_primitive::<TimestampMicrosecondType>();
            let event_times = batch.column(3).as_primitive::<TimestampMicrosecondType>();
            let (keys, values) = (batch.column(4).as_binary::<i32>(), batch.column(5).as_binary::<i32>());
            let headers = batch.column(6).as_list::<i32>();
            for row in 0..batch.num_rows() {
                let bytes = |array: &arrow::array::BinaryArray| array.is_valid(row).then(|| array.value(row).to_vec());
                let mut found = Vec::new();
                if headers.is_valid(row) {
                    let items = headers.value(row);
                    let items = items.as_struct();
                    let (names, contents) = (items.column(0).as_string::<i32>(), items.column(1).as_binary::<i32>());
                    found = (0..items.len())
                        .map(|i| (names.value(i).to_owned(), contents.is_valid(i).then(|| contents.value(i).to_vec())))
                        .collect();
                }
                rows.entry((partitions.value(row), offsets.value(row))).or_default().push((
                    times.value(row) / 1_000,
                    event_times.is_valid(row).then(|| event_times.value(row) / 1_000),
                    bytes(keys),
                    bytes(values),
                    found,
                ));
            }
        }
        rows
    }

    /// Holds the table against the topic.
    pub async fn assert_exactly_once(&self) {
        let written = self.kafka.read_all(TOPIC).await.unwrap();
        let rows = self.rows(None).await;
        for message in &written {
            let coordinates = (message.partition.unwrap(), message.offset);
            let found = rows.get(&coordinates).map_or(&[][..], Vec::as_slice);
            let expected = (
                message.time.unwrap(),
                event_time(message),
                message.key.clone(),
                message.payload.clone(),
                message.headers.clone(),
            );
            assert_eq!(found, [expected], "{coordinates:?}");
        }
        assert_eq!(rows.len(), written.len());
    }
}

/// The selected columns in types that this test reads.
fn readable() -> arrow::datatypes::SchemaRef {
    let schema = bronze::schema();
    let fields = schema.fields().iter().take(7).cloned().collect::<Vec<_>>();
    std::sync::Arc::new(arrow::datatypes::Schema::new(fields))
}

/// Which event time a record has, read in another way than the worker's.
fn event_time(message: &Message) -> Option<i64> {
    let value: serde_json::Value = serde_json::from_slice(message.payload.as_deref()?).ok()?;
    let at = value.get("at")?.as_i64()?;
    (at <= message.time? + 300_000).then_some(at)
}

fn record(chance: &mut Chance, partitions: u64, number: u64, now: i64) -> Message {
    let at = now - i64::try_from(chance.below(100_000)).unwrap();
    let payload = match chance.below(20) {
        0 => None,
        1 => Some(b"not JSON".to_vec()),
        // A century ahead of its record.
        2 => Some(format!(r#"{{"at": {}}}"#, now + 3_000_000_000_000).into_bytes()),
        3 => Some(format!(r#"{{"at": {at}, "long": "{}"}}"#, "x".repeat(3_000)).into_bytes()),
        _ => Some(format!(r#"{{"at": {at}, "number": {number}}}"#).into_bytes()),
    };
    let headers = match chance.below(4) {
        0 => vec![("trace".to_owned(), Some(number.to_be_bytes().to_vec())), ("empty".to_owned(), None)],
        _ => Vec::new(),
    };
    Message {
        partition: Some(i32::try_from(chance.below(partitions)).unwrap()),
        key: (chance.below(3) > 0).then(|| format!("key-{number}").into_bytes()),
        payload,
        time: Some(now - i64::try_from(chance.below(200_000_000)).unwrap()),
        headers,
        ..Message::default()
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
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
    }
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

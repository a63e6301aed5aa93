//! Runs that fold on a cluster: a scheduler and executors of the real binary, beside runs that fold by themselves.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use batch::config::{BatchConfig, ClusterConfig, Completeness, Rows, SourceTable};
use e2e::services::{Process, Program, free_ports, until};
use engine::erase::Covers;
use engine::plan::{Table, TableFormat};
use lake::Storage;
use lake::erase::mark;
use lake::session::{SessionOptions, session};
use tempfile::TempDir;

use crate::archive::{archive, day_of_events};
use crate::erase::erasure;
use crate::fixtures::{DAY, HOUR};
use crate::oracle;
use crate::redis_server::Redis;
use crate::source::{Dice, Event, START, append, batch, events, table_by};
use crate::world::{World, binary};

/// A scheduler and its executors.
struct Cluster {
    folder: TempDir,
    port: u16,
    scheduler: Process,
    executors: Vec<Process>,
}

impl Cluster {
    /// Starts them and waits until all have found each other.
    async fn start(executors: usize) -> Self {
        let folder = TempDir::new().unwrap();
        let [port] = free_ports().unwrap();
        let program = Program::new(binary());
        let scheduler = program
            .clone()
            .args(["scheduler", "--bind", &format!("127.0.0.1:{port}")])
            .args(["--min-executors", &executors.to_string()])
            .start(folder.path().join("scheduler.log"))
            .unwrap();
        let mut cluster = Self { folder, port, scheduler, executors: Vec::new() };
        for number in 0..executors {
            let executor = cluster.executor(number);
            cluster.executors.push(executor);
        }
        let ready = format!("http://127.0.0.1:{port}/readyz");
        cluster.scheduler.until_ok(&ready, Duration::from_mins(1)).await.unwrap();
        cluster
    }

    fn executor(&self, number: usize) -> Process {
        let [port, grpc] = free_ports().unwrap();
        let folder = self.work_of(number);
        Program::new(binary())
            .args(["executor", "--scheduler-host", "127.0.0.1", "--bind", "127.0.0.1", "--host", "127.0.0.1"])
            .args(["--scheduler-port", &self.port.to_string(), "--port", &port.to_string()])
            .args(["--grpc-port", &grpc.to_string(), "--threads", "2", "--temp-dir"])
            .arg(&folder)
            .start(self.folder.path().join(format!("executor-{number}.log")))
            .unwrap()
    }

    /// Where an executor keeps what it shuffles.
    fn work_of(&self, number: usize) -> PathBuf {
        self.folder.path().join(format!("executor-{number}"))
    }

    /// How many jobs an executor has worked for.
    fn jobs_of(&self, number: usize) -> usize {
        let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let names = std::fs::read_dir(self.work_of(number).join("shuffled")).into_iter().flatten().map(name);
        // What is spilled stands beside what is shuffled.
        names.filter(|name| !name.starts_with("datafusion-")).count()
    }

    fn config(&self) -> ClusterConfig {
        ClusterConfig {
            scheduler_url: format!("http://127.0.0.1:{}", self.port),
            partitions: NonZeroUsize::new(4).unwrap(),
        }
    }
}

/// The same view over the same source, with a store and a feature table of its own, folded on `cluster`.
async fn beside(world: &World, cluster: &Cluster) -> World {
    let redis = Redis::start().await;
    let folder = TempDir::new().unwrap();
    let config = BatchConfig {
        feature_table: folder.path().join("gold").display().to_string(),
        cluster: Some(cluster.config()),
        ..world.config.clone()
    };
    World { connection: redis.connect().await, redis, folder, config, flags: Vec::new() }
}

/// Runs both, and asserts that they are alike: rows, what was refused, what is served.
async fn both(alone: &World, spread: &World) {
    alone.run_to(0).await;
    let ended = spread.run_to(0).await;
    assert!(ended.log.contains("folding on the cluster"), "{}", ended.log);
    assert_eq!(alone.rows().await, spread.rows().await);
    let (one, other) = (alone.report().await, spread.report().await);
    assert_eq!((one.refused, one.rows, one.notes), (other.refused, other.rows, other.notes));
    let counted = |log: &str| {
        let line = log.lines().find(|line| line.contains("\"folded\"")).unwrap();
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        (line["rows"].clone(), line["events"].clone())
    };
    assert!(counted(&ended.log).1.as_u64().unwrap() > 0, "{}", ended.log);
    assert_eq!(alone.served().await, spread.served().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_gives_the_bytes_of_one_machine_and_both_executors_work() {
    let cluster = Cluster::start(2).await;
    let alone = World::new().await;
    let spread = beside(&alone, &cluster).await;
    let mut dice = Dice(51);
    let mut all = Vec::new();
    // Several files, so that there are several parts; some rows are bad.
    for _ in 0..6 {
        let mut more = events(&mut dice, 300, 2_000, START, START + 9 * DAY);
        all.extend(more.clone());
        more.push(Event { at: Some(START), ..Event::default() });
        append(&alone.source(), &more).await;
    }
    both(&alone, &spread).await;
    assert_eq!(spread.served().await, oracle::values(&all, oracle::horizon(&all)));
    assert_eq!(spread.report().await.refused, BTreeMap::from([("NullField".to_owned(), 6)]));
    for number in 0..2 {
        assert_eq!(cluster.jobs_of(number), 1, "executor {number}");
    }

    // On top of the last generation, whose lanes the executors never see.
    let more = events(&mut dice, 300, 500, START + 9 * DAY, START + 10 * DAY);
    append(&alone.source(), &more).await;
    all.extend(more);
    both(&alone, &spread).await;
    let notes = spread.report().await.notes;
    assert!(notes.iter().any(|note| note.contains("on top of the last generation")), "{notes:?}");
    assert_eq!(spread.served().await, oracle::values(&all, oracle::horizon(&all)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_parquet_an_archive_and_an_old_version_are_spread_too() {
    let cluster = Cluster::start(2).await;
    let alone = World::with(|definition| {
        definition.table.as_mut().unwrap().format = TableFormat::Parquet;
    })
    .await;
    let all = events(&mut Dice(52), 30, 1_000, START, START + 9 * DAY);
    std::fs::create_dir_all(alone.source()).unwrap();
    for (i, part) in all.chunks(300).enumerate() {
        let file = std::fs::File::create(format!("{}/part-{i}.parquet", alone.source())).unwrap();
        // The first file lacks a column that the view has: what a folder holds is known only from all of its files.
        let mut batch = batch(part);
        if i == 0 {
            batch.remove_column(5);
        }
        let mut writer = deltalake::parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }
    both(&alone, &beside(&alone, &cluster).await).await;

    let mut alone = World::new().await;
    let uri = alone.folder.path().join("bronze").display().to_string();
    archive(&uri, &day_of_events(), &alone.plan().source.timestamp.clone(), |_, time| time).await;
    alone.config.source = Some(SourceTable { table: Table { uri, format: TableFormat::Delta }, rows: Rows::Archive });
    alone.config.completeness = Completeness::Archive;
    both(&alone, &beside(&alone, &cluster).await).await;

    let mut alone = World::new().await;
    let old = events(&mut Dice(53), 30, 500, START, START + 6 * DAY);
    append(&alone.source(), &old).await;
    alone.config.version_as_of = lake::open(&alone.source(), &Storage::local(), None).await.unwrap().version();
    append(&alone.source(), &events(&mut Dice(54), 30, 500, START, START + 8 * DAY)).await;
    let spread = beside(&alone, &cluster).await;
    both(&alone, &spread).await;
    assert_eq!(spread.served().await, oracle::values(&old, oracle::horizon(&old)));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_erased_is_left_out_on_the_cluster() {
    let cluster = Cluster::start(1).await;
    let mut alone = World::new().await;
    alone.config.lake = Some(alone.folder.path().display().to_string());
    let all = events(&mut Dice(55), 20, 1_000, START, START + 9 * DAY);
    append(&alone.source(), &all).await;
    let spread = beside(&alone, &cluster).await;
    let covers = Covers { before_ms: START + 20 * DAY, ..Covers::default() };
    let erasure = erasure(alone.plan(), alone.config.lake.as_ref().unwrap(), "u7", covers);
    mark(&erasure, &Storage::local(), &session(&SessionOptions::default()).unwrap()).await.unwrap();
    both(&alone, &spread).await;
    let served = spread.served().await;
    assert!(!served.contains_key("u7") && served.len() == 19, "{:?}", served.keys());
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_partitions_with_unusual_names_are_found() {
    let cluster = Cluster::start(1).await;
    let alone = World::new().await;
    let all = events(&mut Dice(56), 20, 400, START, START + 9 * DAY);
    let batch = batch(&all);
    let table = table_by(&alone.source(), &["kind"]).await;
    let odd = |kind: Option<&str>| kind.map(|kind| format!("{kind} 100%? #1/ü"));
    let kinds: arrow::array::StringArray =
        arrow::array::AsArray::as_string::<i32>(batch.column(3)).iter().map(odd).collect();
    let mut columns = batch.columns().to_vec();
    columns[3] = std::sync::Arc::new(kinds);
    let batch = arrow::array::RecordBatch::try_new(batch.schema(), columns).unwrap();
    table.write([batch]).await.unwrap();
    both(&alone, &beside(&alone, &cluster).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_that_dies_costs_time_and_nothing_else() {
    let mut cluster = Cluster::start(2).await;
    let alone = World::new().await;
    for seed in 0..12 {
        append(&alone.source(), &events(&mut Dice(60 + seed), 2_000, 20_000, START, START + 9 * DAY)).await;
    }
    let spread = beside(&alone, &cluster).await;
    alone.run_to(0).await;
    let (mut child, log) = spread.start();
    until("work on the second executor", Duration::from_mins(1), async || {
        if cluster.jobs_of(1) > 0 { Ok(()) } else { Err("none yet".to_owned()) }
    })
    .await
    .unwrap();
    cluster.executors[1].kill().await.unwrap();
    let status = child.wait().await.unwrap();
    let log = std::fs::read_to_string(log).unwrap();
    // The scheduler hands its tasks to the other, or the run fails and the next, as a Job's next pod, succeeds.
    if status.code() != Some(0) {
        assert_eq!(status.code(), Some(1), "{log}");
        spread.run_to(0).await;
    }
    assert_eq!(alone.lanes(1).await, spread.lanes(1).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_cluster_a_run_says_so_and_may_be_tried_again() {
    let mut world = World::new().await;
    append(&world.source(), &events(&mut Dice(57), 5, 50, START, START + 9 * DAY - HOUR)).await;
    let [port] = free_ports().unwrap();
    let at = |url: String| Some(ClusterConfig { scheduler_url: url, partitions: NonZeroUsize::MIN });
    world.config.cluster = at(format!("http://127.0.0.1:{port}"));
    let ended = world.run_to(1).await;
    assert!(ended.log.contains("the scheduler at http://127.0.0.1"), "{}", ended.log);
    world.config.cluster = at("no address".to_owned());
    let ended = world.run_to(2).await;
    assert!(ended.log.contains("batch.schedulerUrl"), "{}", ended.log);
}

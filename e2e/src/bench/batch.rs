//! The batch worker: features of millions of entities and training sets from Parquet, against DuckDB and Polars computing the
//! same; publication against `redis-benchmark`; and a run that has less memory than it needs.

use std::path::{Path, PathBuf};

use engine::plan::{Assignment, FeatureSource, Plan, Table, TableFormat, Window};
use engine::row::{Head, head_key, row_prefix};
use engine::time::window_bounds;
use serde_json::{Value, json};

use super::error::{BenchError, io};
use super::figure::{Figure, median};
use super::worker::{Ended, of_image, run};
use super::yardstick::{Answer, Yardstick};
use super::{Scale, blocking, view};
use crate::progress::Step;
use crate::services::{Directory, Program, Redis};

/// Over how many days the events lie; the longest window is 30.
const DAYS: i64 = 40;
const FILES: u32 = 16;
/// What an engine may use of memory; the machine has more.
const MEMORY_MIB: u32 = 8_192;
/// What the run that must spill has for its tiles.
const LITTLE_MIB: u32 = 256;

/// What all runs share.
struct World<'a> {
    scale: &'a Scale,
    yardstick: Yardstick,
    redis: Redis,
    directory: Directory,
}

/// The figures of `batch`.
pub async fn figures(scale: &Scale) -> Result<Vec<Figure>, BenchError> {
    let mut world = World::new(scale).await?;
    let (mut duckdb, mut polars, mut trained, mut published, mut peaks) = (vec![], vec![], vec![], vec![], vec![]);
    let events = scale.batch_events as f64;
    for number in 0..scale.pairs {
        let plan = world.plan(&format!("batch-{number}"))?;
        let ours = world.batch(&plan, MEMORY_MIB).await?;
        let horizon = world.horizon(&plan).await?;
        let theirs = world.features("features-duckdb", &plan, horizon).await?;
        let third = world.features("features-polars", &plan, horizon).await?;
        if number == 0 {
            world.compare(&plan, &theirs.1).await?;
        }
        let rate = events / ours.until("folded")?;
        duckdb.push((rate, events / theirs.0.seconds));
        polars.push((rate, events / third.0.seconds));
        peaks.push((ours.peak_mib as f64, theirs.0.peak_mib as f64));
        published.push((publication(&ours)?, world.redis_benchmark(&plan).await?));
        trained.push(world.training(&plan).await?);
    }
    let mut figures = vec![
        Figure::paired("batch", "events/s, against DuckDB", &duckdb),
        Figure::paired("batch-polars", "events/s, against Polars", &polars),
        Figure::paired("batch-peak", "MiB of memory, against DuckDB", &peaks),
        Figure::paired("training", "questions/s, against DuckDB", &trained),
        Figure::paired("publication", "rows/s, against redis-benchmark", &published),
    ];
    let plan = world.plan("batch-little")?;
    let ended = world.batch(&plan, LITTLE_MIB).await?;
    if ended.number("folded", "spilled_bytes")? <= 0.0 {
        return Err(BenchError::Wrong(format!("a run with {LITTLE_MIB} MiB for its tiles spilled nothing")));
    }
    let little = events / ended.until("folded")?;
    figures.push(Figure::paired(
        "batch-spilling",
        "events/s, against a run in memory",
        &[(little, median(duckdb.iter().map(|pair| pair.0)))],
    ));
    figures.push(Figure::absolute("batch-spilling-peak", "MiB of memory", ended.peak_mib as f64));
    Ok(figures)
}

impl<'a> World<'a> {
    async fn new(scale: &'a Scale) -> Result<Self, BenchError> {
        let yardstick = blocking(Yardstick::fetch).await?;
        let (redis, directory) = (Redis::start().await?, Directory::new("bench")?);
        for folder in ["events", "asks", "temp"] {
            let path = directory.path().join(folder);
            std::fs::create_dir(&path).map_err(io(format!("make {}", path.display())))?;
        }
        // Round, so that the horizon is not before the last of them by more than the lateness.
        let last = jiff::Timestamp::now().as_millisecond() / 86_400_000 * 86_400_000;
        let world = Self { scale, yardstick, redis, directory };
        let step = Step::begin("writing events and questions as Parquet");
        let request = json!({
            "events": scale.batch_events, "files": FILES, "entities": scale.entities, "days": DAYS, "last": last,
            "asks": scale.asks, "out": world.directory.path(),
        });
        world.ask("generate", request).await?;
        step.done(&format!("{} events of {} entities, {} questions", scale.batch_events, scale.entities, scale.asks));
        Ok(world)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn plan(&self, uid: &str) -> Result<Plan, BenchError> {
        view::batch(uid, &Table { uri: self.path("events").display().to_string(), format: TableFormat::Parquet })
    }

    /// Asks a yardstick, which has as many threads as we.
    async fn ask(&self, command: &'static str, mut request: Value) -> Result<Answer, BenchError> {
        request["threads"] = threads().into();
        request["memory_mib"] = MEMORY_MIB.into();
        request["temp"] = json!(self.path("temp"));
        request["folder"] = json!(self.path("events"));
        let yardstick = self.yardstick.clone();
        blocking(move || yardstick.run(command, &request)).await
    }

    /// One generation, into an empty store.
    async fn batch(&mut self, plan: &Plan, memory_mib: u32) -> Result<Ended, BenchError> {
        let step = Step::begin(&format!("the batch worker, {memory_mib} MiB for tiles"));
        self.redis.restart().await?;
        let config = json!({
            "assignment": Assignment { incarnation: 0, plan: plan.clone() },
            "featureTable": self.path(&plan.view.uid),
            "completeness": "NewestEvent",
        });
        let program = self.program("run", &plan.view.uid, &config)?.args(["--redis-url", &self.redis.url()]);
        let program = program.args(["--memory-mib", &memory_mib.to_string()]);
        let ended = run(&program, &self.path(&format!("{}.log", plan.view.uid))).await?;
        step.done(&format!(
            "{} entities; folded after {:.1} s, published after {:.1} s; peak {} MiB, spilled {:.0} MiB; {}",
            ended.number("folded", "entities")?,
            ended.until("folded")?,
            ended.until("the rows are written")?,
            ended.peak_mib,
            ended.number("folded", "spilled_bytes")? / 1_048_576.0,
            ended.machine
        ));
        Ok(ended)
    }

    fn program(&self, command: &str, name: &str, config: &Value) -> Result<Program, BenchError> {
        let path = self.path(&format!("{name}.{command}.json"));
        std::fs::write(&path, config.to_string()).map_err(io(format!("write {}", path.display())))?;
        let program = of_image("featuremill-batch")?.arg(command).arg("--config").arg(path);
        Ok(program.args(["--threads", &threads().to_string()]).arg("--temp-dir").arg(self.path("temp")))
    }

    async fn horizon(&self, plan: &Plan) -> Result<i64, BenchError> {
        let key = head_key(&plan.view.uid, &plan.revision);
        let text: String = self.redis.command(&["GET", &key]).await?;
        let head: Head = serde_json::from_str(&text).map_err(|error| BenchError::Wrong(error.to_string()))?;
        Ok(head.horizon)
    }

    /// The features as of the horizon, by another engine, as a Parquet file.
    async fn features(
        &self,
        command: &'static str,
        plan: &Plan,
        horizon: i64,
    ) -> Result<(Answer, PathBuf), BenchError> {
        let step = Step::begin(command);
        let out = self.path(&format!("{command}.parquet"));
        let windows: Vec<_> = windows(plan)
            .into_iter()
            .map(|(name, window)| {
                let (start, end) = window_bounds(&window, &plan.time, horizon);
                json!([name, start, end])
            })
            .collect();
        let answer = self.ask(command, json!({ "out": out, "windows": windows })).await?;
        step.done(&format!("{} entities in {:.1} s; peak {} MiB", answer.rows, answer.seconds, answer.peak_mib));
        Ok((answer, out))
    }

    /// Holds every value of the feature table against `theirs`.
    async fn compare(&self, plan: &Plan, theirs: &Path) -> Result<(), BenchError> {
        let ours = self.path(&plan.view.uid);
        self.equal("the feature table", json!([format!("{}/**/*.parquet", ours.display())]), theirs, &["user"], plan)
            .await
    }

    async fn equal(
        &self,
        what: &str,
        ours: Value,
        theirs: &Path,
        keys: &[&str],
        plan: &Plan,
    ) -> Result<(), BenchError> {
        let step = Step::begin(&format!("comparing {what} with DuckDB's"));
        let names: Vec<_> = windows(plan).into_iter().map(|(name, _)| name).collect();
        let request = json!({ "ours": ours, "theirs": theirs, "names": names, "keys": keys });
        let Answer { rows, values, differ, lacking, .. } = self.ask("compare", request).await?;
        if differ + lacking > 0 || rows == 0 {
            return Err(BenchError::Wrong(format!("{what}: of {rows} rows {differ} differ, one side lacks {lacking}")));
        }
        step.done(&format!("{values} values are equal"));
        Ok(())
    }

    /// SETs of values as large as the median lane, pipelined, over as many connections.
    async fn redis_benchmark(&mut self, plan: &Plan) -> Result<f64, BenchError> {
        let step = Step::begin("redis-benchmark");
        let prefix = row_prefix(&plan.view.uid, &plan.revision, 0);
        let mut sizes = Vec::new();
        for user in 0..200 {
            let key = format!("{prefix}user-{:08}", user * (self.scale.entities / 200));
            let bytes: u64 = self.redis.command(&["HSTRLEN", &key, "b1"]).await?;
            sizes.push(bytes as f64);
        }
        let size = format!("{:.0}", median(sizes));
        self.redis.restart().await?;
        let (port, rows) = (self.redis.port().to_string(), self.scale.entities.to_string());
        let program = Program::new("redis-benchmark")
            .args(["-p", &port, "-t", "set", "-n", &rows, "-r", &rows, "-d", &size])
            .args(["-c", "4", "-P", "64", "--threads", &threads().to_string(), "--csv"]);
        let log = self.path("redis-benchmark.log");
        let ended = run(&program, &log).await?;
        let line = ended.text.lines().find(|line| line.starts_with("\"SET\"")).map(str::to_owned);
        let rate = line.as_deref().and_then(|line| line.split(',').nth(1)?.trim_matches('"').parse::<f64>().ok());
        let rate = rate.ok_or_else(|| BenchError::Wrong(format!("redis-benchmark says {:?}", ended.text)))?;
        step.done(&format!("{rate:.0} SETs/s of {size} bytes"));
        Ok(rate)
    }

    /// A training set: questions a second, ours and DuckDB's.
    async fn training(&self, plan: &Plan) -> Result<(f64, f64), BenchError> {
        let step = Step::begin("a training set by the batch worker");
        let (asks, out) = (self.path("asks"), self.path(&format!("{}.training", plan.view.uid)));
        let table = |path: &Path| Table { uri: path.display().to_string(), format: TableFormat::Parquet };
        let config = json!({
            "asks": table(&asks), "timestamp": { "field": "asked", "unit": "Milliseconds" },
            "views": [{ "assignment": Assignment { incarnation: 0, plan: plan.clone() } }],
            "output": { "table": table(&out), "uid": "bench" },
        });
        let program = self.program("train", &plan.view.uid, &config)?.args(["--memory-mib", &MEMORY_MIB.to_string()]);
        let ended = run(&program, &self.path("train.log")).await?;
        step.done(&format!("{:.1} s; peak {} MiB; {}", ended.seconds, ended.peak_mib, ended.machine));
        let step = Step::begin("a training set by DuckDB");
        let relative: Vec<_> = windows(plan)
            .into_iter()
            .filter_map(|(name, window)| match window {
                Window::Sliding { length_ms, hop_ms } => Some(json!([name, length_ms, hop_ms])),
                _ => None,
            })
            .collect();
        let theirs = self.path("training-duckdb.parquet");
        let request = json!({ "asks": asks, "relative": relative, "out": theirs });
        let answer = self.ask("training-duckdb", request).await?;
        step.done(&format!("{} rows in {:.1} s; peak {} MiB", answer.rows, answer.seconds, answer.peak_mib));
        let ours = json!([format!("{}/*.parquet", out.display())]);
        self.equal("the training set", ours, &theirs, &["label"], plan).await?;
        let asks = self.scale.asks as f64;
        Ok((asks / ended.seconds, asks / answer.seconds))
    }
}

/// Rows that were written a second, from when they were there to be published.
fn publication(ended: &Ended) -> Result<f64, BenchError> {
    let seconds = ended.until("the rows are written")? - ended.until("folded")?;
    Ok(ended.number("the rows are written", "rows")? / seconds)
}

/// The windows of a plan, each once, by the end of its features' names.
fn windows(plan: &Plan) -> Vec<(String, Window)> {
    let mut found: Vec<(String, Window)> = Vec::new();
    for feature in &plan.features {
        let FeatureSource::Window { window, .. } = &feature.source else { continue };
        let name = feature.name.rsplit('_').next().unwrap_or_default();
        if !found.iter().any(|(other, _)| other == name) {
            found.push((name.to_owned(), *window));
        }
    }
    found
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

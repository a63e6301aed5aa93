//! The stream worker: how fast it reads a topic into the online store, effectively once, and what the rows then take.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use engine::plan::{Assignment, Assignments, Plan};
use engine::row::{Marker, marker_key, row_prefix};

use super::answers;
use super::error::{BenchError, io};
use super::figure::{Figure, median};
use super::topic::{self, Reading};
use super::usage::{self, Ticks};
use super::worker::of_image;
use super::workload::Workload;
use super::{Scale, blocking, view};
use crate::progress::Step;
use crate::services::{Directory, Kafka, Process, Redis, free_ports};

/// The topic of all runs.
pub(super) const TOPIC: &str = "payments";
const PARTITIONS: i32 = 4;
/// How long the worker may take until it reads, and until it has read all.
const START_LIMIT: Duration = Duration::from_mins(1);
const RUN_LIMIT: Duration = Duration::from_mins(15);

/// What all runs share.
pub(super) struct World<'a> {
    pub(super) kafka: Kafka,
    pub(super) redis: Redis,
    pub(super) directory: Directory,
    pub(super) workload: Workload,
    /// The topic's, by partition.
    pub(super) ends: Vec<i64>,
    pub(super) scale: &'a Scale,
}

/// One run over the whole topic.
pub(super) struct Run {
    /// Records after it was first seen to read, by how long they took.
    pub(super) rate: f64,
    /// Records by the time since its process started.
    pub(super) whole: f64,
    /// CPU seconds for a million records.
    pub(super) cpu: f64,
}

/// The figures of `stream` from so many pairs, and those of `row-bytes` if they are asked for.
pub async fn figures(scale: &Scale, pairs: u32, row_bytes: bool) -> Result<Vec<Figure>, BenchError> {
    let mut world = World::new(scale).await?;
    let (mut rates, mut wholes, mut cpus) = (Vec::new(), Vec::new(), Vec::new());
    let mut plan = None;
    for number in 0..pairs.max(1) {
        let bare = if pairs > 0 { Some(world.bare().await?) } else { None };
        let (run, of) = world.run(number).await?;
        plan = Some(of);
        if let Some(Reading { records, elapsed, cpu }) = bare {
            let records = records as f64;
            let rate = records / elapsed.as_secs_f64();
            rates.push((run.rate, rate));
            wholes.push((run.whole, rate));
            cpus.push((run.cpu, cpu.as_secs_f64() * 1e6 / records));
        }
    }
    let mut figures = Vec::new();
    if pairs > 0 {
        figures.push(Figure::paired("stream", "events/s", &rates));
        figures.push(Figure::paired("stream-with-start", "events/s", &wholes));
        figures.push(Figure::paired("stream-cpu-seconds", "CPU s/1 M events", &cpus));
    }
    if let Some(plan) = plan {
        let step = Step::begin("comparing sampled entities with a brute-force count");
        let checked = answers::check(&world.redis, &plan, &world.workload).await?;
        step.done(&format!("{checked} values are equal"));
        if row_bytes {
            figures.extend(world.row_bytes(&plan).await?);
        }
    }
    Ok(figures)
}

impl<'a> World<'a> {
    /// Servers, and a topic that holds the workload.
    pub(super) async fn new(scale: &'a Scale) -> Result<Self, BenchError> {
        let (kafka, redis) = (Kafka::start().await?, Redis::start().await?);
        kafka.create_topic(TOPIC, PARTITIONS).await?;
        let workload = Workload {
            events: scale.events,
            entities: scale.entities,
            last: jiff::Timestamp::now().as_millisecond() - 60_000,
        };
        let step = Step::bar("writing the topic", scale.events);
        let config = kafka.client_config();
        let written = blocking(move || {
            topic::write(config, TOPIC, &workload, &step)?;
            Ok(step)
        });
        written.await?.done(&format!("{} events of {} entities", scale.events, scale.entities));
        let ends = topic::ends(&kafka.client_config(), TOPIC, PARTITIONS)?;
        if ends.iter().sum::<i64>() != i64::try_from(scale.events).unwrap_or(i64::MAX) {
            return Err(BenchError::Wrong(format!("the topic ends at {ends:?} after {} events", scale.events)));
        }
        Ok(Self { kafka, redis, directory: Directory::new("bench")?, workload, ends, scale })
    }

    /// The yardstick.
    pub(super) async fn bare(&self) -> Result<Reading, BenchError> {
        let step = Step::begin("a bare consumer that drops everything");
        let (config, ends) = (self.kafka.client_config(), self.ends.clone());
        let before = Ticks::now();
        let reading = blocking(move || topic::drop_all(config, TOPIC, &ends)).await?;
        let (busy, stolen) = Ticks::now().since(before);
        let rate = reading.records as f64 / reading.elapsed.as_secs_f64();
        step.done(&format!("{rate:.0} records/s, machine {busy} % busy, {stolen} % stolen"));
        Ok(reading)
    }

    /// A run into an empty store, under a view of its own, so that it starts at the first record.
    async fn run(&mut self, number: u32) -> Result<(Run, Plan), BenchError> {
        let step = Step::begin("the stream worker");
        // A new process has the memory of no run before it, and needs no minute to forget millions of rows.
        self.redis.restart().await?;
        let plan = view::stream(&format!("bench-{number}"), TOPIC)?;
        let mut metrics = String::new();
        let mut worker = self.start(&plan, &mut metrics)?;
        let started = Instant::now();
        let ticks = Ticks::now();
        let seen = worker.until("its first records", START_LIMIT, async || events(&metrics).await).await?;
        let (first, cpu) = (Instant::now(), usage::cpu(worker.id()));
        let servers = [self.kafka.process()?.id(), self.redis.process()?.id()];
        let before = servers.map(usage::cpu);
        let key = marker_key(&plan.view.uid, &plan.revision, 0, 0);
        let (redis, ends) = (&self.redis, &self.ends);
        worker.until("markers at the topic's end", RUN_LIMIT, async || at_end(redis, &key, ends).await).await?;
        let (elapsed, whole) = (first.elapsed().as_secs_f64(), started.elapsed().as_secs_f64());
        let cpu = usage::cpu(worker.id()).saturating_sub(cpu).as_secs_f64();
        let [kafka, redis] = [0, 1].map(|i| usage::cpu(servers[i]).saturating_sub(before[i]).as_secs_f64());
        let (busy, stolen) = Ticks::now().since(ticks);
        let (read, peak) = ((self.scale.events - seen.min(self.scale.events)) as f64, usage::peak_mib(worker.id()));
        let rows = counter(&metrics, "featuremill_stream_rows_written_total").await.unwrap_or(0);
        worker.terminate(Duration::from_secs(30)).await?;
        let run = Run { rate: read / elapsed, whole: self.scale.events as f64 / whole, cpu: cpu * 1e6 / read };
        step.done(&format!(
            "{:.0} events/s in {elapsed:.1} s, {rows} rows written; CPU s: worker {cpu:.1}, Kafka {kafka:.1}, Redis {redis:.1}; worker's peak {peak} MiB, machine {busy} % busy, {stolen} % stolen",
            run.rate
        ));
        Ok((run, plan))
    }

    fn start(&self, plan: &Plan, metrics: &mut String) -> Result<Process, BenchError> {
        let assignments = Assignments { assignments: vec![Assignment { incarnation: 0, plan: plan.clone() }] };
        let path = self.directory.path().join(format!("{}.json", plan.view.uid));
        let json = serde_json::to_vec(&assignments).map_err(std::io::Error::other).map_err(io("write the plan"))?;
        std::fs::write(&path, json).map_err(io(format!("write {}", path.display())))?;
        let [admin] = free_ports()?;
        *metrics = format!("http://127.0.0.1:{admin}/metrics");
        let program = of_image("featuremill-stream")?
            .arg("--assignments")
            .arg(path)
            .args(["--kafka-bootstrap", &self.kafka.bootstrap(), "--redis-url", &self.redis.url()])
            .args(["--admin", &format!("127.0.0.1:{admin}"), "--memory-mib", &self.scale.memory_mib.to_string()]);
        Ok(program.start(self.directory.path().join("stream.log"))?)
    }

    /// What Redis says the rows of sampled entities take, keys and all.
    async fn row_bytes(&self, plan: &Plan) -> Result<Vec<Figure>, BenchError> {
        let step = Step::begin("asking Redis for the memory of rows");
        let mut counts: HashMap<u64, u32> = HashMap::new();
        for event in self.workload.events() {
            *counts.entry(event.user).or_default() += 1;
        }
        let prefix = row_prefix(&plan.view.uid, &plan.revision, 0);
        let mut counts: Vec<(u64, u32)> = counts.into_iter().collect();
        // By name, which is as good as at random.
        counts.sort_unstable();
        let every = (counts.len() / 20_000).max(1);
        let all = answers::memory(&self.redis, &prefix, counts.iter().step_by(every).map(|(user, _)| *user)).await?;
        let fifty = counts.iter().filter(|(_, n)| (45..=55).contains(n)).take(20_000).map(|(user, _)| *user);
        let fifty = answers::memory(&self.redis, &prefix, fifty).await?;
        let events = median(counts.iter().map(|(_, n)| f64::from(*n)));
        step.done(&format!("{} entities; the median one has {events} events", counts.len()));
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        Ok(vec![
            Figure::absolute("row-bytes", "bytes, median entity", median(all)),
            Figure::absolute("row-bytes-mean", "bytes, mean of entities", mean),
            Figure::absolute("row-bytes-50-events", "bytes, median entity of 45–55 events", median(fifty)),
        ])
    }
}

/// How many events the worker has read, as soon as it has read any.
pub(super) async fn events(url: &str) -> Result<u64, String> {
    let value = counter(url, "featuremill_stream_events_total").await?;
    if value > 0 { Ok(value) } else { Err("it has read nothing yet".to_owned()) }
}

/// A counter of the worker's, without labels.
pub(super) async fn counter(url: &str, name: &str) -> Result<u64, String> {
    let url = url.to_owned();
    let get = move || ureq::get(&url).call().and_then(|mut answer| answer.body_mut().read_to_string());
    let text = tokio::task::spawn_blocking(get).await.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok());
    value.ok_or_else(|| format!("it tells no {name}"))
}

/// Whether every partition's marker stands at its end.
async fn at_end(redis: &Redis, key: &str, ends: &[i64]) -> Result<(), String> {
    let fields: HashMap<String, String> = redis.command(&["HGETALL", key]).await.map_err(|e| e.to_string())?;
    for (partition, end) in ends.iter().enumerate() {
        let marker = fields.get(&partition.to_string()).and_then(|text| Marker::decode(text).ok());
        let offset = marker.map_or(0, |marker| marker.offset);
        if offset < *end {
            return Err(format!("partition {partition} is at {offset} of {end}"));
        }
    }
    Ok(())
}

//! The replay: how fast the processes of one Job read a whole topic into the online store, a process for each partition.

use std::time::{Duration, Instant};

use engine::plan::{Assignment, Plan};
use engine::replay::{Part, Replay};

use super::error::{BenchError, io};
use super::figure::Figure;
use super::stream::{Run, TOPIC, World, counter, events};
use super::topic::Reading;
use super::usage::{self, Ticks};
use super::worker::of_image;
use super::{Scale, answers, view};
use crate::progress::Step;
use crate::services::{Process, free_ports, until};

/// How long all of it may take.
const LIMIT: Duration = Duration::from_mins(15);

/// The figures of `replay`.
pub async fn figures(scale: &Scale) -> Result<Vec<Figure>, BenchError> {
    let mut world = World::new(scale).await?;
    let (mut rates, mut wholes, mut cpus) = (Vec::new(), Vec::new(), Vec::new());
    let mut last = None;
    for number in 0..scale.pairs {
        let Reading { records, elapsed, cpu } = world.bare().await?;
        let (run, plan) = replay(&mut world, number).await?;
        let records = records as f64;
        let rate = records / elapsed.as_secs_f64();
        rates.push((run.rate, rate));
        wholes.push((run.whole, rate));
        cpus.push((run.cpu, cpu.as_secs_f64() * 1e6 / records));
        last = Some(plan);
    }
    if let Some(plan) = last {
        let step = Step::begin("comparing sampled entities with a brute-force count");
        let checked = answers::check(&world.redis, &plan, &world.workload).await?;
        step.done(&format!("{checked} values are equal"));
    }
    Ok(vec![
        Figure::paired("replay", "events/s", &rates),
        Figure::paired("replay-with-start", "events/s", &wholes),
        Figure::paired("replay-cpu-seconds", "CPU s/1 M events", &cpus),
    ])
}

/// One process of the Job.
struct Member {
    process: Process,
    metrics: String,
    cpu: Duration,
    peak_mib: u64,
}

impl Member {
    /// Whether it has ended, which must be a success.
    fn ended(&mut self) -> Result<bool, BenchError> {
        // Before it is reaped: then nobody knows any more.
        self.cpu = self.cpu.max(usage::cpu(self.process.id()));
        self.peak_mib = self.peak_mib.max(usage::peak_mib(self.process.id()));
        match self.process.ended()? {
            None => Ok(false),
            Some(status) if status.success() => Ok(true),
            Some(status) => {
                Err(BenchError::Wrong(format!("a replay ended with {status}:\n{}", self.process.log_tail())))
            }
        }
    }
}

/// A replay into an empty store, of a view of its own.
async fn replay(world: &mut World<'_>, number: u32) -> Result<(Run, Plan), BenchError> {
    let step = Step::begin("the processes of a replay");
    // A new process has the memory of no run before it, and needs no minute to forget millions of rows.
    world.redis.restart().await?;
    let plan = view::stream(&format!("replay-{number}"), TOPIC)?;
    let mut members = start(world, &plan)?;
    let (started, ticks) = (Instant::now(), Ticks::now());
    let seen = until("the first records of a replay", LIMIT, async || {
        let mut seen = 0;
        for member in &members {
            seen += events(&member.metrics).await.unwrap_or(0);
        }
        if seen > 0 { Ok(seen) } else { Err("none of them has read anything".to_owned()) }
    });
    let (seen, first) = (seen.await?, Instant::now());
    let before: Duration = members.iter().map(|member| usage::cpu(member.process.id())).sum();
    let servers = [world.kafka.process()?.id(), world.redis.process()?.id()];
    let servers_before = servers.map(usage::cpu);
    let mut rows = vec![0; members.len()];
    until("the end of a replay", LIMIT, async || {
        let mut left = 0;
        for (member, rows) in members.iter_mut().zip(&mut rows) {
            match member.ended() {
                Ok(true) => {}
                Ok(false) => {
                    left += 1;
                    *rows = counter(&member.metrics, "featuremill_stream_rows_written_total").await.unwrap_or(*rows);
                }
                Err(error) => return Ok(Err(error)),
            }
        }
        if left == 0 { Ok(Ok(())) } else { Err(format!("{left} are at work")) }
    })
    .await??;
    let (elapsed, whole) = (first.elapsed().as_secs_f64(), started.elapsed().as_secs_f64());
    let (busy, stolen) = Ticks::now().since(ticks);
    let [kafka, redis] = [0, 1].map(|i| usage::cpu(servers[i]).saturating_sub(servers_before[i]).as_secs_f64());
    let cpu: Duration = members.iter().map(|member| member.cpu).sum();
    let read = (world.scale.events - seen.min(world.scale.events)) as f64;
    let run = Run {
        rate: read / elapsed,
        whole: world.scale.events as f64 / whole,
        cpu: cpu.saturating_sub(before).as_secs_f64() * 1e6 / read,
    };
    let (rows, peak): (u64, u64) = (rows.iter().sum(), members.iter().map(|member| member.peak_mib).sum());
    step.done(&format!(
        "{:.0} events/s in {elapsed:.1} s, at least {rows} rows written; CPU s: replay {:.1}, Kafka {kafka:.1}, Redis {redis:.1}; peaks {peak} MiB together, machine {busy} % busy, {stolen} % stolen",
        run.rate,
        cpu.as_secs_f64()
    ));
    Ok((run, plan))
}

/// Starts a process for each partition; together they have the memory of one worker.
fn start(world: &World<'_>, plan: &Plan) -> Result<Vec<Member>, BenchError> {
    let parts: Vec<Part> = (0..).zip(&world.ends).map(|(partition, to)| Part { partition, from: 0, to: *to }).collect();
    let memory = (world.scale.memory_mib / u32::try_from(parts.len()).unwrap_or(1)).max(16).to_string();
    let indices = 0..parts.len();
    let assignment = Assignment { incarnation: 0, plan: plan.clone() };
    let replay = Replay { assignment, parts, records_per_second: None, complete_from_ms: None, archive: None };
    let path = world.directory.path().join(format!("{}.json", plan.view.uid));
    let json = serde_json::to_vec(&replay).map_err(std::io::Error::other).map_err(io("write the replay"))?;
    std::fs::write(&path, json).map_err(io(format!("write {}", path.display())))?;
    let member = |index: usize| {
        let [admin] = free_ports()?;
        let program = of_image("featuremill-stream")?
            .args(["replay", "--replay"])
            .arg(&path)
            .args(["--index", &index.to_string(), "--memory-mib", &memory])
            .args(["--kafka-bootstrap", &world.kafka.bootstrap(), "--redis-url", &world.redis.url()])
            .args(["--admin", &format!("127.0.0.1:{admin}")]);
        let process = program.start(world.directory.path().join(format!("replay-{index}.log")))?;
        let metrics = format!("http://127.0.0.1:{admin}/metrics");
        Ok(Member { process, metrics, cpu: Duration::ZERO, peak_mib: 0 })
    };
    indices.map(member).collect()
}

//! The feature server: one entity's 50 features a request, against a server that sends the same bytes without looking.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::error::{BenchError, io};
use super::figure::Figure;
use super::load::{Connection, Load, Outcome, request};
use super::usage::{self, Ticks};
use super::worker::of_image;
use super::workload::Event;
use super::{Scale, rows, view};
use crate::progress::Step;
use crate::services::{Directory, Process, Program, Redis, free_ports};

const ARCHITECTURE: &str = "bench";
const VIEW: &str = "bench-serve";
const CONNECTIONS: usize = 32;
const START_LIMIT: Duration = Duration::from_secs(30);

/// A server under load.
struct Target {
    name: &'static str,
    process: Process,
    load: Load,
}

/// The figures of `serve`.
pub async fn figures(scale: &Scale) -> Result<Vec<Figure>, BenchError> {
    let redis = Redis::start().await?;
    let directory = Directory::new("bench")?;
    let plan = view::serve(VIEW)?;
    let step = Step::begin("writing rows");
    rows::fill(&redis.url(), ARCHITECTURE, &plan, jiff::Timestamp::now().as_millisecond()).await?;
    step.done(&format!("{} entities", rows::ENTITIES));
    let features: Vec<String> = plan.features.iter().map(|feature| format!("{VIEW}:{}", feature.name)).collect();
    let body = |user: u64| json!({"features": features, "entities": {"user": [Event::user(user)]}}).to_string();
    let duration = Duration::from_secs(scale.seconds);
    let load = |address: SocketAddr| Load {
        address,
        requests: (0..rows::ENTITIES).map(|user| request(address, &body(user * 7_919 % rows::ENTITIES))).collect(),
        connections: CONNECTIONS,
        duration,
    };

    let ours = start_ours(&redis, &directory).await?;
    let answer = Connection::open(ours.1).await?.ask(&request(ours.1, &body(1))).await?.to_vec();
    let present = check(&answer, features.len())?;
    println!("  an answer has {} bytes, {present} of {} values present", answer.len(), features.len());
    let fixed = start_static(&directory, &answer).await?;
    let mut ours = Target { name: "the feature server", process: ours.0, load: load(ours.1) };
    let mut fixed = Target { name: "a static server", process: fixed.0, load: load(fixed.1) };

    let (mut full, mut half) = (Vec::new(), Vec::new());
    for _ in 0..scale.pairs {
        full.push((ours.run(None).await?, fixed.run(None).await?));
        let (a, b) = full[full.len() - 1];
        half.push((ours.run(Some(a.rate / 2.0)).await?, fixed.run(Some(b.rate / 2.0)).await?));
    }
    let pairs = |outcomes: &[(Outcome, Outcome)], of: fn(&Outcome) -> f64| {
        outcomes.iter().map(|(a, b)| (of(a), of(b))).collect::<Vec<_>>()
    };
    Ok(vec![
        Figure::paired("serve", "requests/s", &pairs(&full, |o| o.rate)),
        Figure::paired("serve-p99", "ms at saturation", &pairs(&full, |o| o.p99)),
        Figure::paired("serve-p50-half", "ms at half of its rate", &pairs(&half, |o| o.p50)),
        Figure::paired("serve-p99-half", "ms at half of its rate", &pairs(&half, |o| o.p99)),
    ])
}

impl Target {
    async fn run(&mut self, rate: Option<f64>) -> Result<Outcome, BenchError> {
        let at = rate.map_or_else(|| "as fast as it answers".to_owned(), |rate| format!("at {rate:.0} requests/s"));
        let step = Step::begin(&format!("{}, {at}", self.name));
        let (ticks, cpu) = (Ticks::now(), usage::cpu(self.process.id()));
        let outcome = self.load.run(rate).await?;
        let (busy, stolen) = Ticks::now().since(ticks);
        let cpu = usage::cpu(self.process.id()).saturating_sub(cpu).as_secs_f64();
        let each = cpu * 1e6 / (outcome.rate * self.load.duration.as_secs_f64());
        let Outcome { rate, p50, p99 } = outcome;
        step.done(&format!(
            "{rate:.0} requests/s, p50 {p50:.2} ms, p99 {p99:.2} ms, its CPU {each:.0} µs a request, machine {busy} % busy, {stolen} % stolen"
        ));
        Ok(outcome)
    }
}

async fn start_ours(redis: &Redis, directory: &Directory) -> Result<(Process, SocketAddr), BenchError> {
    let [port, admin] = free_ports()?;
    let program = of_image("featuremill-serve")?
        .args(["--architecture-uid", ARCHITECTURE, "--redis-url", &redis.url(), "--drain-delay-ms", "0"])
        .args(["--listen", &format!("127.0.0.1:{port}"), "--admin", &format!("127.0.0.1:{admin}")]);
    let mut process = program.start(directory.path().join("serve.log"))?;
    process.until_ok(&format!("http://127.0.0.1:{admin}/readyz"), START_LIMIT).await?;
    Ok((process, SocketAddr::from(([127, 0, 0, 1], port))))
}

async fn start_static(directory: &Directory, answer: &[u8]) -> Result<(Process, SocketAddr), BenchError> {
    let body = directory.path().join("answer.json");
    std::fs::write(&body, answer).map_err(io(format!("write {}", body.display())))?;
    let [port] = free_ports()?;
    let itself = std::env::current_exe().map_err(io("find the running benchmark"))?;
    let program = Program::new(itself).arg("static").arg(format!("127.0.0.1:{port}")).arg(body);
    let mut process = program.start(directory.path().join("static.log"))?;
    process.until_ok(&format!("http://127.0.0.1:{port}/readyz"), START_LIMIT).await?;
    Ok((process, SocketAddr::from(([127, 0, 0, 1], port))))
}

/// How many values of the answer's features are present; all must be there or be NULL, and most must be there.
fn check(answer: &[u8], features: usize) -> Result<usize, BenchError> {
    let wrong = |what: &str| BenchError::Wrong(format!("{what}: {}", String::from_utf8_lossy(answer)));
    let answer: Value = serde_json::from_slice(answer).map_err(|_| wrong("the answer is no JSON"))?;
    let empty = Vec::new();
    let results = answer["results"].as_array().unwrap_or(&empty);
    let present = results.iter().filter(|result| result["statuses"][0] == "PRESENT").count();
    // One more result is the entity's own name.
    if results.len() == features + 1 && present > features / 2 {
        return Ok(present - 1);
    }
    Err(wrong("the answer does not hold the features"))
}

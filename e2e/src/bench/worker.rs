//! A process that works and ends, and what its log of JSON lines says of when it did what.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::error::BenchError;
use super::usage::{self, Ticks};
use crate::services::Program;

/// How often the memory of the process is looked at.
const PERIOD: Duration = Duration::from_millis(100);

/// A worker of this workspace with the environment that the image gives it.
pub fn of_image(name: &str) -> Result<Program, BenchError> {
    Ok(Program::of_workspace(name)?.env("MIMALLOC_PURGE_DELAY", "1000").env("MIMALLOC_ALLOW_THP", "0"))
}

/// What it did.
#[derive(Clone, Debug)]
pub struct Ended {
    /// How long it ran.
    pub seconds: f64,
    /// The largest resident memory that was seen.
    pub peak_mib: u64,
    /// What it wrote.
    pub text: String,
    /// How busy the machine was.
    pub machine: String,
    started_ms: f64,
}

/// Runs it to its end, which must be a success.
pub async fn run(program: &Program, log: &Path) -> Result<Ended, BenchError> {
    let (started, ticks) = (Instant::now(), Ticks::now());
    let started_ms = jiff::Timestamp::now().as_millisecond() as f64;
    let mut process = program.start(log)?;
    let (mut peak_mib, mut every) = (0, tokio::time::interval(PERIOD));
    let status = loop {
        peak_mib = peak_mib.max(usage::peak_mib(process.id()));
        if let Some(status) = process.ended()? {
            break status;
        }
        every.tick().await;
    };
    let seconds = started.elapsed().as_secs_f64();
    let text = std::fs::read_to_string(log).unwrap_or_default();
    if !status.success() {
        return Err(BenchError::Wrong(format!("{} ended with {status}:\n{}", program.name, process.log_tail())));
    }
    let (busy, stolen) = Ticks::now().since(ticks);
    let machine = format!("machine {busy} % busy, {stolen} % stolen");
    Ok(Ended { seconds, peak_mib, text, machine, started_ms })
}

impl Ended {
    /// Seconds from its start until it wrote `message`.
    pub fn until(&self, message: &str) -> Result<f64, BenchError> {
        let line = self.line(message)?;
        let at = line["timestamp"].as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
        let at = at.ok_or_else(|| BenchError::Wrong(format!("{line} has no timestamp")))?;
        Ok((at.as_microsecond() as f64 / 1_000.0 - self.started_ms) / 1_000.0)
    }

    /// A number that it wrote beside `message`.
    pub fn number(&self, message: &str, field: &str) -> Result<f64, BenchError> {
        let line = self.line(message)?;
        line[field].as_f64().ok_or_else(|| BenchError::Wrong(format!("{line} has no {field}")))
    }

    fn line(&self, message: &str) -> Result<Value, BenchError> {
        let mut lines = self.text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let found = lines.find(|line| line["message"] == message);
        found.ok_or_else(|| BenchError::Wrong(format!("the log has no line {message:?}:\n{}", self.text)))
    }
}

//! The command line of the stream worker.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
pub use shell::group::GroupProtocol;
use shell::telemetry::LogFormat;

/// Computes the tiles of one or more views from one Kafka topic into the online store.
#[derive(Clone, Debug, Parser)]
#[command(name = "featuremill-stream", version)]
pub struct Args {
    /// What to do; without a command it runs.
    #[command(subcommand)]
    pub command: Command,
    /// How log lines are written.
    #[arg(long, global = true, env = "FEATUREMILL_LOG_FORMAT", value_enum, default_value = "json")]
    pub log_format: LogFormat,
}

/// What it does.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Reads the topic as it comes, as a member of the plans' consumer group, until it is asked to stop.
    Run(Box<RunArgs>),
    /// Reads one partition between two offsets into a revision's rows. Exits with 0 if that is done, 2 if no further attempt
    /// at this replay can succeed, 1 if another may.
    Replay(Box<ReplayArgs>),
    /// Sees whether what is served of a sample of entities is what their events give.
    Skew(Box<crate::skew::Args>),
}

/// What is read as it comes, and how.
#[derive(Clone, Debug, clap::Args)]
pub struct RunArgs {
    /// The plans to run, as the operator mounts them: JSON, all on one topic.
    #[arg(long, env = "FEATUREMILL_ASSIGNMENTS")]
    pub assignments: PathBuf,
    /// The threads that partitions are spread over; 0 takes one a core.
    #[arg(long, env = "FEATUREMILL_THREADS", default_value_t = 0)]
    pub threads: usize,
    /// The rebalance protocol.
    #[arg(long, env = "FEATUREMILL_GROUP_PROTOCOL", value_enum, default_value = "consumer")]
    pub group_protocol: GroupProtocol,
    /// The servers and limits.
    #[command(flatten)]
    pub edge: EdgeArgs,
}

/// What is read again.
#[derive(Clone, Debug, clap::Args)]
pub struct ReplayArgs {
    /// The plan and the offsets of every part, as the operator mounts them: JSON.
    #[arg(long, env = "FEATUREMILL_REPLAY")]
    pub replay: PathBuf,
    /// Which of the parts to read.
    #[arg(long, env = "JOB_COMPLETION_INDEX")]
    pub index: usize,
    /// The servers and limits.
    #[command(flatten)]
    pub edge: EdgeArgs,
}

/// The servers that events come from and rows go to, and what they may take.
#[derive(Clone, Debug, clap::Args)]
pub struct EdgeArgs {
    /// The brokers, `host:port`, comma-separated.
    #[arg(long, env = "FEATUREMILL_KAFKA_BOOTSTRAP")]
    pub kafka_bootstrap: String,
    /// A folder of librdkafka properties: each file is named by a property and holds its value.
    #[arg(long, env = "FEATUREMILL_KAFKA_CONFIG_DIR")]
    pub kafka_config_dir: Option<PathBuf>,
    /// The online store, `redis://host:6379` or `rediss://…` for TLS.
    #[arg(long, env = "FEATUREMILL_REDIS_URL")]
    pub redis_url: String,
    /// A folder with `username`, `password` and `ca.crt`, where they are needed.
    #[arg(long, env = "FEATUREMILL_REDIS_CONFIG_DIR")]
    pub redis_config_dir: Option<PathBuf>,
    /// Where /livez, /readyz and /metrics are served.
    #[arg(long, env = "FEATUREMILL_ADMIN", default_value = "0.0.0.0:8080")]
    pub admin: SocketAddr,
    /// The memory that lanes and fetched records may take, in MiB; the process takes some 100 MiB more.
    #[arg(long, env = "FEATUREMILL_MEMORY_MIB", default_value_t = 512, value_parser = clap::value_parser!(u32).range(16..))]
    pub memory_mib: u32,
    /// The shortest time between two flushes of changed lanes, in milliseconds.
    #[arg(long, env = "FEATUREMILL_FLUSH_INTERVAL_MS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub flush_interval_ms: u64,
    /// How old a flush must be before its offset is committed to Kafka, in milliseconds.
    #[arg(long, env = "FEATUREMILL_DURABILITY_LAG_MS", default_value_t = 2_000)]
    pub durability_lag_ms: u64,
    /// The name of this worker among those of its group: the pod's name, which is its host name.
    #[arg(long, env = "HOSTNAME", default_value = "worker")]
    pub worker: String,
}

impl EdgeArgs {
    /// [`Self::memory_mib`] in bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        usize::try_from(self.memory_mib).unwrap_or(usize::MAX).saturating_mul(1 << 20)
    }

    /// How much is fetched ahead of each of so many partitions, in KiB: a quarter of the memory. Half is for lanes; the rest is
    /// for what is being written.
    #[must_use]
    pub fn queue_kib(&self, partitions: usize) -> usize {
        (self.memory() / 4 / partitions.max(1) / 1024).clamp(1024, 64 * 1024)
    }
}

impl Args {
    /// The command line of this process.
    #[must_use]
    pub fn of_process() -> Self {
        Self::parse_from(with_command(std::env::args_os().collect()))
    }
}

/// A command line that names no command means `run`, as it did before there was another.
fn with_command(words: Vec<OsString>) -> Vec<OsString> {
    shell::command::with_command(words, "run", &["replay", "skew"])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    const EDGE: [&str; 4] = ["--kafka-bootstrap", "k:9092", "--redis-url", "redis://r"];

    fn parse(words: &[&str]) -> Result<Args, clap::Error> {
        let words = ["featuremill-stream"].iter().chain(words).chain(&EDGE).map(OsString::from).collect();
        Args::try_parse_from(with_command(words))
    }

    #[test]
    fn without_a_command_it_runs() {
        let Command::Run(args) = parse(&["--assignments", "a.json", "--log-format", "text"]).unwrap().command else {
            panic!("it does not run")
        };
        assert_eq!((args.assignments, args.edge.redis_url.as_str()), (PathBuf::from("a.json"), "redis://r"));
        assert_eq!(parse(&["--help"]).unwrap_err().kind(), clap::error::ErrorKind::DisplayHelp);
    }

    #[test]
    fn a_replay_takes_its_file_and_its_index() {
        let Command::Replay(args) = parse(&["replay", "--replay", "r.json", "--index", "7"]).unwrap().command else {
            panic!("it does not replay")
        };
        assert_eq!((args.replay, args.index), (PathBuf::from("r.json"), 7));
        assert!(parse(&["replay", "--replay", "r.json", "--index", "-1"]).is_err());
    }
}

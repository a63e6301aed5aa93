//! The command line. Every flag has an environment variable `FEATUREMILL_…`, which is how the operator sets it.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use shell::telemetry::LogFormat;

/// Folds history tables into features.
#[derive(Clone, Debug, Parser)]
#[command(name = "featuremill-batch", version)]
pub struct Args {
    /// How log lines are written.
    #[arg(long, env = "FEATUREMILL_LOG_FORMAT", value_enum, default_value_t = LogFormat::Json, global = true)]
    pub log_format: LogFormat,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the worker can do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Computes one generation of a view and publishes it. Exits with 0 if it is published or nothing is new, 3 if the
    /// quality gate refused it, 2 on a bad configuration, 1 if another try may succeed.
    Run(RunArgs),
    /// Sees whether the generation that is served of a sample of entities is what its source gives.
    Skew(SkewArgs),
    /// Schedules the work of a cluster's executors, until a signal.
    Scheduler(SchedulerArgs),
    /// Works for a cluster's scheduler, until a signal.
    Executor(ExecutorArgs),
    /// Makes a training set: a table of entities and timestamps, with the features exactly as they were at each of them.
    Train(TrainArgs),
}

/// Flags of `scheduler`.
#[derive(Clone, Debug, clap::Args)]
pub struct SchedulerArgs {
    /// Where runs and executors find it; executors that it knows are counted by `GET /readyz`.
    #[arg(long, env = "FEATUREMILL_SCHEDULER_BIND", default_value = "0.0.0.0:50050")]
    pub bind: SocketAddr,

    /// The host by which executors reach it, to say how their tasks went, such as the name of its Service.
    #[arg(long, env = "FEATUREMILL_SCHEDULER_HOST", default_value = "localhost")]
    pub host: String,

    /// How many executors must be there before `GET /readyz` answers 200.
    #[arg(long, env = "FEATUREMILL_MIN_EXECUTORS", default_value_t = 1)]
    pub min_executors: usize,
}

/// Flags of `executor`.
#[derive(Clone, Debug, clap::Args)]
pub struct ExecutorArgs {
    /// The scheduler's host.
    #[arg(long, env = "FEATUREMILL_SCHEDULER_HOST")]
    pub scheduler_host: String,

    /// The scheduler's port.
    #[arg(long, env = "FEATUREMILL_SCHEDULER_PORT", default_value_t = 50050)]
    pub scheduler_port: u16,

    /// The address to listen on.
    #[arg(long, env = "FEATUREMILL_EXECUTOR_BIND", default_value = "0.0.0.0")]
    pub bind: IpAddr,

    /// The host by which the scheduler, other executors and runs reach this one, such as the pod's address.
    #[arg(long, env = "FEATUREMILL_EXECUTOR_HOST")]
    pub host: Option<String>,

    /// The port from which results are fetched.
    #[arg(long, env = "FEATUREMILL_EXECUTOR_PORT", default_value_t = 50051)]
    pub port: u16,

    /// The port on which the scheduler hands out work.
    #[arg(long, env = "FEATUREMILL_EXECUTOR_GRPC_PORT", default_value_t = 50052)]
    pub grpc_port: u16,

    /// Work on tables: memory, threads, credentials. Shuffled events wait in the folder for temporary files.
    #[command(flatten)]
    pub tables: TableArgs,
}

/// Flags of `train`.
#[derive(Clone, Debug, clap::Args)]
pub struct TrainArgs {
    /// The JSON file that says what is asked, of which views, and where the answers go.
    #[arg(long, env = "FEATUREMILL_TRAIN_CONFIG")]
    pub config: PathBuf,

    /// The file that is told how it ended, as one small JSON object: rows and versions, or the error.
    #[arg(long, env = "FEATUREMILL_REPORT")]
    pub report: Option<PathBuf>,

    /// Work on tables: memory, threads, credentials.
    #[command(flatten)]
    pub tables: TableArgs,
}

/// Flags of `skew`.
#[derive(Clone, Debug, clap::Args)]
pub struct SkewArgs {
    /// The file that says what is looked at.
    #[arg(long, env = "FEATUREMILL_SKEW_FILE")]
    pub skew_file: PathBuf,

    /// The runs that make the generations.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Flags of `run`.
#[derive(Clone, Debug, clap::Args)]
pub struct RunArgs {
    /// The JSON file that says what to compute and where it goes.
    #[arg(long, env = "FEATUREMILL_BATCH_CONFIG")]
    pub config: PathBuf,

    /// Where the online store is, such as `redis://redis:6379`, or `rediss://redis:6380` for TLS.
    #[arg(long, env = "FEATUREMILL_REDIS_URL")]
    pub redis_url: String,

    /// Folder with the files `username`, `password` and `ca.crt`, each of them optional.
    #[arg(long, env = "FEATUREMILL_REDIS_CONFIG_DIR")]
    pub redis_config_dir: Option<PathBuf>,

    /// Connections over which rows are written.
    #[arg(long, env = "FEATUREMILL_REDIS_CONNECTIONS", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub redis_connections: u16,

    /// Milliseconds after which the lease of a run that died passes to the next.
    #[arg(long, env = "FEATUREMILL_LEASE_MS", default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(100..))]
    pub lease_ms: u64,

    /// Milliseconds to wait for another run's lease before giving up with exit code 1.
    #[arg(long, env = "FEATUREMILL_LEASE_WAIT_MS", default_value_t = 60_000)]
    pub lease_wait_ms: u64,

    /// Milliseconds for which the generation that was pointed away from stays whole.
    #[arg(long, env = "FEATUREMILL_KEEP_PREVIOUS_MS", default_value_t = 60_000)]
    pub keep_previous_ms: u64,

    /// Work on tables: memory, threads, credentials.
    #[command(flatten)]
    pub tables: TableArgs,
}

/// Flags of all that works on tables.
#[derive(Clone, Debug, clap::Args)]
pub struct TableArgs {
    /// Folder whose files are settings of the object store: each is named by a key such as `AWS_ACCESS_KEY_ID`.
    #[arg(long, env = "FEATUREMILL_STORE_CONFIG_DIR")]
    pub store_config_dir: Option<PathBuf>,

    /// Mebibytes of memory for tiles; beyond it they are spilled to disk.
    #[arg(long, env = "FEATUREMILL_MEMORY_MIB", default_value = "1024")]
    pub memory_mib: NonZeroUsize,

    /// Where spilled tiles and lanes on their way wait; the system's folder for such files unless given.
    #[arg(long, env = "FEATUREMILL_TEMP_DIR")]
    pub temp_dir: Option<PathBuf>,

    /// Threads that fold; one per core unless given.
    #[arg(long, env = "FEATUREMILL_THREADS")]
    pub threads: Option<NonZeroUsize>,
}

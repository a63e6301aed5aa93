//! The command line of the archive worker.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use engine::plan::TimestampUnit;
use shell::group::GroupProtocol;
use shell::telemetry::LogFormat;

/// Keeps a topic's records in a Bronze table, each exactly once.
#[derive(Clone, Debug, Parser)]
#[command(name = "featuremill-archive", version)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How log lines are written.
    #[arg(long, global = true, env = "FEATUREMILL_LOG_FORMAT", value_enum, default_value = "json")]
    pub log_format: LogFormat,
}

/// What it does.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Append the topic's records as they come.
    Run(Box<RunArgs>),
    /// Merge small files, remove what no kept version needs, write a checkpoint; then end.
    Maintain(MaintainArgs),
    /// Make a new version that reads as an earlier one did; what was read after it is read again.
    Restore(RestoreArgs),
    /// Remove an entity from views: its rows in the online store, and its events from their tables. Exits with 0 if that is
    /// done, 2 if a person must act, 1 if another try may succeed.
    Erase(EraseArgs),
    /// Read of one partition of a replay what its topic no longer holds, into a revision's rows. Exits with 0 if the topic can be
    /// read on from the rows' marker (`featuremill-stream replay`), 2 if it never can, 1 if another attempt may succeed.
    Replay(Box<HistoryArgs>),
}

/// What is read again, and what reading a table may take.
#[derive(Clone, Debug, ClapArgs)]
pub struct HistoryArgs {
    /// The replay, its servers and limits.
    #[command(flatten)]
    pub replay: stream::args::ReplayArgs,
    /// A folder of the object store's settings: each file is named by a key, as `AWS_ACCESS_KEY_ID`, and holds its value.
    #[arg(long, env = "FEATUREMILL_STORE_CONFIG_DIR")]
    pub store_config_dir: Option<PathBuf>,
    /// The memory in which records are put into order, in MiB; beyond it, that spills.
    #[arg(long, env = "FEATUREMILL_SORT_MEMORY_MIB", default_value_t = 256, value_parser = clap::value_parser!(u32).range(64..))]
    pub sort_memory_mib: u32,
    /// Where it spills to; by default the system's temporary folder.
    #[arg(long, env = "FEATUREMILL_SPILL_DIR")]
    pub spill_dir: Option<PathBuf>,
}

/// Which table, and how to reach it.
#[derive(Clone, Debug, ClapArgs)]
pub struct TableArgs {
    /// The address of the Bronze table: s3://, gs://, az://, abfss://, file:// or an absolute path.
    #[arg(long, env = "FEATUREMILL_TABLE")]
    pub table: String,
    /// A folder of the store's settings: each file is named by a key, as `AWS_ACCESS_KEY_ID`, and holds its value.
    #[arg(long, env = "FEATUREMILL_STORE_CONFIG_DIR")]
    pub store_config_dir: Option<PathBuf>,
    /// The UID of the table's owner, in its property `featuremill.uid`.
    #[arg(long, env = "FEATUREMILL_UID")]
    pub uid: String,
}

/// How records are read and appended.
#[derive(Clone, Debug, ClapArgs)]
pub struct RunArgs {
    /// The table.
    #[command(flatten)]
    pub table: TableArgs,
    /// The Kafka topic.
    #[arg(long, env = "FEATUREMILL_TOPIC")]
    pub topic: String,
    /// The brokers, `host:port`, comma-separated.
    #[arg(long, env = "FEATUREMILL_KAFKA_BOOTSTRAP")]
    pub kafka_bootstrap: String,
    /// A folder of librdkafka properties: each file is named by a property and holds its value.
    #[arg(long, env = "FEATUREMILL_KAFKA_CONFIG_DIR")]
    pub kafka_config_dir: Option<PathBuf>,
    /// The field of the JSON payload that holds the event time; without it the record time is the event time.
    #[arg(long, env = "FEATUREMILL_TIMESTAMP_FIELD")]
    pub timestamp_field: Option<String>,
    /// How that field is written.
    #[arg(long, env = "FEATUREMILL_TIMESTAMP_UNIT", value_enum, default_value = "milliseconds")]
    pub timestamp_unit: Unit,
    /// How far ahead of its record an event time may be, in milliseconds; one further ahead is kept as NULL.
    #[arg(long, env = "FEATUREMILL_MAX_FUTURE_MS", default_value_t = lake::bronze::MAX_FUTURE_MS, value_parser = clap::value_parser!(i64).range(0..))]
    pub max_future_ms: i64,
    /// Where /livez, /readyz and /metrics are served.
    #[arg(long, env = "FEATUREMILL_ADMIN", default_value = "0.0.0.0:8080")]
    pub admin: SocketAddr,
    /// The longest time between two commits while records come, in milliseconds.
    #[arg(long, env = "FEATUREMILL_COMMIT_INTERVAL_MS", default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(10..))]
    pub commit_interval_ms: u64,
    /// How often a commit says that the topic is still read to its end while no records come, in milliseconds.
    #[arg(long, env = "FEATUREMILL_IDLE_COMMIT_INTERVAL_MS", default_value_t = 300_000, value_parser = clap::value_parser!(u64).range(10..))]
    pub idle_commit_interval_ms: u64,
    /// The bytes of records that may wait, half of them for the next commit and half in the one under way; the process
    /// takes about three times as much while it writes.
    #[arg(long, env = "FEATUREMILL_MAX_BYTES", default_value_t = 128 << 20, value_parser = clap::value_parser!(u64).range(65_536..=1_073_741_824))]
    pub max_bytes: u64,
    /// What to do where the topic no longer holds records that were not read.
    #[arg(long, env = "FEATUREMILL_ON_GAP", value_enum, default_value = "halt")]
    pub on_gap: OnGap,
    /// The rebalance protocol.
    #[arg(long, env = "FEATUREMILL_GROUP_PROTOCOL", value_enum, default_value = "consumer")]
    pub group_protocol: GroupProtocol,
    /// How long the last commit may take when the worker is asked to end, in milliseconds.
    #[arg(long, env = "FEATUREMILL_DRAIN_MS", default_value_t = 20_000)]
    pub drain_ms: u64,
}

/// What maintenance keeps and makes.
#[derive(Clone, Debug, ClapArgs)]
pub struct MaintainArgs {
    /// The table.
    #[command(flatten)]
    pub table: TableArgs,
    /// For how many hours versions can be read after another has replaced them.
    #[arg(long, env = "FEATUREMILL_RETENTION_HOURS", default_value_t = 168)]
    pub retention_hours: u64,
    /// The size that small files are merged up to, in MiB.
    #[arg(long, env = "FEATUREMILL_TARGET_MIB", default_value = "256")]
    pub target_mib: NonZeroU64,
    /// The memory of the merge, in MiB; beyond it, it spills.
    #[arg(long, env = "FEATUREMILL_MEMORY_MIB", default_value_t = 512, value_parser = clap::value_parser!(u32).range(64..))]
    pub memory_mib: u32,
    /// Where it spills to; by default the system's temporary folder.
    #[arg(long, env = "FEATUREMILL_SPILL_DIR")]
    pub spill_dir: Option<PathBuf>,
}

/// Which version to go back to.
#[derive(Clone, Debug, ClapArgs)]
pub struct RestoreArgs {
    /// The table.
    #[command(flatten)]
    pub table: TableArgs,
    /// The version that the table shall read as.
    #[arg(long)]
    pub to_version: u64,
}

/// Who is erased, and how the stores are reached.
#[derive(Clone, Debug, ClapArgs)]
pub struct EraseArgs {
    /// The JSON file that says who is erased, and from which views.
    #[arg(long, env = "FEATUREMILL_ERASE_CONFIG")]
    pub config: PathBuf,
    /// Where the outcome is written too, such as the container's termination log.
    #[arg(long, env = "FEATUREMILL_REPORT")]
    pub report: Option<PathBuf>,
    /// The brokers, `host:port`, comma-separated; needed if a view reads a topic.
    #[arg(long, env = "FEATUREMILL_KAFKA_BOOTSTRAP")]
    pub kafka_bootstrap: Option<String>,
    /// A folder of librdkafka properties: each file is named by a property and holds its value.
    #[arg(long, env = "FEATUREMILL_KAFKA_CONFIG_DIR")]
    pub kafka_config_dir: Option<PathBuf>,
    /// Where the online store is, such as `redis://redis:6379`, or `rediss://redis:6380` for TLS.
    #[arg(long, env = "FEATUREMILL_REDIS_URL")]
    pub redis_url: String,
    /// A folder with the files `username`, `password` and `ca.crt`, each of them optional.
    #[arg(long, env = "FEATUREMILL_REDIS_CONFIG_DIR")]
    pub redis_config_dir: Option<PathBuf>,
    /// A folder of the object store's settings: each file is named by a key, as `AWS_ACCESS_KEY_ID`, and holds its value.
    #[arg(long, env = "FEATUREMILL_STORE_CONFIG_DIR")]
    pub store_config_dir: Option<PathBuf>,
    /// For how many hours versions of tables can be read after another has replaced them; older files are removed.
    #[arg(long, env = "FEATUREMILL_RETENTION_HOURS", default_value_t = 168)]
    pub retention_hours: u64,
    /// How long to wait for an archive that is behind, in milliseconds.
    #[arg(long, env = "FEATUREMILL_WAIT_MS", default_value_t = 300_000)]
    pub wait_ms: u64,
    /// The memory of work on tables, in MiB; beyond it, it spills.
    #[arg(long, env = "FEATUREMILL_MEMORY_MIB", default_value_t = 512, value_parser = clap::value_parser!(u32).range(64..))]
    pub memory_mib: u32,
    /// Where it spills to; by default the system's temporary folder.
    #[arg(long, env = "FEATUREMILL_SPILL_DIR")]
    pub spill_dir: Option<PathBuf>,
}

/// What a gap means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnGap {
    /// The partition stands still until a person decides.
    Halt,
    /// It goes on behind the gap, which is recorded with the table.
    Continue,
}

/// How an event writes its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Unit {
    /// A number of seconds.
    Seconds,
    /// A number of milliseconds.
    Milliseconds,
    /// A number of microseconds.
    Microseconds,
    /// RFC 3339 text.
    Rfc3339,
}

impl From<Unit> for TimestampUnit {
    fn from(unit: Unit) -> Self {
        match unit {
            Unit::Seconds => Self::Seconds,
            Unit::Milliseconds => Self::Milliseconds,
            Unit::Microseconds => Self::Microseconds,
            Unit::Rfc3339 => Self::Rfc3339,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Args::command().debug_assert();
    }
}

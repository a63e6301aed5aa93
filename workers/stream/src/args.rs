//! The command line of the stream worker.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
pub use shell::group::GroupProtocol;
use shell::telemetry::LogFormat;

/// Computes the tiles of one or more views from one Kafka topic into the online store.
#[derive(Clone, Debug, Parser)]
#[command(name = "featuremill-stream", version)]
pub struct Args {
    /// The plans to run, as the operator mounts them: JSON, all on one topic.
    #[arg(long, env = "FEATUREMILL_ASSIGNMENTS")]
    pub assignments: PathBuf,
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
    /// The threads that partitions are spread over; 0 takes one a core.
    #[arg(long, env = "FEATUREMILL_THREADS", default_value_t = 0)]
    pub threads: usize,
    /// The rebalance protocol.
    #[arg(long, env = "FEATUREMILL_GROUP_PROTOCOL", value_enum, default_value = "consumer")]
    pub group_protocol: GroupProtocol,
    /// The name of this worker among those of its group: the pod's name, which is its host name.
    #[arg(long, env = "HOSTNAME", default_value = "worker")]
    pub worker: String,
    /// How log lines are written.
    #[arg(long, env = "FEATUREMILL_LOG_FORMAT", value_enum, default_value = "json")]
    pub log_format: LogFormat,
}

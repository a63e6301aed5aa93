//! The command line. Every flag has an environment variable `FEATUREMILL_…`, which is how the operator sets it.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use shell::telemetry::LogFormat;

use crate::{compare, drift};

/// Serves features from the online store over HTTP, in Feast's shapes.
#[derive(Debug, Parser)]
#[command(name = "featuremill-serve", version)]
pub struct Cli {
    /// What to do; without a command it serves.
    #[command(subcommand)]
    pub command: Command,
}

/// What the binary does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serves until it is asked to stop.
    Run(Box<Args>),
    /// Compare two revisions of a view by their rows.
    Compare(compare::Args),
    /// See how far the values of the live revision are from a reference.
    Drift(drift::Args),
}

impl Cli {
    /// The command line of this process.
    #[must_use]
    pub fn of_process() -> Self {
        Self::parse_from(with_command(std::env::args_os().collect()))
    }
}

/// A command line that names no command means `run`.
fn with_command(words: Vec<OsString>) -> Vec<OsString> {
    shell::command::with_command(words, "run", &["compare", "drift"])
}

/// How features are served.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// UID of the Architecture whose views are served.
    #[arg(long, env = "FEATUREMILL_ARCHITECTURE_UID")]
    pub architecture_uid: String,

    /// Where the online store is, such as `redis://redis:6379`, or `rediss://redis:6380` for TLS.
    #[arg(long, env = "FEATUREMILL_REDIS_URL")]
    pub redis_url: String,

    /// Folder with the files `username`, `password` and `ca.crt`, each of them optional.
    #[arg(long, env = "FEATUREMILL_REDIS_CONFIG_DIR")]
    pub redis_config_dir: Option<PathBuf>,

    /// Connections to the online store; concurrent requests share them.
    #[arg(long, env = "FEATUREMILL_REDIS_CONNECTIONS", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub redis_connections: u16,

    /// Milliseconds after which a read of the online store is given up.
    #[arg(long, env = "FEATUREMILL_REDIS_TIMEOUT_MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub redis_timeout_ms: u64,

    /// Where POST /get-online-features and GET /health are served.
    #[arg(long, env = "FEATUREMILL_LISTEN", default_value = "0.0.0.0:6566")]
    pub listen: SocketAddr,

    /// Where /livez, /readyz and /metrics are served.
    #[arg(long, env = "FEATUREMILL_ADMIN", default_value = "0.0.0.0:8080")]
    pub admin: SocketAddr,

    /// The most entities of one request.
    #[arg(long, env = "FEATUREMILL_MAX_ENTITIES", default_value_t = 1_000)]
    pub max_entities: usize,

    /// The most values of one request: entities times features.
    #[arg(long, env = "FEATUREMILL_MAX_VALUES", default_value_t = 250_000)]
    pub max_values: usize,

    /// The most bytes of a request's body.
    #[arg(long, env = "FEATUREMILL_MAX_BODY_BYTES", default_value_t = 1 << 20)]
    pub max_body_bytes: usize,

    /// The most requests in flight; more are refused with 429.
    #[arg(long, env = "FEATUREMILL_MAX_IN_FLIGHT", default_value_t = 1_024)]
    pub max_in_flight: usize,

    /// Milliseconds between turning not ready and refusing new connections, so that the cluster stops sending first: a
    /// node that is busy may take seconds to hear of it.
    #[arg(long, env = "FEATUREMILL_DRAIN_DELAY_MS", default_value_t = 10_000)]
    pub drain_delay_ms: u64,

    /// Under which name what shadow reads say is told; another for each server.
    #[arg(long, env = "HOSTNAME", default_value = "server")]
    pub name: String,

    /// How log lines are written.
    #[arg(long, env = "FEATUREMILL_LOG_FORMAT", value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(words: &[&str]) -> Result<Command, clap::Error> {
        let words = ["featuremill-serve"].iter().chain(words).map(OsString::from).collect();
        Cli::try_parse_from(with_command(words)).map(|cli| cli.command)
    }

    #[test]
    fn it_serves_unless_it_is_to_compare() {
        let serves = parse(&["--architecture-uid", "a", "--redis-url", "redis://r"]).unwrap();
        assert!(matches!(serves, Command::Run(args) if args.architecture_uid == "a"));
        let compares = parse(&["compare", "--comparison-file", "c.json", "--redis-url", "redis://r"]).unwrap();
        assert!(matches!(compares, Command::Compare(_)));
        assert_eq!(parse(&["--help"]).unwrap_err().kind(), clap::error::ErrorKind::DisplayHelp);
        assert!(parse(&["--redis-url", "redis://r"]).is_err(), "whose views?");
    }
}

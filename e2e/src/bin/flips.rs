//! Reads features of known values while revisions are flipped, and checks every answer: `e2e::flips`. Made for a pod; a line of
//! JSON a second, and one at the end, which is the container's last word too.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use e2e::flips::{Expected, Report, Settings, run};
use shell::shutdown;

/// Reads under flips.
#[derive(Debug, Parser)]
struct Args {
    /// The feature server, host:port.
    #[arg(long)]
    server: String,
    /// The online store, where the live pointer is.
    #[arg(long)]
    redis_url: String,
    /// What is asked and expected: `e2e::flips::Expected` as JSON.
    #[arg(long)]
    expected: PathBuf,
    /// Connections that are kept.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Requests a second, of one entity each.
    #[arg(long, default_value_t = 2_200.0)]
    rate: f64,
    /// It ends when the pointer has moved so often,
    #[arg(long)]
    moves: usize,
    /// and so many answers were checked;
    #[arg(long)]
    checked: u64,
    /// or at the latest after so many seconds.
    #[arg(long, default_value_t = 3_600)]
    limit_seconds: u64,
    /// Answers within so many milliseconds of a move are counted apart.
    #[arg(long, default_value_t = 500)]
    near_ms: u64,
}

/// Where the container's last word goes.
const LAST_WORD: &str = "/dev/termination-log";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match read(Args::parse()).await {
        Ok(report) => {
            let line = serde_json::to_string(&report).unwrap_or_default();
            println!("{line}");
            // Outside of a pod there is none to write to.
            std::fs::write(LAST_WORD, &line).ok();
            if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("flips: {error}");
            std::fs::write(LAST_WORD, error).ok();
            ExitCode::from(2)
        }
    }
}

async fn read(args: Args) -> Result<Report, String> {
    let text = std::fs::read_to_string(&args.expected).map_err(|e| format!("{}: {e}", args.expected.display()))?;
    let expected: Expected = serde_json::from_str(&text).map_err(|e| format!("{}: {e}", args.expected.display()))?;
    let mut found = tokio::net::lookup_host(&args.server).await.map_err(|e| format!("{}: {e}", args.server))?;
    let settings = Settings {
        address: found.next().ok_or_else(|| format!("{} has no address", args.server))?,
        redis_url: args.redis_url,
        connections: args.connections,
        rate: args.rate,
        moves: args.moves,
        checked: args.checked,
        limit: Duration::from_secs(args.limit_seconds),
        near: Duration::from_millis(args.near_ms),
    };
    let stop = shutdown::on_signal().map_err(|e| e.to_string())?;
    run(&settings, expected, &stop, |report| println!("{}", serde_json::to_string(report).unwrap_or_default())).await
}

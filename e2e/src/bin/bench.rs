//! `make bench`: throughput, latency and memory of the workers, beside yardsticks of the same run.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use e2e::bench::{self, Name, Scale};

/// Measures the workers. Build them in release mode first: `make bench` does.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    /// The figures to take; all if none is named.
    name: Option<Name>,
    #[command(flatten)]
    scale: Scale,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What the benchmark runs of itself.
#[derive(Debug, Subcommand)]
enum Command {
    /// Serves fixed bytes.
    #[command(hide = true)]
    Static {
        /// Where.
        listen: SocketAddr,
        /// The file that holds them.
        body: PathBuf,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Some(Command::Static { listen, body }) => bench::serve_static(listen, &body).await,
        None => bench::run(cli.name, &cli.scale).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

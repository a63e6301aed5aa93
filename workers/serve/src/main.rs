//! The feature server: flags, telemetry, signals, and [`serve::run`].

use std::process::ExitCode;

use clap::Parser as _;
use serve::args::Args;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    if let Err(error) = shell::telemetry::init(args.log_format) {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let shutdown = match shell::shutdown::on_signal() {
        Ok(shutdown) => shutdown,
        Err(error) => {
            tracing::error!(%error, "signals cannot be handled");
            return ExitCode::FAILURE;
        }
    };
    match serve::run::run(args, shutdown).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the feature server ended");
            ExitCode::FAILURE
        }
    }
}

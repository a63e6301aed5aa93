//! The feature server: flags, telemetry, signals, and [`serve::run`].

use std::process::ExitCode;

use clap::Parser as _;
use serve::args::Args;

/// Which build this is; `kind/images` names those that are to be told apart.
const BUILD: Option<&str> = option_env!("FEATUREMILL_BUILD");

/// An answer is many small pieces of memory, decoded, merged and gone a moment later, on several threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    if let Err(error) = shell::telemetry::init(args.log_format) {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    tracing::info!(version = env!("CARGO_PKG_VERSION"), build = BUILD, "featuremill-serve starts");
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
            shell::shutdown::last_words(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

//! The feature server: flags, telemetry, signals, and [`serve::run`]; or one comparison, [`serve::compare`], or one check, [`serve::drift`].

use std::process::ExitCode;

use serve::args::{Cli, Command};
use serve::compare::JobError;
use shell::telemetry::LogFormat;

/// Which build this is; `kind/images` names those that are to be told apart.
const BUILD: Option<&str> = option_env!("FEATUREMILL_BUILD");

/// An answer is many small pieces of memory, decoded, merged and gone a moment later, on several threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let args = match Cli::of_process().command {
        Command::Compare(args) => return ends("comparison", args.log_format, serve::compare::run(&args)).await,
        Command::Drift(args) => return ends("drift check", args.log_format, serve::drift::run(&args)).await,
        Command::Run(args) => *args,
    };
    let _traces = match shell::telemetry::init(args.log_format) {
        Ok(traces) => traces,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
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

/// What ends with a report. It ends at once on a signal: nothing was written before its report is.
async fn ends<T>(name: &str, log_format: LogFormat, work: impl Future<Output = Result<T, JobError>>) -> ExitCode {
    let _traces = match shell::telemetry::init(log_format) {
        Ok(traces) => traces,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let _span = shell::trace::process(name);
    match work.await {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "there is no report");
            shell::shutdown::last_words(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

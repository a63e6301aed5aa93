//! The batch worker: flags, telemetry, signals, and [`batch::run::run`].

use std::process::ExitCode;

use batch::args::{Args, Command};
use clap::Parser as _;

/// Lanes are many small pieces of memory that grow with every event, on several threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let _traces = match shell::telemetry::init(args.log_format) {
        Ok(traces) => traces,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(batch::run::BAD_CONFIGURATION);
        }
    };
    let shutdown = match shell::shutdown::on_signal() {
        Ok(shutdown) => shutdown,
        Err(error) => {
            tracing::error!(%error, "signals cannot be handled");
            return ExitCode::FAILURE;
        }
    };
    let _span = match &args.command {
        Command::Run(_) => Some(shell::trace::process("batch run")),
        Command::Skew(_) => Some(shell::trace::process("skew check")),
        Command::Train(_) => Some(shell::trace::process("training set")),
        Command::Scheduler(_) | Command::Executor(_) => None,
    };
    let code = match args.command {
        Command::Run(args) => batch::run::main(args, shutdown).await,
        Command::Scheduler(args) => batch::cluster::scheduler(args, shutdown).await,
        // It listens for signals itself: what it has been handed is finished first.
        Command::Executor(args) => batch::cluster::executor(args).await,
        Command::Skew(args) => batch::skew::main(args, shutdown).await,
        Command::Train(args) => batch::train::main(args, shutdown).await,
    };
    ExitCode::from(code)
}

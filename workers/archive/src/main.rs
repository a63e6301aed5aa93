//! `featuremill-archive`: a topic's Bronze table: appended to, maintained, restored, replayed; and what is erased from it and all else.

use std::process::ExitCode;
use std::time::Duration;

use archive::args::{Args, Command};
use archive::erase::EraseError;
use clap::Parser as _;
use lake::LakeError;
use stream::replay::ReplayError;

/// Which build this is; `kind/images` names those that are to be told apart.
const BUILD: Option<&str> = option_env!("FEATUREMILL_BUILD");
/// The exit code of what fails again however often it is tried: a wrong setting, another's table.
const REFUSED: u8 = 2;

fn main() -> ExitCode {
    let args = Args::parse();
    let _traces = match shell::telemetry::init(args.log_format) {
        Ok(traces) => traces,
        Err(error) => {
            eprintln!("featuremill-archive: {error}");
            return ExitCode::FAILURE;
        }
    };
    tracing::info!(version = env!("CARGO_PKG_VERSION"), build = BUILD, "featuremill-archive starts");
    lake::install_crypto();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start threads");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(execute(args.command));
    // A question to brokers that are away may still be under way; nobody waits for its answer.
    runtime.shutdown_timeout(Duration::from_millis(100));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "stopped");
            shell::shutdown::last_words(&error.to_string());
            if let Some(error) = error.downcast_ref::<ReplayError>() {
                return ExitCode::from(error.exit_code());
            }
            let refused = error.downcast_ref::<LakeError>().is_some_and(|error| !error.is_transient())
                || error.downcast_ref::<EraseError>().is_some_and(|error| !error.is_transient());
            if refused { ExitCode::from(REFUSED) } else { ExitCode::FAILURE }
        }
    }
}

async fn execute(command: Command) -> Result<(), Box<dyn std::error::Error>> {
    let _span = match &command {
        Command::Run(_) => None,
        Command::Maintain(_) => Some(shell::trace::process("maintenance")),
        Command::Restore(_) => Some(shell::trace::process("restoration")),
        Command::Erase(_) => Some(shell::trace::process("erasure")),
        Command::Replay(_) => Some(shell::trace::process("replay from the archive")),
    };
    match command {
        Command::Run(args) => archive::run(*args, shell::shutdown::on_signal()?).await?,
        Command::Maintain(args) => archive::tasks::maintenance(&args).await?,
        Command::Restore(args) => archive::tasks::restoration(&args).await?,
        Command::Erase(args) => archive::erase::erasure(&args).await?,
        Command::Replay(args) => archive::replay::replay(*args, shell::shutdown::on_signal()?).await?,
    }
    Ok(())
}

//! `featuremill-stream`: from a Kafka topic to tiles in the online store, as events come or once more between two offsets.

use std::process::ExitCode;
use std::time::Duration;

use stream::args::{Args, Command};
use stream::replay::ReplayError;

/// Which build this is; `kind/images` names those that are to be told apart.
const BUILD: Option<&str> = option_env!("FEATUREMILL_BUILD");

/// Lanes are many small pieces of memory that grow and move with every event, on several threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = Args::of_process();
    let _traces = match shell::telemetry::init(args.log_format) {
        Ok(traces) => traces,
        Err(error) => {
            eprintln!("featuremill-stream: {error}");
            return ExitCode::FAILURE;
        }
    };
    tracing::info!(version = env!("CARGO_PKG_VERSION"), build = BUILD, "featuremill-stream starts");
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
            let replay = error.downcast_ref::<ReplayError>();
            replay.map_or(ExitCode::FAILURE, |error| ExitCode::from(error.exit_code()))
        }
    }
}

async fn execute(command: Command) -> Result<(), Box<dyn std::error::Error>> {
    let shutdown = shell::shutdown::on_signal()?;
    let _span = match &command {
        Command::Run(_) => None,
        Command::Replay(_) => Some(shell::trace::process("replay")),
        Command::Skew(_) => Some(shell::trace::process("skew check")),
    };
    match command {
        Command::Run(args) => stream::run(*args, shutdown).await?,
        Command::Replay(args) => stream::replay::run(*args, shutdown).await?,
        // Nothing is written before its report is.
        Command::Skew(args) => match shutdown.run_until_cancelled(stream::skew::run(*args)).await {
            Some(result) => result?,
            None => return Err("it was asked to stop before it had a report".into()),
        },
    }
    Ok(())
}

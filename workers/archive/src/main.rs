//! `featuremill-archive`: a topic's Bronze table: appended to, maintained, restored.

use std::process::ExitCode;
use std::time::Duration;

use archive::args::{Args, Command};
use clap::Parser as _;

fn main() -> ExitCode {
    let args = Args::parse();
    if let Err(error) = shell::telemetry::init(args.log_format) {
        eprintln!("featuremill-archive: {error}");
        return ExitCode::FAILURE;
    }
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
            ExitCode::FAILURE
        }
    }
}

async fn execute(command: Command) -> Result<(), Box<dyn std::error::Error>> {
    match command {
        Command::Run(args) => archive::run(*args, shell::shutdown::on_signal()?).await?,
        Command::Maintain(args) => archive::tasks::maintenance(&args).await?,
        Command::Restore(args) => archive::tasks::restoration(&args).await?,
    }
    Ok(())
}

//! `featuremill-stream`: from a Kafka topic to tiles in the online store.

use std::process::ExitCode;

use clap::Parser as _;
use stream::args::Args;

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let args = Args::parse();
    if let Err(error) = shell::telemetry::init(args.log_format) {
        eprintln!("featuremill-stream: {error}");
        return ExitCode::FAILURE;
    }
    let shutdown = match shell::shutdown::on_signal() {
        Ok(shutdown) => shutdown,
        Err(error) => {
            tracing::error!(%error, "cannot handle signals");
            return ExitCode::FAILURE;
        }
    };
    match stream::run(args, shutdown).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "stopped");
            ExitCode::FAILURE
        }
    }
}

//! `make demo`: a real clickstream through Kafka, features read back, and the same numbers by DuckDB beside them.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    match e2e::demo::run(&e2e::cluster::Cluster::from_env()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("\ndemo: {error}");
            ExitCode::FAILURE
        }
    }
}

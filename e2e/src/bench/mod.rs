//! Figures: what the workers reach, each beside a yardstick taken in the same run.
//!
//! Invariants:
//! - A figure and its yardstick alternate (ABAB…), and the ratio is the median of the pairs' ratios, so that a machine that
//!   slows down for everyone does not change it.
//! - The servers and our own binaries are real processes. No figure is given for a run whose results were wrong.

#![allow(clippy::cast_precision_loss, reason = "counts, nanoseconds and cents here are far below 2^53")]

mod answers;
mod batch;
pub(crate) mod error;
mod figure;
pub(crate) mod load;
mod replay;
mod rows;
mod serve;
mod static_server;
mod stream;
mod topic;
mod usage;
mod view;
mod worker;
pub mod workload;
mod yardstick;
mod zipf;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use error::io;

pub use error::BenchError;
pub use static_server::serve as serve_static;

/// One group of figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Name {
    /// Events per second of the stream worker, against a consumer that drops everything.
    Stream,
    /// Events per second of a replay, a process for each partition, against the same consumer.
    Replay,
    /// Requests per second of the feature server, against a server of fixed bytes.
    Serve,
    /// Bytes of Redis an entity takes.
    RowBytes,
    /// Batch features and training sets from Parquet, against DuckDB and Polars; publication, against redis-benchmark.
    Batch,
}

/// How large the runs are.
#[derive(Clone, Debug, Args)]
pub struct Scale {
    /// Events in the topic.
    #[arg(long, env = "FEATUREMILL_BENCH_EVENTS", default_value_t = 8_000_000)]
    pub events: u64,
    /// Entities that they are drawn from, by a Zipf distribution of exponent 1.05.
    #[arg(long, env = "FEATUREMILL_BENCH_ENTITIES", default_value_t = 1_000_000)]
    pub entities: u64,
    /// Events of the history that a batch reads.
    #[arg(long, env = "FEATUREMILL_BENCH_BATCH_EVENTS", default_value_t = 50_000_000)]
    pub batch_events: u64,
    /// Questions of a training set.
    #[arg(long, env = "FEATUREMILL_BENCH_ASKS", default_value_t = 1_000_000)]
    pub asks: u64,
    /// Pairs of a run and its yardstick.
    #[arg(long, env = "FEATUREMILL_BENCH_PAIRS", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub pairs: u32,
    /// Seconds that each load on a server lasts.
    #[arg(long, env = "FEATUREMILL_BENCH_SECONDS", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: u64,
    /// The stream worker's `--memory-mib`; the processes of a replay share it.
    #[arg(long, env = "FEATUREMILL_BENCH_MEMORY_MIB", default_value_t = 6_144)]
    pub memory_mib: u32,
}

/// Takes the figures of `name`, or all; prints them and writes `target/bench/results.json`.
///
/// # Errors
/// [`BenchError`]: what failed, or which results were wrong.
pub async fn run(name: Option<Name>, scale: &Scale) -> Result<(), BenchError> {
    println!("\n{}\n", usage::machine());
    let asked = |one: Name| name.is_none_or(|name| name == one);
    let mut figures = Vec::new();
    if asked(Name::Stream) || asked(Name::RowBytes) {
        let pairs = if asked(Name::Stream) { scale.pairs } else { 0 };
        figures.extend(stream::figures(scale, pairs, asked(Name::RowBytes)).await?);
    }
    if asked(Name::Replay) {
        figures.extend(replay::figures(scale).await?);
    }
    if asked(Name::Serve) {
        figures.extend(serve::figures(scale).await?);
    }
    if asked(Name::Batch) {
        figures.extend(batch::figures(scale).await?);
    }
    println!("\n{}", figure::table(&figures));
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/bench/results.json");
    figure::write(&figures, &path)?;
    println!("written to target/bench/results.json");
    Ok(())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BenchError> + Send + 'static,
) -> Result<T, BenchError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(io("run a thread")(std::io::Error::other(error))),
    }
}

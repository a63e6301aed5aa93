//! The comparison as a Job runs it: its file, the online store, and where its report goes.
//!
//! It ends well with any verdict: the report in the store says which. An error says nothing of the candidate, and the Job
//! tries again.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use engine::compare::{Comparison, Report, Verdict};
use engine::plan::Plan;
use engine::row::comparison_key;
use shell::redis::{Connector, RedisError};
use shell::store::{RedisStore as RowsInRedis, RowStore as _, StoreError as RowStoreError};
use shell::telemetry::LogFormat;
use thiserror::Error;
use tokio::time::{Instant, sleep};

use super::{CompareError, compare};
use crate::pointers::Pointers;
use crate::redis_store::RedisStore;
use crate::store::{Store, StoreError};

/// How long one read of the store may take.
pub const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Compares the live revision of a view with the one that is to take its place.
#[derive(Clone, Debug, Parser)]
pub struct Args {
    /// The file that says what is compared.
    #[arg(long, env = "FEATUREMILL_COMPARISON_FILE")]
    pub comparison_file: PathBuf,

    /// Where the online store is, such as `redis://redis:6379`, or `rediss://redis:6380` for TLS.
    #[arg(long, env = "FEATUREMILL_REDIS_URL")]
    pub redis_url: String,

    /// Folder with the files `username`, `password` and `ca.crt`, each of them optional.
    #[arg(long, env = "FEATUREMILL_REDIS_CONFIG_DIR")]
    pub redis_config_dir: Option<PathBuf>,

    /// Seconds that a revision may take to have read its source up to a moment.
    #[arg(long, env = "FEATUREMILL_PATIENCE_SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..))]
    pub patience_seconds: u64,

    /// How log lines are written.
    #[arg(long, env = "FEATUREMILL_LOG_FORMAT", value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,
}

/// Why there is no report.
#[derive(Debug, Error)]
pub enum JobError {
    /// The file could not be read.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file holds something else.
    #[error("{path} does not say what is to be looked at: {source}; run the image of the operator that wrote it", path = path.display())]
    Format {
        /// Which.
        path: PathBuf,
        /// What does not read.
        source: serde_json::Error,
    },
    /// The online store's settings are wrong.
    #[error(transparent)]
    Redis(#[from] RedisError),
    /// The report could not be written.
    #[error(transparent)]
    Report(#[from] RowStoreError),
    /// There was none.
    #[error(transparent)]
    Compare(#[from] CompareError),
}

/// Compares, and leaves the report in the online store.
///
/// # Errors
/// [`JobError`].
pub async fn run(args: &Args) -> Result<Report, JobError> {
    let path = args.comparison_file.clone();
    let text = std::fs::read_to_string(&path).map_err(|source| JobError::File { path: path.clone(), source })?;
    let comparison: Comparison = serde_json::from_str(&text).map_err(|source| JobError::Format { path, source })?;
    let patience = Duration::from_secs(args.patience_seconds);
    let config = args.redis_config_dir.as_deref();
    let rows = RowsInRedis::connect(&Connector::new(&args.redis_url, config)?).await?;
    let store = RedisStore::new(&args.redis_url, config, 2, READ_TIMEOUT)?;
    let Plan { view, revision, .. } = &comparison.former;
    connected(&store, &view.uid, revision, patience).await?;
    let report = compare(&store, &rows, &comparison, patience).await?;
    let uid = &comparison.candidate.view.uid;
    rows.put_comparison(&comparison_key(uid, &comparison.candidate.revision), &report).await?;
    tell(&report);
    Ok(report)
}

/// Waits for the first answer, since connections are made in the background.
///
/// # Errors
/// [`CompareError::Read`] if none came in time.
pub async fn connected(store: &RedisStore, uid: &str, revision: &str, patience: Duration) -> Result<(), CompareError> {
    let guess = Pointers::guess(uid, revision);
    let begun = Instant::now();
    loop {
        match store.read(guess.query(&[])).await {
            Ok(_) => return Ok(()),
            Err(StoreError::Away(_)) if begun.elapsed() < patience => sleep(Duration::from_millis(50)).await,
            Err(error) => return Err(error.into()),
        }
    }
}

/// A line a feature, and the verdict.
fn tell(report: &Report) {
    for f in &report.features {
        let (name, kind, compared, mismatches, unreadable) = (&f.name, f.kind, f.compared, f.mismatches, f.unreadable);
        tracing::info!(name, ?kind, compared, mismatches, unreadable, psi = ?f.psi, ks = ?f.ks, "feature");
    }
    let (former, candidate) = (&report.former, &report.candidate);
    match &report.verdict {
        Verdict::Passed => tracing::info!(former, candidate, entities = report.entities, "passed"),
        Verdict::Failed { reasons } => {
            tracing::warn!(former, candidate, entities = report.entities, ?reasons, "failed");
        }
        Verdict::Inconclusive { reason } => tracing::warn!(former, candidate, reason, "inconclusive"),
    }
}

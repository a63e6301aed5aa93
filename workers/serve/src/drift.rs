//! How far the values that are served are from a reference, as a Job looks: a bounded sample of rows, read as of one time that
//! they are complete to.
//!
//! ```text
//! sample ─▶ rows as of one time ─▶ engine::monitor::Collector ─▶ report, and the reference of the next check, in the store
//! ```
//!
//! Invariants: nothing that is served changes; a check that is killed leaves what the one before left. Of the sampled entities
//! nothing is held but keys, of their rows one round trip's, of their values what a distribution needs.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use engine::monitor::{Collector, DriftCheck, Profile, Report};
use engine::row::{drift_key, drift_reference_key};
use shell::clock;
use shell::redis::Connector;
use shell::store::{RedisStore as RowsInRedis, RowStore};
use shell::telemetry::LogFormat;

use crate::compare::{JobError, READ_TIMEOUT, Side, chunk, connected, smallest};
use crate::redis_store::RedisStore;
use crate::store::Store;

/// Sees how far the values of a view's live revision are from a reference.
#[derive(Clone, Debug, Parser)]
pub struct Args {
    /// The file that says what is looked at.
    #[arg(long, env = "FEATUREMILL_DRIFT_FILE")]
    pub drift_file: PathBuf,

    /// Where the online store is, such as `redis://redis:6379`, or `rediss://redis:6380` for TLS.
    #[arg(long, env = "FEATUREMILL_REDIS_URL")]
    pub redis_url: String,

    /// Folder with the files `username`, `password` and `ca.crt`, each of them optional.
    #[arg(long, env = "FEATUREMILL_REDIS_CONFIG_DIR")]
    pub redis_config_dir: Option<PathBuf>,

    /// Seconds that it may take until it is known up to which time the revision is complete.
    #[arg(long, env = "FEATUREMILL_PATIENCE_SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..))]
    pub patience_seconds: u64,

    /// How log lines are written.
    #[arg(long, env = "FEATUREMILL_LOG_FORMAT", value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,
}

/// Looks, and leaves the report in the online store.
///
/// # Errors
/// [`JobError`].
pub async fn run(args: &Args) -> Result<Report, JobError> {
    let path = args.drift_file.clone();
    let text = std::fs::read_to_string(&path).map_err(|source| JobError::File { path: path.clone(), source })?;
    let asked: DriftCheck = serde_json::from_str(&text).map_err(|source| JobError::Format { path, source })?;
    let patience = Duration::from_secs(args.patience_seconds);
    let config = args.redis_config_dir.as_deref();
    let rows = RowsInRedis::connect(&Connector::new(&args.redis_url, config)?).await?;
    let store = RedisStore::new(&args.redis_url, config, 2, READ_TIMEOUT)?;
    connected(&store, &asked.plan.view.uid, &asked.plan.revision, patience).await?;
    let report = check(&store, &rows, &asked, patience).await?;
    for f in &report.features {
        let (name, read, nulls) = (&f.name, f.read, f.null_share);
        tracing::info!(name, read, nulls, psi = ?f.psi, ks = ?f.ks, outliers = ?f.outlier_share, "feature");
    }
    Ok(report)
}

/// Looks at the sampled entities, writes what was seen, and keeps it if it is to be the reference of the next check.
/// `patience` is how long it may take until the revision is known to be complete to any time.
///
/// # Errors
/// [`JobError`].
pub async fn check<R: RowStore>(
    store: &dyn Store,
    rows: &R,
    asked: &DriftCheck,
    patience: Duration,
) -> Result<Report, JobError> {
    let DriftCheck { plan, sample_entities, reference } = asked;
    let (uid, revision) = (&plan.view.uid, &plan.revision);
    let side = Side::new(plan)?;
    let complete = side.complete(store, i64::MIN, patience).await?;
    let as_of = engine::time::floor(complete, side.finest_tile());
    let entities = smallest(store, rows, &[&side], Collector::most(plan, *sample_entities)).await?;
    tracing::info!(as_of, entities = entities.len(), "looking");
    let mut collector = Collector::new(plan);
    for names in entities.chunks(chunk(&[plan])) {
        for readings in side.read(store, names, as_of).await? {
            collector.observe(&readings);
        }
    }
    let kept = drift_reference_key(uid, revision);
    let stands = rows.text(&kept).await?.and_then(|text| Profile::decode(&text));
    let (report, now) = collector.finish(as_of, clock::now_ms(), reference, stands.as_ref());
    rows.put_text(&drift_key(uid, revision), &report.encode()).await?;
    // Only now: a check that is cut off before is made again against the same.
    if let Some(profile) = reference.keep(stands.as_ref(), now) {
        rows.put_text(&kept, &profile.encode()).await?;
    }
    Ok(report)
}

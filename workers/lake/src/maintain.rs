//! What a table needs from time to time: compaction, removal of files that no kept version needs, a checkpoint of the log;
//! and, on demand, its restoration to an earlier version.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use datafusion::prelude::SessionContext;
use deltalake::DeltaTable;
use deltalake::kernel::Transaction;
use deltalake::kernel::transaction::CommitProperties;
use deltalake::operations::vacuum::VacuumMode;
use deltalake::protocol::checkpoints;
use serde_json::Value;

use crate::commit::{last_txn, latest_info};
use crate::error::LakeError;
use crate::storage::Storage;
use crate::{bronze, table};

/// How old a file may become before a commit names it: a batch run writes its first files hours before it commits them.
const UNNAMED: Duration = Duration::from_hours(24);
/// A retention that Delta can still subtract from the clock: a century.
const FOREVER: chrono::TimeDelta = chrono::TimeDelta::days(36_500);

/// What maintenance keeps and makes.
#[derive(Clone, Copy, Debug)]
pub struct Maintenance {
    /// For how long files that the newest version does not need are kept: how far back time travel reaches.
    pub retention: Duration,
    /// The size that small files are merged up to, in bytes.
    pub target_bytes: NonZeroU64,
}

/// What maintenance did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    /// Files that were merged.
    pub merged: u64,
    /// Files that they became.
    pub into: u64,
    /// Files that were removed for good.
    pub vacuumed: usize,
    /// The version afterwards.
    pub version: u64,
}

/// Merges small files, removes what no kept version needs (with a retention of a day or more also what crashed writers
/// left), and writes a checkpoint.
/// Each step is a whole of its own: a crash between two leaves nothing to repair.
///
/// # Errors
/// What the store says, or [`LakeError::Delta`] when writers were faster again and again.
pub async fn maintain(
    uri: &str,
    storage: &Storage,
    session: &SessionContext,
    maintenance: Maintenance,
) -> Result<Maintained, LakeError> {
    let table = table::open(uri, storage, None).await?;
    let (table, metrics) = table
        .optimize()
        .with_target_size(maintenance.target_bytes)
        .with_session_state(Arc::new(session.state()))
        // One file at a time: this runs beside a worker, and within its session's memory.
        .with_max_concurrent_tasks(1)
        .await
        .map_err(LakeError::delta(uri, "compacting it"))?;
    let (table, vacuumed) = vacuum_table(table, uri, maintenance.retention).await?;
    checkpoints::create_checkpoint(&table, None).await.map_err(LakeError::delta(uri, "writing a checkpoint"))?;
    checkpoints::cleanup_metadata(&table, None).await.map_err(LakeError::delta(uri, "cleaning its log"))?;
    Ok(Maintained {
        merged: metrics.num_files_removed,
        into: metrics.num_files_added,
        vacuumed,
        version: table.version().unwrap_or_default(),
    })
}

/// Removes the files that no version within `retention` needs; how many there were.
///
/// # Errors
/// [`LakeError::Missing`], or what the store says.
pub async fn vacuum(uri: &str, storage: &Storage, retention: Duration) -> Result<usize, LakeError> {
    Ok(vacuum_table(table::open(uri, storage, None).await?, uri, retention).await?.1)
}

async fn vacuum_table(table: DeltaTable, uri: &str, retention: Duration) -> Result<(DeltaTable, usize), LakeError> {
    // Full, because a worker that was killed leaves files that no commit names; but one that lives may be about to name those
    // that are young.
    let mode = if retention >= UNNAMED { VacuumMode::Full } else { VacuumMode::Lite };
    let retention = chrono::TimeDelta::from_std(retention).unwrap_or(FOREVER).min(FOREVER);
    let vacuum = table.vacuum().with_retention_period(retention).with_enforce_retention_duration(false).with_mode(mode);
    let (table, vacuumed) = vacuum.await.map_err(LakeError::delta(uri, "removing files that no version needs"))?;
    Ok((table, vacuumed.files_deleted.len()))
}

/// Makes a new version that reads as `version` did; the new version's number.
///
/// The transactions of `app_ids`, the worker's positions in its source, go back with the rows: what was read after
/// `version` is read again. A Bronze table's state goes back too, so that its completeness stays true.
///
/// # Errors
/// [`LakeError::Version`] if that version cannot be read any more, or what the store says.
pub async fn restore(uri: &str, storage: &Storage, version: u64, app_ids: &[String]) -> Result<u64, LakeError> {
    let then = table::open(uri, storage, Some(version)).await?;
    let mut transactions = Vec::with_capacity(app_ids.len());
    for app_id in app_ids {
        // A negative number is none.
        let at = last_txn(&then, uri, app_id).await?.unwrap_or(-1);
        transactions.push(Transaction::new(app_id, at));
    }
    let mut metadata = vec![("featuremill.restored".to_owned(), Value::from(version))];
    if let Some((_, state)) = latest_info(&then, uri, &[bronze::STATE]).await? {
        metadata.push((bronze::STATE.to_owned(), state));
    } else if let Some(empty) = empty_state(&table::open(uri, storage, None).await?, uri).await? {
        metadata.push((bronze::STATE.to_owned(), empty));
    }
    let properties = CommitProperties::default().with_metadata(metadata).with_application_transactions(transactions);
    let now: DeltaTable = table::open(uri, storage, None).await?;
    let (restored, _) = now
        .restore()
        .with_version_to_restore(version)
        .with_commit_properties(properties)
        .await
        .map_err(LakeError::delta(uri, "restoring it"))?;
    Ok(restored.version().unwrap_or_default())
}

/// A Bronze that is restored to before its first record must not show the state that came later.
async fn empty_state(now: &DeltaTable, uri: &str) -> Result<Option<Value>, LakeError> {
    let is_bronze = bronze::state(now, uri).await?.is_some();
    Ok(is_bronze.then(|| serde_json::to_value(bronze::State::default()).unwrap_or(Value::Null)))
}

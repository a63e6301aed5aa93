//! What runs once and ends: maintenance of the table, and its restoration to an earlier version.

use std::num::NonZeroU64;
use std::time::Duration;

use lake::maintain::{Maintenance, maintain, restore};
use lake::session::{SessionOptions, session};
use lake::table::{UID, properties};
use lake::{LakeError, Storage, bronze};

use crate::args::{MaintainArgs, RestoreArgs, TableArgs};

/// The bytes of a MiB.
const MIB: u64 = 1 << 20;

/// Compacts, vacuums, writes a checkpoint.
///
/// # Errors
/// [`LakeError`]; each step is a whole of its own, and running it again is safe.
pub async fn maintenance(args: &MaintainArgs) -> Result<(), LakeError> {
    let storage = opened(&args.table).await?;
    let options = SessionOptions {
        memory_bytes: usize::try_from(u64::from(args.memory_mib) << 20).unwrap_or(usize::MAX),
        spill_dir: args.spill_dir.clone(),
        ..SessionOptions::default()
    };
    let maintenance = Maintenance {
        retention: Duration::from_secs(args.retention_hours.saturating_mul(3_600)),
        target_bytes: NonZeroU64::new(args.target_mib.get().saturating_mul(MIB)).unwrap_or(args.target_mib),
    };
    let done = maintain(&args.table.table, &storage, &session(&options)?, maintenance).await?;
    tracing::info!(
        merged = done.merged,
        into = done.into,
        vacuumed = done.vacuumed,
        version = done.version,
        "maintained"
    );
    Ok(())
}

/// Makes a new version that reads as an earlier one. A running worker notices, and reads again what came after it.
///
/// # Errors
/// [`LakeError`]; then nothing was changed.
pub async fn restoration(args: &RestoreArgs) -> Result<(), LakeError> {
    let TableArgs { table: uri, uid, .. } = &args.table;
    let storage = opened(&args.table).await?;
    let table = lake::open(uri, &storage, None).await?;
    let known = bronze::state(&table, uri).await?.unwrap_or_default();
    let app_ids: Vec<String> = known.progress.keys().map(|partition| bronze::app_id(uid, *partition)).collect();
    let version = restore(uri, &storage, args.to_version, &app_ids).await?;
    tracing::info!(version, reads_as = args.to_version, "restored");
    Ok(())
}

/// The store of a table that is this owner's.
async fn opened(args: &TableArgs) -> Result<Storage, LakeError> {
    let storage = Storage::from_dir(args.store_config_dir.as_deref())?;
    let table = lake::open(&args.table, &storage, None).await?;
    let found = properties(&table, &args.table)?.remove(UID);
    if found.as_ref() == Some(&args.uid) {
        return Ok(storage);
    }
    let found = found.unwrap_or_else(|| "nobody we know".to_owned());
    Err(LakeError::Foreign { uri: args.table.clone(), found, expected: args.uid.clone() })
}

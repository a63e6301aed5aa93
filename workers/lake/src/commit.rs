//! Committing, exactly once.
//!
//! A commit names its transactions: an application's id, the number that must stand there before, and the one that stands
//! there after. Delta keeps the numbers with the table, so that what was done and how far are one.
//!
//! Invariants:
//! - A commit is written only as the direct successor of a version whose transactions are known to be the expected ones.
//!   If another writer comes first, its commits are read: one of our transactions in them means [`LakeError::Superseded`],
//!   and nothing was written; otherwise the commit is tried again behind them. The data files are written once.
//! - A commit whose answer is lost is recognised by the number it carries, and is not made twice.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties, TableReference, TransactionError};
use deltalake::kernel::{Action, Add, Transaction};
use deltalake::logstore::{LogStoreRef, get_actions};
use deltalake::protocol::{DeltaOperation, SaveMode};
use deltalake::{DeltaResult, DeltaTable, DeltaTableError};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Map, Value};

use crate::error::LakeError;
use crate::files::Writer;
use crate::table;

/// The commit's own number in its commit info.
const NUMBER: &str = "featuremill.commit";
/// How often other writers may come first.
const ATTEMPTS: u32 = 40;
/// How many commits back [`latest_info`] looks.
pub const HISTORY: u64 = 1_000;

/// A step of one application: its number rises from `after` to `version` with the commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Txn {
    /// The application's id.
    pub app_id: String,
    /// What must stand there before; `None`: nothing.
    pub after: Option<i64>,
    /// What stands there afterwards; a negative number is none.
    pub version: i64,
}

/// What a commit says of itself, besides what Delta says: its commit info.
pub trait Info: Sync {
    /// The info of a commit that follows the version that `table` is loaded at.
    ///
    /// # Errors
    /// What the store says.
    fn info(&self, table: &DeltaTable) -> impl Future<Output = Result<Map<String, Value>, LakeError>> + Send;
}

impl Info for Map<String, Value> {
    async fn info(&self, _table: &DeltaTable) -> Result<Map<String, Value>, LakeError> {
        Ok(self.clone())
    }
}

/// The last number of an application; `None` if it never committed, or was rewound to before it did.
///
/// # Errors
/// What the store says.
pub async fn last_txn(table: &DeltaTable, uri: &str, app_id: &str) -> Result<Option<i64>, LakeError> {
    let failed = LakeError::delta(uri, "reading its transactions");
    let state = table.snapshot().map_err(&failed)?;
    let log = table.log_store();
    let found = state.transaction_version(log.as_ref(), app_id).await.map_err(&failed)?;
    Ok(found.filter(|version| *version >= 0))
}

/// Appends batches in one commit. With a transaction it is made at most once: if the number that stands there is the
/// wanted one or a higher one, nothing is written and the answer is `false`.
///
/// # Errors
/// [`LakeError`]; the table is then as it was, or holds the whole.
pub async fn append(
    table: &mut DeltaTable,
    uri: &str,
    batches: &[RecordBatch],
    txn: Option<(&str, i64)>,
    metadata: Map<String, Value>,
) -> Result<bool, LakeError> {
    let mut txns = Vec::new();
    if let Some((app_id, version)) = txn {
        let after = last_txn(table, uri, app_id).await?;
        if after.is_some_and(|after| after >= version) {
            return Ok(false);
        }
        txns.push(Txn { app_id: app_id.to_owned(), after, version });
    }
    let mut writer = Writer::new(table, uri)?;
    for batch in batches {
        if let Err(error) = writer.write(batch).await {
            writer.abort().await;
            return Err(error);
        }
    }
    let adds = writer.finish().await?;
    commit(table, uri, adds, &txns, &metadata).await?;
    Ok(true)
}

/// Commits files and transactions whose `after` is known to hold in the version that `table` is loaded at. `info` is asked
/// anew, with the table as it then is, for every attempt. On success `table` is at the version that it returns.
///
/// # Errors
/// [`LakeError::Superseded`], [`LakeError::Schema`] if the table's columns changed meanwhile, [`LakeError::Contended`], or
/// what the store says: then it is not known whether the commit was made, and the transactions tell.
pub async fn commit(
    table: &mut DeltaTable,
    uri: &str,
    adds: Vec<Add>,
    txns: &[Txn],
    info: &impl Info,
) -> Result<u64, LakeError> {
    let number = number();
    let columns = table::schema(table, uri)?;
    for attempt in 0..ATTEMPTS {
        let mut metadata = info.info(table).await?;
        metadata.insert(NUMBER.to_owned(), Value::String(number.clone()));
        let before = table.version().unwrap_or_default();
        let Err(error) = attempt_once(table, uri, &adds, txns, metadata).await else {
            return Ok(table.version().unwrap_or_default());
        };
        // Whatever it was: overtaken, an answer lost on its way, or a checkpoint that failed behind a good commit.
        table.update_state().await.map_err(LakeError::delta(uri, "looking for what became of a commit"))?;
        let now = table.version().unwrap_or_default();
        // A store may refuse the second of two writers before it shows what the first one wrote.
        if now == before && !is_overtaken(&error) {
            return Err(error);
        }
        if inspect(table, uri, before, now, &number, txns).await? {
            return Ok(now);
        }
        if table::schema(table, uri)? != columns {
            let detail = "the table's columns changed while files were written; write them anew".to_owned();
            return Err(LakeError::Schema { uri: uri.to_owned(), column: "-".to_owned(), detail });
        }
        tracing::debug!(uri, attempt, now, "another writer came first");
        // The crowd is a few workers and a compaction: a short, uneven pause parts them.
        let pause = u64::from(attempt.min(10)) * 10 + scatter() % 20;
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    Err(LakeError::Contended { uri: uri.to_owned(), attempts: ATTEMPTS })
}

async fn attempt_once(
    table: &mut DeltaTable,
    uri: &str,
    adds: &[Add],
    txns: &[Txn],
    metadata: Map<String, Value>,
) -> Result<(), LakeError> {
    let failed = LakeError::delta(uri, "committing");
    let state = table.snapshot().map_err(&failed)?.clone();
    let partitions = state.metadata().partition_columns().to_vec();
    let operation = DeltaOperation::Write {
        mode: SaveMode::Append,
        partition_by: (!partitions.is_empty()).then_some(partitions),
        predicate: None,
    };
    let transactions = txns.iter().map(|txn| Transaction::new(&txn.app_id, txn.version)).collect();
    // No retries of Delta's own: they would commit behind versions that nobody has looked at.
    let properties = CommitProperties::default()
        .with_metadata(metadata)
        .with_application_transactions(transactions)
        .with_max_retries(0);
    let actions = adds.iter().cloned().map(Action::Add).collect();
    let builder = CommitBuilder::from(properties).with_actions(actions);
    let done =
        builder.build(Some(&state as &dyn TableReference), table.log_store(), operation).await.map_err(&failed)?;
    table.state = Some(done.snapshot());
    Ok(())
}

/// Whether another writer's commit stands where ours was to be.
fn is_overtaken(error: &LakeError) -> bool {
    let LakeError::Delta { source, .. } = error else { return false };
    let DeltaTableError::Transaction { source } = source.as_ref() else { return false };
    matches!(source, TransactionError::MaxCommitAttempts(_) | TransactionError::VersionAlreadyExists(_))
}

/// Reads the commits in `(before, now]`: whether ours is among them. One of our transactions in another's is an error.
async fn inspect(
    table: &DeltaTable,
    uri: &str,
    before: u64,
    now: u64,
    number: &str,
    txns: &[Txn],
) -> Result<bool, LakeError> {
    let failed = LakeError::delta(uri, "reading other writers' commits");
    let mut overtaken = None;
    for version in before + 1..=now {
        for action in entry(&table.log_store(), version).await.map_err(&failed)?.into_iter().flatten() {
            match action {
                Action::CommitInfo(info) if info.info.get(NUMBER).and_then(Value::as_str) == Some(number) => {
                    return Ok(true);
                }
                Action::Txn(found) => {
                    overtaken = txns
                        .iter()
                        .find(|txn| txn.app_id == found.app_id)
                        .map(|txn| (txn.clone(), found.version))
                        .or(overtaken);
                }
                _ => {}
            }
        }
    }
    match overtaken {
        None => Ok(false),
        Some((txn, found)) => Err(LakeError::Superseded {
            uri: uri.to_owned(),
            app_id: txn.app_id,
            expected: txn.after,
            found: Some(found),
        }),
    }
}

/// Of the newest commit, at or below the version that the table is loaded at, whose commit info has one of `keys`: that
/// key and its value. `None` if none has, of the last [`HISTORY`] whose log entries are kept.
///
/// A table that was restored says again what it said at the version that it was restored to, unless the restoration says
/// something itself: what was said in between is of rows that it does not hold any more.
///
/// # Errors
/// What the store says.
pub async fn latest_info<'a>(
    table: &DeltaTable,
    uri: &str,
    keys: &[&'a str],
) -> Result<Option<(&'a str, Value)>, LakeError> {
    let failed = LakeError::delta(uri, "reading its history");
    let log = table.log_store();
    let mut newest = table.snapshot().map_err(&failed)?.version();
    loop {
        match said_before(&log, newest, keys).await.map_err(&failed)? {
            Said::This(key, value) => return Ok(Some((key, value))),
            Said::Nothing => return Ok(None),
            // An older version each time, so that it ends.
            Said::AsAt(version) => newest = version,
        }
    }
}

/// What the commits up to a version say.
enum Said<'a> {
    Nothing,
    This(&'a str, Value),
    /// What those up to this older version do, to which the table was restored.
    AsAt(u64),
}

async fn said_before<'a>(log: &LogStoreRef, newest: u64, keys: &[&'a str]) -> DeltaResult<Said<'a>> {
    // Of our own tables it is nearly always the newest commit.
    if let Some(said) = entry(log, newest).await?.and_then(|actions| said(newest, actions, keys)) {
        return Ok(said);
    }
    // Some at a time: a store answers in milliseconds, and a table that says nothing is asked for them all.
    let before = (newest.saturating_sub(HISTORY)..newest).rev();
    let entries = stream::iter(before).map(|version| {
        let log = log.clone();
        async move { Ok::<_, DeltaTableError>((version, entry(&log, version).await?)) }
    });
    let mut entries = entries.buffered(16);
    while let Some((version, actions)) = entries.try_next().await? {
        // The log is cleaned from its beginning: below a missing entry there is none.
        let Some(actions) = actions else { break };
        if let Some(said) = said(version, actions, keys) {
            return Ok(said);
        }
    }
    Ok(Said::Nothing)
}

/// The actions of a version; `None` if its log entry is not there, or not any more.
async fn entry(log: &LogStoreRef, version: u64) -> DeltaResult<Option<Vec<Action>>> {
    let bytes = log.read_commit_entry(version).await?;
    bytes.map(|bytes| get_actions(version, &bytes)).transpose()
}

/// What one commit says: the first of `keys` that its info has, or that it restored the table.
fn said<'a>(of: u64, actions: Vec<Action>, keys: &[&'a str]) -> Option<Said<'a>> {
    actions.into_iter().find_map(|action| {
        let Action::CommitInfo(mut info) = action else { return None };
        if let Some((key, value)) = keys.iter().find_map(|key| Some((*key, info.info.remove(*key)?))) {
            return Some(Said::This(key, value));
        }
        if info.operation.as_deref() != Some("RESTORE") {
            return None;
        }
        // Parameters are text, or numbers. Of one that was restored to a time, nothing is known.
        let parameters = info.operation_parameters.unwrap_or_default();
        let version = match parameters.get("version") {
            Some(Value::Number(number)) => number.as_u64(),
            Some(Value::String(text)) => text.parse().ok(),
            _ => None,
        };
        Some(version.filter(|version| *version < of).map_or(Said::Nothing, Said::AsAt))
    })
}

/// A number that no other commit has: the process's random keys over a counter.
fn number() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let random = RandomState::new();
    format!(
        "{:016x}{:016x}",
        random.hash_one((next, std::process::id())),
        random.hash_one(std::time::SystemTime::now())
    )
}

fn scatter() -> u64 {
    RandomState::new().hash_one(0_u8)
}

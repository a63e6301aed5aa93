//! Erasure: an entity's events leave the lake, and stay away.
//!
//! A tombstone is written first: entity, per partition the offset before which its events are erased, and when that was. From
//! then on every reader leaves them out, whatever else has happened, at any version. Then runs that may still hold them are
//! [fenced](fence), and the rows are deleted, Bronze last, because it is what tells a repeated erasure which rows they were; a
//! crash anywhere is followed by doing it again. Files of older versions go with the next vacuum whose retention has passed.

mod begins;
mod fence;
mod find;
mod tables;
mod tombstones;

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, cast, lit};
use datafusion::prelude::{SessionContext, ident};
use deltalake::{DeltaTable, DeltaTableError};
use engine::erase::Covers;
use engine::plan::Plan;
use engine::value::ValueType;
use engine::{entity, row};
use serde_json::Value;

pub use begins::{Firsts, begins};
pub use tables::{Tables, tables};
pub use tombstones::{mark, tombstones, uri};

use crate::error::LakeError;
use crate::silver::{OFFSET, PARTITION, RECORD_TIME, quarantine};
use crate::storage::Storage;
use crate::{bronze, table};

/// How many offsets one deletion names.
const OFFSETS: usize = 1_000;
/// How often another writer may come first.
const ATTEMPTS: u32 = 10;

/// Who is erased, from where.
#[derive(Clone, Debug)]
pub struct Erasure {
    /// The view's plan: its keys, and how its events read.
    pub plan: Arc<Plan>,
    /// The key values, in the order of the plan's entity, as a request gives them.
    pub entity: Vec<Value>,
    /// The lake that the view's tables stand in; the tombstones stand there too.
    pub lake: String,
    /// The topic's Bronze, if there is one.
    pub bronze: Option<String>,
    /// The view's Silver, if there is one; its quarantine stands beside it. [Others](tables) are found.
    pub silver: Option<String>,
    /// The view's Gold, if there is one. [Others](tables) are found.
    pub gold: Option<String>,
    /// What is erased: the topic's ends, and the time, when the erasure was asked for.
    pub covers: Covers,
}

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// Records of Bronze.
    pub bronze: usize,
    /// Rows of Silver.
    pub silver: usize,
    /// Rows of the quarantine.
    pub quarantine: usize,
    /// Rows of Gold.
    pub gold: usize,
}

impl Erasure {
    /// The entity's text, as in the online store's keys.
    ///
    /// # Errors
    /// [`LakeError::Definition`] naming the key that does not fit.
    pub fn text(&self) -> Result<String, LakeError> {
        let texts: Vec<String> = self.keys()?.into_iter().map(|(_, _, text)| text).collect();
        Ok(row::entity_text(texts.iter().map(String::as_str)))
    }

    /// The key columns, their types, and this entity's texts of them.
    fn keys(&self) -> Result<Vec<(String, ValueType, String)>, LakeError> {
        let keys = find::keys(&self.plan)?;
        if keys.len() != self.entity.len() {
            let detail = format!("{} values for the keys {:?}", self.entity.len(), self.plan.entity);
            return Err(LakeError::Definition { what: "entity".to_owned(), detail });
        }
        let texts = keys.into_iter().zip(&self.entity).map(|((name, value_type), value)| {
            match entity::json_key(&value_type, value) {
                Ok(text) => Ok((name, value_type, text)),
                Err(error) => {
                    Err(LakeError::Definition { what: format!("entity key {name}"), detail: error.to_string() })
                }
            }
        });
        texts.collect()
    }

    /// The rows whose key columns are this entity's.
    fn is_entity(&self) -> Result<Expr, LakeError> {
        let equal =
            self.keys()?.into_iter().map(|(name, value_type, text)| ident(name).eq(literal(&value_type, &text)));
        Ok(equal.reduce(Expr::and).unwrap_or_else(|| lit(false)))
    }

    /// The rows that stood before the offsets that are covered, by the columns of their coordinates.
    fn covered(&self, partition: &str, offset: &str) -> Expr {
        let before = |(number, end): (&i32, &i64)| ident(partition).eq(lit(*number)).and(ident(offset).lt(lit(*end)));
        self.covers.offsets.iter().map(before).reduce(Expr::or).unwrap_or_else(|| lit(false))
    }
}

/// Erases. Done twice, it finds nothing the second time.
///
/// # Errors
/// [`LakeError`]; the tombstone may stand already, and the erasure is to be repeated until it succeeds.
pub async fn erase(erasure: &Erasure, storage: &Storage, session: &SessionContext) -> Result<Erased, LakeError> {
    mark(erasure, storage, session).await?;
    remove(erasure, storage, session).await
}

/// Deletes what a [tombstone](mark) covers.
///
/// # Errors
/// As [`erase`], and [`LakeError::Behind`] if Bronze is [behind](caught_up): the other tables are done then.
pub async fn remove(erasure: &Erasure, storage: &Storage, session: &SessionContext) -> Result<Erased, LakeError> {
    let (mut erased, tables) = (Erased::default(), tables(erasure, storage).await?);
    for uri in &tables.gold {
        fence::gold(erasure, uri, storage).await?;
        erased.gold += delete(uri, storage, session, &erasure.is_entity()?).await?;
    }
    for uri in &tables.silver {
        let quarantine = quarantine(uri);
        // A run commits to the quarantine first, and to Silver only behind that.
        fence::silver(erasure, &quarantine, storage).await?;
        fence::silver(erasure, uri, storage).await?;
        let rows = erasure.is_entity()?.and(erasure.covered(PARTITION, OFFSET));
        erased.silver += delete(uri, storage, session, &rows).await?;
        let columns = [PARTITION, OFFSET, RECORD_TIME, "value"];
        let found = find::records(erasure, &quarantine, columns, storage, session).await?;
        erased.quarantine += delete_found(&quarantine, columns, &found.offsets, storage, session).await?;
    }
    if let Some(uri) = &erasure.bronze {
        caught_up(erasure, uri, storage).await?;
        let columns = [bronze::PARTITION, bronze::OFFSET, bronze::TIMESTAMP, bronze::VALUE];
        let found = find::records(erasure, uri, columns, storage, session).await?;
        let firsts = found.firsts_that_go();
        if !firsts.is_empty() {
            begins::note(uri, storage, &firsts).await?;
        }
        erased.bronze = delete_found(uri, columns, &found.offsets, storage, session).await?;
    }
    Ok(erased)
}

/// That Bronze has all records that are covered, so that it gets none of them later.
///
/// # Errors
/// [`LakeError::Behind`], or what the store says.
pub async fn caught_up(erasure: &Erasure, uri: &str, storage: &Storage) -> Result<(), LakeError> {
    let state = match table::open(uri, storage, None).await {
        Ok(table) => bronze::state(&table, uri).await?.unwrap_or_default(),
        // It is yet to be made.
        Err(LakeError::Missing { .. }) => bronze::State::default(),
        Err(error) => return Err(error),
    };
    let at = |partition: &i32| state.progress.get(partition).map_or(0, |progress| progress.offset);
    match erasure.covers.offsets.iter().find(|(partition, end)| at(partition) < **end) {
        None => Ok(()),
        Some((partition, end)) => {
            let (uri, partition, at) = (uri.to_owned(), *partition, at(partition));
            Err(LakeError::Behind { uri, partition, at, end: *end })
        }
    }
}

/// Deletes the records of these offsets, by partition.
async fn delete_found(
    uri: &str,
    columns: [&str; 4],
    found: &BTreeMap<i32, Vec<i64>>,
    storage: &Storage,
    session: &SessionContext,
) -> Result<usize, LakeError> {
    let mut deleted = 0;
    for (partition, offsets) in found {
        for some in offsets.chunks(OFFSETS) {
            let rows = records([columns[0], columns[1]], *partition, some);
            deleted += delete(uri, storage, session, &rows).await?;
        }
    }
    Ok(deleted)
}

/// Deletes rows; how many. A table that is not there has none.
async fn delete(uri: &str, storage: &Storage, session: &SessionContext, rows: &Expr) -> Result<usize, LakeError> {
    // Behind a worker that appended meanwhile the rows are looked for again.
    let deleted = on_newest(uri, storage, "deleting rows", |table| delete_from(table, session, rows)).await?;
    Ok(deleted.unwrap_or_default())
}

/// Does something to a table as it stands, and again if another writer's commit came before its own; `None` if there is no
/// table.
async fn on_newest<T, F: Future<Output = Result<T, DeltaTableError>>>(
    uri: &str,
    storage: &Storage,
    doing: &'static str,
    act: impl Fn(DeltaTable) -> F,
) -> Result<Option<T>, LakeError> {
    let mut last = LakeError::Contended { uri: uri.to_owned(), attempts: ATTEMPTS };
    for _ in 0..ATTEMPTS {
        let table = match table::open(uri, storage, None).await {
            Ok(table) => table,
            Err(LakeError::Missing { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        match act(table).await {
            Ok(done) => return Ok(Some(done)),
            Err(error @ DeltaTableError::Transaction { .. }) => last = LakeError::delta(uri, doing)(error),
            Err(error) => return Err(LakeError::delta(uri, doing)(error)),
        }
    }
    Err(last)
}

/// Deletes rows of a table as it was loaded.
async fn delete_from(table: DeltaTable, session: &SessionContext, rows: &Expr) -> Result<usize, DeltaTableError> {
    let deletion = table.delete().with_predicate(rows.clone()).with_session_state(Arc::new(session.state()));
    deletion.await.map(|(_, metrics)| metrics.num_deleted_rows.unwrap_or_default())
}

/// The records of these offsets of a partition, by the columns of their coordinates.
fn records(columns: [&str; 2], partition: i32, offsets: &[i64]) -> Expr {
    let listed = offsets.iter().map(|offset| lit(*offset)).collect();
    let rows = ident(columns[0]).eq(lit(partition)).and(ident(columns[1]).in_list(listed, false));
    // Statistics of files are not held against long lists: without bounds, each file that a worker appends meanwhile might
    // hold one of the records, and overtakes the deletion.
    match (offsets.iter().min(), offsets.iter().max()) {
        (Some(first), Some(last)) => rows.and(ident(columns[1]).between(lit(*first), lit(*last))),
        _ => rows,
    }
}

/// A key's value in a query, from its text.
fn literal(value_type: &ValueType, text: &str) -> Expr {
    let integer = || text.parse::<i64>().ok();
    match value_type {
        ValueType::Int64 => Expr::Literal(ScalarValue::Int64(integer()), None),
        ValueType::Boolean => lit(text == "true"),
        ValueType::Timestamp => Expr::Literal(ScalarValue::TimestampMillisecond(integer(), Some("UTC".into())), None),
        ValueType::Decimal { .. } => cast(lit(text), value_type.arrow()),
        _ => lit(text),
    }
}

#[cfg(test)]
#[path = "erase/tests.rs"]
mod tests;

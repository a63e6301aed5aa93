//! Erasure: an entity's events leave the lake, and stay away.
//!
//! A tombstone is written first: entity, and per partition the offset before which its events are erased. From then on
//! every reader leaves them out, whatever else has happened, at any version. Then the rows are deleted, Bronze last,
//! because it is what tells a repeated erasure which rows they were; a crash anywhere is followed by doing it again. Files
//! of older versions go with the next vacuum whose retention has passed.

mod find;
mod tombstones;

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, cast, lit};
use datafusion::prelude::{SessionContext, ident};
use engine::plan::Plan;
use engine::value::ValueType;
use engine::{entity, row};
use serde_json::Value;

pub use tombstones::{Tombstones, tombstones, uri};

use crate::error::LakeError;
use crate::silver::{OFFSET, PARTITION};
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
    /// The view's Silver, if there is one; its quarantine stands beside it.
    pub silver: Option<String>,
    /// The view's Gold, if there is one.
    pub gold: Option<String>,
    /// By partition the offset before which events are erased: the topic's ends when the erasure was asked for.
    pub covers: BTreeMap<i32, i64>,
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
        let keys = self.keys()?;
        let texts: Vec<String> = (keys.iter().zip(&self.entity))
            .map(|((name, value_type), value)| {
                entity::json_key(value_type, value).map_err(|error| LakeError::Definition {
                    what: format!("entity key {name}"),
                    detail: error.to_string(),
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(row::entity_text(texts.iter().map(String::as_str)))
    }

    /// The key columns and their types.
    fn keys(&self) -> Result<Vec<(String, ValueType)>, LakeError> {
        let refused = |detail: String| LakeError::Definition { what: "entity".to_owned(), detail };
        let names = &self.plan.entity;
        if names.len() != self.entity.len() {
            return Err(refused(format!("{} values for the keys {names:?}", self.entity.len())));
        }
        let column = |name: &String| self.plan.source.columns.iter().find(|column| column.name == *name);
        let keys = names.iter().map(|name| {
            let found = column(name).map(|column| (name.clone(), column.value_type.clone()));
            found.ok_or_else(|| refused(format!("key {name} is no column of the plan")))
        });
        keys.collect()
    }

    /// The rows whose key columns are this entity's.
    fn is_entity(&self) -> Result<Expr, LakeError> {
        let keys = self.keys()?;
        let equal = keys.iter().zip(&self.entity).map(|((name, value_type), value)| {
            Ok(ident(name).eq(literal(
                value_type,
                &entity::json_key(value_type, value).map_err(|error| LakeError::Definition {
                    what: format!("entity key {name}"),
                    detail: error.to_string(),
                })?,
            )))
        });
        let equal: Vec<Expr> = equal.collect::<Result<_, LakeError>>()?;
        Ok(equal.into_iter().reduce(Expr::and).unwrap_or_else(|| lit(false)))
    }

    /// The rows that stood before the offsets that are covered.
    fn is_covered(&self) -> Expr {
        let covered = self
            .covers
            .iter()
            .map(|(partition, end)| ident(PARTITION).eq(lit(*partition)).and(ident(OFFSET).lt(lit(*end))));
        covered.reduce(Expr::or).unwrap_or_else(|| lit(false))
    }
}

/// Erases. Done twice, it finds nothing the second time.
///
/// # Errors
/// [`LakeError`]; the tombstone may stand already, and the erasure is to be repeated until it succeeds.
pub async fn erase(erasure: &Erasure, storage: &Storage, session: &SessionContext) -> Result<Erased, LakeError> {
    tombstones::write(erasure, storage).await?;
    let mut erased = Erased::default();
    if let Some(uri) = &erasure.gold {
        erased.gold = delete(uri, storage, session, &erasure.is_entity()?).await?;
    }
    if let Some(uri) = &erasure.silver {
        let rows = erasure.is_entity()?.and(erasure.is_covered());
        erased.silver = delete(uri, storage, session, &rows).await?;
        let quarantine = format!("{}.quarantine", uri.trim_end_matches('/'));
        let columns = [PARTITION, OFFSET, "value"];
        erased.quarantine = delete_found(erasure, &quarantine, columns, storage, session).await?;
    }
    if let Some(uri) = &erasure.bronze {
        let columns = [bronze::PARTITION, bronze::OFFSET, bronze::VALUE];
        erased.bronze = delete_found(erasure, uri, columns, storage, session).await?;
    }
    Ok(erased)
}

/// Deletes records that name the entity in their payload.
async fn delete_found(
    erasure: &Erasure,
    uri: &str,
    columns: [&str; 3],
    storage: &Storage,
    session: &SessionContext,
) -> Result<usize, LakeError> {
    let mut deleted = 0;
    for (partition, offsets) in find::records(erasure, uri, columns, storage, session).await? {
        for some in offsets.chunks(OFFSETS) {
            let listed = some.iter().map(|offset| lit(*offset)).collect();
            let rows = ident(columns[0]).eq(lit(partition)).and(ident(columns[1]).in_list(listed, false));
            deleted += delete(uri, storage, session, &rows).await?;
        }
    }
    Ok(deleted)
}

/// Deletes rows; how many. A table that is not there has none.
async fn delete(uri: &str, storage: &Storage, session: &SessionContext, rows: &Expr) -> Result<usize, LakeError> {
    let mut last = LakeError::Contended { uri: uri.to_owned(), attempts: ATTEMPTS };
    for _ in 0..ATTEMPTS {
        let table = match table::open(uri, storage, None).await {
            Ok(table) => table,
            Err(LakeError::Missing { .. }) => return Ok(0),
            Err(error) => return Err(error),
        };
        let deletion = table.delete().with_predicate(rows.clone()).with_session_state(Arc::new(session.state()));
        match deletion.await {
            Ok((_, metrics)) => return Ok(metrics.num_deleted_rows.unwrap_or_default()),
            // A worker that appended meanwhile: the rows are looked for again.
            Err(error @ deltalake::DeltaTableError::Transaction { .. }) => {
                last = LakeError::delta(uri, "deleting rows")(error);
            }
            Err(error) => return Err(LakeError::delta(uri, "deleting rows")(error)),
        }
    }
    Err(last)
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

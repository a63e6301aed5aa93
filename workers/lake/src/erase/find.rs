//! Which records name an entity in their payload, those that were refused too.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, TimeUnit, TimestampMicrosecondType};
use datafusion::prelude::SessionContext;
use engine::event::Keys;
use engine::plan::Plan;
use engine::value::ValueType;
use futures::TryStreamExt as _;

use super::{Erasure, Firsts};
use crate::error::LakeError;
use crate::files::conform;
use crate::storage::Storage;
use crate::{source, table};

/// The key columns of a view's entity, and their types.
///
/// # Errors
/// [`LakeError::Definition`] for a key that is no column.
pub(crate) fn keys(plan: &Plan) -> Result<Vec<(String, ValueType)>, LakeError> {
    let column = |name: &String| plan.source.columns.iter().find(|column| column.name == *name);
    let keys = plan.entity.iter().map(|name| {
        column(name).map(|column| (name.clone(), column.value_type.clone())).ok_or_else(|| LakeError::Definition {
            what: "entity".to_owned(),
            detail: format!("key {name} is no column of the plan"),
        })
    });
    keys.collect()
}

/// What was found among the records that are covered.
#[derive(Default)]
pub(super) struct Found {
    /// The offsets of those that are to go, by partition.
    pub offsets: BTreeMap<i32, Vec<i64>>,
    /// The first of all.
    firsts: Firsts,
}

impl Found {
    /// The first records of partitions of which they go.
    pub(super) fn firsts_that_go(&self) -> Firsts {
        let goes = |(partition, first): &(&i32, &(i64, i64))| {
            self.offsets.get(partition).is_some_and(|offsets| offsets.contains(&first.0))
        };
        self.firsts.iter().filter(goes).map(|(partition, first)| (*partition, *first)).collect()
    }
}

/// Looks for the records that are to go. `columns` are the table's partition, offset, record time and payload.
pub(super) async fn records(
    erasure: &Erasure,
    uri: &str,
    columns: [&str; 4],
    storage: &Storage,
    session: &SessionContext,
) -> Result<Found, LakeError> {
    let failed = LakeError::query(uri, "looking for the entity's records");
    let table = match table::open(uri, storage, None).await {
        Ok(table) => table,
        Err(LakeError::Missing { .. }) => return Ok(Found::default()),
        Err(error) => return Err(error),
    };
    let frame = source::frame(&table, uri, session).await?;
    let covered = erasure.covered(columns[0], columns[1]);
    let frame = frame.filter(covered).and_then(|frame| frame.select_columns(&columns));
    let mut rows = frame.map_err(&failed)?.execute_stream().await.map_err(&failed)?;
    let schema = Arc::new(Schema::new(vec![
        Field::new(columns[0], DataType::Int32, true),
        Field::new(columns[1], DataType::Int64, true),
        Field::new(columns[2], DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        // Wide offsets, because nothing bounds a batch's payloads here.
        Field::new(columns[3], DataType::LargeBinary, true),
    ]));
    let (mut keys, wanted) = (Keys::new(&erasure.plan), erasure.text()?);
    let mut found = Found::default();
    while let Some(batch) = rows.try_next().await.map_err(&failed)? {
        let batch = conform(&batch, &schema, uri)?;
        let partitions = batch.column(0).as_primitive::<Int32Type>();
        let offsets = batch.column(1).as_primitive::<Int64Type>();
        let times = batch.column(2).as_primitive::<TimestampMicrosecondType>();
        let payloads = batch.column(3).as_binary::<i64>();
        for at in 0..batch.num_rows() {
            let (partition, offset) = (partitions.value(at), offsets.value(at));
            let this = (offset, times.value(at).div_euclid(1_000));
            let first = found.firsts.entry(partition).or_insert(this);
            *first = (*first).min(this);
            if payloads.is_valid(at) && keys.entity(payloads.value(at)).as_ref() == Some(&wanted) {
                found.offsets.entry(partition).or_default().push(offset);
            }
        }
    }
    Ok(found)
}

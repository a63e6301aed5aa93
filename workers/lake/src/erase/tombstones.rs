//! The table of tombstones.

use std::sync::Arc;

use arrow::array::TimestampMicrosecondArray;
use arrow::array::{Array as _, ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use datafusion::prelude::SessionContext;
use engine::erase::{Covers, Tombstones};
use engine::plan::Plan;
use serde_json::Map;

use super::Erasure;
use crate::commit::append;
use crate::error::LakeError;
use crate::files::conform;
use crate::storage::Storage;
use crate::table::{Identity, Owner, TableSpec};
use crate::{source, table};

/// Where a view's tombstones stand.
#[must_use]
pub fn uri(lake: &str, plan: &Plan) -> String {
    format!("{}/erased/{}.{}", lake.trim_end_matches('/'), plan.view.namespace, plan.view.name)
}

/// The tombstones of a view, the newest ones, whatever version of another table they are applied to.
///
/// # Errors
/// What the store says. A table that is not there has none.
pub async fn tombstones(uri: &str, storage: &Storage, session: &SessionContext) -> Result<Tombstones, LakeError> {
    let failed = LakeError::query(uri, "reading tombstones");
    let table = match table::open(uri, storage, None).await {
        Ok(table) => table,
        Err(LakeError::Missing { .. }) => return Ok(Tombstones::default()),
        Err(error) => return Err(error),
    };
    let batches = source::frame(&table, uri, session).await?.collect().await.map_err(failed)?;
    let mut tombstones = Tombstones::default();
    for batch in batches {
        let batch = conform(&batch, &schema(), uri)?;
        let entities = batch.column(0).as_string::<i32>();
        let partitions = batch.column(1).as_primitive::<Int32Type>();
        let offsets = batch.column(2).as_primitive::<Int64Type>();
        let times = batch.column(3).as_primitive::<TimestampMicrosecondType>();
        for at in 0..batch.num_rows() {
            let mut covers = Covers { before_ms: times.value(at).div_euclid(1_000), ..Covers::default() };
            if partitions.is_valid(at) && offsets.is_valid(at) {
                covers.offsets.insert(partitions.value(at), offsets.value(at));
            }
            tombstones.add(entities.value(at), &covers);
        }
    }
    Ok(tombstones)
}

/// Writes an erasure's tombstone, unless one stands that covers as much.
///
/// # Errors
/// [`LakeError`]; it may stand all the same, and writing it again changes nothing.
pub async fn mark(erasure: &Erasure, storage: &Storage, session: &SessionContext) -> Result<(), LakeError> {
    let (uri, text) = (uri(&erasure.lake, &erasure.plan), erasure.text()?);
    let mut standing = tombstones(&uri, storage, session).await?;
    let before = standing.get(&text).cloned();
    standing.add(&text, &erasure.covers);
    if standing.get(&text) == before.as_ref() {
        return Ok(());
    }
    let view = &erasure.plan.view;
    let spec = TableSpec {
        schema: schema(),
        partition_by: Vec::new(),
        identity: Identity {
            uid: view.uid.clone(),
            owner: Owner::View { namespace: view.namespace.clone(), name: view.name.clone() },
        },
        properties: Vec::new(),
        evolves: false,
    };
    let mut table = table::ensure(&uri, storage, &spec).await?;
    append(&mut table, &uri, &[rows(&uri, &text, &erasure.covers)?], None, Map::new()).await.map(drop)
}

/// A row for each partition, and one without for who knows of none.
fn rows(uri: &str, entity: &str, covers: &Covers) -> Result<RecordBatch, LakeError> {
    let partitions: Int32Array = std::iter::once(None).chain(covers.offsets.keys().copied().map(Some)).collect();
    let offsets: Int64Array = std::iter::once(None).chain(covers.offsets.values().copied().map(Some)).collect();
    let rows = partitions.len();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![entity; rows])),
        Arc::new(partitions),
        Arc::new(offsets),
        Arc::new(
            TimestampMicrosecondArray::from(vec![covers.before_ms.saturating_mul(1_000); rows]).with_timezone("UTC"),
        ),
    ];
    RecordBatch::try_new(schema(), columns).map_err(|error| LakeError::Schema {
        uri: uri.to_owned(),
        column: "-".to_owned(),
        detail: error.to_string(),
    })
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("entity", DataType::Utf8, false),
        // Of a row without them, only the time counts.
        Field::new("partition", DataType::Int32, true),
        Field::new("before_offset", DataType::Int64, true),
        Field::new("erased_at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
    ]))
}

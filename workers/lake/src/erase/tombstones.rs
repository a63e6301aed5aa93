//! The table of tombstones, and what readers leave out because of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::TimestampMicrosecondArray;
use arrow::array::{ArrayRef, AsArray, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef, TimeUnit};
use datafusion::prelude::SessionContext;
use engine::entity::push_column_key;
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

/// What was erased: by entity and partition, the offset before which its events do not count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tombstones(HashMap<String, BTreeMap<i32, i64>>);

impl Tombstones {
    /// Whether nobody was erased.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an event of this entity, at these coordinates, is erased.
    #[must_use]
    pub fn covers(&self, entity: &str, partition: i32, offset: i64) -> bool {
        self.0.get(entity).and_then(|of| of.get(&partition)).is_some_and(|end| offset < *end)
    }

    /// Which rows are left. `keys` are the key columns, in the order of the plan's entity and of its types, none NULL.
    #[must_use]
    pub fn left(&self, keys: &[ArrayRef], partitions: &Int32Array, offsets: &Int64Array) -> BooleanArray {
        let mut text = String::new();
        let left = (0..partitions.len()).map(|at| {
            text.clear();
            for (number, key) in keys.iter().enumerate() {
                push_column_key(&mut text, number == 0, key, at);
            }
            Some(!self.covers(&text, partitions.value(at), offsets.value(at)))
        });
        left.collect()
    }
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
        for at in 0..batch.num_rows() {
            let of = tombstones.0.entry(entities.value(at).to_owned()).or_default();
            let end = of.entry(partitions.value(at)).or_insert(0);
            *end = (*end).max(offsets.value(at));
        }
    }
    Ok(tombstones)
}

/// Writes an erasure's tombstone. Written again it changes nothing, since the highest offset counts.
pub(super) async fn write(erasure: &Erasure, storage: &Storage) -> Result<(), LakeError> {
    let (uri, text) = (uri(&erasure.lake, &erasure.plan), erasure.text()?);
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
    let rows = erasure.covers.len();
    let now = jiff::Timestamp::now().as_microsecond();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![text.as_str(); rows])),
        Arc::new(erasure.covers.keys().copied().map(Some).collect::<Int32Array>()),
        Arc::new(erasure.covers.values().copied().map(Some).collect::<Int64Array>()),
        Arc::new(TimestampMicrosecondArray::from(vec![now; rows]).with_timezone("UTC")),
    ];
    let batch = RecordBatch::try_new(schema(), columns).map_err(|error| LakeError::Schema {
        uri: uri.clone(),
        column: "-".to_owned(),
        detail: error.to_string(),
    })?;
    append(&mut table, &uri, &[batch], None, Map::new()).await.map(drop)
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("entity", DataType::Utf8, false),
        Field::new("partition", DataType::Int32, false),
        Field::new("before_offset", DataType::Int64, false),
        Field::new("erased_at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
    ]))
}

//! The lanes of the generation in the store, as input of the fold that goes on from them.
//!
//! Invariant: every entity that the feature table names has its lane, of exactly that generation, or the whole input
//! fails: a store that lost rows must not make features thinner.

use std::sync::Arc;

use arrow::array::{ArrayRef, LargeBinaryBuilder, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::Result;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties as _};
use engine::entity::column_text;
use engine::lane::{Encoded, Lane};
use engine::row::{batch_slot, generation_offset, parse_batch_field};
use futures::{StreamExt as _, stream};
use redis::Pipeline;
use shell::redis::Connection;
use thiserror::Error;

use crate::fold::{LANE, pack};

/// Rows a round trip.
const ROWS_PER_TRIP: usize = 512;

/// Why the lanes of a generation cannot be gone on from.
#[derive(Debug, Error)]
pub enum LanesError {
    /// A row is not there, or is of another generation.
    #[error("the row of entity {entity:?} does not hold generation {generation}: the store lost writes")]
    Missing {
        /// The entity.
        entity: String,
        /// The generation.
        generation: u64,
    },
}

/// Where the lanes are.
#[derive(Clone, Debug)]
pub struct Stored {
    /// A connection to the store.
    pub connection: Connection,
    /// What row keys start with.
    pub row_prefix: String,
    /// The generation.
    pub generation: u64,
    /// The types of the entity's keys, as the plan has them.
    pub keys: Vec<DataType>,
}

/// A plan of (keys, packed lane), for the entities whose keys `entities` gives.
///
/// # Errors
/// Never in practice: all partitions have one schema.
pub fn plan(entities: &Arc<dyn ExecutionPlan>, stored: Stored) -> Result<Arc<dyn ExecutionPlan>> {
    let mut fields: Vec<Field> =
        stored.keys.iter().enumerate().map(|(i, key)| Field::new(format!("key_{i}"), key.clone(), true)).collect();
    fields.push(Field::new(LANE, DataType::LargeBinary, true));
    let (schema, stored) = (Arc::new(Schema::new(fields)), Arc::new(stored));
    let partition = |partition| {
        let (entities, stored, schema) = (entities.clone(), stored.clone(), schema.clone());
        Arc::new(Partition { entities, partition, stored, schema }) as Arc<dyn PartitionStream>
    };
    let partitions = (0..entities.output_partitioning().partition_count()).map(partition).collect();
    Ok(Arc::new(StreamingTableExec::try_new(schema, partitions, None, [], false, None)?))
}

#[derive(Debug)]
struct Partition {
    entities: Arc<dyn ExecutionPlan>,
    partition: usize,
    stored: Arc<Stored>,
    schema: SchemaRef,
}

impl PartitionStream for Partition {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (stored, schema) = (self.stored.clone(), self.schema.clone());
        let batches = match self.entities.execute(self.partition, context) {
            Ok(batches) => batches
                .then(move |batch| {
                    let (stored, schema) = (stored.clone(), schema.clone());
                    async move { stored.load(&batch?, schema).await }
                })
                .boxed(),
            Err(error) => stream::once(async { Err(error) }).boxed(),
        };
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), batches))
    }
}

impl Stored {
    async fn load(&self, batch: &RecordBatch, schema: SchemaRef) -> Result<RecordBatch> {
        let external = |error: shell::redis::RedisError| DataFusionError::External(error.into());
        let mut columns: Vec<ArrayRef> =
            batch.columns().iter().zip(&self.keys).map(|(column, key)| cast(column, key)).collect::<Result<_, _>>()?;
        let entities: Vec<String> = (0..batch.num_rows()).map(|row| column_text(&columns, row)).collect();
        let mut lanes = LargeBinaryBuilder::new();
        for entities in entities.chunks(ROWS_PER_TRIP) {
            let mut pipeline = Pipeline::with_capacity(entities.len());
            for entity in entities {
                pipeline.cmd("HGETALL").arg([self.row_prefix.as_str(), entity].concat());
            }
            let rows: Vec<Vec<(String, Vec<u8>)>> =
                self.connection.pipeline("loading the last generation", &pipeline).await.map_err(external)?;
            for (entity, row) in entities.iter().zip(rows) {
                let packed = self.lane(row).ok_or_else(|| {
                    let missing = LanesError::Missing { entity: entity.clone(), generation: self.generation };
                    DataFusionError::External(missing.into())
                })?;
                lanes.append_value(packed);
            }
        }
        columns.push(Arc::new(lanes.finish()));
        Ok(RecordBatch::try_new(schema, columns)?)
    }

    /// The packed lane among a row's fields; `None` if it is not of the generation.
    fn lane(&self, row: Vec<(String, Vec<u8>)>) -> Option<Vec<u8>> {
        let slot = batch_slot(self.generation);
        let mut segments: Vec<(u8, Vec<u8>)> = row
            .into_iter()
            .filter_map(|(field, bytes)| match parse_batch_field(&field)? {
                (of, segment) if of == slot => Some((segment, bytes)),
                _ => None,
            })
            .collect();
        segments.sort_unstable_by_key(|(segment, _)| *segment);
        let (0, head) = segments.first()? else { return None };
        (Lane::peek_offset(head)? == generation_offset(self.generation)).then(|| {
            let mut packed = Vec::new();
            pack(&Encoded { segments, removed: Vec::new() }, &mut packed);
            packed
        })
    }
}

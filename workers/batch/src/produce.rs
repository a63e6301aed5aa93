//! The fold's results, partition by partition: feature files, lanes on disk, and a summary for the gate.
//!
//! Nothing of it can be seen from outside: no commit names the files, and the lanes' file has no name.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Array as _, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{cast, filter_record_batch, is_not_null};
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::{ExecutionPlan, execute_stream_partitioned};
use datafusion::prelude::SessionContext;
use deltalake::kernel::Add;
use engine::entity::column_text;
use engine::plan::Plan;
use futures::TryStreamExt as _;
use futures::stream::select_all;
use lake::files::Writer;
use thiserror::Error;
use tokio::task::JoinSet;

use crate::feature_table::{self, FeatureTable, FeatureTableError, Stamp};
use crate::features::{FeatureReader, FeaturesError};
use crate::gate::Summary;
use crate::spool::{Spool, SpoolWriter};

/// Why a generation could not be made.
#[derive(Debug, Error)]
pub enum ProduceError {
    /// Reading or folding failed.
    #[error("folding: {0}")]
    Fold(#[from] DataFusionError),
    /// The features could not be read from the lanes.
    #[error(transparent)]
    Features(#[from] FeaturesError),
    /// The feature table's files cannot be written.
    #[error(transparent)]
    Table(#[from] FeatureTableError),
    /// So says the lake.
    #[error(transparent)]
    Lake(#[from] lake::LakeError),
    /// Columns do not fit one another.
    #[error("feature rows: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
    /// The folder for temporary files is full or cannot be written.
    #[error("writing lanes to the temporary folder: {0}; give it more room with --temp-dir")]
    Spool(#[from] std::io::Error),
    /// A task ended without an answer.
    #[error("folding: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// A generation, made and not yet seen by anybody.
#[derive(Debug, Default)]
pub struct Produced {
    /// The feature table's files.
    pub files: Vec<Add>,
    /// The lanes.
    pub spools: Vec<Spool>,
    /// What the gate must know.
    pub summary: Summary,
}

/// What the partitions of one generation share.
#[derive(Debug)]
pub struct Producer {
    /// The plan.
    pub plan: Arc<Plan>,
    /// Reads the features.
    pub reader: Arc<FeatureReader>,
    /// What stands in every row.
    pub stamp: Stamp,
    /// Where lanes wait.
    pub temp_dir: Option<PathBuf>,
    /// How many entities are done.
    pub entities: AtomicU64,
}

/// Runs the fold `lanes`, whose result is the keys and the lane, with its features or without, to its end.
///
/// # Errors
/// [`ProduceError`].
pub async fn produce(
    lanes: Arc<dyn ExecutionPlan>,
    session: &SessionContext,
    table: &FeatureTable,
    producer: Arc<Producer>,
) -> Result<Produced, ProduceError> {
    // There are many more partitions than threads, and each would have a file.
    let mut writers: Vec<Vec<SendableRecordBatchStream>> = Vec::new();
    writers.resize_with(session.state().config().target_partitions(), Vec::new);
    let count = writers.len();
    for (i, batches) in execute_stream_partitioned(lanes, session.task_ctx())?.into_iter().enumerate() {
        writers[i % count].push(batches);
    }
    let mut parts = JoinSet::new();
    for batches in writers {
        parts.spawn(part(batches, table.writer()?, producer.clone()));
    }
    let mut produced = Produced { summary: Summary::new(producer.plan.features.len()), ..Produced::default() };
    while let Some(part) = parts.join_next().await {
        let part = part??;
        produced.files.extend(part.files);
        produced.spools.extend(part.spools);
        produced.summary.merge(part.summary);
    }
    Ok(produced)
}

async fn part(
    batches: Vec<SendableRecordBatchStream>,
    mut writer: Writer,
    producer: Arc<Producer>,
) -> Result<Produced, ProduceError> {
    let mut spool = SpoolWriter::new(producer.temp_dir.as_deref())?;
    let mut summary = Summary::new(producer.plan.features.len());
    // All of them: a partition that nobody asks holds up what all are made of.
    let mut batches = select_all(batches);
    while let Some(batch) = batches.try_next().await? {
        let batch = match batch.columns().last().map(lanes_of) {
            Some(lanes) if lanes.null_count() > 0 => filter_record_batch(&batch, &is_not_null(lanes)?)?,
            _ => batch,
        };
        let [keys @ .., folded] = batch.columns() else { continue };
        let lanes = lanes_of(folded);
        let features = match folded.as_struct_opt() {
            Some(read) => RecordBatch::from(read.column(1).as_struct()),
            None => producer.reader.packed(lanes)?,
        };
        let entities: Vec<String> = (0..batch.num_rows()).map(|row| column_text(keys, row)).collect();
        summary.observe(&entities, &features);
        writer.write(&feature_table::rows(&producer.plan, keys, &producer.stamp, &features)?).await?;
        for (entity, lane) in entities.iter().zip(lanes.as_binary::<i64>()) {
            spool.push(entity, lane.unwrap_or_default())?;
        }
        producer.entities.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
        // To fold a partition takes long, and what it wakes stands in a place of its thread that no other thread takes from: this
        // lets that run first.
        tokio::task::yield_now().await;
    }
    Ok(Produced { files: writer.finish().await?, spools: vec![spool.finish()?], summary })
}

/// The lanes in the last column of what was folded, with features or without.
fn lanes_of(folded: &ArrayRef) -> &ArrayRef {
    folded.as_struct_opt().map_or(folded, |read| read.column(0))
}

/// The entities' texts of rows of the feature table, whose first columns are the keys.
///
/// # Errors
/// If the table's keys are not of the plan's types.
pub fn texts(plan: &Plan, batch: &RecordBatch) -> Result<Vec<String>, ProduceError> {
    let keys: Vec<ArrayRef> = (plan.entity.iter().zip(batch.columns()))
        .map(|(name, column)| {
            let declared = plan.source.columns.iter().find(|column| column.name == *name);
            declared.map_or_else(|| Ok(column.clone()), |declared| cast(column, &declared.value_type.arrow()))
        })
        .collect::<Result<_, _>>()?;
    Ok((0..batch.num_rows()).map(|row| column_text(&keys, row)).collect())
}

/// The summary of a generation that stands in the feature table.
///
/// # Errors
/// [`ProduceError`].
pub async fn summarise(
    plan: &Plan,
    table: &FeatureTable,
    generation: u64,
    session: &SessionContext,
) -> Result<Summary, ProduceError> {
    let mut summary = Summary::new(plan.features.len());
    let mut batches = table.generation(generation, session).await?;
    while let Some(batch) = batches.try_next().await? {
        let features: Vec<usize> = (plan.entity.len()..batch.num_columns()).collect();
        summary.observe(&texts(plan, &batch)?, &batch.project(&features)?);
    }
    Ok(summary)
}

impl ProduceError {
    /// Whether another try may succeed; memory and full disks may have passed, too.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Lake(error) | Self::Table(FeatureTableError::Lake(error)) => error.is_transient(),
            _ => true,
        }
    }
}

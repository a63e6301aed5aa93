//! Up to which event time a source holds every event, and the horizon that follows from it.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::functions_aggregate::expr_fn::max;
use datafusion::prelude::SessionContext;
use engine::event::{Admission, ImportError, Importer};
use engine::plan::Plan;
use futures::TryStreamExt as _;
use lake::LakeError;
use thiserror::Error;

use crate::config::Completeness;
use crate::history::{History, HistoryError};
use crate::scan;

/// Why it cannot be told.
#[derive(Debug, Error)]
pub enum CompletenessError {
    /// The table does not say.
    #[error(
        "{uri} does not say up to when it is complete; set its property featuremill.completeUntil, write it into the commits' info, or declare source.table.completeUntil: NewestEvent if it is written in order of time"
    )]
    Undeclared {
        /// The table.
        uri: String,
    },
    /// Only a Delta table can say.
    #[error(
        "{uri} is a folder of Parquet files, which cannot say up to when it is complete; declare source.table.completeUntil: NewestEvent"
    )]
    NoDeclaration {
        /// The folder.
        uri: String,
    },
    /// The table cannot be opened or read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// What the table says does not read.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// Its event time does not fit the plan.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// It cannot be scanned.
    #[error("{uri} while looking for its newest event: {source}")]
    Scan {
        /// The table.
        uri: String,
        /// Why.
        source: DataFusionError,
    },
}

/// The time before which the source holds every event, in milliseconds; `None` for one without events, or an archive that has
/// only begun. It is never after `now`: no table holds what has not happened, and in a Lambda the stream would not count
/// what happens before the horizon.
///
/// # Errors
/// [`CompletenessError`].
pub async fn complete_until(
    how: Completeness,
    history: &History,
    plan: &Plan,
    session: &SessionContext,
    now: i64,
) -> Result<Option<i64>, CompletenessError> {
    let uri = || history.uri.clone();
    let complete = match (how, &history.delta) {
        (Completeness::Declared, Some(table)) => {
            let declared = lake::completeness(table, &history.uri).await?;
            Some(declared.ok_or_else(|| CompletenessError::Undeclared { uri: uri() })?)
        }
        // An archive says so by itself, as soon as it has read each partition once.
        (Completeness::Archive, Some(table)) => lake::completeness(table, &history.uri).await?,
        (Completeness::Declared | Completeness::Archive, None) => {
            return Err(CompletenessError::NoDeclaration { uri: uri() });
        }
        (Completeness::NewestEvent, _) => {
            // Later event times are not believed.
            newest(history, plan, session, now.saturating_add(plan.time.max_future_ms)).await?
        }
    };
    Ok(complete.map(|complete| complete.min(now)))
}

/// The largest value of the event time's column, which Parquet files mostly tell in their footers; `None` if it is none that is
/// believed, so that a smaller one may be the newest, or if the order of values may not be that of times. A file of which some row
/// groups tell and others do not may hold a newer one: then the horizon is earlier than it could be.
async fn largest(
    history: &History,
    plan: &Plan,
    frame: &DataFrame,
    admission: Admission,
) -> Result<Option<i64>, DataFusionError> {
    let field = &plan.source.timestamp.field;
    let data_type = frame.schema().as_arrow().field_with_name(field)?.data_type();
    // What the log of a Delta table says of its files may be rounded.
    if history.delta.is_some() || !(data_type.is_integer() || matches!(data_type, DataType::Timestamp(..))) {
        return Ok(None);
    }
    let largest = max(scan::column(field)).alias(field);
    let mut newest = None;
    for batch in frame.clone().aggregate(vec![], vec![largest])?.collect().await? {
        let importer = Importer::new(plan, batch.schema_ref(), &[]).map_err(|e| DataFusionError::External(e.into()))?;
        newest = newest.max(importer.import(&batch, admission)?.newest);
    }
    Ok(newest)
}

/// The newest event time, from that column alone.
async fn newest(
    history: &History,
    plan: &Plan,
    session: &SessionContext,
    latest: i64,
) -> Result<Option<i64>, CompletenessError> {
    let failed = |source| CompletenessError::Scan { uri: history.uri.clone(), source };
    let frame = history.frame(session).await?;
    // What the plan asks for is looked for in the table, so that a missing column is named, and then in its projection.
    Importer::new(plan, frame.schema().as_arrow(), &[])?;
    let admission = Admission { latest, ..Admission::ALL };
    if let Some(newest) = largest(history, plan, &frame, admission).await.map_err(failed)? {
        return Ok(Some(newest));
    }
    let scan = scan::one(frame, &plan.source.timestamp.field).await.map_err(failed)?;
    let importer = Importer::new(plan, &scan.schema(), &[])?;
    let context = session.task_ctx();
    let partitions = datafusion::physical_plan::execute_stream_partitioned(scan, context).map_err(failed)?;
    let importer = Arc::new(importer);
    let partitions = partitions.into_iter().map(|mut batches| {
        let importer = importer.clone();
        tokio::spawn(async move {
            let mut newest = None;
            while let Some(batch) = batches.try_next().await? {
                newest = newest.max(importer.import(&batch, admission)?.newest);
            }
            Ok(newest)
        })
    });
    let mut newest = None;
    for partition in futures::future::join_all(partitions).await {
        let of = partition.unwrap_or_else(|error| Err(DataFusionError::External(error.into())));
        newest = newest.max(of.map_err(failed)?);
    }
    Ok(newest)
}

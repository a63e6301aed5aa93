//! Tables as queries see them: Delta tables at a version, and folders of Parquet files.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::dataframe::DataFrame;
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use deltalake::DeltaTable;

use crate::error::LakeError;
use crate::storage::{Storage, address};

/// A loaded Delta table, at the version it is loaded at, as a table of a query. Projections, predicates and limits are
/// pushed down, and files are skipped by their statistics.
///
/// # Errors
/// When the table cannot be read by this version of Delta.
pub async fn provider(
    table: &DeltaTable,
    uri: &str,
    session: &SessionContext,
) -> Result<Arc<dyn TableProvider>, LakeError> {
    let state = session.state();
    table.update_datafusion_session(&state).map_err(LakeError::delta(uri, "preparing to read it"))?;
    table.table_provider().with_session(Arc::new(state)).await.map_err(LakeError::query(uri, "preparing to read it"))
}

/// Some files of a loaded Delta table as a data frame, named as the table's log has them after percent-decoding; see
/// [`provider`].
///
/// # Errors
/// As [`provider`]; a file that the table does not hold is an error of the plan that reads it.
pub async fn frame_of(
    table: &DeltaTable,
    uri: &str,
    files: &[String],
    session: &SessionContext,
) -> Result<DataFrame, LakeError> {
    let state = session.state();
    table.update_datafusion_session(&state).map_err(LakeError::delta(uri, "preparing to read it"))?;
    // Delta joins what it is given to the table's address, as it does with what its log has: both are percent-encoded.
    let encoded = |file: &String| file.replace('%', "%25").replace('?', "%3F").replace('#', "%23");
    let provider = table.table_provider().with_session(Arc::new(state)).with_file_paths(files.iter().map(encoded));
    let provider = provider.await.map_err(LakeError::query(uri, "preparing to read it"))?;
    session.read_table(provider).map_err(LakeError::query(uri, "preparing to read it"))
}

/// A loaded Delta table as a data frame; see [`provider`].
///
/// # Errors
/// As [`provider`].
pub async fn frame(table: &DeltaTable, uri: &str, session: &SessionContext) -> Result<DataFrame, LakeError> {
    let provider = provider(table, uri, session).await?;
    session.read_table(provider).map_err(LakeError::query(uri, "preparing to read it"))
}

/// A folder of Parquet files, all of one schema, as a data frame. It has no versions: files that appear while it is read
/// may or may not be seen.
///
/// # Errors
/// [`LakeError::Missing`] if there is no file, or what the store says.
pub async fn parquet(uri: &str, storage: &Storage, session: &SessionContext) -> Result<DataFrame, LakeError> {
    let url = address(uri)?;
    session.register_object_store(&url, storage.store(&url)?);
    let frame = session.read_parquet(url.as_str(), ParquetReadOptions::default()).await;
    let frame = frame.map_err(LakeError::query(uri, "looking at its Parquet files"))?;
    if frame.schema().fields().is_empty() {
        return Err(LakeError::Missing { uri: uri.to_owned() });
    }
    Ok(frame)
}

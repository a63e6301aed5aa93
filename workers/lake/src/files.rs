//! Writing data files. A file that no commit names yet is invisible, and one that none ever names is vacuumed, so that a
//! crash here costs space and nothing else.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, SchemaRef};
use deltalake::DeltaTable;
use deltalake::datafile::writer::{DeltaWriter, WriterConfig};
use deltalake::kernel::Add;
use deltalake::operations::get_num_idx_cols_and_stats_columns;
use deltalake::parquet::basic::{Compression, ZstdLevel};
use deltalake::parquet::file::properties::WriterProperties;
use deltalake::parquet::schema::types::ColumnPath;
use deltalake::table::config::TablePropertiesExt as _;

use crate::error::LakeError;
use crate::table;

/// Writes batches into new files of a table; [`crate::commit`] makes them part of it.
pub struct Writer {
    uri: String,
    schema: SchemaRef,
    inner: DeltaWriter,
}

impl Writer {
    /// A writer for a loaded table.
    ///
    /// # Errors
    /// When the table is not loaded.
    pub fn new(table: &DeltaTable, uri: &str) -> Result<Self, LakeError> {
        let failed = LakeError::delta(uri, "starting to write files");
        let schema = table::schema(table, uri)?;
        let state = table.snapshot().map_err(&failed)?;
        let config = state.table_config();
        let (indexed, columns) = get_num_idx_cols_and_stats_columns(Some(config), HashMap::new());
        let level = ZstdLevel::try_new(3).map_err(|error| failed(error.into()))?;
        let properties = WriterProperties::builder().set_compression(Compression::ZSTD(level));
        // Measured values seldom repeat: to look each up in a dictionary, and then give that up, takes longer than to write them.
        let doubles = schema.fields().iter().filter(|field| field.data_type() == &DataType::Float64);
        let properties = doubles.fold(properties, |properties, field| {
            properties.set_column_dictionary_enabled(ColumnPath::from(field.name().as_str()), false)
        });
        let properties = properties.build();
        let partitions = state.metadata().partition_columns().to_vec();
        let target: NonZeroU64 = config.target_file_size();
        let config =
            WriterConfig::new(schema.clone(), partitions, Some(properties), Some(target), None, indexed, columns);
        Ok(Self { uri: uri.to_owned(), schema, inner: DeltaWriter::new(table.object_store(), config) })
    }

    /// Writes one batch; its columns are found by name and cast to the table's types, and those it lacks are NULL.
    ///
    /// # Errors
    /// [`LakeError::Schema`] naming a column that does not fit, or what the store says.
    pub async fn write(&mut self, batch: &RecordBatch) -> Result<(), LakeError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let batch = conform(batch, &self.schema, &self.uri)?;
        self.inner.write(&batch).await.map_err(LakeError::delta(&self.uri, "writing a file"))
    }

    /// Finishes the files.
    ///
    /// # Errors
    /// What the store says.
    pub async fn finish(self) -> Result<Vec<Add>, LakeError> {
        self.inner.close().await.map_err(LakeError::delta(&self.uri, "finishing its files"))
    }

    /// Gives up; uploads under way are ended.
    pub async fn abort(self) {
        if let Err(error) = self.inner.abort().await {
            tracing::debug!(uri = self.uri, %error, "giving up unfinished files");
        }
    }
}

/// The batch in the columns and types of `schema`.
///
/// # Errors
/// [`LakeError::Schema`] naming the column that is not in the table, cannot be cast, or is NULL where it must not be.
pub fn conform(batch: &RecordBatch, schema: &SchemaRef, uri: &str) -> Result<RecordBatch, LakeError> {
    let refused =
        |column: &str, detail: String| LakeError::Schema { uri: uri.to_owned(), column: column.to_owned(), detail };
    if let Some(extra) = batch.schema_ref().fields().iter().find(|field| schema.field_with_name(field.name()).is_err())
    {
        return Err(refused(extra.name(), "the table does not have it".to_owned()));
    }
    // A value that does not fit is an error, never a silent NULL.
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let column = match batch.column_by_name(field.name()) {
            None => new_null_array(field.data_type(), batch.num_rows()),
            Some(column) if column.data_type() == field.data_type() => column.clone(),
            Some(column) => cast_with_options(column, field.data_type(), &strict)
                .map_err(|error| refused(field.name(), error.to_string()))?,
        };
        if !field.is_nullable() && column.null_count() > 0 {
            return Err(refused(field.name(), "a row is NULL in it, which the table does not take".to_owned()));
        }
        columns.push(column);
    }
    RecordBatch::try_new(Arc::clone(schema), columns).map_err(|error| refused("-", error.to_string()))
}

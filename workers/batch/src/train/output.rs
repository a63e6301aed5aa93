//! Where a training set goes: one commit of a Delta table, or Parquet files of which the lineage is written last.
//!
//! A folder of Parquet files says first whose it is and what is being made in it, so that a run which is tried again after
//! one that was killed goes on by itself, and nothing else is ever written over.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::execution::SendableRecordBatchStream;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties, TableReference};
use deltalake::kernel::{Action, Add, Transaction};
use deltalake::parquet::arrow::AsyncArrowWriter;
use deltalake::parquet::file::metadata::KeyValue;
use deltalake::parquet::file::properties::WriterProperties;
use deltalake::protocol::{DeltaOperation, SaveMode};
use engine::plan::TableFormat;
use futures::TryStreamExt as _;
use lake::files::Writer;
use lake::{Identity, Owner, Storage, TableSpec};
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use tokio::task::JoinSet;
use url::Url;

use super::TrainError;
use super::config::TrainConfig;
use super::lineage::{LINEAGE, Lineage};

/// The file that says that a folder of Parquet files is whole, and of what it was made.
const LINEAGE_FILE: &str = "_lineage.json";
/// The file that says what is being made in a folder that is not whole yet: the configuration.
const UNFINISHED_FILE: &str = "_unfinished.json";

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// How many rows.
    pub rows: u64,
    /// The version of the Delta table that holds them; none of Parquet files.
    pub version: Option<u64>,
}

/// Writes all partitions.
pub(super) async fn write(
    partitions: Vec<SendableRecordBatchStream>,
    schema: &SchemaRef,
    config: &TrainConfig,
    lineage: &Lineage,
    storage: &Storage,
) -> Result<Written, TrainError> {
    match config.output.table.format {
        TableFormat::Delta => delta(partitions, schema, config, lineage, storage).await,
        TableFormat::Parquet => parquet(partitions, schema, config, lineage, storage).await,
    }
}

async fn delta(
    partitions: Vec<SendableRecordBatchStream>,
    schema: &SchemaRef,
    config: &TrainConfig,
    lineage: &Lineage,
    storage: &Storage,
) -> Result<Written, TrainError> {
    let uri = &config.output.table.uri;
    let failed = |error: deltalake::DeltaTableError| TrainError::Output { uri: uri.clone(), detail: error.to_string() };
    let view = config.views.first().map(|view| view.assignment.plan.view.clone());
    let (namespace, name) = view.map_or_else(Default::default, |view| (view.namespace, view.name));
    let spec = TableSpec {
        schema: delta_schema(schema),
        partition_by: Vec::new(),
        identity: Identity { uid: config.output.uid.clone(), owner: Owner::View { namespace, name } },
        properties: Vec::new(),
        evolves: true,
    };
    let table = lake::ensure(uri, storage, &spec).await?;
    let mut writers = JoinSet::new();
    for mut batches in partitions {
        let mut writer = Writer::new(&table, uri)?;
        writers.spawn(async move {
            let mut rows = 0;
            while let Some(batch) = batches.try_next().await? {
                writer.write(&batch).await?;
                rows += batch.num_rows() as u64;
            }
            Ok::<(u64, Vec<Add>), TrainError>((rows, writer.finish().await?))
        });
    }
    let state = table.snapshot().map_err(failed)?.clone();
    let mut actions: Vec<Action> =
        state.log_data().iter().map(|file| Action::Remove(file.remove_action(true))).collect();
    let mut rows = 0;
    while let Some(written) = writers.join_next().await {
        let (more, files) = written??;
        rows += more;
        actions.extend(files.into_iter().map(Action::Add));
    }
    let metadata = HashMap::from([(LINEAGE.to_owned(), serde_json::to_value(lineage).unwrap_or_default())]);
    let operation = DeltaOperation::Write { mode: SaveMode::Overwrite, partition_by: None, predicate: None };
    // Of two runs that set out from one version, the second would else add its rows to those of the first: a table without
    // files has none that both remove.
    let version = i64::try_from(state.version()).unwrap_or(i64::MAX).saturating_add(1);
    let properties = CommitProperties::default()
        .with_metadata(metadata)
        .with_application_transaction(Transaction::new(&config.output.uid, version));
    let done = CommitBuilder::from(properties)
        .with_actions(actions)
        .build(Some(&state as &dyn TableReference), table.log_store(), operation)
        .await
        .map_err(failed)?;
    Ok(Written { rows, version: Some(done.version()) })
}

async fn parquet(
    partitions: Vec<SendableRecordBatchStream>,
    schema: &SchemaRef,
    config: &TrainConfig,
    lineage: &Lineage,
    storage: &Storage,
) -> Result<Written, TrainError> {
    let uri = &config.output.table.uri;
    let failed = |detail: String| TrainError::Output { uri: uri.clone(), detail };
    let url = lake::address(uri)?;
    let store = storage.store(&url)?;
    let folder = Path::from_url_path(url.path()).map_err(|error| failed(error.to_string()))?;
    let unfinished = begin(store.as_ref(), &folder, config).await?;
    remove_staged(&url).map_err(|error| failed(error.to_string()))?;
    let mut writers = JoinSet::new();
    for (i, mut batches) in partitions.into_iter().enumerate() {
        let sink = BufWriter::new(store.clone(), folder.clone().join(part(i)));
        let metadata = vec![KeyValue::new(LINEAGE.to_owned(), lineage.to_json())];
        let properties = WriterProperties::builder().set_key_value_metadata(Some(metadata)).build();
        let (schema, uri) = (schema.clone(), uri.clone());
        writers.spawn(async move {
            let failed = |error: deltalake::parquet::errors::ParquetError| TrainError::Output {
                uri: uri.clone(),
                detail: error.to_string(),
            };
            let mut writer = AsyncArrowWriter::try_new(sink, schema, Some(properties)).map_err(failed)?;
            let mut rows = 0;
            while let Some(batch) = batches.try_next().await? {
                writer.write(&batch).await.map_err(failed)?;
                rows += batch.num_rows() as u64;
            }
            writer.close().await.map_err(failed)?;
            Ok::<u64, TrainError>(rows)
        });
    }
    let mut rows = 0;
    while let Some(written) = writers.join_next().await {
        rows += written??;
    }
    let put = store.put(&folder.join(LINEAGE_FILE), lineage.to_json().into_bytes().into()).await;
    put.map_err(|error| failed(error.to_string()))?;
    store.delete(&unfinished).await.map_err(|error| failed(error.to_string()))?;
    Ok(Written { rows, version: None })
}

/// The name of a partition's file.
fn part(number: usize) -> String {
    format!("part-{number:05}.parquet")
}

/// Whether a folder of Parquet files has a file of this name from here.
fn is_ours(name: &str) -> bool {
    let number = name.strip_prefix("part-").and_then(|rest| rest.strip_suffix(".parquet"));
    number.is_some_and(is_number) || [UNFINISHED_FILE, LINEAGE_FILE].contains(&name)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit())
}

/// Removes what a run that was killed left in a local folder of files that it was writing: their names end with `#` and a number,
/// and `object_store` shows them to nobody, but all who read the folder by other means find them.
fn remove_staged(folder: &Url) -> std::io::Result<()> {
    let Some(folder) = (folder.scheme() == "file").then(|| folder.to_file_path().ok()).flatten() else { return Ok(()) };
    for file in std::fs::read_dir(folder)? {
        let file = file?;
        let name = file.file_name();
        let parts = name.to_str().and_then(|name| name.rsplit_once('#'));
        if parts.is_some_and(|(name, number)| is_ours(name) && is_number(number)) {
            std::fs::remove_file(file.path())?;
        }
    }
    Ok(())
}

/// Says in an empty folder what is being made there, or empties one in which a run of this configuration was killed; the
/// file that says so.
async fn begin(store: &dyn ObjectStore, folder: &Path, config: &TrainConfig) -> Result<Path, TrainError> {
    let uri = &config.output.table.uri;
    let failed = |error: object_store::Error| TrainError::Output { uri: uri.clone(), detail: error.to_string() };
    let unfinished = folder.clone().join(UNFINISHED_FILE);
    // Serialising owned data with string keys cannot fail.
    let making = serde_json::to_string(config).unwrap_or_default();
    let there: Vec<Path> = store.list(Some(folder)).map_ok(|file| file.location).try_collect().await.map_err(failed)?;
    if there.is_empty() {
        store.put(&unfinished, making.into_bytes().into()).await.map_err(failed)?;
        return Ok(unfinished);
    }
    let ours = |file: &Path| {
        let name = file.filename().unwrap_or_default();
        *file == folder.clone().join(name) && is_ours(name)
    };
    let made = match store.get(&unfinished).await {
        Ok(found) => found.bytes().await.map_err(failed)?,
        Err(object_store::Error::NotFound { .. }) => return Err(TrainError::OutputExists { uri: uri.clone() }),
        Err(error) => return Err(failed(error)),
    };
    if made != making.as_bytes() || !there.iter().all(ours) {
        return Err(TrainError::OutputExists { uri: uri.clone() });
    }
    tracing::info!(uri, files = there.len() - 1, "what a run that was killed left there is removed");
    for file in there.iter().filter(|file| **file != unfinished) {
        store.delete(file).await.map_err(failed)?;
    }
    Ok(unfinished)
}

/// The columns in types that Delta has.
fn delta_schema(schema: &SchemaRef) -> SchemaRef {
    let field = |field: &Arc<Field>| Field::new(field.name(), delta_type(field.data_type()), true);
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}

fn delta_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::List(item) => {
            DataType::List(Field::new(item.name(), delta_type(item.data_type()), item.is_nullable()).into())
        }
        other => other.clone(),
    }
}

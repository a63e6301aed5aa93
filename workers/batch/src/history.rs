//! The source of a run: a Delta table at one version, or a folder of Parquet files as they were found at its start.
//!
//! Invariant: all that a run reads of its source is of the one [`History::version`], so that it can be read again, and so
//! that a run that finds the same version knows that nothing is new.

use std::fmt::Write as _;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::dataframe::DataFrame;
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use deltalake::DeltaTable;
use deltalake::kernel::Action;
use deltalake::logstore::get_actions;
use engine::plan::{Plan, Table, TableFormat, TimestampUnit};
use futures::TryStreamExt as _;
use lake::{LakeError, Storage};
use object_store::ObjectMeta;
use object_store::path::Path;
use sha2::{Digest, Sha256};
use thiserror::Error;
use url::Url;

use crate::config::{Rows, SourceTable};
use crate::incremental::{Changes, earliest, has_all};

/// Why a source cannot be opened.
#[derive(Debug, Error)]
pub enum HistoryError {
    /// The plan has none.
    #[error("the plan names no table to read; set spec.source.table")]
    NoTable,
    /// The lake says why.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// The files of a folder cannot be listed.
    #[error("{uri} while listing its files: {detail}")]
    List {
        /// The folder.
        uri: String,
        /// Why.
        detail: String,
    },
    /// A folder of Parquet files has no versions.
    #[error(
        "{uri} is a folder of Parquet files, which has no version {version}; read a Delta table, or leave versionAsOf out"
    )]
    NoVersions {
        /// The folder.
        uri: String,
        /// What was asked for.
        version: u64,
    },
}

impl HistoryError {
    /// Whether another try may succeed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Lake(error) => error.is_transient(),
            Self::List { .. } => true,
            Self::NoTable | Self::NoVersions { .. } => false,
        }
    }
}

/// The address of what is at `location` in the store of `url`. Whoever reads it decodes it: a `%` in a name, as Hive and
/// Spark write for what they do not want in one, is encoded once more.
fn address_of(url: &Url, location: &Path) -> String {
    let mut address = url.clone();
    if let Ok(mut segments) = address.path_segments_mut() {
        segments.clear().extend(location.parts());
    }
    address.to_string()
}

/// Whether a file below `folder` is none of its table's, by the custom of those who write such folders: a name that begins
/// with `_` or `.` is of what is not finished, or not data; that of a folder may be of a column, `_year=2023`.
fn is_hidden(folder: &Path, location: &Path) -> bool {
    let mut below = location.prefix_match(folder).into_iter().flatten();
    below.any(|part| {
        let name = part.as_ref();
        name.starts_with('.') || name.starts_with('_') && !name.contains('=')
    })
}

/// A file of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its address, or in a Delta table its path in the table's folder.
    pub path: String,
    /// How large it is.
    pub bytes: u64,
}

/// An opened source.
#[derive(Clone, Debug)]
pub struct History {
    /// What was opened.
    pub table: Table,
    /// Where it is.
    pub uri: String,
    /// What names its content: the version of a Delta table, or a hash over the names and times of files.
    pub version: String,
    /// The table, if it is a Delta table.
    pub delta: Option<DeltaTable>,
    /// The files of a folder.
    files: Vec<File>,
    /// The columns of a folder, if they are known and need not be looked for in its files.
    columns: Option<SchemaRef>,
    /// Which files of a Delta table are read, if not all.
    only: Option<Vec<String>>,
}

impl History {
    /// Opens the plan's table: at `version`, or the newest.
    ///
    /// # Errors
    /// [`HistoryError`].
    pub async fn open(
        plan: &Plan,
        version: Option<u64>,
        storage: &Storage,
        session: &SessionContext,
    ) -> Result<Self, HistoryError> {
        Self::table(plan.source.table.as_ref().ok_or(HistoryError::NoTable)?, version, storage, session).await
    }

    /// That an archive means the same time by an event as the plan does.
    ///
    /// # Errors
    /// [`LakeError::EventTime`].
    pub fn check_event_time(&self, plan: &Plan, source: Option<&SourceTable>) -> Result<(), HistoryError> {
        match (&self.delta, source) {
            (Some(table), Some(SourceTable { rows: Rows::Archive, .. })) => {
                Ok(lake::bronze::check_event_time(table, &self.uri, Some(&plan.source.timestamp))?)
            }
            _ => Ok(()),
        }
    }

    /// Opens any table: at `version`, or the newest.
    ///
    /// # Errors
    /// [`HistoryError`].
    pub async fn table(
        table: &Table,
        version: Option<u64>,
        storage: &Storage,
        session: &SessionContext,
    ) -> Result<Self, HistoryError> {
        match table.format {
            TableFormat::Delta => Self::delta(table, version, storage).await,
            TableFormat::Parquet => match version {
                Some(version) => Err(HistoryError::NoVersions { uri: table.uri.clone(), version }),
                None => Self::parquet(table, storage, session).await,
            },
        }
    }

    /// Opens what another process opened and listed, to read [some files](Self::of_files) of it: a Delta table at its version,
    /// or a folder with its columns.
    ///
    /// # Errors
    /// [`HistoryError`].
    pub async fn open_version(
        table: &Table,
        version: Option<u64>,
        columns: Option<SchemaRef>,
        storage: &Storage,
        session: &SessionContext,
    ) -> Result<Self, HistoryError> {
        if table.format == TableFormat::Delta {
            return Self::delta(table, version, storage).await;
        }
        let url = lake::address(&table.uri)?;
        session.register_object_store(&url, storage.store(&url)?);
        Ok(Self { columns, ..Self::folder(table, String::new(), Vec::new()) })
    }

    async fn delta(table: &Table, version: Option<u64>, storage: &Storage) -> Result<Self, HistoryError> {
        let delta = lake::open(&table.uri, storage, version).await?;
        // A table is loaded at some version, or it could not be opened.
        let version = delta.version().unwrap_or_default().to_string();
        Ok(Self { delta: Some(delta), ..Self::folder(table, version, Vec::new()) })
    }

    fn folder(table: &Table, version: String, files: Vec<File>) -> Self {
        Self { table: table.clone(), uri: table.uri.clone(), version, delta: None, files, columns: None, only: None }
    }

    async fn parquet(table: &Table, storage: &Storage, session: &SessionContext) -> Result<Self, HistoryError> {
        let uri = &table.uri;
        let failed = |detail: String| HistoryError::List { uri: uri.clone(), detail };
        let url = lake::address(uri)?;
        let store = storage.store(&url)?;
        session.register_object_store(&url, store.clone());
        let prefix = Path::from_url_path(url.path()).map_err(|error| failed(error.to_string()))?;
        let mut files: Vec<ObjectMeta> =
            store.list(Some(&prefix)).try_collect().await.map_err(|error| failed(error.to_string()))?;
        files.retain(|file| file.location.extension() == Some("parquet") && !is_hidden(&prefix, &file.location));
        if files.is_empty() {
            return Err(LakeError::Missing { uri: uri.clone() }.into());
        }
        files.sort_by(|a, b| a.location.cmp(&b.location));
        let mut hash = Sha256::new();
        for file in &files {
            hash.update(format!("{} {} {:?}\n", file.location, file.size, file.last_modified));
        }
        let version = hash.finalize().iter().take(8).fold("files-".to_owned(), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        });
        let file = |file: &ObjectMeta| File { path: address_of(&url, &file.location), bytes: file.size };
        Ok(Self::folder(table, version, files.iter().map(file).collect()))
    }

    /// Its files, in no order.
    ///
    /// # Errors
    /// What the table says.
    pub fn files(&self) -> Result<Vec<File>, HistoryError> {
        let Some(table) = &self.delta else { return Ok(self.files.clone()) };
        let state = table
            .snapshot()
            .map_err(|error| HistoryError::List { uri: self.uri.clone(), detail: error.to_string() })?;
        let file = |file: deltalake::kernel::LogicalFileView| File {
            path: file.path().into_owned(),
            bytes: u64::try_from(file.size()).unwrap_or(0),
        };
        Ok(state.log_data().iter().map(file).collect())
    }

    /// These [files](Self::files) of it.
    #[must_use]
    pub fn of_files(&self, files: Vec<String>) -> Self {
        let mut part = self.clone();
        match part.delta {
            Some(_) => part.only = Some(files),
            None => part.files = files.into_iter().map(|path| File { path, bytes: 0 }).collect(),
        }
        part
    }

    /// The version of a Delta table.
    #[must_use]
    pub fn delta_version(&self) -> Option<u64> {
        self.delta.as_ref()?.version()
    }

    /// What tells a Delta table from one that was made anew in its place, whose versions begin anew.
    #[must_use]
    pub fn table_id(&self) -> Option<String> {
        let state = self.delta.as_ref()?.snapshot().ok()?;
        Some(state.metadata().id().to_owned())
    }

    /// The number of [`Self::version`], of a Delta table.
    #[must_use]
    pub fn version_number(&self) -> Option<i64> {
        self.delta_version().and_then(|version| i64::try_from(version).ok())
    }

    /// What was done to a Delta table since `version`, where event times are in column `time` of `unit`; `None` if it has no
    /// history, or `version` is not before this one. `all`: a row without a time there may be an event of any time.
    ///
    /// # Errors
    /// What the store says.
    pub async fn changes(
        &self,
        version: &str,
        time: &str,
        unit: TimestampUnit,
        all: bool,
    ) -> Result<Option<Changes>, HistoryError> {
        let failed =
            |error: deltalake::DeltaTableError| HistoryError::List { uri: self.uri.clone(), detail: error.to_string() };
        let (Some(table), Ok(since)) = (&self.delta, version.parse::<u64>()) else { return Ok(None) };
        let Some(now) = table.version().filter(|now| *now >= since) else { return Ok(None) };
        let schema = lake::table::schema(table, &self.uri)?;
        let instants =
            schema.field_with_name(time).is_ok_and(|field| matches!(field.data_type(), DataType::Timestamp(..)));
        let mut changes = Changes::default();
        for version in since + 1..=now {
            let Some(entry) = table.log_store().read_commit_entry(version).await.map_err(failed)? else {
                changes.other = Some("the source's log entries since the last run are not kept any more");
                return Ok(Some(changes));
            };
            for action in get_actions(version, &entry).map_err(failed)? {
                match action {
                    Action::Add(add) if add.data_change => {
                        let stats = add.stats.as_deref().filter(|stats| !all || has_all(stats, time));
                        changes.added.push(stats.and_then(|stats| earliest(stats, time, unit, instants)));
                    }
                    Action::Remove(remove) if remove.data_change => {
                        changes.other = Some("rows were removed from the source or changed in it");
                    }
                    Action::Metadata(_) | Action::Protocol(_) => {
                        changes.other = Some("the source's columns or properties changed");
                    }
                    _ => {}
                }
            }
        }
        Ok(Some(changes))
    }

    /// How many rows it holds, if its files say.
    #[must_use]
    pub fn rows(&self) -> Option<u64> {
        let state = self.delta.as_ref()?.snapshot().ok()?;
        let files = state.log_data();
        files.iter().map(|file| file.num_records().and_then(|rows| u64::try_from(rows).ok())).sum()
    }

    /// All of it, to be projected and filtered.
    ///
    /// # Errors
    /// What the store says.
    pub async fn frame(&self, session: &SessionContext) -> Result<DataFrame, HistoryError> {
        if let Some(table) = &self.delta {
            return Ok(match &self.only {
                Some(files) => lake::source::frame_of(table, &self.uri, files, session).await?,
                None => lake::source::frame(table, &self.uri, session).await?,
            });
        }
        let options = ParquetReadOptions { schema: self.columns.as_deref(), ..ParquetReadOptions::default() };
        let files: Vec<String> = self.files.iter().map(|file| file.path.clone()).collect();
        let frame = session.read_parquet(files, options).await;
        frame.map_err(|error| HistoryError::List { uri: self.uri.clone(), detail: error.to_string() })
    }
}

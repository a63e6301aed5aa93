//! The source of a run: a Delta table at one version, or a folder of Parquet files as they were found at its start.
//!
//! Invariant: all that a run reads of its source is of the one [`History::version`], so that it can be read again, and so
//! that a run that finds the same version knows that nothing is new.

use std::fmt::Write as _;

use arrow::datatypes::DataType;
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

use crate::config::{Rows, SourceTable};
use crate::incremental::{Changes, earliest};

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

/// An opened source.
#[derive(Debug)]
pub struct History {
    /// Where it is.
    pub uri: String,
    /// What names its content: the version of a Delta table, or a hash over the names and times of files.
    pub version: String,
    /// The table, if it is a Delta table.
    pub delta: Option<DeltaTable>,
    files: Vec<String>,
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
        let Table { uri, format } = table;
        match format {
            TableFormat::Delta => Self::delta(uri, version, storage).await,
            TableFormat::Parquet => match version {
                Some(version) => Err(HistoryError::NoVersions { uri: uri.clone(), version }),
                None => Self::parquet(uri, storage, session).await,
            },
        }
    }

    async fn delta(uri: &str, version: Option<u64>, storage: &Storage) -> Result<Self, HistoryError> {
        let table = lake::open(uri, storage, version).await?;
        // A table is loaded at some version, or it could not be opened.
        let version = table.version().unwrap_or_default().to_string();
        Ok(Self { uri: uri.to_owned(), version, delta: Some(table), files: Vec::new() })
    }

    async fn parquet(uri: &str, storage: &Storage, session: &SessionContext) -> Result<Self, HistoryError> {
        let failed = |detail: String| HistoryError::List { uri: uri.to_owned(), detail };
        let url = lake::address(uri)?;
        let store = storage.store(&url)?;
        session.register_object_store(&url, store.clone());
        let prefix = Path::from_url_path(url.path()).map_err(|error| failed(error.to_string()))?;
        let mut files: Vec<ObjectMeta> =
            store.list(Some(&prefix)).try_collect().await.map_err(|error| failed(error.to_string()))?;
        files.retain(|file| file.location.extension() == Some("parquet"));
        if files.is_empty() {
            return Err(LakeError::Missing { uri: uri.to_owned() }.into());
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
        let mut root = url.clone();
        root.set_path("/");
        let files = files.iter().map(|file| format!("{root}{}", file.location)).collect();
        Ok(Self { uri: uri.to_owned(), version, delta: None, files })
    }

    /// The number of [`Self::version`], of a Delta table.
    #[must_use]
    pub fn version_number(&self) -> Option<i64> {
        self.delta.as_ref()?.version().and_then(|version| i64::try_from(version).ok())
    }

    /// What was done to a Delta table since `version`, where event times are in column `time` of `unit`; `None` if it has no
    /// history, or `version` is not before this one.
    ///
    /// # Errors
    /// What the store says.
    pub async fn changes(
        &self,
        version: &str,
        time: &str,
        unit: TimestampUnit,
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
                        let stats = add.stats.as_deref();
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
            return Ok(lake::source::frame(table, &self.uri, session).await?);
        }
        let frame = session.read_parquet(self.files.clone(), ParquetReadOptions::default()).await;
        frame.map_err(|error| HistoryError::List { uri: self.uri.clone(), detail: error.to_string() })
    }
}

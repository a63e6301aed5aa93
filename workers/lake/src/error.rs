//! Why something about a table failed. Messages name the table, what was being done and the fix; never a credential.

use std::path::PathBuf;

use datafusion::error::DataFusionError;
use deltalake::DeltaTableError;
use thiserror::Error;

/// What fails at the lake.
#[derive(Debug, Error)]
pub enum LakeError {
    /// The folder of credentials cannot be read.
    #[error("cannot read {path}: {source}; check that the Secret is mounted there and readable by this user")]
    Credentials {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// One of the settings in that folder is not one we can use.
    #[error("setting {key} in {path}: {detail}")]
    Setting {
        /// The file's name; its content is never shown.
        key: String,
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        detail: &'static str,
    },
    /// Not an address of a table.
    #[error(
        "{uri:?} is not the address of a table: {detail}; write s3://, gs://, az://, abfss://, file:// or an absolute path"
    )]
    Address {
        /// What was given.
        uri: String,
        /// What is wrong.
        detail: String,
    },
    /// The object store's client cannot be made.
    #[error("cannot reach the store of {uri}: {source}; check the credentials' keys")]
    Store {
        /// The table.
        uri: String,
        /// Why.
        source: object_store::Error,
    },
    /// There is no table.
    #[error("there is no table at {uri}")]
    Missing {
        /// Where one was looked for.
        uri: String,
    },
    /// That version is not there, or not any more.
    #[error("{uri} has no version {version} to read: {detail}; it was never written, or its retention has passed")]
    Version {
        /// The table.
        uri: String,
        /// The version asked for.
        version: u64,
        /// What the table says.
        detail: String,
    },
    /// The table belongs to another.
    #[error("{uri} belongs to {found}, not to {expected}; name another lake, or remove that table")]
    Foreign {
        /// The table.
        uri: String,
        /// Whose it is.
        found: String,
        /// Who asked.
        expected: String,
    },
    /// The archive knows the times of its events by another field than the reader's.
    #[error(
        "{uri} knows the times of its events by {found}, not by {expected}; all views of a topic that is archived must agree on source.timestamp, or be of different Architectures"
    )]
    EventTime {
        /// The archive.
        uri: String,
        /// The field it goes by, and its unit.
        found: String,
        /// The reader's.
        expected: String,
    },
    /// The table's columns are not what is to be written.
    #[error("{uri}, column {column}: {detail}")]
    Schema {
        /// The table.
        uri: String,
        /// The column.
        column: String,
        /// How it differs, and what to do.
        detail: String,
    },
    /// Somebody else has done what was to be done, or more: whoever is told must look at the table anew.
    #[error("{uri}: transaction {app_id} stands at {found:?}, not at {expected:?}: another writer was here")]
    Superseded {
        /// The table.
        uri: String,
        /// The transaction's id.
        app_id: String,
        /// What stood there when this writer last looked.
        expected: Option<i64>,
        /// What stands there.
        found: Option<i64>,
    },
    /// An archive does not have all that an erasure covers, so that it would get it afterwards.
    #[error(
        "{uri} has partition {partition} up to offset {at}, and what is to be erased reaches to {end}: its worker reads on, or is to be started"
    )]
    Behind {
        /// The archive.
        uri: String,
        /// The first partition of which that is so.
        partition: i32,
        /// Its next offset.
        at: i64,
        /// The offset that is waited for.
        end: i64,
    },
    /// Other writers came first too many times in a row.
    #[error("{uri}: {attempts} attempts to commit were each overtaken by other writers")]
    Contended {
        /// The table.
        uri: String,
        /// How many.
        attempts: u32,
    },
    /// Delta refuses, or its store fails.
    #[error("{uri} while {doing}: {source}")]
    Delta {
        /// The table.
        uri: String,
        /// What was being done.
        doing: &'static str,
        /// Why.
        source: Box<DeltaTableError>,
    },
    /// A query fails.
    #[error("{uri} while {doing}: {source}")]
    Query {
        /// The table.
        uri: String,
        /// What was being done.
        doing: &'static str,
        /// Why.
        source: Box<DataFusionError>,
    },
    /// What a table says of itself does not read.
    #[error("{uri}: {what} is {found:?}; {fix}")]
    Metadata {
        /// The table.
        uri: String,
        /// Which property or metadata.
        what: &'static str,
        /// What was found.
        found: String,
        /// What to do.
        fix: &'static str,
    },
    /// The session's spill folder cannot be used.
    #[error("spill folder {path}: {detail}")]
    Spill {
        /// Where.
        path: PathBuf,
        /// Why.
        detail: String,
    },
    /// A view cannot be made into a table.
    #[error("{what}: {detail}")]
    Definition {
        /// Which part of the definition.
        what: String,
        /// What is wrong, and the fix.
        detail: String,
    },
}

impl LakeError {
    /// Wraps what Delta says.
    pub(crate) fn delta(uri: &str, doing: &'static str) -> impl Fn(DeltaTableError) -> Self {
        move |source| Self::Delta { uri: uri.to_owned(), doing, source: Box::new(source) }
    }

    /// Wraps what a query says.
    pub fn query(uri: &str, doing: &'static str) -> impl Fn(DataFusionError) -> Self {
        move |source| Self::Query { uri: uri.to_owned(), doing, source: Box::new(source) }
    }

    /// Whether trying the same again, later, may succeed: the store was away, or other writers were faster.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Delta { .. }
                | Self::Query { .. }
                | Self::Superseded { .. }
                | Self::Contended { .. }
                | Self::Behind { .. }
                | Self::Store { .. }
        )
    }
}

//! What a training set is made of.

use std::collections::BTreeMap;
use std::path::Path;

use engine::plan::{Assignment, Table, TimestampField};
use serde::{Deserialize, Serialize};

use crate::config::{ConfigError, SourceTable};

/// The configuration of one training set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrainConfig {
    /// The questions: a table with a timestamp, the keys of the views' entities, and any other columns, such as labels.
    pub asks: Table,
    /// The version of a Delta table of questions; the newest unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asks_version_as_of: Option<u64>,
    /// The column of the questions that says when.
    pub timestamp: TimestampField,
    /// The views whose features are asked for. Of more than one, features are named `view__feature`.
    pub views: Vec<TrainView>,
    /// Where the training set goes.
    pub output: Output,
}

/// One view of a training set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrainView {
    /// The plan, of one revision; the incarnation is of no matter.
    pub assignment: Assignment,
    /// What is read instead of the plan's own table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceTable>,
    /// The folder of all tables, under which the view's tombstones are: events of who was erased are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lake: Option<String>,
    /// The version of its Delta table; the newest unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_as_of: Option<u64>,
    /// By key of its entity, the column of the questions that holds it; a key that is not named here is called the same.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub keys: BTreeMap<String, String>,
}

impl TrainView {
    /// The questions' column that holds `key`.
    #[must_use]
    pub fn column<'a>(&'a self, key: &'a str) -> &'a str {
        self.keys.get(key).map_or(key, String::as_str)
    }
}

/// Where a training set goes: a new version of a Delta table, or an empty folder that is filled with Parquet files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Output {
    /// The table.
    pub table: Table,
    /// The UID of whose it is, as a property of a Delta table.
    pub uid: String,
}

impl TrainConfig {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`ConfigError::File`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let failed = |detail: String| ConfigError::File { path: path.to_owned(), detail };
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        let config: Self = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
        if config.views.is_empty() {
            return Err(failed("views: name at least one".to_owned()));
        }
        Ok(config)
    }
}

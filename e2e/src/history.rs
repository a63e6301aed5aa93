//! The clickstream as a history table on the local cluster's S3, written by other people's code (Python's deltalake).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use thiserror::Error;

use crate::clickstream::Clickstream;
use crate::cluster::Cluster;
use crate::oracle::Row;
use crate::python;

/// Why a table could not be written or read.
#[derive(Debug, Error)]
#[error("a table by other people's code: {0}")]
pub struct HistoryError(String);

/// What is written where.
#[derive(Clone, Debug, Serialize)]
pub struct History {
    /// Which events: SQL over `user_id`, `session_id`, `event`, `ts` and `i`, the event's number in the order of time.
    #[serde(rename = "where")]
    pub events: String,
    /// Such as `s3://lake/shop/clicks`.
    pub uri: String,
    /// `Delta` or `Parquet`.
    pub format: &'static str,
    /// `overwrite` or `append`.
    pub mode: &'static str,
    /// How the store is reached, by the names of `object_store`.
    pub storage: BTreeMap<String, String>,
    /// Table properties.
    pub properties: BTreeMap<String, String>,
    /// By column, the SQL that stands in place of it, or beside those that there are.
    pub columns: BTreeMap<String, String>,
}

/// What was written.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Written {
    /// How many events.
    pub rows: usize,
    /// The Delta table's version; none of a folder of Parquet.
    pub version: Option<i64>,
}

impl History {
    /// The whole clickstream as a new Delta table of the cluster's S3 that is said to be complete until a time.
    #[must_use]
    pub fn clickstream(cluster: &Cluster, uri: &str, complete_until: Timestamp) -> Self {
        Self {
            events: "true".to_owned(),
            uri: uri.to_owned(),
            format: "Delta",
            mode: "overwrite",
            storage: cluster.lake(),
            properties: BTreeMap::from([("featuremill.completeUntil".to_owned(), complete_until.to_string())]),
            columns: BTreeMap::new(),
        }
    }

    /// Of these events only; see [`Self::events`].
    #[must_use]
    pub fn of(mut self, events: &str) -> Self {
        events.clone_into(&mut self.events);
        self
    }

    /// With SQL in place of some columns, or beside those that there are.
    #[must_use]
    pub fn with(mut self, columns: &[(&str, &str)]) -> Self {
        self.columns = columns.iter().map(|(name, sql)| ((*name).to_owned(), (*sql).to_owned())).collect();
        self
    }

    /// Writes it.
    ///
    /// # Errors
    /// [`HistoryError`] with what Python said.
    pub fn write(&self, clickstream: &Clickstream) -> Result<Written, HistoryError> {
        let mut request = serde_json::to_value(self).map_err(|e| HistoryError(e.to_string()))?;
        request["csv"] = clickstream.folder.join("ecom.csv").to_string_lossy().into();
        request["shift_ms"] = clickstream.shift_ms.into();
        python::ask(clickstream, "table.py", &request).map_err(HistoryError)
    }
}

/// The rows of a Delta table by other people's code: a value by column, times in milliseconds.
///
/// # Errors
/// [`HistoryError`] with what Python said.
pub fn rows(
    clickstream: &Clickstream,
    uri: &str,
    storage: &BTreeMap<String, String>,
) -> Result<Vec<Row>, HistoryError> {
    python::ask(clickstream, "rows.py", &json!({"uri": uri, "storage": storage})).map_err(HistoryError)
}

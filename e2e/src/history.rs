//! The clickstream as a history table on the local cluster's S3, written by other people's code (Python's deltalake).

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::clickstream::Clickstream;
use crate::cluster::Cluster;

/// Why the table could not be written.
#[derive(Debug, Error)]
#[error("writing the history table (e2e/clickstream/table.py) failed: {0}")]
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
    /// The whole clickstream as a new Delta table of the cluster's S3 that is said to
    /// be complete until a time.
    #[must_use]
    pub fn clickstream(cluster: &Cluster, uri: &str, complete_until: Timestamp) -> Self {
        Self {
            events: "true".to_owned(),
            uri: uri.to_owned(),
            format: "Delta",
            mode: "overwrite",
            storage: cluster.lake(),
            properties: BTreeMap::from([("featuremill.completeUntil".to_owned(), complete_until.to_string())]),
        }
    }

    /// Of these events only; see [`Self::events`].
    #[must_use]
    pub fn of(mut self, events: &str) -> Self {
        events.clone_into(&mut self.events);
        self
    }

    /// Writes it.
    ///
    /// # Errors
    /// [`HistoryError`] with what Python said.
    pub fn write(&self, clickstream: &Clickstream) -> Result<Written, HistoryError> {
        let error = |e: &dyn std::fmt::Display| HistoryError(e.to_string());
        let mut request = serde_json::to_value(self).map_err(|e| error(&e))?;
        request["csv"] = clickstream.folder.join("ecom.csv").to_string_lossy().into();
        request["shift_ms"] = clickstream.shift_ms.into();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clickstream/table.py");
        let mut child = Command::new(clickstream.folder.join("venv/bin/python"))
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| error(&e))?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(request.to_string().as_bytes()).map_err(|e| error(&e))?;
        }
        let output = child.wait_with_output().map_err(|e| error(&e))?;
        if !output.status.success() {
            return Err(HistoryError(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        serde_json::from_slice(&output.stdout).map_err(|e| error(&e))
    }
}

//! What a run of `train` tells whoever started it: one small JSON object in a file of its own.
//!
//! Invariant: it fits into 4,096 bytes, all that Kubernetes keeps of a container's last words. So it names views and
//! versions and leaves out where their tables are, which the configuration says.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::TrainError;
use super::lineage::Lineage;
use super::output::Written;

/// The longest text of an error that is told, in bytes.
const MAX_ERROR: usize = 2_048;

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", untagged)]
pub enum Report {
    /// There is a training set.
    #[serde(rename_all = "camelCase")]
    Made {
        /// How many rows it has.
        rows: u64,
        /// The version of its Delta table; none of Parquet files.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<u64>,
        /// The version of the questions.
        asks: String,
        /// The views, in the configuration's order.
        views: Vec<ViewReport>,
    },
    /// There is none.
    Failed {
        /// Why.
        error: String,
    },
}

/// What a view's features were computed from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewReport {
    /// Its name, without the namespace.
    pub view: String,
    /// The revision.
    pub revision: String,
    /// The version of the table of its events.
    pub version: String,
}

impl Report {
    /// Of a training set that was made.
    #[must_use]
    pub fn made(written: &Written, lineage: &Lineage) -> Self {
        let view = |view: &super::lineage::ViewLineage| ViewReport {
            view: view.view.rsplit('/').next().unwrap_or_default().to_owned(),
            revision: view.revision.clone(),
            version: view.events.version.clone(),
        };
        Self::Made {
            rows: written.rows,
            version: written.version,
            asks: lineage.asks.version.clone(),
            views: lineage.views.iter().map(view).collect(),
        }
    }

    /// Of one that was not.
    #[must_use]
    pub fn failed(error: &TrainError) -> Self {
        let mut error = error.to_string();
        let end = (0..=error.len().min(MAX_ERROR)).rev().find(|i| error.is_char_boundary(*i)).unwrap_or(0);
        error.truncate(end);
        Self::Failed { error }
    }

    /// Writes it to `path`, in place of what stands there.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        // Serialising owned data with string keys cannot fail. Written in place: Kubernetes mounts the file itself.
        std::fs::write(path, serde_json::to_string(self).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::train::lineage::{TableVersion, ViewLineage};

    #[test]
    fn the_largest_report_fits_and_reads_again() {
        let table = || TableVersion { uri: format!("s3://{}", "u".repeat(1_000)), version: "f".repeat(64) };
        let view = |i: usize| ViewLineage {
            view: format!("{}/{i:040}", "n".repeat(63)),
            revision: "0123456789".to_owned(),
            semantics: 1,
            events: table(),
        };
        let lineage = Lineage { asks: table(), views: (0..16).map(view).collect() };
        let report = Report::made(&Written { rows: u64::MAX, version: Some(u64::MAX) }, &lineage);
        let text = serde_json::to_string(&report).unwrap();
        assert!(text.len() <= 4_096, "{}", text.len());
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);

        let long = TrainError::OutputExists { uri: "ü".repeat(3_000) };
        let text = serde_json::to_string(&Report::failed(&long)).unwrap();
        assert!(text.len() <= 4_096 && matches!(serde_json::from_str(&text).unwrap(), Report::Failed { .. }));
    }
}

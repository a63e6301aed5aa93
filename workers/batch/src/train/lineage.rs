//! Of what a training set was made: written into its metadata, so that it can be made again.

use serde::{Deserialize, Serialize};

use super::stage::View;
use crate::history::History;

/// The key of the lineage in metadata of Parquet files and Delta commits.
pub const LINEAGE: &str = "featuremill.lineage";

/// Everything that a training set depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lineage {
    /// The questions.
    pub asks: TableVersion,
    /// The views.
    pub views: Vec<ViewLineage>,
}

/// A table at a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TableVersion {
    /// Where it is.
    pub uri: String,
    /// Its version, or a hash over its files.
    pub version: String,
}

/// One view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ViewLineage {
    /// `namespace/name`.
    pub view: String,
    /// The revision.
    pub revision: String,
    /// The engine's semantics.
    pub semantics: u32,
    /// Its events.
    pub events: TableVersion,
}

impl TableVersion {
    fn of(history: &History) -> Self {
        Self { uri: history.uri.clone(), version: history.version.clone() }
    }
}

impl Lineage {
    /// Of questions, and no view yet.
    #[must_use]
    pub fn new(asks: &History) -> Self {
        Self { asks: TableVersion::of(asks), views: Vec::new() }
    }

    /// Adds a view.
    pub(super) fn add(&mut self, view: &View) {
        let plan = view.plan();
        self.views.push(ViewLineage {
            view: format!("{}/{}", plan.view.namespace, plan.view.name),
            revision: plan.revision.clone(),
            semantics: plan.semantics,
            events: TableVersion::of(view.history()),
        });
    }

    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Serialising owned data with string keys cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

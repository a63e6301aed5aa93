//! What one run is handed: the plan, where its tables are, and the limits of its quality gate.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::plan::{Assignment, Plan, Table};
use lake::silver::{Rule, Silver};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::gate::Limits;

/// Columns of the feature table that are ours.
pub const RESERVED: [&str; 3] = [AS_OF, REVISION, GENERATION];
/// The horizon.
pub const AS_OF: &str = "as_of";
/// The plan's revision.
pub const REVISION: &str = lake::gold::REVISION;
/// The generation's number.
pub const GENERATION: &str = "generation";

/// The configuration of a view's batch runs, as the operator writes it into a `ConfigMap`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BatchConfig {
    /// The plan, and the incarnation of the rows it fills.
    pub assignment: Assignment,
    /// Where the feature table is, a Delta table: `file://`, `s3://`, `gs://` or `abfss://`.
    pub feature_table: String,
    /// What is read instead of the plan's own table: the view's Silver, or the archive of its topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceTable>,
    /// What is brought up to the archive before the run reads [`Self::source`], which is made by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silver: Option<SilverStep>,
    /// The folder of all tables, under which the view's tombstones are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lake: Option<String>,
    /// The limits that a generation must keep to be published.
    #[serde(default)]
    pub gate: Limits,
    /// How it is known up to when the source is complete.
    #[serde(default)]
    pub completeness: Completeness,
    /// The version of a Delta source to read; the newest unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_as_of: Option<u64>,
    /// Whether to compute everything anew even if nothing seems to have changed.
    #[serde(default)]
    pub full_refresh: bool,
    /// The cluster that events are folded on, if not by the run itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterConfig>,
}

/// A Ballista cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterConfig {
    /// Where its scheduler is: `http://host:port`.
    pub scheduler_url: String,
    /// Into how many partitions the work is dealt.
    pub partitions: NonZeroUsize,
}

/// A table that holds a view's events in a form of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceTable {
    /// The table.
    pub table: Table,
    /// What its rows are.
    pub rows: Rows,
}

/// How Silver is made of the archive; [`lake::silver::Silver`] says what its fields mean.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SilverStep {
    /// The archive of the topic.
    pub bronze: String,
    /// The table that is made; its quarantine stands beside it.
    pub table: String,
    /// The folder of all tables, under which the view's tombstones are.
    pub lake: String,
    /// The columns that tell events apart.
    #[serde(default)]
    pub dedup: Vec<String>,
    /// What must hold of an event.
    #[serde(default)]
    pub rules: Vec<SilverRule>,
}

/// A named expression that must hold of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SilverRule {
    /// The reason under which an event is quarantined.
    pub name: String,
    /// SQL over the source's columns.
    pub expression: String,
}

impl SilverStep {
    /// The step as the lake carries it out.
    #[must_use]
    pub fn silver(&self, plan: Arc<Plan>) -> Silver {
        let rule = |rule: &SilverRule| Rule { name: rule.name.clone(), sql: rule.expression.clone() };
        Silver {
            dedup: self.dedup.clone(),
            rules: self.rules.iter().map(rule).collect(),
            bronze: self.bronze.clone(),
            silver: self.table.clone(),
            tombstones: lake::erase::uri(&self.lake, &plan),
            plan,
        }
    }
}

/// What the rows of a [`SourceTable`] are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rows {
    /// Events with the view's columns, and their time in a column of its own: Silver.
    Silver,
    /// Records of a topic as they were: Bronze. They are decoded as the stream worker decodes them, and count by the same
    /// rule on their record's time.
    Archive,
}

/// A plan that reads `source` instead of its own table.
#[must_use]
pub fn reading(plan: &Plan, source: Option<&SourceTable>) -> Plan {
    let mut plan = plan.clone();
    if let Some(SourceTable { table, rows }) = source {
        plan.source.table = Some(table.clone());
        if *rows == Rows::Silver {
            lake::silver::EVENT_TIME.clone_into(&mut plan.source.timestamp.field);
        }
    }
    plan
}

/// How it is known up to which event time a source holds every event. Never by the clock or the schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Completeness {
    /// The table says so: its property `featuremill.completeUntil`, or that of its newest commit that has one.
    #[default]
    Declared,
    /// It is written in order of time: it is complete up to its newest event.
    NewestEvent,
    /// It is an archive of a topic: for each partition up to the newest event time it holds.
    Archive,
}

/// Why a configuration cannot be used. Trying again cannot help.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file does not read.
    #[error("configuration {path}: {detail}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The plan does not run here.
    #[error("view {view}, revision {revision}: {detail}")]
    Plan {
        /// `namespace/name`.
        view: String,
        /// The revision.
        revision: String,
        /// Why.
        detail: String,
    },
    /// A column of the feature table would stand there twice.
    #[error(
        "{name:?} cannot be a {role}: the feature table has a column of that name already ({RESERVED:?} and the entity's keys)"
    )]
    Column {
        /// The name.
        name: String,
        /// What it is.
        role: &'static str,
    },
}

impl BatchConfig {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let failed = |detail: String| ConfigError::File { path: path.to_owned(), detail };
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        let config: Self = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
        config.check()?;
        Ok(config)
    }

    /// That the feature table's columns have distinct names.
    fn check(&self) -> Result<(), ConfigError> {
        let plan = &self.assignment.plan;
        let twice = |name: &str, role| ConfigError::Column { name: name.to_owned(), role };
        // Delta compares names of columns without case.
        let same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
        if let Some(key) = plan.entity.iter().find(|key| RESERVED.iter().any(|name| same(name, key))) {
            return Err(twice(key, "key"));
        }
        let taken = |name: &str| {
            RESERVED.iter().any(|other| same(other, name)) || plan.entity.iter().any(|other| same(other, name))
        };
        match plan.features.iter().find(|feature| taken(&feature.name)) {
            Some(feature) => Err(twice(&feature.name, "feature")),
            None => Ok(()),
        }
    }
}

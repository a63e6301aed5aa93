//! Whether a candidate revision may take the place of the live one, by the values that both give for the same entities
//! as of the same time.
//!
//! Pure: readings in, a [`Report`] out. Invariants:
//! - A feature that both revisions have must have equal values, but for a bounded share of entities, unless it was announced
//!   to change: who reads it under its name would not notice otherwise.
//! - One that was announced to change is held against its former distribution, if a limit is set; NULL is a value like any
//!   other there. Where that distribution cannot be told, the limit is not kept.
//! - An entity without a row reads as one without events, so that rows which only hold what is past count as nothing.
//! - What cannot be read exactly as of that time is not compared; if of any one feature too little was compared there is no
//!   verdict.
//! - What is remembered does not grow with the number of entities.

mod distribution;
mod histogram;
mod judge;
mod kind;
mod report;
#[cfg(test)]
mod tests;
mod verdict;

pub(crate) use distribution::{Cell, LONG};
pub use histogram::Histogram;
pub use judge::{Judge, Reading};
pub(crate) use judge::{distance, text};
pub use kind::{Kind, equal};
pub use report::{Example, FeatureComparison, Report, Verdict};

use serde::{Deserialize, Serialize};

use crate::plan::Plan;

/// What is to be compared, and what is tolerated: made by the operator, handed to the Job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Comparison {
    /// The name of this comparison; the report carries it, so that an older one is never taken for it.
    pub name: String,
    /// The plan of the live revision.
    pub former: Plan,
    /// The plan of the one that is to take its place.
    pub candidate: Plan,
    /// How many entities are compared: those whose keys have the smallest hashes.
    pub sample_entities: usize,
    /// What is tolerated.
    pub limits: Limits,
    /// Features whose values are announced to change.
    #[serde(default)]
    pub expected_changes: Vec<String>,
}

/// What is tolerated.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// The share of entities, 0 to 1, for which a feature's value may differ that was not announced to change.
    pub max_mismatch_ratio: f64,
    /// How large the population stability index of one may be that was; `None`: it may move in any way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_psi: Option<f64>,
}

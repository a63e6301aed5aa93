//! What a comparison says, as it stands in the online store and in the view's status.

use serde::{Deserialize, Serialize};

use super::{Histogram, Kind};

/// What a comparison says. Values are texts; entities are named by the hash of their keys, never by the keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The comparison's name.
    pub name: String,
    /// The live revision.
    pub former: String,
    /// The one that is to take its place.
    pub candidate: String,
    /// The time that both were read as of, in milliseconds.
    pub as_of_ms: i64,
    /// How many entities were read.
    pub entities: usize,
    /// What follows.
    pub verdict: Verdict,
    /// The candidate's features in its order, then those that it no longer has.
    pub features: Vec<FeatureComparison>,
}

/// What follows from a comparison.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all_fields = "camelCase")]
pub enum Verdict {
    /// The candidate may take over.
    Passed,
    /// It may not.
    Failed {
        /// Which feature passed which limit, and by how much, each in a sentence, the worst first.
        reasons: Vec<String>,
    },
    /// Too little could be compared: try again.
    Inconclusive {
        /// Why.
        reason: String,
    },
}

/// What was seen of one feature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FeatureComparison {
    /// Its name.
    pub name: String,
    /// What it is to the live revision.
    pub kind: Kind,
    /// For how many entities it was read exactly on both sides.
    pub compared: usize,
    /// For how many it could not be read exactly as of that time.
    pub unreadable: usize,
    /// For how many of those compared the values differ, on re-reading, too.
    pub mismatches: usize,
    /// The share of NULLs in the live revision, of those compared.
    pub former_null_share: f64,
    /// The share of NULLs in the candidate.
    pub candidate_null_share: f64,
    /// The population stability index, NULLs included; `None` if there are too few values of either revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<f64>,
    /// Kolmogorov and Smirnov's statistic of what is not NULL; `None` if it is no number, or there are too few.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ks: Option<f64>,
    /// How the numbers of both sides are spread; `None` if they are no numbers, or too few to see anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub histogram: Option<Histogram>,
    /// A few of the mismatches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<Example>,
}

/// One entity for which the values differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Example {
    /// The [hash](crate::row::entity_hash) that logs and errors name the entity by, too.
    pub entity: String,
    /// The live revision's value.
    pub former: String,
    /// The candidate's.
    pub candidate: String,
}

impl Report {
    /// As it stands in the online store.
    #[must_use]
    pub fn encode(&self) -> String {
        // Serialising owned data with string keys cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// What does not read.
    pub fn decode(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}

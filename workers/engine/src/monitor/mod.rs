//! Whether the values that are served still look as they did: distributions of features against a reference that was captured
//! before.
//!
//! Pure: readings in, a [`Profile`] and a [`Report`] out. Invariants:
//! - A profile is bounded, however many entities it was made from: shares of bins, a few quantiles, the frequent texts.
//! - NULL is a value like any other; what cannot be read exactly is counted apart, and says nothing.
//! - Where too few values stand on either side there is no index, rather than one that says more about chance.

mod profile;
#[cfg(test)]
mod tests;

pub use profile::{Collector, FeatureProfile, Profile};

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::drift::LEAST_VALUES;
use crate::plan::Plan;

/// What a check is to look at: made by the operator, handed to the Job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DriftCheck {
    /// The plan of the live revision.
    pub plan: Plan,
    /// How many entities are read: those whose keys have the smallest hashes.
    pub sample_entities: usize,
    /// What they are held against.
    pub reference: Reference,
}

/// What a skew check is to look at: made by the operator, handed to the Job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SkewCheck {
    /// The plan of the live revision, which reads a topic.
    pub plan: Plan,
    /// How many entities are checked.
    pub sample_entities: usize,
    /// How far back events are read again, in milliseconds.
    pub lookback_ms: i64,
    /// The most records that are read in a second; without it, as many as can be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records_per_second: Option<NonZeroU32>,
}

/// What the values of today are held against.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Reference {
    /// What was captured first under this name, until another name is asked for.
    Baseline {
        /// Any word.
        name: String,
    },
    /// What the check before saw.
    PreviousCheck,
}

impl Reference {
    /// The name under which a profile is kept, so that one of another sort is not taken for it.
    fn name(&self) -> String {
        match self {
            Self::Baseline { name } => format!("baseline {name}"),
            Self::PreviousCheck => "previous check".to_owned(),
        }
    }

    /// Of what stands, what is to be compared with: nothing that was captured for another purpose.
    #[must_use]
    pub fn of<'a>(&self, stands: Option<&'a Profile>) -> Option<&'a Profile> {
        stands.filter(|profile| profile.name == self.name())
    }

    /// The profile to keep for the next check, if not the one that stands: the first of a baseline that is large enough to
    /// be one, or each.
    #[must_use]
    pub fn keep(&self, stands: Option<&Profile>, mut now: Profile) -> Option<Profile> {
        now.name = self.name();
        match self {
            Self::Baseline { .. } if self.of(stands).is_some() || now.entities < LEAST_VALUES => None,
            Self::Baseline { .. } | Self::PreviousCheck => Some(now),
        }
    }
}

/// What a check says, as it stands in the online store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The revision that was read.
    pub revision: String,
    /// The time that it was read as of, in milliseconds.
    pub as_of_ms: i64,
    /// When the check ended, in milliseconds.
    pub finished_ms: i64,
    /// How many entities were read.
    pub entities: usize,
    /// What they were held against; `None`: there was nothing yet, and this was captured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Against>,
    /// The features, in the plan's order.
    pub features: Vec<FeatureDrift>,
}

/// What values were held against.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Against {
    /// Which.
    pub reference: Reference,
    /// The time that it was read as of, in milliseconds.
    pub as_of_ms: i64,
    /// How many entities it is of.
    pub entities: usize,
}

/// How far one feature is from its reference. Shares are of 1.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FeatureDrift {
    /// Its name.
    pub name: String,
    /// For how many entities it was read exactly.
    pub read: usize,
    /// For how many it could not be.
    pub unreadable: usize,
    /// The population stability index, NULLs included; `None` without a reference, or with too few values on either side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub psi: Option<f64>,
    /// Kolmogorov and Smirnov's statistic of its numbers, to half a percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ks: Option<f64>,
    /// How many are NULL.
    pub null_share: f64,
    /// How many were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference_null_share: Option<f64>,
    /// How many numbers lie far outside of where those of the reference lay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outlier_share: Option<f64>,
    /// How many of the reference's own do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference_outlier_share: Option<f64>,
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

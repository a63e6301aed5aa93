//! Why a round of reconciliation failed. What is wrong with a user's spec is no error: it is an outcome, in conditions.

use std::time::Duration;

use thiserror::Error;

/// Why a round failed; it is tried again.
#[derive(Debug, Error)]
pub enum Error {
    /// The API server could not be read.
    #[error("reading {what}: {}", said(source))]
    Read {
        /// What was being read.
        what: String,
        /// Why it failed.
        source: Box<kube::Error>,
    },
    /// The API server did not take a write.
    #[error("writing {what}: {}", said(source))]
    Write {
        /// What was being written.
        what: String,
        /// Why it failed.
        source: Box<kube::Error>,
    },
    /// Another's object stands where ours should.
    #[error("{what} exists and does not belong to this object; delete or rename it")]
    NotOurs {
        /// What is in the way.
        what: String,
    },
    /// An object could not be written as JSON, which would be a defect of the operator.
    #[error("encoding {what}: {source}")]
    Encode {
        /// What was being encoded.
        what: String,
        /// Why it failed.
        source: serde_json::Error,
    },
    /// Leadership ended in the middle of a round.
    #[error("leadership has ended")]
    Ended,
}

impl Error {
    /// A read that failed; the first argument says what of.
    pub fn read(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        move |source| Self::Read { what: what.into(), source: Box::new(source) }
    }

    /// A write that failed; the first argument says what of.
    pub fn write(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        move |source| Self::Write { what: what.into(), source: Box::new(source) }
    }

    /// All words that [`Self::reason`] may answer.
    pub const REASONS: [&str; 6] = ["Read", "Conflict", "Write", "NotOurs", "Encode", "Ended"];

    /// A stable word for the metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Read { .. } => "Read",
            Self::Write { .. } if self.is_conflict() => "Conflict",
            Self::Write { .. } => "Write",
            Self::NotOurs { .. } => "NotOurs",
            Self::Encode { .. } => "Encode",
            Self::Ended => "Ended",
        }
    }

    /// Whether somebody else wrote the object since it was read; the next round starts from what they wrote.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Write { source, .. } if is_conflict(source))
    }

    /// Whether the API server says that the object is none that can be.
    #[must_use]
    pub fn is_invalid(&self) -> bool {
        matches!(self, Self::Write { source, .. } if matches!(source.as_ref(), kube::Error::Api(status) if status.code == 422))
    }

    /// When to try again after `attempts` failures in a row.
    #[must_use]
    pub fn retry_after(&self, attempts: u32) -> Duration {
        let first = if self.is_conflict() { 50 } else { 500 };
        Duration::from_millis((first << attempts.min(10)).min(60_000))
    }
}

/// The API server's own words; the rest of its answer says the same again, for machines.
fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        other => other.to_string(),
    }
}

/// Whether a write says that another stands in its place, or that the object was written since it was read.
#[must_use]
pub fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// Whether a read says that the object does not exist.
#[must_use]
pub fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

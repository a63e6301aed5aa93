//! Why a request was not answered with features, and how that reads over HTTP.
//!
//! Invariant: every failure becomes a JSON body `{"error": "...", "field": "..."}`; `field` names the part of the
//! request at fault and is `null` where the request is not. Nothing that failed ever becomes an empty answer.

use thiserror::Error;

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    /// The request itself is wrong.
    #[error("{message}")]
    Invalid {
        /// The part of the request, such as `entities.user_id[3]`; `None` for the body as a whole.
        field: Option<String>,
        /// What is wrong with it and what would be right.
        message: String,
    },
    /// The request names a view or feature that is not served here.
    #[error("{message}")]
    Unknown {
        /// The part of the request, such as `features[2]`.
        field: String,
        /// What was not found.
        message: String,
    },
    /// The body is larger than this server takes.
    #[error("the request body is larger than {limit} bytes; ask for fewer entities at once")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// As many requests as this server takes are in flight.
    #[error("{limit} requests are in flight, as many as this server takes; try again")]
    Overloaded {
        /// The limit.
        limit: usize,
    },
    /// What the answer stands on is away for now.
    #[error("{message}")]
    Unavailable {
        /// What is away and what brings it back.
        message: String,
    },
    /// A row or plan is broken: retrying will not help.
    #[error("{message}")]
    Internal {
        /// What is broken, where, and what mends it.
        message: String,
    },
}

impl Failure {
    /// The request's `field` is wrong.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid { field: Some(field.into()), message: message.into() }
    }

    /// The request's `field` names what is not served here.
    pub fn unknown(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Unknown { field: field.into(), message: message.into() }
    }

    /// Something is away for now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::Unavailable { message: message.into() }
    }

    /// Something is broken.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::Internal { message: message.into() }
    }

    /// The HTTP status code.
    #[must_use]
    pub fn code(&self) -> u16 {
        match self {
            Self::Invalid { .. } => 400,
            Self::Unknown { .. } => 404,
            Self::TooLarge { .. } => 413,
            Self::Overloaded { .. } => 429,
            Self::Internal { .. } => 500,
            Self::Unavailable { .. } => 503,
        }
    }

    /// The part of the request at fault.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Invalid { field, .. } => field.as_deref(),
            Self::Unknown { field, .. } => Some(field),
            _ => None,
        }
    }

    /// The JSON body.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        serde_json::json!({ "error": self.to_string(), "field": self.field() }).to_string().into_bytes()
    }
}

//! Why an event was not taken.

use std::fmt;

/// The sort of fault, as written into dead letters and metric labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The record has no payload (a tombstone), or one of zero bytes.
    EmptyPayload,
    /// The payload is longer than the decoder takes.
    TooLarge,
    /// The payload is not UTF-8.
    InvalidUtf8,
    /// The payload is not one JSON object, as RFC 8259 has it.
    InvalidJson,
    /// Objects and arrays stand in one another more than 128 deep.
    NestedTooDeep,
    /// A declared field, or the event time, stands in the event twice. Fields that are not declared are not checked.
    DuplicateField,
    /// A field of the entity's key, or the event time, is missing.
    MissingField,
    /// A field of the entity's key, or the event time, is null.
    NullField,
    /// A declared field's value is not of its type, or not in its range.
    WrongType,
    /// The event time is further ahead of the record's time than the plan allows.
    TooFarInFuture,
    /// The event time is further behind the record's time than the plan retains.
    TooLate,
    /// One of the plan's expressions fails on the event, as a division by zero does. The decoder takes such an event; it is
    /// found when a batch is evaluated.
    ExpressionFailed,
}

impl Reason {
    /// Every reason, so that metrics can show each one from the start.
    pub const ALL: [Self; 12] = [
        Self::EmptyPayload,
        Self::TooLarge,
        Self::InvalidUtf8,
        Self::InvalidJson,
        Self::NestedTooDeep,
        Self::DuplicateField,
        Self::MissingField,
        Self::NullField,
        Self::WrongType,
        Self::TooFarInFuture,
        Self::TooLate,
        Self::ExpressionFailed,
    ];

    /// The stable name: `PascalCase`, as Kubernetes writes reasons.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EmptyPayload => "EmptyPayload",
            Self::TooLarge => "TooLarge",
            Self::InvalidUtf8 => "InvalidUtf8",
            Self::InvalidJson => "InvalidJson",
            Self::NestedTooDeep => "NestedTooDeep",
            Self::DuplicateField => "DuplicateField",
            Self::MissingField => "MissingField",
            Self::NullField => "NullField",
            Self::WrongType => "WrongType",
            Self::TooFarInFuture => "TooFarInFuture",
            Self::TooLate => "TooLate",
            Self::ExpressionFailed => "ExpressionFailed",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An event that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Reject {
    /// The sort of fault.
    pub reason: Reason,
    /// For people: the field, the byte it starts at, what was expected and what was found. It quotes at most 64 bytes of
    /// the payload.
    pub detail: String,
}

impl Reject {
    pub(super) fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

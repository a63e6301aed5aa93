//! Why bytes are not a lane.

use thiserror::Error;

use crate::aggregate::Malformed;

/// Segments that do not make a lane of this plan. Never ignore it: the lane must be rebuilt from its source.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LaneError {
    /// A format of another engine.
    #[error("segment {segment} has format {found}, this engine reads {expected}; read it with the image that wrote it")]
    Format {
        /// Which segment.
        segment: u8,
        /// What it says.
        found: u8,
        /// What we know.
        expected: u8,
    },
    /// It was written under a plan with other aggregates.
    #[error(
        "the lane was laid out by another plan (layout {found:02x?}, expected {expected:02x?}); read it with the plan of its revision"
    )]
    Layout {
        /// What its head says.
        found: [u8; 8],
        /// The plan's.
        expected: [u8; 8],
    },
    /// A segment that the head names is not there.
    #[error("segment {0} is missing; rebuild the lane from its source")]
    Missing(u8),
    /// A segment is not the one that the head was written with.
    #[error("segment {0} is not the one its head names; rebuild the lane from its source")]
    Torn(u8),
    /// Bytes that no engine wrote.
    #[error("segment {segment}: {source}; rebuild the lane from its source")]
    Malformed {
        /// Which segment.
        segment: u8,
        /// What is wrong, and where.
        source: Malformed,
    },
}

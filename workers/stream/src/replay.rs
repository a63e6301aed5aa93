//! The replay: one partition's records between two offsets, into the rows of a revision that is not served yet.
//!
//! It is the live worker with an end: the same processor, fold, flush and marker. What differs is that the partition is
//! handed to it and not assigned by a group, that it ends with its marker at `to`, where live workers go on, and that its
//! events [wait](crate::folding) until they are written, since nobody reads the rows before.
//!
//! **What whoever orders it hands over**
//! - A file, `--replay` (`FEATUREMILL_REPLAY`): [`engine::replay::Replay`] as JSON, a plan and incarnation, `parts` with
//!   `partition`, `from` and `to`, and at will `recordsPerSecond`, for each process. All offsets are decided before the first
//!   process starts and never changed: `from` is the first offset whose record time is not before that of the longest
//!   window's beginning, `to` is the end of the log, records of open transactions included.
//! - An index, `--index` (`JOB_COMPLETION_INDEX`): process `i` of an Indexed Job reads `parts[i]`.
//! - Servers, memory and the rest as for the live worker.
//!
//! **What it answers**: the process exits with
//! - 0: the marker stands at `to` or behind it. An index that is done is done again at once, without asking Kafka.
//! - 1: another attempt may succeed: it was asked to stop, or could do no more. It goes on at the marker.
//! - 2: none can ([`Refusal`], such as `RetentionTooShort`). What a person can mend while it runs is not among these: then it
//!   waits, not ready, and says why where live workers do ([`engine::row::trouble_key`]).
//!
//! **Progress** stands under [`engine::row::replay_key`], a field for each partition, said every second; it goes with the
//! rows. The truth is the marker.
//!
//! **What the topic no longer holds** its archive may: [`archive`] reads that first, in a process of its own that knows tables
//! (`featuremill-archive replay`), of the same file and index, and leaves the marker where the topic is to be read from.
//!
//! Invariants:
//! - No record below `from` or from `to` on is folded, so that a replay and then a live worker make the rows of one worker
//!   that read it all, to the byte.
//! - It asks for no membership: any number of processes of one index do no harm, for every write is guarded, and who is
//!   overtaken goes on at the other's marker.
//! - Its commits go to the revision's own consumer group, whose members go on from there; they only help tools.
//! - Dead letters are sent at least once, as live: a record that was refused after the last marker is sent again by the next
//!   attempt, and one that another revision refused has a letter of each, told apart by the header `featuremill-revision`.

pub mod archive;
mod decide;
mod driver;
mod observe;
mod process;
mod telling;

pub use decide::{Decision, Refusal, decide};
pub use process::{run, run_archive};
use thiserror::Error;

/// Why a part is not done.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// No further attempt can succeed.
    #[error("{reason}: {0}", reason = .0.reason())]
    Refused(Refusal),
    /// Another attempt may succeed.
    #[error("{0}")]
    Again(String),
}

impl ReplayError {
    /// What the process exits with, for a Job's `podFailurePolicy`.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) => 2,
            Self::Again(_) => 1,
        }
    }
}

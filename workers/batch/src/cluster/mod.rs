//! The fold on more than one machine: the same plan, with the same decoding and the same aggregate, on a Ballista cluster.
//!
//! ```text
//!   run (the driver)                     scheduler                     executors
//!   names of files, in parts ──plan──▶ stage 1: parts ─▶ events ──▶ open, scan and decode the files of a part,
//!                                                                    shuffled by entity
//!                                      stage 2: lanes            ──▶ fold each entity once
//!   lanes ◀─────────────────────────── fetched from the executors that have them
//! ```
//!
//! Whatever touches the online store, the feature table and the gate stays in the run: executors read the source and keep
//! nothing. What travels to them is named by [`task::Task`]: a plan, files, a slice of time, tombstones. They open tables
//! with credentials of their own.
//!
//! Invariants:
//! - A part is some whole files of one version of the source, and each file is in one part: Ballista cuts a stage by the
//!   partitions of its leaves, of which it knows those of values in memory, so the parts travel as values.
//! - All have one build: a plan of other semantics is refused by the engine, and one with other fields does not decode.

mod codec;
mod executor;
mod job;
mod lanes;
mod parts;
mod scheduler;
mod task;

pub use executor::executor;
pub use job::ClusterError;
pub use lanes::{Cluster, Lanes};
pub use scheduler::scheduler;

/// The largest message between the parts of a cluster, in bytes: a plan with the names of very many files.
const MESSAGE_BYTES: u32 = 64 << 20;

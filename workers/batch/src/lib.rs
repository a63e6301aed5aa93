//! The batch worker: folds history tables into generations of tiles, and publishes them.
//!
//! One run goes this way, and may be killed between any two of its steps:
//!
//! ```text
//! lease ─▶ source at a version ─▶ H ─▶ fold (DataFusion, one pass) ─▶ feature files + lanes on disk ─▶ gate
//!                                                                                                      │ accepted
//!      head flipped ◀─ slots of vanished entities removed ◀─ lanes written to slots ◀─ feature table committed
//! ```
//!
//! Invariants:
//! - Nothing that a reader looks at changes before `head` flips: a generation is written to the slot that `head` does not
//!   name, under a number that `head` does not name.
//! - Whatever a run writes after the gate, it writes under its lease: each batch of rows and the flip itself check the
//!   lease's token inside the server, and the table's commit conflicts with that of any run that took the lease since.
//! - What an earlier run left behind unpublished is swept before anything is written under its number.

pub mod args;
pub mod cluster;
pub mod completeness;
pub mod config;
pub mod decode;
pub mod events;
pub mod feature_table;
pub mod features;
#[cfg(test)]
mod fixtures;
pub mod fold;
pub mod gate;
pub mod history;
pub mod incremental;
pub mod lanes;
pub mod lease;
pub mod map;
pub mod produce;
pub mod progress;
pub mod publish;
pub mod run;
pub mod scan;
pub mod session;
pub mod skew;
pub mod spool;
pub mod train;

//! The archive worker: appends a topic to its Bronze table, exactly once.
//!
//! The way of a record: the [`worker`] takes it from the consumer into its [`buffer`], with the time that [`event_time`] reads,
//! and commits the buffer together with the next offset of every partition in it. Where a partition starts is decided by
//! [`start`] on facts alone: the table's own transaction, and what the topic still holds. [`tasks`] are what runs once. So is
//! [`erase`], which is here because this worker knows both topics and tables, and [`replay`], by which records go on from the
//! table into rows as if the topic still held them.

pub mod args;
pub mod buffer;
pub mod ends;
pub mod erase;
pub mod event_time;
pub mod metrics;
pub mod replay;
mod run;
pub mod start;
pub mod tasks;
pub mod worker;

pub use run::{RunError, run};

//! The stream worker: from the records of one Kafka topic to tiles in the online store, effectively once.
//!
//! The way of an event: a [`processor`] takes it from its partition's queue, [`fold`] decodes it and inserts it into a lane of
//! the [`cache`], and a [`flush`] writes changed lanes, then the marker that says up to where they are whole. What a partition
//! starts from is decided by [`start`] on facts alone; the [`coordinator`] applies it. The marker in the store is the truth:
//! whenever it is in doubt what the store holds, a partition drops its lanes and goes back there.
//!
//! A [`replay`] goes the same way: the same processor, fold, flush and marker, started at an offset that it is handed and
//! ended at another. Its events are inserted only when they are written, entity by entity ([`folding`]).

mod ages;
pub mod args;
mod batch;
pub mod cache;
pub mod coordinator;
pub mod dead_letter;
pub mod ends;
pub mod facts;
#[cfg(test)]
mod fixtures;
pub mod flush;
pub mod fold;
pub mod folding;
pub mod group;
pub mod horizon;
mod limit;
pub mod link;
pub mod lost;
pub mod metrics;
mod pace;
mod parts;
pub mod plan_run;
pub mod processor;
pub mod progress;
pub mod replay;
mod run;
pub mod setup;
pub mod shared;
pub mod skew;
pub mod start;
mod trouble;
mod waiting;

pub use run::{RunError, run};

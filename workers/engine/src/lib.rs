//! The engine: what every feature of Featuremill means, and the only place where that is written.
//!
//! Pure. It knows plans, events, tiles, lanes and reads; it has no clock, no randomness, no I/O and no async, so that
//! stream, batch, replay and serving compute the same values from the same events.
//!
//! The way of an event: [`event`] decodes it into columns, [`program`] evaluates conditions and inputs over a batch,
//! [`lane`] folds it into one entity's tiles; [`tally`] makes the same of all its events at once. The way of a read: [`lane`] decodes the tiles, [`read`] merges and
//! finalizes them at a time, [`program`] derives what is an expression over other features.

pub mod aggregate;
pub mod compare;
pub mod definition;
pub mod drift;
pub mod entity;
pub mod erase;
pub mod estimate;
pub mod event;
pub mod expr;
#[cfg(test)]
mod fixtures;
pub mod lane;
pub mod monitor;
pub mod plan;
pub mod program;
pub mod read;
pub mod replay;
pub mod resolve;
pub mod row;
pub mod shadow;
pub mod tally;
pub mod time;
pub mod value;

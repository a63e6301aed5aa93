//! The archive worker with a real Kafka and a real table, killed, doubled, stopped and cut off: Bronze holds every record
//! of the topic exactly once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod erase;
mod faults;
mod maintenance;
mod refusals;
mod replay;
mod s3;
mod transactions;
mod world;
mod zombies;

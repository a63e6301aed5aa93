//! The whole, on the local cluster that `kind/up` made with the chart installed: real pods, Kafka and Redis.
//!
//! Each test has a namespace, a topic and an architecture of its own. Those that restart what all share run one at a time
//! (`--test-threads=1`); e2e/make/test says which.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod alerts;
mod bad_views;
mod ballista;
mod drift;
mod faults;
mod flips;
mod malformed;
mod migration;
mod modes;
mod once;
mod phases;
mod poison;
mod readers;
mod removal;
mod rollout;
mod scaling;
mod upgrade;
mod values;
mod world;
mod wrong_change;

//! The operator against a real API server, without a node: what it makes, keeps, refuses, moves and removes, and what is
//! left of that when it dies between any two writes.
//!
//! Every test has a namespace of its own and an operator that works in it alone. The online store is the shell's in
//! memory, the log notes what is asked of it; stream workers are played by the tests, which write markers. Run one test
//! with `cargo test -p e2e --test api <name>`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
#![allow(clippy::large_futures, reason = "whole objects are held where a test waits, and nobody minds")]

mod aborts;
mod alerts;
mod bad_views;
mod cel;
mod children;
mod command_line;
mod compares;
mod console;
mod crash;
mod cutover;
mod dashboard;
mod diffs;
mod faults;
mod fixtures;
mod history;
mod kubelet;
mod lag;
mod lease;
mod mask;
mod migration;
mod modes;
mod monitoring;
mod once;
mod progress;
mod removal;
mod replay_objects;
mod replays;
mod rollout;
mod scaling;
mod shadow;
mod support_bundle;
mod tally;
mod traces;
mod troubles;
mod troubleshooting;
mod world;

//! The batch worker from the outside: the real binary, a real Redis, real tables in a folder.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod archive;
mod cluster;
mod erase;
mod faults;
#[path = "../../src/fixtures.rs"]
mod fixtures;
mod gate;
mod oracle;
mod redis_server;
mod runs;
mod skew;
mod source;
mod tallies;
mod train;
mod world;

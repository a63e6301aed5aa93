//! The harness's own tests: what later tests rely on when they kill, cut and restart.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod ends;
mod kafka;
mod offsets;
mod process;
mod redis;
mod stream;
mod traps;

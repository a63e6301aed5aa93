//! Tiles against a brute-force oracle: every function over every kind of window, in any order, in any split, through bytes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod bytes;
mod cases;
mod events;
mod oracle;
mod orders;
mod plans;
mod reads;

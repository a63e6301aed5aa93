//! Tiles against a brute-force oracle: every function over every kind of window, in any order, in any split, through bytes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    missing_docs
)]

mod bytes;
mod cases;
mod events;
mod horizons;
mod oracle;
mod orders;
mod plans;
mod reads;
mod regular;
mod tallies;

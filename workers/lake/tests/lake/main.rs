//! Tables in a folder: made, refused, written to by several writers at once, read as they were.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bronze;
mod commits;
mod fixtures;
mod silver;
mod tables;

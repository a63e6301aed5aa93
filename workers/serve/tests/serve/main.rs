//! The feature server from the outside: each module takes one part, from a plan's selection to a running server over a
//! real Redis.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod answer;
mod catalog;
mod compare;
mod drift;
mod fixtures;
mod generations;
mod http;
mod lanes;
mod live;
mod reach;
mod read;
mod redis_server;
mod select;
mod shadow;
mod traces;

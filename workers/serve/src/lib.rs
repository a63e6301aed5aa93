//! The feature server: answers Feast's `POST /get-online-features` from the tiles in the online store.
//!
//! ```text
//! body ─ request ─ select ─▶ read (pointers, markers, rows: one round trip a view) ─▶ evaluate ─▶ render ─ body
//!                              ▲                                                        ▲
//!                            store (Redis)                 catalog ◀─ watch ────────────┘ compiled plans
//! ```
//!
//! Promises: no answer mixes revisions or incarnations of a view; what cannot be answered truthfully is an error, never
//! an empty or partial answer; a feature's value is what the engine computes at `t`, and nothing is computed here.

pub mod answer;
pub mod args;
mod by_name;
pub mod catalog;
pub mod compare;
pub mod completeness;
pub mod drift;
pub mod evaluate;
pub mod failure;
mod generation;
pub mod metrics;
pub mod pointers;
pub mod read;
pub mod redis_store;
pub mod render;
pub mod request;
pub mod run;
pub mod select;
pub mod server;
pub mod shadow;
pub mod store;
mod time_text;
pub mod watch;

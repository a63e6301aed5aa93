//! The harness of the tests that run the whole, and the demo.
//!
//! [`services`] are a real Kafka and Redis on this machine, [`control_plane`] a real API server without a node, [`cluster`]
//! the local cluster. [`clickstream`] is the real input, [`oracle`] what DuckDB computes from it, [`online`] a client of
//! the feature server, [`browser`] one of the console, [`feed`] a producer, [`history`] writes the events as a table. [`bench`] takes the figures.
//! [`planted`] is a worker with one event too many. [`flips`] is a load that checks every answer while revisions are flipped.

pub mod bench;
pub mod browser;
pub mod clickstream;
pub mod cluster;
pub mod control_plane;
pub mod demo;
pub mod feed;
pub mod flips;
pub mod history;
pub mod in_step;
pub mod online;
pub mod oracle;
pub mod planted;
pub mod progress;
pub mod python;
pub mod services;

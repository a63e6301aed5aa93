//! The edge that the workers share: telemetry, the admin port, shutdown, Redis and Kafka.
//!
//! It knows the engine's names and codecs and nothing of Kubernetes. Every part takes its world as arguments, so that
//! tests bind port 0 and cancel a token where a binary binds a port and receives a signal.

pub mod admin;
pub mod backoff;
pub mod clock;
pub mod command;
pub mod config_dir;
pub mod ends;
pub mod freshness;
pub mod group;
pub mod kafka;
pub mod redis;
pub mod shutdown;
pub mod store;
pub mod telemetry;
pub mod topic;
pub mod trace;

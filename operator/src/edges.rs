//! The two worlds beside Kubernetes that the operator touches: the online store and the log.
//!
//! Behind traits, so that tests need neither. Every call is bounded in time; none is made while a Kubernetes object is
//! half written.

mod ends;
mod kafka;
mod secrets;
mod store;
mod topic;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use engine::compare::Report;
use engine::replay::Progress;
use engine::row::{CatalogEntry, Head, Live, RunReport, Trouble};
use engine::shadow::Report as Shadows;
use futures::future::BoxFuture;
use shell::store::{Markers, Purge, Swap};
use thiserror::Error;

pub use secrets::{MissingSecret, Secrets};
pub use store::Shared;
pub use topic::{Held, Topic};

use crate::lag::measure::Bounds;
use crate::trouble;

/// Why the store or the log did not do what was asked.
#[derive(Clone, Debug, Error)]
#[error("{0}")]
pub struct EdgeError(pub String);

/// The answer of an edge.
pub type EdgeResult<'a, T> = BoxFuture<'a, Result<T, EdgeError>>;

/// Where an online store is, and the settings of its Secret by name.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct StoreAddress {
    /// The Redis URL.
    pub url: String,
    /// `username`, `password`, `ca.crt`.
    pub settings: BTreeMap<String, Vec<u8>>,
}

/// Where a log is, and the settings of its Secret by name.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct LogAddress {
    /// Host and port of some brokers.
    pub bootstrap: String,
    /// librdkafka properties.
    pub properties: BTreeMap<String, Vec<u8>>,
}

/// What the partitions of topics hold that can be read, of those topics that exist.
pub type Ends = BTreeMap<String, BTreeMap<i32, Bounds>>;

/// The way to stores and logs.
pub trait Edges: Send + Sync {
    /// A connection to a store; kept and shared while it works.
    fn store<'a>(&'a self, address: &'a StoreAddress) -> EdgeResult<'a, Arc<dyn Store>>;

    /// Deletes consumer groups. One that does not exist is deleted; one that still has members is an error.
    fn delete_groups<'a>(&'a self, address: &'a LogAddress, groups: &'a [String]) -> EdgeResult<'a, ()>;

    /// What a topic holds, and from which offsets its records are of `since_ms` or later; all of them, if that is not given.
    fn topic<'a>(
        &'a self,
        address: &'a LogAddress,
        topic: &'a str,
        since_ms: Option<i64>,
    ) -> BoxFuture<'a, Result<Topic, trouble::Trouble>>;

    /// Where topics begin and end, of all of them at once.
    fn ends<'a>(&'a self, address: &'a LogAddress, topics: &'a BTreeSet<String>) -> EdgeResult<'a, Ends>;
}

/// What the operator does in an online store. Keys are those of [`engine::row`].
pub trait Store: Send + Sync {
    /// The pointer to the live revision.
    fn live<'a>(&'a self, key: &'a str) -> EdgeResult<'a, Option<Live>>;
    /// Moves it iff the one that stands has the fence `expected`.
    fn swap_live<'a>(&'a self, key: &'a str, expected: Option<u64>, live: &'a Live) -> EdgeResult<'a, Swap>;
    /// The pointer to a revision's readable rows.
    fn head<'a>(&'a self, key: &'a str) -> EdgeResult<'a, Option<Head>>;
    /// Moves it iff the one that stands has the fence `expected`.
    fn swap_head<'a>(&'a self, key: &'a str, expected: u64, head: &'a Head) -> EdgeResult<'a, Swap>;
    /// Sets it iff there is none.
    fn make_head<'a>(&'a self, key: &'a str, head: &'a Head) -> EdgeResult<'a, Swap>;
    /// What became of a revision's last batch run.
    fn run<'a>(&'a self, key: &'a str) -> EdgeResult<'a, Option<RunReport>>;
    /// What the last comparison of a revision said; none if that does not read, since it is made again then.
    fn comparison<'a>(&'a self, key: &'a str) -> EdgeResult<'a, Option<Report>>;
    /// The text under a key, such as what a check said.
    fn text<'a>(&'a self, key: &'a str) -> EdgeResult<'a, Option<String>>;
    /// How far a revision has read its source.
    fn markers<'a>(&'a self, key: &'a str) -> EdgeResult<'a, Markers>;
    /// What keeps the workers of a revision from their work, by worker.
    fn troubles<'a>(&'a self, key: &'a str) -> EdgeResult<'a, BTreeMap<String, Trouble>>;
    /// How far the replay of a revision has come, by partition.
    fn replays<'a>(&'a self, key: &'a str) -> EdgeResult<'a, BTreeMap<i32, Progress>>;
    /// What servers say of shadow reads of a revision, by server; none if that does not read, since it is said again.
    fn shadows<'a>(&'a self, key: &'a str) -> EdgeResult<'a, BTreeMap<String, Shadows>>;
    /// Why the store takes no writes; `None` if it does.
    fn refusal<'a>(&'a self, key: &'a str) -> EdgeResult<'a, Option<String>>;
    /// The views of an architecture.
    fn catalog<'a>(&'a self, key: &'a str) -> EdgeResult<'a, BTreeMap<String, CatalogEntry>>;
    /// Writes one view's entry.
    fn put_catalog<'a>(&'a self, key: &'a str, view: &'a str, entry: &'a CatalogEntry) -> EdgeResult<'a, ()>;
    /// Removes one view's entry.
    fn remove_catalog<'a>(&'a self, key: &'a str, view: &'a str) -> EdgeResult<'a, ()>;
    /// Removes a slice of the keys that start with `prefix`.
    fn purge<'a>(&'a self, prefix: &'a str, cursor: u64) -> EdgeResult<'a, Purge>;
}

/// The real world.
#[derive(Default)]
pub struct RealEdges {
    stores: store::Connections,
    logs: ends::Clients,
}

impl Edges for RealEdges {
    fn store<'a>(&'a self, address: &'a StoreAddress) -> EdgeResult<'a, Arc<dyn Store>> {
        Box::pin(self.stores.get(address))
    }

    fn delete_groups<'a>(&'a self, address: &'a LogAddress, groups: &'a [String]) -> EdgeResult<'a, ()> {
        Box::pin(kafka::delete_groups(address, groups))
    }

    fn topic<'a>(
        &'a self,
        address: &'a LogAddress,
        topic: &'a str,
        since_ms: Option<i64>,
    ) -> BoxFuture<'a, Result<Topic, trouble::Trouble>> {
        Box::pin(topic::ask(address, topic, since_ms))
    }

    fn ends<'a>(&'a self, address: &'a LogAddress, topics: &'a BTreeSet<String>) -> EdgeResult<'a, Ends> {
        Box::pin(self.logs.ends(address, topics))
    }
}

//! What the feature server asks of the online store, as a trait, so that every rule above it is tested without Redis.
//!
//! Invariant of [`Store::read`]: the pointers and markers are read before the rows. So rows are at least as new as the
//! markers say, and a pointer that is still the assumed one held when the first row was read.

use futures::future::BoxFuture;
use thiserror::Error;

/// Fields and values of a hash, in no order.
pub type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// One round trip for one view.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// Key of the pointer to the live revision.
    pub live: &'a str,
    /// Key of the pointer to the assumed revision's rows.
    pub head: &'a str,
    /// Key of the markers of the assumed rows.
    pub markers: &'a str,
    /// What the keys of the assumed rows start with.
    pub row_prefix: &'a str,
    /// The entities' texts; may be empty to ask for the pointers alone.
    pub entities: &'a [String],
}

/// What a [`Query`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// The live pointer; `None` if there is none.
    pub live: Option<Vec<u8>>,
    /// The assumed revision's head; `None` if there is none.
    pub head: Option<Vec<u8>>,
    /// The markers.
    pub markers: Fields,
    /// A row an entity, in the query's order; empty where there is none.
    pub rows: Vec<Fields>,
}

/// What a poll of the catalog found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CatalogReply {
    /// The catalog's version is the one already known.
    Unchanged,
    /// All of the catalog.
    Changed {
        /// Its version when it was read, or an earlier one; `None` if its writer keeps none.
        version: Option<Vec<u8>>,
        /// View name → entry.
        fields: Fields,
    },
}

/// Why the store gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StoreError {
    /// It cannot be reached, or the connection broke.
    #[error("the online store cannot be reached: {0}")]
    Away(String),
    /// It did not answer in time.
    #[error("the online store did not answer within {0} ms")]
    Timeout(u128),
    /// It answered with an error or with what no such command gives.
    #[error("the online store refused the read: {0}")]
    Refused(String),
}

/// The online store as the feature server sees it.
pub trait Store: Send + Sync {
    /// Reads one view's pointers, markers and rows in one round trip.
    fn read<'a>(&'a self, query: Query<'a>) -> BoxFuture<'a, Result<Reply, StoreError>>;

    /// Says what shadow reads of the `server` of that name saw, under [`engine::row::shadow_key`]. All that was said there is
    /// forgotten `ttl_ms` after the last that was.
    fn say_shadow<'a>(
        &'a self,
        key: &'a str,
        server: &'a str,
        json: Vec<u8>,
        ttl_ms: i64,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Reads the catalog under `key`, unless its version is `known`.
    fn catalog<'a>(&'a self, key: &'a str, known: Option<&'a [u8]>) -> BoxFuture<'a, Result<CatalogReply, StoreError>>;
}

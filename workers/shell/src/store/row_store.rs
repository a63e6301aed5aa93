//! What a store can do.

use std::collections::BTreeMap;
use std::future::Future;

use engine::compare::Report;
use engine::replay::Progress;
use engine::row::{CatalogEntry, RunReport, Trouble};
use engine::shadow::Report as Shadows;

use super::{Erased, Fence, Keys, LaneWrite, MarkerWrite, Markers, Outcome, Pointer, Purge, Segments, StoreError};

/// Whether a compare-and-set took place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swap {
    /// The pointer is the new one.
    Done,
    /// Another fence stands there; read again and decide anew.
    Conflict,
}

/// The online store. All keys are made by [`engine::row`].
///
/// A store is one connection: after an error that [is away](StoreError::is_away) it is of no more use.
pub trait RowStore: Clone + Send + Sync + 'static {
    /// The markers under `key`.
    fn markers(&self, key: &str) -> impl Future<Output = Result<Markers, StoreError>> + Send;

    /// One partition's lanes of many rows, in the order of `keys`; empty where there is none.
    fn load(&self, partition: i32, keys: &[String]) -> impl Future<Output = Result<Vec<Segments>, StoreError>> + Send;

    /// Many guarded writes of one partition's lanes, pipelined; each row lives for `ttl_ms` after it. Outcomes stand in
    /// the order of `writes`. After an error any part of them may be stored; the same writes may be sent again.
    fn flush(
        &self,
        partition: i32,
        ttl_ms: Option<i64>,
        fence: Fence<'_>,
        writes: &[LaneWrite],
    ) -> impl Future<Output = Result<Vec<Outcome>, StoreError>> + Send;

    /// One guarded marker, and how many `partitions` the topic has.
    fn write_marker(
        &self,
        key: &str,
        partitions: i32,
        fence: Fence<'_>,
        write: MarkerWrite,
    ) -> impl Future<Output = Result<Outcome, StoreError>> + Send;

    /// Says beside the markers under `key`, of all partitions or of one, from which event time on the rows hold every event. Who
    /// leaves older ones out says it before the first marker that it writes, so that whoever finds the markers finds it too.
    fn put_complete_from(
        &self,
        key: &str,
        partition: Option<i32>,
        time_ms: i64,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The version of who was erased from a view; 0 if nobody was.
    fn erased_version(&self, uid: &str) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Who was erased from a view. Markers are read after it: an erasure between the two is seen by the [`Fence`].
    fn erased(&self, uid: &str) -> impl Future<Output = Result<Erased, StoreError>> + Send;

    /// A pointer, `None` if it was never set.
    fn pointer<P: Pointer>(&self, key: &str) -> impl Future<Output = Result<Option<P>, StoreError>> + Send;

    /// Sets a pointer iff the one that stands has the fence `expected` (`None`: there is none).
    fn swap_pointer<P: Pointer>(
        &self,
        key: &str,
        expected: Option<u64>,
        pointer: &P,
    ) -> impl Future<Output = Result<Swap, StoreError>> + Send;

    /// The catalog: view name → entry.
    fn catalog(&self, key: &str) -> impl Future<Output = Result<BTreeMap<String, CatalogEntry>, StoreError>> + Send;

    /// Writes one entry of the catalog, and raises its [version](engine::row::catalog_version_key) in the same step.
    fn put_catalog(
        &self,
        key: &str,
        view: &str,
        entry: &CatalogEntry,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Removes one entry of the catalog, and raises its version in the same step; an empty catalog has no version.
    fn remove_catalog(&self, key: &str, view: &str) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The report of a revision's last batch run under [`engine::row::run_key`]; `None` if there was none.
    fn run_report(&self, key: &str) -> impl Future<Output = Result<Option<RunReport>, StoreError>> + Send;

    /// Writes that report.
    fn put_run_report(&self, key: &str, report: &RunReport) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// What the last comparison said under [`engine::row::comparison_key`]; `None` if there was none.
    fn comparison(&self, key: &str) -> impl Future<Output = Result<Option<Report>, StoreError>> + Send;

    /// Writes that report.
    fn put_comparison(&self, key: &str, report: &Report) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The text under a key, such as what a drift check keeps for the next one; `None` if there is none.
    fn text(&self, key: &str) -> impl Future<Output = Result<Option<String>, StoreError>> + Send;

    /// Writes that text.
    fn put_text(&self, key: &str, text: &str) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// What keeps workers from their work, by worker.
    fn troubles(&self, key: &str) -> impl Future<Output = Result<BTreeMap<String, Trouble>, StoreError>> + Send;

    /// Says what keeps `worker` from its work; `None`: nothing does any more. All that was said under `key` is forgotten
    /// `ttl_ms` after the last trouble was.
    fn say_trouble(
        &self,
        key: &str,
        worker: &str,
        trouble: Option<&Trouble>,
        ttl_ms: i64,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// How far a replay has come, by partition, under [`engine::row::replay_key`].
    fn replays(&self, key: &str) -> impl Future<Output = Result<BTreeMap<i32, Progress>, StoreError>> + Send;

    /// Says how far a partition's replay has come.
    fn say_replay(
        &self,
        key: &str,
        partition: i32,
        progress: &Progress,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// What servers say of shadow reads, by server, under [`engine::row::shadow_key`].
    fn shadows(&self, key: &str) -> impl Future<Output = Result<BTreeMap<String, Shadows>, StoreError>> + Send;

    /// Says what `server` saw of shadow reads. All that was said under `key` is forgotten `ttl_ms` after the last that was.
    fn say_shadow(
        &self,
        key: &str,
        server: &str,
        report: &Shadows,
        ttl_ms: i64,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Why the store takes no writes (it is full, a replica, or cannot save); `None` if it does. Changes nothing: `key`
    /// must be one under which nothing stands.
    fn refusal(&self, key: &str) -> impl Future<Output = Result<Option<String>, StoreError>> + Send;

    /// A slice of the keys that start with `prefix`; `cursor` is 0 at first, then [`Keys::next`]. A key that stands throughout
    /// is given at least once, maybe more often.
    fn scan(&self, prefix: &str, cursor: u64) -> impl Future<Output = Result<Keys, StoreError>> + Send;

    /// Removes a slice of the keys that start with `prefix`; `cursor` is 0 at first, then [`Purge::next`]. Calls may be far
    /// apart, or start over: what is gone stays gone.
    fn purge(&self, prefix: &str, cursor: u64) -> impl Future<Output = Result<Purge, StoreError>> + Send;
}

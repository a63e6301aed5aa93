//! The online store: rows, markers, pointers and the catalog, behind one trait with a Redis and an in-memory form.
//!
//! What a write may do is decided by two pure functions, [`decide`] and [`decide_marker`]; the Lua scripts of the Redis form
//! do the same inside the server, and a test holds them against each other.

use std::collections::BTreeMap;

use engine::compare::Report;
use engine::erase::{Covers, Tombstones};
use engine::replay::Progress;
use engine::row::{CatalogEntry, Head, Live, Marker, RowError, RunReport, Trouble};
use engine::shadow::Report as Shadows;
use thiserror::Error;

use crate::redis::RedisError;

mod erase;
mod guard;
mod memory;
mod online;
mod publish;
mod row_store;
mod scripts;

pub use erase::{Eraser, Incarnation, Removal, RowErasure, erase_rows};
pub use guard::{Outcome, decide, decide_marker};
pub use memory::{MemoryStore, Snapshot};
pub use online::RedisStore;
pub use publish::{Publication, publish_head};
pub use row_store::{RowStore, Swap};

/// Why the store did not do what was asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The server is away or refuses.
    #[error(transparent)]
    Redis(#[from] RedisError),
    /// A marker does not read.
    #[error("{key}: {source}")]
    Marker {
        /// The key.
        key: String,
        /// Why.
        source: RowError,
    },
    /// A pointer or catalog entry does not read.
    #[error("{key} does not read: {detail}; it was written by another version or by hand")]
    Value {
        /// The key.
        key: String,
        /// Why.
        detail: String,
    },
}

impl StoreError {
    /// Whether only a new connection can help.
    #[must_use]
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Redis(error) if error.is_away())
    }
}

/// A lane as the store holds it: its segments by number, none if there is no such lane.
pub type Segments = Vec<(u8, Vec<u8>)>;

/// One guarded write of one lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneWrite {
    /// The row's key.
    pub key: String,
    /// The offset of the lane that this write was made from; `None` if the lane holds every event of its entity by itself.
    pub base: Option<i64>,
    /// The offset of the lane written: it holds every event of its entity before it.
    pub new: i64,
    /// Whether `segments` are all of the lane, not only those changed since `base`.
    pub whole: bool,
    /// Whether the row may have expired since `base`, so that a missing lane is no loss. Such a write must be whole.
    pub may_have_expired: bool,
    /// What to write; the head, segment 0, is always among them.
    pub segments: Segments,
    /// Segments that the lane no longer has.
    pub removed: Vec<u8>,
}

/// One guarded write of a partition's marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkerWrite {
    /// The partition.
    pub partition: i32,
    /// The offset of the marker that the writer last wrote or read; `None` if there was none.
    pub base: Option<i64>,
    /// The marker.
    pub marker: Marker,
}

/// What a writer of rows knows of the erasures from its view. Rows and markers are written only by who knows of all of
/// them, so that nobody brings back what was erased, however long ago it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence<'a> {
    /// The view's UID.
    pub uid: &'a str,
    /// The [version](Erased::version) of what is known.
    pub version: u64,
}

/// Who was erased from a view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// Rises with every erasure; 0 if there was none.
    pub version: u64,
    /// Those that were erased up to that version, or somewhat later.
    pub tombstones: Tombstones,
}

/// The markers of one incarnation of rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Markers {
    /// How many partitions the topic has, if anybody wrote it.
    pub partitions: Option<i32>,
    /// The event time from which on the rows hold every event, in milliseconds; `None` if nothing was left out.
    pub complete_from_ms: Option<i64>,
    /// By partition.
    pub by_partition: BTreeMap<i32, Marker>,
}

/// A slice of the keys with one prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// Where the next call goes on; `None` when there are no more.
    pub next: Option<u64>,
    /// The keys, whole. One that is no UTF-8 is not ours, and is left out.
    pub keys: Vec<String>,
}

/// How far a purge has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purge {
    /// Where the next call goes on; `None` when nothing is left.
    pub next: Option<u64>,
    /// How many keys this call removed.
    pub removed: u64,
}

/// A pointer, guarded by its fence.
pub trait Pointer: serde::Serialize + serde::de::DeserializeOwned + Send + Sync {
    /// Rises with every write.
    fn fence(&self) -> u64;
}

impl Pointer for Live {
    fn fence(&self) -> u64 {
        self.fence
    }
}

impl Pointer for Head {
    fn fence(&self) -> u64 {
        self.fence
    }
}

fn value_error(key: &str, error: &serde_json::Error) -> StoreError {
    StoreError::Value { key: key.to_owned(), detail: error.to_string() }
}

fn parse_markers(key: &str, fields: impl IntoIterator<Item = (String, String)>) -> Result<Markers, StoreError> {
    let mut markers = Markers::default();
    for (field, text) in fields {
        if field == engine::row::PARTITIONS_FIELD {
            markers.partitions = text.parse().ok();
        } else if engine::row::is_complete_from(&field) {
            let parsed: i64 = text.parse().map_err(|error: std::num::ParseIntError| StoreError::Value {
                key: key.to_owned(),
                detail: format!("the field {field} holds {text:?}: {error}"),
            })?;
            markers.complete_from_ms = markers.complete_from_ms.max(Some(parsed));
        } else if let Ok(partition) = field.parse() {
            let marker = Marker::decode(&text).map_err(|source| StoreError::Marker { key: key.to_owned(), source })?;
            markers.by_partition.insert(partition, marker);
        }
    }
    Ok(markers)
}

fn parse_troubles(
    key: &str,
    fields: impl IntoIterator<Item = (String, String)>,
) -> Result<BTreeMap<String, Trouble>, StoreError> {
    let parse = |text: String| serde_json::from_str(&text).map_err(|error| value_error(key, &error));
    fields.into_iter().map(|(worker, text)| Ok((worker, parse(text)?))).collect()
}

fn parse_replays(
    key: &str,
    fields: impl IntoIterator<Item = (String, String)>,
) -> Result<BTreeMap<i32, Progress>, StoreError> {
    let parse = |text: String| serde_json::from_str(&text).map_err(|error| value_error(key, &error));
    let numbered = fields.into_iter().filter_map(|(field, text)| Some((field.parse().ok()?, text)));
    numbered.map(|(partition, text)| Ok((partition, parse(text)?))).collect()
}

fn parse_shadows(
    key: &str,
    fields: impl IntoIterator<Item = (String, String)>,
) -> Result<BTreeMap<String, Shadows>, StoreError> {
    let parse = |text: String| serde_json::from_str(&text).map_err(|error| value_error(key, &error));
    fields.into_iter().map(|(server, text)| Ok((server, parse(text)?))).collect()
}

fn parse_tombstones(key: &str, fields: impl IntoIterator<Item = (String, String)>) -> Result<Tombstones, StoreError> {
    let mut tombstones = Tombstones::default();
    for (entity, text) in fields {
        tombstones.add(&entity, &Covers::decode(&text).map_err(|error| value_error(key, &error))?);
    }
    Ok(tombstones)
}

fn parse_entry(key: &str, text: &str) -> Result<CatalogEntry, StoreError> {
    serde_json::from_str(text).map_err(|error| value_error(key, &error))
}

fn parse_comparison(key: &str, text: &str) -> Result<Report, StoreError> {
    Report::decode(text).map_err(|error| value_error(key, &error))
}

fn parse_report(key: &str, text: &str) -> Result<RunReport, StoreError> {
    RunReport::decode(text).map_err(|error| StoreError::Value { key: key.to_owned(), detail: error.to_string() })
}

#[cfg(test)]
mod tests;

//! The erasure of one entity's rows, in every incarnation of a view.
//!
//! Why nothing comes back: the step that removes rows also writes the tombstone and raises its version, and from then on
//! whoever does not know that version writes neither rows nor markers ([`Fence`](super::Fence)). So what stands in a row
//! afterwards is of a writer that knows the tombstone. Why nothing is lost: a row goes with what it holds of events after the
//! erasure, and in the same step the markers behind them go back to it. Both hold wherever the eraser is killed.

mod memory;
mod online;

use std::collections::BTreeMap;
use std::future::Future;

use engine::erase::Covers;

use super::{RowStore, StoreError};

/// One incarnation of a revision's rows.
pub type Incarnation = (String, u32);

/// Whose rows are to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowErasure {
    /// The view's UID.
    pub uid: String,
    /// The entity's text.
    pub entity: String,
    /// What is covered, as [`Eraser::begin_erasure`] gave it.
    pub covers: Covers,
    /// By partition, the first offset that the topic still holds: no marker goes back to before it.
    pub lows: BTreeMap<i32, i64>,
}

impl RowErasure {
    /// By partition, where a marker of an incarnation whose row was removed may stand at most; of one that is not named, which
    /// is new to the topic, it is 0.
    fn floors(&self) -> BTreeMap<i32, i64> {
        let mut floors = self.covers.offsets.clone();
        for (partition, low) in &self.lows {
            let floor = floors.entry(*partition).or_insert(*low);
            *floor = (*floor).max(*low);
        }
        floors
    }
}

/// What became of a step that removes rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// So many rows are gone.
    Done(u64),
    /// Another tombstone of the entity was written meanwhile.
    Overtaken,
}

/// What an eraser asks of a store, beyond what workers do.
pub trait Eraser: RowStore {
    /// Notes what an erasure covers before anything is removed. One that is under way already covers what it did when it
    /// was first noted; that is answered.
    fn begin_erasure(
        &self,
        uid: &str,
        entity: &str,
        covers: &Covers,
    ) -> impl Future<Output = Result<Covers, StoreError>> + Send;

    /// The tombstone of an entity.
    fn tombstone(&self, uid: &str, entity: &str) -> impl Future<Output = Result<Option<Covers>, StoreError>> + Send;

    /// The incarnations in which an entity has a row. The whole store is looked through, a slice at a time.
    fn incarnations_of(
        &self,
        uid: &str,
        entity: &str,
    ) -> impl Future<Output = Result<Vec<Incarnation>, StoreError>> + Send;

    /// One step: the tombstone, merged into `seen`, and the rows of these incarnations. An incarnation whose row this
    /// erasure has removed before is left alone: its row is a new one.
    fn remove_rows(
        &self,
        erasure: &RowErasure,
        seen: Option<&Covers>,
        incarnations: &[Incarnation],
    ) -> impl Future<Output = Result<Removal, StoreError>> + Send;

    /// Forgets that the erasure is under way: all that it covers is gone.
    fn end_erasure(&self, uid: &str, entity: &str) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Removes an entity's rows from every incarnation; how many there were. `known` are incarnations that are known to be there.
///
/// # Errors
/// [`StoreError`]; then it is to be done again, which goes on where it ended.
pub async fn erase_rows<S: Eraser>(store: &S, erasure: &RowErasure, known: &[Incarnation]) -> Result<u64, StoreError> {
    let mut removed = remove(store, erasure, known).await?;
    // Whoever still writes now knows the tombstone, so that other incarnations have old rows only if they have them by now.
    let mut others = store.incarnations_of(&erasure.uid, &erasure.entity).await?;
    others.retain(|found| !known.contains(found));
    if !others.is_empty() {
        removed += remove(store, erasure, &others).await?;
    }
    Ok(removed)
}

async fn remove<S: Eraser>(store: &S, erasure: &RowErasure, incarnations: &[Incarnation]) -> Result<u64, StoreError> {
    loop {
        let seen = store.tombstone(&erasure.uid, &erasure.entity).await?;
        if let Removal::Done(removed) = store.remove_rows(erasure, seen.as_ref(), incarnations).await? {
            return Ok(removed);
        }
    }
}

/// The tombstone after this erasure.
fn merged(seen: Option<&Covers>, covers: &Covers) -> Covers {
    let mut merged = seen.cloned().unwrap_or_default();
    merged.merge(covers);
    merged
}

/// The field of [`engine::row::erasing_key`] that holds what is covered.
const COVERS: &str = "covers";

/// The field that says for what an incarnation's row was removed.
fn name((revision, incarnation): &Incarnation) -> String {
    format!("{revision}/{incarnation}")
}

//! The flip of a revision's head: what its publisher does last, once every row of a generation is written and checked.
//!
//! Invariant: a head is only ever set over the one that the publisher saw. Whoever was overtaken, by another run, a rollback
//! or the operator, changes nothing and learns of it.

use engine::row::{Head, head_key};

use super::{RowStore, StoreError, Swap};

/// What a head is to name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The incarnation of the rows.
    pub incarnation: u32,
    /// The generation of the batch lanes in them.
    pub generation: u64,
    /// Its horizon in milliseconds.
    pub horizon: i64,
}

/// Points a revision's head at `next`, iff the one that stands is still `seen` by its fence (`None`: there was none). The
/// head that stands now, or `None` if it had been moved: read it again and decide anew.
///
/// # Errors
/// [`StoreError`]. If the store [is away](StoreError::is_away), the flip may have taken place or not; the head tells.
pub async fn publish_head<S: RowStore>(
    store: &S,
    uid: &str,
    revision: &str,
    seen: Option<&Head>,
    next: Publication,
) -> Result<Option<Head>, StoreError> {
    let Publication { incarnation, generation, horizon } = next;
    let expected = seen.map(|head| head.fence);
    let head = Head { incarnation, generation, horizon, fence: expected.unwrap_or(0) + 1 };
    match store.swap_pointer(&head_key(uid, revision), expected, &head).await? {
        Swap::Done => Ok(Some(head)),
        Swap::Conflict => Ok(None),
    }
}

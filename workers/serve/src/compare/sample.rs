//! Which entities are compared: those of either revision whose keys have the smallest hashes.
//!
//! Invariant: the sample is a function of the set of entities, so a comparison that is made again looks at the same ones,
//! and an entity that only one revision holds is in it as likely as any other.

use std::collections::BTreeSet;

use engine::row::entity_hash;
use shell::store::RowStore;
use twox_hash::XxHash3_64;

use super::CompareError;
use super::side::Side;
use crate::store::Store;

/// The `n` entities with the smallest hashes among the rows of all `sides`.
///
/// # Errors
/// [`CompareError`] if the store does not list them.
pub async fn smallest<R: RowStore>(
    store: &dyn Store,
    rows: &R,
    sides: &[&Side],
    n: usize,
) -> Result<Vec<String>, CompareError> {
    of(store, rows, sides, n, |entity| XxHash3_64::oneshot(entity.as_bytes())).await
}

/// The `n` entities with the smallest hashes under a `seed`, so that another seed looks at others; and among them, before all
/// others, those whose [hashes](entity_hash) are given.
///
/// # Errors
/// As above.
pub async fn seeded<R: RowStore>(
    store: &dyn Store,
    rows: &R,
    side: &Side,
    n: usize,
    seed: u64,
    first: &BTreeSet<String>,
) -> Result<Vec<String>, CompareError> {
    let rank = |entity: &str| {
        if first.contains(&entity_hash(entity)) { 0 } else { XxHash3_64::oneshot_with_seed(seed, entity.as_bytes()) }
    };
    of(store, rows, &[side], n, rank).await
}

/// The `n` entities whose `rank` is smallest among the rows of all `sides`.
async fn of<R: RowStore>(
    store: &dyn Store,
    rows: &R,
    sides: &[&Side],
    n: usize,
    rank: impl Fn(&str) -> u64 + Send + Sync,
) -> Result<Vec<String>, CompareError> {
    let mut smallest: BTreeSet<(u64, Box<str>)> = BTreeSet::new();
    for side in sides {
        let prefix = side.row_prefix(store).await?;
        let mut cursor = Some(0);
        while let Some(at) = cursor {
            let listed = rows.scan(&prefix, at).await?;
            cursor = listed.next;
            for entity in listed.keys.iter().filter_map(|key| key.strip_prefix(&prefix)) {
                let hash = rank(entity);
                if smallest.len() >= n && smallest.last().is_some_and(|(largest, _)| hash > *largest) {
                    continue;
                }
                smallest.insert((hash, entity.into()));
                if smallest.len() > n {
                    smallest.pop_last();
                }
            }
        }
    }
    Ok(smallest.into_iter().map(|(_, entity)| entity.into()).collect())
}

//! Compares the live revision of a view with the one that is to take its place, by the rows of both.
//!
//! ```text
//! sample (entities of both) ─▶ side, side (rows as of one time) ─▶ engine::compare::Judge ─▶ report in the store
//! ```
//!
//! Invariants: both are read as of one time that both are complete to, rounded down to a tile of both, so that nothing
//! that is still to come belongs to it. What differs is read again once both have read on past the moment it was seen,
//! since a late event may stand in one of them first; only what differs then counts. Of the sampled entities nothing is held
//! but their keys; of their rows, one round trip's.

mod job;
mod sample;
mod side;

use std::time::Duration;

use engine::compare::{Comparison, Judge, Reading, Report};
use engine::plan::Plan;
use engine::row::entity_hash;
use shell::clock;
use shell::store::{RowStore, StoreError as RowStoreError};
use thiserror::Error;

use crate::evaluate::EvaluateError;
use crate::store::{Store, StoreError};
pub use job::{Args, JobError, READ_TIMEOUT, connected, run};
pub use sample::{seeded, smallest};
pub use side::{Fetched, Side};

/// The most entities a round trip.
const CHUNK: usize = 256;
/// The most that the rows of a round trip take, as far as rows can be estimated.
const CHUNK_BYTES: u64 = 16 << 20;
/// How often what differs is read again.
const ROUNDS: usize = 3;

/// Why there is no report. Nothing was decided: try again.
#[derive(Debug, Error)]
pub enum CompareError {
    /// A plan cannot run here.
    #[error("{0}; run the image that the plan was made with")]
    Plan(String),
    /// The online store gave no rows.
    #[error(transparent)]
    Read(#[from] StoreError),
    /// The online store did not list rows.
    #[error(transparent)]
    Rows(#[from] RowStoreError),
    /// A pointer or marker holds something else.
    #[error("revision {revision}: {problem}")]
    Broken {
        /// Which.
        revision: String,
        /// What.
        problem: String,
    },
    /// A row could not be evaluated.
    #[error("revision {revision}: {source}; replay the revision")]
    Evaluate {
        /// Which.
        revision: String,
        /// Why.
        source: EvaluateError,
    },
    /// A revision's head moved with every read.
    #[error("the head of revision {revision} moved with every read")]
    Moving {
        /// Which.
        revision: String,
    },
    /// A revision is not known to be complete to any time.
    #[error(
        "revision {revision} has not said within {waited_s} s up to which time it is complete: see whether its workers run"
    )]
    Unknown {
        /// Which.
        revision: String,
        /// For how long that was waited for.
        waited_s: u64,
    },
    /// A revision did not read on.
    #[error(
        "revision {revision} has not read its source up to {until_ms} within {waited_s} s: see whether its workers run"
    )]
    Behind {
        /// Which.
        revision: String,
        /// The time in milliseconds that was waited for.
        until_ms: i64,
        /// For how long.
        waited_s: u64,
    },
}

/// Compares. `patience` is how long a revision may take to become complete up to a moment.
///
/// # Errors
/// [`CompareError`].
pub async fn compare<R: RowStore>(
    store: &dyn Store,
    rows: &R,
    comparison: &Comparison,
    patience: Duration,
) -> Result<Report, CompareError> {
    let former = Side::new(&comparison.former)?;
    let candidate = Side::new(&comparison.candidate)?;
    // The latest time that both are complete to, rounded down to a tile of both: sizes come from one ladder, in which each
    // divides the next.
    let (a, b) =
        (former.complete(store, i64::MIN, patience).await?, candidate.complete(store, i64::MIN, patience).await?);
    let as_of = engine::time::floor(a.min(b), former.finest_tile().max(candidate.finest_tile()));
    let entities = sample::smallest(store, rows, &[&former, &candidate], comparison.sample_entities).await?;
    tracing::info!(as_of, entities = entities.len(), "comparing");

    let mut judge = Judge::new(comparison);
    let most = chunk(&[&comparison.former, &comparison.candidate]);
    let mut left: Vec<usize> = (0..entities.len()).collect();
    for round in 0..=ROUNDS {
        let mut differing = Vec::new();
        for chunk in left.chunks(most) {
            let names: Vec<String> = chunk.iter().map(|&at| entities[at].clone()).collect();
            let readings = read(store, &former, &candidate, &names, as_of).await?;
            for ((at, entity), (a, b)) in chunk.iter().zip(&names).zip(readings) {
                if round < ROUNDS && judge.differs(&a, &b) {
                    differing.push(*at);
                } else {
                    judge.observe(&entity_hash(entity), &a, &b);
                }
            }
        }
        if differing.is_empty() {
            break;
        }
        tracing::debug!(round, of = left.len(), differing = differing.len(), "read");
        let seen = clock::now_ms();
        former.complete(store, seen, patience).await?;
        candidate.complete(store, seen, patience).await?;
        left = differing;
    }
    Ok(judge.report(as_of))
}

/// How many entities are read at once, so that the rows of all revisions fit into memory however large they are.
#[must_use]
pub fn chunk(plans: &[&Plan]) -> usize {
    let row = |plan: &&Plan| engine::estimate::row_bytes(plan).map_or(u64::MAX, |estimate| estimate.bytes);
    let rows = plans.iter().map(row).fold(0, u64::saturating_add).max(1);
    usize::try_from(CHUNK_BYTES / rows).unwrap_or(CHUNK).clamp(1, CHUNK)
}

/// Both sides' readings of each entity.
async fn read(
    store: &dyn Store,
    former: &Side,
    candidate: &Side,
    entities: &[String],
    as_of: i64,
) -> Result<Vec<(Vec<Reading>, Vec<Reading>)>, CompareError> {
    let (a, b) = tokio::try_join!(former.read(store, entities, as_of), candidate.read(store, entities, as_of))?;
    Ok(a.into_iter().zip(b).collect())
}

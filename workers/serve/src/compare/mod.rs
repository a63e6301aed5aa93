//! Compares the live revision of a view with the one that is to take its place, by the rows of both.
//!
//! ```text
//! sample (entities of both) ─▶ side, side (rows as of one time) ─▶ engine::compare::Judge ─▶ report in the store
//! ```
//!
//! Invariants: both are read as of one time that both are complete to, rounded down to a tile of both, so that nothing
//! that is still to come belongs to it. What differs is read again once both have read on past the moment it was seen,
//! since a late event may stand in one of them first; only what differs then counts.

mod job;
mod sample;
mod side;

use std::time::Duration;

use engine::compare::{Comparison, Judge, Reading, Report};
use shell::backoff::Backoff;
use shell::clock;
use shell::store::{RowStore, StoreError as RowStoreError};
use thiserror::Error;

use crate::evaluate::EvaluateError;
use crate::store::{Store, StoreError};
pub use job::{Args, JobError, run};
use side::Side;

/// Entities a round trip.
const CHUNK: usize = 256;
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
    #[error("revision {revision}: {problem}; replay the revision")]
    Evaluate {
        /// Which.
        revision: String,
        /// Why.
        problem: String,
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

impl CompareError {
    /// What an evaluation that failed says, without naming the entity.
    fn evaluate(revision: &str, error: EvaluateError) -> Self {
        let problem = match error {
            EvaluateError::Lane(lane) => format!("the lane of {} cannot be decoded: {}", lane.lane, lane.reason),
            EvaluateError::Plan(problem) => problem,
        };
        Self::Evaluate { revision: revision.to_owned(), problem }
    }
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
    let as_of = common_time(store, &former, &candidate, patience).await?;
    let sample = sample::smallest(store, rows, &[&former, &candidate], comparison.sample_entities).await?;
    tracing::info!(as_of, entities = sample.len(), "comparing");

    let mut judge = Judge::new(comparison);
    let mut differing = Vec::new();
    for (done, chunk) in sample.chunks(CHUNK).enumerate() {
        for (entity, readings) in chunk.iter().zip(read(store, &former, &candidate, chunk, as_of).await?) {
            if judge.differs(&readings.0, &readings.1) {
                differing.push(entity.clone());
            } else {
                judge.observe(sample::hash(entity), &readings.0, &readings.1);
            }
        }
        tracing::debug!(done = done * CHUNK + chunk.len(), of = sample.len(), differing = differing.len(), "compared");
    }
    for round in 1..=ROUNDS {
        if differing.is_empty() {
            break;
        }
        let seen = clock::now_ms();
        former.complete(store, seen, patience).await?;
        candidate.complete(store, seen, patience).await?;
        let mut still = Vec::new();
        for chunk in differing.chunks(CHUNK) {
            for (entity, readings) in chunk.iter().zip(read(store, &former, &candidate, chunk, as_of).await?) {
                if round < ROUNDS && judge.differs(&readings.0, &readings.1) {
                    still.push(entity.clone());
                } else {
                    judge.observe(sample::hash(entity), &readings.0, &readings.1);
                }
            }
        }
        differing = still;
    }
    Ok(judge.report(as_of))
}

/// The latest time that both are complete to, rounded down to a tile of both.
async fn common_time(
    store: &dyn Store,
    former: &Side,
    candidate: &Side,
    patience: Duration,
) -> Result<i64, CompareError> {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
    let begun = tokio::time::Instant::now();
    loop {
        let (a, b) = (former.complete_to(store).await?, candidate.complete_to(store).await?);
        if let (Some(a), Some(b)) = (a, b) {
            // Tile sizes come from one ladder, in which each divides the next.
            return Ok(engine::time::floor(a.min(b), former.finest_tile().max(candidate.finest_tile())));
        }
        if begun.elapsed() > patience {
            let revision = if a.is_none() { former.name() } else { candidate.name() }.to_owned();
            return Err(CompareError::Unknown { revision, waited_s: begun.elapsed().as_secs() });
        }
        tokio::time::sleep(backoff.delay()).await;
    }
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

//! One of the two revisions: how far it is complete, and what it gives for an entity.

use std::time::Duration;

use engine::compare::Reading;
use engine::plan::Plan;
use shell::backoff::Backoff;

use super::CompareError;
use crate::by_name::{self, Problem};
use crate::catalog::Revision;
use crate::completeness::complete_from;
use crate::evaluate::{Rows, Status, evaluate_rows};
use crate::pointers::Pointers;
use crate::read::completeness;
use crate::store::{Fields, Reply, Store};

/// Rows as they stood at one moment.
#[derive(Debug)]
pub struct Fetched {
    pointers: Pointers,
    /// The event time in milliseconds from which on stream lanes hold every event.
    pub complete_from: i64,
    /// The markers, which were read before the rows.
    pub markers: Fields,
    /// A row an entity; empty where there is none.
    pub rows: Vec<Fields>,
}

impl Fetched {
    /// The generation and its horizon; none of a revision without generations, or before the first.
    #[must_use]
    pub fn generation(&self) -> Option<(u64, i64)> {
        (self.pointers.generation > 0).then_some((self.pointers.generation, self.pointers.horizon))
    }
}

/// One revision, ready to be read by its name, live or not.
pub struct Side {
    revision: Revision,
    /// The positions of all its features.
    features: Vec<usize>,
    guess: Pointers,
}

impl Side {
    /// Compiles a plan.
    ///
    /// # Errors
    /// [`CompareError::Plan`] if it cannot run here.
    pub fn new(plan: &Plan) -> Result<Self, CompareError> {
        let guess = Pointers::guess(&plan.view.uid, &plan.revision);
        let features = (0..plan.features.len()).collect();
        Ok(Self { revision: Revision::compile(plan.clone()).map_err(CompareError::Plan)?, features, guess })
    }

    fn plan(&self) -> &Plan {
        self.revision.program.plan()
    }

    fn name(&self) -> &str {
        &self.plan().revision
    }

    /// The size of its finest tile, in milliseconds.
    #[must_use]
    pub fn finest_tile(&self) -> i64 {
        self.plan().time.finest_tile_ms
    }

    /// What the keys of its rows start with.
    ///
    /// # Errors
    /// [`CompareError`].
    pub async fn row_prefix(&self, store: &dyn Store) -> Result<String, CompareError> {
        let pointers = self.query(store, &[]).await?.map(|(pointers, _)| pointers);
        Ok(pointers.as_ref().unwrap_or(&self.guess).query(&[]).row_prefix.to_owned())
    }

    /// The event time in milliseconds up to which it holds every event; `None` if it is not known.
    async fn complete_to(&self, store: &dyn Store) -> Result<Option<i64>, CompareError> {
        let Some((pointers, reply)) = self.query(store, &[]).await? else { return Ok(None) };
        completeness(self.plan().mode, &pointers, &reply.markers).map_err(|e| self.broken(e.to_string()))
    }

    /// Waits until it is complete to a time, and if it is of those that read on, to `until_ms` or a later one; gives the time.
    ///
    /// # Errors
    /// [`CompareError::Unknown`] or [`CompareError::Behind`] after so long.
    pub async fn complete(&self, store: &dyn Store, until_ms: i64, patience: Duration) -> Result<i64, CompareError> {
        let reads_on = self.plan().mode.has_stream_lanes();
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        let begun = tokio::time::Instant::now();
        loop {
            let complete_to = self.complete_to(store).await?;
            if let Some(time) = complete_to.filter(|time| !reads_on || *time >= until_ms) {
                return Ok(time);
            }
            if begun.elapsed() > patience {
                let (revision, waited_s) = (self.name().to_owned(), begun.elapsed().as_secs());
                return Err(match complete_to {
                    None => CompareError::Unknown { revision, waited_s },
                    Some(_) => CompareError::Behind { revision, until_ms, waited_s },
                });
            }
            tokio::time::sleep(backoff.delay()).await;
        }
    }

    /// By entity, the readings of all its features as of `t`.
    ///
    /// # Errors
    /// [`CompareError`].
    pub async fn read(
        &self,
        store: &dyn Store,
        entities: &[String],
        t: i64,
    ) -> Result<Vec<Vec<Reading>>, CompareError> {
        let fetched = self.fetch(store, entities).await?;
        self.readings(&fetched, &fetched.rows, fetched.complete_from, entities, t)
    }

    /// The rows of entities as they stand, and what they stand under.
    ///
    /// # Errors
    /// [`CompareError`].
    pub async fn fetch(&self, store: &dyn Store, entities: &[String]) -> Result<Fetched, CompareError> {
        let (pointers, reply) =
            self.query(store, entities).await?.ok_or_else(|| self.broken("its head is gone".into()))?;
        let complete_from = complete_from(&reply.markers).map_err(|e| self.broken(e.to_string()))?;
        Ok(Fetched { pointers, complete_from, markers: reply.markers, rows: reply.rows })
    }

    /// What `rows` give for their entities as of `t`, read under the pointers of `fetched`: those that were fetched, or others
    /// that are to be held against them. Stream lanes hold every event from `complete_from` on.
    ///
    /// # Errors
    /// [`CompareError::Evaluate`].
    pub fn readings(
        &self,
        fetched: &Fetched,
        rows: &[Fields],
        complete_from: i64,
        entities: &[String],
        t: i64,
    ) -> Result<Vec<Vec<Reading>>, CompareError> {
        let rows = Rows {
            revision: &self.revision,
            generation: fetched.pointers.generation,
            horizon: fetched.pointers.horizon,
            complete_from,
            features: &self.features,
            entities,
            rows,
            absent_is_empty: true,
        };
        let columns = evaluate_rows(&rows, t)
            .map_err(|source| CompareError::Evaluate { revision: self.name().to_owned(), source })?;
        let mut readings = vec![Vec::with_capacity(columns.len()); entities.len()];
        for (entity, cell) in columns.into_iter().flat_map(|column| column.into_iter().enumerate()) {
            readings[entity].push(Reading { exact: cell.status != Status::Invalid, value: cell.value });
        }
        Ok(readings)
    }

    /// One consistent reply, and the pointers it stands under; `None` if the revision has no head.
    async fn query(&self, store: &dyn Store, entities: &[String]) -> Result<Option<(Pointers, Reply)>, CompareError> {
        by_name::read(store, &self.guess, entities).await.map_err(|problem| match problem {
            Problem::Store(error) => error.into(),
            Problem::Broken(problem) => self.broken(problem),
            Problem::Moving => CompareError::Moving { revision: self.name().to_owned() },
        })
    }

    fn broken(&self, problem: String) -> CompareError {
        CompareError::Broken { revision: self.name().to_owned(), problem }
    }
}

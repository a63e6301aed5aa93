//! What a run reads, and its fold: everything, or only what is new on top of the last generation's lanes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::execution::memory_pool::MemoryLimit;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionContext;
use engine::event::Admission;
use engine::row::{RunReport, row_prefix};
use engine::time::{coarsest_hop, floor};
use lake::bronze;
use serde_json::json;
use shell::clock::now_ms;
use shell::store::RedisStore;

use super::generation::Task;
use super::{Run, RunError};
use crate::cluster::Cluster;
use crate::config::{ClusterConfig, Rows};
use crate::decode::{Counts, Taken};
use crate::events::{self, EventsError};
use crate::feature_table::{FeatureTable, Stamp};
use crate::features::FeatureReader;
use crate::fold::{Fold, Mould};
use crate::incremental::{Facts, Reading, decide};
use crate::lanes::{self, Stored};
use crate::produce::{self, Produced, Producer};
use crate::progress::Progress;

/// Entities are dealt out over so many partitions that what one of them looks up stays near the processor, and that its
/// lanes, which are made all at once, take little memory.
const PARTITIONS_A_THREAD: usize = 32;
/// But each gets a share of the memory, and needs this much of it to spill lanes and to read them back.
const BYTES_A_PARTITION: usize = 32 << 20;

/// Over how many partitions a fold deals out its entities: with little memory over fewer than there are threads.
fn partitions(session: &SessionContext) -> usize {
    let (threads, pool) =
        (session.state().config().target_partitions(), session.runtime_env().memory_pool.memory_limit());
    let most = threads * PARTITIONS_A_THREAD;
    match pool {
        MemoryLimit::Finite(bytes) => (bytes / BYTES_A_PARTITION).clamp(1, most),
        MemoryLimit::Infinite | MemoryLimit::Unknown => most,
    }
}

impl Run {
    /// Makes the generation's rows, and notes what was read.
    pub(super) async fn produce(
        &self,
        store: &RedisStore,
        table: &FeatureTable,
        task: &Task,
        session: &SessionContext,
        report: &mut RunReport,
    ) -> Result<Produced, RunError> {
        match self.reading(table, task).await? {
            Reading::Since(before) => {
                let made = match self.before(store, table, task, session).await {
                    Ok(lanes) => self.fold(table, task, session, report, before, Some(lanes)).await,
                    Err(error) => Err(error),
                };
                match made {
                    Ok(produced) => {
                        report
                            .notes
                            .push(format!("only events from {before} on were read, on top of the last generation"));
                        return Ok(produced);
                    }
                    Err(error) => report
                        .notes
                        .push(format!("everything was read: going on from the last generation failed: {error}")),
                }
            }
            Reading::All(why) => report.notes.push(format!("everything was read: {why}")),
        }
        self.fold(table, task, session, report, self.earliest(task.horizon), None).await
    }

    /// The event time from which on a generation's events are read: what no read near the horizon can need is not; see
    /// `Lane::aged`.
    pub(crate) fn earliest(&self, horizon: i64) -> i64 {
        self.plan.time.retention_ms.map_or(i64::MIN, |retention| {
            floor(horizon.saturating_sub(1).saturating_sub(retention), coarsest_hop(&self.plan))
        })
    }

    async fn reading(&self, table: &FeatureTable, task: &Task) -> Result<Reading, RunError> {
        let history = &task.history;
        let incarnation = self.config.assignment.incarnation;
        let known =
            |published: &&crate::publish::Published| published.incarnation == incarnation && published.is_of(history);
        let published = task.published.as_ref().filter(known);
        let timestamp = &self.source.source.timestamp;
        let archive = self.config.source.as_ref().is_some_and(|source| source.rows == Rows::Archive);
        let time = if archive { bronze::EVENT_TIME } else { &timestamp.field };
        // The archive knows no time of an event that it does not believe, and the plan may believe more.
        let all = archive && self.plan.time.max_future_ms > bronze::MAX_FUTURE_MS;
        let changes = match published {
            Some(published) => history.changes(&published.source, time, timestamp.unit, all).await?,
            None => None,
        };
        let whole = match published {
            Some(published) => published.rows.is_some() && table.count(published.generation)? == published.rows,
            None => false,
        };
        Ok(decide(&Facts {
            plan: &self.plan,
            full_refresh: self.config.full_refresh,
            before: published.and(task.head.as_ref()).map(|head| head.horizon),
            whole,
            horizon: task.horizon,
            erased: published.is_some_and(|published| published.erased != task.erased),
            changes: changes.as_ref(),
        }))
    }

    /// The lanes of the generation that the head names.
    async fn before(
        &self,
        store: &RedisStore,
        table: &FeatureTable,
        task: &Task,
        session: &SessionContext,
    ) -> Result<Arc<dyn ExecutionPlan>, RunError> {
        let generation = task.generation - 1;
        let entities = table.entities(generation, session).await?;
        let (uid, revision) = (&self.plan.view.uid, &self.plan.revision);
        let stored = Stored {
            connection: store.connection().clone(),
            row_prefix: row_prefix(uid, revision, self.config.assignment.incarnation),
            generation,
            keys: self.program.keys().iter().map(|at| self.plan.source.columns[*at].value_type.arrow()).collect(),
        };
        let failed = |source| EventsError::Scan { uri: table.uri().to_owned(), source };
        Ok(lanes::plan(&entities, stored).map_err(failed)?)
    }

    async fn fold(
        &self,
        table: &FeatureTable,
        task: &Task,
        session: &SessionContext,
        report: &mut RunReport,
        from: i64,
        before: Option<Arc<dyn ExecutionPlan>>,
    ) -> Result<Produced, RunError> {
        let (plan, history) = (&self.plan, &task.history);
        let latest = now_ms().saturating_add(plan.time.max_future_ms);
        let admission = Admission { from, until: task.horizon, latest };
        let counts = Arc::<Counts>::default();
        let taken = Taken { admission, tombstones: task.tombstones.clone(), counts: counts.clone() };
        let reader = Arc::new(FeatureReader::new(self.program.clone(), self.layout.clone(), task.horizon));
        let producer = Arc::new(Producer {
            plan: plan.clone(),
            reader: reader.clone(),
            stamp: Stamp { horizon: task.horizon, revision: plan.revision.clone(), generation: task.generation },
            temp_dir: self.args.tables.temp_dir.clone(),
            entities: AtomicU64::new(0),
        });
        let progress = Progress::of_fold(counts.clone(), producer.clone(), history.rows());
        let lanes = self.lanes(task, session, &taken, &reader, before).await?;
        let fold = lanes.clone();
        let produced = produce::produce(lanes, session, table, producer.clone()).await?;
        drop(progress);
        let spilled = fold.metrics().and_then(|metrics| metrics.spilled_bytes()).unwrap_or(0);
        let (rows, events, refused) = (counts.rows(), counts.taken(), counts.refused());
        let entities = producer.entities.load(Ordering::Relaxed);
        tracing::info!(rows, events, entities, spilled_bytes = spilled, refused = %json!(&refused), percent = 100, "folded");
        report.refused = refused;
        Ok(produced)
    }

    /// The lanes of what is taken, on top of those of `before`: folded here, or on the cluster and only merged here.
    async fn lanes(
        &self,
        task: &Task,
        session: &SessionContext,
        taken: &Taken,
        reader: &Arc<FeatureReader>,
        before: Option<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>, RunError> {
        let (history, source) = (&task.history, self.config.source.as_ref());
        let failed = |source| EventsError::Scan { uri: history.uri.clone(), source };
        let mould = Mould::new(self.plan.clone(), self.layout.clone(), task.horizon, task.generation);
        if let Some(ClusterConfig { scheduler_url, partitions }) = &self.config.cluster {
            let cluster = Cluster { url: scheduler_url.clone(), partitions: *partitions };
            let folded = cluster.lanes::<RunError>(&self.program, history, source, taken, &mould, session).await?;
            return Ok(match before {
                Some(before) => folded.fold.onto(folded.plan, before).map_err(failed)?,
                None => folded.plan,
            });
        }
        let events = events::plan(&self.program, history, source, taken.clone(), session).await?;
        let fold =
            Fold::new(events.schema(), partitions(session), mould.with_features(reader.clone())).map_err(failed)?;
        Ok(match before {
            Some(before) => fold.onto(fold.partial(events).map_err(failed)?, before).map_err(failed)?,
            None => fold.lanes(events).map_err(failed)?,
        })
    }
}

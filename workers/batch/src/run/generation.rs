//! From the head that stands to the head that is flipped: the steps of one generation, in the order that keeps a reader safe.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use datafusion::prelude::SessionContext;
use engine::erase::Tombstones;
use engine::row::{FeatureReport, Head, RunOutcome, RunReport, batch_field, head_key};
use engine::time::horizon;
use futures::TryStreamExt as _;
use redis::cmd;
use serde_json::json;
use shell::clock::now_ms;
use shell::store::{Erased, RedisStore, RowStore as _};
use shell::trace;

use super::{Run, RunError};
use crate::completeness::complete_until;
use crate::feature_table::FeatureTable;
use crate::gate::{Before, judge};
use crate::history::History;
use crate::lease::Lease;
use crate::produce::{Produced, summarise, texts};
use crate::publish::{PublishError, Published, Publisher, Target, published_key};

/// What a run sets out to make.
#[derive(Debug)]
pub(super) struct Task {
    /// The head that stands.
    pub head: Option<Head>,
    /// What was published with it.
    pub published: Option<Published>,
    /// The source.
    pub history: History,
    /// Who is left out of it.
    pub tombstones: Arc<Tombstones>,
    /// The version of the erasures that are known.
    pub erased: u64,
    /// The new generation.
    pub generation: u64,
    /// Its horizon.
    pub horizon: i64,
}

impl Run {
    /// Makes the next generation and publishes it; `report` says what became of it.
    pub(super) async fn generation(
        &self,
        store: &RedisStore,
        lease: &Lease,
        session: &SessionContext,
        report: &mut RunReport,
    ) -> Result<(), RunError> {
        let Some(task) = trace::span("look", self.task(store, session, report)).await? else { return Ok(()) };
        let mut table = FeatureTable::open(&self.config.feature_table, self.plan.clone(), &self.storage).await?;
        // The table is as it was when this held, or newer: from here on an erasure makes the commit fail.
        if store.erased_version(&self.plan.view.uid).await? != task.erased {
            return Err(PublishError::Erased.into());
        }
        let publisher = self.publisher(lease, &task).await?;
        self.sweep(&table, &publisher, &task, session).await?;

        let produced = trace::span("fold", self.produce(store, &table, &task, session, report)).await?;
        report.rows = produced.summary.rows;
        let served = task.head.as_ref().map_or(0, |head| head.generation);
        let rows = task.published.as_ref().and_then(|published| published.rows);
        // The table has no files of a generation without entities.
        let known = if served > 0 && (rows == Some(0) || table.generations(served)?.contains(&served)) {
            Some(summarise(&self.plan, &table, served, session).await?)
        } else {
            None
        };
        let before = match &known {
            Some(known) => Before::Known(known),
            None if served == 0 => Before::Nothing,
            None => Before::Lost(rows),
        };
        let verdict = judge(&self.plan, &self.config.gate, before, &produced.summary);
        let feature =
            |seen: crate::gate::Seen| FeatureReport { name: seen.name, null_share: seen.null_share, psi: seen.psi };
        report.features = verdict.features.into_iter().map(feature).collect();
        report.notes.extend(verdict.notes);
        if !verdict.refusals.is_empty() {
            let reason = verdict.refusals.join("; ");
            tracing::warn!(reason, generation = task.generation, "the quality gate refused the generation");
            report.outcome = RunOutcome::Refused { reason };
            return Ok(());
        }

        let Produced { files, spools, .. } = produced;
        let lineage = HashMap::from([(
            "featuremill.generation".to_owned(),
            json!({
                "revision": self.plan.revision, "generation": task.generation, "horizonMs": task.horizon,
                "source": task.history.uri, "version": task.history.version,
            }),
        )]);
        table.commit(task.generation, files, lease.number(), lineage).await?;
        self.keep_previous(&task).await;
        // From here on the generation before the one that is served is not whole any more.
        publisher.begin().await?;
        let rows = trace::span("write", publisher.write(spools)).await?;
        let removed = self.remove_vanished(&table, &publisher, &task, session).await?;
        tracing::info!(rows, removed, generation = task.generation, "the rows are written");
        trace::span("flip", self.flip(&publisher, &task, report.rows)).await?;
        report.outcome = RunOutcome::Published;
        Ok(())
    }

    /// What is to be made; `None` if nothing is new.
    async fn task(
        &self,
        store: &RedisStore,
        session: &SessionContext,
        report: &mut RunReport,
    ) -> Result<Option<Task>, RunError> {
        let (uid, revision) = (&self.plan.view.uid, &self.plan.revision);
        let head: Option<Head> = store.pointer(&head_key(uid, revision)).await?;
        let published = self.published(store).await?.filter(|published| {
            head.as_ref().is_some_and(|head| {
                (head.generation, head.incarnation) == (published.generation, published.incarnation)
            })
        });
        let Erased { version: erased, tombstones } = self.erased(store, session).await?;
        let history = History::open(&self.source, self.config.version_as_of, &self.storage, session).await?;
        history.check_event_time(&self.plan, self.config.source.as_ref())?;
        report.table_version = history.version_number();
        let complete = complete_until(self.config.completeness, &history, &self.source, session, now_ms()).await?;
        let stands = head.as_ref().map_or((0, 0), |head| (head.generation, head.horizon));
        (report.generation, report.horizon_ms) = stands;
        let Some(complete) = complete else {
            report.notes.push(format!("{} holds no events, or has not been read to an end yet", history.uri));
            return Ok(None);
        };
        let horizon = horizon(&self.plan, complete);
        let incarnation = self.config.assignment.incarnation;
        let same = published.as_ref().is_some_and(|published| {
            published.is_of(&history)
                && published.source == history.version
                && published.incarnation == incarnation
                && published.erased == erased
                && horizon == stands.1
        });
        if same && !self.config.full_refresh {
            tracing::info!(version = history.version, horizon, "nothing is new");
            return Ok(None);
        }
        let generation = stands.0 + 1;
        (report.generation, report.horizon_ms) = (generation, horizon);
        tracing::info!(
            source = history.uri,
            version = history.version,
            complete,
            horizon,
            generation,
            "a generation is to be made"
        );
        Ok(Some(Task { head, published, history, tombstones: Arc::new(tombstones), erased, generation, horizon }))
    }

    /// Who was erased, by the online store, which every erasure tells first, and by the lake, which outlasts it.
    pub(crate) async fn erased(&self, store: &RedisStore, session: &SessionContext) -> Result<Erased, RunError> {
        let mut erased = store.erased(&self.plan.view.uid).await?;
        if let Some(lake) = &self.config.lake {
            let uri = lake::erase::uri(lake, &self.plan);
            erased.tombstones.merge(&lake::erase::tombstones(&uri, &self.storage, session).await?);
        }
        Ok(erased)
    }

    pub(crate) async fn published(&self, store: &RedisStore) -> Result<Option<Published>, RunError> {
        let key = published_key(&self.plan.view.uid, &self.plan.revision);
        let text: Option<String> = store.connection().run("reading what was published", cmd("GET").arg(&key)).await?;
        // What does not read was written by another version: then everything is new.
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    async fn publisher(&self, lease: &Lease, task: &Task) -> Result<Publisher, RunError> {
        let target = Target {
            uid: &self.plan.view.uid,
            revision: &self.plan.revision,
            incarnation: self.config.assignment.incarnation,
            generation: task.generation,
            seen: task.head.as_ref().map(|head| head.fence),
            erased: task.erased,
        };
        // In a Lambda, what is left of a row whose batch lane goes are stream lanes, which expire.
        let ttl = self.plan.time.retention_ms;
        Ok(Publisher::connect(&self.connector, self.args.redis_connections, lease, target, ttl).await?)
    }

    /// Removes the rows of generations that were committed under this number or a later one, and never published: by a
    /// run that was killed, or before a rollback. Until the commit that replaces them, the table names their entities.
    async fn sweep(
        &self,
        table: &FeatureTable,
        publisher: &Publisher,
        task: &Task,
        session: &SessionContext,
    ) -> Result<(), RunError> {
        for left in table.generations(task.generation)? {
            let mut batches = table.vanished(left, None, session).await?;
            let mut removed = 0;
            while let Some(batch) = batches.try_next().await.map_err(crate::produce::ProduceError::Fold)? {
                let entities = texts(&self.plan, &batch)?;
                removed += publisher.remove(&batch_field(left, 0), &entities, left, left).await?;
            }
            tracing::info!(generation = left, removed, "rows of an unpublished generation are swept");
        }
        Ok(())
    }

    /// Waits until nobody can still be reading the slot that is about to be overwritten: it held the generation that the
    /// head pointed to before the present one.
    async fn keep_previous(&self, task: &Task) {
        let Some(published) = &task.published else { return };
        let keep = i64::try_from(self.args.keep_previous_ms).unwrap_or(i64::MAX);
        let left = published.at_ms.saturating_add(keep).saturating_sub(now_ms()).min(keep);
        if let Some(left) = u64::try_from(left).ok().filter(|left| *left > 0) {
            tracing::info!(milliseconds = left, "the generation before last stays readable");
            tokio::time::sleep(Duration::from_millis(left)).await;
        }
    }

    /// Empties the slot of entities that were in the generation this one takes the place of, and are in it no more.
    async fn remove_vanished(
        &self,
        table: &FeatureTable,
        publisher: &Publisher,
        task: &Task,
        session: &SessionContext,
    ) -> Result<u64, RunError> {
        let Some(before) = task.generation.checked_sub(2).filter(|before| *before > 0) else { return Ok(0) };
        let mut batches = table.vanished(before, Some(task.generation), session).await?;
        let mut removed = 0;
        while let Some(batch) = batches.try_next().await.map_err(crate::produce::ProduceError::Fold)? {
            let entities = texts(&self.plan, &batch)?;
            removed += publisher.remove(publisher.slot(), &entities, 0, task.generation - 1).await?;
        }
        Ok(removed)
    }

    async fn flip(&self, publisher: &Publisher, task: &Task, rows: u64) -> Result<(), RunError> {
        let seen = task.head.as_ref().map(|head| head.fence);
        let incarnation = self.config.assignment.incarnation;
        let head =
            Head { incarnation, generation: task.generation, horizon: task.horizon, fence: seen.unwrap_or(0) + 1 };
        let published = Published {
            generation: task.generation,
            incarnation,
            uri: task.history.uri.clone(),
            table: task.history.table_id(),
            source: task.history.version.clone(),
            erased: task.erased,
            rows: Some(rows),
            at_ms: now_ms(),
        };
        let beside = published_key(&self.plan.view.uid, &self.plan.revision);
        publisher.flip(&head, &beside, &published).await?;
        Ok(())
    }
}

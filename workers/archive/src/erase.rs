//! The erasure of one entity from views: their rows in the online store, and their tables.
//!
//! The order, for each view, and what a kill leaves:
//! 1. what is covered is noted in the online store: the topic's ends, the time. A repetition goes by what was noted first;
//! 2. the tombstone, in the lake and in the online store, the latter in one step with the removal of rows. From here on
//!    nothing that is covered counts, or is written again;
//! 3. Bronze gets what is covered, if its worker is behind; then Gold, Silver, the quarantine and Bronze are rid of it, and
//!    of old files whose retention has passed; also the tables that ended revisions left behind;
//! 4. the note of the first step is removed. An erasure of the same entity is another one from here on.

mod config;
mod report;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::prelude::SessionContext;
use engine::erase::Covers;
use lake::erase::{Erasure, caught_up, mark, remove};
use lake::maintain::vacuum;
use lake::session::{SessionOptions, session};
use lake::{LakeError, Storage};
use shell::clock::now_ms;
use shell::kafka::KafkaSettings;
use shell::redis::{Connector, RedisError};
use shell::store::{Eraser as _, RedisStore, RowErasure, StoreError, erase_rows};
use shell::topic::{self, Bounds, TopicError};
use thiserror::Error;

use crate::args::EraseArgs;

pub use config::{EraseConfig, ErasedView};
pub use report::{Report, ViewReport};

/// How often an archive that is behind is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why an erasure ended before its end. It is to be repeated until it succeeds.
#[derive(Debug, Error)]
pub enum EraseError {
    /// The configuration cannot be used.
    #[error("configuration {path}: {detail}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The entity lacks a key.
    #[error("entity: view {view} is keyed by {keys:?}, and {key} is not given")]
    Entity {
        /// `namespace/name`.
        view: String,
        /// The key that is missing.
        key: String,
        /// All of the view's.
        keys: Vec<String>,
    },
    /// A view reads a topic.
    #[error("view {view} reads topic {topic}: give --kafka-bootstrap, so that it can be asked where it ends")]
    NoBrokers {
        /// `namespace/name`.
        view: String,
        /// The topic.
        topic: String,
    },
    /// The topic does not tell its ends.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// The online store cannot be reached.
    #[error(transparent)]
    Redis(#[from] RedisError),
    /// The online store does not do what is asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// So says the lake.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// What was done cannot be told.
    #[error("telling what was removed to {to}: {source}")]
    Report {
        /// Where.
        to: String,
        /// Why.
        source: std::io::Error,
    },
}

impl EraseError {
    /// Whether another try may succeed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Config { .. }
            | Self::Entity { .. }
            | Self::NoBrokers { .. }
            | Self::Redis(RedisError::Url { .. }) => false,
            Self::Topic(error) => matches!(error, TopicError::Kafka { .. }),
            Self::Store(error) => !matches!(error, StoreError::Marker { .. } | StoreError::Value { .. }),
            Self::Lake(error) => error.is_transient(),
            Self::Redis(_) | Self::Report { .. } => true,
        }
    }
}

/// Erases, and tells what was removed.
///
/// # Errors
/// [`EraseError`].
pub async fn erasure(args: &EraseArgs) -> Result<(), EraseError> {
    let config = EraseConfig::read(&args.config)?;
    let world = World::new(args, config).await?;
    let mut report = Report { views: Vec::new() };
    for view in &world.config.views {
        let done = world.erase(view).await?;
        let ViewReport { view, online_rows, bronze, silver, quarantine, gold, .. } = &done;
        tracing::info!(view, online_rows, bronze, silver, quarantine, gold, "an entity is erased");
        report.views.push(done);
    }
    report.tell(args.report.as_deref())
}

/// What all views of an erasure share.
struct World<'a> {
    args: &'a EraseArgs,
    config: EraseConfig,
    store: RedisStore,
    storage: Storage,
    session: SessionContext,
}

impl<'a> World<'a> {
    async fn new(args: &'a EraseArgs, config: EraseConfig) -> Result<Self, EraseError> {
        let connector = Connector::new(&args.redis_url, args.redis_config_dir.as_deref())?;
        let storage = Storage::from_dir(args.store_config_dir.as_deref())?;
        let options = SessionOptions {
            memory_bytes: usize::try_from(u64::from(args.memory_mib) << 20).unwrap_or(usize::MAX),
            spill_dir: args.spill_dir.clone(),
            ..SessionOptions::default()
        };
        let session = session(&options)?;
        let store = RedisStore::connect(&connector).await?;
        Ok(Self { args, config, store, storage, session })
    }

    async fn erase(&self, view: &ErasedView) -> Result<ViewReport, EraseError> {
        let plan = Arc::new(view.assignment.plan.clone());
        let uid = &plan.view.uid;
        let mut erasure = Erasure {
            plan: plan.clone(),
            entity: self.config.values(&plan)?,
            lake: self.config.lake.clone().unwrap_or_default(),
            bronze: view.bronze.clone(),
            silver: view.silver.clone(),
            gold: view.gold.clone(),
            covers: Covers::default(),
        };
        let entity = erasure.text()?;
        let bounds = self.bounds(view).await?;
        let offsets = bounds.iter().map(|(partition, bounds)| (*partition, bounds.end)).collect();
        let asked = Covers { offsets, before_ms: now_ms() };
        erasure.covers = self.store.begin_erasure(uid, &entity, &asked).await?;

        if self.config.lake.is_some() {
            mark(&erasure, &self.storage, &self.session).await?;
        }
        let lows = bounds.iter().map(|(partition, bounds)| (*partition, bounds.low)).collect();
        let rows = RowErasure { uid: uid.clone(), entity: entity.clone(), covers: erasure.covers.clone(), lows };
        let known = [(plan.revision.clone(), view.assignment.incarnation)];
        let online_rows = erase_rows(&self.store, &rows, &known).await?;

        let mut removed = lake::erase::Erased::default();
        if self.config.lake.is_some() {
            self.until_archived(&erasure).await?;
            removed = remove(&erasure, &self.storage, &self.session).await?;
            self.vacuum(&erasure).await?;
        }
        self.store.end_erasure(uid, &entity).await?;
        Ok(ViewReport {
            view: view.name(),
            online_rows,
            bronze: removed.bronze,
            silver: removed.silver,
            quarantine: removed.quarantine,
            gold: removed.gold,
            covers: erasure.covers.offsets,
            covers_before_ms: erasure.covers.before_ms,
            not_ours: plan.source.table.as_ref().map(|table| table.uri.clone()),
        })
    }

    /// Where the view's topic begins and ends; of a view without a topic nothing.
    async fn bounds(&self, view: &ErasedView) -> Result<BTreeMap<i32, Bounds>, EraseError> {
        let Some(topic) = self.config.topic(view).map(str::to_owned) else { return Ok(BTreeMap::new()) };
        let Some(bootstrap) = self.args.kafka_bootstrap.clone() else {
            return Err(EraseError::NoBrokers { view: view.name(), topic });
        };
        let kafka = KafkaSettings { bootstrap, config_dir: self.args.kafka_config_dir.clone() };
        Ok(topic::bounds(&kafka, &topic).await?)
    }

    /// Waits until Bronze has all that is covered.
    async fn until_archived(&self, erasure: &Erasure) -> Result<(), EraseError> {
        let Some(bronze) = &erasure.bronze else { return Ok(()) };
        let deadline = Instant::now() + Duration::from_millis(self.args.wait_ms);
        loop {
            match caught_up(erasure, bronze, &self.storage).await {
                Err(error @ LakeError::Behind { .. }) if Instant::now() < deadline => {
                    tracing::info!(%error, "waiting for the archive");
                    // A table tells nobody that it changed.
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                caught_up => return Ok(caught_up?),
            }
        }
    }

    /// Removes the files that no version within the retention needs.
    async fn vacuum(&self, erasure: &Erasure) -> Result<(), EraseError> {
        let retention = Duration::from_secs(self.args.retention_hours.saturating_mul(3_600));
        let lake::erase::Tables { gold, silver } = lake::erase::tables(erasure, &self.storage).await?;
        let quarantines: Vec<String> = silver.iter().map(|uri| lake::silver::quarantine(uri)).collect();
        for uri in gold.iter().chain(&silver).chain(&quarantines).chain(&erasure.bronze) {
            match vacuum(uri, &self.storage, retention).await {
                Ok(files) => tracing::info!(table = uri, files, "old files are removed"),
                Err(LakeError::Missing { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

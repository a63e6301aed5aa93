//! One run, from its configuration to its exit code.

mod fold;
mod generation;

use std::sync::Arc;
use std::time::Duration;

use datafusion::prelude::SessionContext;
use engine::lane::Layout;
use engine::plan::Plan;
use engine::program::Program;
use engine::row::{RunOutcome, RunReport, run_key};
use lake::{LakeError, Storage};
use shell::clock::now_ms;
use shell::redis::{Connector, RedisError};
use shell::store::{RedisStore, RowStore as _, StoreError};
use shell::trace;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::args::RunArgs;
use crate::cluster::ClusterError;
use crate::completeness::CompletenessError;
use crate::config::{BatchConfig, ConfigError, reading};
use crate::events::EventsError;
use crate::feature_table::FeatureTableError;
use crate::history::HistoryError;
use crate::lease::{Lease, Terms};
use crate::produce::ProduceError;
use crate::publish::PublishError;
use crate::session;

/// The generation is published, or nothing is new.
pub const DONE: u8 = 0;
/// Another try may succeed.
pub const RETRYABLE: u8 = 1;
/// Nobody but a person can help.
pub const BAD_CONFIGURATION: u8 = 2;
/// The quality gate refused the generation; another try would find the same.
pub const REFUSED: u8 = 3;

/// Why a run ended without a generation and without a verdict.
#[derive(Debug, Error)]
pub enum RunError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The source cannot be opened.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The cluster does not fold them.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// It cannot be told up to when the source is complete.
    #[error(transparent)]
    Completeness(#[from] CompletenessError),
    /// The source cannot be read.
    #[error(transparent)]
    Events(#[from] EventsError),
    /// So says the lake.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// The generation cannot be made.
    #[error(transparent)]
    Produce(#[from] ProduceError),
    /// The feature table does not take it.
    #[error(transparent)]
    Table(#[from] FeatureTableError),
    /// It cannot be published.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The store is away or refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Redis is away or refuses.
    #[error(transparent)]
    Redis(#[from] RedisError),
    /// Another run is at work.
    #[error("another run holds the lease {key}; it ends with that run, or soon after that run died")]
    Leased {
        /// The lease's key.
        key: String,
    },
    /// A signal asked for the end.
    #[error("ended by a signal; the next run starts anew")]
    Interrupted,
}

impl RunError {
    /// The process's exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        let transient = match self {
            Self::History(error) | Self::Completeness(CompletenessError::History(error)) => error.is_transient(),
            Self::Lake(error)
            | Self::Table(FeatureTableError::Lake(error))
            | Self::Completeness(CompletenessError::Lake(error)) => error.is_transient(),
            Self::Completeness(CompletenessError::Scan { .. }) => true,
            Self::Config(_) | Self::Redis(RedisError::Url { .. }) | Self::Completeness(_) => false,
            Self::Events(error) => error.is_transient(),
            Self::Produce(error) => error.is_transient(),
            Self::Cluster(error) => error.is_transient(),
            _ => true,
        };
        if transient { RETRYABLE } else { BAD_CONFIGURATION }
    }
}

/// A run made ready: all that does not change while it lasts.
#[derive(Debug)]
pub struct Run {
    /// The configuration.
    pub config: BatchConfig,
    /// The flags.
    pub args: RunArgs,
    /// The plan, compiled.
    pub program: Arc<Program>,
    /// The plan.
    pub plan: Arc<Plan>,
    /// The plan as its source has it.
    pub source: Plan,
    /// How its lanes lie.
    pub layout: Arc<Layout>,
    /// The object stores.
    pub storage: Storage,
    /// Makes connections to the online store.
    pub connector: Connector,
}

impl Run {
    /// Reads the configuration and compiles the plan.
    ///
    /// # Errors
    /// [`RunError`]; nothing but the configuration's files has been touched.
    pub fn new(args: RunArgs) -> Result<Self, RunError> {
        let config = BatchConfig::read(&args.config)?;
        let plan = Arc::new(config.assignment.plan.clone());
        let failed = |detail: String| ConfigError::Plan {
            view: format!("{}/{}", plan.view.namespace, plan.view.name),
            revision: plan.revision.clone(),
            detail,
        };
        let program = Arc::new(Program::new(plan.clone()).map_err(|error| failed(error.to_string()))?);
        let layout = Arc::new(Layout::new(&plan).map_err(|error| failed(error.to_string()))?);
        let storage = Storage::from_dir(args.tables.store_config_dir.as_deref())?;
        let connector = Connector::new(&args.redis_url, args.redis_config_dir.as_deref())?;
        let source = reading(&plan, config.source.as_ref());
        Ok(Self { config, args, program, plan, source, layout, storage, connector })
    }

    /// Takes the lease, makes and publishes a generation, and leaves a report.
    ///
    /// # Errors
    /// [`RunError`]; the head is as it was.
    pub async fn execute(&self, shutdown: &CancellationToken) -> Result<RunReport, RunError> {
        let started_ms = now_ms();
        let store = RedisStore::connect(&self.connector).await?;
        let (uid, revision) = (&self.plan.view.uid, &self.plan.revision);
        let terms = Terms {
            length: Duration::from_millis(self.args.lease_ms),
            wait: Duration::from_millis(self.args.lease_wait_ms),
        };
        let lease = tokio::select! {
            lease = Lease::take(&self.connector, store.connection(), uid, revision, terms) => lease?,
            () = shutdown.cancelled() => return Err(RunError::Interrupted),
        };
        let Some(lease) = lease else {
            return Err(RunError::Leased { key: crate::lease::lease_key(uid, revision) });
        };
        let session = session::session(&self.args.tables)?;
        let mut report = RunReport {
            generation: 0,
            horizon_ms: 0,
            table_version: None,
            started_ms,
            finished_ms: started_ms,
            rows: 0,
            outcome: RunOutcome::NothingNew,
            features: Vec::new(),
            refused: std::collections::BTreeMap::new(),
            notes: Vec::new(),
        };
        let ended = tokio::select! {
            ended = self.work(&store, &lease, &session, &mut report) => ended,
            () = lease.lost() => Err(PublishError::LeaseLost { key: lease.key().to_owned(), doing: "working" }.into()),
            () = shutdown.cancelled() => Err(RunError::Interrupted),
        };
        if let Err(error) = &ended {
            report.outcome = RunOutcome::Failed { reason: error.to_string() };
        }
        report.finished_ms = now_ms();
        // Whoever lost the lease leaves the word to the run that has it.
        if !matches!(ended, Err(RunError::Publish(PublishError::LeaseLost { .. }))) {
            let kept = store.put_run_report(&run_key(uid, revision), &report).await;
            let ended_lease = lease.release(store.connection()).await;
            // An outcome that was reached stays reached, whether or not it could be told.
            for error in
                [kept.err().map(|e| e.to_string()), ended_lease.err().map(|e| e.to_string())].into_iter().flatten()
            {
                tracing::warn!(error, "the run's end could not be told to the store");
            }
        }
        ended.map(|()| report)
    }

    /// Brings Silver up to the archive, where the source is made of it, and makes the next generation.
    async fn work(
        &self,
        store: &RedisStore,
        lease: &Lease,
        session: &SessionContext,
        report: &mut RunReport,
    ) -> Result<(), RunError> {
        if let Some(step) = &self.config.silver {
            let spill = self.args.tables.temp_dir.as_deref();
            let (step, storage) = (step.silver(self.plan.clone()), &self.storage);
            let made = trace::span("silver", lake::silver::run(&step, storage, session, spill, None)).await?;
            tracing::info!(
                read = made.read,
                added = made.added,
                duplicates = made.duplicates,
                rejected = made.rejected,
                version = made.version,
                "Silver stands"
            );
        }
        self.generation(store, lease, session, report).await
    }
}

/// Runs, and gives the process's exit code.
pub async fn main(args: RunArgs, shutdown: CancellationToken) -> u8 {
    lake::install_crypto();
    let ended = match Run::new(args) {
        Ok(run) => run.execute(&shutdown).await,
        Err(error) => Err(error),
    };
    match ended {
        Ok(report) => {
            let (code, outcome) = match &report.outcome {
                RunOutcome::Published => (DONE, "Published"),
                RunOutcome::NothingNew => (DONE, "NothingNew"),
                RunOutcome::Refused { .. } => (REFUSED, "Refused"),
                RunOutcome::Failed { .. } => (RETRYABLE, "Failed"),
            };
            let seconds = (report.finished_ms - report.started_ms) / 1_000;
            let RunReport { generation, horizon_ms, rows, .. } = &report;
            tracing::info!(outcome, generation, horizon_ms, entities = rows, seconds, "the run is over");
            code
        }
        Err(error) => {
            let code = error.exit_code();
            tracing::error!(%error, code, "the run failed");
            code
        }
    }
}

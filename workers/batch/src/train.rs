//! Training sets: a table of (entity, timestamp, …) with the features exactly as they were at each timestamp.
//!
//! # What "as they were" means
//!
//! A row that asks at time `T` gets what the feature server answers at `t = T` of the events before `T`, had each of them
//! arrived at once: what a request at `T` finds before anything that happens at `T` has come in. So:
//! - The end is exclusive: an event at `T` itself is not seen, as the label's own event must not be. Nor is a later one that
//!   shares `T`'s tile: it is folded only after the row was answered.
//! - The start is the server's: `floor(T − W, hop)`. A window here is as long as the same window in serving, to the
//!   millisecond, so that a model is trained on what it will be given. (To read at `T − 1 ms` would lose an event at
//!   exactly that time if a tile begins there.)
//! - An entity without an event in `[T − retention, T)` has no row in the online store: all of its features are NULL, and a
//!   count is not 0.
//!
//! # How
//!
//! Events and questions are sorted by (entity, time), questions before events of the same time, and read once: each event
//! enters its entity's lane, each question reads it. Sorting spills; what is held in memory is one lane. Several views are
//! such passes one behind the other, in one plan.

mod config;
mod lineage;
mod merge;
mod output;
mod report;
mod stage;

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::error::DataFusionError;
use datafusion::physical_plan::{ExecutionPlan, execute_stream_partitioned};
use engine::event::ImportError;
use lake::{LakeError, Storage};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::args::TrainArgs;
use crate::config::ConfigError;
use crate::decode::Counts;
use crate::events::EventsError;
use crate::history::{History, HistoryError};
use crate::run::{BAD_CONFIGURATION, DONE, RETRYABLE};
use crate::session::session;

pub use config::{Output, TrainConfig, TrainView};
pub use lineage::Lineage;
pub use report::{Report, ViewReport};
use stage::View;

/// Why there is no training set.
#[derive(Debug, Error)]
pub enum TrainError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A table cannot be opened.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// Events cannot be read.
    #[error(transparent)]
    Events(#[from] EventsError),
    /// The questions' columns do not fit a view.
    #[error("view {view}, the table of questions: {source}")]
    Import {
        /// The view's name.
        view: String,
        /// Why.
        source: ImportError,
    },
    /// So says the lake.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// Reading, sorting or answering failed.
    #[error("making the training set: {0}")]
    Query(#[from] DataFusionError),
    /// The output cannot be written.
    #[error("writing {uri}: {detail}")]
    Output {
        /// Where.
        uri: String,
        /// Why.
        detail: String,
    },
    /// The output is there already.
    #[error("{uri} holds files already; name an empty folder, or a Delta table, of which a new version is made")]
    OutputExists {
        /// Where.
        uri: String,
    },
    /// A task ended without an answer.
    #[error("making the training set: {0}")]
    Task(#[from] tokio::task::JoinError),
    /// A signal asked for the end.
    #[error("ended by a signal; nothing was committed")]
    Interrupted,
}

impl TrainError {
    /// The process's exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        let transient = match self {
            Self::Config(_) | Self::Import { .. } | Self::OutputExists { .. } => false,
            Self::History(error) => error.is_transient(),
            Self::Events(error) => error.is_transient(),
            Self::Lake(error) => error.is_transient(),
            _ => true,
        };
        if transient { RETRYABLE } else { BAD_CONFIGURATION }
    }
}

/// Makes a training set, and gives the process's exit code.
pub async fn main(args: TrainArgs, shutdown: CancellationToken) -> u8 {
    lake::install_crypto();
    let made = tokio::select! {
        made = train(&args) => made,
        () = shutdown.cancelled() => Err(TrainError::Interrupted),
    };
    let (report, code) = match made {
        Ok(report) => {
            tracing::info!(report = %serde_json::json!(report), "the training set is made");
            (report, DONE)
        }
        Err(error) => {
            let code = error.exit_code();
            tracing::error!(%error, code, "the training set failed");
            (Report::failed(&error), code)
        }
    };
    if let Some(path) = &args.report
        && let Err(error) = report.write(path)
    {
        // The training set stands or does not; that nobody is told of it here changes neither.
        tracing::warn!(path = %path.display(), %error, "the report cannot be written");
    }
    code
}

/// Makes a training set, and tells of it.
///
/// # Errors
/// [`TrainError`]; a Delta table is then as it was.
pub async fn train(args: &TrainArgs) -> Result<Report, TrainError> {
    let config = TrainConfig::read(&args.config)?;
    let storage = Storage::from_dir(args.tables.store_config_dir.as_deref())?;
    let session = session(&args.tables)?;
    let asks = History::table(&config.asks, config.asks_version_as_of, &storage, &session).await?;
    let mut plan: Arc<dyn ExecutionPlan> = asks.frame(&session).await?.create_physical_plan().await?;
    let mut lineage = Lineage::new(&asks);
    let full_names = config.views.len() > 1;
    let bounds = stage::bounds(&asks, &config, &session).await?;
    let mut counts = HashMap::new();
    for view in &config.views {
        let counted = Arc::<Counts>::default();
        let of = View::open(view, &config, full_names, &storage, &session).await?;
        lineage.add(&of);
        plan = of.stage(plan, bounds, &session, counted.clone()).await?;
        counts.insert(view.assignment.plan.view.name.clone(), counted);
    }
    let partitions = execute_stream_partitioned(plan.clone(), session.task_ctx())?;
    let written = output::write(partitions, &plan.schema(), &config, &lineage, &storage).await?;
    for (view, counts) in counts {
        let (read, taken) = (counts.rows(), counts.taken());
        tracing::info!(view, rows = read, events = taken, refused = %serde_json::json!(counts.refused()), "events folded");
    }
    Ok(Report::made(&written, &lineage))
}

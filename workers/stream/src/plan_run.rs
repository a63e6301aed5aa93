//! A plan made ready for the stream: compiled, and with the names of all it writes.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use engine::lane::Layout;
use engine::plan::{Assignment, Mode, Plan};
use engine::program::{Program, ProgramError};
use engine::row;
use shell::store::{Erased, RowStore, StoreError};

/// One plan as every thread shares it.
#[derive(Debug)]
pub struct PlanRun {
    /// The compiled plan.
    pub program: Program,
    /// The topic of its events.
    pub topic: String,
    /// How its lanes lie in memory and in bytes.
    pub layout: Layout,
    /// What its row keys start with.
    pub row_prefix: String,
    /// The key of its markers.
    pub marker_key: String,
    /// The topic of its dead letters.
    pub dead_letters: String,
    /// The consumer group if it is the only plan.
    pub group: String,
    /// How long a row lives after its last write, in milliseconds.
    pub ttl_ms: Option<i64>,
    /// The key of the pointer that names its batch generation; `None` unless the plan is a Lambda's.
    pub head_key: Option<String>,
    /// That generation's horizon as last seen; `i64::MIN` while there is none.
    horizon: AtomicI64,
    /// Who was erased from the view, as last seen.
    erased: Mutex<Arc<Erased>>,
}

/// Why a plan cannot run.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// It does not compile.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// Its lanes have no layout.
    #[error("the plan's aggregates: {0}")]
    Layout(#[from] engine::lane::LayoutError),
    /// Its mode folds no stream, or it names none.
    #[error("a plan of mode {0:?} names no stream to fold; a stream worker runs plans of Kappa and Lambda")]
    NoStream(Mode),
}

impl PlanRun {
    /// Compiles an assignment.
    ///
    /// # Errors
    /// [`PlanError`] if another version of the engine made the plan, or it is broken.
    pub fn new(assignment: &Assignment) -> Result<Self, PlanError> {
        let Assignment { incarnation, plan } = assignment;
        let (uid, revision) = (&plan.view.uid, &plan.revision);
        let stream = plan.source.stream.as_ref().filter(|_| plan.mode.has_stream_lanes());
        Ok(Self {
            topic: stream.ok_or(PlanError::NoStream(plan.mode))?.topic.clone(),
            program: Program::new(Arc::new(plan.clone()))?,
            layout: Layout::new(plan)?,
            row_prefix: row::row_prefix(uid, revision, *incarnation),
            marker_key: row::marker_key(uid, revision, *incarnation, 0),
            dead_letters: row::dead_letter_topic(&plan.view),
            group: row::consumer_group(uid, revision, *incarnation),
            ttl_ms: plan.time.retention_ms,
            head_key: (plan.mode == Mode::Lambda).then(|| row::head_key(uid, revision)),
            horizon: AtomicI64::new(i64::MIN),
            erased: Mutex::default(),
        })
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        self.program.plan()
    }

    /// Who was erased from the view by now. It is read anew only if there was another erasure.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn erased<S: RowStore>(&self, store: &S) -> Result<Arc<Erased>, StoreError> {
        let uid = &self.plan().view.uid;
        let version = store.erased_version(uid).await?;
        let known = self.erased.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if known.version == version {
            return Ok(known);
        }
        let erased = Arc::new(store.erased(uid).await?);
        erased.clone_into(&mut self.erased.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(erased)
    }

    /// The horizon below which a batch lays the tiles, in milliseconds; `i64::MIN` while there is none.
    #[must_use]
    pub fn horizon(&self) -> i64 {
        self.horizon.load(Ordering::Relaxed)
    }

    /// The batch generation has this horizon now.
    pub fn set_horizon(&self, horizon: i64) {
        self.horizon.store(horizon, Ordering::Relaxed);
    }
}

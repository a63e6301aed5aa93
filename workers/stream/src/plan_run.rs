//! A plan made ready for the stream: compiled, and with the names of all it writes.

use std::sync::Arc;

use engine::lane::Layout;
use engine::plan::{Assignment, Plan};
use engine::program::{Program, ProgramError};
use engine::row;

/// One plan as every thread shares it.
#[derive(Debug)]
pub struct PlanRun {
    /// The compiled plan.
    pub program: Program,
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
}

impl PlanRun {
    /// Compiles an assignment.
    ///
    /// # Errors
    /// [`PlanError`] if another version of the engine made the plan, or it is broken.
    pub fn new(assignment: &Assignment) -> Result<Self, PlanError> {
        let Assignment { incarnation, plan } = assignment;
        let (uid, revision) = (&plan.view.uid, &plan.revision);
        Ok(Self {
            program: Program::new(Arc::new(plan.clone()))?,
            layout: Layout::new(plan)?,
            row_prefix: row::row_prefix(uid, revision, *incarnation),
            marker_key: row::marker_key(uid, revision, *incarnation, 0),
            dead_letters: row::dead_letter_topic(&plan.view),
            group: row::consumer_group(uid, revision, *incarnation),
            ttl_ms: plan.time.retention_ms,
        })
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        self.program.plan()
    }
}

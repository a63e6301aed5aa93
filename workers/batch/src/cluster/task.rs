//! What an executor must know to read a part of a source: [`Task`], and the reading itself.
//!
//! Invariant: a part is read by the same [`events::plan`] that a run on one machine uses, over a history of fewer files.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::execute_stream;
use engine::erase::{Covers, Tombstones};
use engine::event::Admission;
use engine::plan::{Plan, Table};
use engine::program::Program;
use lake::Storage;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::config::SourceTable;
use crate::decode::{self, Counts, Taken};
use crate::events;
use crate::history::History;

/// Which events of a source a job folds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Task {
    /// The plan whose conditions and inputs are evaluated.
    pub plan: Plan,
    /// The table.
    pub table: Table,
    /// Its version, of a Delta table.
    pub version: Option<u64>,
    /// Its columns as an Arrow stream without batches, of a folder of Parquet files: one file need not have them all.
    pub columns: Option<Vec<u8>>,
    /// What its rows are, if it is not the plan's own table.
    pub source: Option<SourceTable>,
    /// Event times from here on are taken, in milliseconds.
    pub from: i64,
    /// Event times before it are taken.
    pub until: i64,
    /// Event times after it are refused.
    pub latest: i64,
    /// Who was erased: entity and what is covered.
    pub erased: Vec<(String, Covers)>,
}

impl Task {
    /// Of a run: the events of `history` that are `taken`. `columns` are those of the whole source.
    pub(super) fn new(
        program: &Program,
        history: &History,
        columns: &SchemaRef,
        source: Option<&SourceTable>,
        taken: &Taken,
    ) -> Result<Self> {
        let Admission { from, until, latest } = taken.admission;
        let mut erased: Vec<(String, Covers)> =
            taken.tombstones.iter().map(|(entity, covers)| (entity.to_owned(), covers.clone())).collect();
        erased.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(Self {
            plan: program.plan().clone(),
            table: history.table.clone(),
            version: history.delta_version(),
            columns: history.delta.is_none().then(|| encode(columns)).transpose()?,
            source: source.cloned(),
            from,
            until,
            latest,
            erased,
        })
    }
}

fn encode(schema: &SchemaRef) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    StreamWriter::try_new(&mut bytes, schema)?.finish()?;
    Ok(bytes)
}

/// Reads parts of a task's source.
#[derive(Debug)]
pub(super) struct Reader {
    /// The task.
    pub task: Task,
    program: Arc<Program>,
    storage: Storage,
    tombstones: Arc<Tombstones>,
    /// The source, opened when the first part is read.
    history: OnceCell<History>,
}

impl Reader {
    /// Compiles the task's plan.
    ///
    /// # Errors
    /// If it is of another build.
    pub(super) fn new(task: Task, storage: Storage) -> Result<Self> {
        let program = Program::new(Arc::new(task.plan.clone()))
            .map_err(|error| exec_datafusion_err!("{error}; scheduler, executors and run must be of one build"))?;
        let mut tombstones = Tombstones::default();
        for (entity, covers) in &task.erased {
            tombstones.add(entity, covers);
        }
        let (program, tombstones) = (Arc::new(program), Arc::new(tombstones));
        Ok(Self { task, program, storage, tombstones, history: OnceCell::new() })
    }

    /// The columns of the events that are read.
    pub(super) fn schema(&self) -> SchemaRef {
        decode::schema(&self.program)
    }

    /// The events of these files of the source.
    pub(super) async fn events(
        &self,
        files: Vec<String>,
        context: Arc<TaskContext>,
        counts: Arc<Counts>,
    ) -> Result<SendableRecordBatchStream> {
        let failed = |error: &dyn std::fmt::Display| exec_datafusion_err!("{}: {error}", self.task.table.uri);
        let session = lake::session::within(context.runtime_env());
        let open = async || {
            let columns = self.task.columns.as_deref().map(|bytes| StreamReader::try_new(bytes, None)).transpose()?;
            let columns = columns.map(|stream| stream.schema());
            let Task { table, version, .. } = &self.task;
            History::open_version(table, *version, columns, &self.storage, &session)
                .await
                .map_err(|error| failed(&error))
        };
        let history = self.history.get_or_try_init(open).await?.of_files(files);
        let Task { from, until, latest, .. } = self.task;
        let admission = Admission { from, until, latest };
        let taken = Taken { admission, tombstones: self.tombstones.clone(), counts };
        let source = self.task.source.as_ref();
        let plan = events::plan(&self.program, &history, source, taken, &session).await;
        let plan = plan.map_err(|error| failed(&error))?;
        if plan.schema() != self.schema() {
            return Err(DataFusionError::Internal("events of another schema".to_owned()));
        }
        execute_stream(plan, session.task_ctx())
    }
}

//! Whether the generation that is served is what its source gives: the rows of a sample of entities beside lanes that are folded
//! once more from the very version of the source that the generation was made of, up to the same horizon.
//!
//! Invariants: an event that came into the source later is on neither side; who was erased since is on neither; nothing that is
//! served changes. Memory is that of the sampled entities.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array as _, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use datafusion::physical_plan::collect;
use datafusion::prelude::SessionContext;
use engine::compare::{Comparison, Judge, Limits, Report};
use engine::entity::column_text;
use engine::event::Admission;
use engine::monitor::SkewCheck;
use engine::plan::TableFormat;
use engine::row::{batch_field, batch_slot, entity_hash, parse_batch_field, skew_key};
use serve::compare::{CompareError, Fetched, READ_TIMEOUT, Side, chunk, connected, seeded};
use serve::redis_store::RedisStore as Online;
use serve::store::Fields;
use shell::clock::now_ms;
use shell::store::{Erased, RedisStore, RowStore as _};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::args::SkewArgs;
use crate::decode::{Counts, Taken};
use crate::fold::{Fold, Mould, Truncated, unpack};
use crate::history::History;
use crate::map::{self, Step, Transform};
use crate::run::{BAD_CONFIGURATION, DONE, RETRYABLE, Run, RunError};
use crate::{events, session};

/// How long the online store may take to answer at first.
const PATIENCE: Duration = Duration::from_mins(2);
/// Over how many partitions the sampled entities are dealt out.
const PARTITIONS: usize = 4;

/// Why there is no report. Nothing was changed.
#[derive(Debug, Error)]
pub enum SkewError {
    /// The file that says what is looked at does not read.
    #[error("{path}: {detail}; run the image of the operator that wrote it")]
    File {
        /// Which.
        path: String,
        /// What is wrong.
        detail: String,
    },
    /// What a run says, too.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Rows could not be read or evaluated.
    #[error(transparent)]
    Rows(#[from] CompareError),
    /// Events could not be folded.
    #[error("folding: {0}")]
    Fold(#[from] DataFusionError),
    /// A lane that was folded does not unpack.
    #[error(transparent)]
    Lane(#[from] Truncated),
    /// There is nothing to look at.
    #[error("{0}")]
    Nothing(String),
}

/// Checks, leaves the report in the online store, and gives the process's exit code.
pub async fn main(args: SkewArgs, shutdown: CancellationToken) -> u8 {
    lake::install_crypto();
    let error = match shutdown.run_until_cancelled(Box::pin(run(args))).await {
        Some(Ok(())) => return DONE,
        Some(Err(error)) => error,
        None => SkewError::Run(RunError::Interrupted),
    };
    let code = match &error {
        SkewError::File { .. } => BAD_CONFIGURATION,
        SkewError::Run(error) => error.exit_code(),
        _ => RETRYABLE,
    };
    tracing::error!(%error, code, "there is no report");
    shell::shutdown::last_words(&error.to_string());
    code
}

async fn run(args: SkewArgs) -> Result<(), SkewError> {
    let asked = read(&args.skew_file)?;
    let run = Run::new(args.run)?;
    let (uid, revision) = (&run.plan.view.uid, &run.plan.revision);
    let rows = RedisStore::connect(&run.connector).await.map_err(RunError::from)?;
    let config = run.args.redis_config_dir.as_deref();
    let online = Online::new(&run.args.redis_url, config, 2, READ_TIMEOUT).map_err(RunError::from)?;
    connected(&online, uid, revision, PATIENCE).await?;
    let report = check(&run, &online, &rows, asked.sample_entities).await?;
    rows.put_comparison(&skew_key(uid, revision), &report).await.map_err(RunError::from)?;
    for f in &report.features {
        let (name, compared, differ) = (&f.name, f.compared, f.mismatches);
        tracing::info!(name, compared, differ, "feature");
    }
    Ok(())
}

fn read(path: &Path) -> Result<SkewCheck, SkewError> {
    let failed = |detail: String| SkewError::File { path: path.display().to_string(), detail };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| failed(error.to_string()))
}

async fn check(run: &Run, online: &Online, rows: &RedisStore, sample: usize) -> Result<Report, SkewError> {
    let plan = &run.plan;
    let side = Side::new(plan)?;
    let key = skew_key(&plan.view.uid, &plan.revision);
    let before = rows.comparison(&key).await.ok().flatten();
    let examples = before.iter().flat_map(|report| &report.features).flat_map(|feature| &feature.examples);
    // Those that differed the time before are looked at again, until they do not.
    let again = examples.map(|example| example.entity.clone()).collect();
    let entities = seeded(online, rows, &side, sample, now_ms().unsigned_abs(), &again).await?;

    let session = session::session(&run.args.tables).map_err(RunError::from)?;
    let published = run.published(rows).await?.ok_or_else(|| SkewError::Nothing("nothing is published yet".into()))?;
    let erased = run.erased(rows, &session).await?;
    let mut chunks: Vec<(&[String], Fetched)> = Vec::new();
    for names in entities.chunks(chunk(&[plan])) {
        chunks.push((names, side.fetch(online, names).await?));
    }
    let current =
        |fetched: &Fetched| fetched.generation().map(|(generation, _)| generation) == Some(published.generation);
    if chunks.iter().any(|(_, fetched)| !current(fetched))
        || rows.erased_version(&plan.view.uid).await.map_err(RunError::from)? != erased.version
    {
        return Err(SkewError::Nothing(
            "another generation was published, or somebody erased, while this looked".into(),
        ));
    }
    let Some(horizon) = chunks.first().and_then(|(_, fetched)| Some(fetched.generation()?.1)) else {
        return Err(SkewError::Nothing("no entity has a row".into()));
    };

    let history = history(run, &published.source, &session).await?;
    if !published.is_of(&history) {
        return Err(SkewError::Nothing(format!("{} is another table than the generation was made of", history.uri)));
    }
    tracing::info!(horizon, entities = entities.len(), version = history.version, "folding again");
    let lanes = lanes(run, &history, erased, &entities, (published.generation, horizon), &session).await?;

    let comparison = Comparison {
        name: "skew".to_owned(),
        former: (**plan).clone(),
        candidate: (**plan).clone(),
        sample_entities: sample,
        limits: Limits { max_mismatch_ratio: 0.0, max_psi: None },
        expected_changes: Vec::new(),
    };
    let mut judge = Judge::new(&comparison);
    for (names, fetched) in &chunks {
        let recomputed: Vec<Fields> = (names.iter().zip(&fetched.rows))
            .map(|(name, row)| {
                beside(row, published.generation).chain(lanes.get(name).into_iter().flatten().cloned()).collect()
            })
            .collect();
        let served = side.readings(fetched, &fetched.rows, fetched.complete_from, names, horizon)?;
        let given = side.readings(fetched, &recomputed, fetched.complete_from, names, horizon)?;
        for ((name, served), given) in names.iter().zip(served).zip(given) {
            judge.observe(&entity_hash(name), &served, &given);
        }
    }
    let mut report = judge.report(horizon);
    report.features.iter_mut().for_each(|feature| (feature.histogram, feature.psi, feature.ks) = (None, None, None));
    Ok(report)
}

/// The source as it was when the generation was made.
async fn history(run: &Run, version: &str, session: &SessionContext) -> Result<History, SkewError> {
    let delta = run.source.source.table.as_ref().is_some_and(|table| table.format == TableFormat::Delta);
    let pinned = if delta { version.parse().ok() } else { None };
    let history = History::open(&run.source, pinned, &run.storage, session).await.map_err(RunError::from)?;
    if history.version != version {
        let uri = &history.uri;
        return Err(SkewError::Nothing(format!(
            "{uri} has changed since the generation was made, and keeps no versions; a Delta table does"
        )));
    }
    Ok(history)
}

/// What of a row is not of the generation.
fn beside(row: &Fields, generation: u64) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    let slot = batch_slot(generation);
    let is_of = move |field: &[u8]| {
        std::str::from_utf8(field).ok().and_then(parse_batch_field).is_some_and(|(other, _)| other == slot)
    };
    row.iter().filter(move |(field, _)| !is_of(field)).cloned()
}

/// By entity, the fields of its lane as the source gives it.
async fn lanes(
    run: &Run,
    history: &History,
    erased: Erased,
    entities: &[String],
    (generation, horizon): (u64, i64),
    session: &SessionContext,
) -> Result<HashMap<String, Fields>, SkewError> {
    let latest = now_ms().saturating_add(run.plan.time.max_future_ms);
    let admission = Admission { from: run.earliest(horizon), until: horizon, latest };
    let taken = Taken { admission, tombstones: Arc::new(erased.tombstones), counts: Arc::<Counts>::default() };
    let events = events::plan(&run.program, history, run.config.source.as_ref(), taken, session).await;
    let events = events.map_err(RunError::from)?;
    let wanted = entities.iter().cloned().collect();
    let sampled = Sampled { keys: run.plan.entity.len(), schema: events.schema(), wanted };
    let events = map::plan(&events, &Arc::new(sampled))?;
    let mould = Mould::new(run.plan.clone(), run.layout.clone(), horizon, generation);
    let folded = Fold::new(events.schema(), PARTITIONS, mould)?.lanes(events)?;
    let mut lanes = HashMap::new();
    for batch in collect(folded, session.task_ctx()).await? {
        let [keys @ .., packed] = batch.columns() else { continue };
        let packed = packed.as_binary::<i64>();
        for row in (0..batch.num_rows()).filter(|row| packed.is_valid(*row)) {
            let named = |(segment, bytes): (u8, &[u8])| (batch_field(generation, segment).into_bytes(), bytes.to_vec());
            let fields = unpack(packed.value(row))?.into_iter().map(named).collect();
            lanes.insert(column_text(keys, row), fields);
        }
    }
    Ok(lanes)
}

/// Lets through the events of some entities.
#[derive(Debug)]
struct Sampled {
    keys: usize,
    schema: SchemaRef,
    wanted: HashSet<String>,
}

impl Transform for Sampled {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn step(self: Arc<Self>) -> Step {
        Box::new(move |batch: &RecordBatch| {
            let keys: &[ArrayRef] = &batch.columns()[..self.keys];
            let is_wanted = |row| self.wanted.contains(&column_text(keys, row));
            let wanted: BooleanArray = (0..batch.num_rows()).map(|row| Some(is_wanted(row))).collect();
            Ok(filter_record_batch(batch, &wanted)?)
        })
    }
}

//! Whether what is served is what its events give: the rows of a sample of entities beside lanes that are folded from the topic
//! once more, exactly as far as each row has read.
//!
//! ```text
//! sample ─▶ rows and markers ─▶ up to which offset each row holds everything
//!                                   │
//! topic ─▶ decode ─▶ fold of the sampled ─▶ lanes ─▶ the same read at the same time ─▶ engine::compare::Judge ─▶ report
//! ```
//!
//! Invariants:
//! - Both sides hold the same events. A lane holds every event of its entity and partition below its own offset, and below the
//!   partition's marker, which was read before it; those, and no others, are folded again. So an event that is late, or that comes
//!   while this looks, is on both sides or on none, and whatever differs was added, lost or changed.
//! - What the generation of a Lambda holds is on both sides as it stands, and of the stream what counts from its horizon on.
//! - What is not read again far enough back is not judged.
//! - Nothing that is served changes. Memory is that of the sampled rows.

mod read;
mod refold;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use engine::compare::{Comparison, Judge, Limits, Report};
use engine::monitor::SkewCheck;
use engine::row::{entity_hash, skew_key};
use serve::compare::{CompareError, Fetched, READ_TIMEOUT, Side, chunk, connected, seeded};
use serve::redis_store::RedisStore;
use serve::store::{Fields, Store};
use shell::clock::now_ms;
use shell::kafka::KafkaSettings;
use shell::redis::{Connector, RedisError};
use shell::store::{Erased, RedisStore as RowsInRedis, RowStore, StoreError};
use shell::topic::TopicError;
use thiserror::Error;

use read::Reading;
use refold::{Refold, Row};

/// How often rows are fetched anew because somebody was erased meanwhile.
const ATTEMPTS: usize = 5;
/// How long the store may take to answer at first.
const PATIENCE: Duration = Duration::from_mins(2);

/// What is checked, and where it is.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The file that says what is looked at.
    #[arg(long, env = "FEATUREMILL_SKEW_FILE")]
    pub skew_file: PathBuf,
    /// The brokers, `host:port`, comma-separated.
    #[arg(long, env = "FEATUREMILL_KAFKA_BOOTSTRAP")]
    pub kafka_bootstrap: String,
    /// A folder of librdkafka properties: each file is named by a property and holds its value.
    #[arg(long, env = "FEATUREMILL_KAFKA_CONFIG_DIR")]
    pub kafka_config_dir: Option<PathBuf>,
    /// The online store, `redis://host:6379` or `rediss://…` for TLS.
    #[arg(long, env = "FEATUREMILL_REDIS_URL")]
    pub redis_url: String,
    /// A folder with `username`, `password` and `ca.crt`, where they are needed.
    #[arg(long, env = "FEATUREMILL_REDIS_CONFIG_DIR")]
    pub redis_config_dir: Option<PathBuf>,
}

/// Why there is no report. Nothing was changed: another attempt may succeed.
#[derive(Debug, Error)]
pub enum SkewError {
    /// The file could not be read, or holds something else.
    #[error("{path}: {detail}; run the image of the operator that wrote it", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The plan cannot run here.
    #[error("{0}; run the image that the plan was made with")]
    Plan(String),
    /// The online store's settings are wrong.
    #[error(transparent)]
    Redis(#[from] RedisError),
    /// It gave no rows, or took no report.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Rows could not be read or evaluated.
    #[error(transparent)]
    Rows(#[from] CompareError),
    /// The brokers did not answer.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// Records could not be read again.
    #[error("reading {topic} again: {detail}")]
    Read {
        /// The topic.
        topic: String,
        /// What is wrong.
        detail: String,
    },
    /// Erasures came faster than rows could be read.
    #[error("somebody was erased from the view each time that its rows were read")]
    Erasing,
}

/// Checks, and leaves the report in the online store.
///
/// # Errors
/// [`SkewError`].
pub async fn run(args: Args) -> Result<(), SkewError> {
    let path = args.skew_file.clone();
    let failed = |detail: String| SkewError::File { path: path.clone(), detail };
    let text = std::fs::read_to_string(&path).map_err(|error| failed(error.to_string()))?;
    let asked: SkewCheck = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
    let kafka = KafkaSettings { bootstrap: args.kafka_bootstrap, config_dir: args.kafka_config_dir };
    let config = args.redis_config_dir.as_deref();
    let rows = RowsInRedis::connect(&Connector::new(&args.redis_url, config)?).await?;
    let store = RedisStore::new(&args.redis_url, config, 2, READ_TIMEOUT)?;
    connected(&store, &asked.plan.view.uid, &asked.plan.revision, PATIENCE).await?;
    let report = check(&kafka, &store, &rows, &asked).await?;
    let key = skew_key(&asked.plan.view.uid, &asked.plan.revision);
    rows.put_comparison(&key, &report).await?;
    for f in &report.features {
        let (name, compared, differ, unreadable) = (&f.name, f.compared, f.mismatches, f.unreadable);
        tracing::info!(name, compared, differ, unreadable, "feature");
    }
    Ok(())
}

/// Rows that were fetched at once.
struct Chunk {
    entities: Vec<String>,
    fetched: Fetched,
}

async fn check<R: RowStore>(
    kafka: &KafkaSettings,
    store: &dyn Store,
    rows: &R,
    asked: &SkewCheck,
) -> Result<Report, SkewError> {
    let SkewCheck { plan, sample_entities, lookback_ms, records_per_second } = asked;
    let uid = &plan.view.uid;
    let side = Side::new(plan)?;
    let key = skew_key(uid, &plan.revision);
    // Those that differed the time before are looked at again, until they do not.
    let before = rows.comparison(&key).await.ok().flatten();
    let examples = before.iter().flat_map(|report| &report.features).flat_map(|feature| &feature.examples);
    let again: BTreeSet<String> = examples.map(|example| example.entity.clone()).collect();
    let now = now_ms();
    let entities = seeded(store, rows, &side, *sample_entities, now.unsigned_abs(), &again).await?;
    let (erased, chunks) = fetch(store, rows, &side, asked, &entities).await?;
    // As a request that comes now is answered.
    let t = now_ms();

    let sampled = chunks.iter().flat_map(|chunk| {
        let markers = &chunk.fetched.markers;
        chunk.entities.iter().zip(&chunk.fetched.rows).map(move |(entity, fields)| Row { entity, fields, markers })
    });
    let refold = Refold::new(plan, sampled, erased)?;
    tracing::info!(t, entities = entities.len(), partitions = refold.ends().len(), "reading again");
    let reading = Reading {
        kafka: kafka.clone(),
        since_ms: t - lookback_ms - lookback_ms / 60 - plan.time.finest_tile_ms - plan.time.max_future_ms,
        max_future_ms: plan.time.max_future_ms,
        at_ms: t,
        records_per_second: *records_per_second,
    };
    let (refold, complete_from) = reading.run(refold).await?;

    let comparison = Comparison {
        name: "skew".to_owned(),
        former: plan.clone(),
        candidate: plan.clone(),
        sample_entities: *sample_entities,
        limits: Limits { max_mismatch_ratio: 0.0, max_psi: None },
        expected_changes: Vec::new(),
    };
    let mut judge = Judge::new(&comparison);
    let mut recomputed = refold.rows().into_iter();
    for Chunk { entities, fetched } in &chunks {
        let again: Vec<Fields> = recomputed.by_ref().take(entities.len()).collect();
        let from = complete_from.max(fetched.complete_from);
        let served = side.readings(fetched, &fetched.rows, from, entities, t)?;
        let given = side.readings(fetched, &again, from, entities, t)?;
        for ((entity, served), given) in entities.iter().zip(served).zip(given) {
            judge.observe(&entity_hash(entity), &served, &given);
        }
    }
    let mut report = judge.report(t);
    // Both are of the same time: what moved between two of them is another check's to say.
    report.features.iter_mut().for_each(|feature| (feature.histogram, feature.psi, feature.ks) = (None, None, None));
    Ok(report)
}

/// The rows of entities, and who was erased before any of them was read and nobody since.
async fn fetch<R: RowStore>(
    store: &dyn Store,
    rows: &R,
    side: &Side,
    asked: &SkewCheck,
    entities: &[String],
) -> Result<(Arc<Erased>, Vec<Chunk>), SkewError> {
    let uid = &asked.plan.view.uid;
    for _ in 0..ATTEMPTS {
        let erased = rows.erased(uid).await?;
        let mut chunks = Vec::new();
        for names in entities.chunks(chunk(&[&asked.plan])) {
            let fetched = side.fetch(store, names).await?;
            chunks.push(Chunk { entities: names.to_vec(), fetched });
        }
        if rows.erased_version(uid).await? == erased.version {
            return Ok((Arc::new(erased), chunks));
        }
    }
    Err(SkewError::Erasing)
}

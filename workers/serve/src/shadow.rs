//! Shadow reads: a share of live requests is read once more with the revision that is to take over, and what both give is
//! compared. How long that takes, and where values differ, is counted and told through the online store.
//!
//! ```text
//! answer ─▶ Shadows::offer ─▶ queue (bounded; what finds it full is dropped, and counted) ─▶ Worker ─▶ metrics, store
//! ```
//!
//! Invariants: a live answer never waits for any of it, nor fails by it; what waits is bounded in number and bytes, and is worked
//! off one after the other at a bounded rate; both revisions are read as of one time that both are complete to, so that the one
//! that is a second behind does not differ for that alone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::compare::Reading;
use engine::plan::Plan;
use engine::row::{entity_hash, shadow_key};
use engine::shadow::Report;
use shell::clock::now_ms;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::by_name::{Problem, read};
use crate::catalog::{Revision, Shadowed, View};
use crate::completeness::{MarkerError, complete_from};
use crate::evaluate::{Cell, EvaluateError, Rows, Status, evaluate_rows};
use crate::metrics::{Metrics, ShadowRead, ShadowValue};
use crate::pointers::Pointers;
use crate::read::{ViewRows, completeness};
use crate::store::{Fields, Store};

/// Requests that wait.
pub const QUEUE: usize = 64;
/// Entities of one request that are read once more.
const ENTITIES: usize = 16;
/// Bytes of their rows.
const BYTES: usize = 256 << 10;
/// The least time from one read to the next.
const PACE: Duration = Duration::from_millis(5);
/// How often the store is told.
const TELL: Duration = Duration::from_secs(5);
/// How long it remembers.
const REMEMBERED_MS: i64 = 3_600_000;
/// Candidates that are counted at once; of more, the one that was read longest ago is forgotten.
const CANDIDATES: usize = 256;

/// One view's part of a live request, to be read once more.
pub struct Sample {
    view: Arc<View>,
    shadowed: Arc<Shadowed>,
    live: Arc<Revision>,
    generation: u64,
    horizon: i64,
    complete_from: i64,
    features: Vec<usize>,
    entities: Vec<String>,
    rows: Vec<Fields>,
    /// The time asked for, or that up to which what was read is complete, if that is earlier.
    until: i64,
}

/// Takes samples of live requests.
pub struct Shadows {
    queue: mpsc::Sender<Sample>,
    metrics: Arc<Metrics>,
}

/// Reads samples once more.
pub struct Worker {
    queue: mpsc::Receiver<Sample>,
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    /// The name under which the store is told.
    name: String,
    /// By key in the store.
    seen: HashMap<String, Seen>,
}

/// What was seen of one candidate.
struct Seen {
    report: Report,
    shadowed: Arc<Shadowed>,
    told: bool,
}

impl Shadows {
    /// A queue of `capacity`, and who works it off.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, metrics: Arc<Metrics>, name: &str, capacity: usize) -> (Self, Worker) {
        let (sender, queue) = mpsc::channel(capacity);
        let worker =
            Worker { queue, store, metrics: Arc::clone(&metrics), name: name.to_owned(), seen: HashMap::new() };
        (Self { queue: sender, metrics }, worker)
    }

    /// Takes what was answered, if it is of the share. `asked` is the time that was asked for, or now.
    pub fn offer(&self, views: Vec<ViewRows>, asked: i64) {
        for rows in views.into_iter().filter(|rows| !rows.selection.entities.is_empty()) {
            let Some(shadowed) =
                rows.view.shadow.clone().filter(|shadowed| {
                    shadowed.shadow.former == rows.revision.program.plan().revision && shadowed.takes()
                })
            else {
                continue;
            };
            // Without a time that the live revision is complete to, nothing can be said of it.
            let Some(complete_to) = rows.complete_to else { continue };
            let until = asked.min(complete_to);
            let name = rows.view.name.clone();
            let sample = Sample::of(rows, Arc::clone(&shadowed), until);
            // One whose first row is too large alone holds nothing to compare.
            if sample.entities.is_empty() || self.queue.try_send(sample).is_err() {
                shadowed.drop_one();
                self.metrics.shadow_read(&name, ShadowRead::Dropped);
            }
        }
    }
}

impl Sample {
    fn of(view: ViewRows, shadowed: Arc<Shadowed>, until: i64) -> Self {
        let ViewRows { view, revision: live, generation, horizon, complete_from, selection, mut rows, .. } = view;
        let size = |row: &Fields| row.iter().map(|(field, value)| field.len() + value.len()).sum::<usize>();
        let mut bytes = 0;
        let fits = |row: &&Fields| {
            bytes += size(row);
            bytes <= BYTES
        };
        let kept = rows.iter().take(ENTITIES).take_while(fits).count();
        rows.truncate(kept);
        let mut entities = selection.entities;
        entities.truncate(kept);
        let features = selection.features.iter().map(|&(_, feature)| feature).collect();
        Self { view, shadowed, live, generation, horizon, complete_from, features, entities, rows, until }
    }
}

/// Why a sample could not be read once more.
#[derive(Debug, Error)]
enum Failed {
    #[error("the catalog does not hold it, or it cannot run here")]
    Unknown,
    #[error("its entities have other keys than those of the live one")]
    OtherKeys,
    #[error("it has no readable rows, or is not known to be complete to any time")]
    NoRows,
    #[error(transparent)]
    Marker(MarkerError),
    #[error(transparent)]
    Read(Problem),
    #[error(transparent)]
    Evaluate(EvaluateError),
}

impl Worker {
    /// Works until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let (mut pace, mut tell) = (tokio::time::interval(PACE), tokio::time::interval(TELL));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tell.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tell.tick() => self.tell().await,
                sample = self.queue.recv() => match sample {
                    Some(sample) => {
                        pace.tick().await;
                        self.take(&sample).await;
                    }
                    None => return,
                },
            }
        }
    }

    /// Reads one sample with its candidate.
    async fn take(&mut self, sample: &Sample) {
        let shadow = &sample.shadowed.shadow;
        let key = shadow_key(&sample.view.uid, &shadow.candidate);
        let mut report = match self.seen.remove(&key) {
            Some(seen) if Arc::ptr_eq(&seen.shadowed, &sample.shadowed) => seen.report,
            _ => Report { former: shadow.former.clone(), ..Report::default() },
        };
        report.said_ms = now_ms();
        match self.read(sample, &mut report).await {
            Ok(()) => self.metrics.shadow_read(&sample.view.name, ShadowRead::Compared),
            Err(failed) => {
                report.failed += 1;
                self.metrics.shadow_read(&sample.view.name, ShadowRead::Failed);
                let (view, revision) = (&sample.view.name, &shadow.candidate);
                tracing::debug!(view, revision, %failed, "a shadow read failed");
            }
        }
        if self.seen.len() >= CANDIDATES {
            let oldest = self.seen.iter().min_by_key(|(_, seen)| seen.report.said_ms).map(|(key, _)| key.clone());
            self.seen.retain(|key, _| Some(key) != oldest.as_ref());
        }
        self.seen.insert(key, Seen { report, shadowed: Arc::clone(&sample.shadowed), told: false });
    }

    async fn read(&self, sample: &Sample, report: &mut Report) -> Result<(), Failed> {
        let shadow = &sample.shadowed.shadow;
        let Some(Ok(candidate)) = sample.view.revision(&shadow.candidate) else { return Err(Failed::Unknown) };
        let (live, next) = (sample.live.program.plan(), candidate.program.plan());
        if !same_keys(live, next) {
            return Err(Failed::OtherKeys);
        }
        // What was asked for, of what both have.
        let both: Vec<(usize, usize)> =
            sample.features.iter().filter_map(|&f| Some((f, next.feature(&live.features[f].name)?))).collect();
        let begun = Instant::now();
        let guess = Pointers::guess(&sample.view.uid, &shadow.candidate);
        let (pointers, reply) =
            read(self.store.as_ref(), &guess, &sample.entities).await.map_err(Failed::Read)?.ok_or(Failed::NoRows)?;
        let complete_to = completeness(next.mode, &pointers, &reply.markers).map_err(Failed::Marker)?;
        let complete_to = complete_to.ok_or(Failed::NoRows)?;
        let tile = live.time.finest_tile_ms.max(next.time.finest_tile_ms);
        let t = engine::time::floor(sample.until.min(complete_to), tile);
        let features: Vec<usize> = both.iter().map(|&(_, feature)| feature).collect();
        let would = Rows {
            revision: candidate,
            generation: pointers.generation,
            horizon: pointers.horizon,
            complete_from: complete_from(&reply.markers).map_err(Failed::Marker)?,
            features: &features,
            entities: &sample.entities,
            rows: &reply.rows,
            absent_is_empty: true,
        };
        let would = evaluate_rows(&would, t).map_err(Failed::Evaluate)?;
        let took = begun.elapsed();
        let features: Vec<usize> = both.iter().map(|&(feature, _)| feature).collect();
        let has = Rows {
            revision: &sample.live,
            generation: sample.generation,
            horizon: sample.horizon,
            complete_from: sample.complete_from,
            features: &features,
            entities: &sample.entities,
            rows: &sample.rows,
            absent_is_empty: true,
        };
        let has = evaluate_rows(&has, t).map_err(Failed::Evaluate)?;

        report.reads += 1;
        report.latency.observe(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        self.metrics.shadow_took(took);
        let missing = sample.rows.iter().zip(&reply.rows).filter(|(has, would)| !has.is_empty() && would.is_empty());
        report.missing += missing.count() as u64;
        for ((&(a, b), has), would) in both.iter().zip(has).zip(would) {
            let (former, candidate) = (&live.features[a], &next.features[b]);
            let tally = report.features.entry(former.name.clone()).or_default();
            let types = (&former.value_type, &candidate.value_type);
            for ((entity, has), would) in sample.entities.iter().zip(has).zip(would) {
                let value = match tally.observe(&entity_hash(entity), (&reading(has), &reading(would)), types) {
                    Some(true) => ShadowValue::Equal,
                    Some(false) => ShadowValue::Differs,
                    None => ShadowValue::Unreadable,
                };
                self.metrics.shadow_value(&sample.view.name, &former.name, value);
            }
        }
        Ok(())
    }

    /// Tells the store what is new.
    async fn tell(&mut self) {
        for (key, seen) in self.seen.iter_mut().filter(|(_, seen)| !seen.told) {
            seen.report.dropped = seen.shadowed.dropped();
            // Serialising owned data with string keys cannot fail.
            let json = serde_json::to_vec(&seen.report).unwrap_or_default();
            match self.store.say_shadow(key, &self.name, json, REMEMBERED_MS).await {
                Ok(()) => seen.told = true,
                Err(error) => tracing::debug!(%error, key, "what shadow reads say could not be told; it is told again"),
            }
        }
    }
}

fn reading(cell: Cell) -> Reading {
    Reading { exact: cell.status != Status::Invalid, value: cell.value }
}

/// Whether an entity has the same text in both revisions.
fn same_keys(a: &Plan, b: &Plan) -> bool {
    let type_of = |plan: &Plan, key: &String| {
        plan.source.columns.iter().find(|column| column.name == *key).map(|column| column.value_type.clone())
    };
    a.entity == b.entity && a.entity.iter().all(|key| type_of(a, key) == type_of(b, key))
}

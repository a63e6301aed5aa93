//! The lanes of sampled entities, folded once more: pure, records in, rows out.
//!
//! Invariant: of each entity and partition exactly the events are folded that its row says it holds.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use engine::event::Decoder;
use engine::lane::{Lane, Layout};
use engine::plan::Plan;
use engine::program::Program;
use engine::row::{Marker, lane_field, parse_lane_field};
use serve::store::Fields;
use shell::store::Erased;

use super::SkewError;

/// So many events of a partition are evaluated at once.
const BATCH: usize = 2_048;

/// A row as it was fetched, and the markers that were read before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    pub(super) entity: &'a str,
    pub(super) fields: &'a Fields,
    pub(super) markers: &'a Fields,
}

/// One entity of the sample.
#[derive(Debug)]
struct Sampled {
    /// What its row holds beside stream lanes.
    beside: Fields,
    /// By partition, the offset below which its row holds every event.
    ends: BTreeMap<i32, i64>,
    lanes: BTreeMap<i32, Lane>,
}

/// What one partition has decoded and not folded yet.
#[derive(Debug)]
struct Pending {
    decoder: Decoder,
    offsets: Vec<i64>,
}

/// The fold of a sample.
#[derive(Debug)]
pub(super) struct Refold {
    program: Program,
    layout: Layout,
    topic: String,
    erased: Arc<Erased>,
    at: HashMap<String, usize>,
    sampled: Vec<Sampled>,
    pending: BTreeMap<i32, Pending>,
}

impl Refold {
    /// Nothing is folded yet.
    pub(super) fn new<'a>(
        plan: &Plan,
        rows: impl Iterator<Item = Row<'a>>,
        erased: Arc<Erased>,
    ) -> Result<Self, SkewError> {
        let stream = plan.source.stream.as_ref().ok_or_else(|| SkewError::Plan("the plan reads no topic".into()))?;
        let (mut at, mut sampled) = (HashMap::new(), Vec::new());
        for row in rows {
            at.insert(row.entity.to_owned(), sampled.len());
            sampled.push(Sampled::of(&row));
        }
        Ok(Self {
            program: Program::new(Arc::new(plan.clone())).map_err(|error| SkewError::Plan(error.to_string()))?,
            layout: Layout::new(plan).map_err(|error| SkewError::Plan(error.to_string()))?,
            topic: stream.topic.clone(),
            erased,
            at,
            sampled,
            pending: BTreeMap::new(),
        })
    }

    /// The topic.
    pub(super) fn topic(&self) -> &str {
        &self.topic
    }

    /// By partition, where the last event ends that any row holds.
    pub(super) fn ends(&self) -> BTreeMap<i32, i64> {
        let mut ends = BTreeMap::new();
        for (partition, end) in self.sampled.iter().flat_map(|sampled| &sampled.ends) {
            let known: &mut i64 = ends.entry(*partition).or_default();
            *known = (*known).max(*end);
        }
        ends
    }

    /// Takes a record of a partition, in their order. One that is no event is nobody's.
    pub(super) fn push(
        &mut self,
        partition: i32,
        offset: i64,
        payload: Option<&[u8]>,
        time_ms: i64,
    ) -> Result<(), SkewError> {
        let plan = self.program.plan();
        let pending = self.pending.entry(partition);
        let pending = pending.or_insert_with(|| Pending { decoder: Decoder::new(plan), offsets: Vec::new() });
        if pending.decoder.push(payload, time_ms).is_ok() {
            pending.offsets.push(offset);
        }
        if pending.offsets.len() >= BATCH { self.fold(partition) } else { Ok(()) }
    }

    /// Folds what was taken of a partition.
    pub(super) fn fold(&mut self, partition: i32) -> Result<(), SkewError> {
        let Some(pending) = self.pending.get_mut(&partition).filter(|pending| !pending.offsets.is_empty()) else {
            return Ok(());
        };
        let offsets = std::mem::take(&mut pending.offsets);
        let columns = pending.decoder.take();
        let failed = |detail: String| SkewError::Read { topic: self.topic.clone(), detail };
        let batch = columns.record_batch().map_err(|error| failed(format!("decoded columns: {error}")))?;
        let evaluated = self.program.evaluate(&batch, columns.times().to_vec());
        let mut failures = evaluated.failures().iter().peekable();
        for (row, offset) in offsets.into_iter().enumerate().take(evaluated.len()) {
            if failures.next_if(|failure| failure.row == row).is_some() {
                continue;
            }
            let entity = evaluated.entity(row);
            let Some(sampled) = self.at.get(entity).and_then(|at| self.sampled.get_mut(*at)) else { continue };
            let end = sampled.ends.get(&partition).copied().unwrap_or_default();
            if offset < self.erased.tombstones.offset(entity, partition) || offset >= end {
                continue;
            }
            let lane = sampled.lanes.entry(partition).or_default();
            lane.set_offset(offset + 1);
            lane.insert(&self.layout, &evaluated, row);
        }
        Ok(())
    }

    /// The rows that the events give, in the order of the sample.
    pub(super) fn rows(self) -> Vec<Fields> {
        let Self { layout, sampled, .. } = self;
        let row = |sampled: Sampled| {
            let mut fields = sampled.beside;
            for (partition, mut lane) in sampled.lanes {
                let segments = lane.encode(&layout).segments;
                let named = |(segment, bytes)| (lane_field(partition, segment).into_bytes(), bytes);
                fields.extend(segments.into_iter().map(named));
            }
            fields
        };
        sampled.into_iter().map(row).collect()
    }
}

impl Sampled {
    fn of(row: &Row<'_>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut ends: BTreeMap<i32, i64> = BTreeMap::new();
        for (field, value) in row.markers {
            if let (Ok(partition), Ok(marker)) = (text(field).parse(), Marker::decode(&text(value))) {
                ends.insert(partition, marker.offset);
            }
        }
        let mut beside = Vec::new();
        for (field, bytes) in row.fields {
            match parse_lane_field(&text(field)) {
                // A lane may have been flushed after the markers were read.
                Some((partition, 0)) => {
                    let end = ends.entry(partition).or_default();
                    *end = (*end).max(Lane::peek_offset(bytes).unwrap_or_default());
                }
                Some(_) => {}
                None => beside.push((field.clone(), bytes.clone())),
            }
        }
        Self { beside, ends, lanes: BTreeMap::new() }
    }
}

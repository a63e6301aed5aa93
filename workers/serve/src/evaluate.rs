//! From rows to feature values: decode the lanes, read them at `t`, derive what is an expression.
//!
//! Pure. Invariant: a lane that cannot be decoded fails the whole answer; it is never left out of a value.

use engine::lane::{Lane, LaneError};
use engine::plan::{FeatureSource, Mode};
use engine::program::FeatureColumns;
use engine::read::{Layer, Reader, Status as ReadStatus};
use engine::row::{entity_hash, parse_lane_field};
use engine::value::Value;
use thiserror::Error;

use crate::catalog::Revision;
use crate::generation;
use crate::read::ViewRows;
use crate::store::Fields;

/// Feast's status of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// There is a value.
    Present,
    /// The entity has a row, and the feature is NULL.
    NullValue,
    /// The entity has no row, and had no event that the feature could count.
    NotFound,
    /// The value cannot be computed exactly as of the time asked.
    Invalid,
}

impl Status {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 4] = [Self::Present, Self::NullValue, Self::NotFound, Self::Invalid];

    /// As Feast writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Present => "PRESENT",
            Self::NullValue => "NULL_VALUE",
            Self::NotFound => "NOT_FOUND",
            Self::Invalid => "INVALID",
        }
    }
}

/// One value of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// The value, if it is [`Status::Present`].
    pub value: Option<Value>,
    /// What it is.
    pub status: Status,
    /// The newest event it stands on, in milliseconds since the epoch.
    pub event_time: Option<i64>,
    /// Whether it is NULL because a number was too large for its type, or stands on one that is.
    pub overflow: bool,
}

impl Cell {
    const NOT_FOUND: Self = Self { value: None, status: Status::NotFound, event_time: None, overflow: false };
}

/// A lane that cannot be decoded. What it says names the entity by its hash.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the lane of {lane} of entity {entity} cannot be decoded: {reason}", entity = entity_hash(.entity))]
pub struct Undecodable {
    /// The entity's text.
    pub entity: String,
    /// Which lane of it, such as `partition 3` or `generation 7`.
    pub lane: String,
    /// Why.
    pub reason: String,
}

/// Rows of one revision, and what is asked of them.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// The revision.
    pub revision: &'a Revision,
    /// The generation of batch lanes that is read; 0 if none is published, and in a Kappa.
    pub generation: u64,
    /// That generation's horizon in milliseconds.
    pub horizon: i64,
    /// The event time from which on stream lanes hold every event, in milliseconds; nobody's hold older ones for certain, and
    /// an entity without lanes may have had some.
    pub complete_from: i64,
    /// The positions of the features asked for.
    pub features: &'a [usize],
    /// The entities' texts.
    pub entities: &'a [String],
    /// The row of each entity; empty where there is none.
    pub rows: &'a [Fields],
    /// Whether an entity without lanes reads as one without events, and not as one that is not known.
    pub absent_is_empty: bool,
}

/// The lanes of one entity's row that count.
struct Found {
    /// Whether there are any, or the entity reads as one that has.
    known: bool,
    /// The lane of the generation, or what one comes to that holds nothing; none in a Kappa.
    batch: Vec<Lane>,
    /// The lanes of stream workers, where the mode has them.
    stream: Vec<Lane>,
    /// The time from which on those count.
    from: i64,
    /// The time from which on they hold every event.
    complete_from: i64,
}

/// What is known of the windowed features before expressions are derived: by feature, then by entity.
struct Base {
    values: FeatureColumns,
    /// Whether a value is not exact, and its newest event.
    notes: Vec<Option<Vec<Note>>>,
}

#[derive(Clone, Copy, Default)]
struct Note {
    inexact: bool,
    newest: Option<i64>,
    overflow: bool,
}

/// The value of every selected feature for every distinct entity, at `t`: by feature in the selection's order, then by
/// entity in the selection's order.
///
/// # Errors
/// [`Undecodable`] for the first lane that cannot be decoded, or a text if the plan contradicts itself.
pub fn evaluate(view: &ViewRows, t: i64) -> Result<Vec<Vec<Cell>>, EvaluateError> {
    let features: Vec<usize> = view.selection.features.iter().map(|&(_, feature)| feature).collect();
    let rows = Rows {
        revision: &view.revision,
        generation: view.generation,
        horizon: view.horizon,
        complete_from: view.complete_from,
        features: &features,
        entities: &view.selection.entities,
        rows: &view.rows,
        absent_is_empty: false,
    };
    evaluate_rows(&rows, t)
}

/// As [`evaluate`], of rows that no request selected.
///
/// # Errors
/// As there.
pub fn evaluate_rows(asked: &Rows<'_>, t: i64) -> Result<Vec<Vec<Cell>>, EvaluateError> {
    let Rows { revision, features, .. } = *asked;
    let base_features = revision.program.base_features(features);
    let found: Vec<Option<Found>> = (asked.rows.iter().zip(asked.entities))
        .map(|(row, entity)| lanes(asked, row, entity))
        .collect::<Result<_, _>>()?;
    let mut base = read(revision, &found, &base_features, t);
    revision.program.derive(features, found.len(), &mut base.values).map_err(|e| EvaluateError::Plan(e.to_string()))?;
    Ok(features.iter().map(|&feature| cells(revision, feature, &found, &base)).collect())
}

/// Why rows could not be evaluated.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EvaluateError {
    /// See [`Undecodable`].
    #[error(transparent)]
    Lane(Undecodable),
    /// The plan contradicts itself.
    #[error("{0}")]
    Plan(String),
}

/// The lanes of a row that count; `None` while there is no telling of any row.
fn lanes(view: &Rows<'_>, row: &Fields, entity: &str) -> Result<Option<Found>, EvaluateError> {
    let revision = view.revision;
    let mode = revision.program.plan().mode;
    // Before the first generation there is no telling what a stream's lanes lack, so nobody is found at all.
    if mode.has_generations() && view.generation == 0 {
        return Ok(None);
    }
    let mut batch =
        if mode.has_generations() { batch_lane(revision, row, view.generation, entity)? } else { Vec::new() };
    let stream = if mode.has_stream_lanes() { stream_lanes(revision, row, entity)? } else { Vec::new() };
    let known = view.absent_is_empty || !batch.is_empty() || !stream.is_empty();
    if mode.has_generations() && batch.is_empty() {
        // Whom the generation does not hold may have had events that were too old for it.
        batch.push(Lane::aged(&revision.layout, view.horizon.saturating_sub(1)));
    }
    let from = if mode == Mode::Lambda { view.horizon } else { i64::MIN };
    Ok(Some(Found { known, batch, stream, from, complete_from: view.complete_from }))
}

/// The lane of the generation, if the row has it.
fn batch_lane(revision: &Revision, row: &Fields, number: u64, entity: &str) -> Result<Vec<Lane>, EvaluateError> {
    let segments = generation::segments(row, number);
    if segments.is_empty() {
        return Ok(Vec::new());
    }
    match Lane::decode(&revision.layout, &segments) {
        Ok(lane) => Ok(vec![lane]),
        Err(e) => Err(undecodable(entity, format!("generation {number}"), &e)),
    }
}

fn undecodable(entity: &str, lane: String, reason: &LaneError) -> EvaluateError {
    EvaluateError::Lane(Undecodable { entity: entity.to_owned(), lane, reason: reason.to_string() })
}

/// The lanes of stream workers.
fn stream_lanes(revision: &Revision, row: &Fields, entity: &str) -> Result<Vec<Lane>, EvaluateError> {
    let mut segments: Vec<(i32, u8, &[u8])> = (row.iter())
        .filter_map(|(field, bytes)| {
            let (partition, segment) = parse_lane_field(std::str::from_utf8(field).ok()?)?;
            Some((partition, segment, bytes.as_slice()))
        })
        .collect();
    segments.sort_unstable_by_key(|&(partition, segment, _)| (partition, segment));
    let by_partition = segments.chunk_by(|a, b| a.0 == b.0);
    let decoded = by_partition.map(|chunk| {
        let lane: Vec<(u8, &[u8])> = chunk.iter().map(|&(_, segment, bytes)| (segment, bytes)).collect();
        Lane::decode(&revision.layout, &lane).map_err(|e| undecodable(entity, format!("partition {}", chunk[0].0), &e))
    });
    decoded.collect()
}

fn read(revision: &Revision, found: &[Option<Found>], features: &[usize], t: i64) -> Base {
    let width = revision.program.plan().features.len();
    let mut base = Base { values: FeatureColumns { columns: vec![None; width] }, notes: vec![None; width] };
    for &feature in features {
        base.values.columns[feature] = Some(Vec::with_capacity(found.len()));
        base.notes[feature] = Some(Vec::with_capacity(found.len()));
    }
    let reader = Reader::new(&revision.layout);
    for lanes in found {
        let mut reads = lanes.as_ref().map(|found| {
            let &Found { from, complete_from, .. } = found;
            let layers = [Layer::whole(&found.batch), Layer { lanes: &found.stream, from, complete_from }];
            reader.read_layers(&layers, t, features).into_iter()
        });
        for &feature in features {
            let read = reads.as_mut().and_then(Iterator::next);
            let (value, note) = match read {
                None => (None, Note::default()),
                Some(read) => {
                    let inexact = read.status == ReadStatus::Inexact;
                    (read.value, Note { inexact, newest: read.newest, overflow: read.overflow })
                }
            };
            if let (Some(values), Some(notes)) = (&mut base.values.columns[feature], &mut base.notes[feature]) {
                values.push(value);
                notes.push(note);
            }
        }
    }
    base
}

/// The cells of one asked feature.
fn cells(revision: &Revision, feature: usize, found: &[Option<Found>], base: &Base) -> Vec<Cell> {
    let reads = match &revision.program.plan().features[feature].source {
        FeatureSource::Window { .. } => vec![feature],
        // What an expression stands on: all the windowed features below it.
        FeatureSource::Expression { .. } => revision.program.base_features(&[feature]),
    };
    let values = base.values.columns[feature].as_deref().unwrap_or_default();
    let cell = |(entity, lanes): (usize, &Option<Found>)| {
        let Some(found) = lanes else { return Cell::NOT_FOUND };
        let notes = reads.iter().filter_map(|&f| base.notes[f].as_ref().map(|notes| notes[entity]));
        let note = notes.fold(Note::default(), |a, b| Note {
            inexact: a.inexact || b.inexact,
            newest: a.newest.max(b.newest),
            overflow: a.overflow || b.overflow,
        });
        // Of whom nothing is known, it is known that there was nothing only as far back as everything was read.
        if !found.known && !note.inexact {
            return Cell::NOT_FOUND;
        }
        let value = values.get(entity).cloned().flatten().filter(|_| !note.inexact);
        let status = match (&value, note.inexact) {
            (_, true) => Status::Invalid,
            (Some(_), false) => Status::Present,
            (None, false) => Status::NullValue,
        };
        Cell { value, status, event_time: note.newest, overflow: note.overflow }
    };
    found.iter().enumerate().map(cell).collect()
}

//! Bronze: a topic's records as they were, each (partition, offset) exactly once.
//!
//! Invariants: the transaction `{uid}/{partition}` is the next offset of that partition, and moves in the same commit that
//! brings the records before it. Each commit also carries what it leaves behind of *every* partition ([`State`]), which is
//! how the table proves up to which event time it is complete, at any of its versions.

mod append;
mod state;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use deltalake::DeltaTable;
use engine::plan::TimestampField;

pub use append::{Bronze, Chunk};
pub(crate) use state::parse_state;
pub use state::{Gap, Progress, STATE, State, completeness, state};

use crate::error::LakeError;
use crate::table::{Identity, TableSpec, properties};

/// The partition of the record.
pub const PARTITION: &str = "partition";
/// Its offset.
pub const OFFSET: &str = "offset";
/// Its record time.
pub const TIMESTAMP: &str = "timestamp";
/// The event's own time; NULL if it has none that reads, or none that is plausible.
pub const EVENT_TIME: &str = "event_time";
/// The record's key.
pub const KEY: &str = "key";
/// The record's payload; NULL is a tombstone.
pub const VALUE: &str = "value";
/// The record's headers, in order; NULL without any.
pub const HEADERS: &str = "headers";
/// The day of the record time in UTC, by which the table is partitioned.
pub const DATE: &str = "date";

/// How far ahead of its record an event's time may be for an archive to believe it, in milliseconds, unless it is told
/// otherwise; one further ahead would move its completeness to where no event has been.
pub const MAX_FUTURE_MS: i64 = 300_000;

/// Where a topic's Bronze stands in a lake.
#[must_use]
pub fn uri(lake: &str, topic: &str) -> String {
    format!("{}/bronze/{topic}", lake.trim_end_matches('/'))
}

/// The transaction of one partition: its version is the next offset.
#[must_use]
pub fn app_id(uid: &str, partition: i32) -> String {
    format!("{uid}/{partition}")
}

/// The columns.
#[must_use]
pub fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let fields = vec![
        Field::new(PARTITION, DataType::Int32, false),
        Field::new(OFFSET, DataType::Int64, false),
        Field::new(TIMESTAMP, time.clone(), false),
        Field::new(EVENT_TIME, time, true),
        Field::new(KEY, DataType::Binary, true),
        Field::new(VALUE, DataType::Binary, true),
        Field::new(HEADERS, DataType::List(header_item().into()), true),
        Field::new(DATE, DataType::Date32, false),
    ];
    Arc::new(Schema::new(fields))
}

/// The item of [`HEADERS`].
#[must_use]
pub fn header_item() -> Field {
    Field::new("element", DataType::Struct(header_fields()), false)
}

/// A header's name and value.
#[must_use]
pub fn header_fields() -> Fields {
    Fields::from(vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Binary, true)])
}

/// The table property that says by which field of its records, and in which unit, an archive knows the times of events.
///
/// Files are skipped and completeness is told by them: whoever means another time by an event would miss some.
pub const EVENT_TIME_BY: &str = "featuremill.eventTimeBy";

fn event_time_by(field: Option<&TimestampField>) -> String {
    field.map_or_else(|| "the record's time".to_owned(), |by| format!("{} in {:?}", by.field, by.unit))
}

/// That an archive knows the times of its events by this field, or with `None` by their records' times. One that does not
/// say is believed.
///
/// # Errors
/// [`LakeError::EventTime`].
pub fn check_event_time(table: &DeltaTable, uri: &str, field: Option<&TimestampField>) -> Result<(), LakeError> {
    let expected = event_time_by(field);
    match properties(table, uri)?.remove(EVENT_TIME_BY) {
        Some(found) if found != expected => Err(LakeError::EventTime { uri: uri.to_owned(), found, expected }),
        _ => Ok(()),
    }
}

/// What a Bronze table must be, whose events' times are read from `field`.
#[must_use]
pub fn spec(identity: Identity, field: Option<&TimestampField>) -> TableSpec {
    let by = event_time_by(field);
    let properties = [
        (EVENT_TIME_BY, by.as_str()),
        // The offsets and times are what files are skipped by; statistics of payloads would only fill the log.
        ("delta.dataSkippingNumIndexedCols", "4"),
        ("delta.checkpointInterval", "50"),
    ];
    TableSpec {
        schema: schema(),
        partition_by: vec![DATE.to_owned()],
        identity,
        properties: properties.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec(),
        evolves: false,
    }
}

//! The event time of a record, read by the engine's own decoder, so that the archive means the same time as the stream.

use engine::event::Decoder;
use engine::plan::{Mode, Plan, SEMANTICS, Source, TimePolicy, TimestampField, TimestampUnit, ViewIdentity};

/// Reads event times.
#[derive(Debug)]
pub enum EventTimes {
    /// The record time is the event time.
    OfRecord,
    /// A field of the payload is.
    OfField(Box<Decoder>),
}

impl EventTimes {
    /// Reads `field`, written in `unit`; without a field, the record time. A time more than `max_future_ms` ahead of its
    /// record is none: it would move the table's completeness to where no event has been.
    #[must_use]
    pub fn new(field: Option<(&str, TimestampUnit)>, max_future_ms: i64) -> Self {
        let Some((field, unit)) = field else { return Self::OfRecord };
        Self::OfField(Box::new(Decoder::new(&plan(field, unit, max_future_ms))))
    }

    /// The event time in milliseconds; `None` if the payload has none that reads.
    pub fn read(&mut self, payload: Option<&[u8]>, record_time: i64) -> Option<i64> {
        match self {
            Self::OfRecord => Some(record_time),
            Self::OfField(decoder) => {
                decoder.push(payload, record_time).ok()?;
                decoder.take().times().first().copied()
            }
        }
    }
}

/// A plan of which only the event time is read.
fn plan(field: &str, unit: TimestampUnit, max_future_ms: i64) -> Plan {
    Plan {
        semantics: SEMANTICS,
        view: ViewIdentity { uid: String::new(), namespace: String::new(), name: String::new() },
        revision: String::new(),
        mode: Mode::Lakehouse,
        source: Source {
            stream: None,
            table: None,
            timestamp: TimestampField { field: field.to_owned(), unit },
            columns: Vec::new(),
        },
        entity: Vec::new(),
        time: TimePolicy { allowed_lateness_ms: 0, max_future_ms, retention_ms: None, finest_tile_ms: 1_000 },
        conditions: Vec::new(),
        inputs: Vec::new(),
        aggregates: Vec::new(),
        features: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_does_not_read_or_is_not_plausible_is_none() {
        let mut times = EventTimes::new(Some(("at", TimestampUnit::Milliseconds)), 100);
        let mut read = |payload: &str| times.read(Some(payload.as_bytes()), 1_000);
        assert_eq!(read(r#"{"at": 900, "more": [1]}"#), Some(900));
        assert_eq!(read(r#"{"at": 1100}"#), Some(1_100));
        assert_eq!(read(r#"{"at": 1101}"#), None);
        assert_eq!(read(r#"{"at": "soon"}"#), None);
        assert_eq!(read("{}"), None);
        assert_eq!(read("not JSON"), None);
        assert_eq!(read(r#"{"at": -5}"#), Some(-5));
        assert_eq!(times.read(None, 1_000), None);
        assert_eq!(EventTimes::new(None, 0).read(None, 7), Some(7));
    }
}

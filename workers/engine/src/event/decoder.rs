//! The decoder: records in, columns out.

use super::columns::{Columns, Growing};
use super::fields::Fields;
use super::record::Record;
use super::reject::{Reason, Reject};
use crate::plan::{Plan, TimePolicy};
use crate::time::TIME_LIMIT;

/// The longest payload that is taken unless [`Decoder::with_max_bytes`] says otherwise: 1 MiB.
pub const DEFAULT_MAX_BYTES: usize = 1 << 20;

/// Decodes the events of one plan's source.
///
/// Its columns hold text with 32-bit offsets, so take them before [`Decoder::bytes`] reaches 2 GiB.
#[derive(Debug)]
pub struct Decoder {
    fields: Fields,
    record: Record,
    growing: Growing,
    time: TimePolicy,
    max_bytes: usize,
    bytes: usize,
}

impl Decoder {
    /// A decoder with empty columns.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let fields = Fields::new(plan);
        let record = Record::new(&fields);
        let growing = Growing::new(&plan.source);
        Self { fields, record, growing, time: plan.time.clone(), max_bytes: DEFAULT_MAX_BYTES, bytes: 0 }
    }

    /// Takes payloads of at most `max_bytes`.
    #[must_use]
    pub fn with_max_bytes(mut self, max_bytes: usize) -> Self {
        self.max_bytes = max_bytes;
        self
    }

    /// How many events wait to be taken.
    #[must_use]
    pub fn len(&self) -> usize {
        self.growing.len()
    }

    /// Whether none wait to be taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The length of the payloads of the events that wait: a bound on the memory of their columns' text.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends one event, whose record has this payload and this time in milliseconds since the epoch.
    ///
    /// # Errors
    /// If the event is not taken; the columns are then as before.
    pub fn push(&mut self, payload: Option<&[u8]>, record_time_ms: i64) -> Result<(), Reject> {
        let text = self.text(payload)?;
        let time = self.record.read(&mut self.fields, text)?;
        self.admit(time, record_time_ms)?;
        self.growing.append(time, &self.record, text);
        self.bytes += text.len();
        Ok(())
    }

    /// The events pushed since the last call, in their order; the decoder is then empty.
    #[must_use]
    pub fn take(&mut self) -> Columns {
        self.bytes = 0;
        self.growing.take()
    }

    fn text<'a>(&self, payload: Option<&'a [u8]>) -> Result<&'a str, Reject> {
        let Some(payload) = payload else {
            return Err(Reject::new(Reason::EmptyPayload, "the record has no payload: it is a tombstone"));
        };
        if payload.is_empty() {
            return Err(Reject::new(Reason::EmptyPayload, "the payload has no bytes"));
        }
        let (length, most) = (payload.len(), self.max_bytes);
        if length > most {
            let detail = format!("the payload has {length} bytes, of at most {most}");
            return Err(Reject::new(Reason::TooLarge, detail));
        }
        simdutf8::basic::from_utf8(payload).map_err(|_| not_utf8(payload))
    }

    /// Whether the event counts, by its record alone: its time lies in `[record time − retention, record time + maxFuture]`.
    fn admit(&self, time: i64, record_time: i64) -> Result<(), Reject> {
        let most = self.time.max_future_ms;
        if time > record_time.saturating_add(most) {
            let ahead = i128::from(time) - i128::from(record_time);
            let detail = format!(
                "the event time {time} is {ahead} ms ahead of the record's time {record_time}, of at most {most} ms"
            );
            return Err(Reject::new(Reason::TooFarInFuture, detail));
        }
        match self.time.retention_ms {
            Some(most) if time < record_time.saturating_sub(most) => {
                let behind = i128::from(record_time) - i128::from(time);
                let detail = format!(
                    "the event time {time} is {behind} ms behind the record's time {record_time}, of at most {most} ms"
                );
                Err(Reject::new(Reason::TooLate, detail))
            }
            _ if time.unsigned_abs() > TIME_LIMIT.unsigned_abs() => {
                let detail = format!("the event time {time} is further than {TIME_LIMIT} ms from 1970");
                Err(Reject::new(Reason::WrongType, detail))
            }
            _ => Ok(()),
        }
    }
}

/// The fast check does not say where; this one does.
#[cold]
fn not_utf8(payload: &[u8]) -> Reject {
    let at = std::str::from_utf8(payload).map_or_else(|error| error.valid_up_to(), str::len);
    let byte = payload.get(at).copied().unwrap_or_default();
    Reject::new(Reason::InvalidUtf8, format!("the byte 0x{byte:02x} at byte {at} is not UTF-8"))
}

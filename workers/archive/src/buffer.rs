//! Records that wait for the next commit, in the columns of Bronze. It knows its size, and nothing else.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, Date32Builder, Int32Builder, Int64Builder, ListBuilder, RecordBatch, StringBuilder,
    StructBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use lake::bronze;

/// A batch is closed at this size, so that no column comes near the 2 GiB of its offsets.
const BATCH_BYTES: usize = 16 << 20;
/// What a record takes beside its key, payload and headers.
const RECORD_BYTES: usize = 64;
/// The milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// One record, borrowed from the consumer.
#[derive(Clone, Debug)]
pub struct Record<'a> {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its record time in milliseconds.
    pub timestamp: i64,
    /// Its event time in milliseconds.
    pub event_time: Option<i64>,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its payload.
    pub value: Option<&'a [u8]>,
    /// Its headers.
    pub headers: Vec<(&'a str, Option<&'a [u8]>)>,
}

/// The records.
#[derive(Debug)]
pub struct Buffer {
    schema: SchemaRef,
    full: Vec<RecordBatch>,
    growing: Growing,
    /// Of the batches that are full.
    full_bytes: usize,
    rows: u64,
}

#[derive(Debug)]
struct Growing {
    partition: Int32Builder,
    offset: Int64Builder,
    timestamp: TimestampMicrosecondBuilder,
    event_time: TimestampMicrosecondBuilder,
    key: BinaryBuilder,
    value: BinaryBuilder,
    headers: ListBuilder<StructBuilder>,
    date: Date32Builder,
    rows: usize,
    bytes: usize,
}

impl Default for Buffer {
    fn default() -> Self {
        Self { schema: bronze::schema(), full: Vec::new(), growing: Growing::new(), full_bytes: 0, rows: 0 }
    }
}

impl Buffer {
    /// Roughly the bytes that the records take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.full_bytes + self.growing.bytes
    }

    /// How many there are.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Appends a record.
    ///
    /// # Errors
    /// Only if the columns were not Bronze's, which they are.
    pub fn push(&mut self, record: &Record<'_>) -> Result<(), ArrowError> {
        self.growing.push(record);
        self.rows += 1;
        if self.growing.bytes >= BATCH_BYTES { self.close() } else { Ok(()) }
    }

    /// The records, in the order they came; the buffer is then empty.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn take(&mut self) -> Result<Vec<RecordBatch>, ArrowError> {
        self.close()?;
        self.full_bytes = 0;
        self.rows = 0;
        Ok(std::mem::take(&mut self.full))
    }

    /// Forgets all records.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn close(&mut self) -> Result<(), ArrowError> {
        if self.growing.rows > 0 {
            self.full_bytes += self.growing.bytes;
            self.full.push(RecordBatch::try_new(self.schema.clone(), self.growing.finish())?);
        }
        Ok(())
    }
}

impl Growing {
    fn new() -> Self {
        let utc = || TimestampMicrosecondBuilder::new().with_timezone("UTC");
        let headers = StructBuilder::from_fields(bronze::header_fields(), 0);
        Self {
            partition: Int32Builder::new(),
            offset: Int64Builder::new(),
            timestamp: utc(),
            event_time: utc(),
            key: BinaryBuilder::new(),
            value: BinaryBuilder::new(),
            headers: ListBuilder::new(headers).with_field(bronze::header_item()),
            date: Date32Builder::new(),
            rows: 0,
            bytes: 0,
        }
    }

    fn push(&mut self, record: &Record<'_>) {
        let Record { partition, offset, timestamp, event_time, key, value, headers } = record;
        self.partition.append_value(*partition);
        self.offset.append_value(*offset);
        self.timestamp.append_value(timestamp.saturating_mul(1_000));
        self.event_time.append_option(event_time.map(|time| time.saturating_mul(1_000)));
        self.key.append_option(*key);
        self.value.append_option(*value);
        self.date.append_value(i32::try_from(timestamp.div_euclid(DAY_MS)).unwrap_or(i32::MAX));
        let items = self.headers.values();
        for (name, value) in headers {
            if let Some(names) = items.field_builder::<StringBuilder>(0) {
                names.append_value(name);
            }
            if let Some(values) = items.field_builder::<BinaryBuilder>(1) {
                values.append_option(*value);
            }
            items.append(true);
        }
        self.headers.append(!headers.is_empty());
        let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
        let of_headers: usize = headers.iter().map(|(name, value)| name.len() + length(*value) + 16).sum();
        self.rows += 1;
        self.bytes += RECORD_BYTES + length(*key) + length(*value) + of_headers;
    }

    fn finish(&mut self) -> Vec<ArrayRef> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.partition.finish()),
            Arc::new(self.offset.finish()),
            Arc::new(self.timestamp.finish()),
            Arc::new(self.event_time.finish()),
            Arc::new(self.key.finish()),
            Arc::new(self.value.finish()),
            Arc::new(self.headers.finish()),
            Arc::new(self.date.finish()),
        ];
        (self.rows, self.bytes) = (0, 0);
        columns
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{Date32Type, Int64Type};

    use super::*;

    fn record(offset: i64, value: &[u8]) -> Record<'_> {
        let headers = vec![("trace", Some(b"x".as_slice())), ("none", None)];
        Record {
            partition: 3,
            offset,
            timestamp: -1,
            event_time: None,
            key: None,
            value: Some(value),
            headers: if offset % 2 == 0 { headers } else { Vec::new() },
        }
    }

    #[test]
    fn records_come_out_as_they_went_in_and_large_ones_in_several_batches() {
        let mut buffer = Buffer::default();
        let large = vec![7; 6 << 20];
        for offset in 0..4 {
            buffer.push(&record(offset, &large)).unwrap();
        }
        assert!(buffer.bytes() > 24 << 20);
        let batches = buffer.take().unwrap();
        assert_eq!((batches.len(), buffer.rows(), buffer.bytes()), (2, 0, 0));
        let offsets: Vec<i64> =
            batches.iter().flat_map(|b| b.column(1).as_primitive::<Int64Type>().values().to_vec()).collect();
        assert_eq!(offsets, [0, 1, 2, 3]);
        // One millisecond before the epoch is the day before it.
        assert_eq!(batches[0].column(7).as_primitive::<Date32Type>().value(0), -1);
        let headers = batches[0].column(6).as_list::<i32>();
        assert_eq!((headers.value(0).len(), headers.is_null(1)), (2, true));
    }
}

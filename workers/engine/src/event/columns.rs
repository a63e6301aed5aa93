//! Decoded events as Arrow columns, and the builders that they grow in.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Decimal128Builder, Float64Builder, Int64Builder, RecordBatch, RecordBatchOptions,
    StringBuilder, TimestampMillisecondBuilder, new_null_array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;

use super::cell::Cell;
use super::record::Record;
use crate::plan::Source;
use crate::value::ValueType;

/// The Arrow schema of a source's columns. All of them are nullable, so that every plan sees one schema.
#[must_use]
pub fn schema(source: &Source) -> SchemaRef {
    let fields = source.columns.iter().map(|column| Field::new(&column.name, column.value_type.arrow(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// A batch of decoded events.
#[derive(Clone, Debug)]
pub struct Columns {
    schema: SchemaRef,
    times: Vec<i64>,
    arrays: Vec<ArrayRef>,
}

impl Columns {
    /// Columns of one length, of the types of `schema`.
    pub(super) fn new(schema: SchemaRef, times: Vec<i64>, arrays: Vec<ArrayRef>) -> Self {
        Self { schema, times, arrays }
    }

    /// How many events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// The event times, in milliseconds since the epoch.
    #[must_use]
    pub fn times(&self) -> &[i64] {
        &self.times
    }

    /// The column at `index` of the plan's [`Source::columns`].
    ///
    /// # Panics
    /// If the plan has no such column.
    #[must_use]
    pub fn column(&self, index: usize) -> &ArrayRef {
        &self.arrays[index]
    }

    /// The columns, in the order of the plan's [`Source::columns`].
    #[must_use]
    pub fn columns(&self) -> &[ArrayRef] {
        &self.arrays
    }

    /// What [`schema`] gives for the plan's source.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The columns as DataFusion takes them.
    ///
    /// # Errors
    /// Only if the columns were not of one length, which the decoder rules out.
    pub fn record_batch(&self) -> Result<RecordBatch, ArrowError> {
        let options = RecordBatchOptions::new().with_row_count(Some(self.len()));
        RecordBatch::try_new_with_options(self.schema.clone(), self.arrays.clone(), &options)
    }
}

/// A batch that grows.
#[derive(Debug)]
pub(super) struct Growing {
    schema: SchemaRef,
    times: Vec<i64>,
    builders: Vec<(ValueType, Builder)>,
}

impl Growing {
    pub(super) fn new(source: &Source) -> Self {
        let types = source.columns.iter().map(|column| column.value_type.clone());
        let builders = types.map(|value_type| (value_type.clone(), Builder::new(&value_type, 0, 0))).collect();
        Self { schema: schema(source), times: Vec::new(), builders }
    }

    pub(super) fn len(&self) -> usize {
        self.times.len()
    }

    /// Appends a record that was read from `text`.
    #[inline]
    pub(super) fn append(&mut self, time: i64, record: &Record, text: &str) {
        self.times.push(time);
        for ((_, builder), cell) in self.builders.iter_mut().zip(&record.cells) {
            builder.append(*cell, text, &record.scratch);
        }
    }

    /// Takes what has grown, and makes room for as much again.
    pub(super) fn take(&mut self) -> Columns {
        let rows = self.times.len();
        let times = std::mem::replace(&mut self.times, Vec::with_capacity(rows));
        let arrays = self.builders.iter_mut().map(|(value_type, builder)| builder.finish(value_type, rows)).collect();
        Columns { schema: self.schema.clone(), times, arrays }
    }
}

/// A column that grows.
#[derive(Debug)]
enum Builder {
    Boolean(BooleanBuilder),
    Int64(Int64Builder),
    Double(Float64Builder),
    Decimal(Decimal128Builder),
    Text(StringBuilder),
    Timestamp(TimestampMillisecondBuilder),
    /// A list, of which no event has a value; the number of rows.
    Nulls(DataType, usize),
}

impl Builder {
    fn new(value_type: &ValueType, rows: usize, text: usize) -> Self {
        let data_type = value_type.arrow();
        match value_type {
            ValueType::Boolean => Self::Boolean(BooleanBuilder::with_capacity(rows)),
            ValueType::Int64 => Self::Int64(Int64Builder::with_capacity(rows)),
            ValueType::Double => Self::Double(Float64Builder::with_capacity(rows)),
            ValueType::Decimal { .. } => {
                Self::Decimal(Decimal128Builder::with_capacity(rows).with_data_type(data_type))
            }
            ValueType::String => Self::Text(StringBuilder::with_capacity(rows, text)),
            ValueType::Timestamp => {
                Self::Timestamp(TimestampMillisecondBuilder::with_capacity(rows).with_data_type(data_type))
            }
            ValueType::List(_) => Self::Nulls(data_type, 0),
        }
    }

    #[inline]
    fn append(&mut self, cell: Cell, text: &str, scratch: &str) {
        match (self, cell) {
            (Self::Boolean(builder), Cell::Boolean(value)) => builder.append_value(value),
            (Self::Int64(builder), Cell::Int64(value)) => builder.append_value(value),
            (Self::Double(builder), Cell::Double(value)) => builder.append_value(value),
            (Self::Decimal(builder), Cell::Decimal(value)) => builder.append_value(value),
            (Self::Timestamp(builder), Cell::Int64(value)) => builder.append_value(value),
            (Self::Text(builder), Cell::Text(start, end)) => builder.append_option(text.get(start..end)),
            (Self::Text(builder), Cell::Unescaped(start, end)) => builder.append_option(scratch.get(start..end)),
            // A cell is always of its column's type, so that what is left is NULL.
            (Self::Boolean(builder), _) => builder.append_null(),
            (Self::Int64(builder), _) => builder.append_null(),
            (Self::Double(builder), _) => builder.append_null(),
            (Self::Decimal(builder), _) => builder.append_null(),
            (Self::Text(builder), _) => builder.append_null(),
            (Self::Timestamp(builder), _) => builder.append_null(),
            (Self::Nulls(_, rows), _) => *rows += 1,
        }
    }

    /// The array, and a builder with room for as much again in its place.
    fn finish(&mut self, value_type: &ValueType, rows: usize) -> ArrayRef {
        let text = if let Self::Text(builder) = self { builder.values_slice().len() } else { 0 };
        match std::mem::replace(self, Self::new(value_type, rows, text)) {
            Self::Boolean(mut builder) => Arc::new(builder.finish()),
            Self::Int64(mut builder) => Arc::new(builder.finish()),
            Self::Double(mut builder) => Arc::new(builder.finish()),
            Self::Decimal(mut builder) => Arc::new(builder.finish()),
            Self::Text(mut builder) => Arc::new(builder.finish()),
            Self::Timestamp(mut builder) => Arc::new(builder.finish()),
            Self::Nulls(data_type, rows) => new_null_array(&data_type, rows),
        }
    }
}

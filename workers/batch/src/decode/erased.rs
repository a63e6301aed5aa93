//! Rows of a table that a tombstone covers, left out before they are imported: whatever version is read, and whatever it
//! holds again since.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Int32Type, Int64Type, Schema, TimestampMillisecondType};
use datafusion::common::Result;
use engine::erase::{Origin, Tombstones};
use engine::event::{ImportError, Importer};
use engine::plan::Plan;

/// Which rows are left.
#[derive(Debug)]
pub(super) struct Left {
    tombstones: Arc<Tombstones>,
    /// Of the keys and the time.
    importer: Importer,
    keys: Vec<usize>,
    /// Where partition and offset are; a table without them is not made of a topic.
    coordinates: Option<(usize, usize)>,
}

impl Left {
    /// For batches of `found`, whose `keys` are as `source` has them, and which name the record they were made of in
    /// `coordinates`.
    ///
    /// # Errors
    /// [`ImportError`] naming the column that is not there, or does not fit.
    pub(super) fn new(
        source: &Plan,
        found: &Schema,
        keys: &[usize],
        coordinates: Option<[&str; 2]>,
        tombstones: Arc<Tombstones>,
    ) -> Result<Self, ImportError> {
        let importer = Importer::new(source, found, keys)?;
        let coordinates = coordinates.map(|[partition, offset]| Ok((place(found, partition)?, place(found, offset)?)));
        Ok(Self { tombstones, importer, keys: keys.to_vec(), coordinates: coordinates.transpose()? })
    }

    pub(super) fn left(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let (times, columns) = self.importer.convert(batch)?;
        let keys: Vec<ArrayRef> = self.keys.iter().map(|key| columns[*key].clone()).collect();
        let left = if let Some(places) = self.coordinates {
            let coordinates = Coordinates::of(batch, places)?;
            self.tombstones.left(&keys, |row| coordinates.origin(row))
        } else {
            let times = times.as_primitive::<TimestampMillisecondType>();
            self.tombstones.left(&keys, |row| Origin::Row { time: times.value(row) })
        };
        Ok(filter_record_batch(batch, &left)?)
    }
}

/// Where a column is.
pub(super) fn place(found: &Schema, name: &str) -> Result<usize, ImportError> {
    found.index_of(name).map_err(|_| ImportError::Missing {
        column: name.to_owned(),
        found: found.fields().iter().map(|field| field.name().clone()).collect(),
    })
}

/// The records that the rows of a batch are, or were made of.
pub(super) struct Coordinates {
    partitions: ArrayRef,
    offsets: ArrayRef,
}

impl Coordinates {
    pub(super) fn of(batch: &RecordBatch, (partition, offset): (usize, usize)) -> Result<Self> {
        let partitions = cast(batch.column(partition), &DataType::Int32)?;
        let offsets = cast(batch.column(offset), &DataType::Int64)?;
        Ok(Self { partitions, offsets })
    }

    pub(super) fn origin(&self, row: usize) -> Origin {
        let partition = self.partitions.as_primitive::<Int32Type>().value(row);
        Origin::Record { partition, offset: self.offsets.as_primitive::<Int64Type>().value(row) }
    }
}

/// Which decoded events are left, where `rows` are the rows of the batch that they were decoded from.
pub(super) fn decoded_left(
    tombstones: &Tombstones,
    keys: &[ArrayRef],
    coordinates: &Coordinates,
    rows: &[usize],
) -> BooleanArray {
    tombstones.left(keys, |event| coordinates.origin(rows[event]))
}

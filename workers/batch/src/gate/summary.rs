//! What the gate must know of a generation: how many entities, how often each feature is NULL, and a sample of its values.
//!
//! The sample holds the entities whose keys have the smallest hashes: no order of rows changes it, any parts of a
//! generation merge to the sample of the whole, and two generations are compared over much the same entities.

use std::collections::BinaryHeap;

use arrow::array::{Array as _, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type};
use twox_hash::XxHash3_64;

/// How many entities the sample holds: enough that the index of two equal distributions stays below 0.002.
pub const SAMPLE: usize = 20_000;

/// A generation, or a part of one.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// How many entities.
    pub rows: u64,
    /// By feature, how many of them have NULL.
    pub nulls: Vec<u64>,
    /// The sampled entities, largest hash first out.
    sample: BinaryHeap<Sampled>,
}

/// One entity's numbers: by feature, `None` if it is NULL or no number.
#[derive(Clone, Debug, PartialEq)]
struct Sampled {
    hash: u64,
    values: Box<[Option<f64>]>,
}

impl Eq for Sampled {}

impl PartialOrd for Sampled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Sampled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.hash.cmp(&other.hash)
    }
}

impl Summary {
    /// Of nothing yet, for `features` features.
    #[must_use]
    pub fn new(features: usize) -> Self {
        Self { rows: 0, nulls: vec![0; features], sample: BinaryHeap::new() }
    }

    /// Takes entities in: their texts, and their features' columns.
    pub fn observe(&mut self, entities: &[String], features: &RecordBatch) {
        self.rows += entities.len() as u64;
        for (nulls, column) in self.nulls.iter_mut().zip(features.columns()) {
            *nulls += column.null_count() as u64;
        }
        for (row, entity) in entities.iter().enumerate() {
            let hash = XxHash3_64::oneshot(entity.as_bytes());
            if self.sample.len() >= SAMPLE && self.sample.peek().is_some_and(|largest| hash >= largest.hash) {
                continue;
            }
            let values = features.columns().iter().map(|column| number(column, row)).collect();
            self.push(Sampled { hash, values });
        }
    }

    /// Takes another part of the same generation in.
    pub fn merge(&mut self, other: Self) {
        self.rows += other.rows;
        self.nulls.resize(self.nulls.len().max(other.nulls.len()), 0);
        for (nulls, more) in self.nulls.iter_mut().zip(other.nulls) {
            *nulls += more;
        }
        for sampled in other.sample {
            self.push(sampled);
        }
    }

    /// The sampled numbers of a feature, without NULLs.
    pub fn values(&self, feature: usize) -> impl Iterator<Item = f64> {
        self.sample.iter().filter_map(move |sampled| sampled.values.get(feature).copied().flatten())
    }

    /// The share of entities for which a feature is NULL; 0 without entities.
    #[must_use]
    pub fn null_share(&self, feature: usize) -> f64 {
        let nulls = self.nulls.get(feature).copied().unwrap_or_default();
        if self.rows == 0 { 0.0 } else { as_f64(nulls) / as_f64(self.rows) }
    }

    /// How many entities have a value of a feature.
    #[must_use]
    pub fn count(&self, feature: usize) -> u64 {
        self.rows.saturating_sub(self.nulls.get(feature).copied().unwrap_or_default())
    }

    fn push(&mut self, sampled: Sampled) {
        self.sample.push(sampled);
        if self.sample.len() > SAMPLE {
            self.sample.pop();
        }
    }
}

/// A count as a double: exact below 2^53.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(super) fn as_f64(count: u64) -> f64 {
    count as f64
}

/// The number in a column's row. Times and texts are none.
fn number(column: &ArrayRef, row: usize) -> Option<f64> {
    if column.is_null(row) {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "a share of values per bin does not need the last bits")]
    match column.data_type() {
        DataType::Int64 => Some(column.as_primitive::<Int64Type>().value(row) as f64),
        DataType::Float64 => Some(column.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(_, scale) => {
            Some(column.as_primitive::<Decimal128Type>().value(row) as f64 / 10_f64.powi(i32::from(*scale)))
        }
        _ => None,
    }
}

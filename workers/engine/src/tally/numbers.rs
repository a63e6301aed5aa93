//! The inputs of a slot's events, as doubles or as whole numbers.
//!
//! Invariant: doubles are finite and have one zero; whole numbers, and the unscaled ones of decimals, fit 64 bits.

use std::ops::Range;

use arrow::array::Array as _;

use crate::aggregate::ValueRef;
use crate::program::InputColumn;
use crate::value::ValueType;

/// One input each.
#[derive(Debug)]
pub(super) enum Numbers {
    Doubles(Vec<f64>),
    Integers(Vec<i64>),
}

impl Default for Numbers {
    fn default() -> Self {
        Self::Integers(Vec::new())
    }
}

impl Numbers {
    /// Whether a column has a row that [`Self::has`] denies.
    pub fn has_nulls(column: &InputColumn) -> bool {
        match column {
            InputColumn::Int64(column) => column.null_count() > 0,
            InputColumn::Decimal(column) => column.null_count() > 0,
            InputColumn::Double(column) => column.null_count() > 0,
            _ => true,
        }
    }

    /// Whether a row has a number.
    pub fn has(column: &InputColumn, row: usize) -> bool {
        match column {
            InputColumn::Int64(column) => column.is_valid(row),
            InputColumn::Decimal(column) => column.is_valid(row),
            InputColumn::Double(column) => column.is_valid(row) && column.value(row).is_finite(),
            _ => false,
        }
    }

    /// None any more; those of `column` are to come.
    pub fn restart(&mut self, column: &InputColumn) {
        match (&mut *self, column) {
            (Self::Doubles(numbers), InputColumn::Double(_)) => numbers.clear(),
            (Self::Integers(numbers), InputColumn::Int64(_) | InputColumn::Decimal(_)) => numbers.clear(),
            (_, InputColumn::Double(_)) => *self = Self::Doubles(Vec::new()),
            _ => *self = Self::Integers(Vec::new()),
        }
    }

    /// Those of a slice of a column without NULLs, in place of all; `false` if one does not fit.
    pub fn extend(&mut self, column: &InputColumn, rows: Range<usize>) -> bool {
        self.restart(column);
        match (self, column) {
            (Self::Doubles(numbers), InputColumn::Double(column)) => {
                // Adding zero turns −0.0 into 0.0 and leaves every other number alone.
                numbers.extend(column.values()[rows].iter().map(|x| x + 0.0));
                numbers.iter().all(|x| x.is_finite())
            }
            (Self::Integers(numbers), InputColumn::Int64(column)) => {
                numbers.extend_from_slice(&column.values()[rows]);
                true
            }
            (numbers, column) => rows.into_iter().all(|row| numbers.push(column, row)),
        }
    }

    /// Takes in that of a row that [has](Self::has) one; `false` if it does not fit.
    pub fn push(&mut self, column: &InputColumn, row: usize) -> bool {
        match (self, column) {
            (Self::Doubles(numbers), InputColumn::Double(column)) => numbers.push(column.value(row) + 0.0),
            (Self::Integers(numbers), InputColumn::Int64(column)) => numbers.push(column.value(row)),
            (Self::Integers(numbers), InputColumn::Decimal(column)) => {
                let Ok(number) = column.value(row).try_into() else { return false };
                numbers.push(number);
            }
            _ => return false,
        }
        true
    }

    /// The `at`-th, of an input of this type.
    pub fn value(&self, at: usize, of: Option<&ValueType>) -> ValueRef<'static> {
        match (self, of) {
            (Self::Doubles(numbers), _) => ValueRef::Double(numbers[at]),
            (Self::Integers(numbers), Some(ValueType::Decimal { .. })) => ValueRef::Decimal(numbers[at].into()),
            (Self::Integers(numbers), _) => ValueRef::Int64(numbers[at]),
        }
    }
}

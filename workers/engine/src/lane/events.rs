//! What a lane asks of a batch of events.

use arrow::array::Array;

use crate::aggregate::ValueRef;
use crate::program::{Evaluated, InputColumn};

/// A batch of events with the plan's conditions and inputs evaluated.
pub trait Events {
    /// The event time of `row`, in milliseconds.
    fn time(&self, row: usize) -> i64;
    /// Whether `row` meets the plan's condition `condition`; NULL does not.
    fn condition(&self, condition: usize, row: usize) -> bool;
    /// The value of the plan's input `input` in `row`; `None` is NULL.
    fn value(&self, input: usize, row: usize) -> Option<ValueRef<'_>>;
}

impl Events for Evaluated {
    #[inline]
    fn time(&self, row: usize) -> i64 {
        Self::time(self, row)
    }

    #[inline]
    fn condition(&self, condition: usize, row: usize) -> bool {
        Self::condition(self, condition, row)
    }

    #[inline]
    fn value(&self, input: usize, row: usize) -> Option<ValueRef<'_>> {
        macro_rules! at {
            ($column:expr, $variant:ident) => {
                $column.is_valid(row).then(|| ValueRef::$variant($column.value(row)))
            };
        }
        match self.input(input) {
            InputColumn::Boolean(column) => at!(column, Boolean),
            InputColumn::Int64(column) => at!(column, Int64),
            InputColumn::Double(column) => at!(column, Double),
            InputColumn::Decimal(column) => at!(column, Decimal),
            InputColumn::String(column) => at!(column, String),
            InputColumn::Timestamp(column) => at!(column, Timestamp),
        }
    }
}

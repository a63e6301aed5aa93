//! What a lane asks of a batch of events.

use crate::aggregate::ValueRef;

/// A batch of events with the plan's conditions and inputs evaluated.
pub trait Events {
    /// The event time of `row`, in milliseconds.
    fn time(&self, row: usize) -> i64;
    /// Whether `row` meets the plan's condition `condition`; NULL does not.
    fn condition(&self, condition: usize, row: usize) -> bool;
    /// The value of the plan's input `input` in `row`; `None` is NULL.
    fn value(&self, input: usize, row: usize) -> Option<ValueRef<'_>>;
}

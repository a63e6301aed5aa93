//! Evaluating a compiled expression over a batch, so that one bad row costs that row alone.
//!
//! Arrow's kernels fail a whole batch when one row fails (a cast of `'abc'` to a number, a remainder by zero). Halving
//! the batch until the row stands alone keeps the common case at one kernel call and makes the outcome of a row
//! independent of its neighbours.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, new_null_array};
use arrow::compute::concat;
use arrow::datatypes::Float64Type;
use arrow::record_batch::RecordBatch;

use super::Compiled;

/// A row on which an expression failed; its value is NULL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The row of the batch.
    pub row: usize,
    /// The expression and what it ran into.
    pub message: String,
}

impl Compiled {
    /// The expression's value for every row. Rows on which it fails are NULL and named in `failures`.
    #[must_use]
    pub fn evaluate(&self, batch: &RecordBatch, failures: &mut Vec<Failure>) -> ArrayRef {
        finite(self.halve(batch, 0, failures))
    }

    fn halve(&self, batch: &RecordBatch, first: usize, failures: &mut Vec<Failure>) -> ArrayRef {
        let rows = batch.num_rows();
        let error = match self.physical.evaluate(batch).and_then(|v| v.into_array(rows)) {
            Ok(array) => return array,
            Err(error) => error,
        };
        if rows <= 1 {
            let message = format!("{:?}: {}", self.sql, super::plain(&error));
            failures.extend((0..rows).map(|row| Failure { row: first + row, message: message.clone() }));
            return new_null_array(&self.value_type.arrow(), rows);
        }
        let half = rows / 2;
        let left = self.halve(&batch.slice(0, half), first, failures);
        let right = self.halve(&batch.slice(half, rows - half), first + half, failures);
        // Both halves have the type of the expression, so that joining them cannot fail.
        concat(&[left.as_ref(), right.as_ref()]).unwrap_or_else(|_| new_null_array(&self.value_type.arrow(), rows))
    }
}

/// The array with every NaN and infinity as NULL.
fn finite(array: ArrayRef) -> ArrayRef {
    let Some(doubles) = array.as_primitive_opt::<Float64Type>() else { return array };
    if doubles.iter().flatten().all(f64::is_finite) {
        return array;
    }
    Arc::new(doubles.iter().map(|v| v.filter(|x| x.is_finite())).collect::<Float64Array>())
}

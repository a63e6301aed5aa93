//! Events of many batches brought together: those of one entity, who came now and then, side by side.

use arrow::array::{Array, ArrayAccessor, ArrowPrimitiveType, BooleanArray, PrimitiveArray};
use arrow::buffer::BooleanBuffer;

use super::evaluated::{Evaluated, InputColumn};

impl Evaluated {
    /// The same events for who knows their entities: [`Self::entity`] is then empty, and so are the failures.
    #[must_use]
    pub fn without_entities(self) -> Self {
        Self { entities: String::new(), ends: Vec::new(), failures: Vec::new(), ..self }
    }

    /// Bytes in memory, roughly.
    #[must_use]
    pub fn memory(&self) -> usize {
        let conditions = self.conditions.iter().map(Array::get_array_memory_size);
        let inputs = self.inputs.iter().map(|input| input.array().get_array_memory_size());
        let entities = self.entities.capacity() + self.ends.capacity() * size_of::<usize>();
        let times = self.times.capacity() * size_of::<i64>();
        size_of::<Self>() + times + entities + conditions.chain(inputs).sum::<usize>()
    }

    /// The events at `rows`, in that order, each named by its batch and its row there; without entities. All batches are
    /// of one program. A column is read at once, so that one row's way from memory is not waited for before the next's.
    #[must_use]
    pub fn gather(batches: &[Self], rows: &[(u32, u32)]) -> Self {
        let times: Vec<&[i64]> = batches.iter().map(Self::times).collect();
        let times = rows.iter().map(|(batch, row)| times[*batch as usize][*row as usize]).collect();
        let (conditions, inputs) = batches.first().map_or((0, 0), |first| (first.conditions.len(), first.inputs.len()));
        let condition = |c: usize| {
            let columns: Vec<&BooleanArray> = batches.iter().map(|batch| &batch.conditions[c]).collect();
            let met = |at: usize| {
                let (batch, row) = rows[at];
                columns[batch as usize].value(row as usize)
            };
            BooleanArray::new(BooleanBuffer::collect_bool(rows.len(), met), None)
        };
        let input = |k: usize| {
            macro_rules! column {
                ($variant:ident, $gather:ident) => {{
                    // All of them: the type of an input is the program's.
                    let columns = batches.iter().filter_map(|batch| match &batch.inputs[k] {
                        InputColumn::$variant(column) => Some(column),
                        _ => None,
                    });
                    InputColumn::$variant($gather(&columns.collect::<Vec<_>>(), rows))
                }};
            }
            match &batches[0].inputs[k] {
                InputColumn::Boolean(_) => column!(Boolean, values),
                InputColumn::Int64(_) => column!(Int64, numbers),
                InputColumn::Double(_) => column!(Double, numbers),
                InputColumn::Decimal(_) => column!(Decimal, numbers),
                InputColumn::String(_) => column!(String, values),
                InputColumn::Timestamp(_) => column!(Timestamp, numbers),
            }
        };
        let (conditions, inputs) = ((0..conditions).map(condition).collect(), (0..inputs).map(input).collect());
        Self { times, entities: String::new(), ends: Vec::new(), conditions, inputs, failures: Vec::new() }
    }
}

/// The values at `rows` of columns that hold numbers. Most have no NULLs.
fn numbers<T: ArrowPrimitiveType>(columns: &[&PrimitiveArray<T>], rows: &[(u32, u32)]) -> PrimitiveArray<T> {
    if columns.iter().any(|column| column.null_count() > 0) {
        return values(columns, rows);
    }
    let columns: Vec<&[T::Native]> = columns.iter().map(|column| column.values().as_ref()).collect();
    PrimitiveArray::from_iter_values(rows.iter().map(|(batch, row)| columns[*batch as usize][*row as usize]))
}

/// The values at `rows` of any columns.
fn values<C: ArrayAccessor, A: FromIterator<Option<C::Item>>>(columns: &[C], rows: &[(u32, u32)]) -> A {
    let value = |(batch, row): &(u32, u32)| {
        let (column, row) = (&columns[*batch as usize], *row as usize);
        column.is_valid(row).then(|| column.value(row))
    };
    rows.iter().map(value).collect()
}

impl InputColumn {
    fn array(&self) -> &dyn Array {
        match self {
            Self::Boolean(column) => column,
            Self::Int64(column) => column,
            Self::Double(column) => column,
            Self::Decimal(column) => column,
            Self::String(column) => column,
            Self::Timestamp(column) => column,
        }
    }
}

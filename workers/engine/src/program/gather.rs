//! Events of many batches brought together: those of one entity, who came now and then, side by side.

use arrow::array::{Array, BooleanArray};
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
        let place = |(batch, row): &(u32, u32)| (&batches[*batch as usize], *row as usize);
        let times = rows.iter().map(place).map(|(batch, row)| batch.times[row]).collect();
        let (conditions, inputs) = batches.first().map_or((0, 0), |first| (first.conditions.len(), first.inputs.len()));
        let condition = |c: usize| {
            let met = |at: usize| {
                let (batch, row) = place(&rows[at]);
                batch.conditions[c].value(row)
            };
            BooleanArray::new(BooleanBuffer::collect_bool(rows.len(), met), None)
        };
        let input = |k: usize| {
            macro_rules! column {
                ($variant:ident) => {
                    InputColumn::$variant(
                        (rows.iter().map(place))
                            .map(|(batch, row)| match &batch.inputs[k] {
                                InputColumn::$variant(column) if column.is_valid(row) => Some(column.value(row)),
                                _ => None,
                            })
                            .collect(),
                    )
                };
            }
            match &batches[0].inputs[k] {
                InputColumn::Boolean(_) => column!(Boolean),
                InputColumn::Int64(_) => column!(Int64),
                InputColumn::Double(_) => column!(Double),
                InputColumn::Decimal(_) => column!(Decimal),
                InputColumn::String(_) => column!(String),
                InputColumn::Timestamp(_) => column!(Timestamp),
            }
        };
        let (conditions, inputs) = ((0..conditions).map(condition).collect(), (0..inputs).map(input).collect());
        Self { times, entities: String::new(), ends: Vec::new(), conditions, inputs, failures: Vec::new() }
    }
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

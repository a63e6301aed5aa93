//! Events out of tables: Arrow columns of any fitting type become the plan's columns, without a detour through text.
//!
//! The rules are those of the JSON decoder. A value that is not of its column's declared type, or not in its range, costs
//! its row, with the same [`Reason`]; so does NULL in an entity key or in the event time. A table whose column could never
//! hold the declared type is refused whole, before its first row. Doubles that are not finite are NULL, as JSON has none.

mod convert;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, new_null_array};
use arrow::compute::filter;
use arrow::datatypes::{DataType, Schema, SchemaRef, TimestampMillisecondType};
use arrow::error::ArrowError;
use thiserror::Error;

use super::columns::{Columns, schema};
use super::reject::Reason;
use crate::plan::Plan;
use crate::time::TIME_LIMIT;
use crate::value::ValueType;
use convert::Conversion;

/// Why a table cannot be read as the plan's source.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ImportError {
    /// A column that the plan reads is not there.
    #[error("the table has no column {column:?}; it has {found:?}")]
    Missing {
        /// The column.
        column: String,
        /// Those of the table.
        found: Vec<String>,
    },
    /// A column can hold no value of its declared type.
    #[error("column {column:?} is declared {declared}, but the table holds {found}; declare the type it has")]
    Type {
        /// The column.
        column: String,
        /// What the plan asks for.
        declared: String,
        /// What the table has.
        found: String,
    },
}

/// Which event times are taken, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    /// Events before it are left out, uncounted.
    pub from: i64,
    /// Events at or after it are left out, and counted in [`Imported::beyond`].
    pub until: i64,
    /// Events after it are [`Reason::TooFarInFuture`].
    pub latest: i64,
}

impl Admission {
    /// Takes every time.
    pub const ALL: Self = Self { from: i64::MIN, until: i64::MAX, latest: i64::MAX };
}

/// What a batch came to.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The events taken, in their order.
    pub columns: Columns,
    /// How many rows were refused, by reason.
    pub rejected: BTreeMap<Reason, u64>,
    /// How many good events lie at or after [`Admission::until`].
    pub beyond: u64,
    /// The newest time of a row that was not refused, within [`Admission::latest`] but whether or not it was taken.
    pub newest: Option<i64>,
}

/// Takes batches of one table's schema in.
#[derive(Debug)]
pub struct Importer {
    schema: SchemaRef,
    /// By column of the plan; `None` for those that are not read, which become NULL.
    columns: Vec<Option<Taken>>,
    time: (usize, Conversion),
}

#[derive(Debug)]
struct Taken {
    at: usize,
    conversion: Conversion,
    key: bool,
}

impl Importer {
    /// For batches of `found`, of which the plan's columns `needed` are read, and the event time.
    ///
    /// # Errors
    /// [`ImportError`] naming the column.
    pub fn new(plan: &Plan, found: &Schema, needed: &[usize]) -> Result<Self, ImportError> {
        let place = |name: &str| {
            found.index_of(name).map_err(|_| ImportError::Missing {
                column: name.to_owned(),
                found: found.fields().iter().map(|field| field.name().clone()).collect(),
            })
        };
        let wrong = |name: &str, declared: String, found: &DataType| ImportError::Type {
            column: name.to_owned(),
            declared,
            found: found.to_string(),
        };
        let source = &plan.source;
        let columns = (source.columns.iter().enumerate())
            .map(|(i, column)| {
                if !needed.contains(&i) {
                    return Ok(None);
                }
                let at = place(&column.name)?;
                let data_type = found.field(at).data_type();
                // As in the decoder, a column of type Timestamp that is the event time means the same instant.
                let conversion = if column.name == source.timestamp.field && column.value_type == ValueType::Timestamp {
                    Conversion::time(data_type, source.timestamp.unit)
                } else {
                    Conversion::value(data_type, &column.value_type)
                };
                let declared = || format!("{:?}", column.value_type);
                let conversion = conversion.ok_or_else(|| wrong(&column.name, declared(), data_type))?;
                Ok(Some(Taken { at, conversion, key: plan.entity.contains(&column.name) }))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let at = place(&source.timestamp.field)?;
        let data_type = found.field(at).data_type();
        let declared = format!("as the event time in {:?}", source.timestamp.unit);
        let time = Conversion::time(data_type, source.timestamp.unit)
            .ok_or_else(|| wrong(&source.timestamp.field, declared, data_type))?;
        Ok(Self { schema: schema(source), columns, time: (at, time) })
    }

    /// The event times and the plan's columns of a batch, row by row: what is NULL or does not fit is NULL. For rows that
    /// must all be kept, such as questions about entities.
    ///
    /// # Errors
    /// Only if the batch is not of the schema that the importer was made for.
    pub fn convert(&self, batch: &RecordBatch) -> Result<(ArrayRef, Vec<ArrayRef>), ArrowError> {
        let columns = (self.columns.iter().zip(self.schema.fields()))
            .map(|(column, field)| match column {
                Some(taken) => taken.conversion.apply(batch.column(taken.at)),
                None => Ok(new_null_array(field.data_type(), batch.num_rows())),
            })
            .collect::<Result<_, _>>()?;
        Ok((self.time.1.apply(batch.column(self.time.0))?, columns))
    }

    /// Takes one batch in.
    ///
    /// # Errors
    /// Only if the batch is not of the schema that the importer was made for.
    pub fn import(&self, batch: &RecordBatch, admission: Admission) -> Result<Imported, ArrowError> {
        let rows = batch.num_rows();
        let mut faults = Faults::new(rows);
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.columns.len());
        for (column, field) in self.columns.iter().zip(self.schema.fields()) {
            let Some(taken) = column else {
                arrays.push(new_null_array(field.data_type(), rows));
                continue;
            };
            let from = batch.column(taken.at);
            let array = taken.conversion.apply(from)?;
            if taken.conversion.refuses() {
                faults.note(from, &array, taken.key);
            }
            arrays.push(array);
        }
        let from = batch.column(self.time.0);
        let times = self.time.1.apply(from)?;
        faults.note(from, &times, true);
        let times = times.as_primitive::<TimestampMillisecondType>();

        let mut imported = Imported {
            columns: Columns::new(self.schema.clone(), Vec::new(), Vec::new()),
            rejected: BTreeMap::new(),
            beyond: 0,
            newest: None,
        };
        let mut taken = Vec::with_capacity(rows);
        for (row, time) in times.values().iter().copied().enumerate() {
            let far = (time > admission.latest).then_some(Reason::TooFarInFuture);
            let no_time = (time.unsigned_abs() > TIME_LIMIT.unsigned_abs()).then_some(Reason::WrongType);
            let fault = faults.of(row).or(far).or(no_time);
            if let Some(reason) = fault {
                *imported.rejected.entry(reason).or_default() += 1;
                taken.push(false);
                continue;
            }
            imported.newest = imported.newest.max(Some(time));
            imported.beyond += u64::from(time >= admission.until);
            taken.push((admission.from..admission.until).contains(&time));
        }
        let mut times = times.values().to_vec();
        if taken.contains(&false) {
            let mask = BooleanArray::from(taken);
            let mut keep = mask.values().iter();
            times.retain(|_| keep.next().unwrap_or_default());
            for array in &mut arrays {
                *array = filter(array, &mask)?;
            }
        }
        imported.columns = Columns::new(self.schema.clone(), times, arrays);
        Ok(imported)
    }
}

/// The first fault of each row.
struct Faults {
    rows: usize,
    by_row: Vec<Option<Reason>>,
}

impl Faults {
    fn new(rows: usize) -> Self {
        Self { rows, by_row: Vec::new() }
    }

    /// Notes the rows in which `to` lost a value that `from` had, and those in which a required one is NULL.
    fn note(&mut self, from: &ArrayRef, to: &ArrayRef, required: bool) {
        let lost = to.null_count() > from.logical_null_count();
        if !(lost || required && to.null_count() > 0) {
            return;
        }
        self.by_row.resize(self.rows, None);
        let nulls = from.logical_nulls();
        for (row, fault) in self.by_row.iter_mut().enumerate().filter(|(row, _)| to.is_null(*row)) {
            let was_null = nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
            match (was_null, required) {
                (false, _) => *fault = fault.or(Some(Reason::WrongType)),
                (true, true) => *fault = fault.or(Some(Reason::NullField)),
                (true, false) => {}
            }
        }
    }

    fn of(&self, row: usize) -> Option<Reason> {
        self.by_row.get(row).copied().flatten()
    }
}

//! A plan made ready to run: its expressions compiled once, shared by every thread.
//!
//! Invariant: two programs of one plan evaluate every event and every read to the same values.

mod columns;
mod derive;
mod evaluated;
mod gather;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use thiserror::Error;

pub use columns::{array, value_at};
pub use derive::FeatureColumns;
pub use evaluated::{Evaluated, InputColumn};

use crate::expr::{self, Compiled, ExprError, Failure};
use crate::plan::{Column, FeatureSource, Plan, SEMANTICS};

/// Why a plan cannot run here.
#[derive(Debug, Error)]
pub enum ProgramError {
    /// Another engine version resolved it.
    #[error(
        "the plan has semantics {plan}, this engine {engine}; run the image the plan was made with, or let the operator roll the view out anew"
    )]
    Semantics {
        /// What the plan says.
        plan: u32,
        /// What we are.
        engine: u32,
    },
    /// One of its expressions does not compile.
    #[error("the plan's {part} does not compile: {source}")]
    Expression {
        /// Which.
        part: String,
        /// Why.
        source: ExprError,
    },
    /// It points to something it does not hold.
    #[error("the plan is not consistent: {0}")]
    Inconsistent(String),
}

/// A runnable plan. `Send + Sync`; share it in an `Arc`.
#[derive(Clone, Debug)]
pub struct Program {
    plan: Arc<Plan>,
    schema: SchemaRef,
    keys: Vec<usize>,
    conditions: Vec<Compiled>,
    inputs: Vec<Compiled>,
    /// By feature: `None` for windowed ones.
    derived: Vec<Option<Compiled>>,
    /// The derived features, each after all it reads.
    order: Vec<usize>,
    /// What derived features are compiled over: one column a feature, lists left out.
    feature_schema: SchemaRef,
}

impl Program {
    /// Compiles a plan.
    ///
    /// # Errors
    /// [`ProgramError`] if the plan was not made by this version's [`crate::resolve`].
    pub fn new(plan: Arc<Plan>) -> Result<Self, ProgramError> {
        if plan.semantics != SEMANTICS {
            return Err(ProgramError::Semantics { plan: plan.semantics, engine: SEMANTICS });
        }
        let schema = schema_of(&plan.source.columns);
        let compile = |part: String, sql: &str, schema: &Schema| {
            expr::compile(sql, schema).map_err(|source| ProgramError::Expression { part, source })
        };
        let conditions = (plan.conditions.iter().enumerate())
            .map(|(i, sql)| compile(format!("condition {i}"), sql, &schema))
            .collect::<Result<Vec<_>, _>>()?;
        let inputs = (plan.inputs.iter().enumerate())
            .map(|(i, input)| compile(format!("input {i}"), &input.sql, &schema))
            .collect::<Result<Vec<_>, _>>()?;
        let feature_schema = feature_schema(&plan);
        let derived = (plan.features.iter())
            .map(|f| match &f.source {
                FeatureSource::Window { .. } => Ok(None),
                FeatureSource::Expression { sql, .. } => {
                    compile(format!("feature {}", f.name), sql, &feature_schema).map(Some)
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        let keys = (plan.entity.iter())
            .map(|key| {
                schema.index_of(key).map_err(|_| ProgramError::Inconsistent(format!("entity key {key} is no column")))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let order = derive::order(&plan)?;
        check_indices(&plan)?;
        Ok(Self { plan, schema, keys, conditions, inputs, derived, order, feature_schema })
    }

    /// The plan it runs.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The positions of the entity's keys among the plan's columns, in the user's order.
    #[must_use]
    pub fn keys(&self) -> &[usize] {
        &self.keys
    }

    /// The schema of a batch of events: the plan's columns in order, all nullable.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The columns of [`crate::plan::Source::columns`] that keys, conditions and inputs read, ascending: the projection of
    /// a table's scan.
    #[must_use]
    pub fn columns_read(&self) -> Vec<usize> {
        let expressions = self.conditions.iter().chain(&self.inputs);
        let names = expressions.flat_map(|expression| &expression.reads);
        let mut read: Vec<usize> = names.filter_map(|name| self.schema.index_of(name).ok()).collect();
        read.extend(&self.keys);
        read.sort_unstable();
        read.dedup();
        read
    }

    /// As [`Self::evaluate`], for who has the keys as columns: [`Evaluated::entity`] is then empty.
    #[must_use]
    pub fn evaluate_without_entities(&self, batch: &RecordBatch, times: Vec<i64>) -> Evaluated {
        self.evaluate_keyed(batch, times, &[])
    }

    /// Evaluates conditions and inputs over decoded events. `batch` has [`Self::schema`] and `times[i]` is row `i`'s
    /// event time in milliseconds. Rows on which an expression failed are in [`Evaluated::failures`]: they must go to
    /// the dead-letter topic and not be inserted.
    #[must_use]
    pub fn evaluate(&self, batch: &RecordBatch, times: Vec<i64>) -> Evaluated {
        let keys: Vec<_> = self.keys.iter().map(|&k| batch.column(k)).collect();
        self.evaluate_keyed(batch, times, &keys)
    }

    fn evaluate_keyed(&self, batch: &RecordBatch, times: Vec<i64>, keys: &[&ArrayRef]) -> Evaluated {
        let mut failures: Vec<Failure> = Vec::new();
        let conditions: Vec<_> = self.conditions.iter().map(|c| c.evaluate(batch, &mut failures)).collect();
        let inputs: Vec<_> = self.inputs.iter().map(|c| c.evaluate(batch, &mut failures)).collect();
        Evaluated::new(times, keys, &conditions, &inputs, failures)
    }
}

/// Declared columns as an Arrow schema, all nullable.
pub(crate) fn schema_of(columns: &[Column]) -> SchemaRef {
    let fields: Vec<_> = columns.iter().map(|c| Field::new(&c.name, c.value_type.arrow(), true)).collect();
    Arc::new(Schema::new(fields))
}

/// The plan's features as an Arrow schema.
fn feature_schema(plan: &Plan) -> SchemaRef {
    let fields: Vec<_> = plan.features.iter().map(|f| Field::new(&f.name, f.value_type.arrow(), true)).collect();
    Arc::new(Schema::new(fields))
}

/// That every index of the plan points into it, so that nothing that runs need look again.
fn check_indices(plan: &Plan) -> Result<(), ProgramError> {
    let wrong = |what: String| Err(ProgramError::Inconsistent(what));
    for (i, aggregate) in plan.aggregates.iter().enumerate() {
        if aggregate.input.is_some_and(|k| k >= plan.inputs.len())
            || aggregate.condition.is_some_and(|c| c >= plan.conditions.len())
        {
            return wrong(format!("aggregate {i} names an input or condition that is not there"));
        }
        let rungs = &aggregate.ladder.rungs;
        let ascending = rungs
            .windows(2)
            .all(|w| w[0].tile_ms < w[1].tile_ms && w[0].keep_ms < w[1].keep_ms && w[1].tile_ms % w[0].tile_ms == 0);
        if rungs.is_empty() || !ascending || rungs.iter().any(|r| r.tile_ms <= 0 || r.keep_ms < 0) {
            return wrong(format!("aggregate {i} has a ladder that does not ascend"));
        }
    }
    for feature in &plan.features {
        if let FeatureSource::Window { aggregate, .. } = feature.source
            && aggregate >= plan.aggregates.len()
        {
            return wrong(format!("feature {} names an aggregate that is not there", feature.name));
        }
    }
    Ok(())
}

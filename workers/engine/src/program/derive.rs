//! Derived features: expressions over other features of the same view, for many entities at once.

use std::collections::BTreeSet;

use arrow::array::new_null_array;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use super::{Program, ProgramError, array, value_at};
use crate::plan::{FeatureSource, Plan};
use crate::value::Value;

/// The values of some features of a view for `rows` entities: by feature, then by entity.
#[derive(Clone, Debug, Default)]
pub struct FeatureColumns {
    /// `columns[f]` is `None` where feature `f` was not asked for.
    pub columns: Vec<Option<Vec<Option<Value>>>>,
}

impl Program {
    /// The windowed features that must be read to answer `asked`, ascending.
    #[must_use]
    pub fn base_features(&self, asked: &[usize]) -> Vec<usize> {
        let mut needed = BTreeSet::new();
        let mut open = asked.to_vec();
        while let Some(f) = open.pop() {
            if needed.insert(f)
                && let FeatureSource::Expression { reads, .. } = &self.plan.features[f].source
            {
                open.extend(reads);
            }
        }
        needed.into_iter().filter(|&f| self.derived[f].is_none()).collect()
    }

    /// Fills in every derived feature among `asked`, and those it needs, from the windowed ones already in `features`.
    ///
    /// `rows` is the number of entities. An expression that fails for an entity, as a remainder by zero does, is NULL
    /// for that entity alone.
    ///
    /// # Errors
    /// [`ProgramError::Inconsistent`] if `features` lacks a windowed feature of [`Self::base_features`].
    pub fn derive(&self, asked: &[usize], rows: usize, features: &mut FeatureColumns) -> Result<(), ProgramError> {
        let mut needed = BTreeSet::new();
        let mut open = asked.to_vec();
        while let Some(f) = open.pop() {
            if let FeatureSource::Expression { reads, .. } = &self.plan.features[f].source
                && needed.insert(f)
            {
                open.extend(reads);
            }
        }
        if needed.is_empty() {
            return Ok(());
        }
        features.columns.resize(self.plan.features.len(), None);
        let inconsistent = |e: arrow::error::ArrowError| ProgramError::Inconsistent(e.to_string());
        let mut columns: Vec<_> = (self.plan.features.iter().zip(&features.columns))
            .map(|(f, values)| match values {
                Some(values) => array(&f.value_type, values),
                None => new_null_array(&f.value_type.arrow(), rows),
            })
            .collect();
        for &f in self.order.iter().filter(|f| needed.contains(f)) {
            let Some(expression) = &self.derived[f] else { continue };
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            let batch = RecordBatch::try_new_with_options(self.feature_schema.clone(), columns.clone(), &options)
                .map_err(inconsistent)?;
            let values = expression.evaluate(&batch, &mut Vec::new());
            features.columns[f] = Some((0..rows).map(|row| value_at(&values, row)).collect());
            columns[f] = values;
        }
        Ok(())
    }
}

/// The derived features, each after all it reads.
pub(super) fn order(plan: &Plan) -> Result<Vec<usize>, ProgramError> {
    let mut order = Vec::new();
    let mut placed: Vec<bool> =
        plan.features.iter().map(|f| matches!(f.source, FeatureSource::Window { .. })).collect();
    loop {
        let ready = |f: usize, placed: &[bool]| match &plan.features[f].source {
            FeatureSource::Expression { reads, .. } => {
                !placed[f] && reads.iter().all(|&r| placed.get(r).copied().unwrap_or(false))
            }
            FeatureSource::Window { .. } => false,
        };
        let Some(next) = (0..plan.features.len()).find(|&f| ready(f, &placed)) else { break };
        placed[next] = true;
        order.push(next);
    }
    match placed.iter().position(|p| !p) {
        None => Ok(order),
        Some(f) => Err(ProgramError::Inconsistent(format!("feature {} reads itself", plan.features[f].name))),
    }
}

//! Which features mean the same in two plans, and which values are equal.

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::plan::{FeatureSource, Plan};
use crate::value::Value;

/// How far two doubles of the same events may be apart, relative to the larger.
const DOUBLE_TOLERANCE: f64 = 1e-12;

/// What a feature of the candidate is to the live revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// It is defined alike in both.
    Unchanged,
    /// Its definition differs, which was not announced.
    Changed,
    /// It was announced to change.
    Expected,
    /// The live revision does not have it.
    Added,
    /// The candidate does not have it.
    Removed,
}

impl Kind {
    /// What the feature of that name is.
    #[must_use]
    pub fn of(name: &str, former: &Plan, candidate: &Plan, expected: &[String]) -> Self {
        match (former.feature(name), candidate.feature(name)) {
            (None, _) => Self::Added,
            (_, None) => Self::Removed,
            _ if expected.iter().any(|e| e == name) => Self::Expected,
            (Some(a), Some(b)) if definition(former, a) == definition(candidate, b) => Self::Unchanged,
            _ => Self::Changed,
        }
    }
}

/// What a feature says of itself, without positions that another feature could shift, and without how its tiles are kept.
fn definition(plan: &Plan, feature: usize) -> Json {
    let feature = &plan.features[feature];
    match &feature.source {
        FeatureSource::Window { aggregate, window } => {
            let aggregate = &plan.aggregates[*aggregate];
            let input = aggregate.input.map(|i| &plan.inputs[i]);
            let condition = aggregate.condition.map(|c| &plan.conditions[c]);
            json!({"type": feature.value_type, "window": window, "function": aggregate.function, "input": input, "condition": condition})
        }
        FeatureSource::Expression { sql, reads } => {
            let reads: Vec<Json> =
                reads.iter().map(|&read| json!([plan.features[read].name, definition(plan, read)])).collect();
            json!({"type": feature.value_type, "sql": sql, "reads": reads})
        }
    }
}

/// Whether two values are one: exactly, but for the last bits of doubles, whose order of addition may differ.
#[must_use]
pub fn equal(a: Option<&Value>, b: Option<&Value>) -> bool {
    match (a, b) {
        (Some(Value::Double(a)), Some(Value::Double(b))) => (a - b).abs() <= DOUBLE_TOLERANCE * a.abs().max(b.abs()),
        (Some(Value::List(a)), Some(Value::List(b))) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(Some(a), Some(b)))
        }
        (a, b) => a == b,
    }
}

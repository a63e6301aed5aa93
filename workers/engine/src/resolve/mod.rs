//! Definition → plan. The only translator: an invalid view is refused by the very engine that would run it.
//!
//! Invariants: pure; all that is wrong is reported at once, each with the field of the custom resource; two definitions
//! that mean the same in the same words give the same plan and so the same revision.

mod duration;
mod expressions;
mod features;
mod revision;
mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;

use crate::definition::{ColumnDefinition, ViewDefinition};
use crate::plan::{Column, Mode, Plan, SEMANTICS, TimePolicy, ViewIdentity};
use crate::value::ValueType;

pub use duration::parse as parse_duration;

/// The finest tile of a view that has no window of its own: one minute.
const DEFAULT_FINEST_MS: i64 = 60_000;

/// How old the horizon of a `Lambda` may become, unless its view says so.
const DEFAULT_HORIZON_MAX_AGE: &str = "7d";

/// One thing that is wrong with a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The field of the custom resource, such as `spec.features[2].where`.
    pub field: String,
    /// What is wrong with it and what would be right.
    pub message: String,
}

impl Invalid {
    pub(crate) fn new(field: impl Into<String>, message: impl fmt::Display) -> Self {
        Self { field: field.into(), message: message.to_string() }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// Resolves a definition into a plan.
///
/// # Errors
/// Everything that is wrong with it, in the order of its fields; never empty.
pub fn resolve(definition: &ViewDefinition) -> Result<Plan, Vec<Invalid>> {
    let mut errors = Vec::new();
    let mode = source::mode(&definition.mode).map_err(|e| errors.push(e)).ok();
    let columns = columns(definition, &mut errors);
    check_entity(definition, &columns, &mut errors);
    let mut length = |field: &str, text: &str| {
        duration::parse(text).map_err(|m| errors.push(Invalid::new(field, m))).unwrap_or_default()
    };
    let allowed_lateness_ms = length("spec.allowedLateness", &definition.allowed_lateness);
    let max_future_ms = length("spec.maxFuture", &definition.max_future);
    let horizon_max_age = definition.horizon_max_age.as_deref().unwrap_or(DEFAULT_HORIZON_MAX_AGE);
    let horizon_max_age_ms = length("spec.horizonMaxAge", horizon_max_age);
    let mut time =
        TimePolicy { allowed_lateness_ms, max_future_ms, retention_ms: None, finest_tile_ms: DEFAULT_FINEST_MS };

    let source = source::resolve(definition, mode, columns, &mut errors);
    let horizon_max_age_ms = (mode == Some(Mode::Lambda)).then_some(horizon_max_age_ms);
    let resolved = features::resolve(&definition.features, &source, &mut time, horizon_max_age_ms, &mut errors);
    let Some(mode) = mode.filter(|_| errors.is_empty()) else { return Err(errors) };
    let mut plan = Plan {
        semantics: SEMANTICS,
        view: ViewIdentity::clone(&definition.view),
        revision: String::new(),
        mode,
        source,
        entity: definition.entity_keys.clone(),
        time,
        conditions: resolved.conditions,
        inputs: resolved.inputs,
        aggregates: resolved.aggregates,
        features: resolved.features,
    };
    plan.revision = revision::of(&plan);
    Ok(plan)
}

/// The declared columns. What is wrong with them is reported, and the column left out.
fn columns(definition: &ViewDefinition, errors: &mut Vec<Invalid>) -> Vec<Column> {
    let mut seen = BTreeSet::new();
    let mut columns = Vec::new();
    if definition.timestamp.field.is_empty() {
        errors.push(Invalid::new("spec.source.timestamp.field", "name the field that holds the event time"));
    }
    for (i, column) in definition.schema.iter().enumerate() {
        let field = format!("spec.source.schema[{i}]");
        if column.name.is_empty() {
            errors.push(Invalid::new(format!("{field}.name"), "must not be empty"));
        } else if !seen.insert(&column.name) {
            errors.push(Invalid::new(format!("{field}.name"), format!("column {:?} is declared twice", column.name)));
        }
        match column_type(column) {
            Ok(value_type) => columns.push(Column { name: column.name.clone(), value_type }),
            Err(message) => errors.push(Invalid::new(format!("{field}.type"), message)),
        }
    }
    columns
}

fn column_type(column: &ColumnDefinition) -> Result<ValueType, String> {
    Ok(match (column.type_name.as_str(), column.precision, column.scale) {
        ("String", None, None) => ValueType::String,
        ("Int64", None, None) => ValueType::Int64,
        ("Double", None, None) => ValueType::Double,
        ("Boolean", None, None) => ValueType::Boolean,
        ("Timestamp", None, None) => ValueType::Timestamp,
        ("Decimal", Some(precision @ 1..=28), scale) if scale.unwrap_or(0) <= precision => {
            ValueType::Decimal { precision, scale: scale.unwrap_or(0) }
        }
        ("Decimal", _, _) => return Err("a Decimal needs a precision of 1 to 28 and a scale of at most that".into()),
        ("String" | "Int64" | "Double" | "Boolean" | "Timestamp", _, _) => {
            return Err(format!("precision and scale are for Decimal, not {}", column.type_name));
        }
        (other, _, _) => {
            return Err(format!("{other:?} is no type; use String, Int64, Double, Boolean, Timestamp or Decimal"));
        }
    })
}

fn check_entity(definition: &ViewDefinition, columns: &[Column], errors: &mut Vec<Invalid>) {
    if definition.entity_keys.is_empty() {
        errors.push(Invalid::new("spec.entity.keys", "name at least one column that identifies the entity"));
    }
    let mut seen = BTreeSet::new();
    for (i, key) in definition.entity_keys.iter().enumerate() {
        let field = format!("spec.entity.keys[{i}]");
        if !seen.insert(key) {
            errors.push(Invalid::new(&field, format!("key {key:?} is named twice")));
        }
        match columns.iter().find(|c| &c.name == key).map(|c| &c.value_type) {
            None => errors.push(Invalid::new(field, format!("{key:?} is not among spec.source.schema"))),
            Some(ValueType::Double) => {
                errors.push(Invalid::new(
                    field,
                    format!(
                        "{key:?} is a Double, which cannot identify an entity; declare it as String, Int64 or Decimal"
                    ),
                ));
            }
            Some(_) => {}
        }
    }
}

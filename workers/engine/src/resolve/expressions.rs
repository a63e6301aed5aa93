//! Derived features: which other features each reads, in which order they can be computed, and their types.

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::{Field, Schema};

use super::Invalid;
use crate::definition::FeatureDefinition;
use crate::expr;
use crate::plan::{Feature, FeatureSource};
use crate::value::ValueType;

/// Resolves every feature that has an expression, given the types of the windowed ones by index.
pub(super) fn resolve(
    definitions: &[FeatureDefinition],
    windowed: &BTreeMap<usize, ValueType>,
    errors: &mut Vec<Invalid>,
) -> Vec<(usize, Feature)> {
    let by_name: BTreeMap<&str, usize> = definitions.iter().enumerate().map(|(i, d)| (d.name.as_str(), i)).collect();
    let mut types = windowed.clone();
    let mut resolved = Vec::new();
    let mut open: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for (i, d) in definitions.iter().enumerate() {
        let Some(sql) = &d.expression else { continue };
        if let Some(part) = windowed_part(d) {
            errors.push(Invalid::new(
                format!("spec.features[{i}].{part}"),
                "an expression reads other features; it has no aggregate, window or filter of its own",
            ));
            continue;
        }
        match reads(i, sql, &by_name, definitions) {
            Ok(reads) => {
                open.insert(i, reads);
            }
            Err(error) => errors.push(error),
        }
    }
    // Each round compiles what reads only features of known type; what is left when none can is a circle, or reads
    // something that was refused already.
    while let Some(i) = open.iter().find(|(_, reads)| reads.iter().all(|r| types.contains_key(r))).map(|(i, _)| *i) {
        let reads = open.remove(&i).unwrap_or_default();
        let sql = definitions[i].expression.clone().unwrap_or_default();
        let fields: Vec<_> = reads.iter().map(|r| Field::new(&definitions[*r].name, types[r].arrow(), true)).collect();
        match expr::compile(&sql, &Schema::new(fields)) {
            Ok(compiled) => {
                types.insert(i, compiled.value_type.clone());
                let source = FeatureSource::Expression { sql, reads: reads.into_iter().collect() };
                resolved
                    .push((i, Feature { name: definitions[i].name.clone(), value_type: compiled.value_type, source }));
            }
            Err(error) => errors.push(Invalid::new(format!("spec.features[{i}].expression"), error)),
        }
    }
    for &i in open.keys() {
        if let Some(circle) = circle(i, &open) {
            let path: Vec<_> = circle.iter().map(|&f| definitions[f].name.as_str()).collect();
            let message = format!("features read each other in a circle: {}", path.join(" → "));
            errors.push(Invalid::new(format!("spec.features[{i}].expression"), message));
        }
    }
    resolved
}

/// A part of a windowed feature that an expression must not have.
fn windowed_part(d: &FeatureDefinition) -> Option<&'static str> {
    [
        (d.aggregate.is_some(), "aggregate"),
        (d.of.is_some(), "of"),
        (d.condition.is_some(), "where"),
        (d.window.is_some(), "window"),
        (d.hop.is_some(), "hop"),
        (d.tumbling, "type"),
        (d.percentile.is_some(), "percentile"),
        (d.k.is_some(), "k"),
    ]
    .into_iter()
    .find_map(|(given, part)| given.then_some(part))
}

/// The features an expression reads.
fn reads(
    i: usize,
    sql: &str,
    by_name: &BTreeMap<&str, usize>,
    definitions: &[FeatureDefinition],
) -> Result<BTreeSet<usize>, Invalid> {
    let field = format!("spec.features[{i}].expression");
    let names = expr::names(sql).map_err(|e| Invalid::new(&field, e))?;
    let mut reads = BTreeSet::new();
    for name in names {
        let Some(&feature) = by_name.get(name.as_str()) else {
            let known: Vec<_> = by_name.keys().copied().take(20).collect();
            return Err(Invalid::new(
                field,
                format!("{sql:?} reads {name:?}, which is no feature of this view; there are {}", known.join(", ")),
            ));
        };
        if matches!(definitions[feature].aggregate.as_deref(), Some("LastK" | "TopK")) {
            return Err(Invalid::new(field, format!("{sql:?} reads {name:?}, a list, which expressions cannot read")));
        }
        reads.insert(feature);
    }
    Ok(reads)
}

/// A circle through `start`, from it back to it, if there is one.
fn circle(start: usize, open: &BTreeMap<usize, BTreeSet<usize>>) -> Option<Vec<usize>> {
    let mut path = vec![start];
    walk(start, open, &mut BTreeSet::new(), &mut path).then_some(path)
}

/// Extends `path` until it comes back to where it began. `seen` leads nowhere new.
fn walk(at: usize, open: &BTreeMap<usize, BTreeSet<usize>>, seen: &mut BTreeSet<usize>, path: &mut Vec<usize>) -> bool {
    for &next in open.get(&at).into_iter().flatten() {
        path.push(next);
        if next == path[0] || (seen.insert(next) && walk(next, open, seen, path)) {
            return true;
        }
        path.pop();
    }
    false
}

//! Mode, topic and table → what the plan reads.
//!
//! Invariant: a view may name both a topic and a table and change its mode by one word; the plan keeps only what its mode
//! reads, so that what it does not read changes no revision.

use super::Invalid;
use crate::definition::ViewDefinition;
use crate::plan::{Column, Mode, Source};

/// The mode of this name.
pub(super) fn mode(name: &str) -> Result<Mode, Invalid> {
    match name {
        "Kappa" => Ok(Mode::Kappa),
        "Batch" => Ok(Mode::Batch),
        "Lambda" => Ok(Mode::Lambda),
        "Lakehouse" | "Streamhouse" => Ok(Mode::Lakehouse),
        other => {
            let message = format!("{other:?} is no mode; use Batch, Lambda, Kappa, Lakehouse or Streamhouse");
            Err(Invalid::new("architecture.spec.mode", message))
        }
    }
}

/// What a plan of this mode reads. What it needs and lacks is reported; an unknown mode needs nothing.
pub(super) fn resolve(
    definition: &ViewDefinition,
    mode: Option<Mode>,
    columns: Vec<Column>,
    errors: &mut Vec<Invalid>,
) -> Source {
    let mut stream = definition.stream.clone();
    let mut table = definition.table.clone();
    if stream.as_ref().is_some_and(|s| s.topic.is_empty()) {
        errors.push(Invalid::new("spec.source.topic", "must not be empty; leave it out where there is no topic"));
    }
    if table.as_ref().is_some_and(|t| t.uri.is_empty()) {
        errors.push(Invalid::new("spec.source.table.uri", "name where the table is, such as s3://bucket/path"));
    }
    let needs_topic = |why| Invalid::new("spec.source.topic", format!("name the Kafka topic that {why}"));
    let needs_table = |mode| {
        let message = format!(
            "{mode} computes from history: name its table, or let the Architecture archive the topic (spec.archive)"
        );
        Invalid::new("spec.source.table", message)
    };
    match mode {
        None => {}
        Some(Mode::Kappa) => {
            table = None;
            if stream.is_none() {
                errors.push(needs_topic("the events come from"));
            }
        }
        Some(Mode::Lambda) => {
            if stream.is_none() {
                errors.push(needs_topic("brings the events after the horizon"));
            }
            if table.is_none() && !definition.archive {
                errors.push(needs_table("Lambda"));
            }
        }
        Some(Mode::Lakehouse) => {
            table = None;
            if stream.is_none() {
                errors.push(needs_topic("fills the tables"));
            }
        }
        Some(Mode::Batch) => {
            if table.is_some() {
                stream = None;
            } else if !definition.archive {
                errors.push(needs_table("Batch"));
            } else if stream.is_none() {
                errors.push(needs_topic("is archived, or name spec.source.table"));
            }
        }
    }
    Source { stream, table, timestamp: definition.timestamp.clone(), columns }
}

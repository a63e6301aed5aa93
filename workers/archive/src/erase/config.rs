//! What one erasure is handed: who, and from which views.

use std::collections::BTreeMap;
use std::path::Path;

use engine::plan::{Assignment, Plan};
use engine::value::ValueType;
use serde::Deserialize;
use serde_json::Value;

use super::EraseError;

/// The configuration of an erasure, as the operator writes it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EraseConfig {
    /// The entity: key → value. A value may be written as text whatever its type.
    pub entity: BTreeMap<String, Value>,
    /// The folder of all tables, under which tombstones are kept; none where no view has tables.
    #[serde(default)]
    pub lake: Option<String>,
    /// All views of these entity keys.
    pub views: Vec<ErasedView>,
}

/// One view that an entity is erased from.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ErasedView {
    /// The plan of any of its revisions, and the incarnation of its rows; others are found.
    pub assignment: Assignment,
    /// The topic's Bronze, if there is one.
    #[serde(default)]
    pub bronze: Option<String>,
    /// The view's Silver, if there is one.
    #[serde(default)]
    pub silver: Option<String>,
    /// The view's Gold, if there is one.
    #[serde(default)]
    pub gold: Option<String>,
}

impl EraseConfig {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// [`EraseError::Config`] or [`EraseError::Entity`].
    pub fn read(path: &Path) -> Result<Self, EraseError> {
        let failed = |detail: String| EraseError::Config { path: path.to_owned(), detail };
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        let config: Self = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
        if config.views.is_empty() {
            return Err(failed("views: name at least one".to_owned()));
        }
        for view in &config.views {
            config.values(&view.assignment.plan)?;
            let tables = [&view.bronze, &view.silver, &view.gold];
            if config.lake.is_none() && tables.iter().any(|table| table.is_some()) {
                return Err(failed(format!("{} has tables: name the lake they are in", view.name())));
            }
        }
        Ok(config)
    }

    /// The values of a plan's keys, in its order and of its types.
    ///
    /// # Errors
    /// [`EraseError::Entity`] naming the key that is missing.
    pub fn values(&self, plan: &Plan) -> Result<Vec<Value>, EraseError> {
        let value = |key: &String| match self.entity.get(key) {
            None => Err(EraseError::Entity {
                view: format!("{}/{}", plan.view.namespace, plan.view.name),
                key: key.clone(),
                keys: plan.entity.clone(),
            }),
            Some(value) => {
                let column = plan.source.columns.iter().find(|column| column.name == *key);
                Ok(typed(column.map(|column| &column.value_type), value))
            }
        };
        plan.entity.iter().map(value).collect()
    }

    /// The topic of a view's events. A revision that reads a table alone names none, and while another of the view reads one,
    /// what is covered there must be known all the same: the rows of both go at once.
    #[must_use]
    pub fn topic<'a>(&'a self, view: &'a ErasedView) -> Option<&'a str> {
        let of_view = |other: &&ErasedView| other.assignment.plan.view.uid == view.assignment.plan.view.uid;
        let mut views = std::iter::once(view).chain(self.views.iter().filter(of_view));
        views.find_map(|view| Some(view.assignment.plan.source.stream.as_ref()?.topic.as_str()))
    }
}

impl ErasedView {
    /// `namespace/name`.
    #[must_use]
    pub fn name(&self) -> String {
        let view = &self.assignment.plan.view;
        format!("{}/{}", view.namespace, view.name)
    }
}

/// A value that was written as text, as the column has it: those who write objects by hand have only text for all keys.
fn typed(value_type: Option<&ValueType>, value: &Value) -> Value {
    match (value_type, value) {
        (Some(ValueType::Int64 | ValueType::Boolean | ValueType::Timestamp), Value::String(text)) => {
            serde_json::from_str(text).unwrap_or_else(|_| value.clone())
        }
        _ => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use engine::plan::{Mode, SEMANTICS, Source, Stream, TimePolicy, TimestampField, TimestampUnit, ViewIdentity};
    use serde_json::json;

    use super::*;

    /// A view's revision of mode Batch was erased without offsets while another read the topic: the markers of that one went
    /// back to 0, where the topic might begin later, and its workers stood still for a `SourceGap`.
    #[test]
    fn a_revision_without_a_topic_covers_that_of_another_of_its_view() {
        let of = |uid: &str, topic: Option<&str>| {
            let plan = Plan {
                semantics: SEMANTICS,
                view: ViewIdentity { uid: uid.into(), namespace: "shop".into(), name: uid.into() },
                revision: "1".into(),
                mode: Mode::Batch,
                source: Source {
                    stream: topic.map(|topic| Stream { topic: topic.into(), epoch: 0 }),
                    table: None,
                    timestamp: TimestampField { field: "at".into(), unit: TimestampUnit::Milliseconds },
                    columns: Vec::new(),
                },
                entity: vec!["user".into()],
                time: TimePolicy {
                    allowed_lateness_ms: 0,
                    max_future_ms: 0,
                    retention_ms: None,
                    finest_tile_ms: 1_000,
                },
                conditions: Vec::new(),
                inputs: Vec::new(),
                aggregates: Vec::new(),
                features: Vec::new(),
            };
            ErasedView { assignment: Assignment { incarnation: 0, plan }, bronze: None, silver: None, gold: None }
        };
        let views = vec![of("a", None), of("b", Some("carts")), of("a", Some("clicks")), of("c", None)];
        let config = EraseConfig { entity: BTreeMap::new(), lake: None, views };
        let topics: Vec<Option<&str>> = config.views.iter().map(|view| config.topic(view)).collect();
        assert_eq!(topics, [Some("clicks"), Some("carts"), Some("clicks"), None]);
    }

    #[test]
    fn keys_written_as_text_are_of_their_columns_types() {
        assert_eq!(typed(Some(&ValueType::Int64), &json!("42")), json!(42));
        assert_eq!(typed(Some(&ValueType::Boolean), &json!("true")), json!(true));
        assert_eq!(typed(Some(&ValueType::String), &json!("42")), json!("42"));
        assert_eq!(typed(Some(&ValueType::Decimal { precision: 9, scale: 2 }), &json!("4.2")), json!("4.2"));
        // What does not read is refused later, by its name.
        assert_eq!(typed(Some(&ValueType::Int64), &json!("x")), json!("x"));
    }
}

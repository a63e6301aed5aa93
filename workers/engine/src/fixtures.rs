//! What the tests of several modules need: the plan of a small Kappa view of users.

use crate::definition::{ColumnDefinition, FeatureDefinition, ViewDefinition};
use crate::plan::{Plan, Stream, TimestampField, TimestampUnit, ViewIdentity};

/// The plan of a view of events `{ts, <columns>}`, keyed by the first column.
#[allow(clippy::unwrap_used)]
pub(crate) fn plan(columns: &[(&str, &str)], features: Vec<FeatureDefinition>) -> Plan {
    let column = |(name, type_name): &(&str, &str)| ColumnDefinition {
        name: (*name).into(),
        type_name: (*type_name).into(),
        ..ColumnDefinition::default()
    };
    let definition = ViewDefinition {
        view: ViewIdentity { uid: "u".into(), namespace: "n".into(), name: "v".into() },
        mode: "Kappa".into(),
        entity_keys: vec![columns[0].0.into()],
        stream: Some(Stream { topic: "clicks".into(), epoch: 0 }),
        table: None,
        archive: false,
        timestamp: TimestampField { field: "ts".into(), unit: TimestampUnit::Milliseconds },
        schema: columns.iter().map(column).collect(),
        allowed_lateness: "1h".into(),
        max_future: "5m".into(),
        horizon_max_age: None,
        features,
    };
    crate::resolve::resolve(&definition).unwrap()
}

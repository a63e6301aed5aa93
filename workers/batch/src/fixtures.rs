//! A view for tests, resolved by the engine as the operator would.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::must_use_candidate)]

use engine::definition::{ColumnDefinition, FeatureDefinition, ViewDefinition};
use engine::plan::{Plan, Table, TableFormat, TimestampField, TimestampUnit, ViewIdentity};

pub const MINUTE: i64 = 60_000;
pub const HOUR: i64 = 60 * MINUTE;
pub const DAY: i64 = 24 * HOUR;

pub fn feature(name: &str, aggregate: &str, window: Option<&str>) -> FeatureDefinition {
    FeatureDefinition {
        name: name.into(),
        aggregate: Some(aggregate.into()),
        window: window.map(Into::into),
        ..FeatureDefinition::default()
    }
}

pub fn of(input: &str, feature: FeatureDefinition) -> FeatureDefinition {
    FeatureDefinition { of: Some(input.into()), ..feature }
}

pub fn definition(uid: &str, table: &str) -> ViewDefinition {
    let column = |name: &str, type_name: &str| ColumnDefinition {
        name: name.into(),
        type_name: type_name.into(),
        ..ColumnDefinition::default()
    };
    ViewDefinition {
        view: ViewIdentity { uid: uid.into(), namespace: "shop".into(), name: "user-events".into() },
        mode: "Batch".into(),
        entity_keys: vec!["user".into()],
        stream: None,
        table: Some(Table { uri: table.into(), format: TableFormat::Delta }),
        archive: false,
        timestamp: TimestampField { field: "at".into(), unit: TimestampUnit::Milliseconds },
        schema: vec![
            column("user", "String"),
            column("kind", "String"),
            column("amount", "Int64"),
            column("note", "String"),
        ],
        allowed_lateness: "1h".into(),
        max_future: "5m".into(),
        horizon_max_age: None,
        features: vec![
            feature("events", "Count", None),
            feature("events_1h", "Count", Some("1h")),
            FeatureDefinition { condition: Some("kind = 'buy'".into()), ..feature("buys_1d", "Count", Some("1d")) },
            of("amount", feature("spend_1d", "Sum", Some("1d"))),
            of("amount", feature("mean_7d", "Avg", Some("7d"))),
            of("kind", FeatureDefinition { k: Some(3), ..feature("last_kinds", "LastK", Some("7d")) }),
            feature("newest_7d", "MaxTimestamp", Some("7d")),
            FeatureDefinition {
                name: "buy_share".into(),
                expression: Some("buys_1d / nullif(events, 0)".into()),
                ..FeatureDefinition::default()
            },
        ],
    }
}

pub fn resolve(definition: &ViewDefinition) -> Plan {
    engine::resolve::resolve(definition).unwrap()
}

pub fn plan(uid: &str, table: &str) -> Plan {
    resolve(&definition(uid, table))
}

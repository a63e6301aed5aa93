//! One plan for tests.
#![allow(clippy::unwrap_used)]

use engine::definition::{ColumnDefinition, FeatureDefinition, ViewDefinition};
use engine::plan::{Assignment, Plan, Stream, TimestampField, TimestampUnit, ViewIdentity};

use crate::plan_run::PlanRun;

/// Counts and sums of `amount`, and the count of clicks of a day, by `user`.
pub(crate) fn plan_run() -> PlanRun {
    plan_run_of("Kappa")
}

/// The same in another mode.
pub(crate) fn plan_run_of(mode: &str) -> PlanRun {
    PlanRun::new(&Assignment { incarnation: 0, plan: plan(mode) }).unwrap()
}

/// Its plan.
pub(crate) fn plan(mode: &str) -> Plan {
    let column = |name: &str, kind: &str| ColumnDefinition {
        name: name.into(),
        type_name: kind.into(),
        ..ColumnDefinition::default()
    };
    let feature = |name: &str, aggregate: &str| FeatureDefinition {
        name: name.into(),
        aggregate: Some(aggregate.into()),
        ..FeatureDefinition::default()
    };
    let definition = ViewDefinition {
        view: ViewIdentity { uid: "uid".into(), namespace: "shop".into(), name: "clicks".into() },
        mode: mode.into(),
        entity_keys: vec!["user".into()],
        stream: Some(Stream { topic: "events".into(), epoch: 0 }),
        table: None,
        archive: true,
        timestamp: TimestampField { field: "at".into(), unit: TimestampUnit::Milliseconds },
        schema: vec![column("user", "String"), column("amount", "Int64")],
        allowed_lateness: "1h".into(),
        max_future: "5m".into(),
        horizon_max_age: None,
        features: vec![
            feature("events", "Count"),
            FeatureDefinition { of: Some("amount".into()), ..feature("total", "Sum") },
            FeatureDefinition { window: Some("24h".into()), ..feature("day", "Count") },
        ],
    };
    engine::resolve::resolve(&definition).unwrap()
}

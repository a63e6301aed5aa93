//! The views that are measured, resolved by the engine as the operator would.

use engine::definition::{ColumnDefinition, FeatureDefinition, ViewDefinition};
use engine::plan::{Plan, Stream, Table, TimestampField, TimestampUnit, ViewIdentity};

use super::error::BenchError;

/// What is computed of the amount over each window.
const FUNCTIONS: [&str; 6] = ["Count", "Sum", "Avg", "StdDev", "Min", "Max"];

/// 24 features: six functions of the amount over 1 h, 24 h, 7 d and 30 d.
pub fn stream(uid: &str, topic: &str) -> Result<Plan, BenchError> {
    let stream = Some(Stream { topic: topic.into(), epoch: 0 });
    resolve(uid, Source { mode: "Kappa", stream, table: None, amount: "Int64" }, windowed(&["1h", "24h", "7d", "30d"]))
}

/// The same 24 features of a history table.
pub fn batch(uid: &str, table: &Table) -> Result<Plan, BenchError> {
    let source = Source { mode: "Batch", stream: None, table: Some(table.clone()), amount: "Double" };
    resolve(uid, source, windowed(&["1h", "24h", "7d", "30d"]))
}

/// 50 features: six functions over eight windows, and two expressions.
pub fn serve(uid: &str) -> Result<Plan, BenchError> {
    let mut features = windowed(&["1h", "6h", "24h", "3d", "7d", "14d", "30d", "60d"]);
    for (name, sql) in [("share", "sum_24h / nullif(sum_30d, 0)"), ("rise", "avg_24h - avg_30d")] {
        features.push(FeatureDefinition { name: name.into(), expression: Some(sql.into()), ..Default::default() });
    }
    let stream = Some(Stream { topic: "none".into(), epoch: 0 });
    resolve(uid, Source { mode: "Kappa", stream, table: None, amount: "Int64" }, features)
}

/// Where a view's events are.
struct Source {
    mode: &'static str,
    stream: Option<Stream>,
    table: Option<Table>,
    /// The type of the amount.
    amount: &'static str,
}

fn windowed(windows: &[&str]) -> Vec<FeatureDefinition> {
    let feature = |function: &str, window: &str| FeatureDefinition {
        name: format!("{}_{window}", function.to_lowercase()),
        aggregate: Some(function.into()),
        of: (function != "Count").then(|| "amount".into()),
        window: Some(window.into()),
        ..Default::default()
    };
    windows.iter().flat_map(|window| FUNCTIONS.map(|function| feature(function, window))).collect()
}

fn resolve(uid: &str, source: Source, features: Vec<FeatureDefinition>) -> Result<Plan, BenchError> {
    let column =
        |name: &str, of: &str| ColumnDefinition { name: name.into(), type_name: of.into(), ..Default::default() };
    let definition = ViewDefinition {
        view: ViewIdentity { uid: uid.into(), namespace: "bench".into(), name: uid.into() },
        mode: source.mode.into(),
        entity_keys: vec!["user".into()],
        stream: source.stream,
        table: source.table,
        archive: false,
        timestamp: TimestampField { field: "ts".into(), unit: TimestampUnit::Milliseconds },
        schema: vec![column("user", "String"), column("amount", source.amount)],
        allowed_lateness: "10m".into(),
        max_future: "5m".into(),
        horizon_max_age: None,
        features,
    };
    let message = |invalid: Vec<engine::resolve::Invalid>| {
        BenchError::View(invalid.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    };
    engine::resolve::resolve(&definition).map_err(message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_views_have_as_many_features_as_the_targets_say() {
        assert_eq!(stream("a", "t").unwrap().features.len(), 24);
        let table = Table { uri: "/events".into(), format: engine::plan::TableFormat::Parquet };
        assert_eq!(batch("a", &table).unwrap().features.len(), 24);
        assert_eq!(serve("a").unwrap().features.len(), 50);
    }
}

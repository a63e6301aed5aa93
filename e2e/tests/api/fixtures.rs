//! The objects that tests begin with.

use serde_json::{Value, json};

pub const ARCHITECTURE: &str = "realtime";
pub const VIEW: &str = "user-clicks";

pub fn architecture() -> Value {
    json!({
        "apiVersion": "featuremill.dev/v1alpha1",
        "kind": "Architecture",
        "metadata": {"name": ARCHITECTURE},
        "spec": {
            "mode": "Kappa",
            "kafka": {"bootstrapServers": "kafka:9092"},
            "onlineStore": {"redis": {"url": "redis://redis:6379"}},
        },
    })
}

pub fn view() -> Value {
    json!({
        "apiVersion": "featuremill.dev/v1alpha1",
        "kind": "FeatureView",
        "metadata": {"name": VIEW},
        "spec": {
            "architectureRef": {"name": ARCHITECTURE},
            "entity": {"keys": ["user_id"]},
            "source": {
                "topic": "clickstream",
                "timestamp": {"field": "event_ts", "unit": "Milliseconds"},
                "schema": [
                    {"name": "user_id", "type": "String"},
                    {"name": "event_type", "type": "String"},
                    {"name": "price", "type": "Double"},
                ],
            },
            "features": [
                {"name": "clicks_1h", "aggregate": "Count", "where": "event_type = 'click'", "window": "1h"},
                {"name": "clicks_24h", "aggregate": "Count", "where": "event_type = 'click'", "window": "24h"},
                {"name": "price_p95_7d", "aggregate": "Percentile", "of": "price", "percentile": "0.95", "window": "7d"},
                {"name": "velocity", "expression": "clicks_1h / nullif(clicks_24h, 0)"},
            ],
            // What has caught up takes over at once, uncompared, and what was read before goes at once.
            "rollout": {"catchUp": {"stableForSeconds": 0}, "comparison": {"sampleKeys": 0}, "scaleDownDelaySeconds": 0},
        },
    })
}

/// The view with one part replaced; `path` is a JSON pointer, and `null` removes what is there.
pub fn view_with(path: &str, value: Value) -> Value {
    with(view(), path, value)
}

/// Any object with one part replaced.
pub fn with(mut object: Value, path: &str, value: Value) -> Value {
    let (parent, key) = path.rsplit_once('/').unwrap();
    let parent = object.pointer_mut(parent).unwrap_or_else(|| panic!("{path} has no parent"));
    match parent {
        Value::Array(items) => {
            let index: usize = key.parse().unwrap();
            if index == items.len() { items.push(value) } else { items[index] = value }
        }
        Value::Object(fields) if value.is_null() => drop(fields.remove(key)),
        other => other[key] = value,
    }
    object
}

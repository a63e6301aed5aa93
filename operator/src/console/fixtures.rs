//! What tests of the console begin with.
#![allow(clippy::unwrap_used)]

use crds::Architecture;
use kube::core::DynamicObject;
use serde_json::{Value, json};

/// A view with a status, or without one.
pub fn view(status: Value) -> DynamicObject {
    named("clicks", status)
}

/// As [`view`], with a name.
pub fn named(name: &str, status: Value) -> DynamicObject {
    let mut object = json!({
        "apiVersion": "featuremill.dev/v1alpha1",
        "kind": "FeatureView",
        "metadata": {"name": name, "namespace": "shop", "uid": "1", "generation": 1},
        "spec": {
            "architectureRef": {"name": "realtime"},
            "entity": {"keys": ["user"]},
            "source": {
                "topic": "clicks",
                "table": {"uri": "s3://key:secret@lake/clicks"},
                "timestamp": {"field": "ts", "unit": "Milliseconds"},
                "schema": [{"name": "user", "type": "String"}, {"name": "price", "type": "Double"}],
            },
            "features": [
                {"name": "clicks_1h", "aggregate": "Count", "where": "price > 0", "window": "1h"},
                {"name": "price_p95", "aggregate": "Percentile", "of": "price", "percentile": "0.95", "window": "7d"},
                {"name": "doubled", "expression": "clicks_1h * 2"},
            ],
        },
    });
    if !status.is_null() {
        object["status"] = status;
    }
    serde_json::from_value(object).unwrap()
}

/// An architecture whose store has a password in its address, as the API server would refuse it.
pub fn architecture() -> Architecture {
    serde_json::from_value(json!({
        "apiVersion": "featuremill.dev/v1alpha1",
        "kind": "Architecture",
        "metadata": {"name": "realtime", "namespace": "shop"},
        "spec": {
            "mode": "Kappa",
            "kafka": {"bootstrapServers": "kafka:9092", "secretRef": {"name": "kafka-client"}},
            "onlineStore": {"redis": {"url": "redis://:secret@redis:6379", "secretRef": {"name": "redis"}}},
        },
        "status": {"views": 3, "updatedViews": 3, "replicas": 2, "readyReplicas": 1,
            "endpoint": "http://realtime-server.shop:6566", "conditions": [condition("Ready", "True", "Healthy", "served")]},
    }))
    .unwrap()
}

/// A condition.
pub fn condition(type_: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": type_, "status": status, "reason": reason, "message": message, "observedGeneration": 1,
        "lastTransitionTime": "2026-11-28T07:00:00Z"})
}

/// The status of a view whose candidate is being replayed, and was compared before.
pub fn rollout() -> Value {
    json!({
        "observedGeneration": 1,
        "phase": "Replaying",
        "mode": "Kappa",
        "activeRevision": "9b1c07de42",
        "candidateRevision": "3f0a55c81e",
        "revisions": [
            {"revision": "9b1c07de42", "mode": "Kappa", "architecture": "realtime"},
            {"revision": "3f0a55c81e", "mode": "Kappa", "architecture": "realtime"},
        ],
        "features": 3,
        "estimatedRowBytes": 1_234,
        "replicas": 1,
        "readyReplicas": 1,
        "lag": {"revision": "9b1c07de42", "seconds": 4, "records": 812, "measuredTime": "2026-11-28T07:00:00Z"},
        "rollout": {
            "promotedTime": "2026-11-20T07:00:00Z",
            "trial": {
                "revision": "3f0a55c81e",
                "startTime": "2026-11-28T06:50:00Z",
                "replay": {
                    "fence": "1", "capturedTime": "2026-11-28T06:50:00Z",
                    "parts": [{"partition": 0, "from": 100, "to": 5_000}, {"partition": 1, "from": 0, "to": 100}],
                    "progress": {"percent": 62, "remainingRecords": 1_900, "recordsPerSecond": 10, "etaSeconds": 190,
                        "observedTime": "2026-11-28T07:00:00Z"},
                },
            },
            "comparison": {
                "former": "9b1c07de42", "candidate": "3f0a55c81e", "verdict": "Failed", "asOf": "2026-11-28T06:59:00Z",
                "entities": 10_000, "message": "feature clicks_1h is defined as before, and its values differ",
                "differences": [{"name": "clicks_1h", "kind": "Unchanged", "checked": 10_000, "equal": "0.9310", "psi": "0.0210",
                    "ks": "0.0400", "histogram": {"edges": ["0.00", "5.00", "10.00"], "former": [6, 4], "candidate": [5, 5]}, "examples": [{"entity": "5f3a", "former": "7", "candidate": "8"}]}],
            },
        },
        "conditions": [
            condition("Ready", "True", "Healthy", "served"),
            condition("Reconciling", "True", "CatchingUp", "revision 3f0a55c81e reads 5000 records of 2 partitions again"),
            condition("Stalled", "False", "Idle", ""),
        ],
    })
}

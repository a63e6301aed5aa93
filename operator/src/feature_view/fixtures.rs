//! What tests of the driver begin with.
#![allow(clippy::unwrap_used)]

use crds::{Architecture, FeatureView};
use k8s_openapi::api::apps::v1::ControllerRevision;
use serde_json::json;

use super::observe::Observed;

/// A view of which the window of a feature, and the number of workers, are given.
pub fn observed(window: &str, replicas: i32, history: Vec<ControllerRevision>) -> Observed {
    let view: FeatureView = serde_json::from_value(json!({
        "apiVersion": "featuremill.dev/v1alpha1",
        "kind": "FeatureView",
        "metadata": {"name": "clicks", "namespace": "shop", "uid": "1"},
        "spec": {
            "architectureRef": {"name": "realtime"},
            "entity": {"keys": ["user"]},
            "source": {
                "topic": "clicks",
                "timestamp": {"field": "ts", "unit": "Milliseconds"},
                "schema": [{"name": "user", "type": "String"}],
            },
            "features": [{"name": "clicks", "aggregate": "Count", "window": window}],
            "replicas": replicas,
            "rollout": {"revisionHistoryLimit": 1},
        },
    }))
    .unwrap();
    let architecture: Architecture = serde_json::from_value(json!({
        "apiVersion": "featuremill.dev/v1alpha1",
        "kind": "Architecture",
        "metadata": {"name": "realtime", "namespace": "shop"},
        "spec": {
            "mode": "Kappa",
            "kafka": {"bootstrapServers": "kafka:9092"},
            "onlineStore": {"redis": {"url": "redis://redis:6379"}},
        },
    }))
    .unwrap();
    Observed {
        view,
        architecture: Some(architecture),
        misfit: None,
        former: Vec::new(),
        deployments: Vec::new(),
        config_maps: Vec::new(),
        cron_jobs: Vec::new(),
        jobs: Vec::new(),
        pods: Vec::new(),
        refused: std::collections::BTreeMap::new(),
        history,
        replays: Vec::new(),
        run: None,
    }
}

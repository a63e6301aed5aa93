//! What a scrape shows of views, and that it shows nothing of one that is gone.
#![allow(clippy::unwrap_used)]

use kube::runtime::reflector::store;
use kube::runtime::watcher::Event;
use prometheus_client::encoding::text::encode;
use serde_json::{Value, json};

use super::*;

fn view(name: &str, status: &Value) -> FeatureView {
    serde_json::from_value(json!({
        "apiVersion": "featuremill.dev/v1alpha1",
        "kind": "FeatureView",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "architectureRef": {"name": "realtime"},
            "entity": {"keys": ["user"]},
            "source": {
                "topic": "clicks",
                "timestamp": {"field": "ts", "unit": "Milliseconds"},
                "schema": [{"name": "user", "type": "String"}],
            },
            "features": [{"name": "clicks", "aggregate": "Count", "window": "1h"}],
        },
        "status": status,
    }))
    .unwrap()
}

fn rolling() -> Value {
    json!({
        "phase": "Comparing", "activeRevision": "a", "candidateRevision": "b", "features": 1, "generation": 7,
        "horizon": "2026-11-28T03:00:00Z",
        "conditions": [
            {"type": "Ready", "status": "True", "reason": "Healthy", "message": "", "lastTransitionTime": "2026-11-28T03:00:00Z"},
            {"type": "CaughtUp", "status": "True", "reason": "CaughtUp", "message": "", "lastTransitionTime": "2026-11-28T03:00:00Z"},
        ],
        "lastRun": {"revision": "a", "generation": 7, "outcome": "Published", "rows": 12,
            "started": "2026-11-28T03:00:00Z", "finished": "2026-11-28T03:01:00Z"},
        "rollout": {"comparison": {
            "former": "a", "candidate": "b", "verdict": "Failed", "asOf": "2026-11-28T03:00:00Z", "entities": 500,
            "differences": [
                {"name": "x", "kind": "Same", "checked": 500, "equal": "0.98", "psi": "0.02"},
                {"name": "y", "kind": "Expected", "checked": 500, "equal": "0.4", "psi": "0.31"},
            ],
        }},
    })
}

#[test]
fn a_scrape_shows_the_views_that_there_are() {
    let mut registry = Registry::default();
    let views = Views::register(&mut registry);
    let scrape = || {
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    };
    assert_eq!(scrape(), "# EOF\n", "nobody watches yet");
    let (reader, mut writer) = store::<FeatureView>();
    views.are(reader);
    let clicks = view("clicks", &rolling());
    writer.apply_watcher_event(&Event::Apply(clicks.clone()));
    writer.apply_watcher_event(&Event::Apply(view("new", &Value::Null)));
    let text = scrape();
    for line in [
        r#"phase{namespace="shop",feature_view="clicks",phase="Comparing"} 1.0"#,
        r#"phase{namespace="shop",feature_view="new",phase="Pending"} 1.0"#,
        r#"condition{namespace="shop",feature_view="clicks",type="Ready",status="True"} 1.0"#,
        r#"revisions{namespace="shop",feature_view="clicks",role="candidate"} 1.0"#,
        r#"revisions{namespace="shop",feature_view="clicks",role="previous"} 0.0"#,
        r#"comparison_equal_ratio{namespace="shop",feature_view="clicks"} 0.4"#,
        r#"comparison_psi{namespace="shop",feature_view="clicks"} 0.31"#,
        r#"comparison_entities{namespace="shop",feature_view="clicks"} 500.0"#,
        r#"generation{namespace="shop",feature_view="clicks"} 7.0"#,
        r#"horizon_timestamp_seconds{namespace="shop",feature_view="clicks"} 1795834800.0"#,
        r#"last_run_timestamp_seconds{namespace="shop",feature_view="clicks",outcome="Published"} 1795834860.0"#,
        r#"last_run_entities{namespace="shop",feature_view="clicks"} 12.0"#,
    ] {
        assert!(text.contains(&format!("featuremill_feature_{line}\n")), "{line} in:\n{text}");
    }
    assert!(!text.contains("CaughtUp") && !text.contains("replay_progress"), "{text}");
    writer.apply_watcher_event(&Event::Delete(clicks));
    let text = scrape();
    assert!(!text.contains("clicks") && text.contains("new"), "{text}");
}

#[test]
fn all_that_is_shown_is_documented_as_gauges() {
    let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    for figure in &FIGURES {
        assert!(docs.contains(&format!("| `featuremill_feature_{}` | gauge |", figure.name)), "{}", figure.name);
    }
}

//! What is told, word for word.
#![allow(clippy::unwrap_used, clippy::panic)]

use insta::assert_snapshot;
use serde_json::{Value, json};

use super::*;

const NOW: &str = "2026-11-28T12:00:00Z";

fn arch(mode: &str) -> Architecture {
    let offline = (mode != "Kappa").then(|| json!({"delta": {"uri": "s3://lake/shop"}}));
    let mut spec = json!({"mode": mode, "kafka": {"bootstrapServers": "kafka:9092"},
        "onlineStore": {"redis": {"url": "redis://redis:6379"}}});
    if let Some(offline) = offline {
        spec["offlineStore"] = offline;
    }
    let metadata = json!({"name": "realtime"});
    let object =
        json!({"apiVersion": "featuremill.dev/v1alpha1", "kind": "Architecture", "metadata": metadata, "spec": spec});
    serde_json::from_value(object).unwrap()
}

/// The view, with parts of its spec replaced, and a status.
fn shopper(edits: &[(&str, Value)], status: &Value) -> FeatureView {
    let mut spec = json!({
        "architectureRef": {"name": "realtime"},
        "entity": {"keys": ["user_id"]},
        "source": {
            "topic": "clickstream",
            "timestamp": {"field": "event_ts", "unit": "Milliseconds"},
            "schema": [{"name": "user_id", "type": "String"}, {"name": "kind", "type": "String"}, {"name": "price", "type": "Double"}],
        },
        "features": [
            {"name": "clicks_1h", "aggregate": "Count", "where": "kind = 'click'", "window": "1h"},
            {"name": "spend_30d", "aggregate": "Sum", "of": "price", "window": "30d"},
            {"name": "p95", "aggregate": "Percentile", "of": "price", "percentile": "0.95", "window": "1d", "type": "Tumbling"},
            {"name": "ratio", "expression": "spend_30d / nullif(clicks_1h, 0)"},
        ],
    });
    for (path, value) in edits {
        *spec.pointer_mut(path).unwrap_or_else(|| panic!("{path}")) = value.clone();
    }
    let metadata = json!({"name": "shopper", "namespace": "shop", "uid": "u1"});
    serde_json::from_value(
        json!({"apiVersion": "featuremill.dev/v1alpha1", "kind": "FeatureView", "metadata": metadata,
        "spec": spec, "status": status}),
    )
    .unwrap()
}

fn rollout(rollout: Value) -> (&'static str, Value) {
    ("", rollout)
}

/// The view with another rollout policy.
fn with_rollout(mut view: FeatureView, (_, policy): (&str, Value)) -> FeatureView {
    view.spec.rollout = serde_json::from_value(policy).unwrap();
    view
}

fn serving() -> Value {
    let revision = plan_under(&shopper(&[], &json!({})), &arch("Kappa")).unwrap().revision.clone();
    json!({"activeRevision": revision, "source": {"topic": "clickstream", "partitions": 4, "records": 12_300_000,
        "observedTime": NOW}})
}

fn told(before: Option<&FeatureView>, after: &FeatureView, mode: &str) -> String {
    let (stands, would_be) = (arch("Kappa"), arch(mode));
    let before = before.map(|view| Before { view, architecture: Some(&stands), history: Vec::new() });
    let view = View { before, after, architecture: Some(&would_be), in_file: true };
    match super::view(&view, NOW.parse().unwrap()) {
        Ok((differs, text)) => format!("{text}differs: {differs}\n"),
        Err(refusal) => refusal,
    }
}

#[test]
fn a_new_view_serves_at_once() {
    assert_snapshot!(told(None, &shopper(&[], &json!({})), "Kappa"));
}

#[test]
fn what_changes_no_value_is_updated_in_place() {
    let before = shopper(&[], &serving());
    assert_snapshot!(told(Some(&before), &before, "Kappa"));
    let mut after = before.clone();
    after.spec.replicas = 3;
    after.spec.rollout.paused = true;
    assert_snapshot!(told(Some(&before), &after, "Kappa"));
}

#[test]
fn a_new_revision_is_told_with_what_comes_what_goes_and_what_it_reads() {
    let before = shopper(&[], &serving());
    let features = json!([
        {"name": "clicks_1h", "aggregate": "Count", "where": "kind = 'click'", "window": "2h", "hop": "1m"},
        {"name": "spend_30d", "aggregate": "Sum", "of": "price", "window": "30d"},
        {"name": "ratio", "expression": "spend_30d / nullif(clicks_1h, 1)"},
        {"name": "last_prices", "aggregate": "LastK", "of": "price", "k": 5},
    ]);
    let mut after = shopper(&[("/features", features), ("/source/topic", json!("clickstream"))], &json!({}));
    after.spec.allowed_lateness = "4h".to_owned();
    after.spec.replicas = 3;
    assert_snapshot!(told(Some(&before), &after, "Kappa"));
}

#[test]
fn where_it_reads_from_and_who_decides_are_told() {
    let before = shopper(&[], &serving());
    let window = [("/features/1/window", json!("7d"))];
    let mut texts = String::new();
    for policy in [
        json!({"startFrom": {"policy": "Latest"}, "autoPromotionEnabled": false, "comparison": {"sampleKeys": 0}}),
        json!({"startFrom": {"policy": "Earliest"}, "paused": true, "scaleDownDelaySeconds": 0}),
        json!({"startFrom": {"policy": "Timestamp", "timestamp": "2026-11-01T00:00:00Z"}}),
        json!({"servingRevision": "0123456789"}),
    ] {
        let after = with_rollout(shopper(&window, &json!({})), rollout(policy));
        let lines = told(Some(&before), &after, "Kappa");
        let lines = lines.lines().filter(|line| line.starts_with("  reads") || line.starts_with("  then"));
        texts.extend(lines.map(|line| format!("{line}\n")));
    }
    assert_snapshot!(texts);
}

/// A topic that was empty when it was counted was told to be so for an hour.
#[test]
fn a_count_of_long_ago_says_so() {
    let mut status = serving();
    status["source"]["observedTime"] = json!("2026-11-28T00:00:00Z");
    let edited = shopper(&[("/features/1/window", json!("7d"))], &json!({}));
    let lines = told(Some(&shopper(&[], &status)), &edited, "Kappa");
    assert!(lines.contains(" or later (counted ") && lines.contains(" ago)\n"), "{lines}");
    assert!(!told(Some(&shopper(&[], &serving())), &edited, "Kappa").contains("counted"));
}

#[test]
fn the_way_back_and_a_candidate_that_goes_are_told() {
    let mut status = serving();
    status["candidateRevision"] = json!("cccccccccc");
    let edited = shopper(&[("/features/0/window", json!("2h"))], &status);
    let original = shopper(&[], &json!({}));
    assert_snapshot!("serves", told(Some(&edited), &original, "Kappa"));
    (status["previousRevision"], status["activeRevision"]) = (status["activeRevision"].take(), json!("aaaaaaaaaa"));
    let edited = shopper(&[("/features/0/window", json!("2h"))], &status);
    assert_snapshot!("kept", told(Some(&edited), &original, "Kappa"));
}

#[test]
fn another_mode_is_another_revision() {
    let before = shopper(&[], &serving());
    let mut after = before.clone();
    after.spec.schedule = serde_json::from_value(json!({"schedule": "@daily"})).unwrap();
    after.spec.archive = true;
    assert_snapshot!(told(Some(&before), &after, "Lambda"));
    let change = Change { before: Some(arch("Kappa")), after: arch("Lambda") };
    assert_snapshot!("architecture", architecture(&change).1);
    let same = Change { before: Some(arch("Kappa")), after: arch("Kappa") };
    assert_eq!(architecture(&same), (false, "architecture/realtime  unchanged\n".to_owned()));
}

#[test]
fn what_the_operator_would_refuse_is_an_error() {
    let after = shopper(&[("/features/1/of", json!("cost"))], &json!({}));
    assert_snapshot!(told(None, &after, "Kappa"));
}

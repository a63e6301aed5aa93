//! The documentation of metrics and alerts is whole: read from the sources, so that no crate has to be asked.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs::read_to_string;
use std::path::{Path, PathBuf};

use prometheus_client::encoding::text::encode;
use serde_json::Value;

use super::*;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in dir.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The text literal that `text` begins with, after blanks.
fn literal(text: &str) -> Option<&str> {
    text.trim_start().strip_prefix('"')?.split('"').next()
}

/// What a source registers: each name under the prefix that was named last before it.
fn registered(source: &str) -> Vec<String> {
    let constant = source.split("const PREFIX: &str =").nth(1).and_then(literal);
    let mut all = Vec::new();
    for part in source.split("sub_registry_with_prefix(").skip(1) {
        let prefix = literal(part).or(constant).unwrap();
        let names = [".register(", "name: "].map(|before| part.split(before).skip(1).filter_map(literal));
        all.extend(names.into_iter().flatten().map(|name| format!("{prefix}_{name}")));
    }
    all
}

/// Every metric of operator and workers, as registered.
fn all() -> BTreeSet<String> {
    let mut files = Vec::new();
    sources(&root().join("operator/src"), &mut files);
    for worker in root().join("workers").read_dir().unwrap() {
        let source = worker.unwrap().path().join("src");
        if source.is_dir() {
            sources(&source, &mut files);
        }
    }
    let own = Path::new("metrics").join("tests.rs");
    files.iter().filter(|file| !file.ends_with(&own)).flat_map(|f| registered(&read_to_string(f).unwrap())).collect()
}

/// The rows of the documentation's tables: name and type.
fn documented() -> Vec<(String, String)> {
    let text = read_to_string(root().join("docs/metrics.md")).unwrap();
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `featuremill_")?.split('|').map(str::trim);
        Some((format!("featuremill_{}", cells.next()?.trim_matches('`')), cells.next()?.to_owned()))
    };
    text.lines().filter_map(row).collect()
}

#[test]
fn every_metric_has_one_line_and_every_line_a_metric() {
    let (all, rows) = (all(), documented());
    assert!(all.contains("featuremill_stream_lag_records") && all.contains("featuremill_replay_to_offset"), "{all:?}");
    let base = |(name, kind): &(String, String)| match kind.as_str() {
        // As it is scraped.
        "counter" => name.strip_suffix("_total").unwrap_or("a counter without _total").to_owned(),
        _ => name.clone(),
    };
    let names: Vec<String> = rows.iter().map(base).collect();
    let known: BTreeSet<String> = names.iter().cloned().collect();
    assert_eq!(names.len(), known.len(), "a metric has two lines");
    assert_eq!(all.difference(&known).collect::<Vec<_>>(), [""; 0], "without a line in docs/metrics.md");
    assert_eq!(known.difference(&all).collect::<Vec<_>>(), [""; 0], "in docs/metrics.md, and registered nowhere");
}

#[test]
fn the_operators_metrics_are_of_the_type_that_is_documented() {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    metrics.reconciled("FeatureView", Duration::from_millis(1));
    metrics.failed("FeatureView", "Api");
    metrics.undecodable("FeatureView");
    metrics.queued("FeatureView", 1);
    metrics.requested("GET", 200);
    metrics.posted(true);
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    let kinds: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .filter(|(name, _)| !name.starts_with("featuremill_feature"))
        .collect();
    assert!(kinds.len() >= 10, "{text}");
    for (name, kind) in kinds {
        let row = (if kind == "counter" { format!("{name}_total") } else { name.to_owned() }, kind.to_owned());
        assert!(documented().contains(&row), "{row:?}");
    }
}

#[test]
fn every_alert_has_a_runbook_and_asks_for_metrics_that_there_are() {
    let rules = read_to_string(root().join("charts/featuremill/files/alerts.yaml")).unwrap();
    let table = read_to_string(root().join("docs/metrics.md")).unwrap();
    let alerts: BTreeSet<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert_eq!(alerts.len(), 9);
    for alert in &alerts {
        let page = read_to_string(root().join(format!("docs/runbooks/{alert}.md"))).unwrap();
        let heads: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(heads, ["Meaning", "Impact", "Diagnosis", "Mitigation"], "{alert}");
        assert!(page.starts_with(&format!("# {alert}\n")) && page.contains("kubectl"), "{alert}");
        assert!(rules.contains(&format!("runbook_url: RUNBOOKS/{alert}.md")), "{alert}");
        assert!(table.contains(&format!("| [`{alert}`](runbooks/{alert}.md) |")), "{alert}");
    }
    let pages: BTreeSet<String> = root().join("docs/runbooks").read_dir().unwrap().map(|e| name(&e.unwrap())).collect();
    assert_eq!(pages, alerts.iter().map(|alert| format!("{alert}.md")).collect());
    let known = all();
    let asked = rules.split(|c: char| c != '_' && !c.is_ascii_alphanumeric()).filter(|w| w.starts_with("featuremill_"));
    for metric in asked {
        assert!(known.contains(metric), "{metric} is registered nowhere");
    }
}

/// charts/lint runs them; this says that none is forgotten.
#[test]
fn every_rule_has_a_test_in_which_it_speaks_and_one_in_which_it_is_silent() {
    let read = |path: &str| -> Value { serde_yaml_ng::from_str(&read_to_string(root().join(path)).unwrap()).unwrap() };
    let (rules, tests) = (read("charts/featuremill/files/alerts.yaml"), read("charts/alerts/tests.yaml"));
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let all = list(&tests, "tests");
    let is_empty = |test: &Value, key: &str| list(test, key).is_empty();
    let mut seen = 0;
    for rule in list(&rules, "groups").iter().flat_map(|group| list(group, "rules")) {
        let (name, tested) = match (rule["alert"].as_str(), rule["record"].as_str()) {
            (Some(alert), None) => {
                let of = |test: &Value| test["alertname"].as_str() == Some(alert);
                let cases = all.iter().flat_map(|test| list(test, "alert_rule_test"));
                let empty = cases.filter(of).map(|case| is_empty(&case, "exp_alerts"));
                (alert, empty.collect::<BTreeSet<bool>>())
            }
            (None, Some(record)) => {
                let of = |test: &Value| test["expr"].as_str().is_some_and(|expr| expr.starts_with(record));
                let cases = all.iter().flat_map(|test| list(test, "promql_expr_test"));
                (record, cases.filter(of).map(|case| is_empty(&case, "exp_samples")).collect())
            }
            other => panic!("neither an alert nor a record: {other:?}"),
        };
        assert_eq!(tested, BTreeSet::from([false, true]), "{name} in charts/alerts/tests.yaml");
        seen += 1;
    }
    assert!(seen > 6, "{seen}");
}

fn name(entry: &std::fs::DirEntry) -> String {
    entry.file_name().to_string_lossy().into_owned()
}

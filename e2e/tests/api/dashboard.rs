//! The dashboard and the rules of the chart, asked of a real Prometheus that scrapes the real operator, a real worker and a real
//! server: every panel shows something, and what Prometheus says of a view that falls behind is what the operator says itself.

mod kubelet;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crds::{Architecture, FeatureView};
use e2e::control_plane::ControlPlane;
use e2e::online::Client as Online;
use e2e::services::{Alertmanager, Directory, Kafka, Message, Process, Program, Prometheus, Redis, Signal, free_ports};
use kube::runtime::reflector::store;
use kube::runtime::watcher::Event;
use operator::metrics::Metrics;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use shell::admin::{self, Readiness};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::alerts::Sink;
use crate::cutover::active;
use crate::fixtures::{ARCHITECTURE, VIEW, architecture, view_with, with};
use crate::lag::fresh;
use crate::world::{World, eventually, is};
use kubelet::Kubelet;

fn chart(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/featuremill/files").join(file);
    std::fs::read_to_string(path).unwrap()
}

fn dashboard() -> Value {
    serde_json::from_str(&chart("dashboard.json")).unwrap()
}

/// Every query of the dashboard with the title of its panel, as Grafana asks it.
fn queries() -> Vec<(String, String)> {
    let panels = dashboard()["panels"].as_array().cloned().unwrap();
    let of = |panel: &Value| {
        let title = panel["title"].as_str().unwrap().to_owned();
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        targets.into_iter().map(move |target| (title.clone(), target["expr"].as_str().unwrap().to_owned()))
    };
    let asked = |expr: &str| expr.replace("$__rate_interval", "15s").replace("$namespace", ".*");
    panels.iter().flat_map(of).map(|(title, expr)| (title, asked(&expr))).collect()
}

/// Views in the middle of what takes long or needs a cluster, as the operator's own code shows them: only their status is given.
async fn given(shutdown: CancellationToken) -> String {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let (reader, mut writer) = store::<FeatureView>();
    metrics.views.are(reader);
    let status = json!({
        "phase": "Comparing", "features": 1, "generation": 7, "horizon": "2026-11-28T03:00:00Z",
        "lastRun": {"revision": "a", "generation": 7, "outcome": "Published", "rows": 12,
            "started": "2026-11-28T03:00:00Z", "finished": "2026-11-28T03:01:00Z"},
        "rollout": {
            "trial": {"revision": "b", "replay": {"fence": "f", "capturedTime": "2026-11-28T03:00:00Z", "parts": [],
                "progress": {"percent": 40, "remainingRecords": 6, "recordsPerSecond": 1, "observedTime": "2026-11-28T03:00:00Z"}}},
            "comparison": {"former": "a", "candidate": "b", "verdict": "Failed", "asOf": "2026-11-28T03:00:00Z", "entities": 500,
                "differences": [{"name": "x", "kind": "Same", "checked": 500, "equal": "0.98", "psi": "0.31"}]},
        },
    });
    let mut view = with(view_with("/metadata/name", json!("given")), "/metadata/namespace", json!("given"));
    view["status"] = status;
    writer.apply_watcher_event(&Event::Apply(serde_json::from_value(view).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(admin::serve(listener, Arc::new(registry), Readiness::default(), shutdown));
    address
}

#[test]
fn every_query_asks_for_documented_metrics_and_panels_do_not_overlap() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let queries = queries();
    assert!(queries.len() > 45, "{}", queries.len());
    for (title, query) in &queries {
        let words = query.split(|c: char| c != '_' && !c.is_ascii_alphanumeric());
        let metrics = words.filter(|w| w.starts_with("featuremill_") && !w.starts_with("featuremill_dev_"));
        let documented = |metric: &str| docs.contains(&format!("| `{metric}` |"));
        for metric in metrics {
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| metric.strip_suffix(end));
            assert!(documented(metric) || base.is_some_and(documented), "{title}: {metric} is not in docs/metrics.md");
        }
    }
    let mut taken = std::collections::BTreeSet::new();
    for panel in dashboard()["panels"].as_array().unwrap() {
        let at = |side: &str| panel["gridPos"][side].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{panel}");
        assert!(panel["type"] == "row" || panel["description"].as_str().is_some_and(|d| d.len() > 10), "{panel}");
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "{} lies on another at {x}, {y}", panel["title"]);
            }
        }
    }
}

/// The operator as a process, told of an Alertmanager.
async fn start_operator(world: &World, directory: &Directory, alertmanager: &Alertmanager) -> (Process, String) {
    let kubeconfig = directory.path().join("kubeconfig");
    std::fs::write(&kubeconfig, ControlPlane::shared().unwrap().kubeconfig()).unwrap();
    let [port] = free_ports().unwrap();
    let admin = format!("127.0.0.1:{port}");
    let mut operator = Program::of_workspace("featuremill-operator")
        .unwrap()
        .args(["--namespace", &world.namespace, "--lease-namespace", &world.namespace, "--identity", "alone"])
        .args(["--admin", &admin, "--log-format", "text"])
        .args(["--alertmanager-url", &alertmanager.url(), "--alertmanager-resend-seconds", "2"])
        .args(["--runbooks-url", "https://runbooks.example"])
        .env("KUBECONFIG", &kubeconfig)
        .start(directory.path().join("operator.log"))
        .unwrap();
    operator.until_ok(&format!("http://{admin}/readyz"), Duration::from_mins(1)).await.unwrap();
    (operator, admin)
}

/// The view, whose tiers are a matter of seconds.
fn wanted() -> Value {
    let tier = |tier: i32, lag: i32| json!({"tier": tier, "lagSeconds": lag, "forSeconds": 0});
    view_with("/spec/freshness", json!({"alertTiers": [tier(1, 3), tier(2, 2), tier(3, 1)]}))
}

fn message(payload: String) -> Message {
    Message { payload: Some(payload.into_bytes()), ..Message::default() }
}

fn click(i: i64) -> Message {
    let at = jiff::Timestamp::now().as_millisecond() - i;
    message(json!({"user_id": format!("u{}", i % 5), "event_type": "click", "price": 1.5, "event_ts": at}).to_string())
}

/// Events, one of them bad, and reads until they are served.
async fn feed_and_read(kafka: &Kafka, server: &str) {
    kafka.produce("clickstream", (0..200).map(click).chain([message("{".to_owned())])).await.unwrap();
    let online = Online::new(&format!("http://{server}"));
    eventually("a feature is served", || {
        let online = online.clone();
        async move {
            let ask = move || online.get(VIEW, &["clicks_1h".to_owned()], "user_id", &["u1".to_owned()], None);
            let answer = tokio::task::spawn_blocking(ask).await.unwrap().map_err(|error| error.to_string())?;
            let cell = answer.features.values().next().and_then(|cells| cells.first()).cloned();
            if cell.as_ref().is_some_and(|cell| cell.value == json!(40)) { Ok(()) } else { Err(format!("{cell:?}")) }
        }
    })
    .await;
}

/// A Prometheus with the rules of the chart, which gives the labels that the chart's monitors give.
async fn scrape(namespace: &str, operators: [&str; 2], kubelet: &Kubelet, revision: &str, tells: &str) -> Prometheus {
    let pod = |component: &str, more: [(&str, &str); 2]| {
        let mut labels = json!({"namespace": namespace, "app_kubernetes_io_component": component});
        for (name, value) in more {
            labels[name] = json!(value);
        }
        let target = kubelet.of(component).admin;
        json!({"job_name": component, "static_configs": [{"targets": [target], "labels": labels}]})
    };
    let config = json!({
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yaml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [tells.trim_start_matches("http://")]}]}]},
        "scrape_configs": [
            {"job_name": "operator", "honor_labels": true, "static_configs": [{"targets": operators}]},
            pod("stream", [("featuremill_dev_view", VIEW), ("featuremill_dev_revision", revision)]),
            pod("server", [("featuremill_dev_architecture", ARCHITECTURE), ("featuremill_dev_view", "")]),
        ],
    });
    let rules = chart("alerts.yaml").replace("RUNBOOKS", "https://runbooks.example");
    let prometheus = Prometheus::start(&config.to_string(), &rules).await.unwrap();
    eventually("all is scraped", || async {
        let targets = prometheus.targets().await?;
        let all = targets.len() == 4 && targets.iter().all(|t| t["health"] == "up");
        if all { Ok(()) } else { Err(format!("{targets:#?}")) }
    })
    .await;
    prometheus
}

async fn every_panel_shows_something(prometheus: &Prometheus) {
    for (title, query) in queries() {
        // Of what is not as it should be, nothing is shown else.
        let shown = query.strip_suffix(" > 0").unwrap_or(&query);
        prometheus.query(&query).await.unwrap();
        eventually(&format!("{title}: {query}"), || async {
            let found = prometheus.query(shown).await?;
            if found.is_empty() { Err("nothing".to_owned()) } else { Ok(()) }
        })
        .await;
    }
}

/// The rule fires, the Alertmanager holds one alert of the view, and people hear of it once.
async fn they_agree(prometheus: &Prometheus, alertmanager: &Alertmanager, people: &Sink, name: &str) {
    let rule = eventually("the rule fires", || async {
        let alerts = prometheus.alerts().await?;
        let fires = |a: &&Value| a["labels"]["alertname"] == name && a["state"] == "firing";
        alerts.iter().find(fires).cloned().ok_or_else(|| format!("{alerts:#?}"))
    })
    .await;
    let held = eventually("the Alertmanager holds one", || async {
        let alerts = alertmanager.alerts().await?;
        let lag: Vec<&Value> = alerts.iter().filter(|a| a["labels"]["feature_view"] == VIEW).collect();
        match lag.as_slice() {
            [one] if one["labels"]["alertname"] == name => Ok((*one).clone()),
            other => Err(format!("{other:#?}")),
        }
    })
    .await;
    assert_eq!(rule["labels"], held["labels"]);
    assert_eq!(rule["annotations"]["summary"], held["annotations"]["summary"]);
    assert_eq!(rule["annotations"]["runbook_url"], held["annotations"]["runbook_url"]);
    eventually("people are told", || async {
        let told = people.told(name);
        if told.is_empty() { Err("nothing".to_owned()) } else { Ok(()) }
    })
    .await;
    assert_eq!(people.told(name), ["firing"], "both posted it, and people are told once");
}

#[tokio::test]
async fn every_panel_shows_something_and_rules_and_operator_say_the_same() {
    let world = World::new("dashboard").await;
    let (kafka, redis) = tokio::join!(Kafka::start(), Redis::start());
    let (kafka, redis) = (kafka.unwrap(), redis.unwrap());
    kafka.create_topic("clickstream", 2).await.unwrap();
    let directory = Directory::new("dashboard").unwrap();
    let people = Sink::default();
    let alertmanager = Alertmanager::start(&people.listen().await).await.unwrap();
    let (_operator, admin) = start_operator(&world, &directory, &alertmanager).await;

    let house = with(architecture(), "/spec/kafka/bootstrapServers", json!(kafka.bootstrap()));
    let house = with(house, "/spec/onlineStore/redis/url", json!(redis.url()));
    world.apply::<Architecture>(&house).await.unwrap();
    world.apply::<FeatureView>(&wanted()).await.unwrap();
    let mut kubelet = Kubelet::default();
    let served = eventually("the view is served by real processes", || async {
        world.replay(true).await;
        let view = world.api::<FeatureView>().get(VIEW).await.unwrap();
        let settled = is(&view, "Ready", "True") && is(&view, "Reconciling", "False");
        if settled { Ok(view) } else { Err(format!("{:#?}", view.status)) }
    });
    let view = Box::pin(kubelet.while_it_runs(&world, served)).await;
    feed_and_read(&kafka, &kubelet.of("server").listen).await;

    let shutdown = CancellationToken::new();
    let given = given(shutdown.clone()).await;
    let prometheus = scrape(&world.namespace, [&admin, &given], &kubelet, &active(&view), &alertmanager.url()).await;
    every_panel_shows_something(&prometheus).await;

    // The worker stands still and records wait.
    kubelet.signal("stream", Signal::Stop);
    kafka.produce("clickstream", (0..50).map(click)).await.unwrap();
    they_agree(&prometheus, &alertmanager, &people, "FeaturemillLagTier1").await;
    world.view(VIEW, "the view says so", |v| fresh(v, "False", "LagTier1")).await;

    // What is stopped on purpose ends it everywhere.
    world.apply::<FeatureView>(&with(wanted(), "/spec/suspend", json!(true))).await.unwrap();
    eventually("it is over everywhere", || async {
        let of = |alerts: Vec<Value>| alerts.iter().filter(|a| a["labels"]["feature_view"] == VIEW).count();
        let left = (of(prometheus.alerts().await?), of(alertmanager.alerts().await?));
        if left == (0, 0) { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    kubelet.signal("stream", Signal::Continue);
    shutdown.cancel();
}

//! The dashboard and the rules of the chart, asked of a real Prometheus that scrapes the real operator, a real worker and a real
//! server: every panel shows something, and what Prometheus says of a view that falls behind is what the operator says itself. With
//! `FEATUREMILL_PICTURES=docs/images` it writes the pictures of the documentation.

mod given;
mod kubelet;
mod life;
mod picture;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crds::{Architecture, FeatureView};
use e2e::control_plane::ControlPlane;
use e2e::online::Client as Online;
use e2e::services::{Alertmanager, Directory, Kafka, Process, Program, Prometheus, Redis, Signal, free_ports};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::alerts::Sink;
use crate::cutover::active;
use crate::fixtures::{ARCHITECTURE, VIEW, architecture, view_with, with};
use crate::lag::fresh;
use crate::world::{World, eventually, is};
use given::Given;
use kubelet::Kubelet;
use life::{click, live, message};

/// What Grafana puts in for `$__rate_interval` is at least four times the time between two scrapes, which is a second here.
const RATE_INTERVAL: &str = "10s";
/// For how many seconds the dashboard is looked at before anything goes wrong.
const QUIET_SECONDS: usize = 40;

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
    let asked = |expr: &str| expr.replace("$__rate_interval", RATE_INTERVAL).replace("$namespace", ".*");
    panels.iter().flat_map(of).map(|(title, expr)| (title, asked(&expr))).collect()
}

#[test]
fn every_query_asks_for_documented_metrics_and_panels_do_not_overlap() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let queries = queries();
    assert!(queries.len() > 70, "{}", queries.len());
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

/// The view, whose tiers are a matter of seconds, and more of them than a busy machine takes for what comes in all the time.
fn wanted() -> Value {
    let tier = |tier: i32, lag: i32| json!({"tier": tier, "lagSeconds": lag, "forSeconds": 0});
    view_with("/spec/freshness", json!({"alertTiers": [tier(1, 12), tier(2, 10), tier(3, 8)]}))
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

/// What is above its bound is counted, by feature and view.
async fn what_drifted_and_is_skewed_is_counted(prometheus: &Prometheus) {
    for title in ["Features that drifted", "Features that are skewed"] {
        let (_, query) = queries().into_iter().find(|(of, _)| of == title).unwrap();
        let found = prometheus.query(&query).await.unwrap();
        assert_eq!(found[0]["value"][1], "1", "{title}: {query}: {found:#?}");
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
    let world = World::new("web").await;
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

    let stop = CancellationToken::new();
    let given = Given::start(stop.clone()).await;
    let given_at = given.address.clone();
    let prometheus = scrape(&world.namespace, [&admin, &given_at], &kubelet, &active(&view), &alertmanager.url()).await;
    let began = jiff::Timestamp::now().as_second();
    let kafka = Arc::new(kafka);
    let life = tokio::spawn(live(kafka.clone(), kubelet.of("server").listen, given, stop.clone()));
    eventually("it is looked at for a while", || async {
        let seen = prometheus.query("count_over_time(featuremill_feature_lag_threshold_seconds{tier='1'}[5m])").await?;
        let seen = seen.first().and_then(|one| one["value"][1].as_str()?.parse::<usize>().ok());
        if seen >= Some(QUIET_SECONDS) { Ok(()) } else { Err(format!("{seen:?} seconds")) }
    })
    .await;
    every_panel_shows_something(&prometheus).await;
    what_drifted_and_is_skewed_is_counted(&prometheus).await;

    // The worker stands still and records wait.
    kubelet.signal("stream", Signal::Stop);
    they_agree(&prometheus, &alertmanager, &people, "FeaturemillLagTier1").await;
    world.view(VIEW, "the view says so", |v| fresh(v, "False", "LagTier1")).await;
    eventually("it is to be seen for a while", || async {
        let seen = prometheus.query("count_over_time((featuremill_feature_alert_tier == 1)[1m:1s]) > 14").await?;
        if seen.is_empty() { Err("not yet".to_owned()) } else { Ok(()) }
    })
    .await;
    let url = prometheus.url();
    let to = jiff::Timestamp::now().as_second();
    tokio::task::spawn_blocking(move || picture::take(&url, began, to)).await.unwrap();

    // What is stopped on purpose ends it everywhere.
    world.apply::<FeatureView>(&with(wanted(), "/spec/suspend", json!(true))).await.unwrap();
    eventually("it is over everywhere", || async {
        let of = |alerts: Vec<Value>| alerts.iter().filter(|a| a["labels"]["feature_view"] == VIEW).count();
        let left = (of(prometheus.alerts().await?), of(alertmanager.alerts().await?));
        if left == (0, 0) { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    kubelet.signal("stream", Signal::Continue);
    stop.cancel();
    life.await.unwrap();
}

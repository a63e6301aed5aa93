//! The operator's own traces: a round's spans reach a collector, its log lines have the same id, and its pods are told of both.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use axum::routing::post;
use axum::{Json, Router};
use crds::{Architecture, FeatureView};
use e2e::control_plane::ControlPlane;
use e2e::services::Program;
use k8s_openapi::api::apps::v1::Deployment;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::fixtures::{architecture, view};
use crate::world::{World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_round_is_found_by_one_id_in_the_log_and_at_the_collector() {
    let world = World::new("traces").await;
    let spans: Arc<Mutex<Vec<Value>>> = Arc::default();
    let taken = spans.clone();
    let take = move |Json(body): Json<Value>| async move {
        let sent = body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone();
        taken.lock().unwrap().extend(sent);
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let collector = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/v1/traces", post(take))).await });

    let directory = tempfile::tempdir().unwrap();
    let (kubeconfig, log) = (directory.path().join("kubeconfig"), directory.path().join("log"));
    std::fs::write(&kubeconfig, ControlPlane::shared().unwrap().kubeconfig()).unwrap();
    let operator = Program::of_workspace("featuremill-operator")
        .unwrap()
        .args(["--admin=127.0.0.1:0", "--namespace", &world.namespace])
        .env("KUBECONFIG", &kubeconfig)
        .env("RUST_LOG", "info,kube_client=debug")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector)
        .start(&log)
        .unwrap();
    world.apply::<Architecture>(&architecture()).await.unwrap();
    world.apply::<FeatureView>(&view()).await.unwrap();

    let (trace, parts) = eventually("a round of the view is told of", || async {
        let spans = spans.lock().unwrap().clone();
        let rounds = spans.iter().filter(|span| span["name"] == "reconcile FeatureView");
        let parts = |round: &Value| -> BTreeSet<String> {
            let of_it = spans.iter().filter(|span| span["parentSpanId"] == round["spanId"]);
            of_it.filter_map(|span| Some(span["name"].as_str()?.to_owned())).collect()
        };
        let mut told = rounds.map(|round| (round["traceId"].as_str().unwrap().to_owned(), parts(round)));
        told.find(|(_, parts)| parts.contains("act")).ok_or_else(|| format!("{spans:#?}"))
    })
    .await;
    assert_eq!(parts, ["act", "apply", "observe", "observe the store", "resolve"].map(str::to_owned).into());
    let deployments = world.api::<Deployment>();
    let server = eventually("the server's Deployment", || async {
        deployments.get("realtime-server").await.map_err(|error| error.to_string())
    })
    .await;
    drop(operator);
    let text = std::fs::read_to_string(&log).unwrap();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    assert!(lines.filter(|line| line["trace_id"] == *trace).count() > 0, "no line of {trace} in\n{text}");
    let env = server.spec.unwrap().template.spec.unwrap().containers.remove(0).env.unwrap();
    let told: Vec<(&str, Option<&str>)> = env.iter().map(|v| (v.name.as_str(), v.value.as_deref())).collect();
    assert_eq!(told, [("OTEL_EXPORTER_OTLP_ENDPOINT", Some(collector.as_str()))]);
}

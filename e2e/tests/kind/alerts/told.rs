//! All who tell of a view's lag: the operator, Prometheus by the chart's rules, and an Alertmanager behind each.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::world::{Forward, SHOPPER_VIEW, World};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The chart's values, as the operator of these tests has them while this lives, and as all others have them afterwards.
pub struct Told;

impl Told {
    pub fn by_the_operator(namespace: &str) -> Self {
        install(&[
            "--set",
            &format!("alertmanager.urls={{http://alertmanager.{namespace}:9094}}"),
            "--set",
            "alertmanager.resendSeconds=2",
            "--set",
            "prometheusRule.runbookBaseUrl=https://runbooks.example",
        ]);
        Self
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        // Not twice in trouble: what the first panic says matters more.
        if !std::thread::panicking() {
            install(&[]);
        }
    }
}

fn install(values: &[&str]) {
    let status = Command::new(root().join("kind/install")).arg("dev").args(values).status().unwrap();
    assert!(status.success(), "kind/install: {status}");
}

/// Prometheus and the Alertmanagers, reached through forwarded ports.
pub struct Monitoring {
    prometheus: Forward,
    by_rules: Forward,
    by_operator: Forward,
}

impl Monitoring {
    pub fn start(world: &World) -> Self {
        let namespace = &world.namespace;
        let pods = |namespace: &str| json!([{"role": "pod", "namespaces": {"names": [namespace]}}]);
        // Only the port named admin; the labels of the pods that the chart's PodMonitor takes over.
        let keep =
            json!({"source_labels": ["__meta_kubernetes_pod_container_port_name"], "regex": "admin", "action": "keep"});
        let label = |from: &str, to: &str| json!({"source_labels": [from], "target_label": to});
        let prometheus = json!({
            "global": {"scrape_interval": "2s", "evaluation_interval": "2s"},
            "rule_files": ["rules.yaml"],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": ["127.0.0.1:9093"]}]}]},
            "scrape_configs": [
                {"job_name": "operator", "honor_labels": true, "kubernetes_sd_configs": pods("featuremill-system"), "relabel_configs": [keep]},
                {"job_name": "workers", "kubernetes_sd_configs": pods(namespace), "relabel_configs": [
                    keep,
                    label("__meta_kubernetes_namespace", "namespace"),
                    label("__meta_kubernetes_pod_label_featuremill_dev_view", "featuremill_dev_view"),
                    label("__meta_kubernetes_pod_label_featuremill_dev_revision", "featuremill_dev_revision"),
                ]},
            ],
        });
        let rules = std::fs::read_to_string(root().join("charts/featuremill/files/alerts.yaml")).unwrap();
        let config = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "monitoring"},
            "data": {"prometheus.yaml": prometheus.to_string(), "rules.yaml": rules.replace("RUNBOOKS", "https://runbooks.example")},
        });
        world.apply(&config.to_string());
        // It looks at pods in two namespaces, and may no more than that.
        for at in ["featuremill-system", namespace] {
            let binding = json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "e2e-monitoring"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
                "subjects": [{"kind": "ServiceAccount", "name": "monitoring", "namespace": namespace}],
            });
            world.cluster.apply(at, &binding.to_string()).unwrap();
        }
        world.apply(&std::fs::read_to_string(root().join("kind/monitoring/manifest.yaml")).unwrap());
        world.kubectl(&["rollout", "status", "deployment/monitoring", "--timeout=120s"]).unwrap();
        let to = |port| Forward::start(&world.cluster, namespace, "deployment/monitoring", port);
        Self { prometheus: to(9090), by_rules: to(9093), by_operator: to(9094) }
    }

    fn get(forward: &Forward, path: &str) -> Result<Value, String> {
        let url = format!("http://127.0.0.1:{}{path}", forward.port());
        let answer = ureq::get(&url).call().map_err(|error| format!("{url}: {error}"))?.body_mut().read_json();
        answer.map_err(|error| format!("{url}: {error}"))
    }

    /// The lag alerts of the namespace by name, of a list of alerts.
    fn names(alerts: &Value, namespace: &str) -> Vec<String> {
        let all = alerts.as_array().cloned().unwrap_or_default();
        let ours = all.iter().filter(|alert| alert["labels"]["namespace"] == namespace && alert["state"] != "pending");
        let mut names: Vec<String> =
            ours.filter_map(|a| a["labels"]["alertname"].as_str().map(str::to_owned)).collect();
        names.sort();
        names
    }

    /// What all say of the view at one moment, each in the number of a tier; 0 is none.
    pub fn said(&self, world: &World) -> Result<[(&'static str, i32); 6], String> {
        let condition = match world.condition(SHOPPER_VIEW, "Fresh", "reason").as_str() {
            "LagTier1" => 1,
            "LagTier2" => 2,
            "LagTier3" => 3,
            "OnTime" => 0,
            other => return Err(format!("Fresh is {other}")),
        };
        let status = world.status(SHOPPER_VIEW, "lag.tier").parse().unwrap_or(0);
        let namespace = &world.namespace;
        let query = format!("/api/v1/query?query=featuremill_feature_alert_tier%7Bnamespace%3D%22{namespace}%22%7D");
        let metric = Self::get(&self.prometheus, &query)?["data"]["result"][0]["value"][1].clone();
        let metric = metric.as_str().and_then(|tier| tier.parse().ok()).ok_or("Prometheus has no such metric yet")?;
        let tier = |names: Vec<String>| match names.as_slice() {
            [] => Ok(0),
            [one] => one.strip_prefix("FeaturemillLagTier").and_then(|n| n.parse().ok()).ok_or_else(|| one.clone()),
            several => Err(format!("{several:?}")),
        };
        let rule = Self::get(&self.prometheus, "/api/v1/alerts")?["data"]["alerts"].clone();
        let by_rules = Self::get(&self.by_rules, "/api/v2/alerts")?;
        let by_operator = Self::get(&self.by_operator, "/api/v2/alerts")?;
        let labels = |alerts: &Value| {
            alerts
                .as_array()
                .and_then(|a| a.iter().find(|a| a["labels"]["namespace"] == *namespace))
                .map(|a| a["labels"].clone())
        };
        let (rule, one, other) = (
            tier(Self::names(&rule, namespace))?,
            tier(Self::names(&by_rules, namespace))?,
            tier(Self::names(&by_operator, namespace))?,
        );
        if one == other && labels(&by_rules) != labels(&by_operator) {
            return Err(format!("the labels differ: {by_rules:#} {by_operator:#}"));
        }
        Ok([
            ("condition", condition),
            ("status", status),
            ("metric", metric),
            ("rule", rule),
            ("Alertmanager of the rules", one),
            ("Alertmanager of the operator", other),
        ])
    }
}

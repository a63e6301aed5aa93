//! Views in the middle of what takes long or needs a cluster, as the operator's own code shows them: only their status is given,
//! and moves on with every second. Nothing here is random, so that a test may ask for what it must find.

use std::collections::BTreeMap;
use std::sync::Arc;

use crds::{FeatureView, FeatureViewStatus};
use jiff::{SignedDuration, Timestamp};
use kube::runtime::reflector::store;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::Event;
use operator::lag::figures::View;
use operator::metrics::Metrics;
use operator::scaling::Policy;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use shell::admin::{self, Readiness};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::fixtures::{view_with, with};

const POLICY: Policy = Policy { min: 1, max: 4, target_ms: 60_000, up_cooldown_ms: 0, down_cooldown_ms: 300_000 };

/// What shows them.
pub struct Given {
    /// Where their metrics are.
    pub address: String,
    metrics: Metrics,
    writer: Writer<FeatureView>,
    began: Timestamp,
    before: BTreeMap<&'static str, FeatureViewStatus>,
}

impl Given {
    pub async fn start(shutdown: CancellationToken) -> Self {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let (reader, writer) = store::<FeatureView>();
        metrics.views.are(reader);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(admin::serve(listener, Arc::new(registry), Readiness::default(), shutdown));
        let mut given = Self { address, metrics, writer, began: Timestamp::now(), before: BTreeMap::new() };
        given.at(0);
        given
    }

    /// So many seconds are over.
    pub fn at(&mut self, second: i64) {
        let views = [
            ("shop", "checkout", replayed_and_compared(second)),
            ("shop", "basket", soaking()),
            ("ads", "campaign", self.published(second)),
            ("fraud", "cards", drifting_and_skewed(second)),
            ("fraud", "devices", scaled(second)),
        ];
        for (namespace, name, status) in views {
            self.show(namespace, name, status);
        }
    }

    /// As the operator does when it has written a status.
    fn show(&mut self, namespace: &str, name: &'static str, status: Value) {
        let mut view = with(view_with("/metadata/name", json!(name)), "/metadata/namespace", json!(namespace));
        view["status"] = status;
        for (type_, holds) in [("Ready", "True"), ("Stalled", "False"), ("Fresh", "True")] {
            let condition = json!({"type": type_, "status": holds, "reason": "Given", "message": "",
                "lastTransitionTime": "2026-11-28T03:00:00Z"});
            let conditions = &mut view["status"]["conditions"];
            let known = conditions.as_array().cloned().unwrap_or_default();
            *conditions = known.into_iter().chain([condition]).collect();
        }
        let view: FeatureView = serde_json::from_value(view).unwrap();
        let after = view.status.clone().unwrap();
        let of = View { namespace: namespace.to_owned(), feature_view: name.to_owned() };
        let before = self.before.get(name).cloned().unwrap_or_default();
        let watched = after.monitoring.as_deref();
        self.metrics.checks.show(name, &of, watched, watched.map(|_| false));
        self.metrics.lag.freshness.reported(namespace, name, &before, &after);
        self.metrics.scaling.reported(of, after.scaling.as_ref().map(|_| &POLICY), &before, &after);
        self.before.insert(name, after);
        self.writer.apply_watcher_event(&Event::Apply(view));
    }

    /// A batch that is run every twelve seconds, each generation a little larger, some of them later.
    fn published(&self, second: i64) -> Value {
        let run = second / 12;
        let finished = self.began + SignedDuration::from_secs(12 * run);
        let horizon = finished - SignedDuration::from_secs(840 + 300 * (run % 3));
        json!({
            "phase": "Live", "activeRevision": "a", "generation": 41 + run, "horizon": horizon.to_string(),
            "lastRun": {"revision": "a", "generation": 41 + run, "outcome": "Published", "rows": 48_210 + 640 * run,
                "started": (finished - SignedDuration::from_secs(4)).to_string(), "finished": finished.to_string()},
        })
    }
}

/// A replay of twenty-five seconds, and its comparison, that fails.
fn replayed_and_compared(second: i64) -> Value {
    let percent = (4 * second + 2).min(100);
    let done = percent == 100;
    let progress = json!({"percent": percent, "remainingRecords": 100 - percent, "recordsPerSecond": 4,
        "observedTime": "2026-11-28T03:00:00Z"});
    let mut status = json!({
        "phase": if done { "Comparing" } else { "Replaying" }, "activeRevision": "a", "candidateRevision": "b",
        "rollout": {"trial": {"revision": "b", "replay": {"fence": "f", "capturedTime": "2026-11-28T03:00:00Z", "parts": [],
            "progress": progress}}},
    });
    if done {
        status["rollout"]["comparison"] = comparison("Failed", "0.9310", "0.3100", 6_800 + 40 * (second - 24));
    }
    status
}

fn soaking() -> Value {
    json!({"phase": "Soaking", "activeRevision": "b", "previousRevision": "a",
        "rollout": {"comparison": comparison("Passed", "0.9999", "0.1400", 10_000)}})
}

fn comparison(verdict: &str, equal: &str, psi: &str, entities: i64) -> Value {
    json!({"former": "a", "candidate": "b", "verdict": verdict, "asOf": "2026-11-28T03:00:00Z", "entities": entities,
        "differences": [{"name": "spend_30d", "kind": "Same", "checked": entities, "equal": equal, "psi": psi}]})
}

/// One feature goes over its bound after half a minute, another stays below; one is not what its events give.
fn drifting_and_skewed(second: i64) -> Value {
    let check = f64::from(i32::try_from(second / 5).unwrap().min(9));
    let feature = |name: &str, step: f64| {
        json!({"name": name, "psi": format!("{:.4}", 0.02 + check * step), "ks": format!("{:.4}", 0.01 + check * step * 0.6),
            "nullShare": format!("{:.4}", 0.001 + check * step * 0.2), "outlierShare": format!("{:.4}", check * step * 0.03)})
    };
    let features = [feature("spend_30d", 0.042), feature("price_p95_7d", 0.013), feature("clicks_24h", 0.004)];
    let ratio = format!("{:.4}", 0.002 + check * 0.0004);
    json!({
        "phase": "Live", "activeRevision": "a",
        "monitoring": {
            "drift": {"revision": "a", "asOf": "2026-11-28T12:00:00Z", "entities": 10_000, "reference": "Baseline", "maxPsi": "0.25",
                "drifted": i64::from(0.02 + check * 0.042 > 0.25), "features": features},
            "skew": {"revision": "a", "asOf": "2026-11-28T12:30:00Z", "entities": 500, "maxMismatchRatio": "0.001", "skewed": 1,
                "features": [{"name": "clicks_24h", "checked": 500, "differs": 1, "ratio": ratio}]},
        },
    })
}

/// One worker, two, four; then four are fewer than the lag asks for.
fn scaled(second: i64) -> Value {
    let at = [(0, 1), (8, 2), (18, 4)];
    let wanted =
        |at_second: i64| at.iter().rev().find(|(from, _)| *from <= at_second).map_or(1, |(_, workers)| *workers);
    let since = at.iter().rev().find(|(from, _)| *from <= second && *from > 0);
    let mut scaling = json!({"revision": "a", "desiredReplicas": wanted(second),
        "reason": if second < 28 { "DesiredWithinRange" } else { "TooManyReplicas" }});
    if let Some((from, workers)) = since {
        scaling["lastScale"] = json!({"fromReplicas": workers / 2, "toReplicas": workers, "waitingRecords": 90_000,
            "producedPerSecond": 4_000, "consumedPerSecond": 2_000, "time": format!("2026-11-28T12:00:{from:02}Z")});
    }
    json!({"phase": "Live", "activeRevision": "a", "scaling": scaling, "readyReplicas": wanted(second - 3)})
}

//! A worker that is stopped, a Redis that stands still, a topic that is flooded: condition, Events, metric, Prometheus' alert and
//! both Alertmanagers say the same of it, within half a minute of the truth. One Alertmanager hears of it from the chart's rules
//! alone, the other from the operator alone.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use e2e::progress::wait_for;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::world::{Forward, SHOPPER, SHOPPER_VIEW, World};

/// How far what is said may be behind what is true.
const SOON: Duration = Duration::from_secs(30);
/// From how many seconds on each tier is exceeded, tier 1 first.
const BOUNDS: [u64; 3] = [55, 30, 10];
/// The same for who reads all the time and is late: while there is much to read, what was read is written every half a minute, so
/// that it is up to that much later than it need be.
const WIDE: [u64; 3] = [180, 90, 40];
/// A tier goes once the lag was well under its bound for this long.
const CLEARS_AFTER: Duration = Duration::from_mins(1);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The chart's values, as the operator of these tests has them while this lives, and as all others have them afterwards.
struct Told;

impl Told {
    fn by_the_operator(namespace: &str) -> Self {
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
struct Monitoring {
    prometheus: Forward,
    by_rules: Forward,
    by_operator: Forward,
}

impl Monitoring {
    fn start(world: &World) -> Self {
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
}

/// What all say of the view at one moment, each in the number of a tier; 0 is none.
fn said(world: &World, monitoring: &Monitoring) -> Result<[(&'static str, i32); 6], String> {
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
    let metric = Monitoring::get(&monitoring.prometheus, &query)?["data"]["result"][0]["value"][1].clone();
    let metric = metric.as_str().and_then(|tier| tier.parse().ok()).ok_or("Prometheus has no such metric yet")?;
    let tier = |names: Vec<String>| match names.as_slice() {
        [] => Ok(0),
        [one] => one.strip_prefix("FeaturemillLagTier").and_then(|n| n.parse().ok()).ok_or_else(|| one.clone()),
        several => Err(format!("{several:?}")),
    };
    let rule = Monitoring::get(&monitoring.prometheus, "/api/v1/alerts")?["data"]["alerts"].clone();
    let by_rules = Monitoring::get(&monitoring.by_rules, "/api/v2/alerts")?;
    let by_operator = Monitoring::get(&monitoring.by_operator, "/api/v2/alerts")?;
    let labels = |alerts: &Value| {
        alerts
            .as_array()
            .and_then(|a| a.iter().find(|a| a["labels"]["namespace"] == *namespace))
            .map(|a| a["labels"].clone())
    };
    let (rule, one, other) = (
        tier(Monitoring::names(&rule, namespace))?,
        tier(Monitoring::names(&by_rules, namespace))?,
        tier(Monitoring::names(&by_operator, namespace))?,
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

/// Waits until all say this tier at one moment, which must be before `deadline`, and the Event with this reason is there.
async fn agree(world: &World, monitoring: &Monitoring, tier: i32, event: Option<&str>, deadline: Instant) {
    let left = deadline.saturating_duration_since(Instant::now());
    let outcome = wait_for(&format!("all say tier {tier}"), left, || async {
        let said = said(world, monitoring)?;
        if said.iter().all(|(_, known)| *known == tier) { Ok(()) } else { Err(format!("{said:?}")) }
    })
    .await;
    outcome.unwrap_or_else(|error| panic!("{error}"));
    println!(
        "all say tier {tier}, {:.1} s before they had to",
        deadline.saturating_duration_since(Instant::now()).as_secs_f32()
    );
    let Some(event) = event else { return };
    wait_for(&format!("Event {event}"), SOON, || async {
        let reasons = world.kubectl(&["get", "events", "-o", "jsonpath={.items[*].reason}"])?;
        if reasons.split_whitespace().any(|reason| reason == event) { Ok(()) } else { Err(reasons) }
    })
    .await
    .unwrap();
}

fn feed(world: &World, from: u64, count: u64) {
    for i in from..from + count {
        let now = jiff::Timestamp::now().as_millisecond();
        // Quickly: a flood has to be written faster than it is read.
        let user = i % 1000;
        let event = format!(r#"{{"user_id":"u{user}","session_id":"s{i}","event":"product_view","ts":{now}}}"#);
        world.feed.send(i.to_string().as_bytes(), event.as_bytes(), now, None).unwrap();
    }
    world.feed.flush().unwrap();
}

fn after(start: Instant, seconds: u64) -> Instant {
    start + Duration::from_secs(seconds) + SOON
}

/// A view that is watched by all of them, on time.
struct Watched {
    world: Arc<World>,
    uid: String,
    monitoring: Monitoring,
    _told: Told,
}

impl Watched {
    /// `spec` is what the view says besides.
    async fn open(name: &str, bounds: [u64; 3], spec: &str) -> Self {
        let world = Arc::new(World::new(name, 4).await);
        let told = Told::by_the_operator(&world.namespace);
        let tier = |tier: usize| json!({"tier": tier, "lagSeconds": bounds[tier - 1], "forSeconds": 0});
        let freshness = format!("\n    alertTiers: {}\n", json!([tier(1), tier(2), tier(3)]));
        let view = world.shopper().replace("\n    targetSeconds: 60\n", &format!("\n    targetSeconds: 60{freshness}"));
        world.apply(&format!("{view}{spec}"));
        for object in ["architecture/realtime", SHOPPER_VIEW] {
            world.ready(object);
        }
        let (monitoring, uid) = (Monitoring::start(&world), world.uid(SHOPPER));
        let watched = Self { world, uid, monitoring, _told: told };
        feed(&watched.world, 0, 5_000);
        watched.world.settled(&watched.uid).await.unwrap();
        watched.agree(0, None, Instant::now() + Duration::from_mins(2)).await;
        watched
    }

    async fn agree(&self, tier: i32, event: Option<&str>, deadline: Instant) {
        agree(&self.world, &self.monitoring, tier, event, deadline).await;
    }

    /// All records are read, and in time all say so.
    async fn cleared(&self) {
        self.world.settled(&self.uid).await.unwrap();
        // Of a node that is busy with other tests more is not asked for here; how soon a tier rises is.
        self.agree(0, Some("LagTierCleared"), Instant::now() + CLEARS_AFTER + 2 * SOON).await;
    }

    /// No worker, and records that wait: tier 3, 2, 1.
    async fn worker_is_stopped(&self) {
        let world = &self.world;
        world.kubectl(&["scale", SHOPPER_VIEW, "--replicas=0"]).unwrap();
        let stream = "app.kubernetes.io/component=stream";
        world.kubectl(&["wait", "--for=delete", "pod", "-l", stream, "--timeout=120s"]).unwrap();
        let waits = Instant::now();
        feed(world, 5_000, 1_000);
        self.agree(3, Some("LagTier3Raised"), after(waits, BOUNDS[2])).await;
        self.agree(2, Some("LagTier2Raised"), after(waits, BOUNDS[1])).await;
        self.agree(1, Some("LagTier1Raised"), after(waits, BOUNDS[0])).await;
        world.kubectl(&["scale", SHOPPER_VIEW, "--replicas=1"]).unwrap();
        self.cleared().await;
    }

    /// Redis takes no writes for long enough for all tiers; nothing is lost, and the worker goes on by itself.
    async fn redis_stands_still(&self) {
        let mut redis = redis::Client::open(self.world.cluster.redis()).and_then(|c| c.get_connection()).unwrap();
        let pause = BOUNDS[0] + 35;
        redis::cmd("CLIENT").arg("PAUSE").arg(pause * 1000).arg("WRITE").exec(&mut redis).unwrap();
        let waits = Instant::now();
        feed(&self.world, 6_000, 1_000);
        self.agree(3, Some("LagTier3Raised"), after(waits, BOUNDS[2])).await;
        self.agree(2, Some("LagTier2Raised"), after(waits, BOUNDS[1])).await;
        self.agree(1, Some("LagTier1Raised"), after(waits, BOUNDS[0])).await;
        redis::cmd("CLIENT").arg("UNPAUSE").exec(&mut redis).unwrap();
        self.cleared().await;
    }

    /// More is written than the worker reads, then as much, then less: it is late while it reads, tier 3, 2, 1, and less and less
    /// late, 2, 3, none.
    async fn topic_is_flooded(&self) {
        let flood = Flood::start(&self.world, &self.uid, WIDE[0] + 40);
        let begun = Instant::now();
        for (tier, event) in [(3, "LagTier3Raised"), (2, "LagTier2Raised"), (1, "LagTier1Raised")] {
            // How fast it becomes late depends on how much faster than the worker this machine writes.
            let over = flood.over(WIDE[tier - 1]).await;
            self.agree(i32::try_from(tier).unwrap(), Some(event), over + SOON).await;
        }
        for (tier, waiting) in [(2, 80), (3, 34)] {
            // Far enough from where the tier above is held, and from where this one goes.
            flood.seconds.store(waiting, Ordering::Release);
            let over = WIDE[tier - 2];
            // The operator adds what events may be ahead of their time: a second.
            self.lessens(&flood, i32::try_from(tier).unwrap(), over * 3 / 4 - 1).await;
            let note = format!("tier {} is no longer exceeded, tier {tier} still is", tier - 1);
            wait_for("the Event", SOON, || async {
                let notes = self.world.kubectl(&["get", "events.events.k8s.io", "-o", "jsonpath={.items[*].note}"])?;
                if notes.contains(&note) { Ok(()) } else { Err(notes) }
            })
            .await
            .unwrap();
        }
        let records = flood.stop().await;
        println!("{records} records in {:.0} s", begun.elapsed().as_secs_f32());
        self.cleared().await;
    }

    /// Waits until all say a lesser tier: half a minute at most after the worker has been `under` so many seconds late for as long
    /// as the tier before is held.
    async fn lessens(&self, flood: &Flood, tier: i32, under: u64) {
        let outcome = wait_for(&format!("all say tier {tier}"), Duration::from_mins(10), || async {
            let late = flood.under_since(under).map(|since| since.elapsed());
            let said = said(&self.world, &self.monitoring)?;
            if said.iter().all(|(_, known)| *known == tier) {
                println!("all say tier {tier}, {late:.1?} after the worker was under {under} s late");
                return Ok(());
            }
            assert!(late.is_none_or(|late| late < CLEARS_AFTER + SOON), "not tier {tier} {late:?} after: {said:?}");
            Err(format!("{said:?}, under {under} s late for {late:?}; {}", flood.ages()))
        })
        .await;
        outcome.unwrap_or_else(|error| panic!("{error}"));
    }

    fn close(self) {
        self.world.cluster.kubectl(&["-n", "featuremill-system", "delete", "rolebinding", "e2e-monitoring"]).unwrap();
    }
}

/// Somebody who writes so much that what waits always takes the worker so many seconds, at the rate at which it reads: faster than
/// any worker while that is more than what waits, and not at all while it is less.
///
/// An event waits for as long as there was work before it when it was written, so a change shows only once all of that is read.
struct Flood {
    /// How long what waits is to take the worker.
    seconds: Arc<AtomicU64>,
    /// By when it was looked at: how old the newest event is that was read, in the partition where it is oldest, in milliseconds.
    ages_ms: Arc<Mutex<Vec<(Instant, u64)>>>,
    over: Over,
    task: JoinHandle<u64>,
}

/// Ends what looks at it, also when a test fails: the process waits for it.
struct Over(Arc<AtomicBool>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Flood {
    /// How often it looks.
    const STEP: Duration = Duration::from_millis(500);
    /// The most that it writes in a step, and in all: some hundred megabytes.
    const AT_ONCE: u64 = 50_000;
    const MOST: u64 = 6_000_000;

    fn start(world: &Arc<World>, uid: &str, seconds: u64) -> Self {
        let (seconds, ages_ms) = (Arc::new(AtomicU64::new(seconds)), Arc::<Mutex<Vec<_>>>::default());
        let over = Arc::new(AtomicBool::new(false));
        let (world, uid) = (world.clone(), uid.to_owned());
        let (wanted, ages, stop) = (seconds.clone(), ages_ms.clone(), over.clone());
        let clock = Handle::current();
        let task = tokio::task::spawn_blocking(move || {
            // A guess until it is known; then what was read a second, from the beginning: it is told of seldom, and much at once.
            let (mut rate, mut fed) = (2_000.0, 0);
            let (begun, before) = (Instant::now(), world.read(&uid).unwrap());
            while !stop.load(Ordering::Acquire) {
                let (ends, markers) = (world.feed.end_offsets().unwrap(), world.markers(&uid).unwrap());
                let now = jiff::Timestamp::now().as_millisecond();
                let read: i64 = markers.iter().flatten().map(|marker| marker.offset).sum();
                let late = markers.iter().flatten().zip(&ends).filter(|(marker, end)| marker.offset < **end);
                let oldest = late.map(|(marker, _)| now - marker.event_time).max().unwrap_or(0);
                ages.lock().unwrap().push((Instant::now(), oldest.max(0).unsigned_abs()));
                #[allow(clippy::cast_precision_loss)]
                if read > before {
                    rate = (read - before) as f64 / begun.elapsed().as_secs_f64();
                }
                #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                let full = (rate.max(100.0) * wanted.load(Ordering::Acquire) as f64) as u64;
                let waits = (ends.iter().sum::<i64>() - read).unsigned_abs();
                let more = full.saturating_sub(waits).min(Self::AT_ONCE).min(Self::MOST - fed);
                if more > 0 {
                    feed(&world, 7_000 + fed, more);
                    fed += more;
                }
                // The worker reads meanwhile; nothing tells of it but the markers.
                clock.block_on(tokio::time::sleep(Self::STEP));
            }
            println!("the worker reads {rate:.0} records/s");
            fed
        });
        Self { seconds, ages_ms, over: Over(over), task }
    }

    /// Waits until what is read is older than so many seconds; since when that is so.
    async fn over(&self, seconds: u64) -> Instant {
        wait_for("the worker to be late", Duration::from_mins(8), || async {
            match self.ages_ms.lock().unwrap().last() {
                Some((at, age_ms)) if *age_ms > seconds * 1000 => Ok(*at),
                other => Err(format!("{other:?}")),
            }
        })
        .await
        .unwrap()
    }

    /// Since when all that was read was no older than so many seconds.
    fn under_since(&self, seconds: u64) -> Option<Instant> {
        let ages = self.ages_ms.lock().unwrap();
        ages.iter().rev().take_while(|(_, age_ms)| *age_ms <= seconds * 1000).last().map(|(at, _)| *at)
    }

    /// How it was of late, in seconds.
    fn ages(&self) -> String {
        let ages = self.ages_ms.lock().unwrap();
        let some: Vec<u64> = ages.iter().rev().step_by(20).take(12).map(|(_, age_ms)| age_ms / 1000).collect();
        format!("late by {some:?} s, newest first")
    }

    /// Ends it; how many records it wrote.
    async fn stop(self) -> u64 {
        drop(self.over);
        self.task.await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tiers_rise_and_fall_and_all_who_tell_of_them_agree() {
    let watched = Watched::open("alerts", BOUNDS, "").await;
    watched.worker_is_stopped().await;
    watched.close();
}

/// So slow a worker is late on any machine, and its lag is the age of what it reads, not that and five minutes more.
const SLOW: &str =
    "  maxFuture: 1s\n  worker: {resources: {requests: {cpu: 25m}, limits: {cpu: 50m, memory: 512Mi}}}\n";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "ten minutes: make soak NAME=alerts"]
async fn tiers_follow_a_worker_and_a_redis() {
    let watched = Watched::open("alerts-long", BOUNDS, SLOW).await;
    watched.worker_is_stopped().await;
    watched.redis_stands_still().await;
    watched.close();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a quarter of an hour: make soak NAME=alerts"]
async fn tiers_follow_a_flood() {
    let watched = Watched::open("alerts-flood", WIDE, SLOW).await;
    watched.topic_is_flooded().await;
    watched.close();
}

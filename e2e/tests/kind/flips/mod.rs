//! Flips there and back between two revisions while a pod inside of the cluster reads, and checks every answer: none fails,
//! none mixes revisions, none is of the revision that the pointer had left. On a single Redis, and on a Redis Cluster.
//!
//! `e2e/make/flips-image` makes the pod's image. The long forms (`hundred`) are `make soak`'s.

mod edit;
mod view;

use std::time::{Duration, Instant};

use e2e::flips::{Expected, Report};
use e2e::online::Client;
use e2e::progress::wait_for;
use serde_json::json;

use self::view::VIEW;
use crate::world::World;

const REDIS_CLUSTER: &str = include_str!("redis-cluster.yaml");

/// How much is done.
struct Scale {
    flips: usize,
    /// From one flip to the next, at the least.
    every: Duration,
    /// Reads a second that are asked for, and that there must be at least in the mean.
    rate: f64,
    least_rate: f64,
    checked: u64,
}

const SHORT: Scale = Scale { flips: 6, every: Duration::from_secs(2), rate: 200.0, least_rate: 100.0, checked: 3_000 };
const LONG: Scale =
    Scale { flips: 100, every: Duration::from_millis(4_500), rate: 2_200.0, least_rate: 2_000.0, checked: 1_000_000 };

/// Where rows are.
#[derive(Clone, Copy)]
enum Store {
    Redis,
    Cluster,
}

#[tokio::test(flavor = "multi_thread")]
async fn no_read_notices_flips_on_redis() {
    flips("flips", Store::Redis, &SHORT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_read_notices_flips_on_a_redis_cluster() {
    flips("flips-cluster", Store::Cluster, &SHORT).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "ten minutes: make soak NAME=flips"]
async fn no_read_of_a_million_notices_a_hundred_flips_on_redis() {
    flips("flips", Store::Redis, &LONG).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "ten minutes: make soak NAME=flips"]
async fn no_read_of_a_million_notices_a_hundred_flips_on_a_redis_cluster() {
    flips("flips-cluster", Store::Cluster, &LONG).await;
}

async fn flips(name: &str, store: Store, scale: &Scale) {
    let world = World::bare(name, 4).await;
    let redis_url = match store {
        Store::Redis => "redis://redis.data:6379".to_owned(),
        Store::Cluster => redis_cluster(&world).await,
    };
    world.apply(&architecture(&redis_url));
    world.apply(&view::manifest(&world.topic, "a"));
    view::send(&world.feed);
    for object in ["architecture/realtime".to_owned(), format!("featureview/{VIEW}")] {
        world.ready(&object);
    }
    let (uid, client) = (world.uid(VIEW), Client::new(&world.node_port_url("realtime-server").await));
    let object = format!("featureview/{VIEW}");
    let old = world.status(&object, "activeRevision");
    reads(&client, &view::expected(&uid, &[(&old, "a")])).await;
    world.apply(&view::manifest(&world.topic, "b"));
    wait_for("the new revision to serve", Duration::from_mins(5), || async {
        let found = (world.status(&object, "activeRevision"), world.status(&object, "phase"));
        if found.0 != old && found.1 == "Soaking" { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await
    .unwrap();
    let new = world.status(&object, "activeRevision");
    assert_eq!(world.status(&object, "previousRevision"), old);
    reads(&client, &view::expected(&uid, &[(&new, "b")])).await;

    let expected = view::expected(&uid, &[(&old, "a"), (&new, "b")]);
    expected.telling().unwrap();
    world.apply(&load("flips", &world.namespace, &redis_url, &expected, scale));
    // The yardstick is in the same run: reads with no flip near.
    said(&world, "flips", "reads before the first flip", |report| report.seconds >= 10.0 || report.done).await;
    let mut moves = Vec::new();
    for flip in 0..scale.flips {
        let begun = Instant::now();
        let (rollout, revision) = if flip % 2 == 0 {
            (json!({"servingRevision": old}), &old)
        } else {
            (json!({"servingRevision": null}), &new)
        };
        let patch = json!({"spec": {"rollout": rollout}}).to_string();
        world.kubectl(&["patch", "featureview", VIEW, "--type=merge", "-p", &patch]).unwrap();
        // One process that watches, not many that look: they would take from the machine what the reads need.
        let told = format!("--for=jsonpath={{.status.activeRevision}}={revision}");
        world.kubectl(&["wait", "featureview", VIEW, &told, "--timeout=60s"]).unwrap();
        moves.push(begun.elapsed());
        tokio::time::sleep(scale.every.saturating_sub(begun.elapsed())).await;
    }
    let report = said(&world, "flips", "the load to end", |report| report.done).await;
    moves.sort();
    println!("{name}: {}", serde_json::to_string_pretty(&report).unwrap());
    println!(
        "{name}: from the patch to the status: median {:?}, longest {:?}",
        moves[moves.len() / 2],
        moves[moves.len() - 1]
    );
    assert!(report.is_clean(), "{:?}", report.wrong);
    assert_eq!(report.moves, scale.flips);
    assert!(report.checked >= scale.checked && report.per_second >= scale.least_rate, "the load was no load");
    assert!(report.near.count > 0 && report.rest.count > 0);
    for revision in [&old, &new] {
        assert!(report.of_revision.get(revision).is_some_and(|count| *count > report.checked / 10), "{revision}");
    }
}

/// Waits until every entity reads as expected of the one revision.
async fn reads(client: &Client, expected: &Expected) {
    let (revision, rows) = expected.revisions.iter().next().unwrap();
    wait_for("all values", Duration::from_mins(2), || async {
        for entity in rows.keys() {
            let body: serde_json::Value = serde_json::from_str(&expected.ask(entity)).unwrap();
            let answer = client.post(&body).map_err(|e| e.to_string())?.to_string();
            let found = expected.check(entity, answer.as_bytes())?;
            if found != revision {
                return Err(format!("{entity} is still of {found}"));
            }
        }
        Ok(())
    })
    .await
    .unwrap();
}

/// Waits until the last thing that the load `job` said is as `wanted`, and gives it.
async fn said(world: &World, job: &str, what: &str, wanted: impl Fn(&Report) -> bool) -> Report {
    wait_for(what, Duration::from_mins(20), || async {
        let logs = world.kubectl(&["logs", &format!("job/{job}"), "--tail=1"])?;
        assert!(!logs.starts_with("flips: "), "the load {job} did not begin: {logs}");
        let report: Report = serde_json::from_str(logs.trim()).map_err(|_| logs.clone())?;
        if wanted(&report) { Ok(report) } else { Err(logs) }
    })
    .await
    .unwrap()
}

fn architecture(redis_url: &str) -> String {
    format!(
        "apiVersion: featuremill.dev/v1alpha1
kind: Architecture
metadata: {{name: realtime}}
spec:
  mode: Kappa
  kafka: {{bootstrapServers: kafka.data:9092}}
  onlineStore:
    redis: {{url: {redis_url}}}
  serving:
    replicas: 1
    service: {{type: NodePort}}
"
    )
}

/// A Redis Cluster in the test's namespace, of the image that the cluster's Redis has; its URL.
async fn redis_cluster(world: &World) -> String {
    let image = "jsonpath={.spec.template.spec.containers[0].image}";
    let image = world.cluster.kubectl(&["-n", "data", "get", "statefulset", "redis", "-o", image]).unwrap();
    world.apply(&REDIS_CLUSTER.replace("REDIS_IMAGE", image.trim()));
    world.kubectl(&["rollout", "status", "statefulset/redis-cluster", "--timeout=180s"]).unwrap();
    let addresses = r#"jsonpath={range .items[*]}{.status.podIP}:6379{"\n"}{end}"#;
    let selector = "app.kubernetes.io/name=redis-cluster";
    let addresses = world.kubectl(&["get", "pods", "-l", selector, "-o", addresses]).unwrap();
    let addresses: Vec<&str> = addresses.split_whitespace().collect();
    assert_eq!(addresses.len(), 3, "{addresses:?}");
    let inside = ["exec", "redis-cluster-0", "--", "redis-cli"];
    let create = [&inside[..], &["--cluster", "create"], &addresses, &["--cluster-yes"]].concat();
    world.kubectl(&create).unwrap();
    wait_for("the Redis Cluster", Duration::from_mins(1), || async {
        let info = world.kubectl(&[&inside[..], &["cluster", "info"]].concat())?;
        let whole = info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384");
        if whole { Ok(()) } else { Err(info) }
    })
    .await
    .unwrap();
    format!("redis://redis-cluster.{}:6379", world.namespace)
}

/// The load as a Job, and what it expects.
fn load(job: &str, namespace: &str, redis_url: &str, expected: &Expected, scale: &Scale) -> String {
    let Scale { flips, rate, checked, .. } = scale;
    let expected = serde_json::to_string(expected).unwrap();
    let args = [
        format!("--server=realtime-server.{namespace}:6566"),
        format!("--redis-url={redis_url}"),
        "--expected=/expected/expected.json".to_owned(),
        format!("--moves={flips}"),
        format!("--checked={checked}"),
        format!("--rate={rate}"),
        "--limit-seconds=1200".to_owned(),
    ];
    let pod = json!({
        "restartPolicy": "Never",
        "automountServiceAccountToken": false,
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{
            "name": "flips",
            "image": "featuremill-flips:dev",
            "imagePullPolicy": "IfNotPresent",
            "command": ["flips"],
            "args": args,
            "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            "volumeMounts": [{"name": "expected", "mountPath": "/expected"}],
        }],
        "volumes": [{"name": "expected", "configMap": {"name": job}}],
    });
    let file = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": job}, "data": {"expected.json": expected},
    });
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": job},
        "spec": {"backoffLimit": 0, "template": {"spec": pod}},
    });
    json!({"apiVersion": "v1", "kind": "List", "items": [file, job]}).to_string()
}

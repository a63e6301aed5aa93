//! Views in every phase, as an operator would report them; the same in every run but for the time.

use crds::{Architecture, FeatureView};
use futures::{StreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

/// Compared, and different.
pub const DIFFERS: &str = "shop/checkout";
/// Reads its history again.
pub const REPLAYS: &str = "fraud/listing";
/// After its promotion.
pub const SOAKS: &str = "logistics/seller";
/// Of a topic whose lag nobody measures.
pub const UNMEASURED: &str = "growth/refund";

const NAMESPACES: [(&str, &str, &str); 5] = [
    ("shop", "realtime", "Kappa"),
    ("fraud", "realtime", "Kappa"),
    ("ads", "speed-and-batch", "Lambda"),
    ("logistics", "lakehouse", "Lakehouse"),
    ("growth", "nightly", "Batch"),
];
const NOUNS: [&str; 17] = [
    "shopper",
    "basket",
    "session",
    "checkout",
    "merchant",
    "courier",
    "device",
    "card",
    "search-term",
    "listing",
    "campaign",
    "ad-click",
    "price-watch",
    "refund",
    "seller",
    "warehouse",
    "coupon",
];
const TOPICS: [&str; 6] = ["clickstream", "orders", "payments", "positions", "impressions", "inventory"];

/// Half of all views read one topic, as they do.
fn topic(i: usize) -> &'static str {
    if i.is_multiple_of(2) { TOPICS[0] } else { TOPICS[1 + i % 5] }
}

/// Views whose workers are down.
fn is_down(i: usize) -> bool {
    [3, 141, 488, 776].contains(&i)
}

/// A revision's name, made up of a number.
fn revision(seed: usize) -> String {
    format!("{:010x}", seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24)
}

fn ago(seconds: i64) -> String {
    (Timestamp::now() - SignedDuration::from_secs(seconds)).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn condition(type_: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": type_, "status": status, "reason": reason, "message": message, "observedGeneration": 1,
        "lastTransitionTime": ago(5_400)})
}

/// Makes them all.
pub async fn plant(client: &Client, count: usize) {
    for (namespace, architecture, mode) in NAMESPACES {
        let metadata = ObjectMeta { name: Some(namespace.to_owned()), ..ObjectMeta::default() };
        let object = Namespace { metadata, ..Namespace::default() };
        Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &object).await.unwrap();
        let api = Api::<Architecture>::namespaced(client.clone(), namespace);
        let object = serde_json::from_value(house(architecture, mode)).unwrap();
        api.create(&PostParams::default(), &object).await.unwrap();
        let ready = i32::from(mode != "Batch") + 1;
        let told = if ready == 2 { ("True", "served") } else { ("False", "1 of 2 feature servers is ready") };
        let status = json!({"status": {"views": count / 5, "updatedViews": count / 5, "replicas": 2, "readyReplicas": ready,
            "endpoint": format!("http://{architecture}-server.{namespace}:6566"),
            "conditions": [condition("Ready", told.0, "WorkloadUnavailable", told.1)]}});
        api.patch_status(architecture, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    }
    stream::iter(0..count).map(|i| one(client, i)).buffer_unordered(24).collect::<Vec<()>>().await;
}

async fn one(client: &Client, i: usize) {
    let (namespace, architecture, mode) = NAMESPACES[i % 5];
    let name = match i / NOUNS.len() {
        0 => NOUNS[i].to_owned(),
        round => format!("{}-{round}", NOUNS[i % NOUNS.len()]),
    };
    let name = NAMED.iter().find(|(at, _)| *at == i).map_or(name, |(_, name)| (*name).to_owned());
    let api = Api::<FeatureView>::namespaced(client.clone(), namespace);
    let object: FeatureView = serde_json::from_value(view(&name, architecture, mode, i)).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();
    let mut status = status(i, mode, &name);
    let write = |status: Value| {
        let api = api.clone();
        let name = name.clone();
        async move {
            let patch = Patch::Merge(json!({"status": status}));
            api.patch_status(&name, &PatchParams::default(), &patch).await.unwrap();
        }
    };
    // How it went for a while, of those that a picture shows.
    let last = status["lag"].clone();
    if let Some(seconds) = last["seconds"].as_i64().filter(|seconds| i < 100 || *seconds > 100) {
        for k in (1..24).rev() {
            let wobble = i64::try_from((i * 7 + usize::try_from(k).unwrap() * 5) % 6).unwrap();
            let then = if seconds > 100 { seconds * (24 - k) * (24 - k) / 576 } else { 1 + wobble };
            status["lag"] = json!({"revision": last["revision"], "seconds": then, "records": then * 203, "measuredTime": ago(10 + k * 90)});
            write(status.clone()).await;
        }
        status["lag"] = last;
    }
    write(status).await;
}

/// Where those stand that have a part to play.
const NAMED: [(usize, &str); 4] = [(50, "checkout"), (51, "listing"), (53, "seller"), (54, "refund")];

fn house(name: &str, mode: &str) -> Value {
    let mut spec = json!({
        "mode": mode,
        "onlineStore": {"redis": {"url": "redis://redis.data:6379", "secretRef": {"name": "redis"}}},
        "kafka": {"bootstrapServers": "kafka.data:9092"},
    });
    if mode != "Kappa" {
        spec["offlineStore"] = json!({"delta": {"uri": "s3://lake/features", "secretRef": {"name": "lake"}}});
    }
    json!({"apiVersion": "featuremill.dev/v1alpha1", "kind": "Architecture", "metadata": {"name": name}, "spec": spec})
}

fn view(name: &str, architecture: &str, mode: &str, i: usize) -> Value {
    let mut source = json!({
        "topic": topic(i),
        "timestamp": {"field": "event_ts", "unit": "Milliseconds"},
        "schema": [
            {"name": "user_id", "type": "String"},
            {"name": "event_type", "type": "String"},
            {"name": "price", "type": "Double"},
        ],
    });
    if ["Batch", "Lambda"].contains(&mode) {
        // The definitions let a bucket's name be anything; the console does not tell all of it.
        source["table"] = json!({"uri": format!("s3://AKIA:hunter2@lake/history/{}", topic(i))});
    }
    if mode == "Lakehouse" {
        source["table"] = Value::Null;
    }
    let mut spec = json!({
        "architectureRef": {"name": architecture},
        "entity": {"keys": ["user_id"]},
        "source": source,
        "features": [
            {"name": "clicks_1h", "aggregate": "Count", "where": "event_type = 'click'", "window": "1h"},
            {"name": "clicks_24h", "aggregate": "Count", "where": "event_type = 'click'", "window": "24h"},
            {"name": "spend_30d", "aggregate": "Sum", "of": "price", "where": "event_type = 'purchase'", "window": "30d"},
            {"name": "price_p95_7d", "aggregate": "Percentile", "of": "price", "percentile": "0.95", "window": "7d"},
            {"name": "velocity", "expression": "clicks_1h / nullif(clicks_24h, 0)"},
        ],
        "replicas": 2,
        "rollout": {"catchUp": {"stableForSeconds": 300}, "comparison": {"maxPsi": "0.25"}},
    });
    if mode != "Kappa" {
        let schedule = if mode == "Lakehouse" { "*/10 * * * *" } else { "0 3 * * *" };
        spec["schedule"] = json!({"schedule": schedule, "timeZone": "Etc/UTC"});
    }
    if i % 83 == 17 {
        spec["suspend"] = json!(true);
    }
    json!({"apiVersion": "featuremill.dev/v1alpha1", "kind": "FeatureView", "metadata": {"name": name}, "spec": spec})
}

/// What an operator would say of the i-th view.
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn status(i: usize, mode: &str, name: &str) -> Value {
    let (active, next) = (revision(i), revision(i + 5_000));
    let running = |revision: &str| {
        let archive = (mode == "Lakehouse")
            .then(|| json!({"topic": topic(i), "timestamp": {"field": "event_ts", "unit": "Milliseconds"}}));
        let mut running = json!({"revision": revision, "mode": mode, "architecture": "realtime"});
        if let Some(archive) = archive {
            running["archive"] = archive;
        }
        running
    };
    let streams = ["Kappa", "Lambda"].contains(&mode);
    let mut seconds = i64::try_from(1 + i % 5).unwrap();
    let mut status = json!({
        "observedGeneration": 1, "phase": "Live", "mode": mode, "activeRevision": active, "features": 5,
        "estimatedRowBytes": 1_412, "replicas": if streams { 2 } else { 0 }, "readyReplicas": if streams { 2 } else { 0 },
        "revisions": [running(&active)],
        "rollout": {"promotedTime": ago(400_000)},
    });
    let mut ready = condition("Ready", "True", "Healthy", "served");
    let mut reconciling = condition("Reconciling", "False", "Idle", "");
    let mut stalled = condition("Stalled", "False", "Idle", "");
    let mut fresh = condition("Fresh", "True", "OnTime", "the lag exceeds no tier");
    let mut compared = condition("ComparisonPassed", "Unknown", "NotCompared", "nothing had to be compared");
    let mut candidate = |status: &mut Value, phase: &str, trial: Value| {
        status["phase"] = json!(phase);
        status["candidateRevision"] = json!(next);
        status["revisions"] = json!([running(&active), running(&next)]);
        status["rollout"]["trial"] = trial;
        status["rollout"]["trial"]["revision"] = json!(next);
        status["rollout"]["trial"]["startTime"] = json!(ago(3_200));
        reconciling = condition("Reconciling", "True", phase, &format!("revision {next} is on its way"));
    };
    let replay = |percent: i64, eta: i64| {
        json!({"replay": {"fence": "1", "capturedTime": ago(3_200),
            "parts": (0..12).map(|p| json!({"partition": p, "from": 0, "to": 18_000_000})).collect::<Vec<_>>(),
            "progress": {"percent": percent, "remainingRecords": 2_160_000 * (100 - percent), "recordsPerSecond": 431_000,
                "etaSeconds": eta, "observedTime": ago(1)}}})
    };
    let replayed = |more: Value| {
        let mut trial = replay(100, 0);
        trial["replay"]["completedTime"] = json!(ago(900));
        more.as_object().into_iter().flatten().for_each(|(k, v)| trial[k] = v.clone());
        trial
    };
    match i % 83 {
        _ if is_down(i) => {
            let message = format!(
                "no pod of Deployment {name}-stream is ready; pod {name}-stream-7d9f6 is crashing: exit code 137, out of memory"
            );
            ready = condition("Ready", "False", "WorkloadUnavailable", &message);
            stalled = condition("Stalled", "True", "Crashing", &message);
            fresh = condition("Fresh", "False", "LagTier1", "far behind the topic, more than tier 1 allows (600 s)");
            status["readyReplicas"] = json!(0);
            seconds = 760 + i64::try_from(i).unwrap();
        }
        7 => {
            fresh = condition("Fresh", "False", "LagTier2", "340 s behind the topic, more than tier 2 allows (300 s)");
            seconds = 340;
        }
        19 => {
            let message = "spec.features[2].of: there is no column prize; known are user_id, event_type, price";
            status["phase"] = json!("Invalid");
            stalled = condition("Stalled", "True", "InvalidSpec", message);
        }
        50 => {
            candidate(&mut status, "ComparisonFailed", replayed(json!({"caughtUpTime": ago(600)})));
            let why = "feature spend_30d is defined as before, and its values differ for 690 of 10000 entities (6.90 %, maxMismatchRatio is 0.0001)";
            let message = format!(
                "revision {next} does not give what was announced: {why}; {active} serves on. Correct the spec; or list what is meant to change in spec.rollout.comparison.expectedChanges"
            );
            stalled = condition("Stalled", "True", "ComparisonFailed", &message);
            compared = condition("ComparisonPassed", "False", "ComparisonFailed", why);
            status["rollout"]["comparison"] = comparison(&active, &next, "Failed", Some(why));
        }
        51 | 9 => candidate(
            &mut status,
            "Replaying",
            replay(if i % 2 == 1 { 62 } else { 17 }, if i % 2 == 1 { 190 } else { 2_400 }),
        ),
        11 => candidate(
            &mut status,
            "CatchingUp",
            replayed(json!({"caughtUpTime": ago(140 + i64::try_from(i % 60).unwrap())})),
        ),
        12 => candidate(&mut status, "Comparing", replayed(json!({"caughtUpTime": ago(90)}))),
        15 => {
            candidate(&mut status, "AwaitingPromotion", replayed(json!({"caughtUpTime": ago(2_000)})));
            status["rollout"]["comparison"] = comparison(&active, &next, "Passed", None);
        }
        17 => {
            status["phase"] = json!("Suspended");
            ready = condition("Ready", "True", "Suspended", "spec.suspend stops the workers; what is served grows old");
        }
        53 | 13 => {
            status["phase"] = json!("Soaking");
            status["previousRevision"] = json!(next);
            status["revisions"] = json!([running(&active), running(&next)]);
            status["rollout"] =
                json!({"promotedTime": ago(25_000), "comparison": comparison(&next, &active, "Passed", None)});
        }
        _ => {}
    }
    // The batch of one namespace has no stream that could lag; one view of it is measured by nobody.
    if mode != "Batch" {
        let tier = if seconds > 600 {
            Some(1)
        } else if seconds > 300 {
            Some(2)
        } else {
            None
        };
        status["lag"] =
            json!({"revision": active, "seconds": seconds, "records": seconds * 203, "measuredTime": ago(9)});
        if let Some(tier) = tier {
            status["lag"]["tier"] = json!(tier);
        }
    }
    if mode != "Kappa" {
        let number = 40 + i64::try_from(i % 50).unwrap();
        status["generation"] = json!(number);
        status["horizon"] = json!(ago(7_200));
        status["previousGeneration"] = json!({"revision": active, "generation": number - 1, "horizon": ago(93_600)});
        status["lastRun"] = json!({"revision": active, "generation": number, "outcome": "Published", "rows": 1_204_331,
            "started": ago(7_000), "finished": ago(6_688)});
    }
    status["conditions"] = json!([
        ready,
        reconciling,
        stalled,
        condition("SpecAccepted", "True", "Accepted", "a revision of 5 features"),
        condition("CaughtUp", "True", "CaughtUp", "it has read its source up to now"),
        compared,
        fresh,
    ]);
    status
}

fn comparison(former: &str, candidate: &str, verdict: &str, message: Option<&str>) -> Value {
    let kind = if verdict == "Failed" { "Unchanged" } else { "Expected" };
    let mut told = json!({
        "former": former, "candidate": candidate, "verdict": verdict, "asOf": ago(620), "entities": 10_000,
        "differences": [
            {"name": "spend_30d", "kind": kind, "checked": 10_000, "equal": "0.9310", "psi": "0.0612", "ks": "0.0907",
                "histogram": {"edges": ["0", "900"], "former": [900, 1800, 2400, 1700, 1200, 800, 500, 300, 200, 120, 60, 20],
                    "candidate": [400, 1100, 1900, 2300, 1600, 1100, 700, 400, 250, 150, 70, 30]},
                "examples": [
                    {"entity": "5f3a91c2", "former": "118.40", "candidate": "131.90"},
                    {"entity": "77e0b41d", "former": "NULL", "candidate": "12.00"},
                    {"entity": "a40c19ff", "former": "902.15", "candidate": "1015.65"},
                ]},
            {"name": "price_p95_7d", "kind": "Expected", "checked": 9_988, "equal": "0.9862", "psi": "0.0044", "ks": "0.0121"},
        ],
    });
    if let Some(message) = message {
        told["message"] = json!(message);
    }
    told
}

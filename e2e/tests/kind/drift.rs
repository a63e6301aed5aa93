//! Values that moved, and a value that its events do not give: found on the cluster by the checks' own Jobs, and named in the
//! condition, an Event, status and the metrics.

use std::time::Duration;

use e2e::planted::plant;
use e2e::progress::wait_for;
use engine::plan::{Assignment, Assignments};
use engine::row::{Marker, entity_hash};
use serde_json::{Value, json};

use crate::world::{Forward, SHOPPER, SHOPPER_VIEW, World};

/// Enough for a baseline.
const SHOPPERS: u64 = 300;
const PARTITIONS: i32 = 2;
/// How long what was found may take to be told.
const SOON: Duration = Duration::from_secs(30);
/// At no time of its own: each check is begun by the test.
const NEVER: &str = "0 0 1 1 *";
/// The finest tile of the clickstream's view.
const TILE_MS: i64 = 60_000;

/// The clickstream's view, its values watched.
struct Watched {
    world: World,
    uid: String,
    metrics: Forward,
}

impl Watched {
    async fn open() -> Self {
        let world = World::new("drift", PARTITIONS).await;
        let monitoring = json!({
            "drift": {"schedule": NEVER, "sampleKeys": 500},
            "skew": {"schedule": NEVER, "sampleKeys": 500, "lookback": "2h"},
        });
        world.apply(&format!("{}  monitoring: {monitoring}\n", world.shopper()));
        for object in ["architecture/realtime", SHOPPER_VIEW] {
            world.ready(object);
        }
        let uid = world.uid(SHOPPER);
        let metrics = Forward::start(&world.cluster, "featuremill-system", "deployment/featuremill-operator", 8080);
        Self { world, uid, metrics }
    }

    /// Shopper `i` views `views(i)` products; all of one shopper is in one partition.
    async fn view(&self, views: impl Fn(u64) -> u64) {
        for i in 0..SHOPPERS {
            for _ in 0..views(i) {
                let now = jiff::Timestamp::now().as_millisecond();
                let key = user(i);
                let partition = partition(i);
                self.world.feed.send(key.as_bytes(), &viewed(&key, now), now, Some(partition)).unwrap();
            }
        }
        self.world.feed.flush().unwrap();
        self.complete_to((jiff::Timestamp::now().as_millisecond() / TILE_MS + 1) * TILE_MS).await;
    }

    /// Waits until the live revision is complete to a time: the checks read as of whole tiles that it is complete to.
    async fn complete_to(&self, time_ms: i64) {
        wait_for("the end of the tile", Duration::from_mins(2), || async {
            let markers = self.world.markers(&self.uid)?;
            let there = |m: &Option<Marker>| m.is_some_and(|m| m.offset >= m.end_offset && m.read_to_end_at >= time_ms);
            if markers.iter().all(there) { Ok(()) } else { Err(format!("{markers:?} before {time_ms}")) }
        })
        .await
        .unwrap();
    }

    /// Looks now, as the runbooks say, and waits for the end.
    fn look(&self, check: &str, name: &str) {
        let label = format!("featuremill.dev/view={SHOPPER},app.kubernetes.io/component={check}");
        let jsonpath = "jsonpath={.items[0].metadata.name}";
        let cron_job = self.world.kubectl(&["get", "cronjobs", "-l", &label, "-o", jsonpath]).unwrap();
        self.world.kubectl(&["create", "job", name, &format!("--from=cronjob/{cron_job}")]).unwrap();
        let job = format!("job/{name}");
        if let Err(error) = self.world.kubectl(&["wait", &job, "--for=condition=Complete", "--timeout=120s"]) {
            let log = self.world.kubectl(&["logs", &job, "--tail=20"]).unwrap_or_else(|e| e);
            panic!("{error}\n{log}");
        }
    }

    /// Waits until condition `Sound` has a reason, and answers with its message.
    async fn sound(&self, reason: &str) -> String {
        wait_for(&format!("Sound is {reason}"), SOON, || async {
            let field = |field| self.world.condition(SHOPPER_VIEW, "Sound", field);
            if field("reason") == reason { Ok(field("message")) } else { Err(field("message")) }
        })
        .await
        .unwrap()
    }

    /// A metric of the operator that has these labels.
    fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let url = format!("http://127.0.0.1:{}/metrics", self.metrics.port());
        let text = ureq::get(&url).call().unwrap().body_mut().read_to_string().unwrap();
        let labels: Vec<String> = labels
            .iter()
            .chain(&[("namespace", self.world.namespace.as_str()), ("feature_view", SHOPPER)])
            .map(|(label, value)| format!("{label}=\"{value}\""))
            .collect();
        let is =
            |line: &&str| line.starts_with(&format!("{name}{{")) && labels.iter().all(|label| line.contains(label));
        let line = text.lines().find(is).unwrap_or_else(|| panic!("{name} of {labels:?} is not in {text}"));
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    }

    fn status(&self, check: &str) -> Value {
        serde_json::from_str(&self.world.status(SHOPPER_VIEW, &format!("monitoring.{check}"))).unwrap()
    }

    /// What the live revision's workers run.
    fn assignment(&self) -> Assignment {
        let revision = self.world.status(SHOPPER_VIEW, "activeRevision");
        let label = format!("featuremill.dev/view={SHOPPER}");
        let maps = self.world.kubectl(&["get", "configmaps", "-l", &label, "-o", "json"]).unwrap();
        let maps: Value = serde_json::from_str(&maps).unwrap();
        let files = maps["items"].as_array().unwrap().iter().filter_map(|m| m["data"]["assignments.json"].as_str());
        let all = files.flat_map(|file| serde_json::from_str::<Assignments>(file).unwrap().assignments);
        all.into_iter().find(|assignment| assignment.plan.revision == revision).unwrap()
    }
}

fn user(i: u64) -> String {
    format!("u{i}")
}

fn partition(i: u64) -> i32 {
    i32::try_from(i).unwrap() % PARTITIONS
}

fn viewed(user: &str, at: i64) -> Vec<u8> {
    json!({"user_id": user, "session_id": "s", "event": "product_view", "ts": at}).to_string().into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feature_that_drifted_and_one_event_too_many_are_found_and_named() {
    let it = Watched::open().await;
    let begin = jiff::Timestamp::now().as_millisecond();
    // One to ten views each: as many shoppers of each number.
    it.view(|i| i % 10 + 1).await;
    it.look("drift", "captures");
    it.look("skew", "well");
    let well = it.sound("Sound").await;
    println!("well: {well}");
    assert!(it.metric("featuremill_feature_drift_threshold", &[]) > 0.2);

    // Everybody looks at twenty more: nobody is left where all were.
    it.view(|_| 20).await;
    it.look("drift", "moved");
    let told = it.sound("FeatureDrifted").await;
    println!("drifted: {told}");
    // Three are named, those that moved furthest; status has the others.
    let status = it.status("drift");
    let furthest = format!("feature {} moved: PSI", status["features"][0]["name"].as_str().unwrap());
    assert!(told.contains(&furthest) && told.contains("the limit is 0.25"), "{told}");
    assert!(told.contains("FeaturemillFeatureDrift.md"), "{told}");
    it.world.is_told("Warning", "FeatureDrifted", &furthest, SOON).await;
    let of = [("feature", "views_24h")];
    let (psi, limit) =
        (it.metric("featuremill_feature_drift_psi", &of), it.metric("featuremill_feature_drift_threshold", &[]));
    assert!(psi > limit, "{psi} is not above {limit}");
    let moved = |name: &str| {
        let all = status["features"].as_array().unwrap();
        let psi = all.iter().find(|feature| feature["name"] == name).and_then(|feature| feature["psi"].as_str());
        psi.is_some_and(|psi| psi.parse::<f64>().unwrap() > 0.25)
    };
    assert!(moved("views_24h") && !moved("sessions_24h") && !moved("purchases_24h"), "{status:#}");
    it.world.ready(SHOPPER_VIEW);

    // A view of shopper 7 that is in no record of the topic; not their last one, which other features tell.
    let (shopper, assignment) = (user(7), it.assignment());
    let now = jiff::Timestamp::now().as_millisecond();
    let event = viewed(&shopper, begin);
    let redis = it.world.cluster.redis();
    plant(&redis, &assignment.plan, assignment.incarnation, (&shopper, partition(7)), &event, now).unwrap();
    it.look("skew", "planted");
    let told = it.sound("ValuesSkewed").await;
    println!("skewed: {told}");
    let named = format!("entity #{} is served 29, its events give 28", entity_hash(&shopper));
    assert!(told.contains("feature views_1h differs for 1 of") && told.contains(&named), "{told}");
    assert!(told.contains("FeaturemillFeatureSkew.md"), "{told}");
    it.world.is_told("Warning", "ValuesSkewed", &entity_hash(&shopper), SOON).await;
    let of = [("feature", "views_1h")];
    let (share, limit) =
        (it.metric("featuremill_feature_skew_ratio", &of), it.metric("featuremill_feature_skew_threshold", &[]));
    assert!(share > limit, "{share} is not above {limit}");
    let status = it.status("skew");
    assert!(status["skewed"].as_i64().unwrap() >= 1, "{status:#}");
    let examples = status["features"].as_array().unwrap().iter().find(|f| f["name"] == "views_1h").unwrap();
    let example = json!({"entity": entity_hash(&shopper), "served": "29", "recomputed": "28"});
    assert_eq!(examples["examples"], json!([example]), "{status:#}");
}

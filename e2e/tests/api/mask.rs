//! The state of a namespace as text, without what differs from run to run.

use std::collections::BTreeMap;

use crds::{Architecture, Erasure, FeatureReplay, FeatureView, TrainingSet};
use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt as _;
use kube::api::ListParams;
use operator::apply::Object;
use serde_json::Value;

use crate::world::World;

/// What differs from run to run, and what stands for it.
pub struct Mask(Vec<(String, String)>);

impl Mask {
    /// The mask of a world: its namespace, the UIDs of its roots, the hashes of its plans.
    pub async fn of(world: &World) -> Self {
        let mut words = vec![(world.namespace.clone(), "<namespace>".to_owned())];
        for architecture in world.api::<Architecture>().list(&ListParams::default()).await.unwrap() {
            words.push((architecture.uid().unwrap(), "<architecture uid>".to_owned()));
        }
        for view in world.api::<FeatureView>().list(&ListParams::default()).await.unwrap() {
            words.push((view.uid().unwrap(), "<view uid>".to_owned()));
            words.extend(view.status.and_then(|s| s.plan_hash).map(|hash| (hash, "<plan>".to_owned())));
        }
        for replay in world.api::<FeatureReplay>().list(&ListParams::default()).await.unwrap() {
            words.extend(replay.status.and_then(|s| s.run).map(|run| (run, "<run>".to_owned())));
        }
        let runs = ListParams::default().labels("app.kubernetes.io/component=batch");
        for config in world.api::<ConfigMap>().list(&runs).await.unwrap() {
            words.push((config.name_any(), "<batch config>".to_owned()));
        }
        Self(words)
    }

    /// The same, and the plans that stood when `before` was made.
    pub fn and_before(mut self, before: Self) -> Self {
        let first = |(word, mask): (String, String)| (word, mask.replace("<plan>", "<first plan>"));
        let known: Vec<(String, String)> =
            before.0.into_iter().map(first).filter(|(word, _)| !self.0.iter().any(|(w, _)| w == word)).collect();
        self.0.extend(known);
        self
    }

    pub fn text(&self, text: &str) -> String {
        let text = self.0.iter().fold(text.to_owned(), |text, (word, mask)| text.replace(word, mask));
        without_questions(&without_hashes(&text))
    }

    /// Every object of the namespace that the operator writes, by kind and name.
    pub async fn state(&self, world: &World) -> BTreeMap<String, Value> {
        let mut state = BTreeMap::new();
        self.add::<Architecture>(world, &mut state).await;
        self.add::<FeatureView>(world, &mut state).await;
        self.add::<Deployment>(world, &mut state).await;
        self.add::<ControllerRevision>(world, &mut state).await;
        self.add::<ConfigMap>(world, &mut state).await;
        self.add::<CronJob>(world, &mut state).await;
        self.add::<Job>(world, &mut state).await;
        self.add::<Service>(world, &mut state).await;
        self.add::<ServiceAccount>(world, &mut state).await;
        self.add::<PodDisruptionBudget>(world, &mut state).await;
        self.add::<TrainingSet>(world, &mut state).await;
        self.add::<Erasure>(world, &mut state).await;
        self.add::<FeatureReplay>(world, &mut state).await;
        self.add_secrets(world, &mut state).await;
        state
    }

    /// Secrets that have an owner, as text; those that an Architecture names are the test's own.
    async fn add_secrets(&self, world: &World, state: &mut BTreeMap<String, Value>) {
        let secrets = world.api::<Secret>().list(&ListParams::default()).await.unwrap();
        for mut secret in secrets.into_iter().filter(|secret| !secret.owner_references().is_empty()) {
            let text = |(key, bytes): (String, k8s_openapi::ByteString)| (key, String::from_utf8(bytes.0).unwrap());
            secret.string_data = secret.data.take().map(|data| data.into_iter().map(text).collect());
            self.put(&secret, state);
        }
    }

    async fn add<K: Object>(&self, world: &World, state: &mut BTreeMap<String, Value>) {
        for object in world.api::<K>().list(&ListParams::default()).await.unwrap() {
            self.put(&object, state);
        }
    }

    fn put<K: Object>(&self, object: &K, state: &mut BTreeMap<String, Value>) {
        let name = self.text(&format!("{} {}", K::kind(&()), object.name_any()));
        let mut value = serde_json::to_value(object).unwrap();
        clean(&mut value);
        // Topics are looked at beside reconciliation, sooner or later.
        if let Some(status) = value.get_mut("status").and_then(Value::as_object_mut) {
            status.remove("source");
            // What a replay on demand says of its progress is what its view said whenever it was looked at.
            for field in ["replay", "records"] {
                status.remove(field);
            }
        }
        state.insert(name, serde_json::from_str(&self.text(&value.to_string())).unwrap());
    }
}

/// The text without the hashes in the names of comparisons, which stand for UIDs, too.
fn without_questions(text: &str) -> String {
    let mut parts = text.split("-compare-");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_hexdigit());
        format!("{text}-compare-<question>{rest}")
    })
}

/// The config maps of replays are named by a hash of offsets and times; they are gone when a run is over.
fn without_hashes(text: &str) -> String {
    const BEFORE: &str = "-replay-";
    let mut parts = text.split(BEFORE);
    let mut masked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let hash = part.bytes().take_while(u8::is_ascii_hexdigit).count();
        masked.push_str(BEFORE);
        masked.push_str(if hash == 12 { "<replay>" } else { &part[..hash] });
        masked.push_str(&part[hash..]);
    }
    masked
}

/// Takes off what the API server counts and chooses.
fn clean(value: &mut Value) {
    const NOISE: [&str; 33] = [
        "uid",
        "resourceVersion",
        "generation",
        "observedGeneration",
        "creationTimestamp",
        "managedFields",
        "lastTransitionTime",
        "since",
        "clusterIP",
        "clusterIPs",
        "nodePort",
        "featuremill.dev/digest",
        "selfLink",
        "featuremill.dev/secrets",
        "secretsVersion",
        "controller-uid",
        "batch.kubernetes.io/controller-uid",
        "horizon",
        "started",
        "finished",
        "startTime",
        "completionTime",
        "lastProbeTime",
        "promotedTime",
        "caughtUpTime",
        "featuremill.dev/promoted",
        // Of a revision that was given up: what was asked of it is hashed with UIDs, what was read bears times.
        "definition",
        "fence",
        "capturedTime",
        "completedTime",
        "observedTime",
        "completeFrom",
        "asOf",
    ];
    match value {
        Value::Object(fields) => {
            // The conditions that name a time.
            let type_ = fields.get("type").and_then(Value::as_str);
            let timed = matches!(type_, Some("Fresh" | "RollbackAvailable" | "Sound"));
            fields.retain(|key, _| !(NOISE.contains(&key.as_str()) || timed && key == "message"));
            fields.values_mut().for_each(clean);
        }
        Value::Array(items) => items.iter_mut().for_each(clean),
        _ => {}
    }
}

//! A namespace, an operator that works in it, and a store and a log that the test can look into.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crds::{Architecture, FeatureView};
use e2e::control_plane::ControlPlane;
use engine::row::{Live, Marker, live_key, marker_key};
use futures::future::BoxFuture;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams, ValidationDirective};
use kube::client::ClientBuilder;
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, ResourceExt};
use operator::apply::Object;
use operator::edges::{EdgeError, EdgeResult, Edges, Ends, Held, LogAddress, Shared, Store, StoreAddress, Topic};
use operator::lag::measure::Bounds;
use operator::metrics::Metrics;
use operator::run::{World as OperatorWorld, not_ready_yet, run};
use operator::settings::Settings;
use operator::trouble::Trouble;
use prometheus_client::registry::Registry;
use serde_json::json;
use shell::admin::Readiness;
use shell::store::{Fence, MarkerWrite, MemoryStore, RowStore};
use tokio::sync::{OnceCell, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::faults::Faults;

/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A store in memory and a log that only takes notes.
#[derive(Clone, Default)]
pub struct FakeEdges {
    pub store: MemoryStore,
    pub deleted_groups: Arc<Mutex<BTreeSet<String>>>,
    pub log_is_away: Arc<AtomicBool>,
    /// What every topic holds.
    pub topic: Arc<Mutex<Topic>>,
    /// Where every topic begins and ends.
    pub ends: Arc<Mutex<BTreeMap<i32, Bounds>>>,
    /// Whether replays are not played along with everything else.
    pub replays_wait: Arc<AtomicBool>,
}

/// A topic of one partition, of which nothing is gone.
pub fn whole_topic() -> Topic {
    let held = Held { low: 0, end: 100, from: 0, oldest_ms: None };
    Topic { partitions: [(0, held)].into(), keeps_ms: None }
}

impl Edges for FakeEdges {
    fn store<'a>(&'a self, _: &'a StoreAddress) -> EdgeResult<'a, Arc<dyn Store>> {
        Box::pin(async move { Ok(Arc::new(Shared::new(self.store.clone())) as Arc<dyn Store>) })
    }

    fn delete_groups<'a>(&'a self, _: &'a LogAddress, groups: &'a [String]) -> EdgeResult<'a, ()> {
        Box::pin(async move {
            if self.log_is_away.load(Ordering::Acquire) {
                return Err(EdgeError("the log is away".to_owned()));
            }
            self.deleted_groups.lock().unwrap().extend(groups.iter().cloned());
            Ok(())
        })
    }

    fn topic<'a>(&'a self, _: &'a LogAddress, _: &'a str, _: Option<i64>) -> BoxFuture<'a, Result<Topic, Trouble>> {
        Box::pin(async move {
            if self.log_is_away.load(Ordering::Acquire) {
                let message = "the log is away".to_owned();
                return Err(Trouble { reason: "KafkaUnreachable", message, stuck: false });
            }
            Ok(self.topic.lock().unwrap().clone())
        })
    }

    fn ends<'a>(&'a self, _: &'a LogAddress, topics: &'a BTreeSet<String>) -> EdgeResult<'a, Ends> {
        Box::pin(async move {
            if self.log_is_away.load(Ordering::Acquire) {
                return Err(EdgeError("the log is away".to_owned()));
            }
            let ends = self.ends.lock().unwrap().clone();
            Ok(topics.iter().map(|topic| (topic.clone(), ends.clone())).collect())
        })
    }
}

/// A running operator.
pub struct Running {
    pub faults: Faults,
    pub readiness: Readiness,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    /// Asks it to stop, and waits until it has.
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }

    /// Waits until a fault has cut it off.
    pub async fn crashed(self) {
        tokio::time::timeout(PATIENCE, self.task).await.expect("the fault never came").unwrap();
    }
}

/// Nothing waits for longer than a test can: every object is looked at each second, rows go at once. Lag is not measured, for
/// workers that a test plays are not at the end of anything: who wants it sets how often.
pub fn settings() -> Settings {
    let (poll, secrets_poll, lag_poll) = (Duration::from_millis(200), Duration::from_secs(1), Duration::from_hours(24));
    Settings { resync_seconds: 1, readable_seconds: 0, poll, secrets_poll, lag_poll, ..Settings::default() }
}

/// A namespace of its own.
pub struct World {
    pub client: Client,
    pub namespace: String,
    pub edges: FakeEdges,
    _turn: Turn,
}

/// Tests that measure time have the machine to themselves.
enum Turn {
    Shared(#[allow(dead_code)] RwLockReadGuard<'static, ()>),
    Alone(#[allow(dead_code)] RwLockWriteGuard<'static, ()>),
}

static TURNS: RwLock<()> = RwLock::const_new(());

impl World {
    /// A world beside those of other tests.
    pub async fn new(name: &str) -> Self {
        Self::with(name, Turn::Shared(TURNS.read().await)).await
    }

    /// A world while no other test has one.
    pub async fn alone(name: &str) -> Self {
        Self::with(name, Turn::Alone(TURNS.write().await)).await
    }

    async fn with(name: &str, turn: Turn) -> Self {
        shell::redis::install_crypto();
        let plane = ControlPlane::shared().unwrap_or_else(|error| panic!("{error}"));
        let client = Client::try_from(plane.config()).unwrap();
        install(&client).await;
        let namespace = format!("{name}-{}", std::process::id());
        let object = Namespace {
            metadata: ObjectMeta { name: Some(namespace.clone()), ..ObjectMeta::default() },
            ..Namespace::default()
        };
        Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &object).await.unwrap();
        let edges = FakeEdges { topic: Arc::new(Mutex::new(whole_topic())), ..FakeEdges::default() };
        Self { client, namespace, edges, _turn: turn }
    }

    pub fn api<K: Object>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Starts an operator in the namespace.
    pub fn start(&self, faults: Faults) -> Running {
        self.start_with(faults, settings(), None)
    }

    /// Starts an operator with settings of the test's, and a Lease if it has an identity.
    pub fn start_with(&self, faults: Faults, settings: Settings, identity: Option<&str>) -> Running {
        self.start_over(Arc::new(self.edges.clone()), faults, settings, identity)
    }

    /// The same with another store and log.
    pub fn start_over(
        &self,
        edges: Arc<dyn Edges>,
        faults: Faults,
        settings: Settings,
        identity: Option<&str>,
    ) -> Running {
        let plane = ControlPlane::shared().unwrap();
        let readiness = Readiness::default();
        not_ready_yet(&readiness);
        let world = OperatorWorld {
            client: ClientBuilder::try_from(plane.config()).unwrap().with_layer(&faults).build(),
            edges,
            settings: Settings { namespace: Some(self.namespace.clone()), ..settings },
            metrics: Metrics::register(&mut Registry::default()),
            readiness: readiness.clone(),
            identity: identity.unwrap_or("alone").to_owned(),
            lease_namespace: identity.map(|_| self.namespace.clone()),
        };
        let (shutdown, crash) = (CancellationToken::new(), faults.crash.clone());
        let stop = shutdown.clone();
        let task = tokio::spawn(async move {
            tokio::select! {
                end = run(world, stop) => end.unwrap(),
                () = crash.cancelled() => {}
            }
        });
        Running { faults, readiness, shutdown, task }
    }

    /// As `kubectl apply --server-side`, strictly validated.
    pub async fn apply<K: Object>(&self, object: &serde_json::Value) -> Result<K, kube::Error> {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let parameters =
            PatchParams { field_validation: Some(ValidationDirective::Strict), ..PatchParams::apply("tests").force() };
        self.api::<K>().patch(&name, &parameters, &Patch::Apply(object)).await
    }

    /// As `kubectl create`, strictly validated.
    pub async fn create<K: Object>(&self, object: &serde_json::Value) -> Result<K, kube::Error> {
        let uri = format!("{}?fieldValidation=Strict", self.api::<K>().resource_url());
        let request =
            http::Request::post(uri).header("content-type", "application/json").body(object.to_string().into_bytes());
        self.client.request(request.unwrap()).await
    }

    /// As `kubectl create --dry-run=server`, strictly validated: the API server says what it would take.
    pub async fn create_dry<K: Object>(&self, object: &serde_json::Value) -> Result<K, kube::Error> {
        let uri = format!("{}?fieldValidation=Strict&dryRun=All", self.api::<K>().resource_url());
        let request =
            http::Request::post(uri).header("content-type", "application/json").body(object.to_string().into_bytes());
        self.client.request(request.unwrap()).await
    }

    /// Deletes an object and waits until it is gone.
    pub async fn delete<K: Object + Send + Sync + 'static>(&self, name: &str) {
        let api = self.api::<K>();
        let Some(object) = api.get_opt(name).await.unwrap() else { return };
        api.delete(name, &DeleteParams::default()).await.unwrap();
        let uid = object.uid().unwrap();
        let gone = await_condition(api, name, conditions::is_deleted(&uid));
        tokio::time::timeout(PATIENCE, gone).await.unwrap_or_else(|_| panic!("{name} is never gone")).unwrap();
    }

    /// Waits until a view is as it should be, and answers with it.
    pub async fn view(&self, name: &str, what: &str, is: impl Fn(&FeatureView) -> bool) -> FeatureView {
        let api = self.api::<FeatureView>();
        eventually(what, || async {
            api.get_opt(name)
                .await
                .unwrap()
                .ok_or_else(|| "no such view".to_owned())
                .and_then(|view| if is(&view) { Ok(view) } else { Err(format!("{:#?}", view.status)) })
        })
        .await
    }

    /// The Jobs of replays.
    pub async fn replays(&self) -> Vec<Job> {
        let list = ListParams::default().labels("app.kubernetes.io/component=replay");
        self.api::<Job>().list(&list).await.unwrap().items
    }

    /// Plays the processes of all replays to their end, well or with a part that cannot be read.
    pub async fn replay(&self, well: bool) {
        for job in self.replays().await.into_iter().filter(|job| !has_ended(job)) {
            let time = jiff::Timestamp::now().to_string();
            let condition = |type_: &str| {
                json!({"type": type_, "status": "True", "reason": "Played", "message": "as the test wants it",
                    "lastProbeTime": time, "lastTransitionTime": time})
            };
            let parts = job.spec.as_ref().and_then(|s| s.completions).unwrap();
            let status = if well {
                json!({"startTime": time, "completionTime": time, "succeeded": parts,
                    "completedIndexes": if parts == 1 { "0".to_owned() } else { format!("0-{}", parts - 1) },
                    "conditions": [condition("SuccessCriteriaMet"), condition("Complete")]})
            } else {
                json!({"startTime": time, "failed": 1, "failedIndexes": "0",
                    "conditions": [condition("FailureTarget"), condition("Failed")]})
            };
            let status = Patch::Merge(json!({"status": status}));
            match self.api::<Job>().patch_status(&job.name_any(), &PatchParams::default(), &status).await {
                // It may be deleted meanwhile.
                Err(kube::Error::Api(answer)) if answer.code == 404 => {}
                answer => drop(answer.unwrap()),
            }
        }
    }

    /// Plays the kubelet: all pods of all Deployments are ready, and replays come to their end.
    pub async fn roll_out(&self) {
        if !self.edges.replays_wait.load(Ordering::Acquire) {
            self.replay(true).await;
        }
        let api = self.api::<Deployment>();
        for deployment in api.list(&ListParams::default()).await.unwrap() {
            let replicas = deployment.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
            let status = json!({"status": {
                "observedGeneration": deployment.metadata.generation, "replicas": replicas, "updatedReplicas": replicas,
                "readyReplicas": replicas, "availableReplicas": replicas,
            }});
            match api.patch_status(&deployment.name_any(), &PatchParams::default(), &Patch::Merge(status)).await {
                // It may be deleted while it is rolled out.
                Err(kube::Error::Api(answer)) if answer.code == 404 => {}
                answer => drop(answer.unwrap()),
            }
        }
    }

    /// Plays the stream worker of a revision: its one partition was read to its end just now.
    pub async fn catch_up(&self, uid: &str, revision: &str) {
        let now = jiff::Timestamp::now().as_millisecond();
        let marker = Marker { offset: now, event_time: now, end_offset: now, read_to_end_at: now };
        let write = MarkerWrite { partition: 0, base: None, marker };
        let fence = Fence { uid, version: 0 };
        self.edges.store.write_marker(&marker_key(uid, revision, 0, 0), 1, fence, write).await.unwrap();
    }

    /// The live revision of a view.
    pub async fn live(&self, uid: &str) -> Option<Live> {
        self.edges.store.pointer(&live_key(uid)).await.unwrap()
    }

    /// Whether a key stands in the store.
    pub fn has_keys(&self, prefix: &str) -> bool {
        self.edges.store.keys().iter().any(|key| key.starts_with(prefix))
    }
}

/// Whether a condition has a status and, if given, a reason.
pub fn has(conditions: &[crds::Condition], type_: &str, status: &str, reason: Option<&str>) -> bool {
    conditions.iter().any(|c| {
        c.type_ == type_ && format!("{:?}", c.status) == status && reason.is_none_or(|reason| c.reason == reason)
    })
}

/// Whether a view's condition has a status, seen at its newest generation.
pub fn is(view: &FeatureView, type_: &str, status: &str) -> bool {
    let Some(known) = &view.status else { return false };
    known.observed_generation == view.metadata.generation && has(&known.conditions, type_, status, None)
}

/// Whether a Job has come to an end, well or not.
pub fn has_ended(job: &Job) -> bool {
    let conditions = job.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|c| ["Complete", "Failed"].contains(&c.type_.as_str()))
}

/// Whether a view has one revision, and nothing of any other is being removed.
pub fn is_alone(view: &FeatureView) -> bool {
    let status = view.status.clone().unwrap_or_default();
    status.active_revision.is_some()
        && status.candidate_revision.is_none()
        && status.previous_revision.is_none()
        && status.retiring.is_empty()
}

/// Whether an architecture's condition has a status.
pub fn architecture_is(architecture: &Architecture, type_: &str, status: &str) -> bool {
    architecture.status.as_ref().is_some_and(|s| has(&s.conditions, type_, status, None))
}

/// Asks until the answer is good; fails with the last bad one.
pub async fn eventually<T, F: Future<Output = Result<T, String>>>(what: &str, ask: impl Fn() -> F) -> T {
    let start = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(last) if start.elapsed() > PATIENCE => {
                panic!("{what}: not after {} s; last seen: {last}", PATIENCE.as_secs())
            }
            // The API server has no event for every condition that tests ask for.
            Err(_) => tokio::time::sleep(Duration::from_millis(25)).await,
        }
    }
}

/// Installs the definitions that are checked in, once.
async fn install(client: &Client) {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    INSTALLED
        .get_or_init(|| async {
            let api = Api::<CustomResourceDefinition>::all(client.clone());
            for (_, definition) in crds::definitions() {
                let name = definition.name_any();
                let parameters =
                    PatchParams { field_validation: Some(ValidationDirective::Strict), ..PatchParams::apply("tests") };
                api.patch(&name, &parameters, &Patch::Apply(&definition)).await.unwrap();
                let established = await_condition(api.clone(), &name, conditions::is_crd_established());
                tokio::time::timeout(PATIENCE, established)
                    .await
                    .expect("the definition is never established")
                    .unwrap();
            }
        })
        .await;
}

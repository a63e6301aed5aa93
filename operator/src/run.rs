//! Everything that runs: election, watches, the drivers. The only user of the controller runtime.

mod requests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crds::{Architecture, Erasure, FeatureReplay, FeatureView, TrainingSet};
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, stream};
use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::runtime::applier;
use kube::runtime::controller::{Action, Config as ControllerConfig};
use kube::runtime::events::Reporter;
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::{Api, Client, ResourceExt as _};
use shell::admin::Readiness;
use shell::trace::{Kind, Trace};
use thiserror::Error;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

use crate::apply::Object;
use crate::context::{Context, Failures};
use crate::edges::Edges;
use crate::error::is_not_found;
use crate::events::Recorders;
use crate::lease::Elector;
use crate::metrics::Metrics;
use crate::names::CONTROLLER;
use crate::settings::Settings;
use crate::watch::{Watches, kind_name};
use crate::{alertmanager, architecture, error, feature_replay, feature_view, lag, once};
use requests::{Requests, Stores, once_seen};

/// How long rounds that have begun may take to end after a request to stop.
const DRAIN: Duration = Duration::from_secs(5);

/// What readiness waits for at first. A process that does not lead is ready after that; one that leads, after its first lists.
const START: &str = "start";

/// The world that the operator runs in.
pub struct World {
    /// The API server.
    pub client: Client,
    /// Stores and logs.
    pub edges: Arc<dyn Edges>,
    /// What it was told.
    pub settings: Settings,
    /// What it tells.
    pub metrics: Metrics,
    /// Whether it is ready.
    pub readiness: Readiness,
    /// The name of this process: unique among its replicas.
    pub identity: String,
    /// The namespace of its Lease; without one it leads at once.
    pub lease_namespace: Option<String>,
}

/// Why the operator stopped.
#[derive(Debug, Error)]
pub enum RunError {
    /// The definitions are not installed.
    #[error(
        "the custom resource {kind} is not installed; run `kubectl apply --server-side -f crds/yaml` or install the chart"
    )]
    NotInstalled {
        /// Which.
        kind: &'static str,
    },
    /// The API server says no.
    #[error("the API server refuses to list {kind}: {source}")]
    Refused {
        /// What was being listed.
        kind: &'static str,
        /// Why.
        source: Box<kube::Error>,
    },
    /// Another process leads now.
    #[error("leadership was lost")]
    LeadershipLost,
}

/// Blocks readiness until [`run`] has found what it needs; for who serves the admin port before that.
pub fn not_ready_yet(readiness: &Readiness) {
    readiness.block(START, "not started yet");
}

/// Runs until `shutdown` is cancelled or leadership is lost. Dropping the future cuts everything off where it stands.
///
/// # Errors
/// [`RunError`]; the process should end and be started anew.
pub async fn run(world: World, shutdown: CancellationToken) -> Result<(), RunError> {
    not_ready_yet(&world.readiness);
    installed::<FeatureView>(&world, "FeatureView").await?;
    installed::<Architecture>(&world, "Architecture").await?;
    installed::<TrainingSet>(&world, "TrainingSet").await?;
    installed::<Erasure>(&world, "Erasure").await?;
    installed::<FeatureReplay>(&world, "FeatureReplay").await?;
    world.readiness.clear(START);
    let Some(namespace) = &world.lease_namespace else {
        lead(&world, &shutdown).await;
        return Ok(());
    };
    let elector = Elector::new(world.client.clone(), namespace, CONTROLLER, &world.identity);
    tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        () = elector.acquire() => {}
    }
    tracing::info!(identity = world.identity, "leading");
    world.metrics.leads(true);
    let lost = tokio::select! {
        () = lead(&world, &shutdown) => false,
        // Not stopped by `shutdown`: the lease is held while rounds end.
        () = elector.hold() => true,
    };
    world.metrics.leads(false);
    if lost {
        return Err(RunError::LeadershipLost);
    }
    elector.release().await;
    Ok(())
}

async fn installed<K: Object>(world: &World, kind: &'static str) -> Result<(), RunError> {
    let api: Api<K> = match &world.settings.namespace {
        Some(namespace) => Api::namespaced(world.client.clone(), namespace),
        None => Api::all(world.client.clone()),
    };
    match api.list_metadata(&ListParams::default().limit(1)).await {
        Ok(_) => Ok(()),
        Err(source) if is_not_found(&source) => Err(RunError::NotInstalled { kind }),
        Err(source) => Err(RunError::Refused { kind, source: Box::new(source) }),
    }
}

/// The drivers, until `shutdown` and the end of the rounds that have begun.
async fn lead(world: &World, shutdown: &CancellationToken) {
    let ended = CancellationToken::new();
    let _ended = ended.clone().drop_guard();
    let reporter = Reporter { controller: CONTROLLER.to_owned(), instance: Some(world.identity.clone()) };
    let (replays, replay_writer) = store::<FeatureReplay>();
    let context = Arc::new(Context {
        client: world.client.clone(),
        edges: world.edges.clone(),
        settings: world.settings.clone(),
        metrics: world.metrics.clone(),
        recorders: Recorders::new(world.client.clone(), reporter),
        resolutions: feature_view::resolve::Resolutions::default(),
        replays: replays.clone(),
        lags: lag::Lags::default(),
        swept: tokio::sync::watch::Sender::default(),
        topics: feature_view::source::Topics::default(),
        purges: crate::purge::Purges::default(),
        failures: Failures::default(),
        now: Timestamp::now,
        ended,
    });
    let watches = Watches {
        client: world.client.clone(),
        namespace: world.settings.namespace.clone(),
        metrics: world.metrics.clone(),
        readiness: world.readiness.clone(),
    };
    let (views, view_writer) = store::<FeatureView>();
    world.metrics.views.are(views.clone());
    let (architectures, architecture_writer) = store::<Architecture>();
    let (training_sets, training_set_writer) = store::<TrainingSet>();
    let (erasures, erasure_writer) = store::<Erasure>();
    let stores = Stores { views: views.clone(), training_sets: training_sets.clone(), erasures: erasures.clone() };
    let (requests, queues) = Requests::new();

    let (views_too, architectures_too) = (requests.views.clone(), requests.architectures.clone());
    let of_lagging = requests.views.clone();
    // Nobody listens any more when leadership ended.
    let wake = move |view| drop(of_lagging.send(view));
    let pumps: Vec<BoxFuture<'_, ()>> = vec![
        lag::sweep::watch(context.clone(), views.clone(), wake).boxed(),
        alertmanager::post::watch(context.clone()).boxed(),
        watches.clone().roots(view_writer, requests.clone().view_seen(stores.clone())).boxed(),
        watches.clone().roots(architecture_writer, requests.clone().architecture_seen(stores)).boxed(),
        watches.clone().roots(training_set_writer, once_seen(requests.training_sets.clone())).boxed(),
        watches.clone().roots(erasure_writer, once_seen(requests.erasures.clone())).boxed(),
        watches.clone().roots(replay_writer, requests.clone().replay_seen()).boxed(),
        watches.clone().children::<Deployment, _>(views_too.clone()).boxed(),
        watches.clone().children::<ConfigMap, _>(views_too.clone()).boxed(),
        watches.clone().children::<ControllerRevision, _>(views_too.clone()).boxed(),
        watches.clone().children::<CronJob, _>(views_too).boxed(),
        watches.clone().children::<Deployment, _>(architectures_too.clone()).boxed(),
        watches.clone().children::<Service, _>(architectures_too.clone()).boxed(),
        watches.clone().children::<ServiceAccount, _>(architectures_too.clone()).boxed(),
        watches.clone().children::<PodDisruptionBudget, _>(architectures_too.clone()).boxed(),
        watches.clone().children::<CronJob, _>(architectures_too).boxed(),
        watches.clone().ours::<Pod>("pods".to_owned(), requests.clone().labelled()).boxed(),
        watches.ours::<Job>("jobs".to_owned(), requests.labelled()).boxed(),
    ];
    let stop = || shutdown.clone();
    let drivers = futures::future::join5(
        drive(&context, views, queues.views, stop(), feature_view::reconcile),
        drive(&context, architectures, queues.architectures, stop(), architecture::reconcile),
        drive(&context, training_sets, queues.training_sets, stop(), once::reconcile),
        drive(&context, erasures, queues.erasures, stop(), once::reconcile),
        drive(&context, replays, queues.replays, stop(), feature_replay::reconcile),
    );
    tokio::select! {
        _ = futures::future::join_all(pumps) => {}
        _ = drivers => {}
        () = async { shutdown.cancelled().await; tokio::time::sleep(DRAIN).await } => {
            tracing::warn!("rounds did not end in time and are cut off");
        }
    }
}

/// Runs rounds of one kind until `stop`, then waits for those that have begun.
async fn drive<K, F>(
    context: &Arc<Context>,
    store: Store<K>,
    requests: UnboundedReceiver<ObjectRef<K>>,
    stop: CancellationToken,
    reconcile: fn(Arc<K>, Arc<Context>) -> F,
) where
    K: Object + Send + Sync + 'static,
    F: Future<Output = Result<Action, error::Error>> + Send + 'static,
{
    let kind = kind_name::<K>();
    let metrics = context.metrics.clone();
    let queue = stream::unfold(requests, move |mut requests| {
        let metrics = metrics.clone();
        async move {
            let request = requests.recv().await?;
            metrics.queued(kind, requests.len());
            Some((Ok::<_, std::convert::Infallible>(request), requests))
        }
    })
    .take_until(stop.cancelled_owned())
    .boxed();
    let round = move |object: Arc<K>, context: Arc<Context>| {
        let trace = Trace::next();
        let work = async move {
            let mut span = trace.open(&format!("reconcile {kind}"), Kind::Internal);
            span.note("k8s.namespace.name", &object.namespace().unwrap_or_default());
            span.note("featuremill.object", &object.name_any());
            let (start, uid, name) = (Instant::now(), object.uid().unwrap_or_default(), object.name_any());
            let end = reconcile(object, context.clone()).await;
            context.metrics.reconciled(kind, start.elapsed());
            match &end {
                Ok(_) => context.failures.clear(&uid),
                Err(error) => {
                    span.fail(error);
                    context.metrics.failed(kind, error.reason());
                    let attempts = context.failures.count(&uid);
                    if error.is_conflict() {
                        tracing::debug!(kind, object = name, %error, "a round begins anew");
                    } else {
                        tracing::warn!(kind, object = name, %error, attempts, "a round failed");
                    }
                }
            }
            end
        };
        // All that a round logs is found by the one id.
        Box::pin(trace.scope(work))
    };
    let failed = move |object: Arc<K>, error: &error::Error, context: Arc<Context>| {
        let attempts = context.failures.before(&object.uid().unwrap_or_default());
        Action::requeue(error.retry_after(attempts))
    };
    let config = ControllerConfig::default().concurrency(context.settings.concurrency);
    applier(round, failed, context.clone(), store, queue, config).for_each(|_| futures::future::ready(())).await;
}

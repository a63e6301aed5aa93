//! What stands: the view and all that belongs to it, read anew each round. Needs a client.

use std::collections::BTreeMap;
use std::sync::Arc;

use crds::architecture::Mode;
use crds::feature_view::{ReplayStatus, ServingArchitecture};
use crds::{Architecture, FeatureReplay, FeatureView};
use engine::compare::Report;
use engine::plan::{Assignment, Assignments, Plan};
use engine::replay::Progress;
use engine::row::{
    CatalogEntry, Head, Live, RunReport, Trouble, catalog_key, comparison_key, head_key, live_key, marker_key,
    replay_key, run_key, shadow_key, trouble_key, write_test_key, writing_key,
};
use engine::shadow::Report as Shadows;
use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use shell::store::Markers;

use super::belonging::{self, Belonging};
use super::comparison;
use super::monitoring::{self, Checks};
use super::phase::{Decision, pin};
use super::resolve::Refusal;
use super::runs::{self, Run};
use super::{history, replay};
use crate::apply::Object;
use crate::context::Context;
use crate::edges::{EdgeError, Secrets, Store};
use crate::error::Error;
use crate::jobs::is_finished;
use crate::names::{ASSIGNMENTS_KEY, BATCH_KEY, MANAGED_BY_SELECTOR, REVISION_LABEL, VIEW_LABEL};
use crate::workload::is_rolled_out;

/// The view and its objects.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The view, as fresh as the API server can tell.
    pub view: FeatureView,
    /// The architecture in effect, if it exists: the one that the view names, unless that cannot take over from the one before.
    pub architecture: Option<Architecture>,
    /// Why the one that the view names cannot take over.
    pub misfit: Option<String>,
    /// Others that it was moved from, and that revisions still run with.
    pub former: Vec<Architecture>,
    /// Its Deployments.
    pub deployments: Vec<Deployment>,
    /// Its config maps.
    pub config_maps: Vec<ConfigMap>,
    /// Its CronJobs.
    pub cron_jobs: Vec<CronJob>,
    /// Its Jobs, and those of its CronJobs.
    pub jobs: Vec<Job>,
    /// Its pods, if not all of them are ready.
    pub pods: Vec<Pod>,
    /// Why none of the pods of a Job can be made, by the Job's name.
    pub refused: BTreeMap<String, String>,
    /// Its history.
    pub history: Vec<ControllerRevision>,
    /// The replays of it that have begun and not ended.
    pub replays: Vec<FeatureReplay>,
    /// As what its definition is computed; none before that is resolved.
    pub run: Option<Run>,
}

/// What the online store holds of the view.
pub enum StoreView {
    /// There is no architecture, or the spec was refused and nothing was ever accepted.
    NotAsked,
    /// It did not answer.
    Unreachable(String),
    /// It answered.
    Known(Box<StoreFacts>),
}

/// What the online store answered.
pub struct StoreFacts {
    /// The store, for the writes of this round.
    pub store: Arc<dyn Store>,
    /// How store and log are reached.
    pub secrets: Secrets,
    /// Which revision is live.
    pub live: Option<Live>,
    /// Where the target's readable rows are.
    pub head: Option<Head>,
    /// Where the live revision's readable rows are.
    pub live_head: Option<Head>,
    /// What became of the target's last batch run, if it has had one.
    pub run: Option<RunReport>,
    /// The newest generation of the live revision whose rows a run has begun to write; asked only while
    /// `spec.servingGeneration` is set.
    pub writing: Option<u64>,
    /// What the last comparison of the target with the live revision said; where the target is live and status has forgotten
    /// it, with the one before.
    pub comparison: Option<Report>,
    /// What servers say of shadow reads of the target, by server.
    pub shadows: BTreeMap<String, Shadows>,
    /// What the last checks of the live revision's values said.
    pub checks: Checks,
    /// How far the target has read; none if there is no target.
    pub markers: Option<Markers>,
    /// How far the target's replay has come, by partition; asked only while there is one.
    pub replays: BTreeMap<i32, Progress>,
    /// What workers say keeps them from their work, by revision and worker.
    pub troubles: BTreeMap<String, BTreeMap<String, Trouble>>,
    /// Why the store takes no writes; asked only while some worker is not ready.
    pub refusal: Option<String>,
    /// The view's entry in the catalog.
    pub catalog: Option<CatalogEntry>,
    /// Its entries in the catalogs of Architectures that it was moved from.
    pub former: Vec<(ServingArchitecture, Option<CatalogEntry>)>,
}

/// Reads the view and its objects; `None` if the view is gone.
///
/// # Errors
/// What the API server says.
pub async fn objects(context: &Context, view: &FeatureView) -> Result<Option<Observed>, Error> {
    let (name, namespace) = (view.name_any(), view.namespace().unwrap_or_default());
    let views = Api::<FeatureView>::namespaced(context.client.clone(), &namespace);
    let Some(view) = views.get_opt(&name).await.map_err(Error::read(format!("FeatureView {name}")))? else {
        return Ok(None);
    };
    let selector = format!("{MANAGED_BY_SELECTOR},{VIEW_LABEL}={name}");
    let deployments = owned(context, &view, &selector).await?;
    let config_maps = owned(context, &view, &selector).await?;
    let history = owned(context, &view, &selector).await?;
    let mut cron_jobs = Vec::new();
    let Belonging { architecture, misfit, former } = belonging::observe(context, &view, &history).await?;
    // A view of which no revision ever had batch runs has nothing of them.
    if architecture.as_ref().is_none_or(|a| a.spec.mode.batches())
        || history.iter().filter_map(history::mode_of_entry).any(Mode::batches)
        || monitoring::has_checks(&view)
    {
        cron_jobs = owned::<_, CronJob>(context, &view, &selector).await?;
    }
    let owners: Vec<String> = cron_jobs.iter().filter_map(kube::ResourceExt::uid).chain(view.uid()).collect();
    let api = Api::<Job>::namespaced(context.client.clone(), &namespace);
    let list = api.list(&ListParams::default().labels(&selector)).await.map_err(Error::read("the list of jobs"))?;
    let mut jobs = list.items;
    jobs.retain(|job| job.owner_references().iter().any(|o| owners.contains(&o.uid)));
    let busy = jobs.iter().any(|job| !is_finished(job));
    let pods = unready_pods(context, &view, &deployments, busy, &selector).await?;
    let refused = refused(context, &namespace, &jobs, &pods).await?;
    let replays = runs::observe(context, &view).await?;
    Ok(Some(Observed {
        view,
        architecture,
        misfit,
        former,
        deployments,
        config_maps,
        cron_jobs,
        jobs,
        pods,
        refused,
        history,
        replays,
        run: None,
    }))
}

impl Observed {
    /// Whether any of its revisions may have stream workers, and so a consumer group.
    #[must_use]
    pub fn streams(&self) -> bool {
        self.modes().any(Mode::streams)
    }

    /// Whether any of its revisions may have batch runs, and so generations.
    #[must_use]
    pub fn batches(&self) -> bool {
        self.modes().any(Mode::batches)
    }

    /// The modes that it is, was or shall be computed in.
    fn modes(&self) -> impl Iterator<Item = Mode> {
        let own = self.architecture.iter().map(|architecture| architecture.spec.mode);
        own.chain(self.history.iter().filter_map(history::mode_of_entry))
    }

    /// The revisions of which an object stands, beside the history.
    pub fn revisions(&self) -> impl Iterator<Item = &str> {
        let workloads = self.workloads();
        workloads.chain(self.config_maps.iter().filter_map(revision_of)).chain(self.own_jobs().filter_map(revision_of))
    }

    /// The revisions whose workers or scheduled runs stand.
    pub fn workloads(&self) -> impl Iterator<Item = &str> {
        let runs = self.cron_jobs.iter().filter(|cron_job| !monitoring::is_check(*cron_job));
        self.deployments.iter().filter_map(revision_of).chain(runs.filter_map(revision_of))
    }

    /// The Jobs that the view owns itself.
    pub fn own_jobs(&self) -> impl Iterator<Item = &Job> {
        let uid = self.view.uid().unwrap_or_default();
        self.jobs.iter().filter(move |job| job.owner_references().iter().any(|o| o.uid == uid))
    }
}

/// Why Jobs that should have pods have none. A Job has no condition for that: its controller tells it by events.
async fn refused(
    context: &Context,
    namespace: &str,
    jobs: &[Job],
    pods: &[Pod],
) -> Result<BTreeMap<String, String>, Error> {
    let mut refused = BTreeMap::new();
    let lacks = |job: &&Job| {
        let uid = job.uid();
        let has = |pod: &Pod| pod.owner_references().iter().any(|owner| Some(&owner.uid) == uid.as_ref());
        !is_finished(job) && !pods.iter().any(has)
    };
    for job in jobs.iter().filter(lacks) {
        let of = format!("involvedObject.uid={},reason=FailedCreate", job.uid().unwrap_or_default());
        let api = Api::<Event>::namespaced(context.client.clone(), namespace);
        let list = api.list(&ListParams::default().fields(&of)).await.map_err(Error::read("the list of events"))?;
        let newest = list.items.into_iter().max_by_key(|event| event.last_timestamp.as_ref().map(|time| time.0));
        refused.extend(newest.and_then(|event| event.message).map(|message| (job.name_any(), message)));
    }
    Ok(refused)
}

/// The pods that carry the labels, unless every one of them is ready and no Job is `busy`: then there is nothing to be
/// learnt of them.
pub(crate) async fn unready_pods<R: Object>(
    context: &Context,
    root: &R,
    deployments: &[Deployment],
    busy: bool,
    selector: &str,
) -> Result<Vec<Pod>, Error> {
    if !busy && deployments.iter().all(is_rolled_out) {
        return Ok(Vec::new());
    }
    let api = Api::<Pod>::namespaced(context.client.clone(), &root.namespace().unwrap_or_default());
    Ok(api.list(&ListParams::default().labels(selector)).await.map_err(Error::read("the list of pods"))?.items)
}

/// The objects of a kind that carry the labels and belong to `root` by UID.
pub(crate) async fn owned<R: Object, K: Object>(context: &Context, root: &R, selector: &str) -> Result<Vec<K>, Error> {
    let api = Api::<K>::namespaced(context.client.clone(), &root.namespace().unwrap_or_default());
    let list = api.list(&ListParams::default().labels(selector)).await;
    let mut items = list.map_err(Error::read(format!("the list of {}", K::plural(&()))))?.items;
    let uid = root.uid().unwrap_or_default();
    items.retain(|item| item.owner_references().iter().any(|o| o.uid == uid));
    Ok(items)
}

/// Whether any pod of the view, or of one of its revisions, is left: a worker's or a run's.
///
/// # Errors
/// What the API server says.
pub async fn has_pods(context: &Context, view: &FeatureView, revision: Option<&str>) -> Result<bool, Error> {
    let mut selector = format!("{MANAGED_BY_SELECTOR},{VIEW_LABEL}={}", view.name_any());
    if let Some(revision) = revision {
        selector = format!("{selector},{REVISION_LABEL}={revision}");
    }
    let api = Api::<Pod>::namespaced(context.client.clone(), &view.namespace().unwrap_or_default());
    let pods =
        api.list_metadata(&ListParams::default().labels(&selector)).await.map_err(Error::read("the list of pods"))?;
    Ok(!pods.items.is_empty())
}

/// Asks the online store what it holds of the view; `target` is what is to be served in the end.
pub async fn store(context: &Context, observed: &Observed, target: Option<&str>) -> StoreView {
    let Some(architecture) = &observed.architecture else { return StoreView::NotAsked };
    if target.is_none()
        && observed.view.status.as_ref().is_none_or(|s| s.active_revision.is_none() && s.candidate_revision.is_none())
    {
        return StoreView::NotAsked;
    }
    match facts(context, observed, architecture, target).await {
        Ok(facts) => StoreView::Known(Box::new(facts)),
        Err(message) => StoreView::Unreachable(message),
    }
}

async fn facts(
    context: &Context,
    observed: &Observed,
    architecture: &Architecture,
    target: Option<&str>,
) -> Result<StoreFacts, String> {
    let secrets = match Secrets::read(&context.client, architecture).await {
        Ok(Ok(secrets)) => secrets,
        Ok(Err(missing)) => return Err(missing.to_string()),
        Err(error) => return Err(error.to_string()),
    };
    let text = |error: EdgeError| error.to_string();
    let uid = observed.view.uid().unwrap_or_default();
    let store = context.edges.store(&secrets.store).await.map_err(text)?;
    let live = store.live(&live_key(&uid)).await.map_err(text)?;
    let mut catalog = store.catalog(&catalog_key(&architecture.uid().unwrap_or_default())).await.map_err(text)?;
    let (mut head, mut markers, mut run, mut replays) = (None, None, None, BTreeMap::new());
    if let Some(target) = target {
        head = store.head(&head_key(&uid, target)).await.map_err(text)?;
        markers = Some(store.markers(&marker_key(&uid, target, 0, 0)).await.map_err(text)?);
        if is_replayed(observed, target) {
            replays = store.replays(&replay_key(&uid, target, 0)).await.map_err(text)?;
        }
        if observed.batches() {
            run = store.run(&run_key(&uid, target)).await.map_err(text)?;
        }
    }
    let compares = comparison::is_on(&observed.view.spec.rollout.comparison);
    let comparison = match (&live, target) {
        (Some(live), Some(target))
            if compares && (live.revision != target || !remembers_comparison(observed, target)) =>
        {
            store.comparison(&comparison_key(&uid, target)).await.map_err(text)?
        }
        _ => None,
    };
    let shadows = match (&live, target, &observed.view.spec.rollout.comparison.shadow) {
        (Some(live), Some(target), Some(_)) if live.revision != target => {
            store.shadows(&shadow_key(&uid, target)).await.map_err(text)?
        }
        _ => BTreeMap::new(),
    };
    let checks = monitoring::checks(&observed.view, &*store, live.as_ref(), &uid).await.map_err(text)?;
    let live_head = match &live {
        Some(live) if target != Some(live.revision.as_str()) => {
            store.head(&head_key(&uid, &live.revision)).await.map_err(text)?
        }
        Some(_) => head.clone(),
        None => None,
    };
    let writing = match &live {
        Some(live) if observed.view.spec.serving_generation.is_some() => {
            let key = writing_key(&uid, &live.revision);
            let said = store.text(&key).await.map_err(text)?;
            said.map(|said| said.parse().map_err(|error| format!("{key} holds {said:?}: {error}"))).transpose()?
        }
        _ => None,
    };
    let mut troubles = BTreeMap::new();
    for revision in live.iter().map(|l| l.revision.as_str()).chain(target) {
        if !troubles.contains_key(revision) {
            let told = store.troubles(&trouble_key(&uid, revision, 0)).await.map_err(text)?;
            troubles.insert(revision.to_owned(), told);
        }
    }
    let ready = observed.deployments.iter().all(is_rolled_out);
    let refusal = if ready { None } else { store.refusal(&write_test_key(&uid)).await.map_err(text)? };
    let name = observed.view.name_any();
    let catalog = catalog.remove(&name);
    let mut former = Vec::new();
    for left in belonging::left(&observed.view, architecture) {
        let entry = store.catalog(&catalog_key(&left.uid)).await.map_err(text)?.remove(&name);
        former.push((left, entry));
    }
    Ok(StoreFacts {
        store,
        secrets,
        live,
        head,
        live_head,
        run,
        writing,
        comparison,
        shadows,
        checks,
        markers,
        replays,
        troubles,
        refusal,
        catalog,
        former,
    })
}

/// Whether status tells of the comparison that a revision stood.
fn remembers_comparison(observed: &Observed, revision: &str) -> bool {
    let rollout = observed.view.status.as_ref().and_then(|status| status.rollout.as_ref());
    rollout.and_then(|rollout| rollout.comparison.as_ref()).is_some_and(|compared| compared.candidate == revision)
}

/// Whether status says of a replay of the revision that it is not complete.
fn is_replayed(observed: &Observed, revision: &str) -> bool {
    let trial = observed.view.status.as_ref().and_then(|status| status.rollout.as_ref()?.trial.as_ref());
    let replay = trial.filter(|trial| trial.revision == revision).and_then(|trial| trial.replay.as_ref());
    replay.is_some_and(|replay| replay.completed_time.is_none())
}

/// What a candidate's replay is to read, if that is to be decided now: what a Job that stands reads, or else what the topic
/// holds.
pub async fn offsets(
    context: &Context,
    observed: &Observed,
    store: &StoreView,
    plans: &BTreeMap<String, Arc<Plan>>,
    decision: &Decision,
    now: Timestamp,
) -> Option<Result<ReplayStatus, crate::trouble::Trouble>> {
    let replaying = decision.replay.as_ref().filter(|replay| replay.captures)?;
    if let Some(known) = replay::of_job(observed, &replaying.revision) {
        return Some(Ok(known));
    }
    let StoreView::Known(facts) = store else { return None };
    let plan = plans.get(&replaying.revision)?;
    let (topic, log) = (&plan.source.stream.as_ref()?.topic, facts.secrets.log.as_ref()?);
    let rollout = &observed.rollout(&replaying.revision);
    let since = replay::since(&rollout.start_from, plan, now);
    let held = context.edges.topic(log, topic, since).await.map(|held| replay::judged(&observed.view, held));
    let table = observed.architecture.as_ref().and_then(|of| replay::archive(of, &observed.view, topic));
    Some(held.and_then(|held| replay::order(rollout, plan, &held, table.as_deref(), now)))
}

/// What is read back of a configuration of batch runs.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BatchPlan {
    pub assignment: Assignment,
    pub feature_table: String,
    pub source: Option<serde_json::Value>,
    pub silver: Option<SilverTable>,
}

/// What is read back of how Silver is made.
#[derive(serde::Deserialize)]
pub(crate) struct SilverTable {
    pub table: String,
}

/// Every plan of the view that is known, by revision: the wanted one, those in its config maps, those in the catalog, and of
/// its history the one that is pinned.
#[must_use]
pub fn plans(
    observed: &Observed,
    resolved: &Result<Arc<Plan>, Refusal>,
    store: &StoreView,
) -> BTreeMap<String, Arc<Plan>> {
    let uid = observed.view.uid().unwrap_or_default();
    let mut plans = BTreeMap::new();
    if let StoreView::Known(facts) = store {
        for plan in facts.catalog.iter().flat_map(|entry| &entry.plans) {
            plans.insert(plan.revision.clone(), Arc::new(plan.clone()));
        }
    }
    for data in observed.config_maps.iter().filter_map(|map| map.data.as_ref()) {
        let stream = data.get(ASSIGNMENTS_KEY).and_then(|text| serde_json::from_str::<Assignments>(text).ok());
        let batch = data.get(BATCH_KEY).and_then(|text| serde_json::from_str::<BatchPlan>(text).ok());
        let all = stream.into_iter().flat_map(|a| a.assignments).chain(batch.map(|b| b.assignment));
        for plan in all.map(|assignment| assignment.plan) {
            plans.insert(plan.revision.clone(), Arc::new(plan));
        }
    }
    plans.retain(|_, plan| plan.view.uid == uid);
    if let Ok(plan) = resolved {
        plans.insert(plan.revision.clone(), plan.clone());
    }
    if let Some(pin) = pin(&observed.view.spec.rollout).filter(|pin| !plans.contains_key(*pin))
        && let Some(plan) = history::plan(observed, pin)
    {
        plans.insert(pin.to_owned(), plan);
    }
    plans
}

/// The revision that an object is labelled with.
#[must_use]
pub fn revision_of<K: Object>(object: &K) -> Option<&str> {
    object.labels().get(REVISION_LABEL).map(String::as_str)
}

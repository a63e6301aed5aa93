//! Who asks for whose round: what watches see becomes requests.

use crds::condition::types;
use crds::{Architecture, Erasure, FeatureReplay, FeatureView, TrainingSet};
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource, ResourceExt as _};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::feature_view::phase::Verb;
use crate::feature_view::runs;
use crate::names::{ARCHITECTURE_LABEL, ERASURE_LABEL, TRAINING_SET_LABEL, VIEW_LABEL};
use crate::once::{Once, is_pending};
use crate::watch::Changes;

/// Where requests for rounds of a kind go. Nobody listens any more when leadership ended.
type Sender<K> = UnboundedSender<ObjectRef<K>>;

/// Where requests for rounds go.
#[derive(Clone)]
pub(super) struct Requests {
    pub views: Sender<FeatureView>,
    pub architectures: Sender<Architecture>,
    pub training_sets: Sender<TrainingSet>,
    pub erasures: Sender<Erasure>,
    pub replays: Sender<FeatureReplay>,
}

/// Where they come from.
pub(super) struct Queues {
    pub views: UnboundedReceiver<ObjectRef<FeatureView>>,
    pub architectures: UnboundedReceiver<ObjectRef<Architecture>>,
    pub training_sets: UnboundedReceiver<ObjectRef<TrainingSet>>,
    pub erasures: UnboundedReceiver<ObjectRef<Erasure>>,
    pub replays: UnboundedReceiver<ObjectRef<FeatureReplay>>,
}

/// What is known of every kind.
#[derive(Clone)]
pub(super) struct Stores {
    pub views: Store<FeatureView>,
    pub training_sets: Store<TrainingSet>,
    pub erasures: Store<Erasure>,
}

impl Requests {
    /// Both ends of each way.
    pub fn new() -> (Self, Queues) {
        let (views, of_views) = unbounded_channel();
        let (architectures, of_architectures) = unbounded_channel();
        let (training_sets, of_training_sets) = unbounded_channel();
        let (erasures, of_erasures) = unbounded_channel();
        let (replays, of_replays) = unbounded_channel();
        let queues = Queues {
            views: of_views,
            architectures: of_architectures,
            training_sets: of_training_sets,
            erasures: of_erasures,
            replays: of_replays,
        };
        (Self { views, architectures, training_sets, erasures, replays }, queues)
    }

    /// A view asks for its own round when its spec, annotations, finalizers or deletion changed, for its architecture's when it comes or
    /// goes, and for those of what waits for it when another revision of it can be asked.
    pub fn view_seen(self, stores: Stores) -> impl FnMut(&FeatureView) {
        let (mut own, mut theirs, mut standing) = (Changes::default(), Changes::default(), Changes::default());
        move |view| {
            let meta = &view.metadata;
            // A view that goes has its finalizers taken off last, which is a change.
            let asked = Verb::ALL.map(|verb| view.annotations().get(verb.annotation()).cloned());
            let seen = (meta.generation, asked, view.finalizers().to_vec(), meta.deletion_timestamp.clone());
            if own.is_new(view, seen) {
                let _ = self.views.send(ObjectRef::from_obj(view));
                let _ = self.architectures.send(architecture_of(view));
            } else if meta.deletion_timestamp.is_some() {
                let _ = self.architectures.send(architecture_of(view));
            }
            let status = view.status.clone().unwrap_or_default();
            // What an architecture archives, and whose turn it is to follow its mode, depends on how its views stand.
            let accepted = status.conditions.iter().find(|c| c.type_ == types::SPEC_ACCEPTED).map(|c| c.status);
            let aborted = status.rollout.and_then(|rollout| rollout.trial).and_then(|trial| trial.aborted);
            let served_by: Vec<String> = status.architectures.into_iter().map(|a| a.name).collect();
            if standing.is_new(view, (status.mode, status.revisions, served_by.clone(), accepted, aborted)) {
                let namespace = view.namespace().unwrap_or_default();
                let _ = self.architectures.send(architecture_of(view));
                for name in served_by.iter().filter(|name| **name != view.spec.architecture_ref.name) {
                    let _ = self.architectures.send(ObjectRef::new(name).within(&namespace));
                }
            }
            let revisions = (status.active_revision, status.candidate_revision, status.generation.is_some());
            if theirs.is_new(view, (meta.generation, revisions)) {
                self.wake(&stores, view.namespace().as_ref(), &view.spec.architecture_ref.name);
            }
        }
    }

    /// An architecture asks for its own round when its spec changed, and for those of its views, and of what waits for it,
    /// when anything did that they use.
    pub fn architecture_seen(self, stores: Stores) -> impl FnMut(&Architecture) {
        let (mut own, mut theirs) = (Changes::default(), Changes::default());
        let (mut accepted, mut turn) = (Changes::default(), Changes::default());
        move |architecture| {
            let meta = &architecture.metadata;
            let finalizers = architecture.finalizers().to_vec();
            if own.is_new(architecture, (meta.generation, finalizers, meta.deletion_timestamp.clone())) {
                let _ = self.architectures.send(ObjectRef::from_obj(architecture));
            }
            let (name, namespace) = (architecture.name_any(), architecture.namespace());
            let status = architecture.status.clone().unwrap_or_default();
            let observed = (status.observed_generation.is_some(), status.secrets_version);
            if theirs.is_new(architecture, (meta.generation, observed)) {
                let answers_for = |view: &FeatureView| {
                    view.status.iter().flat_map(|s| &s.architectures).any(|serving| serving.name == name)
                };
                for view in stores.views.state() {
                    let its = view.spec.architecture_ref.name == name || answers_for(&view);
                    if view.namespace() == namespace && its {
                        let _ = self.views.send(ObjectRef::from_obj(&*view));
                    }
                }
            }
            // Whose turn it is, and who is nearer to it.
            let turns = status.migration.unwrap_or_default();
            if turn.is_new(architecture, (status.observed_generation, turns.clone())) {
                for view in turns.migrating.iter().chain(&turns.waiting) {
                    let view = ObjectRef::new(view).within(namespace.as_deref().unwrap_or_default());
                    let _ = self.views.send(view);
                }
            }
            let conditions: Vec<_> =
                status.conditions.into_iter().map(|c| (c.type_, c.observed_generation, c.reason)).collect();
            if accepted.is_new(architecture, conditions) {
                self.wake(&stores, namespace.as_ref(), &name);
            }
        }
    }

    /// A replay asks for its own round when its spec changed, and for its view's when that is to begin, stop or end something.
    pub fn replay_seen(self) -> impl FnMut(&FeatureReplay) {
        let (mut own, mut theirs) = (Changes::default(), Changes::default());
        move |replay| {
            let meta = &replay.metadata;
            let status = replay.status.clone().unwrap_or_default();
            if own.is_new(replay, (meta.generation, meta.deletion_timestamp.clone())) {
                let _ = self.replays.send(ObjectRef::from_obj(replay));
            }
            let fence = runs::fence(replay).cloned();
            let seen = (meta.generation, meta.deletion_timestamp.clone(), status.run, status.progress.phase, fence);
            // One that is deleted is seen once more as it was.
            if theirs.is_new(replay, seen) || meta.deletion_timestamp.is_some() {
                let view = ObjectRef::new(&replay.spec.view_ref.name);
                let _ = self.views.send(view.within(&replay.namespace().unwrap_or_default()));
            }
        }
    }

    /// A pod or Job asks for a round of whom it works for, by its labels: its owner is a `ReplicaSet` or a CronJob, and what it
    /// waits for, or how it ended, shows in no object of ours.
    pub fn labelled<K: Resource>(self) -> impl FnMut(&PartialObjectMeta<K>) {
        move |object| {
            let namespace = object.metadata.namespace.clone().unwrap_or_default();
            let labels = object.metadata.labels.clone().unwrap_or_default();
            if let Some(view) = labels.get(VIEW_LABEL) {
                let _ = self.views.send(ObjectRef::new(view).within(&namespace));
            }
            if let Some(architecture) = labels.get(ARCHITECTURE_LABEL) {
                let _ = self.architectures.send(ObjectRef::new(architecture).within(&namespace));
            }
            if let Some(training_set) = labels.get(TRAINING_SET_LABEL) {
                let _ = self.training_sets.send(ObjectRef::new(training_set).within(&namespace));
            }
            if let Some(erasure) = labels.get(ERASURE_LABEL) {
                let _ = self.erasures.send(ObjectRef::new(erasure).within(&namespace));
            }
        }
    }

    /// Asks for rounds of what still waits for something of an architecture.
    fn wake(&self, stores: &Stores, namespace: Option<&String>, architecture: &str) {
        wake(&stores.training_sets, &self.training_sets, namespace, architecture);
        wake(&stores.erasures, &self.erasures, namespace, architecture);
    }
}

/// Asks for its own round when it comes or its deletion begins: its spec never changes.
pub(super) fn once_seen<K: Once>(requests: Sender<K>) -> impl FnMut(&K) {
    let mut changes = Changes::default();
    move |object| {
        if changes.is_new(object, object.meta().deletion_timestamp.clone()) {
            let _ = requests.send(ObjectRef::from_obj(object));
        }
    }
}

fn wake<K: Once>(known: &Store<K>, requests: &Sender<K>, namespace: Option<&String>, architecture: &str) {
    for object in known.state() {
        if object.namespace().as_ref() == namespace && object.architecture() == architecture && is_pending(&*object) {
            let _ = requests.send(ObjectRef::from_obj(&*object));
        }
    }
}

fn architecture_of(view: &FeatureView) -> ObjectRef<Architecture> {
    ObjectRef::new(&view.spec.architecture_ref.name).within(&view.namespace().unwrap_or_default())
}

//! What a decision is made from: the spec's wish, what status remembers, what store and cluster show.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crds::architecture::Mode;
use crds::feature_view::{FailurePolicy, Rollout};
use engine::plan::Plan;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use shell::store::Markers;

use super::memory::{Memory, Past};
use super::progress::Course;
use super::replay::Seen;
use crate::feature_view::comparison::{self, Compared};
use crate::feature_view::observe::{Observed, StoreView, revision_of};
use crate::feature_view::{history, migration, replay};
use crate::names::{ABORT_ANNOTATION, PROMOTE_ANNOTATION, RETRY_ANNOTATION};

/// What a decision is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // Each is a fact of its own, and any of them goes with any other.
pub struct Facts {
    /// The time, to the second: that is how it is remembered.
    pub now: Timestamp,
    /// The revision that the spec describes; `None` if the spec was refused.
    pub wanted: Option<String>,
    /// What the spec says of rollouts.
    pub policy: Policy,
    /// What people ask for by annotation.
    pub requests: Vec<Request>,
    /// The live revision; `Err` if the store did not answer or was not asked.
    pub live: Result<Option<String>, ()>,
    /// What is remembered.
    pub memory: Memory,
    /// What stands of the history, for when memory was lost.
    pub history: Vec<Past>,
    /// Revisions of which an object, a catalog entry or a pointer stands.
    pub present: BTreeSet<String>,
    /// Revisions whose plan is known.
    pub planned: BTreeSet<String>,
    /// Those of them that read a stream, and have no workers yet.
    pub unread: BTreeSet<String>,
    /// What is seen of the target's replay.
    pub replay: Seen,
    /// Whether the target has read its source up to now, and has a generation where its mode has them.
    pub caught_up: bool,
    /// How far the target has read; `None` where it has nothing to read, or has read all there is by now.
    pub course: Option<Course>,
    /// How many partitions the target's topic has, as far as that is known.
    pub partitions: Option<i32>,
    /// What is known of the comparison that the target has to stand; `None`: nothing is compared.
    pub compared: Option<Compared>,
    /// Whether the target has batch runs and has had none yet.
    pub unrun: bool,
    /// Whether the workers are stopped on purpose.
    pub suspended: bool,
    /// How many seconds the replay was given whose run the target is, if these are over.
    pub overdue: Option<i64>,
    /// Whether the target changes the mode, and it is not the view's turn to do so.
    pub queued: bool,
}

/// What the spec says of rollouts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The one revision that is to be served.
    pub pin: Option<String>,
    /// Whether a revision that has proved itself takes over by itself.
    pub auto: bool,
    /// Whether it is compared with the live one first, and what follows if that fails.
    pub compares: Option<FailurePolicy>,
    /// Whether nothing is to be decided now.
    pub paused: bool,
    /// For how long a revision must be caught up.
    pub stable_for: SignedDuration,
    /// How long that may take.
    pub deadline: SignedDuration,
    /// How long nothing of it may advance.
    pub progress: SignedDuration,
    /// How many workers it may have until it takes over.
    pub workers: Option<i32>,
    /// How long the revision before is kept.
    pub soak: SignedDuration,
}

/// What can be asked for by annotation, once and of one revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// The candidate may take over.
    Promote,
    /// A candidate that was given up is tried again.
    Retry,
    /// The candidate is given up.
    Abort,
}

/// Something that a person asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What.
    pub verb: Verb,
    /// Of which revision; of any other it means nothing.
    pub revision: String,
}

impl Verb {
    /// All of them, in the order in which they are heeded: who asks for two things is taken at the more careful one.
    pub const ALL: [Self; 3] = [Self::Promote, Self::Retry, Self::Abort];

    /// The annotation that asks for it.
    #[must_use]
    pub fn annotation(self) -> &'static str {
        match self {
            Self::Promote => PROMOTE_ANNOTATION,
            Self::Retry => RETRY_ANNOTATION,
            Self::Abort => ABORT_ANNOTATION,
        }
    }
}

impl Policy {
    fn of(rollout: &Rollout, streams: bool) -> Self {
        let seconds = |n: i32| SignedDuration::from_secs(n.into());
        Self {
            pin: pin(rollout).map(str::to_owned),
            auto: rollout.auto_promotion_enabled,
            compares: comparison::is_on(&rollout.comparison).then_some(rollout.comparison.failure_policy),
            paused: rollout.paused,
            // A generation is there or it is not; only lag comes and goes.
            stable_for: if streams { seconds(rollout.catch_up.stable_for_seconds) } else { SignedDuration::ZERO },
            deadline: seconds(rollout.catch_up.deadline_seconds),
            progress: seconds(rollout.catch_up.progress_deadline_seconds),
            workers: rollout.catch_up.replicas,
            soak: seconds(rollout.scale_down_delay_seconds),
        }
    }
}

impl Facts {
    /// The revision that is to be served in the end.
    #[must_use]
    pub fn target(&self) -> Option<&String> {
        self.policy.pin.as_ref().or(self.wanted.as_ref())
    }
}

/// The revision that a spec pins, if it does.
#[must_use]
pub fn pin(rollout: &Rollout) -> Option<&str> {
    rollout.serving_revision.as_deref().filter(|pin| !pin.is_empty())
}

/// The facts of a round.
#[must_use]
pub fn facts(
    observed: &Observed,
    wanted: Option<&str>,
    plans: &BTreeMap<String, Arc<Plan>>,
    store: &StoreView,
    now: Timestamp,
) -> Facts {
    let view = &observed.view;
    let rollout = &view.spec.rollout;
    let target = pin(rollout).or(wanted);
    let mode = target.and_then(|target| migration::mode(observed, plans, target));
    let (streams, batches) = (mode.is_some_and(Mode::streams), mode.is_some_and(Mode::batches));
    let status = view.status.clone().unwrap_or_default();
    let mut facts = Facts {
        now: Timestamp::from_second(now.as_second()).unwrap_or(now),
        wanted: wanted.map(str::to_owned),
        policy: Policy::of(rollout, streams),
        requests: requests(observed),
        live: Err(()),
        memory: Memory::of(&status),
        history: history::past(observed),
        present: observed.revisions().map(str::to_owned).collect(),
        planned: plans.keys().cloned().collect(),
        unread: unread(observed, plans),
        replay: Seen::default(),
        caught_up: false,
        course: None,
        partitions: None,
        compared: None,
        unrun: false,
        suspended: view.spec.suspend || target.is_some_and(|target| observed.is_held(target)),
        overdue: target.and_then(|target| observed.overdue(target, now)),
        queued: false,
    };
    if let StoreView::Known(known) = store {
        facts.live = Ok(known.live.as_ref().map(|live| live.revision.clone()));
        facts.present.extend(known.catalog.iter().flat_map(|entry| &entry.plans).map(|plan| plan.revision.clone()));
        let bound = i64::from(rollout.catch_up.max_lag_seconds) * 1000;
        let read = known.markers.as_ref().is_some_and(|m| caught_up(m, now.as_millisecond(), bound));
        let head = known.head.as_ref().filter(|head| head.generation > 0);
        let needed = migration::needed_horizon(observed, plans, known, target, now);
        let published = head.is_some_and(|head| needed.is_none_or(|needed| head.horizon >= needed));
        let from = known.live.as_ref().and_then(|live| migration::mode(observed, plans, &live.revision));
        facts.queued = migration::is_queued(observed, from, mode);
        facts.caught_up = facts.target().is_some() && (read || !streams) && (published || !batches);
        facts.course = target.filter(|_| streams && !read).map(|target| Course::of(observed, known, target, now));
        facts.partitions = known.markers.as_ref().and_then(|markers| markers.partitions);
        facts.compared = comparison::compared(observed, plans, known, facts.target().map(String::as_str));
        facts.unrun = batches && head.is_none() && known.run.is_none();
        let trial = facts.memory.trial.as_ref().filter(|trial| facts.target() == Some(&trial.revision));
        if let Some((trial, order)) = trial.and_then(|trial| Some((trial, trial.replay.as_ref()?))) {
            let job = replay::standing(observed, &trial.revision, &order.fence, &known.replays);
            let progress = (job == replay::Standing::Running && !known.replays.is_empty())
                .then(|| replay::progress(&order.parts, &known.replays, facts.now));
            facts.replay = Seen { captured: None, job, progress };
        }
    }
    facts
}

/// The revisions that read a stream and have no workers yet.
fn unread(observed: &Observed, plans: &BTreeMap<String, Arc<Plan>>) -> BTreeSet<String> {
    let stands = |revision: &str| observed.deployments.iter().any(|d| revision_of(d) == Some(revision));
    let streams = plans.values().filter(|plan| plan.mode.has_stream_lanes());
    streams.map(|plan| plan.revision.clone()).filter(|revision| !stands(revision)).collect()
}

/// What people ask for, in the order in which it is heeded.
fn requests(observed: &Observed) -> Vec<Request> {
    let annotations = observed.view.annotations();
    let asked = |verb: Verb| Some(Request { verb, revision: annotations.get(verb.annotation())?.trim().to_owned() });
    Verb::ALL.into_iter().filter_map(asked).collect()
}

/// Whether every partition of the topic was read to its end no longer ago than `bound_ms`.
#[must_use]
pub fn caught_up(markers: &Markers, now_ms: i64, bound_ms: i64) -> bool {
    let Some(partitions) = markers.partitions.filter(|n| *n > 0) else { return false };
    (0..partitions).all(|partition| {
        markers
            .by_partition
            .get(&partition)
            .is_some_and(|m| m.read_to_end_at > 0 && now_ms.saturating_sub(m.read_to_end_at) <= bound_ms)
    })
}

//! Whatever happens to a view, in whatever order: what always holds, and how it ends.

use std::collections::BTreeSet;

use k8s_openapi::jiff::SignedDuration;
use proptest::prelude::*;

use crds::feature_view::FailurePolicy;

use super::world::{Cut, DEADLINE, PATIENT, PROGRESS, SOAK, STABLE, World, too_short};
use crate::feature_view::phase::{Request, Verb};
use crate::feature_view::replay::Standing;

/// What can happen to a view.
#[derive(Clone, Debug)]
pub(super) enum Happens {
    Edit(String),
    Refused,
    Pin(Option<String>),
    Auto(bool),
    Paused(bool),
    Suspended(bool),
    Queued(bool),
    Lags(String, bool),
    Away(bool),
    Compares(Option<FailurePolicy>),
    Asks(u8),
    Differs(String, bool),
    Broken(bool),
    JobsAreDeleted,
    Asked(Verb, String),
    Passes(i64),
    Reads,
    Round(Cut),
    StatusIsLost,
    StoreIsLost,
    WorkloadIsDeleted(String),
    JobIsDeleted(String),
    JobFails(String),
    JobIsSlow(String, bool),
    TopicIsShort(bool),
    IsStuck(String, bool),
    Readies(String, i32),
    Progress(i64),
}

fn happens() -> impl Strategy<Value = Happens> {
    let revision = || "[abcd]";
    let verb = prop::sample::select(Verb::ALL.to_vec());
    let cut = prop::sample::select(vec![Cut::AfterApply, Cut::AfterIntent, Cut::AfterMove, Cut::BeforeAnswer]);
    let (pause, abort, ignore) = (FailurePolicy::Pause, FailurePolicy::Abort, FailurePolicy::Ignore);
    let policy = prop::sample::select(vec![None, Some(pause), Some(abort), Some(ignore)]);
    prop_oneof![
        4 => revision().prop_map(Happens::Edit),
        1 => Just(Happens::Refused),
        2 => prop::option::of("[abcdx]").prop_map(Happens::Pin),
        1 => any::<bool>().prop_map(Happens::Auto),
        1 => any::<bool>().prop_map(Happens::Paused),
        1 => any::<bool>().prop_map(Happens::Suspended),
        1 => any::<bool>().prop_map(Happens::Queued),
        2 => (revision(), any::<bool>()).prop_map(|(r, lags)| Happens::Lags(r, lags)),
        1 => any::<bool>().prop_map(Happens::Away),
        2 => policy.prop_map(Happens::Compares),
        1 => (0..3_u8).prop_map(Happens::Asks),
        1 => (revision(), any::<bool>()).prop_map(|(r, differs)| Happens::Differs(r, differs)),
        1 => any::<bool>().prop_map(Happens::Broken),
        1 => Just(Happens::JobsAreDeleted),
        2 => (verb, revision()).prop_map(|(verb, r)| Happens::Asked(verb, r)),
        4 => prop::sample::select(vec![1, STABLE, DEADLINE, SOAK]).prop_map(Happens::Passes),
        4 => Just(Happens::Reads),
        8 => Just(Happens::Round(Cut::Never)),
        4 => cut.prop_map(Happens::Round),
        1 => Just(Happens::StatusIsLost),
        1 => Just(Happens::StoreIsLost),
        1 => revision().prop_map(Happens::WorkloadIsDeleted),
        1 => revision().prop_map(Happens::JobIsDeleted),
        1 => revision().prop_map(Happens::JobFails),
        2 => (revision(), any::<bool>()).prop_map(|(r, slow)| Happens::JobIsSlow(r, slow)),
        1 => any::<bool>().prop_map(Happens::TopicIsShort),
        2 => (revision(), any::<bool>()).prop_map(|(r, stuck)| Happens::IsStuck(r, stuck)),
        1 => (revision(), 0..4).prop_map(|(r, ready)| Happens::Readies(r, ready)),
        2 => prop::sample::select(vec![1, STABLE, PROGRESS, PATIENT]).prop_map(Happens::Progress),
    ]
}

/// Only what loses something, and what it takes for there to be something to be lost.
fn losses() -> impl Strategy<Value = Happens> {
    let cut = prop::sample::select(vec![Cut::AfterApply, Cut::AfterIntent, Cut::AfterMove, Cut::BeforeAnswer]);
    prop_oneof![
        3 => "[abc]".prop_map(Happens::Edit),
        1 => Just(Happens::Refused),
        1 => prop::option::of("[abc]").prop_map(Happens::Pin),
        2 => prop::sample::select(vec![STABLE, SOAK]).prop_map(Happens::Passes),
        4 => Just(Happens::Reads),
        4 => Just(Happens::Round(Cut::Never)),
        4 => cut.prop_map(Happens::Round),
        2 => Just(Happens::StatusIsLost),
        2 => Just(Happens::StoreIsLost),
    ]
}

impl World {
    pub(super) fn happens(&mut self, what: &Happens) {
        match what.clone() {
            Happens::Edit(revision) => self.wanted = Some(revision),
            Happens::Refused => self.wanted = None,
            Happens::Pin(pin) => self.policy.pin = pin,
            Happens::Auto(auto) => self.policy.auto = auto,
            Happens::Paused(paused) => self.policy.paused = paused,
            Happens::Suspended(suspended) => self.suspended = suspended,
            Happens::Queued(queued) => self.queued = queued,
            Happens::Lags(revision, lags) => {
                self.lagging.remove(&revision);
                self.lagging.extend(lags.then_some(revision));
            }
            Happens::Away(away) => self.away = away,
            Happens::Compares(policy) => self.policy.compares = policy,
            Happens::Asks(asked) => self.asked = asked,
            Happens::Differs(revision, differs) => {
                self.differs.remove(&revision);
                self.differs.extend(differs.then_some(revision));
            }
            Happens::Broken(broken) => self.broken = broken,
            Happens::JobsAreDeleted => self.comparisons.clear(),
            Happens::Asked(verb, revision) => {
                self.requests.retain(|request| request.verb != verb);
                self.requests.push(Request { verb, revision });
                self.requests.sort_by_key(|request| request.verb);
            }
            Happens::Passes(seconds) => self.pass(seconds),
            Happens::Reads => self.read(),
            Happens::Round(cut) => drop(self.cut(cut)),
            Happens::StatusIsLost => self.status = crds::FeatureViewStatus::default(),
            Happens::StoreIsLost => {
                self.live = None;
                // Workers that find no marker read the topic from its first offset, which is all that a replay reads.
                self.rows.clear();
                self.reports.clear();
            }
            Happens::JobIsDeleted(revision) => drop(self.jobs.remove(&revision)),
            Happens::JobFails(revision) => {
                if let Some((_, standing)) = self.jobs.get_mut(&revision).filter(|(_, s)| *s == Standing::Running) {
                    *standing = Standing::Failed("a part is gone".to_owned());
                }
            }
            Happens::JobIsSlow(revision, slow) => {
                self.slow.remove(&revision);
                self.slow.extend(slow.then_some(revision));
            }
            Happens::IsStuck(revision, stuck) => {
                self.stuck.remove(&revision);
                self.stuck.extend(stuck.then_some(revision));
            }
            Happens::Readies(revision, ready) => drop(self.ready.insert(revision, ready)),
            Happens::Progress(seconds) => self.policy.progress = SignedDuration::from_secs(seconds),
            Happens::TopicIsShort(short) => self.topic = short.then(too_short),
            Happens::WorkloadIsDeleted(revision) => self.workloads.retain(|workload| *workload != revision),
        }
    }

    /// All goes well for as long as anything of the rollout takes: everybody reads, the person who is asked says yes.
    fn fair_round(&mut self) {
        self.settle();
        if let Some(candidate) = self.status.candidate_revision.clone() {
            self.requests = vec![Request { verb: Verb::Promote, revision: candidate }];
        }
        self.settle();
        self.pass(SOAK.max(STABLE));
        self.settle();
    }
}

/// Three fair rounds after the last of a story the view is as if its last spec had been applied afresh; or a revision was
/// given up, and the one that served before serves alone.
fn ends_as_a_fresh_apply(story: &[Happens], last: &str) -> Result<(), TestCaseError> {
    let mut world = World::new("a");
    for what in story {
        world.happens(what);
    }
    world.happens(&Happens::Edit(last.to_owned()));
    (world.policy.pin, world.policy.paused, world.suspended, world.away) = (None, false, false, false);
    (world.queued, world.differs, world.broken) = (false, BTreeSet::new(), false);
    (world.lagging, world.slow) = (BTreeSet::new(), BTreeSet::new());
    (world.requests, world.topic, world.stuck) = (Vec::new(), None, BTreeSet::new());
    for _ in 0..3 {
        world.fair_round();
    }
    let status = world.status.clone();
    let given_up = status.rollout.as_ref().and_then(|r| r.trial.as_ref()).filter(|t| t.aborted.is_some());
    if let Some(trial) = given_up {
        prop_assert_eq!(&trial.revision, last);
        prop_assert!(world.live.is_some() && world.live.as_deref() != Some(last));
    } else {
        let mut fresh = World::new(last);
        for _ in 0..3 {
            fresh.fair_round();
        }
        prop_assert_eq!(&world.live, &fresh.live);
        prop_assert_eq!(world.live.as_deref(), Some(last));
    }
    let live: BTreeSet<String> = world.live.iter().cloned().collect();
    prop_assert_eq!(&world.workloads, &live);
    prop_assert_eq!(&world.plans, &live);
    prop_assert!(world.jobs.is_empty(), "{:?}", world.jobs);
    prop_assert_eq!(&world.rows.keys().cloned().collect::<BTreeSet<_>>(), &live);
    prop_assert!(world.comparisons.is_empty() && world.reports.keys().all(|of| live.contains(of)));
    prop_assert!(
        status.retiring.is_empty() && status.candidate_revision.is_none() && status.previous_revision.is_none()
    );
    prop_assert_eq!(&status.active_revision, &world.live);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4 * ProptestConfig::default().cases, ..ProptestConfig::default() })]

    /// Whatever was edited, asked for, lost or cut off.
    #[test]
    fn every_story_ends_as_a_fresh_apply(story in prop::collection::vec(happens(), 0..60), last in "[abcd]") {
        ends_as_a_fresh_apply(&story, &last)?;
    }

    /// The same of stories in which much is lost.
    #[test]
    fn whatever_is_lost_it_ends_as_a_fresh_apply(story in prop::collection::vec(losses(), 0..24), last in "[abc]") {
        ends_as_a_fresh_apply(&story, &last)?;
    }
}

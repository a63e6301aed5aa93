//! A view's world in small: spec, status, store, cluster and clock, and rounds that can be cut off anywhere. What must hold
//! in every round is asserted in every round.

use std::collections::{BTreeMap, BTreeSet};

use crds::FeatureViewStatus;
use crds::condition::reasons;
use crds::feature_view::{AbortReason, Attempt, FailurePolicy, ReplayPart, ReplayStatus, RetiringRevision};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::conditions::seconds;
use crate::feature_view::comparison::{Compared, Outcome};
use crate::feature_view::phase::{Course, Decision, Facts, Memory, Past, Policy, Reach, Request, Seen, Step, decide};
use crate::feature_view::replay::Standing;
use crate::trouble::Trouble;

/// Where a round is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cut {
    AfterApply,
    AfterIntent,
    AfterMove,
    BeforeAnswer,
    Never,
}

#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)] // Each is a thing of its own that can happen.
pub struct World {
    pub now: i64,
    /// What the spec describes; none while it is refused.
    pub wanted: Option<String>,
    pub policy: Policy,
    pub suspended: bool,
    /// Whether other views have their turn: every revision here changes the mode.
    pub queued: bool,
    pub requests: Vec<Request>,
    pub away: bool,
    pub live: Option<String>,
    /// The revisions that lag.
    pub lagging: BTreeSet<String>,
    /// The rows of each revision, and whether they hold its history.
    pub rows: BTreeMap<String, bool>,
    pub status: FeatureViewStatus,
    pub workloads: BTreeSet<String>,
    /// Why the topic's offsets are not to be had.
    pub topic: Option<Trouble>,
    /// The replays' Jobs, by revision: fence, and how they stand.
    pub jobs: BTreeMap<String, (String, Standing)>,
    /// How many Jobs were made of each fence.
    pub made: BTreeMap<String, usize>,
    /// The revisions whose Jobs take for ever.
    pub slow: BTreeSet<String>,
    /// The revisions whose rows hold what a replay read.
    pub replayed: BTreeSet<String>,
    captures: usize,
    /// The revisions of which nothing moves, whatever runs.
    pub stuck: BTreeSet<String>,
    /// How many of the pods of each revision are ready; one if nothing is said.
    pub ready: BTreeMap<String, i32>,
    /// How far each revision has come, and when it last did.
    pub reached: BTreeMap<String, (i64, i64)>,
    /// How many partitions the topic has.
    pub partitions: Option<i32>,
    /// The revisions whose plan stands as a ConfigMap.
    pub plans: BTreeSet<String>,
    pub history: Vec<Past>,
    /// What is asked of comparisons, but for who is compared.
    pub asked: u8,
    /// The revisions whose values are not as announced.
    pub differs: BTreeSet<String>,
    /// Whether Jobs that compare end without a verdict.
    pub broken: bool,
    /// By definition and number, when the Job of an attempt ended.
    pub comparisons: BTreeMap<(String, i32), Option<i64>>,
    /// By candidate, the attempt whose report stands, and whether it passed.
    pub reports: BTreeMap<String, ((String, i32), bool)>,
    /// How many rounds there were, and which of them is cut off, and where.
    pub rounds: usize,
    pub dies: Option<(usize, Cut)>,
}

pub const SOAK: i64 = 100;
pub const STABLE: i64 = 10;
pub const DEADLINE: i64 = 50;
/// Nobody waits for so long.
pub const PATIENT: i64 = 1_000_000;
/// How long nothing may advance, where that is told of.
pub const PROGRESS: i64 = 20;

impl World {
    /// A view that is applied for the first time.
    pub fn new(wanted: &str) -> Self {
        Self {
            now: 1_000_000,
            wanted: Some(wanted.to_owned()),
            policy: Policy {
                pin: None,
                auto: true,
                compares: None,
                paused: false,
                stable_for: SignedDuration::from_secs(STABLE),
                deadline: SignedDuration::from_secs(DEADLINE),
                progress: SignedDuration::from_secs(PATIENT),
                workers: None,
                soak: SignedDuration::from_secs(SOAK),
            },
            suspended: false,
            queued: false,
            requests: Vec::new(),
            away: false,
            live: None,
            lagging: BTreeSet::new(),
            rows: BTreeMap::new(),
            status: FeatureViewStatus::default(),
            workloads: BTreeSet::new(),
            topic: None,
            jobs: BTreeMap::new(),
            made: BTreeMap::new(),
            slow: BTreeSet::new(),
            replayed: BTreeSet::new(),
            captures: 0,
            stuck: BTreeSet::new(),
            ready: BTreeMap::new(),
            reached: BTreeMap::new(),
            partitions: None,
            plans: BTreeSet::new(),
            history: Vec::new(),
            asked: 0,
            differs: BTreeSet::new(),
            broken: false,
            comparisons: BTreeMap::new(),
            reports: BTreeMap::new(),
            rounds: 0,
            dies: None,
        }
    }

    /// One that serves `wanted`.
    pub fn serving(wanted: &str) -> Self {
        let mut world = Self::new(wanted);
        world.round();
        world.round();
        assert_eq!(world.live.as_deref(), Some(wanted));
        world
    }

    pub fn facts(&self) -> Facts {
        let now = Timestamp::from_second(self.now).unwrap();
        let mut facts = Facts {
            now,
            wanted: self.wanted.clone(),
            policy: self.policy.clone(),
            requests: self.requests.clone(),
            live: if self.away { Err(()) } else { Ok(self.live.clone()) },
            memory: Memory::of(&self.status),
            history: self
                .history
                .iter()
                .map(|past| {
                    let stands = self.workloads.contains(&past.revision);
                    let replays = self.jobs.contains_key(&past.revision);
                    Past { stands, replays, ..past.clone() }
                })
                .collect(),
            present: self.workloads.iter().chain(&self.plans).chain(self.jobs.keys()).cloned().collect(),
            planned: self.plans.iter().chain(&self.wanted).cloned().collect(),
            unread: BTreeSet::new(),
            replay: Seen::default(),
            caught_up: false,
            course: None,
            partitions: self.partitions,
            compared: None,
            unrun: false,
            suspended: self.suspended,
            queued: self.queued && self.policy.pin.is_none(),
        };
        let known = |pin: &&String| self.history.iter().any(|past| past.revision == **pin);
        facts.planned.extend(self.policy.pin.iter().filter(known).cloned());
        facts.unread = facts.planned.difference(&self.workloads).cloned().collect();
        let target = facts.target().cloned();
        let trial = facts.memory.trial.as_ref().filter(|trial| Some(&trial.revision) == target.as_ref());
        if let Some((trial, order)) = trial.and_then(|trial| Some((trial, trial.replay.as_ref()?))) {
            let job = self.jobs.get(&trial.revision).filter(|(fence, _)| *fence == order.fence);
            facts.replay.job = job.map(|(_, standing)| standing.clone()).unwrap_or_default();
        }
        let reads = |r: &String| self.rows.get(r) == Some(&true) && !self.lagging.contains(r);
        facts.compared = target.as_ref().filter(|_| !self.away).and_then(|target| self.compared(target));
        facts.caught_up = !self.away && target.as_ref().is_some_and(reads);
        let behind = target.as_ref().filter(|_| !self.away && !facts.caught_up);
        facts.course = behind.map(|target| self.course(target));
        facts
    }

    /// How far a target is that has not read all there is.
    fn course(&self, target: &str) -> Course {
        let position = self.reached.get(target).map_or(0, |(position, _)| *position);
        let ready = self.ready.get(target).copied().unwrap_or(1);
        let stands = self.workloads.contains(target) || self.jobs.contains_key(target);
        Course { reach: Reach { position, ready }, stands, kept: Some("no node has room".to_owned()) }
    }

    /// What must hold where a revision is given up because nothing of it advances.
    fn checked_patience(&self, facts: &Facts, decision: &Decision) {
        let known = facts.memory.trial.as_ref().and_then(|trial| trial.aborted);
        let Some(trial) = decision.memory.trial.as_ref().filter(|_| known != Some(AbortReason::NoProgress)) else {
            return;
        };
        if trial.aborted != Some(AbortReason::NoProgress) {
            return;
        }
        let moved = self.reached.get(&trial.revision).map_or(0, |(_, at)| *at);
        assert!(self.now - moved >= self.policy.progress.as_secs(), "it moved at {moved}: {decision:#?}\n{self:#?}");
        assert!(!self.away && !self.suspended && !self.policy.paused && !facts.caught_up, "{decision:#?}");
        assert!(trial.message.is_some(), "it is not said what stood still: {decision:#?}");
    }

    /// What is known of the comparison of a target with what is live.
    fn compared(&self, target: &str) -> Option<Compared> {
        let live = self.live.as_ref().filter(|live| *live != target)?;
        self.policy.compares?;
        let definition = format!("{target} {live} {}", self.asked);
        let trial = self.status.rollout.as_ref().and_then(|r| r.trial.as_ref()?.comparison.clone());
        let number = trial.filter(|attempt| attempt.definition == definition).map_or(1, |attempt| attempt.number);
        let attempt = (definition.clone(), number);
        let report = self.reports.get(target).filter(|(of, _)| *of == attempt);
        let outcome = match (report, self.comparisons.get(&attempt)) {
            (Some((_, true)), _) => Outcome::Passed,
            (Some((_, false)), _) => Outcome::Failed,
            (None, Some(Some(ended))) => Outcome::NoVerdict(Timestamp::from_second(*ended).unwrap()),
            (None, Some(None)) => Outcome::Running,
            (None, None) => Outcome::Absent,
        };
        Some(Compared { definition, number, outcome })
    }

    pub fn round(&mut self) -> Decision {
        let cut = self.dies.filter(|(round, _)| *round == self.rounds).map_or(Cut::Never, |(_, cut)| cut);
        self.rounds += 1;
        self.cut(cut)
    }

    /// One round, cut off somewhere.
    pub fn cut(&mut self, cut: Cut) -> Decision {
        let mut facts = self.facts();
        let mut decision = decide(&facts);
        check(&facts, &decision);
        if let Some(replay) = decision.replay.as_ref().filter(|replay| replay.captures) {
            facts.replay.captured = Some(self.capture(&replay.revision, facts.now));
            decision = decide(&facts);
            check(&facts, &decision);
        }
        self.checked_patience(&facts, &decision);

        // Kubernetes: what runs, and what no longer does.
        for revision in &decision.run {
            self.plans.insert(revision.clone());
            match decision.replay.as_ref().filter(|replay| replay.revision == *revision) {
                Some(replay) => self.replay(replay.order.as_ref()),
                None => self.start(&facts, revision),
            }
            if !self.history.iter().any(|past| past.revision == *revision) {
                let number = self.history.iter().map(|past| past.number).max().unwrap_or_default() + 1;
                self.history.push(Past { revision: revision.clone(), number, ..Past::default() });
            }
        }
        for past in &mut self.history {
            if decision.memory.active.as_ref() == Some(&past.revision) && decision.memory.promoted.is_some() {
                past.promoted = decision.memory.promoted;
            }
        }
        if let Some(Attempt { definition, number, .. }) = decision.compare.clone() {
            self.comparisons.entry((definition, number)).or_default();
        }
        self.comparisons.retain(|(definition, number), _| {
            let goes = decision.remove.iter().any(|revision| definition.starts_with(revision.as_str()));
            !goes && decision.compared.iter().any(|a| a.definition == *definition && a.number == *number)
        });
        assert!(self.comparisons.values().filter(|ended| ended.is_none()).count() <= 2, "{:#?}", self.comparisons);
        let serves = decision.memory.active.clone().filter(|_| decision.step != Step::Hold);
        self.workloads.retain(|revision| !decision.remove.contains(revision));
        self.jobs.retain(|revision, (_, standing)| {
            let stopped = self.suspended && *standing == Standing::Running && decision.step != Step::Hold;
            !decision.remove.contains(revision) && serves.as_ref() != Some(revision) && !stopped
        });
        self.plans.retain(|revision| !decision.remove.contains(revision));
        if cut == Cut::AfterApply {
            return decision;
        }

        // The store.
        let mut moved = None;
        let mut removed = Vec::new();
        if !self.away {
            if matches!(decision.step, Step::Promote | Step::Return) {
                decision.memory.write(&mut self.status);
            }
            if cut == Cut::AfterIntent {
                return decision;
            }
            if let Some(to) = decision.moves_to() {
                self.checked_move(&decision, to);
                self.live = Some(to.clone());
                moved = Some(to.clone());
            }
            for revision in &decision.remove {
                self.rows.remove(revision);
                self.reports.remove(revision);
                self.replayed.remove(revision);
                removed.push(revision.clone());
            }
        }
        if cut == Cut::AfterMove {
            return decision;
        }

        // Status.
        let mut memory = decision.memory.clone();
        if let Some(to) = &moved {
            memory.moved(to, facts.now);
        }
        memory.write(&mut self.status);
        let mut retiring: BTreeSet<String> = decision.retire.iter().chain(&memory.retiring).cloned().collect();
        retiring.retain(|r| {
            !removed.contains(r) && memory.active.as_ref() != Some(r) && memory.previous.as_ref() != Some(r)
        });
        self.status.observed_generation = Some(1);
        self.status.retiring =
            retiring.into_iter().map(|revision| RetiringRevision { revision, since: String::new() }).collect();
        if cut == Cut::BeforeAnswer {
            return decision;
        }
        self.requests.retain(|request| !decision.answered.iter().any(|(answered, _)| answered == request));
        decision
    }

    /// What a capture of the topic's offsets answers.
    fn capture(&mut self, revision: &str, now: Timestamp) -> Result<ReplayStatus, Trouble> {
        if let Some(trouble) = &self.topic {
            return Err(trouble.clone());
        }
        if let Some((fence, _)) = self.jobs.get(revision) {
            return Ok(ReplayStatus { fence: fence.clone(), ..ReplayStatus::default() });
        }
        self.captures += 1;
        let fence = format!("{revision}{}", self.captures);
        let parts = vec![ReplayPart { partition: 0, from: 0, to: 10 }];
        Ok(ReplayStatus { fence, captured_time: seconds(now), parts, ..ReplayStatus::default() })
    }

    /// The Job of an order stands, and that order in status before it.
    fn replay(&mut self, order: Option<&ReplayStatus>) {
        let Some(order) = order.filter(|_| !self.suspended) else { return };
        let trial = self.status.rollout.as_ref().and_then(|rollout| rollout.trial.as_ref()).unwrap();
        assert_eq!(trial.replay.as_ref().map(|replay| &replay.fence), Some(&order.fence), "the intent does not stand");
        if !self.jobs.contains_key(&trial.revision) {
            *self.made.entry(order.fence.clone()).or_default() += 1;
            self.jobs.insert(trial.revision.clone(), (order.fence.clone(), Standing::Running));
        }
    }

    /// The workers of a revision start: beside one that serves, only where its history was read.
    fn start(&mut self, facts: &Facts, revision: &String) {
        if self.workloads.insert(revision.clone()) {
            let kept =
                [&facts.memory.active, &facts.memory.previous].into_iter().any(|kept| kept.as_ref() == Some(revision));
            let beside = facts.live.as_ref().is_ok_and(|live| live.as_ref().is_some_and(|live| live != revision));
            assert!(
                !beside || kept || self.replayed.contains(revision),
                "{revision} starts without its history: {self:#?}"
            );
        }
    }

    /// The cluster does its part: who runs, reads.
    pub fn read(&mut self) {
        if self.away || self.suspended {
            return;
        }
        let runs = self.jobs.iter().filter(|(_, (_, s))| *s == Standing::Running).map(|(revision, _)| revision);
        for revision in runs.chain(&self.workloads).filter(|revision| !self.stuck.contains(*revision)) {
            let (position, at) = self.reached.entry(revision.clone()).or_default();
            (*position, *at) = (*position + 1, self.now);
        }
        for (revision, (_, standing)) in &mut self.jobs {
            if *standing == Standing::Running && !self.slow.contains(revision) && !self.stuck.contains(revision) {
                *standing = Standing::Complete;
                self.rows.entry(revision.clone()).or_default();
                self.replayed.insert(revision.clone());
            }
        }
        for revision in &self.workloads {
            let whole = self.rows.entry(revision.clone()).or_default();
            *whole |= !self.lagging.contains(revision) && !self.stuck.contains(revision);
        }
        for (attempt, ended) in self.comparisons.iter_mut().filter(|(_, ended)| ended.is_none()) {
            let candidate = attempt.0[..1].to_owned();
            if !self.broken && self.rows.contains_key(&candidate) {
                let passed = !self.differs.contains(&candidate);
                self.reports.insert(candidate, (attempt.clone(), passed));
            }
            *ended = Some(self.now);
        }
    }

    pub fn pass(&mut self, seconds: i64) {
        self.now += seconds;
    }

    /// Rounds until one changes nothing, with the cluster doing its part in between.
    pub fn settle(&mut self) {
        for _ in 0..20 {
            let seen = |world: &Self| {
                let (live, jobs) = (world.live.clone(), world.jobs.clone());
                let compared = (world.comparisons.clone(), world.reports.clone());
                (world.status.clone(), live, jobs, world.workloads.clone(), world.rows.clone(), compared)
            };
            let before = seen(self);
            self.round();
            self.read();
            if before == seen(self) {
                return;
            }
        }
        panic!("it never comes to rest: {self:#?}");
    }

    /// What must hold of every move of the pointer.
    fn checked_move(&self, decision: &Decision, to: &String) {
        if self.live.is_none() {
            return;
        }
        assert!(!self.status.retiring.iter().any(|r| r.revision == *to), "{to} is being removed: {decision:#?}");
        if decision.step == Step::Promote {
            assert_eq!(self.rows.get(to), Some(&true), "{to} has not caught up: {decision:#?}\n{self:#?}");
            self.checked_comparison(decision, to);
            assert!(!self.lagging.contains(to) && !self.suspended && !self.policy.paused);
        }
    }
}

impl World {
    /// Whoever is compared takes over with a verdict on what was asked last, or by a person's word.
    fn checked_comparison(&self, decision: &Decision, to: &String) {
        let Some(policy) = self.policy.compares.filter(|_| self.policy.pin.is_none()) else { return };
        let attempt = decision.memory.trial.as_ref().and_then(|trial| trial.comparison.as_ref());
        let asked = format!("{to} {} {}", self.live.as_ref().unwrap(), self.asked);
        let (of, passed) = self.reports.get(to).unwrap_or_else(|| panic!("{to} was not compared: {decision:#?}"));
        assert_eq!(of.0, asked);
        let forced = attempt.is_some_and(|attempt| attempt.forced);
        assert!(*passed || forced || policy == FailurePolicy::Ignore, "{to} differs: {decision:#?}");
    }
}

/// What must hold of every decision.
fn check(facts: &Facts, decision: &Decision) {
    let Decision { memory, run, retire, .. } = decision;
    assert_eq!(decision, &decide(facts), "not a function of the facts");
    let candidates: Vec<&String> =
        run.iter().filter(|r| memory.active.as_ref() != Some(r) && memory.previous.as_ref() != Some(r)).collect();
    assert!(candidates.len() <= 1 && run.len() <= 3, "{decision:#?}");
    for kept in run.iter().chain(&memory.active).chain(&memory.previous).chain(&memory.candidate) {
        assert!(!retire.contains(kept), "{kept} is kept and removed: {decision:#?}");
    }
    if let Ok(Some(live)) = &facts.live {
        assert_eq!(memory.active.as_ref(), Some(live));
        assert!(run.contains(live) || !facts.planned.contains(live));
    }
    let mut settled = facts.memory.clone();
    if let Ok(live) = &facts.live {
        settled.settle(live.as_deref(), facts.target().map(String::as_str), &facts.history, facts.now);
    }
    if let Some(previous) = settled.previous.filter(|p| retire.contains(p) && !facts.memory.retiring.contains(p)) {
        let over = settled.promoted.is_some_and(|since| facts.now.duration_since(since) >= facts.policy.soak);
        assert!(over && !facts.policy.paused, "{previous} is removed before its soak is over: {facts:#?}");
    }
    for revision in run {
        let removed = facts.memory.retiring.contains(revision) && memory.active.as_ref() != Some(revision);
        assert!(!removed, "{revision} runs while it is removed: {decision:#?}");
    }
    if let Some(trial) = &memory.trial {
        let held = facts.live.is_err() || facts.policy.paused || facts.suspended;
        assert!(trial.advance.is_none() || !(held || decision.caught_up), "its clock runs: {decision:#?}");
    }
    if facts.live.is_err() {
        assert!(decision.step == Step::Hold && retire.is_subset(&facts.memory.retiring), "{decision:#?}");
    }
    if decision.step == Step::AwaitTurn {
        let kept = memory.active.iter().chain(&memory.previous).collect::<Vec<_>>();
        assert!(facts.queued && memory.candidate.is_none() && run.iter().all(|r| kept.contains(&r)), "{decision:#?}");
    }
    if let Some(replay) = &decision.replay {
        assert!(run.contains(&replay.revision) || !facts.planned.contains(&replay.revision), "{decision:#?}");
        assert!(memory.active.as_ref() != Some(&replay.revision) && !decision.caught_up, "{decision:#?}");
    }
    if let Some(first) = &decision.first {
        assert!(facts.unrun && run.contains(first));
    }
}

/// That the topic holds too little.
pub fn too_short() -> Trouble {
    Trouble { reason: reasons::RETENTION_TOO_SHORT, message: "it holds a day".to_owned(), stuck: true }
}

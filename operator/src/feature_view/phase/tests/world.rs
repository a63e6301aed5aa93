//! A view's world in small: spec, status, store, cluster and clock, and rounds that can be cut off anywhere. What must hold
//! in every round is asserted in every round.

use std::collections::{BTreeMap, BTreeSet};

use crds::FeatureViewStatus;
use crds::feature_view::{Attempt, FailurePolicy, RetiringRevision};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::feature_view::comparison::{Compared, Outcome};
use crate::feature_view::phase::{Decision, Facts, Memory, Past, Policy, Request, Step, decide};

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
pub struct World {
    pub now: i64,
    /// What the spec describes; none while it is refused.
    pub wanted: Option<String>,
    pub policy: Policy,
    pub suspended: bool,
    pub requests: Vec<Request>,
    pub away: bool,
    pub live: Option<String>,
    /// The revisions that lag.
    pub lagging: BTreeSet<String>,
    /// The rows of each revision, and whether they hold its history.
    pub rows: BTreeMap<String, bool>,
    pub status: FeatureViewStatus,
    pub workloads: BTreeSet<String>,
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
    pub jobs: BTreeMap<(String, i32), Option<i64>>,
    /// By candidate, the attempt whose report stands, and whether it passed.
    pub reports: BTreeMap<String, ((String, i32), bool)>,
}

pub const SOAK: i64 = 100;
pub const STABLE: i64 = 10;
pub const DEADLINE: i64 = 50;

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
                soak: SignedDuration::from_secs(SOAK),
            },
            suspended: false,
            requests: Vec::new(),
            away: false,
            live: None,
            lagging: BTreeSet::new(),
            rows: BTreeMap::new(),
            status: FeatureViewStatus::default(),
            workloads: BTreeSet::new(),
            plans: BTreeSet::new(),
            history: Vec::new(),
            asked: 0,
            differs: BTreeSet::new(),
            broken: false,
            jobs: BTreeMap::new(),
            reports: BTreeMap::new(),
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
                .map(|past| Past { stands: self.workloads.contains(&past.revision), ..past.clone() })
                .collect(),
            present: self.workloads.union(&self.plans).cloned().collect(),
            planned: self.plans.iter().chain(&self.wanted).cloned().collect(),
            caught_up: false,
            compared: None,
            unrun: false,
            suspended: self.suspended,
        };
        let known = |pin: &&String| self.history.iter().any(|past| past.revision == **pin);
        facts.planned.extend(self.policy.pin.iter().filter(known).cloned());
        let target = facts.target().cloned();
        let reads = |r: &String| self.rows.get(r) == Some(&true) && !self.lagging.contains(r);
        facts.compared = target.as_ref().filter(|_| !self.away).and_then(|target| self.compared(target));
        facts.caught_up = !self.away && target.as_ref().is_some_and(reads);
        facts
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
        let outcome = match (report, self.jobs.get(&attempt)) {
            (Some((_, true)), _) => Outcome::Passed,
            (Some((_, false)), _) => Outcome::Failed,
            (None, Some(Some(ended))) => Outcome::NoVerdict(Timestamp::from_second(*ended).unwrap()),
            (None, Some(None)) => Outcome::Running,
            (None, None) => Outcome::Absent,
        };
        Some(Compared { definition, number, outcome })
    }

    pub fn round(&mut self) -> Decision {
        self.cut(Cut::Never)
    }

    /// One round, cut off somewhere.
    pub fn cut(&mut self, cut: Cut) -> Decision {
        let facts = self.facts();
        let decision = decide(&facts);
        check(&facts, &decision);

        // Kubernetes: what runs, and what no longer does.
        for revision in &decision.run {
            self.plans.insert(revision.clone());
            self.workloads.insert(revision.clone());
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
            self.jobs.entry((definition, number)).or_default();
        }
        self.jobs.retain(|(definition, number), _| {
            let goes = decision.remove.iter().any(|revision| definition.starts_with(revision.as_str()));
            !goes && decision.compared.iter().any(|a| a.definition == *definition && a.number == *number)
        });
        assert!(self.jobs.values().filter(|ended| ended.is_none()).count() <= 2, "{:#?}", self.jobs);
        self.workloads.retain(|revision| !decision.remove.contains(revision));
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
        self.status.retiring =
            retiring.into_iter().map(|revision| RetiringRevision { revision, since: String::new() }).collect();
        if cut == Cut::BeforeAnswer {
            return decision;
        }
        self.requests.retain(|request| !decision.answered.iter().any(|(answered, _)| answered == request));
        decision
    }

    /// The cluster does its part: who runs, reads.
    pub fn read(&mut self) {
        if self.away || self.suspended {
            return;
        }
        for revision in &self.workloads {
            let whole = self.rows.entry(revision.clone()).or_default();
            *whole |= !self.lagging.contains(revision);
        }
        for (attempt, ended) in self.jobs.iter_mut().filter(|(_, ended)| ended.is_none()) {
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
            let before = self.clone();
            self.round();
            self.read();
            let same = (&before.status, &before.live, &before.workloads) == (&self.status, &self.live, &self.workloads);
            if same && (&before.rows, &before.jobs, &before.reports) == (&self.rows, &self.jobs, &self.reports) {
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
        settled.settle(live.as_deref(), &facts.history, facts.now);
    }
    if let Some(previous) = settled.previous.filter(|p| retire.contains(p) && !facts.memory.retiring.contains(p)) {
        let over = settled.promoted.is_some_and(|since| facts.now.duration_since(since) >= facts.policy.soak);
        assert!(over && !facts.policy.paused, "{previous} is removed before its soak is over: {facts:#?}");
    }
    for revision in run {
        let removed = facts.memory.retiring.contains(revision) && memory.active.as_ref() != Some(revision);
        assert!(!removed, "{revision} runs while it is removed: {decision:#?}");
    }
    if facts.live.is_err() {
        assert!(decision.step == Step::Hold && retire.is_subset(&facts.memory.retiring), "{decision:#?}");
    }
    if let Some(first) = &decision.first {
        assert!(facts.unrun && run.contains(first));
    }
}

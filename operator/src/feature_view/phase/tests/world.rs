//! A view's world in small: spec, status, store, cluster and clock, and rounds that can be cut off anywhere. What must hold
//! in every round is asserted in every round.

use std::collections::{BTreeMap, BTreeSet};

use crds::FeatureViewStatus;
use crds::feature_view::RetiringRevision;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

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
    /// The revisions whose plan stands as a ConfigMap.
    pub plans: BTreeSet<String>,
    pub history: Vec<Past>,
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
                paused: false,
                stable_for: SignedDuration::from_secs(STABLE),
                deadline: SignedDuration::from_secs(DEADLINE),
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
            plans: BTreeSet::new(),
            history: Vec::new(),
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
            unrun: false,
            suspended: self.suspended,
            queued: self.queued && self.policy.pin.is_none(),
        };
        let known = |pin: &&String| self.history.iter().any(|past| past.revision == **pin);
        facts.planned.extend(self.policy.pin.iter().filter(known).cloned());
        let target = facts.target().cloned();
        let reads = |r: &String| self.rows.get(r) == Some(&true) && !self.lagging.contains(r);
        facts.caught_up = !self.away && target.as_ref().is_some_and(reads);
        facts
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
    }

    pub fn pass(&mut self, seconds: i64) {
        self.now += seconds;
    }

    /// Rounds until one changes nothing, with the cluster doing its part in between.
    pub fn settle(&mut self) {
        for _ in 0..20 {
            let before = (self.status.clone(), self.live.clone(), self.workloads.clone(), self.rows.clone());
            self.round();
            self.read();
            if before == (self.status.clone(), self.live.clone(), self.workloads.clone(), self.rows.clone()) {
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
            assert!(!self.lagging.contains(to) && !self.suspended && !self.policy.paused);
        }
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
    if decision.step == Step::AwaitTurn {
        let kept = memory.active.iter().chain(&memory.previous).collect::<Vec<_>>();
        assert!(facts.queued && memory.candidate.is_none() && run.iter().all(|r| kept.contains(&r)), "{decision:#?}");
    }
    if let Some(first) = &decision.first {
        assert!(facts.unrun && run.contains(first));
    }
}

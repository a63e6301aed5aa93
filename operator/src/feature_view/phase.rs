//! Which revisions run, which one is read, and what the next step is: the state machine of a rollout. Pure: facts in, a
//! decision out.
//!
//! Invariants:
//! - The live pointer moves to a revision that has proved itself, back to one that is kept, or to any where there is none.
//! - What reads go to, and what is kept to go back to, run as long as their plans are known, and are not removed.
//! - At most one revision is a candidate.
//! - The workers of a revision that is to take the place of another start once its history is replayed, and not before.
//! - A revision whose removal has begun is not taken up again before the removal is complete.
//! - While the store does not answer nothing is promoted, given up, superseded or removed.
//! - What advances is not given up for standing still, nor is what a person holds.

mod compare;
mod facts;
mod memory;
mod progress;
mod replay;

pub use facts::{Facts, Policy, Request, Verb, caught_up, facts, pin};
pub use memory::{Memory, Past, Trial};
pub use progress::{Advance, Course, Reach};
pub use replay::{Replaying, Seen};

use std::collections::BTreeSet;

use crds::feature_view::{AbortReason, Attempt};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use self::compare::Gate;
use super::comparison::Outcome;

/// The next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing but to keep what stands: the spec was refused, or the store does not answer.
    Hold,
    /// Nothing but to keep what stands: the spec pins a revision of which no plan is known.
    Unavailable,
    /// Nothing is live: the target becomes so at once, so that reads say how far it is.
    Adopt,
    /// The target is live.
    Serve,
    /// The target was read before and is kept: the pointer moves back to it.
    Return,
    /// The target is computed in another mode than the live one, and other views of its Architecture have their turn.
    AwaitTurn,
    /// The target's history is read by a Job, or is to be.
    Replay,
    /// The target reads its source beside the live one.
    CatchUp,
    /// The target has caught up, and is compared with the live one.
    Compare,
    /// The comparison failed: it waits for a person, or for another spec.
    Differs,
    /// The target has caught up and waits for a person's word, or for the end of a pause.
    AwaitPromotion,
    /// The target has passed every gate: the pointer moves.
    Promote,
    /// The target is still being removed from an earlier time.
    AwaitRemoval,
    /// The target was given up.
    Aborted(AbortReason),
}

/// What is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The next step.
    pub step: Step,
    /// The revision that the spec describes; `None` if the spec was refused.
    pub wanted: Option<String>,
    /// What is to be served in the end: the wanted one, unless another is pinned.
    pub target: Option<String>,
    /// What is remembered, before the step: what reads go to, what they went to before, what is to take its place.
    pub memory: Memory,
    /// Revisions whose workers run, without repetition.
    pub run: Vec<String>,
    /// The one of them whose stream workers wait for its replay.
    pub replay: Option<Replaying>,
    /// Revisions to be removed.
    pub retire: BTreeSet<String>,
    /// Those of them of which status says so already, so that nothing of them can be forgotten: their objects go.
    pub remove: BTreeSet<String>,
    /// Whether the target has read its source up to now, and has a generation where its mode has them.
    pub caught_up: bool,
    /// How many workers the candidate may have until it takes over, where the spec lets it have more than others.
    pub workers: Option<i32>,
    /// The revision that has had no batch run yet, and does not wait for its schedule.
    pub first: Option<String>,
    /// The attempt at a comparison whose Job is to be made, as status says.
    pub compare: Option<Attempt>,
    /// The attempts whose objects stay: the one that the trial is at, and the one of which status says so.
    pub compared: Vec<Attempt>,
    /// What people asked for, and whether it is heeded.
    pub answered: Vec<(Request, bool)>,
    /// How long until time alone changes the decision.
    pub next: Option<SignedDuration>,
}

impl Decision {
    /// Where the pointer goes.
    #[must_use]
    pub fn moves_to(&self) -> Option<&String> {
        self.target.as_ref().filter(|_| matches!(self.step, Step::Adopt | Step::Promote | Step::Return))
    }

    /// The live revision and the candidate, while live requests may be read with that, too: it has caught up, and does not serve.
    #[must_use]
    pub fn shadows(&self) -> Option<(&String, &String)> {
        let caught_up = matches!(self.step, Step::Compare | Step::Differs | Step::AwaitPromotion);
        self.memory.active.as_ref().zip(self.target.as_ref()).filter(|_| caught_up)
    }

    /// Whether something is awaited that sends no event.
    #[must_use]
    pub fn waits(&self) -> bool {
        !self.retire.is_empty() || self.moves_to().is_some() || self.step == Step::AwaitRemoval
    }
}

/// Decides.
#[must_use]
pub fn decide(facts: &Facts) -> Decision {
    let mut memory = facts.memory.clone();
    // What status says is or was to be read may have no object any more, and yet rows.
    let reported: Vec<String> =
        memory.active.iter().chain(&memory.previous).chain(&memory.candidate).cloned().collect();
    if let Ok(live) = &facts.live {
        memory.settle(live.as_deref(), facts.target().map(String::as_str), &facts.history, facts.now);
    }
    let target = facts.target().cloned();
    let answered = heed(facts, &mut memory);
    let step = step(facts, &mut memory);
    // Only what reads, and is seen to, can be expected to advance.
    if !matches!(step, Step::Replay | Step::CatchUp) {
        memory.trial.iter_mut().for_each(|trial| trial.advance = None);
    }
    let decides = facts.live.is_ok() && target.is_some() && step != Step::Unavailable;

    memory.candidate = match step {
        Step::Adopt
        | Step::Replay
        | Step::CatchUp
        | Step::Compare
        | Step::Differs
        | Step::AwaitPromotion
        | Step::Promote => target.clone(),
        Step::Hold | Step::Unavailable => waiting(facts, &memory),
        Step::Serve | Step::Return | Step::AwaitRemoval | Step::AwaitTurn | Step::Aborted(_) => None,
    };
    if decides && !keeps_previous(facts, &memory, step) {
        memory.previous = None;
    }
    let mut run: Vec<String> = Vec::new();
    let kept: BTreeSet<String> =
        memory.active.iter().chain(&memory.previous).chain(&memory.candidate).cloned().collect();
    for revision in memory.active.iter().chain(&memory.previous).chain(&memory.candidate) {
        if facts.planned.contains(revision) && !run.contains(revision) {
            run.push(revision.clone());
        }
    }
    let mut retire = memory.retiring.clone();
    if decides {
        retire.extend(facts.present.iter().cloned().chain(reported));
    }
    retire.retain(|revision| !kept.contains(revision));
    let first = target.clone().filter(|t| facts.unrun && run.contains(t));
    let next = next(facts, &memory, step);
    let remove = retire.intersection(&facts.memory.retiring).cloned().collect();
    let replay = Replaying::of(facts, &memory);
    let workers = workers(facts, &memory);
    let (wanted, caught_up) = (facts.wanted.clone(), facts.caught_up && step != Step::Replay);
    let attempt = |memory: &Memory| memory.trial.as_ref().and_then(|trial| trial.comparison.clone());
    let compared: Vec<Attempt> = attempt(&memory).into_iter().chain(attempt(&facts.memory)).collect();
    let begun = facts.compared.as_ref().map(|c| (&c.definition, c.number)).filter(|_| !is_absent(facts));
    // It stands in status first: the report of one that status has forgotten would answer nothing, and replace one that does.
    let stands = attempt(&facts.memory);
    let is_asked = |attempt: &Attempt| {
        let asked = Some((&attempt.definition, attempt.number));
        asked == stands.as_ref().map(|stands| (&stands.definition, stands.number)) && asked != begun
    };
    let compare = attempt(&memory).filter(|attempt| step == Step::Compare && is_asked(attempt));
    Decision {
        step,
        wanted,
        target,
        memory,
        run,
        replay,
        retire,
        remove,
        caught_up,
        workers,
        first,
        compare,
        compared,
        answered,
        next,
    }
}

/// Whether nothing stands of the attempt that was observed.
fn is_absent(facts: &Facts) -> bool {
    facts.compared.as_ref().is_none_or(|compared| compared.outcome == Outcome::Absent)
}

/// Does what people ask of the candidate, and answers what of it was heeded. Nothing is answered before it is known who
/// the candidate is.
fn heed(facts: &Facts, memory: &mut Memory) -> Vec<(Request, bool)> {
    let (Ok(_), Some(target)) = (&facts.live, facts.target()) else { return Vec::new() };
    if !facts.planned.contains(target) {
        return Vec::new();
    }
    let serves = [&memory.active, &memory.previous].into_iter().any(|r| r.as_ref() == Some(target));
    if memory.active.is_none() || serves {
        memory.trial = None;
    } else if memory.trial.as_ref().is_none_or(|trial| trial.revision != *target) {
        memory.trial = Some(Trial::of(target));
    }
    let mut answered = Vec::new();
    for request in &facts.requests {
        let heeded = match memory.trial.as_mut().filter(|trial| trial.revision == request.revision) {
            None => false,
            Some(trial) => match (request.verb, trial.aborted) {
                (Verb::Promote, None) => {
                    trial.approved = true;
                    facts.force(trial);
                    true
                }
                (Verb::Retry, Some(_)) => {
                    *trial = Trial::of(target);
                    true
                }
                (Verb::Retry, None) => facts.compare_again(trial),
                (Verb::Abort, None) => {
                    trial.aborted = Some(AbortReason::AbortedByUser);
                    true
                }
                _ => false,
            },
        };
        answered.push((request.clone(), heeded));
    }
    answered
}

fn step(facts: &Facts, memory: &mut Memory) -> Step {
    let (Ok(live), Some(target)) = (&facts.live, facts.target()) else { return Step::Hold };
    if live.as_ref() == Some(target) {
        return Step::Serve;
    }
    if !facts.planned.contains(target) {
        return Step::Unavailable;
    }
    let removed = memory.retiring.contains(target);
    if live.is_none() {
        return if removed { Step::AwaitRemoval } else { Step::Adopt };
    }
    if memory.previous.as_ref() == Some(target) && !removed {
        return Step::Return;
    }
    // Decided here and nowhere else: who moves the pointer knows that it was not moved.
    if let (Some(seconds), Some(trial)) = (facts.overdue, memory.trial.as_mut().filter(|trial| trial.aborted.is_none()))
    {
        let message = format!("it did not serve within spec.activeDeadlineSeconds of its FeatureReplay, {seconds}");
        (trial.aborted, trial.message) = (Some(AbortReason::DeadlineExceeded), Some(message));
    }
    match &mut memory.trial {
        Some(trial) if trial.aborted.is_none() && removed => {
            (trial.started, trial.caught_up, trial.replay) = (None, None, None);
            Step::AwaitRemoval
        }
        Some(trial) if trial.aborted.is_none() && facts.queued && memory.candidate.as_ref() != Some(target) => {
            Step::AwaitTurn
        }
        Some(trial) => {
            observe(facts, trial);
            if trial.aborted.is_none() && trial.is_steady(facts.now, facts.policy.stable_for) {
                facts.compare(trial, policy_holds(facts));
            }
            gate(facts, trial)
        }
        // There is one of every target that is neither live nor kept.
        None => Step::Hold,
    }
}

/// Notes what is seen of a revision that proves itself.
fn observe(facts: &Facts, trial: &mut Trial) {
    let Facts { now, policy, .. } = facts;
    replay::observe(facts, trial);
    if facts.caught_up && !facts.suspended && !replay::pending(facts, trial) {
        trial.caught_up.get_or_insert(*now);
    } else {
        trial.caught_up = None;
    }
    facts.renew(trial);
    // Waiting for a person is no lateness; waiting for a comparison is.
    let proves = !trial.is_steady(*now, policy.stable_for) || facts.gate(trial) == Gate::Undecided;
    if policy.paused || facts.suspended || !proves || replay::refused(facts) {
        trial.started = None;
    } else {
        let started = *trial.started.get_or_insert(*now);
        let over = now.duration_since(started) >= policy.deadline;
        if over && trial.aborted.is_none() {
            trial.aborted = Some(AbortReason::DeadlineExceeded);
        }
    }
    progress::observe(facts, trial);
}

/// How many workers the candidate may have: no more than there are partitions to be read, as far as that is known.
fn workers(facts: &Facts, memory: &Memory) -> Option<i32> {
    let candidate = memory.candidate.as_ref().filter(|_| memory.active.is_some())?;
    let trial = memory.trial.as_ref().filter(|trial| trial.revision == *candidate);
    let replayed = trial.and_then(|trial| i32::try_from(trial.replay.as_ref()?.parts.len()).ok());
    let partitions = facts.partitions.filter(|_| facts.target() == Some(candidate)).max(replayed)?;
    facts.policy.workers.map(|workers| workers.min(partitions))
}

/// The first gate that the revision has not passed: history, lag, comparison, a person's word, in this order. A gate is a
/// line here and a fact; what comes before it in a rollout comes before it here.
fn gate(facts: &Facts, trial: &Trial) -> Step {
    let Facts { now, policy, .. } = facts;
    if let Some(reason) = trial.aborted {
        return Step::Aborted(reason);
    }
    if replay::pending(facts, trial) {
        return Step::Replay;
    }
    if !trial.is_steady(*now, policy.stable_for) {
        return Step::CatchUp;
    }
    match facts.gate(trial) {
        // Shown in a pause, too: nobody should have to end it to learn what differs.
        Gate::Failed => return Step::Differs,
        Gate::Undecided if !policy.paused => return Step::Compare,
        Gate::Undecided | Gate::Open => {}
    }
    // A pin that names it is a person's word, too.
    let approved = policy.auto || trial.approved || policy.pin.is_some();
    if policy.paused || !approved {
        return Step::AwaitPromotion;
    }
    Step::Promote
}

/// What goes on waiting while nothing can be decided: what was a candidate before, or else what the spec asks for.
fn waiting(facts: &Facts, memory: &Memory) -> Option<String> {
    let asked = facts.target().filter(|target| facts.planned.contains(*target));
    let given_up = |r: &String| memory.trial.as_ref().is_some_and(|t| t.revision == *r && t.aborted.is_some());
    let waits = |r: &&String| {
        memory.active.as_ref() != Some(*r)
            && memory.previous.as_ref() != Some(*r)
            && !memory.retiring.contains(*r)
            && !given_up(r)
    };
    memory.candidate.as_ref().filter(waits).or(asked.filter(waits)).cloned()
}

/// Whether nothing is begun now.
fn policy_holds(facts: &Facts) -> bool {
    facts.policy.paused || facts.suspended
}

/// When the soak of what was read before is over; `None` while it is held.
fn soaked(facts: &Facts, memory: &Memory) -> Option<Timestamp> {
    let since = memory.promoted.unwrap_or(facts.now);
    since.checked_add(facts.policy.soak).ok().filter(|_| !facts.policy.paused)
}

fn keeps_previous(facts: &Facts, memory: &Memory, step: Step) -> bool {
    step == Step::Return || soaked(facts, memory).is_none_or(|end| facts.now < end)
}

/// How long until the soak ends, the deadline comes, or the candidate has been caught up for long enough.
fn next(facts: &Facts, memory: &Memory, step: Step) -> Option<SignedDuration> {
    let Facts { now, policy, .. } = facts;
    let soak = memory.previous.as_ref().and_then(|_| soaked(facts, memory));
    let trial = memory.trial.as_ref().filter(|_| matches!(step, Step::Replay | Step::CatchUp | Step::Compare));
    let again = trial.filter(|_| step == Step::Compare).and_then(|trial| facts.next_comparison(trial));
    let deadline = trial.and_then(|t| t.started?.checked_add(policy.deadline).ok());
    let progress = trial.and_then(|t| t.advance.as_ref()?.at.checked_add(policy.progress).ok());
    let steady = trial.and_then(|t| t.caught_up?.checked_add(policy.stable_for).ok());
    [soak, deadline, progress, steady, again]
        .into_iter()
        .flatten()
        .map(|end| end.duration_since(*now))
        .filter(SignedDuration::is_positive)
        .min()
}

#[cfg(test)]
mod tests;

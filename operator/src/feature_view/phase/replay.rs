//! The gate of history: a revision that is to take the place of one that serves reads its history by a Job first, between
//! offsets that stand in status before the Job does. Its workers start where that ends.
//!
//! Invariants: offsets are captured once a trial; a Job is of the offsets in status; workers that stand already read for
//! themselves, and need no replay.

use crds::feature_view::{AbortReason, ReplayProgress, ReplayStatus};

use super::facts::Facts;
use super::memory::{Memory, Trial};
use crate::conditions::seconds;
use crate::feature_view::replay::{Standing, newer};
use crate::trouble::Trouble;

/// What is seen of the target's replay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// What the topic's offsets were captured to be, in this round; or why they were not.
    pub captured: Option<Result<ReplayStatus, Trouble>>,
    /// Its Job, of the fence in status.
    pub job: Standing,
    /// How far it is.
    pub progress: Option<ReplayProgress>,
}

/// A candidate whose history is still to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaying {
    /// Which.
    pub revision: String,
    /// What is read, as status says: a Job may be made of it.
    pub order: Option<ReplayStatus>,
    /// Whether the topic's offsets are to be captured.
    pub captures: bool,
    /// Why they could not be.
    pub trouble: Option<Trouble>,
}

impl Replaying {
    /// The replay that the candidate needs, if it needs one.
    pub(super) fn of(facts: &Facts, memory: &Memory) -> Option<Self> {
        let revision = memory.candidate.clone()?;
        // Where nothing is served yet, workers read from the first offset on.
        memory.active.as_ref().filter(|active| **active != revision)?;
        let trial = memory.trial.as_ref().filter(|trial| trial.revision == revision);
        if !facts.unread.contains(&revision) || trial.is_some_and(is_over) {
            return None;
        }
        let stood = facts.memory.trial.as_ref().filter(|stood| stood.revision == revision);
        // A trial that began anew has no offsets, whatever status says of the one before.
        let remembered = trial.and_then(|trial| trial.replay.as_ref());
        let order = stood.and_then(|stood| stood.replay.clone());
        let order = order.filter(|order| remembered.is_some_and(|now| now.fence == order.fence));
        let captures = trial.is_some() && remembered.is_none() && facts.live.is_ok() && !facts.suspended;
        let trouble = facts.replay.captured.as_ref().filter(|_| captures).and_then(|seen| seen.clone().err());
        Some(Self { revision, order, captures, trouble })
    }
}

fn is_over(trial: &Trial) -> bool {
    trial.replay.as_ref().is_some_and(|replay| replay.completed_time.is_some())
}

/// Whether the history of a revision on trial is still to be read.
pub(super) fn pending(facts: &Facts, trial: &Trial) -> bool {
    facts.unread.contains(&trial.revision) && !is_over(trial)
}

/// Whether it takes a person for the replay to begin.
pub(super) fn refused(facts: &Facts) -> bool {
    matches!(&facts.replay.captured, Some(Err(trouble)) if trouble.stuck)
}

/// Notes what is seen of the replay of a revision on trial.
pub(super) fn observe(facts: &Facts, trial: &mut Trial) {
    // Its workers stand, so the replay was seen complete by who died before status said so.
    let stand = facts.planned.contains(&trial.revision) && !facts.unread.contains(&trial.revision);
    if let Some(replay) = trial.replay.as_mut().filter(|replay| stand && replay.completed_time.is_none()) {
        complete(replay, facts);
    }
    if !pending(facts, trial) || facts.suspended {
        return;
    }
    let Some(replay) = &mut trial.replay else {
        trial.replay = facts.replay.captured.as_ref().and_then(|captured| captured.clone().ok());
        return;
    };
    if let Some(seen) = &facts.replay.progress {
        replay.progress = Some(newer(replay.progress.take(), seen.clone(), facts.now));
    }
    match &facts.replay.job {
        Standing::Complete => complete(replay, facts),
        Standing::Failed(message) if trial.aborted.is_none() => {
            (trial.aborted, trial.message) = (Some(AbortReason::ReplayFailed), Some(message.clone()));
        }
        Standing::None | Standing::Running | Standing::Failed(_) => {}
    }
}

fn complete(replay: &mut ReplayStatus, facts: &Facts) {
    let whole = ReplayProgress { percent: 100, observed_time: seconds(facts.now), ..ReplayProgress::default() };
    (replay.progress, replay.completed_time) = (Some(whole), Some(seconds(facts.now)));
}

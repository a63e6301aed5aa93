//! The no-progress timeout: a candidate of which nothing advances is given up long before its deadline. Pure.
//!
//! Invariants: whatever it is that moves (a marker, the position of a replay, one more pod that is ready), the clock begins anew;
//! it stands still while nothing can be expected to move, or nobody could see it. What advances is noted in status no more often
//! than the clock needs: it may run for a [`grain`] too long, and never too short.

use crds::feature_view::{AbortReason, Advance as Told};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::facts::Facts;
use super::memory::Trial;
use super::replay;
use crate::conditions::seconds;
use crate::feature_view::hindrance;
use crate::feature_view::observe::{Observed, StoreFacts, revision_of};
use crate::feature_view::replay::job;
use crate::workload::replicas;

/// How far a revision is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// A number that changes whenever a marker moves or a replay reads a record.
    pub position: i64,
    /// How many of its pods are ready, or have done their part.
    pub ready: i32,
}

/// How far a revision was when it last advanced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advance {
    /// How far; of pods the most that were ready, so that one which comes and goes is no advance.
    pub reach: Reach,
    /// When.
    pub at: Timestamp,
}

/// What is seen of a revision that has not read all there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Course {
    /// How far it is.
    pub reach: Reach,
    /// Whether what reads for it stands: a Job or workers.
    pub stands: bool,
    /// What keeps it, as far as anybody says.
    pub kept: Option<String>,
}

impl Advance {
    /// What status remembers.
    #[must_use]
    pub fn of(told: &Told) -> Option<Self> {
        let reach = Reach { position: told.position, ready: told.ready_pods };
        Some(Self { reach, at: told.time.parse().ok()? })
    }

    /// What status is to remember.
    #[must_use]
    pub fn told(&self) -> Told {
        Told { position: self.reach.position, ready_pods: self.reach.ready, time: seconds(self.at) }
    }

    /// Whether what is seen goes beyond it. Offsets may also fall, where a store lost its rows and they are read again.
    fn is_passed_by(&self, seen: Reach) -> bool {
        seen.position != self.reach.position || seen.ready > self.reach.ready
    }
}

impl Course {
    /// What store and cluster show of a revision.
    #[must_use]
    pub fn of(observed: &Observed, facts: &StoreFacts, revision: &str, now: Timestamp) -> Self {
        let markers = facts.markers.iter().flat_map(|markers| markers.by_partition.values());
        // One more for each marker that is there, and for each partition whose end was found.
        let marked = markers.map(|m| m.offset.wrapping_add(1 + i64::from(m.read_to_end_at > 0)));
        let replayed = facts.replays.values().map(|progress| progress.position);
        let position = marked.chain(replayed).fold(0, i64::wrapping_add);
        let workers = observed.deployments.iter().find(|d| revision_of(*d) == Some(revision));
        let replays = job(observed, revision);
        let of_job = replays.and_then(|job| job.status.as_ref());
        let of_job = of_job.map_or(0, |s| s.ready.unwrap_or_default().saturating_add(s.succeeded.unwrap_or_default()));
        let ready = of_job.saturating_add(workers.map_or(0, |workers| replicas(workers).2));
        let kept = hindrance::of(observed, facts, revision, now).map(|trouble| trouble.message);
        Self { reach: Reach { position, ready }, stands: workers.is_some() || replays.is_some(), kept }
    }
}

/// Notes whether a revision on trial advances, and gives it up if it has not for too long.
pub(super) fn observe(facts: &Facts, trial: &mut Trial) {
    let Some(course) = counted(facts, trial) else {
        trial.advance = None;
        return;
    };
    let (now, seen) = (facts.now, course.reach);
    let since = |advance: &Advance| now.duration_since(advance.at);
    match &trial.advance {
        Some(known) if !known.is_passed_by(seen) => {
            if since(known) >= facts.policy.progress {
                (trial.message, trial.aborted) = (Some(told(facts, trial, course)), Some(AbortReason::NoProgress));
            }
        }
        // A clock that was set back must not make it wait for ever.
        Some(known) if (SignedDuration::ZERO..grain(facts.policy.progress)).contains(&since(known)) => {}
        known => {
            let ready = known.map_or(0, |known| known.reach.ready).max(seen.ready);
            trial.advance = Some(Advance { reach: Reach { ready, ..seen }, at: now });
        }
    }
}

/// How often it is noted that a revision advances.
fn grain(progress: SignedDuration) -> SignedDuration {
    (progress / 20).clamp(SignedDuration::from_secs(1), SignedDuration::from_secs(30))
}

/// What is seen of it, if it is to advance now.
fn counted<'a>(facts: &'a Facts, trial: &Trial) -> Option<&'a Course> {
    let held = facts.policy.paused || facts.suspended || replay::refused(facts) || trial.aborted.is_some();
    let course = facts.course.as_ref().filter(|_| !held)?;
    let captured = trial.replay.is_some() || !replay::pending(facts, trial);
    // Whether the topic's offsets are to be had is asked later in the round; what is made of them comes with the next.
    let waits = if captured { course.stands } else { matches!(facts.replay.captured, Some(Err(_))) };
    waits.then_some(course)
}

/// What stood still, and what kept it.
fn told(facts: &Facts, trial: &Trial, course: &Course) -> String {
    let still = match &trial.replay {
        _ if !replay::pending(facts, trial) => {
            format!("no marker of its workers moved, and no pod became ready ({} are)", course.reach.ready)
        }
        None => "the offsets of its history could not be captured".to_owned(),
        Some(order) => {
            let percent = order.progress.as_ref().map_or(0, |progress| progress.percent);
            format!("its replay read no record, and stands at {percent} %")
        }
    };
    let broker = match &facts.replay.captured {
        Some(Err(trouble)) => Some(trouble.message.clone()),
        _ => None,
    };
    let unknown =
        || "neither its pods nor its workers say why, look at what they log when it is tried again".to_owned();
    let kept = broker.or_else(|| course.kept.clone()).unwrap_or_else(unknown);
    format!("{still}; {kept}")
}

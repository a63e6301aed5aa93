//! What is remembered from round to round: in status, or where that was lost, as far as what stands shows it. Pure.
//!
//! Invariants: times are set when a state begins and stay while it lasts, so that status is not written at rest; at most one
//! revision is kept beside the live one and the candidate.

use std::collections::BTreeSet;

use crds::FeatureViewStatus;
use crds::feature_view::{AbortReason, Attempt, ReplayStatus, RolloutStatus, Trial as TrialStatus};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::progress::Advance;
use crate::conditions::seconds;

/// What is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// What reads go to.
    pub active: Option<String>,
    /// Since when.
    pub promoted: Option<Timestamp>,
    /// What they went to before, while it is kept.
    pub previous: Option<String>,
    /// Whether the active revision was gone back to, so that the previous one is the newer.
    pub returned: bool,
    /// What was to take the active one's place.
    pub candidate: Option<String>,
    /// How that proves itself, or that it did not.
    pub trial: Option<Trial>,
    /// What is being removed, or is to be.
    pub retiring: BTreeSet<String>,
    /// Whether no round ever told status what is being removed, or status was lost since.
    pub forgot: bool,
}

/// How a revision proves itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trial {
    /// Which.
    pub revision: String,
    /// Since when its deadline counts.
    pub started: Option<Timestamp>,
    /// Since when it is caught up without a break.
    pub caught_up: Option<Timestamp>,
    /// Whether a person said that it may take over.
    pub approved: bool,
    /// Its comparison with the live revision, once that has begun.
    pub comparison: Option<Attempt>,
    /// Why it was given up.
    pub aborted: Option<AbortReason>,
    /// What was said when it was given up.
    pub message: Option<String>,
    /// How it gets its history, once that is decided.
    pub replay: Option<ReplayStatus>,
    /// How far it was when it last advanced, and when; none while that does not count.
    pub advance: Option<Advance>,
}

/// A revision of the history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// Which.
    pub revision: String,
    /// Its place in the history: later ones are higher.
    pub number: i64,
    /// When it last became live.
    pub promoted: Option<Timestamp>,
    /// Whether its workers or runs stand. They go before its rows do.
    pub stands: bool,
    /// Whether the Job of its replay stands: it is a candidate, whatever it was before. It goes before the rows, too.
    pub replays: bool,
}

impl Trial {
    /// One that begins.
    #[must_use]
    pub fn of(revision: &str) -> Self {
        Self { revision: revision.to_owned(), ..Self::default() }
    }

    /// Whether it has been caught up for long enough.
    #[must_use]
    pub fn is_steady(&self, now: Timestamp, stable_for: SignedDuration) -> bool {
        self.caught_up.is_some_and(|since| now.duration_since(since) >= stable_for)
    }
}

impl Memory {
    /// What status remembers.
    #[must_use]
    pub fn of(status: &FeatureViewStatus) -> Self {
        let rollout = status.rollout.clone().unwrap_or_default();
        let time = |text: Option<String>| text.and_then(|text| text.parse().ok());
        Self {
            active: status.active_revision.clone(),
            promoted: time(rollout.promoted_time),
            previous: status.previous_revision.clone(),
            returned: rollout.rolled_back,
            candidate: status.candidate_revision.clone(),
            trial: rollout.trial.map(|trial| Trial {
                revision: trial.revision,
                started: time(trial.start_time),
                caught_up: time(trial.caught_up_time),
                approved: trial.approved,
                comparison: trial.comparison,
                aborted: trial.aborted,
                message: trial.message,
                replay: trial.replay,
                advance: trial.advance.as_ref().and_then(Advance::of),
            }),
            retiring: status.retiring.iter().map(|r| r.revision.clone()).collect(),
            // A round begins with the intent to move a pointer, and ends with all the rest.
            forgot: status.observed_generation.is_none(),
        }
    }

    /// Writes it into a status, but for what is being removed, which has times of its own there, and for what comparisons
    /// and shadow reads said.
    pub fn write(&self, status: &mut FeatureViewStatus) {
        let told = status.rollout.take().unwrap_or_default();
        let rollout = RolloutStatus {
            promoted_time: self.promoted.map(seconds),
            rolled_back: self.returned,
            trial: self.trial.as_ref().map(|trial| TrialStatus {
                revision: trial.revision.clone(),
                start_time: trial.started.map(seconds),
                caught_up_time: trial.caught_up.map(seconds),
                approved: trial.approved,
                comparison: trial.comparison.clone(),
                aborted: trial.aborted,
                message: trial.message.clone(),
                replay: trial.replay.clone(),
                advance: trial.advance.as_ref().map(Advance::told),
            }),
            comparison: told.comparison,
            shadow: told.shadow,
        };
        status.active_revision.clone_from(&self.active);
        status.previous_revision.clone_from(&self.previous);
        status.candidate_revision.clone_from(&self.candidate);
        status.rollout = Some(rollout).filter(|rollout| *rollout != RolloutStatus::default());
    }

    /// Brings it into line with where the pointer is seen to be: it may have moved without status being told, and status
    /// may have been lost.
    pub fn settle(&mut self, live: Option<&str>, target: Option<&str>, history: &[Past], now: Timestamp) {
        if self.forgot || self.active.is_none() && live.is_some() {
            self.recollect(live, target, history);
        }
        match live {
            // The pointer was lost with its store: what was read, and what was kept, have no rows any more.
            None => {
                (self.active, self.promoted, self.previous, self.returned) = (None, None, None, false);
            }
            Some(live) if self.active.is_none() => self.rebuild(live, history, now),
            Some(live) => {
                self.moved(live, now);
                self.promoted.get_or_insert(now);
            }
        }
    }

    fn rebuild(&mut self, live: &str, history: &[Past], now: Timestamp) {
        let of_live = history.iter().find(|past| past.revision == live);
        let kept = history
            .iter()
            .filter(|past| {
                past.stands && !past.replays && past.revision != live && !self.retiring.contains(&past.revision)
            })
            .filter_map(|past| Some((past.promoted?, past)))
            .max_by_key(|(promoted, past)| (*promoted, past.number))
            .map(|(_, past)| past);
        self.active = Some(live.to_owned());
        self.promoted = of_live.and_then(|past| past.promoted).or(Some(now));
        self.previous = kept.map(|past| past.revision.clone());
        self.returned = kept.zip(of_live).is_some_and(|(kept, live)| kept.number > live.number);
    }

    /// What was being removed was lost with status: whatever no longer stands. What is gone already is removed once more, which
    /// does no harm; what was never served, and is to be now, may only not have been begun yet.
    fn recollect(&mut self, live: Option<&str>, target: Option<&str>, history: &[Past]) {
        let begins = |past: &Past| live.is_none() && past.promoted.is_none() && Some(past.revision.as_str()) == target;
        let kept = |past: &Past| {
            [&self.previous, &self.candidate].into_iter().any(|kept| kept.as_ref() == Some(&past.revision))
                || live == Some(past.revision.as_str())
        };
        let idle = history.iter().filter(|past| !past.stands && !past.replays && !kept(past) && !begins(past));
        let idle: Vec<String> = idle.map(|past| past.revision.clone()).collect();
        self.retiring.extend(idle);
    }

    /// The pointer moved to `to`.
    ///
    /// Going back swaps the two. Otherwise the one that was left is kept, unless it was still in its own soak: it never
    /// proved itself, and the one before it, which did, stays the way back.
    pub fn moved(&mut self, to: &str, now: Timestamp) {
        if self.active.as_deref() == Some(to) {
            return;
        }
        let left = self.active.replace(to.to_owned());
        let back = self.previous.as_deref() == Some(to);
        let dropped = if back || self.returned || self.previous.is_none() {
            std::mem::replace(&mut self.previous, left)
        } else {
            left
        };
        self.retiring.extend(dropped.filter(|revision| revision != to));
        self.returned = back && !self.returned;
        self.promoted = Some(now);
        if self.candidate.as_deref() == Some(to) {
            self.candidate = None;
        }
        if self.trial.as_ref().is_some_and(|trial| trial.revision == to) {
            self.trial = None;
        }
    }
}

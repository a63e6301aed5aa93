//! As what a definition is computed: by itself, or anew by a `FeatureReplay`. Pure but for [`observe`].
//!
//! A replay gives the definition another name, and so another revision: its rows, workers, consumer group and Jobs are its
//! own, and it takes the place of the one that serves by the same steps as an edit would. Nothing but the name is new.
//!
//! Invariants: the name of a run follows from the definition and the replay; a run that became live stays what the
//! definition is computed as, whatever becomes of its replay.

use std::sync::Arc;

use crds::feature_view::{ReplayStatus, Rollout};
use crds::{FeatureReplay, FeatureView};
use engine::plan::Plan;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::{Api, ResourceExt as _};

use super::observe::{Observed, revision_of};
use crate::context::Context;
use crate::error::Error;
use crate::names::{self, BASE_ANNOTATION, PROMOTED_ANNOTATION};

/// How often each part of a replay is tried again. What can heal, a process waits for; this is for nodes and memory.
const RETRIES: i32 = 6;

/// As what a definition is computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The revision that the definition has by itself.
    pub base: String,
    /// The revision as which it is computed.
    pub revision: String,
}

/// The name of a definition that a replay computes anew.
#[must_use]
pub fn name(base: &str, replay: &FeatureReplay) -> String {
    names::hex(format!("{base}/{}", replay.uid().unwrap_or_default()).as_bytes(), base.len())
}

/// As what the definition of that revision is to be computed: as the replay says that is under way, or else as it was when it
/// last became live.
#[must_use]
pub fn current(observed: &Observed, base: &str) -> Run {
    let active = observed.view.status.as_ref().and_then(|status| status.active_revision.as_deref());
    let begun = observed.replays.iter().map(|replay| (replay, name(base, replay)));
    let begun = begun.filter(|(replay, name)| run_of(replay) == Some(name)).map(|(_, name)| name).next();
    let revision = begun.unwrap_or_else(|| served(&observed.history, active, base));
    Run { base: base.to_owned(), revision }
}

/// The newest run of a definition that ever was live; the definition by itself if there was none.
#[must_use]
pub fn served(history: &[ControllerRevision], active: Option<&str>, base: &str) -> String {
    let of_base = |entry: &&ControllerRevision| self::base(entry).or_else(|| revision_of(*entry)) == Some(base);
    let was_live = |entry: &&ControllerRevision| {
        entry.annotations().contains_key(PROMOTED_ANNOTATION) || active.is_some() && revision_of(*entry) == active
    };
    let newest = history.iter().filter(of_base).filter(was_live).max_by_key(|entry| entry.revision);
    newest.and_then(revision_of).unwrap_or(base).to_owned()
}

/// The revision that the definition of an entry has by itself, if the entry is a run of it.
#[must_use]
pub fn base(entry: &ControllerRevision) -> Option<&str> {
    entry.annotations().get(BASE_ANNOTATION).map(String::as_str)
}

/// What an entry of the history notes of its definition's own revision.
pub(super) fn base_note(
    observed: &Observed,
    known: Option<&ControllerRevision>,
    revision: &str,
) -> Option<(String, String)> {
    let run = observed.run.as_ref().filter(|run| run.revision == revision && run.base != revision);
    let noted = known.and_then(base).or_else(|| run.map(|run| run.base.as_str()))?;
    Some((BASE_ANNOTATION.to_owned(), noted.to_owned()))
}

/// A plan under the name of a run.
#[must_use]
pub fn named(plan: Arc<Plan>, revision: &str) -> Arc<Plan> {
    if plan.revision == revision {
        return plan;
    }
    Arc::new(Plan { revision: revision.to_owned(), ..(*plan).clone() })
}

/// The run that a replay has begun.
#[must_use]
pub fn run_of(replay: &FeatureReplay) -> Option<&String> {
    replay.status.as_ref()?.run.as_ref()
}

/// Of which offsets a replay says that they are read.
#[must_use]
pub fn fence(replay: &FeatureReplay) -> Option<&String> {
    replay.status.as_ref()?.replay.as_ref().map(|replay| &replay.fence)
}

/// Whether a replay has begun and not ended.
#[must_use]
pub fn is_under_way(replay: &FeatureReplay) -> bool {
    let ended = replay.status.as_ref().is_some_and(|status| status.progress.phase.is_final());
    run_of(replay).is_some() && !ended && replay.metadata.deletion_timestamp.is_none()
}

/// How many seconds a replay was given, if these are over. While it stands still on purpose no time passes.
#[must_use]
pub fn overdue(replay: &FeatureReplay, now: Timestamp) -> Option<i64> {
    until_overdue(replay, now).filter(|left| !left.is_positive()).and(replay.spec.active_deadline_seconds)
}

/// How much time a replay has left, if that is bounded.
fn until_overdue(replay: &FeatureReplay, now: Timestamp) -> Option<SignedDuration> {
    let given = SignedDuration::from_secs(replay.spec.active_deadline_seconds.filter(|_| !replay.spec.suspend)?);
    let since: Timestamp = replay.status.as_ref()?.progress.start_time.as_ref()?.parse().ok()?;
    Some(given.saturating_sub(now.duration_since(since)))
}

/// A rollout as a replay would have it.
#[must_use]
pub fn rollout(rollout: &Rollout, replay: &FeatureReplay) -> Rollout {
    let mut rollout = rollout.clone();
    let spec = &replay.spec;
    if let Some(start) = &spec.start_from {
        rollout.start_from = start.clone();
    }
    rollout.replay.parallelism = spec.parallelism.unwrap_or(rollout.replay.parallelism);
    rollout.replay.max_records_per_second = spec.max_records_per_second.or(rollout.replay.max_records_per_second);
    rollout
}

impl Observed {
    /// The replay whose run a revision is, while that is under way.
    fn replay_of(&self, revision: &str) -> Option<&FeatureReplay> {
        self.replays.iter().find(|replay| run_of(replay).is_some_and(|run| run == revision))
    }

    /// What the spec says of rollouts, or the replay whose run a revision is.
    pub(super) fn rollout(&self, revision: &str) -> Rollout {
        let own = &self.view.spec.rollout;
        self.replay_of(revision).map_or_else(|| own.clone(), |replay| rollout(own, replay))
    }

    /// How many parts of a revision's history are read at once, and how often each is tried again.
    pub(super) fn effort(&self, revision: &str) -> (i32, i32) {
        let retries = self.replay_of(revision).map_or(RETRIES, |replay| replay.spec.backoff_limit);
        (self.rollout(revision).replay.parallelism, retries)
    }

    /// How many seconds the replay was given whose run a revision is, if these are over.
    pub(super) fn overdue(&self, revision: &str, now: Timestamp) -> Option<i64> {
        overdue(self.replay_of(revision)?, now)
    }

    /// How long until that is so of a replay that is under way.
    pub(super) fn until_overdue(&self, now: Timestamp) -> Option<SignedDuration> {
        let left = self.replays.iter().filter_map(|replay| until_overdue(replay, now));
        left.filter(SignedDuration::is_positive).min()
    }

    /// Whether the replay whose run a revision is says itself what is read: who asks for records is to be told, however soon it
    /// is over.
    pub(super) fn is_told(&self, revision: &str, order: &ReplayStatus) -> bool {
        let told = |replay: &FeatureReplay| fence(replay) == Some(&order.fence);
        self.replay_of(revision).is_none_or(told)
    }

    /// Whether the replay whose run a revision is stands still on purpose.
    pub(super) fn is_held(&self, revision: &str) -> bool {
        self.replay_of(revision).is_some_and(|replay| replay.spec.suspend)
    }
}

/// The replays of a view that are under way. Which there are is known from the watch, how they stand is read anew.
pub(super) async fn observe(context: &Context, view: &FeatureView) -> Result<Vec<FeatureReplay>, Error> {
    // While it is not known which there are, nothing may be decided. It ends with leadership, and then so does the round.
    if context.replays.wait_until_ready().await.is_err() {
        return Err(Error::Ended);
    }
    let (name, namespace) = (view.name_any(), view.namespace());
    let named =
        context.replays.state().into_iter().filter(|replay| {
            replay.spec.view_ref.name == name && replay.namespace() == namespace && !has_ended(replay)
        });
    let api = Api::<FeatureReplay>::namespaced(context.client.clone(), &namespace.clone().unwrap_or_default());
    let mut all = Vec::new();
    for replay in named {
        let name = replay.name_any();
        let fresh = api.get_opt(&name).await.map_err(Error::read(format!("FeatureReplay {name}")))?;
        all.extend(fresh.filter(is_under_way));
    }
    all.sort_by_key(|replay| (replay.metadata.creation_timestamp.clone(), replay.name_any()));
    Ok(all)
}

/// Whether a replay will never be under way again.
fn has_ended(replay: &FeatureReplay) -> bool {
    replay.status.as_ref().is_some_and(|status| status.progress.phase.is_final())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;
    use crate::feature_view::fixtures::observed;

    fn entry(number: i64, revision: &str, annotations: &Value) -> ControllerRevision {
        serde_json::from_value(json!({
            "metadata": {"labels": {"featuremill.dev/revision": revision}, "annotations": annotations},
            "revision": number,
        }))
        .unwrap()
    }

    fn replay(uid: &str, status: &Value) -> FeatureReplay {
        serde_json::from_value(json!({"apiVersion": "featuremill.dev/v1alpha1", "kind": "FeatureReplay",
            "metadata": {"name": uid, "uid": uid}, "spec": {"viewRef": {"name": "clicks"}}, "status": status}))
        .unwrap()
    }

    #[test]
    fn a_definition_is_computed_as_the_newest_run_that_was_live() {
        let live =
            |base: &str| json!({"featuremill.dev/base": base, "featuremill.dev/promoted": "2026-01-01T00:00:00Z"});
        let mut history = vec![entry(1, "aa", &json!({"featuremill.dev/promoted": "2026-01-03T00:00:00Z"}))];
        assert_eq!(served(&history, Some("aa"), "aa"), "aa");
        history.push(entry(2, "a2", &live("aa")));
        history.push(entry(3, "bb", &live("b0")));
        history.push(entry(4, "a4", &json!({"featuremill.dev/base": "aa"})));
        assert_eq!(served(&history, Some("aa"), "aa"), "a2", "a way back is no newer run");
        assert_eq!(served(&history, Some("a4"), "aa"), "a4", "what status says is live, was");
        assert_eq!(served(&history, Some("aa"), "cc"), "cc");
    }

    #[test]
    fn a_run_that_is_under_way_is_the_one_of_the_definition_and_its_replay() {
        let mut observed = observed("1h", 1, Vec::new());
        let unbegun = replay("u1", &json!({}));
        let run = name("0123456789", &unbegun);
        assert_eq!(run.len(), 10);
        assert_ne!(run, name("0123456789", &replay("u2", &json!({}))));
        for (status, base, expected) in [
            (json!({}), "0123456789", "0123456789"),
            (json!({"run": run}), "0123456789", run.as_str()),
            (json!({"run": run}), "9876543210", "9876543210"),
        ] {
            observed.replays = vec![replay("u1", &status)];
            assert_eq!(current(&observed, base).revision, expected);
        }
        assert!(is_under_way(&replay("u1", &json!({"run": "r"}))) && !is_under_way(&unbegun));
        assert!(!is_under_way(&replay("u1", &json!({"run": "r", "phase": "Succeeded"}))));
    }

    #[test]
    fn a_replay_is_overdue_when_its_time_is_over_and_it_does_not_stand_still() {
        let mut observed = observed("1h", 1, Vec::new());
        let mut one = replay("u1", &json!({"run": "r", "startTime": "2026-11-28T12:00:00Z"}));
        let at = |seconds: i64| Timestamp::from_second(1_795_867_200 + seconds).unwrap();
        assert_eq!(at(0).to_string(), "2026-11-28T12:00:00Z");
        assert_eq!(overdue(&one, at(3600)), None, "it has all the time in the world");
        one.spec.active_deadline_seconds = Some(60);
        observed.replays = vec![one.clone()];
        assert_eq!((overdue(&one, at(59)), observed.overdue("r", at(60))), (None, Some(60)));
        assert_eq!(
            (observed.until_overdue(at(59)), observed.until_overdue(at(60))),
            (Some(SignedDuration::from_secs(1)), None)
        );
        assert_eq!(observed.overdue("another", at(60)), None);
        one.spec.suspend = true;
        assert_eq!(overdue(&one, at(60)), None);
    }

    #[test]
    fn a_job_waits_until_its_replay_says_what_is_read() {
        let mut observed = observed("1h", 1, Vec::new());
        let order = ReplayStatus { fence: "f".to_owned(), ..ReplayStatus::default() };
        assert!(observed.is_told("r", &order), "the replay of an edit is told by its view");
        for (status, told) in [
            (json!({"run": "r"}), false),
            (json!({"run": "r", "replay": {"fence": "e", "capturedTime": "", "parts": []}}), false),
            (json!({"run": "r", "replay": {"fence": "f", "capturedTime": "", "parts": []}}), true),
        ] {
            observed.replays = vec![replay("u1", &status)];
            assert_eq!(observed.is_told("r", &order), told, "{status}");
        }
    }
}

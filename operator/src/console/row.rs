//! One line of the board: what a person needs to find the view that needs one. Pure, and without the clock: times go out as
//! they are, and the page counts.

use crds::architecture::Mode;
use crds::condition::{ConditionStatus, reasons, types};
use serde::Serialize;

use super::alerts;
use super::flow::Source;
use super::seen::{Lag, Seen};

/// The longest headline, in characters.
const HEADLINE: usize = 240;

/// How bad it is, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// What is served is wrong, missing, or far behind.
    Critical,
    /// It serves, and a person is needed to go on.
    Stalled,
    /// It serves what is older than promised, or nobody knows how old it is.
    Warning,
    /// Work is under way.
    Progressing,
    /// A person holds it: it waits for a word, or is paused, pinned or suspended.
    Held,
    /// Everything is as written.
    Healthy,
}

/// One view.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    pub namespace: String,
    pub name: String,
    pub severity: Severity,
    pub phase: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    #[serde(skip_serializing_if = "Source::is_empty")]
    pub source: Source,
    /// The reason of `Ready`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The one sentence that matters most now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headline: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidate: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub horizon: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag: Option<Lag>,
    /// How many alerts stand.
    #[serde(skip_serializing_if = "is_zero")]
    pub alerts: usize,
}

/// How far the step is that a rollout is at: by what was done, or by the clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", untagged)]
pub enum Progress {
    /// Of records.
    Share {
        percent: i32,
        #[serde(rename = "etaSeconds", skip_serializing_if = "Option::is_none")]
        eta_seconds: Option<i64>,
    },
    /// Of a time that began `since` and takes `seconds`.
    Clock { since: String, seconds: i64 },
}

impl Row {
    /// The line of a view.
    #[must_use]
    pub fn of(seen: &Seen) -> Self {
        let status = &seen.status;
        let spec = seen.spec.as_ref().ok();
        Self {
            namespace: seen.namespace.clone(),
            name: seen.name.clone(),
            severity: severity(seen),
            phase: phase(seen),
            mode: status.mode,
            architecture: spec.map(|spec| spec.architecture_ref.name.clone()),
            source: spec.map(|spec| Source::of(&spec.source)).unwrap_or_default(),
            reason: seen.condition(types::READY).map(|ready| ready.reason.clone()),
            headline: headline(seen),
            active: status.active_revision.clone(),
            candidate: status.candidate_revision.clone(),
            previous: status.previous_revision.clone(),
            progress: progress(seen),
            generation: status.generation,
            horizon: status.horizon.clone(),
            lag: seen.lag.clone().filter(|_| seen.unmeasured().is_none()),
            alerts: alerts::of(seen).len(),
        }
    }
}

/// The phase, also of what has none yet.
pub fn phase(seen: &Seen) -> String {
    if seen.deleted {
        return "Terminating".to_owned();
    }
    seen.status.phase.clone().unwrap_or_else(|| "Pending".to_owned())
}

/// How bad it is.
pub fn severity(seen: &Seen) -> Severity {
    if seen.problem.is_some() || seen.spec.is_err() {
        return Severity::Stalled;
    }
    let ready = seen.condition(types::READY);
    // Not served yet is no outage: there was nothing before.
    let begins = [reasons::CATCHING_UP, reasons::NO_GENERATION, reasons::PENDING, reasons::RETIRING];
    let not_served = ready.is_some_and(|ready| match ready.status {
        ConditionStatus::True => false,
        ConditionStatus::False => !begins.contains(&ready.reason.as_str()),
        ConditionStatus::Unknown => ready.reason == reasons::STORE_UNREACHABLE,
    });
    let tier = seen.lag.as_ref().and_then(|lag| lag.tier);
    let reconciling = seen.is(types::RECONCILING, ConditionStatus::True);
    let held = ["Paused", "Pinned", "RolledBack", "Suspended", "AwaitingPromotion", "AwaitingMigration"];
    if not_served || tier == Some(1) {
        Severity::Critical
    } else if seen.stalled() {
        Severity::Stalled
    } else if seen.stale().or(seen.unmeasured()).is_some()
        || tier == Some(2)
        || seen.is(types::SOUND, ConditionStatus::False)
    {
        Severity::Warning
    } else if held.contains(&phase(seen).as_str()) {
        Severity::Held
    } else if reconciling || seen.deleted || !seen.observed || ready.is_none_or(|r| r.status != ConditionStatus::True) {
        Severity::Progressing
    } else {
        Severity::Healthy
    }
}

/// The one sentence that matters most now; none if everything is as written.
fn headline(seen: &Seen) -> Option<String> {
    let says = |type_: &str, status: &[ConditionStatus]| {
        let condition = seen.condition(type_).filter(|c| status.contains(&c.status))?;
        Some(condition.message.clone()).filter(|message| !message.is_empty())
    };
    let (yes, no, unknown) = (ConditionStatus::True, ConditionStatus::False, ConditionStatus::Unknown);
    let text = (seen.problem.clone())
        .or_else(|| seen.spec.as_ref().err().map(|problem| format!("spec does not read: {problem}")))
        .or_else(|| says(types::STALLED, &[yes]))
        .or_else(|| says(types::READY, &[no, unknown]))
        .or_else(|| seen.stale().or(seen.unmeasured()).map(|fresh| fresh.message.clone()))
        .or_else(|| says(types::RECONCILING, &[yes]))
        .or_else(|| says(types::READY, &[yes]).filter(|_| severity(seen) == Severity::Held))?;
    Some(match text.char_indices().nth(HEADLINE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    })
}

/// How far the step is.
pub fn progress(seen: &Seen) -> Option<Progress> {
    let (status, spec) = (&seen.status, seen.spec.as_ref().ok()?);
    let rollout = status.rollout.as_ref()?;
    let candidate = status.candidate_revision.as_ref();
    let trial = rollout.trial.as_ref().filter(|trial| Some(&trial.revision) == candidate);
    if let Some(trial) = trial {
        let replay = trial.replay.as_ref().filter(|replay| replay.completed_time.is_none());
        if let Some(progress) = replay.and_then(|replay| replay.progress.as_ref()) {
            return Some(Progress::Share { percent: progress.percent, eta_seconds: progress.eta_seconds });
        }
        let seconds = i64::from(spec.rollout.catch_up.stable_for_seconds);
        let steady = trial.caught_up_time.clone().filter(|_| phase(seen) == "CatchingUp" && seconds > 0);
        return steady.map(|since| Progress::Clock { since, seconds });
    }
    let seconds = i64::from(spec.rollout.scale_down_delay_seconds);
    let soaks = status.previous_revision.is_some() && !spec.rollout.paused && seconds > 0;
    Some(Progress::Clock { since: rollout.promoted_time.clone().filter(|_| soaks)?, seconds })
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::console::fixtures::{condition, rollout, view};

    fn of(status: Value) -> Row {
        Row::of(&Seen::of(&view(status)))
    }

    fn ready(status: &str, reason: &str) -> Value {
        condition("Ready", status, reason, "why")
    }

    #[test]
    fn the_worst_comes_first() {
        let severity = |conditions: Vec<Value>, more: Value| {
            let mut status = json!({"observedGeneration": 1, "phase": "Live", "conditions": conditions});
            for (key, value) in more.as_object().into_iter().flatten() {
                status[key] = value.clone();
            }
            of(status).severity
        };
        let served = || ready("True", "Healthy");
        let stalled = || condition("Stalled", "True", "Aborted", "given up");
        let none = || json!({});
        assert_eq!(severity(vec![ready("False", "WorkloadUnavailable"), stalled()], none()), Severity::Critical);
        assert_eq!(severity(vec![ready("Unknown", "StoreUnreachable")], none()), Severity::Critical);
        assert_eq!(severity(vec![served()], json!({"lag": {"tier": 1, "seconds": 700}})), Severity::Critical);
        assert_eq!(severity(vec![served(), stalled()], none()), Severity::Stalled);
        assert_eq!(severity(vec![served(), condition("Fresh", "False", "Overdue", "old")], none()), Severity::Warning);
        assert_eq!(
            severity(vec![served(), condition("Fresh", "False", "Suspended", "as told")], none()),
            Severity::Healthy
        );
        assert_eq!(severity(vec![served()], json!({"lag": {"tier": 3, "seconds": 130}})), Severity::Healthy);
        assert_eq!(severity(vec![ready("False", "CatchingUp")], none()), Severity::Progressing);
        assert_eq!(severity(vec![ready("Unknown", "Pending")], none()), Severity::Progressing);
        assert_eq!(severity(vec![], none()), Severity::Progressing);
        assert_eq!(severity(vec![served()], json!({"observedGeneration": 0})), Severity::Progressing);
        let unknown = || condition("Fresh", "Unknown", "KafkaUnreachable", "nobody knows");
        assert_eq!(severity(vec![served(), unknown()], none()), Severity::Warning);
        assert_eq!(
            severity(vec![served(), condition("Fresh", "Unknown", "Pending", "soon")], none()),
            Severity::Healthy
        );
        assert_eq!(severity(vec![served()], json!({"phase": "Pinned"})), Severity::Held);
        assert_eq!(severity(vec![served()], none()), Severity::Healthy);
        assert!(Severity::Critical < Severity::Stalled && Severity::Held < Severity::Healthy);
    }

    #[test]
    fn a_line_is_what_is_known() {
        insta::assert_json_snapshot!("a_new_view", of(Value::Null));
        insta::assert_json_snapshot!("a_view_that_replays", of(rollout()));
    }

    #[test]
    fn a_lag_that_nobody_measures_is_not_shown_as_if_it_were() {
        let status = |fresh: Value| json!({"lag": {"seconds": 3, "records": 9}, "conditions": [fresh]});
        let unknown = of(status(condition("Fresh", "Unknown", "StoreUnreachable", "the store is away")));
        assert_eq!((unknown.lag, unknown.headline.as_deref(), unknown.alerts), (None, Some("the store is away"), 1));
        assert!(of(status(condition("Fresh", "Unknown", "Pending", "soon"))).lag.is_some());
    }

    #[test]
    fn a_step_is_told_by_what_is_done_or_by_the_clock() {
        assert_eq!(of(rollout()).progress, Some(Progress::Share { percent: 62, eta_seconds: Some(190) }));
        let mut steady = rollout();
        steady["phase"] = json!("CatchingUp");
        steady["rollout"]["trial"]["replay"]["completedTime"] = json!("2026-11-28T07:10:00Z");
        steady["rollout"]["trial"]["caughtUpTime"] = json!("2026-11-28T07:20:00Z");
        let clock = |since: &str, seconds| Some(Progress::Clock { since: since.to_owned(), seconds });
        assert_eq!(of(steady.clone()).progress, clock("2026-11-28T07:20:00Z", 60));
        // In its comparison nothing says how far it is.
        steady["phase"] = json!("Comparing");
        assert_eq!(of(steady).progress, None);
        let soaks = json!({"activeRevision": "b", "previousRevision": "a", "rollout": {"promotedTime": "2026-11-28T07:00:00Z"}});
        assert_eq!(of(soaks).progress, clock("2026-11-28T07:00:00Z", 86_400));
    }
}

//! What of a view somebody should look at, each with the page that says what to do. Pure.

use crds::condition::{ConditionStatus, reasons, types};
use serde::Serialize;

use super::docs::{Section, runbook};
use super::row::{Severity, severity};
use super::seen::Seen;

/// Something to look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Alert {
    /// 1: at once; 2: today; 3: when there is time.
    pub tier: u8,
    pub title: &'static str,
    pub reason: String,
    pub message: String,
    /// The page that says what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runbook: Option<Section>,
}

/// All of a view, the most urgent first. What two conditions say of one thing is told once.
pub fn of(seen: &Seen) -> Vec<Alert> {
    let critical = severity(seen) == Severity::Critical;
    let mut alerts: Vec<Alert> = Vec::new();
    let mut add = |tier, title, reason: &str, message: &str| {
        if alerts.iter().any(|known| known.message == message || known.reason == reason) {
            return;
        }
        let (reason, message) = (reason.to_owned(), message.to_owned());
        alerts.push(Alert { tier, title, runbook: runbook(&reason), reason, message });
    };
    for problem in seen.problem.iter().chain(seen.spec.as_ref().err()) {
        add(2, "The object does not read", reasons::INVALID_SPEC, problem);
    }
    let yes = |type_: &str, status| seen.condition(type_).filter(|c| c.status == status);
    let begins = [reasons::CATCHING_UP, reasons::NO_GENERATION, reasons::PENDING, reasons::RETIRING];
    if let Some(ready) = yes(types::READY, ConditionStatus::False).filter(|c| !begins.contains(&c.reason.as_str())) {
        add(1, "Not served as written", &ready.reason, &ready.message);
    }
    if let Some(ready) = yes(types::READY, ConditionStatus::Unknown).filter(|c| c.reason == reasons::STORE_UNREACHABLE)
    {
        add(1, "Nothing is known of what is served", &ready.reason, &ready.message);
    }
    if let Some(stalled) = yes(types::STALLED, ConditionStatus::True) {
        let tier = if critical && seen.is(types::READY, ConditionStatus::False) { 1 } else { 2 };
        add(tier, "A person is needed", &stalled.reason, &stalled.message);
    }
    let known = seen.lag.as_ref().filter(|_| seen.unmeasured().is_none());
    let tier = known.and_then(|lag| u8::try_from(lag.tier?).ok());
    if let Some(fresh) = seen.stale() {
        add(tier.unwrap_or(2), "What is served is too old", &fresh.reason, &fresh.message);
    } else if let (Some(tier), Some(lag)) = (tier, known) {
        let seconds = lag.seconds.map_or_else(|| "behind".to_owned(), |s| format!("{s} s behind"));
        add(
            tier,
            "What is served is too old",
            &format!("LagTier{tier}"),
            &format!("the active revision is {seconds} its topic"),
        );
    }
    if let Some(fresh) = seen.unmeasured() {
        add(2, "Nobody knows how old what is served is", &fresh.reason, &fresh.message);
    }
    if let Some(run) = seen.status.last_run.as_ref().filter(|run| ["Refused", "Failed"].contains(&run.outcome.as_str()))
    {
        let reason = if run.outcome == "Refused" { reasons::GENERATION_REFUSED } else { reasons::RUN_FAILED };
        let message = run.message.clone().unwrap_or_else(|| format!("generation {} was not published", run.generation));
        add(2, "The last batch run was not published", reason, &message);
    }
    if let Some(sound) = yes(types::SOUND, ConditionStatus::False) {
        add(2, "What is served looks wrong", &sound.reason, &sound.message);
    }
    if let Some(sound) = yes(types::SOUND, ConditionStatus::Unknown).filter(|c| c.reason == reasons::CHECK_FAILED) {
        add(3, "A check of what is served failed", &sound.reason, &sound.message);
    }
    if let Some(compared) = yes(types::COMPARISON_PASSED, ConditionStatus::False) {
        add(3, "The new revision's values differ", &compared.reason, &compared.message);
    }
    alerts.sort_by_key(|alert| alert.tier);
    alerts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::console::fixtures::{condition, view};

    #[test]
    fn one_thing_is_told_once_and_the_most_urgent_first() {
        let refused = "spec.features[0].of: no column prize";
        let seen = Seen::of(&view(json!({
            "observedGeneration": 1,
            "lag": {"seconds": 340, "tier": 2},
            "lastRun": {"revision": "a", "generation": 7, "outcome": "Refused", "rows": 1, "message": "half of the rows are gone",
                "started": "2026-11-28T03:00:00Z", "finished": "2026-11-28T03:01:00Z"},
            "conditions": [
                condition("Ready", "False", "InvalidSpec", refused),
                condition("Stalled", "True", "InvalidSpec", refused),
                condition("Fresh", "False", "LagTier2", "340 s behind"),
            ],
        })));
        let told: Vec<(u8, String)> = of(&seen).into_iter().map(|a| (a.tier, a.reason)).collect();
        let word = |tier, reason: &str| (tier, reason.to_owned());
        assert_eq!(told, [word(1, "InvalidSpec"), word(2, "LagTier2"), word(2, "GenerationRefused")]);
        assert!(of(&seen).iter().all(|alert| alert.runbook.is_some()));
    }

    #[test]
    fn what_is_as_it_should_be_is_no_alert() {
        let conditions = json!([
            condition("Ready", "False", "CatchingUp", "it reads its source"),
            condition("Stalled", "False", "Idle", ""),
        ]);
        assert_eq!(of(&Seen::of(&view(json!({"conditions": conditions, "lag": {"seconds": 3}})))), []);
    }
}

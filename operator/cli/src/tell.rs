//! A view in words and bars. Pure.

use crds::FeatureView;
use crds::condition::{ConditionStatus, types};
use crds::feature_view::{ComparisonStatus, ComparisonVerdict, FeatureDifference, ReplayStatus};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use operator::conditions::find;

/// How wide a bar is.
const WIDTH: usize = 24;

/// One line a view, under a head.
pub fn table(views: &[FeatureView]) -> String {
    let head = ["VIEW", "PHASE", "READY", "SERVES", "CANDIDATE", "KEEPS"].map(str::to_owned);
    let rows = views.iter().map(|view| {
        let status = view.status.clone().unwrap_or_default();
        let ready =
            condition(view, types::READY).map_or_else(|| "Unknown".to_owned(), |(status, _)| format!("{status:?}"));
        let or = |revision: Option<String>| revision.unwrap_or_else(|| "-".to_owned());
        [
            view.name_any(),
            status.phase.unwrap_or_else(|| "Pending".to_owned()),
            ready,
            or(status.active_revision),
            or(status.candidate_revision),
            or(status.previous_revision),
        ]
    });
    crate::table::table(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
}

/// Everything of one view that a person wants to know of its rollout.
pub fn whole(view: &FeatureView, now: Timestamp) -> String {
    let status = view.status.clone().unwrap_or_default();
    let rollout = status.rollout.clone().unwrap_or_default();
    let policy = &view.spec.rollout;
    let mut lines = vec![format!("{}  {}", view.name_any(), status.phase.as_deref().unwrap_or("Pending"))];
    let serves = status.active_revision.as_deref().unwrap_or("nothing yet");
    let since = rollout.promoted_time.as_deref().and_then(|text| ago(text, now));
    lines.push(format!(
        "  serves     {serves}{}",
        since.map_or_else(String::new, |ago| format!("  for {}", duration(ago)))
    ));
    if let (Some(generation), Some(horizon)) = (status.generation, &status.horizon) {
        lines.push(format!("  generation {generation}, complete up to {horizon}"));
    }
    if let Some(previous) = &status.previous_revision {
        let soak = i64::from(policy.scale_down_delay_seconds);
        let bar = since.map_or_else(String::new, |ago| bar(ago, soak));
        lines.push(format!("  keeps      {previous}  {bar} of the soak"));
    }
    if let Some(candidate) = &status.candidate_revision {
        lines.push(format!("  candidate  {candidate}"));
        let trial = rollout.trial.as_ref().filter(|trial| trial.revision == *candidate);
        if let Some(ago) = trial.and_then(|trial| ago(trial.start_time.as_deref()?, now)) {
            lines.push(format!("    deadline {}", bar(ago, i64::from(policy.catch_up.deadline_seconds))));
        }
        lines.extend(trial.and_then(|trial| replayed(trial.replay.as_ref()?)));
        if let Some(ago) = trial.and_then(|trial| ago(trial.caught_up_time.as_deref()?, now)) {
            lines.push(format!("    steady   {}", bar(ago, i64::from(policy.catch_up.stable_for_seconds))));
        }
    }
    if let Some(compared) = &rollout.comparison {
        lines.extend(differences(compared));
    }
    // What is wrong first, then what is under way, then the way back.
    for (kind, wanted) in [
        (types::STALLED, ConditionStatus::True),
        (types::RECONCILING, ConditionStatus::True),
        (types::READY, ConditionStatus::False),
        (types::SCALING_LIMITED, ConditionStatus::True),
        (types::ROLLBACK_AVAILABLE, ConditionStatus::True),
    ] {
        if let Some((_, message)) =
            condition(view, kind).filter(|(status, message)| *status == wanted && !message.is_empty())
        {
            lines.push(format!("  {kind}: {message}"));
        }
    }
    lines.join("\n") + "\n"
}

/// What the last comparison said, a bar for each feature that differs: how much of it is equal.
fn differences(compared: &ComparisonStatus) -> Vec<String> {
    let ComparisonStatus { former, candidate, verdict, entities, .. } = compared;
    let mut lines =
        vec![format!("  compared   {candidate} with {former}, {entities} entities: {}", verdict_text(*verdict))];
    let width = compared.differences.iter().map(|d| d.name.chars().count()).max().unwrap_or_default();
    for difference in &compared.differences {
        let FeatureDifference { name, equal, psi, ks, examples, .. } = difference;
        let full = share(equal, WIDTH);
        let (full, rest) = ("█".repeat(full), "░".repeat(WIDTH - full));
        let number = |of: &str, n: &Option<String>| n.as_ref().map_or_else(String::new, |n| format!("  {of} {n}"));
        lines.push(format!("    {name:<width$} {full}{rest} {equal} equal{}{}", number("PSI", psi), number("KS", ks)));
        for example in examples {
            lines.push(format!("      #{}: {}, would be {}", example.entity, example.former, example.candidate));
        }
    }
    lines
}

fn verdict_text(verdict: ComparisonVerdict) -> &'static str {
    match verdict {
        ComparisonVerdict::Passed => "passed",
        ComparisonVerdict::Failed => "failed",
        ComparisonVerdict::Inconclusive => "no verdict",
    }
}

/// How much of `whole` a share is that stands as a decimal from 0 to 1.
fn share(decimal: &str, whole: usize) -> usize {
    let (integer, fraction) = decimal.split_once('.').unwrap_or((decimal, "0"));
    if integer != "0" {
        return whole;
    }
    let digits: String = fraction.chars().chain("0000".chars()).take(4).collect();
    digits.parse::<usize>().unwrap_or_default() * whole / 10_000
}

/// Whether the rollout is over, one way or the other.
pub fn settled(view: &FeatureView) -> bool {
    let observed = view.status.as_ref().and_then(|status| status.observed_generation);
    observed == view.metadata.generation
        && condition(view, types::RECONCILING).is_some_and(|(status, _)| status == ConditionStatus::False)
}

fn condition(view: &FeatureView, kind: &str) -> Option<(ConditionStatus, String)> {
    let found = find(&view.status.as_ref()?.conditions, kind)?;
    Some((found.status, found.message.clone()))
}

/// How far a replay is, while it goes on.
fn replayed(replay: &ReplayStatus) -> Option<String> {
    if replay.completed_time.is_some() {
        return None;
    }
    Some(format!("    replay   {}", read(replay)))
}

/// How much of a replay is read.
pub fn read(replay: &ReplayStatus) -> String {
    let progress = replay.progress.clone().unwrap_or_default();
    let rate = (progress.records_per_second > 0).then(|| format!(", {} records/s", progress.records_per_second));
    let rest = progress.eta_seconds.map(|seconds| format!(", {} left", duration(seconds)));
    let bar = filled(progress.percent.into(), 100);
    format!("{bar} {} %{}{}", progress.percent, rate.unwrap_or_default(), rest.unwrap_or_default())
}

/// Seconds since a time of status.
fn ago(text: &str, now: Timestamp) -> Option<i64> {
    let then: Timestamp = text.parse().ok()?;
    Some(now.as_second().saturating_sub(then.as_second()).max(0))
}

/// How much of `whole` seconds is past.
fn bar(part: i64, whole: i64) -> String {
    let part = part.clamp(0, whole.max(0));
    format!("{} {} of {}", filled(part, whole), duration(part), duration(whole))
}

/// A bar of which that part is full.
fn filled(part: i64, whole: i64) -> String {
    let part = part.clamp(0, whole.max(0));
    let full = if whole <= 0 {
        WIDTH
    } else {
        usize::try_from(part).unwrap_or(0) * WIDTH / usize::try_from(whole).unwrap_or(1)
    };
    format!("{}{}", "█".repeat(full), "░".repeat(WIDTH - full))
}

/// Seconds, in the two largest units.
pub fn duration(seconds: i64) -> String {
    let (d, h, m, s) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    match (d, h, m) {
        (0, 0, 0) => format!("{s}s"),
        (0, 0, _) => format!("{m}m{s:02}s"),
        (0, _, _) => format!("{h}h{m:02}m"),
        _ => format!("{d}d{h:02}h"),
    }
}

/// A number with its thousands apart.
pub fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    format!("{}{}", if number < 0 { "-" } else { "" }, groups.join(","))
}

/// An enum of the API as it is written there.
pub fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| Some(value.as_str()?.to_owned())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn view(status: &Value) -> FeatureView {
        serde_json::from_value(json!({
            "apiVersion": "featuremill.dev/v1alpha1", "kind": "FeatureView", "metadata": {"name": "shopper", "generation": 3},
            "spec": {
                "architectureRef": {"name": "realtime"}, "entity": {"keys": ["user"]}, "features": [],
                "source": {"timestamp": {"field": "at", "unit": "Milliseconds"}, "schema": []},
            },
            "status": status,
        }))
        .unwrap()
    }

    fn rolling() -> FeatureView {
        let condition = |kind: &str, status: &str, message: &str| json!({"type": kind, "status": status, "reason": "R", "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z"});
        view(&json!({
            "observedGeneration": 3, "phase": "CatchingUp", "activeRevision": "9b1c07de42", "candidateRevision": "3f0a55c81e",
            "rollout": {
                "promotedTime": "2026-01-01T00:00:00Z",
                "trial": {"revision": "3f0a55c81e", "startTime": "2026-01-02T11:00:00Z", "caughtUpTime": "2026-01-02T11:59:30Z"},
            },
            "conditions": [
                condition("Ready", "True", "served"), condition("Reconciling", "True", "revision 3f0a55c81e has caught up"),
                condition("Stalled", "False", ""),
            ],
        }))
    }

    #[test]
    fn what_differs_is_told_with_a_bar_and_examples() {
        let example = json!({"entity": "5eed", "former": "4", "candidate": "NULL"});
        let text = whole(
            &view(&json!({"rollout": {"comparison": {
                "former": "9b1c07de42", "candidate": "3f0a55c81e", "verdict": "Failed", "asOf": "2026-01-01T00:00:00Z", "entities": 100,
                "differences": [{"name": "clicks_1h", "kind": "Changed", "checked": 100, "equal": "0.5000", "psi": "1.5000", "examples": [example]}],
            }}})),
            "2026-01-02T12:00:00Z".parse().unwrap(),
        );
        let expected = "  compared   3f0a55c81e with 9b1c07de42, 100 entities: failed\n    \
                        clicks_1h ████████████░░░░░░░░░░░░ 0.5000 equal  PSI 1.5000\n      \
                        #5eed: 4, would be NULL\n";
        assert!(text.contains(expected), "{text}");
        assert_eq!([share("1.0000", 24), share("0.9999", 24), share("0", 24)], [24, 23, 0]);
    }

    #[test]
    fn a_rollout_is_told_with_its_bars() {
        let text = whole(&rolling(), "2026-01-02T12:00:00Z".parse().unwrap());
        let expected = "shopper  CatchingUp\n  \
            serves     9b1c07de42  for 1d12h\n  \
            candidate  3f0a55c81e\n    \
            deadline █░░░░░░░░░░░░░░░░░░░░░░░ 1h00m of 1d00h\n    \
            steady   ████████████░░░░░░░░░░░░ 30s of 1m00s\n  \
            Reconciling: revision 3f0a55c81e has caught up\n";
        assert_eq!(text, expected);
        assert!(!settled(&rolling()));
    }

    #[test]
    fn a_replay_is_told_with_its_rate_and_its_end_until_it_is_over() {
        let mut view = rolling();
        let trial = view.status.as_mut().unwrap().rollout.as_mut().unwrap().trial.as_mut().unwrap();
        trial.caught_up_time = None;
        trial.replay = serde_json::from_value(json!({
            "fence": "f", "capturedTime": "2026-01-02T11:00:00Z", "parts": [],
            "progress": {"percent": 50, "remainingRecords": 900, "recordsPerSecond": 10, "etaSeconds": 90,
                "observedTime": "2026-01-02T11:00:00Z"},
        }))
        .unwrap();
        let now = "2026-01-02T12:00:00Z".parse().unwrap();
        let text = whole(&view, now);
        assert!(text.contains("    replay   ████████████░░░░░░░░░░░░ 50 %, 10 records/s, 1m30s left\n"), "{text}");
        let trial = view.status.as_mut().unwrap().rollout.as_mut().unwrap().trial.as_mut().unwrap();
        trial.replay.as_mut().unwrap().completed_time = Some("2026-01-02T11:30:00Z".to_owned());
        assert!(!whole(&view, now).contains("replay"));
    }

    #[test]
    fn a_table_lines_up_and_says_what_is_not_known() {
        let text = table(&[rolling(), view(&json!({}))]);
        let expected = "VIEW     PHASE       READY    SERVES      CANDIDATE   KEEPS\n\
            shopper  CatchingUp  True     9b1c07de42  3f0a55c81e  -\n\
            shopper  Pending     Unknown  -           -           -\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!([0, 999, 1_000, -12_345_678].map(grouped), ["0", "999", "1,000", "-12,345,678"]);
    }

    #[test]
    fn durations_have_two_units() {
        assert_eq!([59, 61, 3_661, 90_000].map(duration), ["59s", "1m01s", "1h01m", "1d01h"]);
    }
}

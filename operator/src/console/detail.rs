//! Everything of one view that the page shows beside the list. Pure.

use crds::Architecture;
use crds::architecture::Mode;
use crds::condition::Condition;
use crds::feature_view::{
    ComparisonStatus, Feature, LastRun, PreviousGeneration, ReplayStatus, RetiringRevision, Schedule,
};
use serde::Serialize;

use super::alerts::{self, Alert};
use super::docs::{Section, runbook};
use super::flow::House;
use super::row::Row;
use super::seen::Seen;

/// One view.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Detail {
    #[serde(flatten)]
    pub row: Row,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    pub entity: Vec<String>,
    pub features: Vec<Told>,
    pub revisions: Vec<Revision>,
    pub retiring: Vec<RetiringRevision>,
    pub workers: Workers,
    pub archived: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub house: Option<House>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutDetail>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_generation: Option<PreviousGeneration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_run: Option<LastRun>,
    /// How old what is served may be, in seconds: the stream's target, and the horizon's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub targets: Option<(i32, i32)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row_bytes: Option<i64>,
    pub alerts: Vec<Alert>,
    pub conditions: Vec<ConditionDetail>,
}

/// A feature in one line.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Told {
    pub name: String,
    pub definition: String,
}

/// A revision that runs, and what it is to the view.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Revision {
    pub revision: String,
    pub role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
}

/// Stream workers of the active revision.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Workers {
    pub wanted: i32,
    pub running: i32,
    pub ready: i32,
}

/// Where the rollout stands, and what its gates ask for.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "each is a word of the spec or of status, shown as it is")]
pub struct RolloutDetail {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    pub deadline_seconds: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay: Option<Replay>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caught_up: Option<String>,
    pub stable_for_seconds: i32,
    pub max_lag_seconds: i32,
    pub compares: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_psi: Option<String>,
    pub max_mismatch_ratio: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comparison: Option<ComparisonStatus>,
    pub automatic: bool,
    pub paused: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promoted: Option<String>,
    pub soak_seconds: i32,
    pub rolled_back: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pinned: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aborted: Option<String>,
}

/// How far a replay is.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Replay {
    pub partitions: usize,
    pub records: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining_records: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records_per_second: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed: Option<String>,
}

/// A condition, with the page that explains it.
#[derive(Debug, Serialize)]
pub struct ConditionDetail {
    #[serde(flatten)]
    pub condition: Condition,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runbook: Option<Section>,
}

impl Detail {
    /// Of a view, with its architecture if that was found.
    #[must_use]
    pub fn of(seen: &Seen, architecture: Option<&Architecture>) -> Self {
        let status = &seen.status;
        let spec = seen.spec.as_ref().ok();
        let archived = status.revisions.iter().any(|revision| revision.archive.is_some());
        Self {
            row: Row::of(seen),
            created: seen.created.clone(),
            entity: spec.map(|spec| spec.entity.keys.clone()).unwrap_or_default(),
            features: spec.map(|spec| spec.features.iter().map(told).collect()).unwrap_or_default(),
            revisions: revisions(seen),
            retiring: status.retiring.clone(),
            workers: Workers {
                wanted: spec.map_or(0, |spec| {
                    let scaled = status.scaling.as_ref().map(|scaling| scaling.desired_replicas);
                    if spec.suspend { 0 } else { scaled.unwrap_or(spec.replicas) }
                }),
                running: status.replicas,
                ready: status.ready_replicas,
            },
            archived,
            house: architecture.map(House::of),
            rollout: rollout(seen),
            schedule: spec.and_then(|spec| spec.schedule.clone()),
            previous_generation: status.previous_generation.clone(),
            last_run: status.last_run.clone(),
            targets: spec.map(|spec| (spec.freshness.target_seconds, spec.freshness.horizon_target_seconds)),
            row_bytes: status.estimated_row_bytes,
            alerts: alerts::of(seen),
            conditions: status.conditions.iter().map(explained).collect(),
        }
    }
}

fn explained(condition: &Condition) -> ConditionDetail {
    ConditionDetail { runbook: runbook(&condition.reason), condition: condition.clone() }
}

fn revisions(seen: &Seen) -> Vec<Revision> {
    let status = &seen.status;
    let roles = [
        ("Active", &status.active_revision),
        ("Candidate", &status.candidate_revision),
        ("Previous", &status.previous_revision),
    ];
    let named = roles.into_iter().filter_map(|(role, revision)| Some((role, revision.clone()?)));
    named
        .map(|(role, revision)| {
            let running = status.revisions.iter().find(|running| running.revision == revision);
            let (mode, architecture) =
                (running.map(|r| r.mode.canonical()), running.map(|running| running.architecture.clone()));
            Revision { revision, role, mode, architecture }
        })
        .collect()
}

fn rollout(seen: &Seen) -> Option<RolloutDetail> {
    let policy = &seen.spec.as_ref().ok()?.rollout;
    let known = seen.status.rollout.clone().unwrap_or_default();
    let trial = known.trial;
    Some(RolloutDetail {
        started: trial.as_ref().and_then(|trial| trial.start_time.clone()),
        deadline_seconds: policy.catch_up.deadline_seconds,
        replay: trial.as_ref().and_then(|trial| trial.replay.as_ref()).map(replay),
        caught_up: trial.as_ref().and_then(|trial| trial.caught_up_time.clone()),
        stable_for_seconds: policy.catch_up.stable_for_seconds,
        max_lag_seconds: policy.catch_up.max_lag_seconds,
        compares: policy.comparison.sample_keys > 0,
        max_psi: policy.comparison.max_psi.clone(),
        max_mismatch_ratio: policy.comparison.max_mismatch_ratio.clone(),
        comparison: known.comparison,
        automatic: policy.auto_promotion_enabled,
        paused: policy.paused,
        promoted: known.promoted_time,
        soak_seconds: policy.scale_down_delay_seconds,
        rolled_back: known.rolled_back,
        pinned: policy.serving_revision.clone().filter(|revision| !revision.is_empty()),
        aborted: trial.and_then(|trial| trial.aborted).map(|reason| format!("{reason:?}")),
    })
}

fn replay(status: &ReplayStatus) -> Replay {
    let progress = status.progress.as_ref();
    Replay {
        partitions: status.parts.len(),
        records: status.parts.iter().map(|part| part.to.saturating_sub(part.from)).sum(),
        percent: progress.map(|progress| progress.percent),
        remaining_records: progress.map(|progress| progress.remaining_records),
        records_per_second: progress.map(|progress| progress.records_per_second),
        eta_seconds: progress.and_then(|progress| progress.eta_seconds),
        completed: status.completed_time.clone(),
    }
}

/// A feature as one would say it.
fn told(feature: &Feature) -> Told {
    let name = feature.name.clone();
    let Some(aggregate) = feature.aggregate else {
        return Told { name, definition: feature.expression.clone().unwrap_or_default() };
    };
    let part = |word: &str, what: Option<String>| what.map_or_else(String::new, |what| format!(" {word}{what}"));
    let definition = format!(
        "{aggregate:?}{}{}{}{}",
        part("", feature.percentile.clone()),
        part("", feature.k.map(|k| k.to_string())),
        part("of ", feature.of.clone()),
        part("where ", feature.where_.clone()),
    );
    let window = feature.window.as_ref().map_or_else(|| "all time".to_owned(), |window| format!("over {window}"));
    let tumbling = feature.type_.is_some_and(|type_| type_ == crds::feature_view::WindowType::Tumbling);
    Told { name, definition: format!("{definition}, {window}{}", if tumbling { ", tumbling" } else { "" }) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::console::fixtures::{architecture, rollout as status, view};

    #[test]
    fn a_view_in_a_rollout_is_told_whole() {
        let detail = Detail::of(&Seen::of(&view(status())), Some(&architecture()));
        insta::assert_json_snapshot!(detail);
    }

    #[test]
    fn a_view_of_which_nothing_is_known_yet_is_told_too() {
        let detail = Detail::of(&Seen::of(&view(json!(null))), None);
        assert!(detail.revisions.is_empty() && detail.conditions.is_empty() && detail.house.is_none());
        assert_eq!(detail.workers, Workers { wanted: 1, running: 0, ready: 0 });
    }
}

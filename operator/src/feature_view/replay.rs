//! The replay of a revision's history: what it reads, how its Job stands, how far it is. Pure.
//!
//! Invariants: what is read is decided once, from the topic as it was then, and stands in status before a Job of it is made;
//! a Job that stands is of the fence that it names, and of no other.

use std::collections::BTreeMap;

use crds::condition::{ConditionStatus, reasons, types};
use crds::feature_view::{ReplayArchive, ReplayPart, ReplayProgress, ReplayStatus, Rollout, StartFrom, StartPolicy};
use crds::{Architecture, FeatureView};
use engine::plan::{Mode, Plan};
use engine::replay::{Archive, Part, Progress, Replay, State};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use serde_json::json;

use super::observe::{Observed, revision_of};
use crate::architecture::archive;
use crate::conditions::{find, seconds};
use crate::edges::{Held, Topic};
use crate::jobs;
use crate::names::{self, COMPONENT_LABEL, FENCE_ANNOTATION, REPLAY, REPLAY_KEY};
use crate::trouble::Trouble;

/// How long what a replay says of its progress stands in status before it is said anew.
const PROGRESS_PERIOD: SignedDuration = SignedDuration::from_secs(10);
/// The same, where it is another percent by then.
const PERCENT_PERIOD: SignedDuration = SignedDuration::from_secs(2);

/// How a replay's Job stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// There is none of this fence.
    #[default]
    None,
    /// It goes on.
    Running,
    /// All its parts are read.
    Complete,
    /// Some part cannot be read, for this reason.
    Failed(String),
}

/// The time from which on records are read; `None`: from the first that there is.
#[must_use]
pub fn since(start: &StartFrom, plan: &Plan, now: Timestamp) -> Option<i64> {
    match start.policy {
        StartPolicy::LongestWindow | StartPolicy::OfflineThenStream => {
            plan.time.retention_ms.map(|needed| now.as_millisecond().saturating_sub(needed))
        }
        StartPolicy::Earliest | StartPolicy::Latest => None,
        // The schema lets no other text through.
        StartPolicy::Timestamp => start.timestamp.as_ref()?.parse::<Timestamp>().ok().map(Timestamp::as_millisecond),
    }
}

/// The table that a view's topic is archived into, if it is.
#[must_use]
pub fn archive(architecture: &Architecture, view: &FeatureView, topic: &str) -> Option<String> {
    let is_archived = archive::topics(architecture, std::iter::once(view)).contains_key(topic);
    is_archived.then(|| Some(names::bronze_table(&names::lake(architecture)?, topic))).flatten()
}

/// What is to be read of a topic, of which was asked what it holds [`since`] that time; `table` is its archive.
///
/// # Errors
/// That the topic does not hold what the longest window needs, and there is no archive that might.
pub fn order(
    rollout: &Rollout,
    plan: &Plan,
    topic: &Topic,
    table: Option<&str>,
    now: Timestamp,
) -> Result<ReplayStatus, Trouble> {
    let start = &rollout.start_from;
    let archive = match start.policy {
        // What a Lambda's topic no longer holds, its batch runs lay.
        StartPolicy::LongestWindow if plan.mode == Mode::Kappa => from_archive(plan, topic, table, now)?,
        StartPolicy::OfflineThenStream => {
            if table.is_none() {
                return Err(not_archived(plan));
            }
            from_archive(plan, topic, table, now)?
        }
        _ => None,
    };
    let part = |(partition, held): (&i32, &Held)| {
        let from = if start.policy == StartPolicy::Latest { held.end } else { held.from };
        ReplayPart { partition: *partition, from, to: held.end }
    };
    let parts: Vec<ReplayPart> = topic.partitions.iter().map(part).collect();
    let captured_time = seconds(now);
    let all_that_counts = matches!(start.policy, StartPolicy::LongestWindow | StartPolicy::OfflineThenStream);
    let complete_from = match since(start, plan, now) {
        since if all_that_counts => complete_from(plan, topic, archive.as_ref(), since, now),
        _ => None,
    };
    let of = json!([plan.revision, captured_time, parts]).to_string();
    Ok(ReplayStatus {
        fence: names::hex(of.as_bytes(), 10),
        captured_time,
        parts,
        max_records_per_second: rollout.replay.max_records_per_second,
        complete_from,
        archive,
        progress: None,
        completed_time: None,
    })
}

/// What a topic holds, for a view that was refused since that is too little: what the topic promises to keep may be promised
/// since then only, and what it had lost does not come back. What it holds is judged by its records alone.
#[must_use]
pub fn judged(view: &FeatureView, topic: Topic) -> Topic {
    let stalled = view.status.as_ref().and_then(|status| find(&status.conditions, types::STALLED));
    let refused = stalled.is_some_and(|stalled| {
        stalled.status == ConditionStatus::True && stalled.reason == reasons::RETENTION_TOO_SHORT
    });
    Topic { keeps_ms: topic.keeps_ms.filter(|_| !refused), ..topic }
}

/// From which event time on the rows hold every event, in whole seconds, if older ones are not read: an event may be as much
/// younger than its record as `maxFuture` lets it. `since` is the record time from which on records are read.
fn complete_from(
    plan: &Plan,
    topic: &Topic,
    archive: Option<&ReplayArchive>,
    since: Option<i64>,
    now: Timestamp,
) -> Option<String> {
    let now = now.as_millisecond();
    let gone = |held: &Held| {
        // What a topic no longer holds is older than what it holds first, and than what it promises to keep.
        let promised = topic.keeps_ms.map(|keeps| now.saturating_sub(keeps));
        let is_gone = held.low > 0 && held.from <= held.low;
        is_gone.then(|| [held.oldest_ms, promised].into_iter().flatten().min().unwrap_or(now))
    };
    // What is read from an archive is not gone.
    let archived = |partition: &i32| archive.is_some_and(|archive| archive.partitions.contains(partition));
    let gone = topic.partitions.iter().filter(|(partition, _)| !archived(partition)).filter_map(|(_, held)| gone(held));
    let read = gone.max().max(since)?;
    let complete = read.saturating_add(plan.time.max_future_ms);
    let second = complete.div_euclid(1_000).saturating_add(i64::from(complete.rem_euclid(1_000) > 0));
    Timestamp::from_second(second).ok().map(|time| time.to_string())
}

/// The same of a replay that stands in status, in milliseconds.
#[must_use]
pub fn complete_from_ms(order: &ReplayStatus) -> Option<i64> {
    order.complete_from.as_ref()?.parse::<Timestamp>().ok().map(Timestamp::as_millisecond)
}

/// What a replay reads from the archive, as it stands in status, for its processes.
#[must_use]
pub fn archived(order: &ReplayStatus) -> Option<Archive> {
    let ReplayArchive { table, since, partitions } = order.archive.as_ref()?;
    let since_ms = since.as_ref().and_then(|time| time.parse::<Timestamp>().ok()).map(Timestamp::as_millisecond);
    Some(Archive { table: table.clone(), since_ms, partitions: partitions.clone() })
}

/// An [`Archive`] as it stands in status.
fn told(archive: &Archive) -> ReplayArchive {
    let since = archive.since_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok()).map(|time| time.to_string());
    ReplayArchive { table: archive.table.clone(), since, partitions: archive.partitions.clone() }
}

fn not_archived(plan: &Plan) -> Trouble {
    let topic = plan.source.stream.as_ref().map(|stream| stream.topic.as_str()).unwrap_or_default();
    let message = format!(
        "spec.rollout.startFrom: policy OfflineThenStream reads what topic {topic} no longer holds from its archive, and it has \
         none; archive it (spec.archive: true, with an offlineStore of the Architecture), or take another policy"
    );
    Trouble { reason: reasons::NOT_ARCHIVED, message, stuck: true }
}

/// What the topic lacks of what the longest window needs, to be read from its archive.
fn from_archive(
    plan: &Plan,
    topic: &Topic,
    table: Option<&str>,
    now: Timestamp,
) -> Result<Option<ReplayArchive>, Trouble> {
    let Some((partitions, trouble)) = shortage(plan, topic, now) else { return Ok(None) };
    let Some(table) = table else { return Err(trouble) };
    let since_ms = plan.time.retention_ms.map(|needed| now.as_millisecond().saturating_sub(needed));
    Ok(Some(told(&Archive { table: table.to_owned(), since_ms, partitions })))
}

/// The partitions that do not hold what the longest window needs, and what to say of it.
fn shortage(plan: &Plan, topic: &Topic, now: Timestamp) -> Option<(Vec<i32>, Trouble)> {
    let needed = plan.time.retention_ms;
    // What a topic keeps for long enough, it has: an idle partition may have lost all it had, and yet nothing that counts.
    if topic.keeps_ms.is_some_and(|keeps| needed.map_or(keeps == i64::MAX, |needed| keeps >= needed)) {
        return None;
    }
    // Where a record before that time is left, all after it are.
    let short: Vec<(&i32, &Held)> =
        topic.partitions.iter().filter(|(_, held)| held.low > 0 && held.from <= held.low).collect();
    let (partition, held) = short.iter().max_by_key(|(_, held)| held.oldest_ms.unwrap_or(i64::MAX))?;
    let name = plan.source.stream.as_ref().map(|stream| stream.topic.as_str()).unwrap_or_default();
    let held = match held.oldest_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok()) {
        Some(oldest) => {
            let back = now.duration_since(oldest).as_secs().max(0);
            format!("holds records from {} on, {} back", seconds(oldest), length(back))
        }
        None => "holds no record by now".to_owned(),
    };
    let more = match short.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more of its partitions hold too little)"),
    };
    let needs = needed.map_or_else(|| "all there ever were".to_owned(), |ms| format!("{} of them", length(ms / 1000)));
    let message = format!(
        "partition {partition} of topic {name} {held}{more}, and it has no archive; the longest window of revision {} needs {needs}, lateness \
         included. Take what there is with spec.rollout.startFrom: {{policy: Earliest}}, or shorten the window; a longer \
         retention.ms of the topic brings nothing back, and helps once it has kept records for as long",
        plan.revision
    );
    let partitions = short.iter().map(|(partition, _)| **partition).collect();
    Some((partitions, Trouble { reason: reasons::RETENTION_TOO_SHORT, message, stuck: true }))
}

/// Seconds, in the two largest units.
fn length(seconds: i64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes}m{:02}s", seconds % 60),
        (0, _) => format!("{hours}h{minutes:02}m"),
        _ => format!("{days}d{hours:02}h"),
    }
}

/// The Job of a revision's replay, if it stands.
#[must_use]
pub fn job<'a>(observed: &'a Observed, revision: &str) -> Option<&'a Job> {
    observed.own_jobs().find(|job| is_replay(job) && revision_of(*job) == Some(revision))
}

/// Whether it is a replay's.
#[must_use]
pub fn is_replay(job: &Job) -> bool {
    job.labels().get(COMPONENT_LABEL).is_some_and(|component| component == REPLAY)
}

/// The fence that a Job names.
#[must_use]
pub fn fence(job: &Job) -> Option<&str> {
    job.annotations().get(FENCE_ANNOTATION).map(String::as_str)
}

/// How the Job of a fence stands; `said` is what its processes say.
#[must_use]
pub fn standing(observed: &Observed, revision: &str, wanted: &str, said: &BTreeMap<i32, Progress>) -> Standing {
    let Some(job) = job(observed, revision).filter(|job| fence(job) == Some(wanted)) else { return Standing::None };
    if let Some(failure) = jobs::failure(job) {
        // What a process says is what a person can do something about.
        let refused = said.iter().find_map(|(partition, progress)| match &progress.state {
            State::Refused { reason, message } => Some(format!("{reason}: {message} (partition {partition})")),
            State::Running | State::Done => None,
        });
        return Standing::Failed(refused.unwrap_or(failure));
    }
    if jobs::is_finished(job) { Standing::Complete } else { Standing::Running }
}

/// What a Job that stands reads: where status was lost, it is known from there.
#[must_use]
pub fn of_job(observed: &Observed, revision: &str) -> Option<ReplayStatus> {
    let job = job(observed, revision)?;
    let name = jobs::config_maps(job).next()?;
    let map = observed.config_maps.iter().find(|map| map.name_any() == name)?;
    let replay: Replay = serde_json::from_str(map.data.as_ref()?.get(REPLAY_KEY)?).ok()?;
    let made = job.metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    Some(ReplayStatus {
        fence: fence(job)?.to_owned(),
        captured_time: seconds(made),
        parts: replay.parts.iter().map(|&Part { partition, from, to }| ReplayPart { partition, from, to }).collect(),
        max_records_per_second: replay.records_per_second.and_then(|n| i32::try_from(n.get()).ok()),
        complete_from: replay.complete_from_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok()).map(seconds),
        archive: replay.archive.as_ref().map(told),
        progress: None,
        completed_time: None,
    })
}

/// How far it is, by what its processes say.
#[must_use]
pub fn progress(parts: &[ReplayPart], said: &BTreeMap<i32, Progress>, now: Timestamp) -> ReplayProgress {
    let all: i64 = parts.iter().map(|part| part.to - part.from).sum();
    let left = |part: &ReplayPart| {
        let position = said.get(&part.partition).map_or(part.from, |progress| match progress.state {
            State::Done => part.to,
            State::Running | State::Refused { .. } => progress.position,
        });
        part.to - position.clamp(part.from, part.to)
    };
    let remaining: i64 = parts.iter().map(left).sum();
    let running = said.values().filter(|progress| progress.state == State::Running);
    let rate = running.map(|progress| i64::try_from(progress.records_per_second).unwrap_or(i64::MAX)).sum();
    let percent = if all > 0 { i128::from(all - remaining) * 100 / i128::from(all) } else { 100 };
    ReplayProgress {
        percent: i32::try_from(percent).unwrap_or(100),
        remaining_records: remaining,
        records_per_second: rate,
        eta_seconds: (rate > 0).then(|| remaining / rate.max(1)),
        observed_time: seconds(now),
    }
}

/// What is remembered of its progress: the newer only if it tells something, so that status is not written all the time.
#[must_use]
pub fn newer(known: Option<ReplayProgress>, seen: ReplayProgress, now: Timestamp) -> ReplayProgress {
    let Some(known) = known else { return seen };
    let stands = if known.percent == seen.percent { PROGRESS_PERIOD } else { PERCENT_PERIOD };
    let since = known.observed_time.parse::<Timestamp>().ok();
    let is_old = since.is_none_or(|since| now.duration_since(since) >= stands);
    if is_old { seen } else { known }
}

#[cfg(test)]
mod tests;

//! What people are told of a lag: in status, as condition `Fresh`, in Events. Pure.
//!
//! Invariant: what is told changes when the tier does, and otherwise once a minute at most and only while the lag moves by more
//! than half, or would mislead who was called, so that nothing is written of a view that is on time.

use crds::condition::{ConditionStatus, reasons};
use crds::feature_view::LagStatus;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::tier::Tier;
use super::{Judged, Standing, Unknown};
use crate::conditions::seconds;

#[cfg(test)]
mod tests;

/// How long what is told stands, unless the tier changes.
const STANDS: SignedDuration = SignedDuration::from_secs(60);
/// A lag of fewer seconds is none that anybody notices.
const UNNOTICED: i64 = 15;
/// In so many seconds a lag is gone, or twice as large, or else it neither falls nor rises noticeably.
const NOTICED: i64 = 6 * 3600;
/// So many partitions are named; the others are counted.
const NAMED: usize = 8;

/// A status, reason and message.
type Verdict = (ConditionStatus, &'static str, String);

/// What status is to say, given what it says.
#[must_use]
pub fn status(standing: &Standing, said: Option<&LagStatus>) -> Option<LagStatus> {
    let judged = match standing {
        Standing::None => return None,
        // What was measured last stands, with its time.
        Standing::Unknown(_) => return said.cloned(),
        Standing::Known(judged) => judged,
    };
    let now = of(judged);
    match said.filter(|said| said.revision == now.revision) {
        Some(said) if !is_news(&now, said) => Some(said.clone()),
        _ => Some(now),
    }
}

fn of(judged: &Judged) -> LagStatus {
    let measured = &judged.measured;
    LagStatus {
        revision: judged.revision.clone(),
        measured_time: Timestamp::from_millisecond(judged.at).map(seconds).unwrap_or_default(),
        records: measured.records,
        seconds: measured.seconds,
        drained_per_second: measured.drained_per_second,
        eta_seconds: measured.eta_seconds,
        stalled_partitions: most(&measured.stalled),
        broken_partitions: most(&measured.broken),
        stopped: measured.stopped,
        first_reading: measured.first_reading,
        tier: judged.alarm.tier().map(Tier::number),
        exceeded: judged.alarm.exceeded(),
    }
}

/// As many as status may list.
fn most(partitions: &[i32]) -> Vec<i32> {
    partitions.iter().copied().take(1024).collect()
}

/// Whether it is worth a write.
fn is_news(now: &LagStatus, said: &LagStatus) -> bool {
    if now.tier != said.tier {
        return true;
    }
    let (Ok(at), Ok(then)) = (now.measured_time.parse::<Timestamp>(), said.measured_time.parse::<Timestamp>()) else {
        return true;
    };
    let (less, more) = (now.seconds.min(said.seconds), now.seconds.max(said.seconds));
    let moved = more > less + less / 2 + UNNOTICED;
    let otherwise = now.stalled_partitions != said.stalled_partitions
        || now.broken_partitions != said.broken_partitions
        || now.stopped != said.stopped
        || now.first_reading != said.first_reading
        || now.exceeded != said.exceeded;
    let since = at.duration_since(then);
    since >= STANDS && (moved || otherwise || now.tier.is_some() && misleads(now, said, since.as_secs()))
}

/// Whether who acts on what was said `since` seconds ago would go by what no longer holds: it turned, or should be gone by now.
fn misleads(now: &LagStatus, said: &LagStatus, since: i64) -> bool {
    let turned = |from: &LagStatus, to: &LagStatus| falls(from) && rises(to);
    turned(now, said) || turned(said, now) || said.eta_seconds.is_some_and(|eta| eta < since)
}

fn falls(lag: &LagStatus) -> bool {
    lag.eta_seconds.is_some_and(|eta| eta < NOTICED)
}

fn rises(lag: &LagStatus) -> bool {
    lag.drained_per_second.is_some_and(|rate| -rate.saturating_mul(NOTICED) > lag.records)
}

/// What a verdict is made from, besides the lag.
pub struct Beside<'a> {
    /// Whether `spec.suspend` stops the workers.
    pub suspended: bool,
    /// How many workers are wanted, and how many are ready.
    pub workers: Option<(i32, i32)>,
    /// The topic that is read.
    pub topic: &'a str,
}

/// Condition `Fresh`, as far as it is about lag; `None` of a view that has none. `lag` is what status says.
#[must_use]
pub fn verdict(standing: &Standing, lag: Option<&LagStatus>, beside: &Beside<'_>) -> Option<Verdict> {
    if matches!(standing, Standing::None) {
        return None;
    }
    if beside.suspended {
        let message = "spec.suspend stops the workers; what is served grows old, and nobody is called".to_owned();
        return Some((ConditionStatus::False, reasons::SUSPENDED, message));
    }
    let missing = match standing {
        // What was known stands until it is measured anew: a restart is no news.
        Standing::None | Standing::Known(_) | Standing::Unknown(Unknown::Soon) => None,
        Standing::Unknown(why) => Some(unknown(*why, beside.topic)),
    };
    let Some(lag) = lag else { return missing.or_else(|| Some(unknown(Unknown::Soon, beside.topic))) };
    let Some(tier) = lag.tier else {
        if missing.is_some() {
            return missing;
        }
        return Some(if lag.first_reading {
            (ConditionStatus::False, reasons::CATCHING_UP, first_reading(lag))
        } else {
            let message = match lag.stalled_partitions.as_slice() {
                [] => "no tier of freshness.alertTiers is exceeded".to_owned(),
                stalled => format!("no tier of freshness.alertTiers is exceeded yet; {}", stands_still(stalled)),
            };
            (ConditionStatus::True, reasons::ON_TIME, message)
        });
    };
    let reason = match tier {
        1 => reasons::LAG_TIER_1,
        2 => reasons::LAG_TIER_2,
        _ => reasons::LAG_TIER_3,
    };
    // What was raised stays so until it is known to be over; but what was measured is no longer how it is.
    Some((ConditionStatus::False, reason, behind(lag, tier, beside, missing.map(|(_, _, why)| why).as_deref())))
}

fn unknown(why: Unknown, topic: &str) -> Verdict {
    let (reason, message) = match why {
        Unknown::Soon => (reasons::PENDING, "the lag is measured within seconds".to_owned()),
        Unknown::Store => {
            (reasons::STORE_UNREACHABLE, "the online store does not say how far the topic was read".to_owned())
        }
        Unknown::Brokers => (
            reasons::KAFKA_UNREACHABLE,
            "the brokers do not say where the topic ends: see whether they run, and take the account of kafka.secretRef; \
             the operator's log has what they say"
                .to_owned(),
        ),
        Unknown::Topic => (
            reasons::TOPIC_MISSING,
            format!("topic {topic} does not exist or may not be described; create it, or fix source.topic"),
        ),
    };
    (ConditionStatus::Unknown, reason, message)
}

fn first_reading(lag: &LagStatus) -> String {
    let eta = lag.eta_seconds.map(|eta| format!(", about {}", span(eta))).unwrap_or_default();
    let stalled = match lag.stalled_partitions.as_slice() {
        [] => String::new(),
        stalled => format!("; {}", stands_still(stalled)),
    };
    let (revision, records) = (&lag.revision, lag.records);
    format!("revision {revision} reads its topic for the first time; {records} records are left{eta}{stalled}")
}

/// How far behind, why as far as it shows, and where to read on; `missing` is why it is not measured now.
fn behind(lag: &LagStatus, tier: i32, beside: &Beside<'_>, missing: Option<&str>) -> String {
    let how_far = format!("{} behind, {} records", span(lag.seconds), lag.records);
    let mut parts = match missing {
        Some(why) => vec![format!("{how_far} as measured last, at {}", lag.measured_time), why.to_owned()],
        None => vec![how_far],
    };
    if !lag.broken_partitions.is_empty() {
        parts.push(format!(
            "partition {} cannot be read on: what was not read is gone, or the topic was made anew",
            named(&lag.broken_partitions)
        ));
    }
    if lag.stopped {
        parts.push("nothing is read of any partition".to_owned());
    }
    if !lag.stalled_partitions.is_empty() {
        parts.push(stands_still(&lag.stalled_partitions));
    }
    parts.push(match beside.workers {
        None => "there are no workers".to_owned(),
        Some((0, _)) => "spec.replicas is 0: no worker runs".to_owned(),
        Some((wanted, ready)) => format!("{ready} of {wanted} workers are ready"),
    });
    match (lag.eta_seconds, lag.drained_per_second) {
        _ if missing.is_some() => {}
        (Some(eta), Some(rate)) => parts.push(format!("it falls by {rate} records/s and is gone in {}", span(eta))),
        (None, Some(rate)) if rate < 0 => parts.push(format!("it rises by {} records/s", -rate)),
        (None, Some(rate)) if rate > 0 && !(lag.stalled_partitions.is_empty() && lag.broken_partitions.is_empty()) => {
            parts.push(format!("the rest falls by {rate} records/s"));
        }
        _ => {}
    }
    parts.push(format!("docs/runbooks/FeaturemillLagTier{tier}.md says what to do"));
    parts.join("; ")
}

fn stands_still(partitions: &[i32]) -> String {
    format!("partition {} stands still while others are read", named(partitions))
}

fn named(partitions: &[i32]) -> String {
    let names: Vec<String> = partitions.iter().take(NAMED).map(ToString::to_string).collect();
    match partitions.len().checked_sub(NAMED).filter(|more| *more > 0) {
        Some(more) => format!("{} and {more} more", names.join(", ")),
        None => names.join(", "),
    }
}

/// Seconds as people read them.
fn span(seconds: i64) -> String {
    match seconds {
        s if s < 120 => format!("{s} s"),
        s if s < 7200 => format!("{} min", s / 60),
        s if s < 172_800 => format!("{} h", s / 3600),
        s => format!("{} d", s / 86_400),
    }
}

/// What of a change is an Event: whether a person should look, the reason and the note.
#[must_use]
pub fn happening(
    before: Option<&LagStatus>,
    after: Option<&LagStatus>,
    message: &str,
) -> Option<(bool, &'static str, String)> {
    let tier = |lag: Option<&LagStatus>| lag.and_then(|lag| lag.tier);
    match (tier(before), tier(after)) {
        (before, after) if before == after => None,
        (before, Some(tier)) if before.is_none_or(|before| tier < before) => {
            let reason = match tier {
                1 => reasons::LAG_TIER_1_RAISED,
                2 => reasons::LAG_TIER_2_RAISED,
                _ => reasons::LAG_TIER_3_RAISED,
            };
            Some((true, reason, message.to_owned()))
        }
        (Some(was), Some(is)) => Some((
            false,
            reasons::LAG_TIER_CLEARED,
            format!("tier {was} is no longer exceeded, tier {is} still is: {message}"),
        )),
        (Some(was), None) => {
            Some((false, reasons::LAG_TIER_CLEARED, format!("tier {was} is no longer exceeded: {message}")))
        }
        (None, _) => None,
    }
}

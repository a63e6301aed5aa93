//! What people are told of scaling: in status, as condition `ScalingLimited`, in Events. Pure.
//!
//! Invariant: what is told changes when the number of workers does, or why there are not more; and what a worker manages is
//! written only when it changed by more than a quarter, so that nothing is written of a view whose load stays the same.

use crds::condition::{ConditionStatus, reasons};
use crds::feature_view::{IneffectiveScaling, LastScale, Scaling, ScalingMode, ScalingStatus, WorkerCapacity};
use k8s_openapi::jiff::Timestamp;

use super::Subject;
use super::decide::{Change, Ineffective, Memory, Reason};
use super::flow::Rates;
use crate::conditions::seconds;
use crate::lag::Standing;

/// What status is to say of a view, given what it says; `None` of one that is not scaled by lag.
#[must_use]
pub fn status(
    subject: Option<&Subject>,
    live: Option<&str>,
    standing: &Standing,
    said: Option<&ScalingStatus>,
) -> Option<ScalingStatus> {
    let (Subject { policy, begins, .. }, revision) = (subject?, live?);
    let said = said.filter(|said| said.revision == revision);
    let made = match standing {
        Standing::None => return None,
        Standing::Known(judged) if judged.revision == revision => judged.scaling.as_ref().map(|m| of(m, revision)),
        Standing::Known(_) | Standing::Unknown(_) => None,
    };
    let made = made.filter(|made| said.is_none_or(|said| is_news(made, said)));
    let mut status = made
        .or_else(|| said.cloned())
        .unwrap_or_else(|| of(&Memory { desired: *begins, ..Memory::default() }, revision));
    status.desired_replicas = status.desired_replicas.min(policy.max);
    Some(status)
}

fn is_news(made: &ScalingStatus, said: &ScalingStatus) -> bool {
    let rate = |status: &ScalingStatus| status.capacity.as_ref().map(|capacity| capacity.records_per_second);
    let differs = match (rate(made), rate(said)) {
        (Some(made), Some(said)) => (made - said).abs() * 4 > said,
        (made, said) => made.is_some() != said.is_some(),
    };
    differs
        || made.desired_replicas != said.desired_replicas
        || made.reason != said.reason
        || made.last_scale != said.last_scale
        || made.ineffective != said.ineffective
}

pub(super) fn of(memory: &Memory, revision: &str) -> ScalingStatus {
    ScalingStatus {
        revision: revision.to_owned(),
        desired_replicas: memory.desired,
        reason: memory.reason.name().to_owned(),
        last_scale: memory.last.map(|change| LastScale {
            from_replicas: change.from,
            to_replicas: change.to,
            time: time(change.at),
            waiting_records: whole(change.rates.waiting),
            produced_per_second: whole(change.rates.produced),
            consumed_per_second: whole(change.rates.consumed),
            effective: change.effective,
        }),
        capacity: memory
            .capacity
            .map(|(each, at)| WorkerCapacity { records_per_second: whole(each).max(1), measured_time: time(at) }),
        ineffective: memory.ineffective.map(|known| IneffectiveScaling {
            from_replicas: known.from,
            to_replicas: known.to,
            consumed_per_second: whole(known.consumed),
            time: time(known.at),
        }),
    }
}

/// What an operator that was restarted goes on from.
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub fn memory(said: &ScalingStatus) -> Memory {
    let at = |time: &str| time.parse::<Timestamp>().map_or(0, Timestamp::as_millisecond);
    Memory {
        desired: said.desired_replicas,
        reason: Reason::ALL.into_iter().find(|reason| reason.name() == said.reason).unwrap_or_default(),
        last: said.last_scale.as_ref().map(|change| Change {
            from: change.from_replicas,
            to: change.to_replicas,
            at: at(&change.time),
            rates: Rates {
                consumed: change.consumed_per_second as f64,
                produced: change.produced_per_second as f64,
                waiting: change.waiting_records as f64,
                ..Rates::default()
            },
            effective: change.effective,
        }),
        capacity: said.capacity.as_ref().map(|known| (known.records_per_second as f64, at(&known.measured_time))),
        ineffective: said.ineffective.as_ref().map(|known| Ineffective {
            from: known.from_replicas,
            to: known.to_replicas,
            consumed: known.consumed_per_second as f64,
            at: at(&known.time),
        }),
        fewer: None,
    }
}

impl Reason {
    const ALL: [Self; 5] =
        [Self::WithinRange, Self::Awaiting, Self::TooMany, Self::TooFewPartitions, Self::Ineffective];

    /// In the words of conditions.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::WithinRange => reasons::DESIRED_WITHIN_RANGE,
            Self::Awaiting => reasons::AWAITING_WORKERS,
            Self::TooMany => reasons::TOO_MANY_REPLICAS,
            Self::TooFewPartitions => reasons::TOO_FEW_PARTITIONS,
            Self::Ineffective => reasons::SCALING_INEFFECTIVE,
        }
    }
}

/// Condition `ScalingLimited`. `streams` is whether what serves has stream workers at all.
#[must_use]
pub fn verdict(
    scaling: Option<&Scaling>,
    said: Option<&ScalingStatus>,
    streams: bool,
) -> (ConditionStatus, &'static str, String) {
    let mode = scaling.map(|scaling| scaling.mode).unwrap_or_default();
    match (mode, said) {
        (ScalingMode::Fixed, _) => (ConditionStatus::False, reasons::FIXED, String::new()),
        (ScalingMode::External, _) => {
            let message = "an autoscaler says by spec.replicas how many workers there are".to_owned();
            (ConditionStatus::False, reasons::EXTERNAL, message)
        }
        (ScalingMode::Lag, None) if streams => {
            let message = "the lag of the live revision is measured within seconds".to_owned();
            (ConditionStatus::Unknown, reasons::PENDING, message)
        }
        (ScalingMode::Lag, None) => {
            (ConditionStatus::Unknown, reasons::PENDING, "what is served has no stream workers".to_owned())
        }
        (ScalingMode::Lag, Some(said)) => {
            let reason = Reason::ALL.into_iter().find(|reason| reason.name() == said.reason).unwrap_or_default();
            let limited = matches!(reason, Reason::TooMany | Reason::TooFewPartitions | Reason::Ineffective);
            (limited.into(), reason.name(), message(reason, said, scaling))
        }
    }
}

fn message(reason: Reason, said: &ScalingStatus, scaling: Option<&Scaling>) -> String {
    let desired = said.desired_replicas;
    match (reason, &said.ineffective) {
        (Reason::WithinRange, _) => format!("{desired} workers are as many as the lag asks for"),
        (Reason::Awaiting, _) => format!("of {desired} workers not all are ready, or some are still leaving"),
        (Reason::TooMany, _) => {
            let max = scaling.and_then(|scaling| scaling.max_replicas).unwrap_or(desired);
            format!("the lag asks for more workers than spec.scaling.maxReplicas, which is {max}")
        }
        (Reason::TooFewPartitions, _) => {
            format!("the lag asks for more workers than the topic has partitions, which are {desired}")
        }
        (Reason::Ineffective, Some(known)) => format!(
            "{} workers read {} records/s together, hardly more than {} did: something else keeps them from more, such as \
             the online store, the nodes' CPU, or all records being in few partitions; see docs/scaling.md",
            known.to_replicas, known.consumed_per_second, known.from_replicas
        ),
        (Reason::Ineffective, None) => "more workers did not read more; see docs/scaling.md".to_owned(),
    }
}

/// What of a change is an Event: whether a person should look, the reason and the note.
#[must_use]
pub fn happenings(
    before: Option<&ScalingStatus>,
    after: Option<&ScalingStatus>,
    message: &str,
) -> Vec<(bool, &'static str, String)> {
    let mut all = Vec::new();
    let Some(after) = after else { return all };
    let same = before.filter(|before| before.revision == after.revision);
    if let Some(last) = after.last_scale.as_ref().filter(|last| {
        let of = |scale: &LastScale| (scale.time.clone(), scale.from_replicas, scale.to_replicas);
        same.and_then(|before| before.last_scale.as_ref()).is_none_or(|was| of(was) != of(last))
    }) {
        let up = last.to_replicas > last.from_replicas;
        let reason = if up { reasons::SCALED_UP } else { reasons::SCALED_DOWN };
        let note = format!(
            "from {} to {} workers: {} records wait, {}/s come in, {}/s are read",
            last.from_replicas,
            last.to_replicas,
            last.waiting_records,
            last.produced_per_second,
            last.consumed_per_second
        );
        all.push((false, reason, note));
    }
    let limited = [reasons::TOO_MANY_REPLICAS, reasons::TOO_FEW_PARTITIONS, reasons::SCALING_INEFFECTIVE];
    if let Some(reason) = limited.into_iter().find(|reason| *reason == after.reason)
        && same.is_none_or(|before| before.reason != after.reason)
    {
        all.push((true, reason, message.to_owned()));
    }
    all
}

fn time(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map(seconds).unwrap_or_default()
}

#[allow(clippy::cast_possible_truncation)] // Saturates.
fn whole(rate: f64) -> i64 {
    rate.round() as i64
}

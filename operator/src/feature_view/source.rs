//! What the topics of views hold, for people who weigh a change: asked seldom, beside reconciliation, once for all views that
//! read the same topic.
//!
//! Invariants: a round never waits for a broker here; what hardly changed is not written again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crds::feature_view::HeldTopic;
use engine::plan::Plan;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::observe::{Observed, StoreView};
use super::resolve::Refusal;
use crate::conditions::seconds;
use crate::context::Context;
use crate::edges::{LogAddress, Topic};

/// How long what a topic was seen to hold is good enough.
const PERIOD: SignedDuration = SignedDuration::from_hours(1);

/// What topics were seen to hold.
#[derive(Default)]
pub struct Topics(Arc<Mutex<HashMap<(LogAddress, String), Look>>>);

/// A look at a topic.
struct Look {
    /// When it began.
    at: Timestamp,
    /// What was seen; the look before while this one is under way, or failed.
    seen: Option<HeldTopic>,
}

impl Topics {
    /// What a topic was last seen to hold. Where that is not known, or was an hour ago, somebody is sent to look.
    fn look(&self, context: &Context, log: &LogAddress, topic: &str, now: Timestamp) -> Option<HeldTopic> {
        let key = (log.clone(), topic.to_owned());
        let mut looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = looks.get(&key);
        let seen = known.and_then(|look| look.seen.clone());
        if known.is_none_or(|look| now.duration_since(look.at) >= PERIOD) {
            looks.insert(key.clone(), Look { at: now, seen: seen.clone() });
            let (edges, ended, looks) = (context.edges.clone(), context.ended.clone(), self.0.clone());
            tokio::spawn(async move {
                let answer = tokio::select! {
                    answer = edges.topic(&key.0, &key.1, None) => answer,
                    () = ended.cancelled() => return,
                };
                match answer {
                    Ok(held) => {
                        let seen = Some(summary(&key.1, &held, now));
                        looks.lock().unwrap_or_else(PoisonError::into_inner).insert(key, Look { at: now, seen });
                    }
                    // Whoever needs the topic says so in conditions.
                    Err(trouble) => tracing::debug!(topic = key.1, problem = trouble.message, "looking at a topic"),
                }
            });
        }
        seen
    }
}

/// What status says of the topic after this round.
pub(super) fn held(
    context: &Context,
    observed: &Observed,
    store: &StoreView,
    resolved: &Result<Arc<Plan>, Refusal>,
    now: Timestamp,
) -> Option<HeldTopic> {
    let stands = observed.view.status.as_ref().and_then(|status| status.source.clone());
    let Ok(plan) = resolved else { return stands };
    let topic = &plan.source.stream.as_ref().filter(|_| plan.mode.has_stream_lanes())?.topic;
    let stands = stands.filter(|stands| stands.topic == *topic);
    let StoreView::Known(facts) = store else { return stands };
    let Some(log) = &facts.secrets.log else { return stands };
    newer(stands, context.topics.look(context, log, topic, now))
}

fn summary(topic: &str, held: &Topic, now: Timestamp) -> HeldTopic {
    HeldTopic {
        topic: topic.to_owned(),
        partitions: i32::try_from(held.partitions.len()).unwrap_or(i32::MAX),
        records: held.partitions.values().map(|held| held.end - held.low).sum(),
        observed_time: seconds(now),
    }
}

/// What stands, unless what was seen differs by a tenth or more.
fn newer(stands: Option<HeldTopic>, seen: Option<HeldTopic>) -> Option<HeldTopic> {
    let (Some(before), Some(now)) = (&stands, &seen) else { return seen.or(stands) };
    let moved = before.records.abs_diff(now.records);
    let same =
        before.partitions == now.partitions && (moved == 0 || moved.saturating_mul(10) < before.records.unsigned_abs());
    if same { stands } else { seen }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(partitions: i32, records: i64) -> HeldTopic {
        let topic = "clicks".to_owned();
        HeldTopic { topic, partitions, records, observed_time: format!("{partitions} {records}") }
    }

    #[test]
    fn what_hardly_changed_is_not_written_again() {
        for (stands, seen, written) in [
            (None, None, None),
            (Some(held(4, 100)), None, Some(held(4, 100))),
            (None, Some(held(4, 0)), Some(held(4, 0))),
            (Some(held(4, 0)), Some(held(4, 0)), Some(held(4, 0))),
            (Some(held(4, 0)), Some(held(4, 1)), Some(held(4, 1))),
            (Some(held(4, 100)), Some(held(4, 109)), Some(held(4, 100))),
            (Some(held(4, 100)), Some(held(4, 110)), Some(held(4, 110))),
            (Some(held(4, 100)), Some(held(4, 90)), Some(held(4, 90))),
            (Some(held(4, 100)), Some(held(5, 100)), Some(held(5, 100))),
        ] {
            assert_eq!(newer(stands.clone(), seen.clone()), written, "{stands:?}, {seen:?}");
        }
    }
}

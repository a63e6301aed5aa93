//! What a report says of a replay. How far it is stands in status; conditions change only with what is going on.

use crds::condition::reasons;

use super::Round;
use crate::feature_view::hindrance;
use crate::feature_view::observe::StoreView;
use crate::feature_view::phase::Replaying;
use crate::trouble::Trouble;

impl Round<'_> {
    /// That the candidate's history is read, and what of it.
    pub(super) fn replaying(&self) -> Option<(&'static str, String)> {
        let replay = self.decision.replay.as_ref()?;
        if let Some(trouble) = &replay.trouble {
            return Some((trouble.reason, trouble.message.clone()));
        }
        let revision = &replay.revision;
        let known = self.decision.memory.trial.as_ref().filter(|trial| trial.revision == *revision);
        let message = match known.and_then(|trial| trial.replay.as_ref()) {
            Some(order) => {
                let records: i64 = order.parts.iter().map(|part| part.to - part.from).sum();
                let partitions = order.parts.len();
                format!(
                    "revision {revision} reads {records} records of {partitions} partitions again before its workers start; \
                     status.rollout.trial.replay.progress says how far it is"
                )
            }
            None => format!("revision {revision} waits for the offsets of its history to be captured"),
        };
        Some((reasons::REPLAYING, message))
    }

    /// What keeps a replay from its work: the topic, as its processes say, or as their pods and their Job show.
    pub(super) fn replay_trouble(&self, replay: &Replaying) -> Option<Trouble> {
        let StoreView::Known(facts) = self.store else { return replay.trouble.clone() };
        replay.trouble.clone().or_else(|| hindrance::of_replay(self.observed, facts, &replay.revision, self.now))
    }
}

//! What a topic had lost before a plan's rows began. It is told beside the markers, so that a window that reaches back there
//! reads as inexact, and not as if nothing had happened.
//!
//! Invariants:
//! - Where a plan without a marker begins behind offset 0, the store has a time from which on its rows hold every event before
//!   it has a row or a marker of that partition.
//! - That time is first the present, which is always true; then, if that is earlier, the time of the first record that is read,
//!   for what a topic loses is older than what it keeps. A partition that holds no record has lost what is older than the
//!   topic keeps records. Events may be as much younger than their records as `maxFuture`.

use engine::row::Marker;
use shell::store::{RowStore, StoreError};

use crate::plan_run::PlanRun;

/// What is yet to be told of one plan in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    partition: i32,
    /// What was told.
    told: i64,
}

impl Lost {
    /// What a topic had lost that is read from the offset `from` on: records of before `latest_ms`. `None` if nothing, or if
    /// whoever wrote the marker said so.
    #[must_use]
    pub fn before(marker: Option<&Marker>, partition: i32, from: i64, latest_ms: i64) -> Option<Self> {
        (marker.is_none() && from > 0).then_some(Self { partition, told: latest_ms })
    }

    /// Tells it, as far as it is known before a record is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn tell<S: RowStore>(self, store: &S, plan: &PlanRun) -> Result<(), StoreError> {
        let time = self.told.saturating_add(plan.plan().time.max_future_ms);
        store.put_complete_from(&plan.marker_key, Some(self.partition), time).await
    }

    /// The same with the time of the first record; `None` if that tells no more.
    #[must_use]
    pub fn narrowed(self, record_ms: Option<i64>) -> Option<Self> {
        record_ms.filter(|time| *time < self.told).map(|told| Self { told, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_begins_behind_the_first_offset_without_a_marker_lost_something() {
        let marker = Marker { offset: 7, event_time: 0, end_offset: 0, read_to_end_at: 0 };
        assert_eq!(Lost::before(None, 3, 0, 90), None);
        assert_eq!(Lost::before(Some(&marker), 3, 7, 90), None);
        assert_eq!(Lost::before(None, 3, 7, 90), Some(Lost { partition: 3, told: 90 }));
    }

    #[test]
    fn a_record_tells_more_only_if_it_is_older() {
        let lost = Lost { partition: 3, told: 90 };
        assert_eq!(lost.narrowed(Some(60)), Some(Lost { partition: 3, told: 60 }));
        assert_eq!(lost.narrowed(Some(90)), None);
        assert_eq!(lost.narrowed(None), None);
    }
}

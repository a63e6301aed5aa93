//! What a flush of one partition consists of: its changed lanes, and the marker that will be true once they are written.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use engine::row::Marker;
use shell::store::MarkerWrite;

use crate::cache::Expiry;
use crate::flush::Part;
use crate::fold::PlanState;
use crate::processor::Reading;
use crate::shared::{End, Shared};

/// How often the marker of a partition without news is written, so that readers see that it was read to its end.
const REFRESH: Duration = Duration::from_millis(900);

/// Adds a part for each plan that has something to write.
pub(crate) fn collect<S>(shared: &Shared<S>, partition: i32, reading: &mut Reading<S>, parts: &mut Vec<Part>) {
    let now = Instant::now();
    let end = shared.end(partition);
    let read_to_end_at = shared.read_to_end_at(partition, reading.position);
    for (number, (plan, state)) in shared.plans.iter().zip(&mut reading.plans).enumerate() {
        let expiry = Expiry { ttl_ms: plan.ttl_ms, now };
        let rows = state.rows(plan, expiry, reading.position >= reading.until);
        let marker = marker_write(partition, reading.position, end, read_to_end_at, state);
        let due = state.marked.is_none_or(|marked| now.duration_since(marked) >= REFRESH);
        let news = state.marker.is_none_or(|known| known.offset != marker.marker.offset);
        if !rows.is_empty() || due || news {
            let (term, erased) = (reading.term, state.cache.erased_version());
            // One flush is under way at a time, so none is forgotten.
            std::mem::swap(&mut state.gathered, &mut state.flown);
            parts.push(Part { partition, term, plan: number, rows, marker: Some(marker), erased });
        }
    }
}

/// The marker of a plan when everything before `position` is processed and written, which the partition ended at or before
/// at `read_to_end_at`.
pub(crate) fn marker_write(
    partition: i32,
    position: i64,
    end: Option<End>,
    read_to_end_at: Option<i64>,
    state: &PlanState,
) -> MarkerWrite {
    let base = state.marker.map(|marker| marker.offset);
    let letters = state.letters.lock().unwrap_or_else(PoisonError::into_inner);
    // A plan that starts later than others of the worker has not lost what it had.
    let offset = letters.unacknowledged.bound(position).max(base.unwrap_or(0));
    let before = state.marker.map_or(0, |marker| marker.read_to_end_at);
    let marker = Marker {
        offset,
        event_time: state.event_time,
        end_offset: end.map_or(offset, |end| end.offset.max(offset)),
        read_to_end_at: read_to_end_at.map_or(before, |at| at.max(before)),
    };
    MarkerWrite { partition, base, marker }
}

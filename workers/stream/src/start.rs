//! Where a partition is read from: a pure decision on what was observed.

use engine::row::Marker;

/// What was observed of a partition when it was assigned, or has to be read anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The marker of each plan, in the order of the plans.
    pub markers: Vec<Option<Marker>>,
    /// The first offset that the topic still holds.
    pub low: i64,
    /// The offset that the next record will have.
    pub end: i64,
}

/// What follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// Read from `position`; plan `i` takes events from `from[i]` on.
    Read {
        /// The lowest of `from`.
        position: i64,
        /// By plan: its marker's offset, or the topic's first offset if it has none: a replay.
        from: Vec<i64>,
    },
    /// The topic ends before a marker: it was made anew, or lost records. Reading on would mix two histories.
    SourceReset {
        /// The marker.
        marker: i64,
        /// Where the topic ends.
        end: i64,
    },
    /// The topic no longer holds `[from, to)`, which no plan's rows have yet.
    SourceGap {
        /// The lowest marker.
        from: i64,
        /// The first offset that is left.
        to: i64,
    },
}

/// Decides where to start.
#[must_use]
pub fn decide(observed: &Observed) -> Start {
    let offsets = || observed.markers.iter().flatten().map(|marker| marker.offset);
    if let Some(marker) = offsets().max().filter(|marker| *marker > observed.end) {
        return Start::SourceReset { marker, end: observed.end };
    }
    if let Some(from) = offsets().min().filter(|marker| *marker < observed.low) {
        return Start::SourceGap { from, to: observed.low };
    }
    let from: Vec<i64> =
        observed.markers.iter().map(|marker| marker.map_or(observed.low, |marker| marker.offset)).collect();
    let position = from.iter().copied().min().unwrap_or(observed.low);
    Start::Read { position, from }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(markers: &[Option<i64>], low: i64, end: i64) -> Observed {
        let marker = |offset| Marker { offset, event_time: 0, end_offset: 0, read_to_end_at: 0 };
        Observed { markers: markers.iter().map(|m| m.map(marker)).collect(), low, end }
    }

    #[test]
    fn a_plan_starts_at_its_marker_and_a_new_one_at_the_first_offset() {
        let read = |position, from: &[i64]| Start::Read { position, from: from.to_vec() };
        assert_eq!(decide(&observed(&[None], 0, 9)), read(0, &[0]));
        assert_eq!(decide(&observed(&[None], 4, 9)), read(4, &[4]));
        assert_eq!(decide(&observed(&[Some(5)], 0, 9)), read(5, &[5]));
        assert_eq!(decide(&observed(&[Some(9)], 9, 9)), read(9, &[9]));
        assert_eq!(decide(&observed(&[Some(7), Some(5), None], 3, 9)), read(3, &[7, 5, 3]));
    }

    #[test]
    fn offsets_never_reset_by_themselves() {
        assert_eq!(decide(&observed(&[Some(10)], 0, 9)), Start::SourceReset { marker: 10, end: 9 });
        assert_eq!(decide(&observed(&[Some(2)], 4, 9)), Start::SourceGap { from: 2, to: 4 });
        assert_eq!(decide(&observed(&[Some(2), Some(6)], 4, 9)), Start::SourceGap { from: 2, to: 4 });
        assert_eq!(decide(&observed(&[Some(10), Some(2)], 4, 9)), Start::SourceReset { marker: 10, end: 9 });
    }
}

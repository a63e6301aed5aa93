//! Events that wait to be folded, by group: columns as they came, and an order over them.
//!
//! A lane that is open takes many times what its events take, and a million of them fit no cache. So events wait as they
//! are, and are folded group by group, in order of time, into one lane after another.

use std::ops::Range;

use arrow::array::{Array as _, ArrayRef, AsArray, UInt32Array};
use arrow::compute::{concat, take};
use arrow::datatypes::Int64Type;
use datafusion::common::Result;
use engine::program::Evaluated;

/// Groups of which the events are gathered at a time.
const GATHERED: usize = 4_096;
/// Events of one group whose times are copied to sort them.
const COPIED: usize = 1 << 16;

/// Events by group: time, conditions, inputs.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// By event, its group.
    groups: Vec<u32>,
    /// By argument of the aggregate, its values batch by batch.
    columns: Vec<Vec<ArrayRef>>,
    /// What the columns take in memory.
    bytes: usize,
}

impl Pending {
    /// How many events wait.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Bytes in memory, roughly, and as much again for the order in which they are folded.
    pub fn size(&self) -> usize {
        self.bytes + 2 * self.groups.capacity() * size_of::<u32>()
    }

    /// Takes in a batch; event `i` is of group `groups[i]`.
    pub fn push(&mut self, values: &[ArrayRef], groups: &[usize]) {
        self.columns.resize_with(values.len(), Vec::new);
        for (column, values) in self.columns.iter_mut().zip(values) {
            self.bytes += values.get_array_memory_size();
            column.push(values.clone());
        }
        // As many groups as DataFusion can make of so many events.
        self.groups.extend(groups.iter().map(|group| u32::try_from(*group).unwrap_or(u32::MAX)));
    }

    /// Takes out everything: hands `sink` each of `groups` groups in turn, with the rows of `events` that are its own, in
    /// the order of their times. `conditions` is how many of the columns behind the time are conditions.
    ///
    /// # Errors
    /// Those of `sink`, or if columns do not fit one another.
    pub fn drain(
        &mut self,
        groups: usize,
        conditions: usize,
        mut sink: impl FnMut(usize, &Evaluated, Range<usize>) -> Result<()>,
    ) -> Result<()> {
        let Self { groups: of, columns, .. } = std::mem::take(self);
        let mut whole = Vec::with_capacity(columns.len());
        for chunks in columns {
            let chunks: Vec<&dyn arrow::array::Array> = chunks.iter().map(AsRef::as_ref).collect();
            whole.push(concat(&chunks)?);
        }
        let none = Evaluated::of_arrays(Vec::new(), &[], &[]);
        let Some(times) = whole.first().map(|times| times.as_primitive::<Int64Type>().values().clone()) else {
            return (0..groups).try_for_each(|group| sink(group, &none, 0..0));
        };
        let (order, ends) = by_group_and_time(&of, groups, &times);
        let order = UInt32Array::from(order);
        for first in (0..groups).step_by(GATHERED) {
            let some = first..groups.min(first + GATHERED);
            let from = first.checked_sub(1).map_or(0, |before| ends[before]);
            let rows = order.slice(from, ends[some.end - 1] - from);
            let gathered = whole.iter().map(|column| take(column, &rows, None)).collect::<Result<Vec<_>, _>>()?;
            let times = gathered[0].as_primitive::<Int64Type>().values().to_vec();
            let (conditions, inputs) = gathered[1..].split_at(conditions);
            let events = Evaluated::of_arrays(times, conditions, inputs);
            let mut start = 0;
            for group in some {
                let end = ends[group] - from;
                sink(group, &events, start..end)?;
                start = end;
            }
        }
        Ok(())
    }
}

/// The events by group and then by time, and by group where its events end.
fn by_group_and_time(of: &[u32], groups: usize, times: &[i64]) -> (Vec<u32>, Vec<usize>) {
    let mut ends = vec![0; groups];
    for group in of {
        ends[*group as usize] += 1;
    }
    let mut before = 0;
    for end in &mut ends {
        (*end, before) = (before, before + *end);
    }
    // Each is where its group begins, and becomes where it ends.
    let mut order = vec![0; of.len()];
    for (event, group) in (0_u32..).zip(of) {
        let next = &mut ends[*group as usize];
        order[*next] = event;
        *next += 1;
    }
    let (mut start, mut keys) = (0, Vec::new());
    for end in &ends {
        sort_by_time(&mut order[start..*end], times, &mut keys);
        start = *end;
    }
    (order, ends)
}

/// Orders events by time. Each time is looked up once, for they are far apart in memory; but not of so many that the copies
/// would take much.
fn sort_by_time(events: &mut [u32], times: &[i64], keys: &mut Vec<(i64, u32)>) {
    if events.len() > COPIED {
        return events.sort_unstable_by_key(|event| times[*event as usize]);
    }
    keys.clear();
    keys.extend(events.iter().map(|event| (times[*event as usize], *event)));
    if !keys.is_sorted() {
        keys.sort_unstable();
        events.iter_mut().zip(keys).for_each(|(event, key)| *event = key.1);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::array::Int64Array;

    use super::*;

    #[test]
    fn groups_come_in_turn_each_with_its_events_by_time() {
        let mut pending = Pending::default();
        let batch = |times: &[i64]| [Arc::new(Int64Array::from(times.to_vec())) as ArrayRef];
        pending.push(&batch(&[5, 3, 9]), &[2, 0, 2]);
        pending.push(&batch(&[4, 1]), &[0, 2]);
        assert_eq!(pending.len(), 5);
        let mut seen = Vec::new();
        let mut note = |group: usize, events: &Evaluated, rows: Range<usize>| {
            seen.push((group, rows.map(|row| events.time(row)).collect::<Vec<_>>()));
            Ok(())
        };
        pending.drain(4, 0, &mut note).unwrap();
        pending.drain(1, 0, &mut note).unwrap();
        let expected = [(0, vec![3, 4]), (1, vec![]), (2, vec![1, 5, 9]), (3, vec![]), (0, vec![])];
        assert_eq!(seen, expected);
    }

    #[test]
    fn more_groups_than_are_gathered_at_a_time_lose_none() {
        let groups = GATHERED * 2 + 7;
        let mut pending = Pending::default();
        let of = |group: usize| i64::try_from(group % 10).unwrap();
        for round in 0..3_i64 {
            let times = Int64Array::from_iter_values((0..groups).map(|group| round * 10 + of(group)));
            pending.push(&[Arc::new(times)], &(0..groups).collect::<Vec<_>>());
        }
        let mut count = 0;
        let check = |group: usize, events: &Evaluated, rows: Range<usize>| {
            let of = of(group);
            assert_eq!(rows.map(|row| events.time(row)).collect::<Vec<_>>(), [of, of + 10, of + 20]);
            count += 1;
            Ok(())
        };
        pending.drain(groups, 0, check).unwrap();
        assert_eq!(count, groups);
    }
}

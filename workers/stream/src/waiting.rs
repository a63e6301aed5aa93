//! Events that wait to be folded: as they were evaluated, each with the slot of its entity.
//!
//! A lane that is open takes many times what its events take, and a million of them fit no cache. Where nobody reads the
//! rows yet there is no hurry: events wait, and are then folded entity by entity, into one lane after another.

use engine::program::Evaluated;

/// The slot of a row that is not folded.
pub(crate) const REFUSED: u32 = u32::MAX;

/// Events in the order they came.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// With the slot of each row's entity, or [`REFUSED`].
    batches: Vec<(Evaluated, Vec<u32>)>,
    bytes: usize,
}

impl Waiting {
    /// Takes in a batch; row `i` is of the entity in slot `slots[i]`.
    pub(crate) fn push(&mut self, events: Evaluated, slots: Vec<u32>) {
        let events = events.without_entities();
        self.bytes += events.memory() + slots.capacity() * size_of::<u32>();
        // What they are sorted by when they are folded.
        self.bytes += slots.len() * size_of::<(u32, u32)>();
        self.batches.push((events, slots));
    }

    /// Bytes in memory, roughly, and those of the order in which they are folded.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Sorts them by slot, in the order of `slots`, among which are those of all events; those of one slot stand in the
    /// order they came.
    pub(crate) fn by_slot(self, slots: &[u32]) -> BySlot {
        let last = slots.iter().max().map_or(0, |last| *last as usize + 1);
        let mut places = vec![0_usize; last];
        let of = |batches: &'_ [(Evaluated, Vec<u32>)], number: usize| batches[number].1.len();
        for slot in self.batches.iter().flat_map(|(_, slots)| slots).filter(|slot| **slot != REFUSED) {
            places[*slot as usize] += 1;
        }
        // How many there are becomes where they begin, and then, as they find their places, where they end.
        let mut before = 0;
        for slot in slots {
            let place = &mut places[*slot as usize];
            (*place, before) = (before, before + *place);
        }
        let mut rows = vec![(0, 0); before];
        for (number, batch) in (0_u32..).zip(0..self.batches.len()) {
            for row in 0..of(&self.batches, batch) {
                let slot = self.batches[batch].1[row];
                if slot != REFUSED {
                    let place = &mut places[slot as usize];
                    rows[*place] = (number, u32::try_from(row).unwrap_or(u32::MAX));
                    *place += 1;
                }
            }
        }
        let ends = slots.iter().map(|slot| places[*slot as usize]).collect();
        BySlot { batches: self.batches.into_iter().map(|(events, _)| events).collect(), rows, ends }
    }
}

/// Events by slot.
#[derive(Debug, Default)]
pub(crate) struct BySlot {
    /// As they came.
    pub(crate) batches: Vec<Evaluated>,
    /// By slot: their batch, and their row in it.
    pub(crate) rows: Vec<(u32, u32)>,
    /// By position of the slot: where its rows end.
    pub(crate) ends: Vec<usize>,
}

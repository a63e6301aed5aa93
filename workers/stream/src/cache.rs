//! The lanes of one plan and partition that are in memory.
//!
//! Invariants:
//! - A lane in here holds every event of its entity before [`Lane::offset`] that was not erased, and no other of its partition.
//!   So the lane of who was erased begins at the offset that the tombstone covers, and costs nothing from there on.
//! - `base` is what the store is known to hold of it, or to be about to hold: a lower offset there means lost writes. Without
//!   a base the lane is written whole.
//! - A lane is dropped from here only when the store has it: never while it is changed or its write is under way.
//! - Where events wait before they are folded (see [`crate::folding`]) a lane in here is its offset alone, which counts events
//!   that wait as in it. What was written of it stands beside as bytes, but while a write is under way, which has them.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Instant;

use compact_str::CompactString;
use engine::lane::{Lane, Layout};
use hashbrown::{DefaultHashBuilder, HashTable};
use shell::store::{Erased, LaneWrite, Segments};

use crate::folding::Unfolded;

/// One lane.
#[derive(Debug)]
pub struct Slot {
    /// In place where it is short, so that to compare it is to touch no other memory.
    entity: CompactString,
    /// The lane itself.
    pub lane: Lane,
    /// What the store has of a lane whose events wait.
    whole: Segments,
    base: Option<i64>,
    written: Option<Instant>,
    bytes: usize,
    changed: bool,
    writing: bool,
    used: bool,
}

/// The lanes by entity. Slots are numbered, so that a batch looks each entity up once.
#[derive(Debug)]
pub struct LaneCache {
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    changed: Vec<u32>,
    hand: usize,
    bytes: usize,
    complete: bool,
    partition: i32,
    erased: Arc<Erased>,
}

/// When rows of a plan expire, for [`LaneCache::writes`].
#[derive(Clone, Copy, Debug)]
pub struct Expiry {
    /// The time to live that each write gives its row, in milliseconds; `None` for ever.
    pub ttl_ms: Option<i64>,
    /// The present.
    pub now: Instant,
}

impl Expiry {
    /// Whether the row of a lane may be gone by now. A tenth is left for clocks that differ. When a row was last written that
    /// was read back and not written since, nobody here knows: it may be about to go.
    fn may_have_passed(&self, base: Option<i64>, written: Option<Instant>) -> bool {
        let Some(ttl) = self.ttl_ms else { return false };
        written.map_or(base.is_some(), |written| {
            self.now.duration_since(written).as_millis() * 10 >= u128::from(ttl.unsigned_abs()) * 9
        })
    }
}

impl Slot {
    /// The write that brings the store up to date, but for what is written.
    fn begin_write(&mut self, row_prefix: &str, expiry: Expiry) -> LaneWrite {
        let may_have_expired = expiry.may_have_passed(self.base, self.written);
        let whole = may_have_expired || self.base.is_none();
        let (key, new) = ([row_prefix, self.entity.as_str()].concat(), self.lane.offset());
        let (segments, removed) = (Segments::new(), Vec::new());
        let write = LaneWrite { key, base: self.base, new, whole, may_have_expired, segments, removed };
        (self.base, self.written) = (Some(new), Some(expiry.now));
        (self.changed, self.writing) = (false, true);
        write
    }
}

impl LaneCache {
    /// An empty cache of a partition, for who knows who was erased. If it is `complete`, the store is known to hold nothing that it must take into account: a replay
    /// from the first event on needs no row read back, until the first lane is dropped from memory.
    #[must_use]
    pub fn new(complete: bool, partition: i32, erased: Arc<Erased>) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            changed: Vec::new(),
            hand: 0,
            bytes: 0,
            complete,
            partition,
            erased,
        }
    }

    /// The version of the erasures that are known here.
    #[must_use]
    pub fn erased_version(&self) -> u64 {
        self.erased.version
    }

    /// How many lanes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Bytes in memory, roughly; what states hold beside their tiles is counted when they are written.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many lanes wait to be written.
    #[must_use]
    pub fn changed(&self) -> usize {
        self.changed.len()
    }

    /// Brings near what [`Self::slot`] will look at for these entities; see [`Self::warm`].
    pub fn warm_index<'a>(&self, entities: impl Iterator<Item = &'a str>) {
        let first = |entity: &str| {
            // The first candidate: what stands at its place is compared later.
            self.index.find(self.hasher.hash_one(entity), |_| true).copied()
        };
        let near =
            entities.filter_map(first).filter_map(|at| self.get(at)).fold(0, |near, slot| near ^ slot.entity.len());
        std::hint::black_box(near);
    }

    /// The slot of an entity, and whether its lane must be [loaded](Self::load) before use.
    pub fn slot(&mut self, entity: &str) -> (u32, bool) {
        let hash = self.hasher.hash_one(entity);
        let slots = &mut self.slots;
        let same = |at: &u32| slots[*at as usize].as_ref().is_some_and(|slot| *slot.entity == *entity);
        if let Some(at) = self.index.find(hash, same) {
            let at = *at;
            if let Some(slot) = &mut slots[at as usize] {
                slot.used = true;
            }
            return (at, false);
        }
        let at = self.free.pop().unwrap_or_else(|| {
            slots.push(None);
            u32::try_from(slots.len() - 1).unwrap_or(u32::MAX)
        });
        let bytes = size_of::<Slot>() + entity.len() + 64;
        self.bytes += bytes;
        let mut lane = Lane::new();
        lane.set_offset(self.erased.tombstones.offset(entity, self.partition));
        slots[at as usize] = Some(Slot {
            entity: entity.into(),
            lane,
            whole: Segments::new(),
            base: None,
            written: None,
            bytes,
            changed: false,
            writing: false,
            used: true,
        });
        let hasher = &self.hasher;
        self.index.insert_unique(hash, at, |at| {
            slots[*at as usize].as_ref().map_or(0, |slot| hasher.hash_one(&*slot.entity))
        });
        (at, !self.complete)
    }

    /// Brings the lanes of `slots` near. What a lane holds lies at random places of a large memory, and events of different
    /// entities have nothing to wait for in each other: looked at ahead and together, they wait for all of it at once.
    pub fn warm(&self, slots: &[u32]) {
        let near = slots.iter().filter_map(|at| self.get(*at)).fold(0, |near, slot| near ^ slot.lane.touch());
        std::hint::black_box(near);
    }

    /// The entity of a slot.
    #[must_use]
    pub fn entity(&self, at: u32) -> &str {
        self.get(at).map_or("", |slot| &slot.entity)
    }

    /// The lane that the store has for a slot.
    pub fn load(&mut self, at: u32, lane: Lane) {
        let Some(slot) = self.slots.get_mut(at as usize).and_then(Option::as_mut) else { return };
        slot.base = Some(lane.offset());
        slot.lane = lane;
        let bytes = size_of::<Slot>() + slot.entity.len() + slot.lane.memory();
        self.bytes = self.bytes + bytes - slot.bytes;
        slot.bytes = bytes;
    }

    /// What the store has for a slot whose events wait, and the offset up to which that is.
    pub fn keep(&mut self, at: u32, offset: i64, whole: Segments) {
        let Some(slot) = self.slots.get_mut(at as usize).and_then(Option::as_mut) else { return };
        slot.base = Some(offset);
        slot.lane.set_offset(offset);
        self.set_whole(at, whole);
    }

    fn set_whole(&mut self, at: u32, whole: Segments) {
        let Some(slot) = self.slots.get_mut(at as usize).and_then(Option::as_mut) else { return };
        let held = whole.iter().map(|(_, bytes)| bytes.capacity() + size_of::<(u8, Vec<u8>)>()).sum::<usize>();
        let bytes = size_of::<Slot>() + slot.entity.len() + 64 + held;
        self.bytes = self.bytes + bytes - slot.bytes;
        (slot.bytes, slot.whole) = (bytes, whole);
    }

    /// The lane of a slot, for the event at `offset`; `None` if the lane holds that event. The caller inserts it.
    pub fn lane_for(&mut self, at: u32, offset: i64) -> Option<&mut Lane> {
        let slot = self.slots.get_mut(at as usize)?.as_mut()?;
        if offset < slot.lane.offset() {
            return None;
        }
        if !slot.changed {
            slot.changed = true;
            self.changed.push(at);
        }
        slot.lane.set_offset(offset + 1);
        Some(&mut slot.lane)
    }

    /// The lane of a slot had room for so many bytes, and has now: see [`Lane::room`].
    pub fn resized(&mut self, at: u32, before: usize, now: usize) {
        let Some(slot) = self.slots.get_mut(at as usize).and_then(Option::as_mut) else { return };
        // What it had is in both sums.
        self.bytes = self.bytes + now - before;
        slot.bytes = slot.bytes + now - before;
    }

    /// The writes that bring the store up to date, and the slots they belong to. From now on the store counts as holding
    /// them; call [`Self::written`] when it does, or drop the cache if that cannot be known.
    pub fn writes(&mut self, layout: &Layout, row_prefix: &str, expiry: Expiry) -> (Vec<LaneWrite>, Vec<u32>) {
        let changed = std::mem::take(&mut self.changed);
        let mut writes = Vec::with_capacity(changed.len());
        for at in &changed {
            let Some(slot) = self.slots[*at as usize].as_mut() else { continue };
            let write = slot.begin_write(row_prefix, expiry);
            if write.whole {
                slot.lane.forget_written();
            }
            let encoded = slot.lane.encode(layout);
            writes.push(LaneWrite { segments: encoded.segments, removed: encoded.removed, ..write });
            let bytes = size_of::<Slot>() + slot.entity.len() + slot.lane.memory();
            self.bytes = self.bytes + bytes - slot.bytes;
            slot.bytes = bytes;
        }
        (writes, changed)
    }

    /// As [`Self::writes`], of lanes whose events wait: they are yet to be made, of these events and what was written before.
    /// What is written of them comes back by [`Self::written_whole`].
    pub(crate) fn unfolded(&mut self, row_prefix: &str, expiry: Expiry) -> Vec<Unfolded> {
        let changed = std::mem::take(&mut self.changed);
        let mut unfolded = Vec::with_capacity(changed.len());
        for at in changed {
            let Some(slot) = self.slots[at as usize].as_mut() else { continue };
            let write = slot.begin_write(row_prefix, expiry);
            unfolded.push(Unfolded { slot: at, write, before: std::mem::take(&mut slot.whole) });
        }
        unfolded
    }

    /// The store holds what [`Self::writes`] gave for these slots.
    pub fn written(&mut self, slots: &[u32]) {
        for at in slots {
            if let Some(slot) = self.slots[*at as usize].as_mut() {
                slot.writing = false;
            }
        }
    }

    /// The store holds these lanes, which [`Self::unfolded`] gave.
    pub(crate) fn written_whole(&mut self, slots: &[u32], lanes: Vec<Segments>) {
        for (at, whole) in slots.iter().zip(lanes) {
            self.set_whole(*at, whole);
        }
    }

    /// The store is ahead of this slot's base, so that only the whole lane can be written; the next writes will.
    pub fn needs_whole(&mut self, at: u32) {
        let Some(slot) = self.slots[at as usize].as_mut() else { return };
        slot.base = None;
        if !slot.changed {
            slot.changed = true;
            self.changed.push(at);
        }
    }

    /// Drops lanes that the store has and that were not used lately, until at most `target` bytes are left or two rounds
    /// found nothing more (CLOCK).
    pub fn shrink(&mut self, target: usize) {
        let mut left = self.slots.len() * 2;
        while self.bytes > target && left > 0 {
            left -= 1;
            self.hand = (self.hand + 1) % self.slots.len();
            let at = self.hand;
            let Some(slot) = self.slots[at].as_mut() else { continue };
            if slot.changed || slot.writing {
                continue;
            }
            if std::mem::take(&mut slot.used) {
                continue;
            }
            let hash = self.hasher.hash_one(&*slot.entity);
            self.bytes -= slot.bytes;
            let number = u32::try_from(at).unwrap_or(u32::MAX);
            if let Ok(entry) = self.index.find_entry(hash, |other| *other == number) {
                entry.remove();
            }
            self.slots[at] = None;
            self.free.push(number);
            self.complete = false;
        }
    }

    fn get(&self, at: u32) -> Option<&Slot> {
        self.slots.get(at as usize)?.as_ref()
    }
}

#[cfg(test)]
mod tests;

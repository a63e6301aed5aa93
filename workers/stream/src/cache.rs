//! The lanes of one plan and partition that are in memory.
//!
//! Invariants:
//! - A lane in here holds every event of its entity before its slot's offset that was not erased, and no other of its partition.
//!   So the lane of who was erased begins at the offset that the tombstone covers, and costs nothing from there on.
//! - `base` is what the store is known to hold of it, or to be about to hold: a lower offset there means lost writes. Without
//!   a base the lane is written whole.
//! - A lane is dropped from here only when the store has it: never while it is changed or its write is under way.
//! - Where events wait before they are folded (see [`crate::folding`]) there are no lanes in here, and a slot's offset counts
//!   events that wait as in it. What was written stands beside as bytes, but while a write is under way, which has them; and
//!   after the last write nothing does.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Instant;

use compact_str::CompactString;
use engine::lane::{Lane, Layout};
use hashbrown::{DefaultHashBuilder, HashTable};
use shell::store::{Erased, LaneWrite, Segments};

use crate::folding::Unfolded;

/// What every event of an entity touches, and nothing else: the less it is, the more entities are near.
#[derive(Debug)]
struct Slot {
    /// In place where it is short, so that to compare it is to touch no other memory.
    entity: CompactString,
    /// Events before this offset are in the lane, or wait to be.
    offset: i64,
    changed: bool,
    writing: bool,
    used: bool,
}

/// What is held of an entity's row beside that.
#[derive(Debug, Default)]
struct Held {
    lane: Lane,
    /// What the store has of a lane whose events wait.
    whole: Segments,
    base: Option<i64>,
    written: Option<Instant>,
    /// Bytes that lane and segments take, roughly.
    bytes: usize,
}

/// The lanes by entity. Slots are numbered, so that a batch looks each entity up once.
#[derive(Debug)]
pub struct LaneCache {
    slots: Vec<Option<Slot>>,
    /// By slot; it ends with the last of which anything is held. While a replay's events wait for their first flush nothing is.
    held: Vec<Held>,
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
    /// Bytes of a slot and of all that is kept of it in any case.
    fn bytes(&self) -> usize {
        size_of::<Self>() + size_of::<Held>() + self.entity.len() + 64
    }

    /// From now on the store counts as holding what it is about to be given.
    fn begin_write(&mut self) {
        (self.changed, self.writing) = (false, true);
    }
}

/// What a write goes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Basis {
    /// See [`LaneWrite::base`].
    pub(crate) base: Option<i64>,
    /// See [`LaneWrite::whole`].
    pub(crate) whole: bool,
    /// See [`LaneWrite::may_have_expired`].
    pub(crate) may_have_expired: bool,
}

impl Held {
    /// What a write of it goes from.
    fn basis(&self, expiry: Expiry) -> Basis {
        let may_have_expired = expiry.may_have_passed(self.base, self.written);
        Basis { base: self.base, whole: may_have_expired || self.base.is_none(), may_have_expired }
    }
}

impl LaneCache {
    /// An empty cache of a partition, for who knows who was erased. If it is `complete`, the store is known to hold nothing that it must take into account: a replay
    /// from the first event on needs no row read back, until the first lane is dropped from memory.
    #[must_use]
    pub fn new(complete: bool, partition: i32, erased: Arc<Erased>) -> Self {
        Self {
            slots: Vec::new(),
            held: Vec::new(),
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
        let offset = self.erased.tombstones.offset(entity, self.partition);
        let slot = Slot { entity: entity.into(), offset, changed: false, writing: false, used: true };
        self.bytes += slot.bytes();
        slots[at as usize] = Some(slot);
        let hasher = &self.hasher;
        self.index.insert_unique(hash, at, |at| {
            slots[*at as usize].as_ref().map_or(0, |slot| hasher.hash_one(&*slot.entity))
        });
        (at, !self.complete)
    }

    /// Brings the lanes of `slots` near. What a lane holds lies at random places of a large memory, and events of different
    /// entities have nothing to wait for in each other: looked at ahead and together, they wait for all of it at once.
    pub fn warm(&self, slots: &[u32]) {
        let held = slots.iter().filter_map(|at| self.held.get(*at as usize));
        let near = held.fold(0, |near, held| near ^ held.lane.touch());
        std::hint::black_box(near);
    }

    /// The entity of a slot.
    #[must_use]
    pub fn entity(&self, at: u32) -> &str {
        self.get(at).map_or("", |slot| &slot.entity)
    }

    /// The lane that the store has for a slot.
    pub fn load(&mut self, at: u32, lane: Lane) {
        let bytes = lane.memory();
        self.begin(at, lane.offset());
        self.held(at).lane = lane;
        self.count(at, bytes);
    }

    /// What the store has for a slot whose events wait, and the offset up to which that is.
    pub fn keep(&mut self, at: u32, offset: i64, whole: Segments) {
        self.begin(at, offset);
        self.set_whole(at, whole);
    }

    /// The store has a slot's row up to `offset`.
    fn begin(&mut self, at: u32, offset: i64) {
        let Some(slot) = self.slots.get_mut(at as usize).and_then(Option::as_mut) else { return };
        slot.offset = offset;
        self.held(at).base = Some(offset);
    }

    fn set_whole(&mut self, at: u32, whole: Segments) {
        let bytes = whole.iter().map(|(_, bytes)| bytes.capacity() + size_of::<(u8, Vec<u8>)>()).sum::<usize>();
        self.held(at).whole = whole;
        self.count(at, bytes);
    }

    /// What is held of a slot takes so many bytes.
    fn count(&mut self, at: u32, bytes: usize) {
        let before = std::mem::replace(&mut self.held(at).bytes, bytes);
        self.bytes = self.bytes + bytes - before;
    }

    fn held(&mut self, at: u32) -> &mut Held {
        let at = at as usize;
        if self.held.len() <= at {
            self.held.resize_with(at + 1, Held::default);
        }
        &mut self.held[at]
    }

    /// Whether the event at `offset` is not in the lane of a slot. From now on it is: the caller inserts it, or lets it wait.
    pub fn takes(&mut self, at: u32, offset: i64) -> bool {
        let Some(slot) = self.slots.get_mut(at as usize).and_then(Option::as_mut) else { return false };
        if offset < slot.offset {
            return false;
        }
        if !slot.changed {
            slot.changed = true;
            self.changed.push(at);
        }
        slot.offset = offset + 1;
        true
    }

    /// Changes the lane of a slot.
    pub fn change(&mut self, at: u32, change: impl FnOnce(&mut Lane)) {
        let held = self.held(at);
        let before = held.lane.room();
        change(&mut held.lane);
        let now = held.lane.room();
        // What it had room for is in both sums.
        held.bytes = held.bytes + now - before;
        self.bytes = self.bytes + now - before;
    }

    /// The writes that bring the store up to date, and the slots they belong to. From now on the store counts as holding
    /// them; call [`Self::written`] when it does, or drop the cache if that cannot be known.
    pub fn writes(&mut self, layout: &Layout, row_prefix: &str, expiry: Expiry) -> (Vec<LaneWrite>, Vec<u32>) {
        let changed = std::mem::take(&mut self.changed);
        let mut writes = Vec::with_capacity(changed.len());
        for at in &changed {
            let Some(slot) = self.slots[*at as usize].as_mut() else { continue };
            slot.begin_write();
            let (key, new) = ([row_prefix, slot.entity.as_str()].concat(), slot.offset);
            let held = self.held(*at);
            let Basis { base, whole, may_have_expired } = held.basis(expiry);
            if whole {
                held.lane.forget_written();
            }
            held.lane.set_offset(new);
            let encoded = held.lane.encode(layout);
            (held.base, held.written) = (Some(new), Some(expiry.now));
            let bytes = held.lane.memory();
            let (segments, removed) = (encoded.segments, encoded.removed);
            writes.push(LaneWrite { key, base, new, whole, may_have_expired, segments, removed });
            self.count(*at, bytes);
        }
        (writes, changed)
    }

    /// As [`Self::writes`], of lanes whose events wait: they are yet to be made, of these events and what was written before.
    /// What is written of them comes back by [`Self::written_whole`], unless nothing comes after these writes (`last`).
    pub(crate) fn unfolded(&mut self, expiry: Expiry, last: bool) -> Vec<Unfolded> {
        let changed = std::mem::take(&mut self.changed);
        let mut unfolded = Vec::with_capacity(changed.len());
        let nothing = Held::default();
        for at in changed {
            let Some(slot) = self.slots[at as usize].as_mut() else { continue };
            slot.begin_write();
            let (entity, new) = (slot.entity.clone(), slot.offset);
            let basis = self.held.get(at as usize).unwrap_or(&nothing).basis(expiry);
            if !last {
                let held = self.held(at);
                (held.base, held.written) = (Some(new), Some(expiry.now));
            }
            let before = self.held.get_mut(at as usize).map(|held| std::mem::take(&mut held.whole)).unwrap_or_default();
            unfolded.push(Unfolded { slot: at, entity, basis, new, before });
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
        if !slot.changed {
            slot.changed = true;
            self.changed.push(at);
        }
        self.held(at).base = None;
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
            let held = self.held.get_mut(at).map(std::mem::take).unwrap_or_default();
            self.bytes -= slot.bytes() + held.bytes;
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

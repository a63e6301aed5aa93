//! Erasure: which of an entity's events do not count any more, whoever reads them, from wherever, and whenever.
//!
//! A tombstone names an entity and what is [covered](Covers) of it. Whoever folds events leaves out those that are: the
//! stream by the offsets of a topic, a batch run by the offsets that stand beside the events of an archive, or by the times
//! of events where a table of the user's has no offsets.
//!
//! Invariant: what is covered only grows, so that tombstones may be read twice, merged in any order and written again.

use std::collections::{BTreeMap, HashMap};

use arrow::array::{Array, ArrayRef, BooleanArray};
use serde::{Deserialize, Serialize};

use crate::entity::push_column_key;

/// What is erased of one entity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Covers {
    /// By partition of the topic, the offset before which events are erased; of one that is not named, none is.
    #[serde(default)]
    pub offsets: BTreeMap<i32, i64>,
    /// When the erasure was asked for, in milliseconds: events without coordinates are erased if their time is before it.
    pub before_ms: i64,
}

/// Where an event was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It is a record of the topic, or was made of one.
    Record {
        /// Its partition.
        partition: i32,
        /// Its offset.
        offset: i64,
    },
    /// It is a row of a table that knows nothing of a topic.
    Row {
        /// The event's time in milliseconds.
        time: i64,
    },
}

impl Covers {
    /// The offset of a partition before which events are erased; 0 if none is.
    #[must_use]
    pub fn offset(&self, partition: i32) -> i64 {
        self.offsets.get(&partition).copied().unwrap_or(0)
    }

    /// Whether an event that was found there is erased.
    #[must_use]
    pub fn covers(&self, origin: Origin) -> bool {
        match origin {
            Origin::Record { partition, offset } => offset < self.offset(partition),
            Origin::Row { time } => time < self.before_ms,
        }
    }

    /// Covers what `other` does, too.
    pub fn merge(&mut self, other: &Self) {
        for (partition, end) in &other.offsets {
            let known = self.offsets.entry(*partition).or_insert(*end);
            *known = (*known).max(*end);
        }
        self.before_ms = self.before_ms.max(other.before_ms);
    }

    /// As it stands in the online store; equal ones have equal texts.
    #[must_use]
    pub fn encode(&self) -> String {
        // Serialising numbers cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// For any other text.
    pub fn decode(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}

/// Who was erased from a view: by [entity's text](crate::row::entity_text) what is covered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tombstones(HashMap<String, Covers>);

impl Tombstones {
    /// Whether nobody was erased.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is covered of an entity.
    #[must_use]
    pub fn get(&self, entity: &str) -> Option<&Covers> {
        self.0.get(entity)
    }

    /// Adds a tombstone to those that there are.
    pub fn add(&mut self, entity: &str, covers: &Covers) {
        match self.0.get_mut(entity) {
            Some(known) => known.merge(covers),
            None => drop(self.0.insert(entity.to_owned(), covers.clone())),
        }
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (entity, covers) in &other.0 {
            self.add(entity, covers);
        }
    }

    /// Whether an event of this entity that was found there is erased.
    #[must_use]
    pub fn covers(&self, entity: &str, origin: Origin) -> bool {
        self.get(entity).is_some_and(|covers| covers.covers(origin))
    }

    /// Who was erased, in no order, and what is covered of each.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Covers)> {
        self.0.iter().map(|(entity, covers)| (entity.as_str(), covers))
    }

    /// The offset of a partition before which this entity's events are erased; 0 if none is.
    #[must_use]
    pub fn offset(&self, entity: &str, partition: i32) -> i64 {
        self.get(entity).map_or(0, |covers| covers.offset(partition))
    }

    /// Which rows are left. `keys` are the key columns in the order of the plan's entity and of its types; a row with a NULL
    /// among them is nobody's, and left.
    #[must_use]
    pub fn left(&self, keys: &[ArrayRef], origin: impl Fn(usize) -> Origin) -> BooleanArray {
        let mut text = String::new();
        let left = (0..keys.first().map_or(0, Array::len)).map(|row| {
            text.clear();
            for (number, key) in keys.iter().enumerate() {
                if key.is_null(row) {
                    return Some(true);
                }
                push_column_key(&mut text, number == 0, key, row);
            }
            Some(!self.covers(&text, origin(row)))
        });
        left.collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};
    use proptest::prelude::*;

    use super::*;

    fn covers() -> impl Strategy<Value = Covers> {
        (proptest::collection::btree_map(0..3, 0..9_i64, 0..3), 0..9_i64)
            .prop_map(|(offsets, before_ms)| Covers { offsets, before_ms })
    }

    fn origin() -> impl Strategy<Value = Origin> {
        let record = (0..3, 0..10_i64).prop_map(|(partition, offset)| Origin::Record { partition, offset });
        prop_oneof![record, (-1..10_i64).prop_map(|time| Origin::Row { time })]
    }

    proptest! {
        #[test]
        fn merged_covers_hold_what_either_holds_in_any_order(a in covers(), b in covers(), at in origin()) {
            let (mut ab, mut ba) = (a.clone(), b.clone());
            ab.merge(&b);
            ba.merge(&a);
            prop_assert_eq!(&ab, &ba);
            prop_assert_eq!(ab.covers(at), a.covers(at) || b.covers(at));
            ba.merge(&b);
            prop_assert_eq!(&ab, &ba);
            prop_assert_eq!(Covers::decode(&ab.encode()).unwrap(), ab);
        }
    }

    #[test]
    fn rows_of_others_and_of_nobody_are_left() {
        let mut tombstones = Tombstones::default();
        tombstones.add("a%7Cb|7", &Covers { offsets: [(1, 5)].into(), before_ms: 100 });
        let names: ArrayRef = Arc::new(StringArray::from(vec![Some("a|b"), Some("a|b"), Some("a|b"), Some("c"), None]));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![7, 7, 8, 7, 7]));
        let keys = [names, numbers];
        let record = |row| Origin::Record { partition: 1, offset: 4 + i64::try_from(row).unwrap() };
        let left: Vec<bool> = tombstones.left(&keys, record).iter().flatten().collect();
        assert_eq!(left, [false, true, true, true, true]);
        let left: Vec<bool> = tombstones.left(&keys, |_| Origin::Row { time: 99 }).iter().flatten().collect();
        assert_eq!(left, [false, false, true, true, true]);
        let left: Vec<bool> = tombstones.left(&keys, |_| Origin::Row { time: 100 }).iter().flatten().collect();
        assert_eq!(left, [true; 5]);
    }
}

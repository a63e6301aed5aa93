//! How far the values of features moved, told from a bounded sample of the entities.
//!
//! Invariants: the sample is a function of the set of entities, in whatever order they come; it takes no more memory however
//! many they are, or however many features. NULL has a bin of its own, whatever the type: a feature that becomes NULL has
//! moved.

use std::collections::BTreeMap;

use twox_hash::XxHash3_64;

use super::Histogram;
use crate::drift::{self, Deciles};
use crate::value::{Value, ValueType};

/// How many entities are remembered: enough that the index of two equal distributions stays below 0.002.
const ENTITIES: usize = 20_000;
/// How many pairs of values, of all features together: 128 MiB.
const PAIRS: usize = 1 << 22;
/// Lists of so many items or more are counted together.
pub(crate) const LONG: u32 = 9;

/// A value, as far as its distribution needs it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Cell {
    Null,
    Number(f64),
    /// A text or a list, and how many items it has.
    Other {
        hash: u64,
        items: u32,
    },
}

impl Cell {
    #[expect(clippy::cast_precision_loss, reason = "a distribution does not need the last bits")]
    pub(crate) fn of(value: Option<&Value>, value_type: Option<&ValueType>) -> Self {
        match (value, value_type) {
            (None, _) => Self::Null,
            (Some(Value::Int64(n) | Value::Timestamp(n)), _) => Self::Number(*n as f64),
            (Some(Value::Double(n)), _) => Self::Number(*n),
            (Some(Value::Boolean(b)), _) => Self::Number(f64::from(u8::from(*b))),
            (Some(Value::Decimal(n)), Some(ValueType::Decimal { scale, .. })) => {
                Self::Number(*n as f64 / 10_f64.powi(i32::from(*scale)))
            }
            (Some(Value::Decimal(n)), _) => Self::Number(*n as f64),
            (Some(Value::String(text)), _) => Self::Other { hash: XxHash3_64::oneshot(text.as_bytes()), items: 0 },
            (Some(Value::List(items)), _) => {
                let hash = XxHash3_64::oneshot(format!("{items:?}").as_bytes());
                Self::Other { hash, items: u32::try_from(items.len()).unwrap_or(u32::MAX).min(LONG) }
            }
        }
    }

    /// The same; what is not finite is as good as NULL.
    pub(crate) fn finite(self) -> Self {
        match self {
            Self::Number(n) if !n.is_finite() => Self::Null,
            other => other,
        }
    }

    pub(crate) fn number(self) -> Option<f64> {
        match self {
            Self::Number(n) => Some(n),
            Self::Null | Self::Other { .. } => None,
        }
    }
}

/// The former value and the next one; `None` if one of them could not be read.
type Pair = Option<(Cell, Cell)>;

/// The values of a bounded number of entities: those whose names have the smallest hashes.
#[derive(Debug)]
pub(super) struct Sample {
    most: usize,
    /// By hash of the entity's name, what it has of each feature.
    entities: BTreeMap<u64, Box<[Pair]>>,
}

impl Sample {
    pub(super) fn new(features: usize) -> Self {
        Self { most: ENTITIES.min(PAIRS / features.max(1)).max(drift::LEAST_VALUES), entities: BTreeMap::new() }
    }

    /// Takes an entity in, by the name that it is told of by.
    pub(super) fn observe(&mut self, entity: &str, pairs: impl Iterator<Item = Pair>) {
        // Those names are hashes whose high bits hardly differ between similar keys.
        let hash = XxHash3_64::oneshot(entity.as_bytes());
        if self.entities.len() >= self.most && self.entities.last_key_value().is_some_and(|(last, _)| hash > *last) {
            return;
        }
        self.entities.insert(hash, pairs.collect());
        if self.entities.len() > self.most {
            self.entities.pop_last();
        }
    }

    /// Of one feature, the former values and the next ones.
    fn of(&self, feature: usize) -> (Vec<Cell>, Vec<Cell>) {
        self.entities.values().filter_map(|pairs| *pairs.get(feature)?).unzip()
    }

    /// The population stability index of a feature. Its bins are NULL, the deciles of former numbers, each text or list that
    /// is common on either side, the other lists by how many items they have, and the other texts.
    pub(super) fn psi(&self, feature: usize) -> Option<f64> {
        let (before, next) = self.of(feature);
        let deciles = Deciles::of(before.iter().filter_map(|cell| cell.number()).collect());
        let mut seen: BTreeMap<u64, [usize; 2]> = BTreeMap::new();
        for (side, cells) in [&before, &next].into_iter().enumerate() {
            for cell in cells {
                if let Cell::Other { hash, .. } = cell {
                    seen.entry(*hash).or_default()[side] += 1;
                }
            }
        }
        let is_common =
            |counts: &[usize; 2]| drift::is_common(counts[0], before.len()) || drift::is_common(counts[1], next.len());
        let common: Vec<u64> = seen.iter().filter(|(_, counts)| is_common(counts)).map(|(hash, _)| *hash).collect();
        let numbers = 1;
        let rare = numbers + deciles.count();
        let named = rare + usize::try_from(LONG).unwrap_or_default() + 1;
        let bin = |cell: &Cell| match cell {
            Cell::Null => 0,
            Cell::Number(n) => numbers + deciles.bin(*n),
            Cell::Other { hash, items } => match common.binary_search(hash) {
                Ok(at) => named + at,
                Err(_) => rare + usize::try_from(*items).unwrap_or_default(),
            },
        };
        let counts = |cells: &[Cell]| {
            let mut counts = vec![0_usize; named + common.len()];
            for cell in cells {
                counts[bin(cell)] += 1;
            }
            counts
        };
        drift::index(&counts(&before), &counts(&next))
    }

    /// Kolmogorov and Smirnov's statistic of a feature's numbers.
    pub(super) fn ks(&self, feature: usize) -> Option<f64> {
        let (before, next) = self.numbers(feature);
        drift::ks(before, next)
    }

    /// How the numbers of a feature are spread.
    pub(super) fn histogram(&self, feature: usize) -> Option<Histogram> {
        let (before, next) = self.numbers(feature);
        Histogram::of(&before, &next)
    }

    fn numbers(&self, feature: usize) -> (Vec<f64>, Vec<f64>) {
        let (before, next) = self.of(feature);
        let numbers = |cells: Vec<Cell>| cells.into_iter().filter_map(Cell::number).collect();
        (numbers(before), numbers(next))
    }
}

#[cfg(test)]
mod tests {
    // What stands for a value may be NULL, in the one test as in the other.
    #![allow(clippy::unwrap_used, clippy::unnecessary_wraps)]
    use super::*;

    /// The index of a thousand entities whose former values are `before(i)` and whose next ones are `next(i)`.
    fn psi(before: impl Fn(usize) -> Option<Value>, next: impl Fn(usize) -> Option<Value>) -> f64 {
        let mut sample = Sample::new(1);
        for i in 0..1_000 {
            let pair = (Cell::of(before(i).as_ref(), None), Cell::of(next(i).as_ref(), None));
            sample.observe(&i.to_string(), std::iter::once(Some(pair)));
        }
        sample.psi(0).unwrap()
    }

    fn number(i: usize) -> Option<Value> {
        Some(Value::Int64(i64::try_from(i * 7_919 % 1_000).unwrap()))
    }

    fn text(i: usize) -> Option<Value> {
        Some(Value::String(format!("{}", i % 4)))
    }

    fn items(i: usize, n: usize) -> Option<Value> {
        Some(Value::List((0..n).filter_map(|k| number(i + k)).collect()))
    }

    #[test]
    fn null_for_a_tenth_is_a_shift_whatever_the_type() {
        let tenth = |i: usize| i.is_multiple_of(10);
        assert!(psi(number, |i| number(i).filter(|_| !tenth(i))) > 0.25);
        assert!(psi(text, |i| text(i).filter(|_| !tenth(i))) > 0.25);
        assert!(psi(|i| items(i, 3), |i| items(i, 3).filter(|_| !tenth(i))) > 0.25);
        assert!(psi(number, |_| None) > 1.0 && psi(|_| None, text) > 1.0);
        assert!(psi(|_| None, |_| None).abs() < 1e-9);
    }

    #[test]
    fn texts_and_lists_move_by_what_is_common_and_by_length() {
        assert!(psi(text, text).abs() < 1e-9 && psi(|i| items(i, 3), |i| items(i + 1, 3)).abs() < 0.01);
        assert!(psi(text, |i| text(i / 2 * 2)) > 0.25);
        assert!(psi(|i| items(i, 3), |i| items(i, if i % 2 == 0 { 3 } else { 1 })) > 0.25);
    }

    #[test]
    fn what_is_remembered_does_not_grow_and_is_the_same_in_any_order() {
        let seen = |order: &mut dyn Iterator<Item = usize>, features: usize| {
            let mut sample = Sample::new(features);
            for i in order {
                let cell = Cell::of(number(i).as_ref(), None);
                sample.observe(&i.to_string(), std::iter::repeat_n(Some((cell, cell)), features));
            }
            sample.entities
        };
        let all = seen(&mut (0..30_000), 1);
        assert_eq!((all.len(), &all), (ENTITIES, &seen(&mut (0..30_000).rev(), 1)));
        let wide = seen(&mut (0..5_000), 1_024);
        assert!(wide.len() < 5_000 && wide.len() * 1_024 <= PAIRS, "{}", wide.len());
        assert!(size_of::<Pair>() * PAIRS <= 160 << 20, "{}", size_of::<Pair>());
    }
}

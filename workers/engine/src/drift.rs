//! How far a distribution has moved: the population stability index over deciles, and Kolmogorov and Smirnov's statistic.
//!
//! Pure. Both are `None` where either side has too few values to tell a shift from chance.

use serde::{Deserialize, Serialize};

/// Below this many values on either side, an index says more about chance than about the feature.
pub const LEAST_VALUES: usize = 200;
/// How many bins the former values are cut into.
const BINS: usize = 10;
/// What an empty bin's share counts as, so that its logarithm is finite.
const EMPTY_SHARE: f64 = 1e-4;

/// Numbers cut into bins at the deciles of the former ones.
///
/// Values that repeat make deciles fall together. One that is common has a bin of its own, on neither side of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Deciles {
    #[serde(with = "exact")]
    edges: Vec<f64>,
    common: Vec<bool>,
}

impl Deciles {
    /// Of the former values; of none there is one bin.
    pub(crate) fn of(mut before: Vec<f64>) -> Self {
        before.sort_unstable_by(f64::total_cmp);
        let mut edges: Vec<f64> = (1..BINS).filter_map(|i| before.get(i * before.len() / BINS).copied()).collect();
        edges.dedup();
        let common = |edge: &f64| {
            let equal = before.partition_point(|v| v <= edge) - before.partition_point(|v| v < edge);
            is_common(equal, before.len())
        };
        let common = edges.iter().map(common).collect();
        Self { edges, common }
    }

    /// How many bins there are.
    pub(crate) fn count(&self) -> usize {
        2 * self.edges.len() + 1
    }

    /// In which one a number is.
    pub(crate) fn bin(&self, value: f64) -> usize {
        let at = self.edges.partition_point(|edge| *edge < value);
        let own = self.common.get(at) == Some(&true) && self.edges[at] <= value;
        2 * at + usize::from(own)
    }
}

/// Numbers in JSON to the last bit, which its reader does not keep: a common value that came back next to its own edge would
/// no longer be in its own bin.
pub(crate) mod exact {
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(numbers: &[f64], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(numbers.iter().map(|number| number.to_bits()))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
        Ok(Vec::<u64>::deserialize(deserializer)?.into_iter().map(f64::from_bits).collect())
    }
}

/// Whether a value that so many of all have is common: half a decile.
pub(crate) fn is_common(equal: usize, all: usize) -> bool {
    equal * 2 * BINS > all
}

/// The population stability index by how many of either side are in each bin: 0 for equal shares; from 0.25 on the field
/// calls a population another one. `None` where a side has too few to tell.
pub(crate) fn index(before: &[usize], next: &[usize]) -> Option<f64> {
    let all = |counts: &[usize]| counts.iter().sum::<usize>();
    if all(before) < LEAST_VALUES || all(next) < LEAST_VALUES {
        return None;
    }
    let shares =
        |counts: &[usize]| counts.iter().map(|n| share(*n, all(counts)).max(EMPTY_SHARE)).collect::<Vec<f64>>();
    let (expected, found) = (shares(before), shares(next));
    Some(expected.iter().zip(found).map(|(e, f)| (f - e) * (f / e).ln()).sum())
}

/// The population stability index of `next` against the deciles of `before`, as above.
#[must_use]
pub fn psi(before: Vec<f64>, next: &[f64]) -> Option<f64> {
    let former = before.clone();
    let deciles = Deciles::of(before);
    let counts = |values: &[f64]| {
        let mut counts = vec![0_usize; deciles.count()];
        for value in values {
            counts[deciles.bin(*value)] += 1;
        }
        counts
    };
    index(&counts(&former), &counts(next))
}

/// Kolmogorov and Smirnov's two-sample statistic: the largest distance of the two empirical distribution functions, 0 to 1.
#[must_use]
pub fn ks(mut before: Vec<f64>, mut next: Vec<f64>) -> Option<f64> {
    if before.len() < LEAST_VALUES || next.len() < LEAST_VALUES {
        return None;
    }
    before.sort_unstable_by(f64::total_cmp);
    next.sort_unstable_by(f64::total_cmp);
    let (mut i, mut j, mut largest) = (0, 0, 0.0_f64);
    while i < before.len() && j < next.len() {
        // Both functions step over all that is equal before they are looked at.
        let at = if before[i].total_cmp(&next[j]).is_le() { before[i] } else { next[j] };
        i += before[i..].partition_point(|v| v.total_cmp(&at).is_le());
        j += next[j..].partition_point(|v| v.total_cmp(&at).is_le());
        largest = largest.max((share(i, before.len()) - share(j, next.len())).abs());
    }
    Some(largest)
}

/// `part` of `whole`, 0 of nothing.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(crate) fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn ramp(n: i32, shift: i32) -> Vec<f64> {
        (0..n).map(|i| f64::from(i * 7_919 % n + shift)).collect()
    }

    #[test]
    fn equal_distributions_have_not_moved_and_few_values_say_nothing() {
        assert!(psi(ramp(1_000, 0), &ramp(1_000, 0)).unwrap() < 1e-9);
        assert!(ks(ramp(1_000, 0), ramp(1_000, 0)).unwrap() < 1e-9);
        assert_eq!((psi(ramp(199, 0), &ramp(1_000, 0)), ks(ramp(1_000, 0), ramp(199, 0))), (None, None));
    }

    #[test]
    fn a_shift_by_a_quarter_is_a_distance_of_a_quarter() {
        let distance = ks(ramp(1_000, 0), ramp(1_000, 250)).unwrap();
        assert!((distance - 0.25).abs() < 2e-3, "{distance}");
        assert!(psi(ramp(1_000, 0), &ramp(1_000, 250)).unwrap() > 0.25);
    }

    #[test]
    fn halved_counts_are_another_population() {
        let views: Vec<f64> = (0..1_000).map(|i| f64::from(i % 20)).collect();
        let halved: Vec<f64> = views.iter().map(|v| (v / 2.0).floor()).collect();
        assert!(psi(views, &halved).unwrap() > 0.25);
    }

    proptest! {
        /// Against the definition, evaluated at every value.
        #[test]
        fn the_distance_is_the_largest_of_all(
            a in prop::collection::vec(-9_i32..9, 200..260), b in prop::collection::vec(-12_i32..6, 200..260),
        ) {
            let (a, b): (Vec<f64>, Vec<f64>) = (a.into_iter().map(f64::from).collect(), b.into_iter().map(f64::from).collect());
            let below = |values: &[f64], x: f64| share(values.iter().filter(|v| **v <= x).count(), values.len());
            let brute = a.iter().chain(&b).map(|x| (below(&a, *x) - below(&b, *x)).abs()).fold(0.0, f64::max);
            prop_assert!((ks(a, b).unwrap() - brute).abs() < 1e-12);
        }
    }
}

//! Two distributions over the same bins, for people to look at. Pure.

use serde::{Deserialize, Serialize};

/// How many bins there are.
const BINS: usize = 12;
/// Fewer values on either side are no distribution.
const LEAST: usize = 20;
/// The share of values at each end that does not widen the bins: the bins at the ends hold it.
const TAIL: usize = 100;

/// How many values fall into each bin, on either side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// The bounds of the bins, one more than there are bins. What is outside counts in the first and the last.
    pub edges: Vec<f64>,
    /// Of the live revision.
    pub former: Vec<usize>,
    /// Of the candidate.
    pub candidate: Vec<usize>,
}

impl Histogram {
    /// Bins of equal width over what both sides have, but for their tails; none if there is too little to see, or only one value.
    #[must_use]
    pub fn of(former: &[f64], candidate: &[f64]) -> Option<Self> {
        let mut all: Vec<f64> = former.iter().chain(candidate).copied().filter(|v| v.is_finite()).collect();
        if former.len().min(candidate.len()) < LEAST || all.is_empty() {
            return None;
        }
        all.sort_unstable_by(f64::total_cmp);
        let tail = all.len() / TAIL;
        let (mut low, mut high) = (*all.get(tail)?, *all.get(all.len() - 1 - tail)?);
        if low >= high {
            (low, high) = (*all.first()?, *all.last()?);
        }
        let width = (high - low) / f64::from(u32::try_from(BINS).ok()?);
        if !(width.is_finite() && width > 0.0) {
            return None;
        }
        let edges: Vec<f64> = (0..=u32::try_from(BINS).ok()?).map(|i| low + width * f64::from(i)).collect();
        let counts = |values: &[f64]| {
            let mut counts = vec![0; BINS];
            for value in values.iter().filter(|value| value.is_finite()) {
                counts[edges[1..BINS].partition_point(|edge| edge <= value)] += 1;
            }
            counts
        };
        let (former, candidate) = (counts(former), counts(candidate));
        Some(Self { edges, former, candidate })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ramp(n: i32, shift: i32) -> Vec<f64> {
        (0..n).map(|i| f64::from(i + shift)).collect()
    }

    #[test]
    fn every_value_is_in_one_bin_and_a_stray_one_does_not_widen_them() {
        let mut next = ramp(1_200, 600);
        next.push(1e12);
        next.push(f64::NAN);
        let Histogram { edges, former, candidate } = Histogram::of(&ramp(1_200, 0), &next).unwrap();
        assert_eq!((edges.len(), former.len(), candidate.len()), (BINS + 1, BINS, BINS));
        assert_eq!((former.iter().sum::<usize>(), candidate.iter().sum::<usize>()), (1_200, 1_201));
        assert!(
            edges[BINS] < 2_000.0 && former[BINS - 1] == 0 && candidate[0] == 0,
            "{edges:?} {former:?} {candidate:?}"
        );
    }

    #[test]
    fn a_value_on_a_bound_belongs_to_the_bin_above() {
        let values: Vec<f64> = (0..=12).flat_map(|i| [f64::from(i); 2]).collect();
        let histogram = Histogram::of(&values, &values).unwrap();
        assert_eq!(histogram.former, [2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 4]);
    }

    #[test]
    fn what_says_nothing_is_not_drawn() {
        assert_eq!(Histogram::of(&ramp(19, 0), &ramp(1_000, 0)), None);
        assert_eq!(Histogram::of(&[7.0; 50], &[7.0; 50]), None);
        assert_eq!(Histogram::of(&[f64::NAN; 50], &[f64::INFINITY; 50]), None);
        // Most are zero, and yet there is something to see.
        let rare: Vec<f64> = (0..1_000).map(|i| if i == 0 { 10.0 } else { 0.0 }).collect();
        assert_eq!(Histogram::of(&rare, &[0.0; 30]).unwrap().former, [999, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    }
}

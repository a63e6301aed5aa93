//! The distribution of every feature over a sample of entities, small enough to be kept.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Against, FeatureDrift, Reference, Report};
use crate::compare::{Cell, LONG, Reading};
use crate::drift::{self, Deciles, exact};
use crate::plan::Plan;

/// How many values of all features together are held while a profile is made: 100 MiB.
const CELLS: usize = 1 << 22;
/// How many quantiles are kept: they tell distances of distributions to half a percent.
const QUANTILES: usize = 257;
/// How many frequent texts or lists are kept by name.
const FREQUENT: usize = 64;
/// How many interquartile ranges away from the quartiles a number lies far outside; Tukey's outer fences.
const FAR_OUT: f64 = 3.0;

/// What was captured, as it stands in the online store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// As what it is kept.
    pub(super) name: String,
    /// The time that it was read as of, in milliseconds.
    pub(super) as_of_ms: i64,
    /// How many entities it is of.
    pub(super) entities: usize,
    features: Vec<FeatureProfile>,
}

/// The distribution of one feature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FeatureProfile {
    name: String,
    read: usize,
    nulls: usize,
    /// The bounds of the bins of its numbers, and how many are in each.
    deciles: Deciles,
    counts: Vec<usize>,
    /// Its numbers at equal steps of rank.
    #[serde(with = "exact")]
    quantiles: Vec<f64>,
    /// Outside of these two a number is far out; none where there are too few.
    #[serde(with = "exact")]
    fences: Vec<f64>,
    /// How many of its numbers are.
    outside: usize,
    /// Its texts and lists by how many items they have.
    items: Vec<usize>,
    /// The most frequent of them by hash: how many items, how often.
    frequent: BTreeMap<u64, (u32, usize)>,
}

/// Takes the readings of entities in.
#[derive(Debug)]
pub struct Collector<'a> {
    plan: &'a Plan,
    entities: usize,
    cells: Vec<Vec<Cell>>,
    unreadable: Vec<usize>,
}

impl<'a> Collector<'a> {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(plan: &'a Plan) -> Self {
        let features = plan.features.len();
        Self { plan, entities: 0, cells: vec![Vec::new(); features], unreadable: vec![0; features] }
    }

    /// How many entities fit into memory, if so many are asked for.
    #[must_use]
    pub fn most(plan: &Plan, asked: usize) -> usize {
        asked.min((CELLS / plan.features.len().max(1)).max(drift::LEAST_VALUES))
    }

    /// Takes one entity's readings in, by feature of the plan.
    pub fn observe(&mut self, readings: &[Reading]) {
        self.entities += 1;
        for (i, reading) in readings.iter().enumerate().take(self.cells.len()) {
            if reading.exact {
                let cell = Cell::of(reading.value.as_ref(), Some(&self.plan.features[i].value_type));
                self.cells[i].push(cell.finite());
            } else {
                self.unreadable[i] += 1;
            }
        }
    }

    /// How far what was seen is from a reference, if there is one, and what was seen. Its times are those of the reading.
    #[must_use]
    pub fn finish(
        self,
        as_of_ms: i64,
        finished_ms: i64,
        reference: &Reference,
        stands: Option<&Profile>,
    ) -> (Report, Profile) {
        let Self { plan, entities, cells, unreadable } = self;
        let against = reference.of(stands);
        let named = plan.features.iter().zip(&cells).zip(unreadable);
        let seen = named.map(|((feature, cells), unreadable)| {
            let former = against.and_then(|profile| profile.feature(&feature.name));
            FeatureDrift { unreadable, ..compare(&feature.name, cells, former) }
        });
        let report = Report {
            revision: plan.revision.clone(),
            as_of_ms,
            finished_ms,
            entities,
            reference: against.map(|profile| Against {
                reference: reference.clone(),
                as_of_ms: profile.as_of_ms,
                entities: profile.entities,
            }),
            features: seen.collect(),
        };
        let features =
            plan.features.iter().zip(&cells).map(|(feature, cells)| FeatureProfile::of(&feature.name, cells));
        (report, Profile { name: String::new(), as_of_ms, entities, features: features.collect() })
    }
}

impl Profile {
    /// As it stands in the online store.
    #[must_use]
    pub fn encode(&self) -> String {
        // Serialising owned data with string keys cannot fail: numbers are finite.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads what [`Self::encode`] wrote; of another version, nothing.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    fn feature(&self, name: &str) -> Option<&FeatureProfile> {
        self.features.iter().find(|feature| feature.name == name)
    }
}

impl FeatureProfile {
    fn of(name: &str, cells: &[Cell]) -> Self {
        let mut numbers = numbers(cells);
        numbers.sort_unstable_by(f64::total_cmp);
        let deciles = Deciles::of(numbers.clone());
        let mut counts = vec![0; deciles.count()];
        for number in &numbers {
            counts[deciles.bin(*number)] += 1;
        }
        let fences = fences(&numbers);
        let (mut items, mut frequent) = (vec![0; lengths()], BTreeMap::<u64, (u32, usize)>::new());
        for cell in cells {
            if let Cell::Other { hash, items: n } = cell {
                items[length(*n)] += 1;
                frequent.entry(*hash).or_insert((*n, 0)).1 += 1;
            }
        }
        let mut most: Vec<(u64, (u32, usize))> = frequent.into_iter().collect();
        most.sort_by(|(a, (_, of_a)), (b, (_, of_b))| of_b.cmp(of_a).then_with(|| a.cmp(b)));
        most.truncate(FREQUENT);
        Self {
            name: name.to_owned(),
            read: cells.len(),
            nulls: nulls(cells),
            counts,
            quantiles: thinned(&numbers),
            outside: fences.map_or(0, |fences| outside(&numbers, fences)),
            fences: fences.into_iter().flatten().collect(),
            deciles,
            items,
            frequent: most.into_iter().collect(),
        }
    }

    fn numbers(&self) -> usize {
        self.counts.iter().sum()
    }

    fn fences(&self) -> Option<[f64; 2]> {
        self.fences.as_slice().try_into().ok()
    }

    /// The population stability index of what is seen now. The bins are NULL, the deciles of the former numbers, each text or
    /// list that is common on either side, the other lists by how many items they have, and the other texts.
    fn psi(&self, cells: &[Cell]) -> Option<f64> {
        let mut seen: BTreeMap<u64, usize> = BTreeMap::new();
        for cell in cells {
            if let Cell::Other { hash, .. } = cell {
                *seen.entry(*hash).or_default() += 1;
            }
        }
        let former = self.frequent.iter().filter(|(_, (_, n))| drift::is_common(*n, self.read)).map(|(hash, _)| *hash);
        let now = seen.iter().filter(|(_, n)| drift::is_common(**n, cells.len())).map(|(hash, _)| *hash);
        let common: std::collections::BTreeSet<u64> = former.chain(now).collect();
        let common: Vec<u64> = common.into_iter().collect();

        let mut before = vec![self.nulls];
        before.extend(&self.counts);
        let mut items = self.items.clone();
        let mut named = vec![0; common.len()];
        for (at, hash) in common.iter().enumerate() {
            if let Some((n, count)) = self.frequent.get(hash) {
                named[at] = *count;
                items[length(*n)] = items[length(*n)].saturating_sub(*count);
            }
        }
        before.extend(items);
        before.extend(named);

        let (first, rare) = (1, 1 + self.deciles.count());
        let mut after = vec![0; before.len()];
        for cell in cells {
            let bin = match cell {
                Cell::Null => 0,
                Cell::Number(n) => first + self.deciles.bin(*n),
                Cell::Other { hash, items } => match common.binary_search(hash) {
                    Ok(at) => rare + lengths() + at,
                    Err(_) => rare + length(*items),
                },
            };
            after[bin] += 1;
        }
        drift::index(&before, &after)
    }
}

/// How far what is seen now is from what was.
fn compare(name: &str, cells: &[Cell], former: Option<&FeatureProfile>) -> FeatureDrift {
    let numbers = numbers(cells);
    let fences = former.and_then(FeatureProfile::fences);
    FeatureDrift {
        name: name.to_owned(),
        read: cells.len(),
        unreadable: 0,
        psi: former.and_then(|former| former.psi(cells)),
        null_share: drift::share(nulls(cells), cells.len()),
        reference_null_share: former.map(|former| drift::share(former.nulls, former.read)),
        outlier_share: fences.map(|fences| drift::share(outside(&numbers, fences), numbers.len())),
        reference_outlier_share: fences.and(former).map(|former| drift::share(former.outside, former.numbers())),
        ks: former.and_then(|former| drift::ks(former.quantiles.clone(), numbers)),
    }
}

fn numbers(cells: &[Cell]) -> Vec<f64> {
    cells.iter().filter_map(|cell| cell.number()).collect()
}

fn nulls(cells: &[Cell]) -> usize {
    cells.iter().filter(|cell| **cell == Cell::Null).count()
}

/// Sorted numbers at equal steps of rank.
fn thinned(sorted: &[f64]) -> Vec<f64> {
    if sorted.len() <= QUANTILES {
        return sorted.to_vec();
    }
    (0..QUANTILES).map(|i| sorted[i * (sorted.len() - 1) / (QUANTILES - 1)]).collect()
}

/// The bounds outside of which a number is far out. At least 98 of 100 of the numbers lie within, so that one which is
/// mostly zero does not make every other value an outlier.
fn fences(sorted: &[f64]) -> Option<[f64; 2]> {
    if sorted.len() < drift::LEAST_VALUES {
        return None;
    }
    let at = |percent: usize| sorted[(sorted.len() - 1) * percent / 100];
    let range = (at(75) - at(25)) * FAR_OUT;
    let fences = [at(1).min(at(25) - range), at(99).max(at(75) + range)];
    fences.iter().all(|fence| fence.is_finite()).then_some(fences)
}

fn outside(numbers: &[f64], [low, high]: [f64; 2]) -> usize {
    numbers.iter().filter(|n| **n < low || **n > high).count()
}

fn lengths() -> usize {
    length(LONG) + 1
}

fn length(items: u32) -> usize {
    usize::try_from(items.min(LONG)).unwrap_or_default()
}

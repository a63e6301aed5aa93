//! Counts readings, and judges.

use std::collections::BTreeMap;

use super::distribution::{Cell, Sample};
use super::report::{Example, FeatureComparison, Report};
use super::verdict::verdict;
use super::{Comparison, Kind, equal};
use crate::drift;
use crate::value::{Value, ValueType};

/// How many mismatches are told of each feature.
const EXAMPLES: usize = 3;
/// The most characters of a value that are told.
const VALUE_CHARACTERS: usize = 80;

/// One feature of one entity as one revision gives it.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The value; `None` is NULL.
    pub value: Option<Value>,
    /// Whether it is exact as of the time asked; else it says nothing.
    pub exact: bool,
}

/// Takes the readings of entities in, one entity after the other in any order.
#[derive(Debug)]
pub struct Judge<'a> {
    comparison: &'a Comparison,
    entities: usize,
    features: Vec<Tally<'a>>,
    /// What distributions are told from.
    sample: Sample,
}

/// What was seen of one feature.
#[derive(Debug)]
struct Tally<'a> {
    name: &'a str,
    kind: Kind,
    /// Its positions in the live revision and in the candidate.
    at: (Option<usize>, Option<usize>),
    types: (Option<&'a ValueType>, Option<&'a ValueType>),
    compared: usize,
    unreadable: usize,
    mismatches: usize,
    nulls: (usize, usize),
    /// By the entity's name, so that the same sample tells the same examples.
    examples: BTreeMap<String, (String, String)>,
}

impl<'a> Judge<'a> {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(comparison: &'a Comparison) -> Self {
        let Comparison { former, candidate, expected_changes, .. } = comparison;
        let removed = former.features.iter().filter(|f| candidate.feature(&f.name).is_none());
        let features = candidate.features.iter().chain(removed).map(|feature| {
            let name = feature.name.as_str();
            let at = (former.feature(name), candidate.feature(name));
            Tally {
                name,
                kind: Kind::of(name, former, candidate, expected_changes),
                at,
                types: (at.0.map(|i| &former.features[i].value_type), at.1.map(|i| &candidate.features[i].value_type)),
                compared: 0,
                unreadable: 0,
                mismatches: 0,
                nulls: (0, 0),
                examples: BTreeMap::new(),
            }
        });
        let features: Vec<Tally<'_>> = features.collect();
        let sample = Sample::new(features.len());
        Self { comparison, entities: 0, features, sample }
    }

    /// Whether an entity's readings, by feature of each plan, differ where they must not: then they are to be read once
    /// more, since one side may only have been behind.
    #[must_use]
    pub fn differs(&self, former: &[Reading], candidate: &[Reading]) -> bool {
        self.features.iter().any(|tally| match (tally.kind, tally.exact(former, candidate)) {
            (Kind::Unchanged | Kind::Changed, Some((a, b))) => !equal(a.value.as_ref(), b.value.as_ref()),
            _ => false,
        })
    }

    /// Takes one entity's readings in. It is told of by its [hash](crate::row::entity_hash).
    pub fn observe(&mut self, entity_hash: &str, former: &[Reading], candidate: &[Reading]) {
        self.entities += 1;
        for tally in &mut self.features {
            tally.observe(entity_hash, former, candidate);
        }
        let cells = self.features.iter().map(|tally| {
            let (a, b) = tally.exact(former, candidate)?;
            Some((Cell::of(a.value.as_ref(), tally.types.0), Cell::of(b.value.as_ref(), tally.types.1)))
        });
        self.sample.observe(entity_hash, cells);
    }

    /// What follows, as of the time that all readings were made for.
    #[must_use]
    pub fn report(self, as_of_ms: i64) -> Report {
        let Self { comparison, entities, features, sample } = self;
        let Comparison { name, former, candidate, limits, .. } = comparison;
        let moved = |(i, tally): (usize, Tally<'_>)| Tally::finish(tally, &sample, i);
        let features: Vec<FeatureComparison> = features.into_iter().enumerate().map(moved).collect();
        Report {
            name: name.clone(),
            former: former.revision.clone(),
            candidate: candidate.revision.clone(),
            as_of_ms,
            entities,
            verdict: verdict(&features, limits),
            features,
        }
    }
}

impl Tally<'_> {
    fn pair<'r>(&self, former: &'r [Reading], candidate: &'r [Reading]) -> Option<(&'r Reading, &'r Reading)> {
        Some((former.get(self.at.0?)?, candidate.get(self.at.1?)?))
    }

    /// Both readings, if both are exact.
    fn exact<'r>(&self, former: &'r [Reading], candidate: &'r [Reading]) -> Option<(&'r Reading, &'r Reading)> {
        self.pair(former, candidate).filter(|(a, b)| a.exact && b.exact)
    }

    fn observe(&mut self, entity_hash: &str, former: &[Reading], candidate: &[Reading]) {
        if self.pair(former, candidate).is_none() {
            return;
        }
        let Some((a, b)) = self.exact(former, candidate) else {
            self.unreadable += 1;
            return;
        };
        self.compared += 1;
        self.nulls.0 += usize::from(a.value.is_none());
        self.nulls.1 += usize::from(b.value.is_none());
        if equal(a.value.as_ref(), b.value.as_ref()) {
            return;
        }
        self.mismatches += 1;
        let values = (text(a.value.as_ref(), self.types.0), text(b.value.as_ref(), self.types.1));
        self.examples.insert(entity_hash.to_owned(), values);
        if self.examples.len() > EXAMPLES {
            self.examples.pop_last();
        }
    }

    /// What was seen of the `i`-th feature.
    fn finish(self, sample: &Sample, i: usize) -> FeatureComparison {
        let examples =
            self.examples.into_iter().map(|(entity, (former, candidate))| Example { entity, former, candidate });
        FeatureComparison {
            name: self.name.to_owned(),
            kind: self.kind,
            compared: self.compared,
            unreadable: self.unreadable,
            mismatches: self.mismatches,
            former_null_share: drift::share(self.nulls.0, self.compared),
            candidate_null_share: drift::share(self.nulls.1, self.compared),
            psi: sample.psi(i),
            ks: sample.ks(i),
            histogram: sample.histogram(i),
            examples: examples.collect(),
        }
    }
}

/// The value as a number, as far as it is one.
#[expect(clippy::cast_precision_loss, reason = "how far apart two values are does not need the last bits")]
fn number(value: Option<&Value>, value_type: &ValueType) -> Option<f64> {
    match (value?, value_type) {
        (Value::Int64(n) | Value::Timestamp(n), _) => Some(*n as f64),
        (Value::Double(n), _) => Some(*n),
        (Value::Boolean(b), _) => Some(f64::from(u8::from(*b))),
        (Value::Decimal(n), ValueType::Decimal { scale, .. }) => Some(*n as f64 / 10_f64.powi(i32::from(*scale))),
        _ => None,
    }
}

/// How far two values that differ are apart; as far as can be where they are no numbers.
pub(crate) fn distance(a: (Option<&Value>, &ValueType), b: (Option<&Value>, &ValueType)) -> f64 {
    match (number(a.0, a.1), number(b.0, b.1)) {
        // Of what JSON can hold.
        (Some(a), Some(b)) => (a - b).abs().min(f64::MAX),
        _ => f64::MAX,
    }
}

/// The value for people.
pub(crate) fn text(value: Option<&Value>, value_type: Option<&ValueType>) -> String {
    let text = match (value, value_type) {
        (None, _) => "NULL".to_owned(),
        (Some(Value::Boolean(b)), _) => b.to_string(),
        (Some(Value::Int64(n)), _) => n.to_string(),
        (Some(Value::Double(n)), _) => n.to_string(),
        (Some(Value::String(s)), _) => format!("{s:?}"),
        (Some(Value::Timestamp(ms)), _) => format!("{ms} ms"),
        (Some(Value::Decimal(n)), Some(ValueType::Decimal { scale, .. })) => decimal(*n, *scale),
        (Some(Value::Decimal(n)), _) => n.to_string(),
        (Some(Value::List(items)), of) => {
            let item = match of {
                Some(ValueType::List(item)) => Some(item.as_ref()),
                _ => None,
            };
            let items: Vec<String> = items.iter().map(|value| self::text(Some(value), item)).collect();
            format!("[{}]", items.join(", "))
        }
    };
    match text.char_indices().nth(VALUE_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// An unscaled integer with its point.
fn decimal(unscaled: i128, scale: u8) -> String {
    if scale == 0 {
        return unscaled.to_string();
    }
    let (sign, digits) = (if unscaled < 0 { "-" } else { "" }, unscaled.unsigned_abs().to_string());
    let digits = format!("{digits:0>width$}", width = usize::from(scale) + 1);
    let (whole, fraction) = digits.split_at(digits.len() - usize::from(scale));
    format!("{sign}{whole}.{fraction}")
}

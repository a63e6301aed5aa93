//! What shadow reads say of a candidate: how long they take, and for which share of live requests its values differ.
//!
//! Pure. Invariants: what is kept is bounded whatever is read; reports of several servers add up, in any order; entities are
//! named by the hash of their keys, never by the keys.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::compare::{Example, Reading, distance, equal, text};
use crate::value::ValueType;

/// How many of a feature's mismatches are told: the worst.
const EXAMPLES: usize = 3;
/// Latencies are told apart where one is a fifth longer than the other: so many steps to the double.
const STEPS: f64 = 4.0;

/// What is to be read beside a view's live answers. It holds for answers of `former` alone, so that one which outlives a
/// move of the pointer says nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shadow {
    /// The revision whose answers are read once more.
    pub former: String,
    /// The one that is to take its place.
    pub candidate: String,
    /// For how many of a hundred requests.
    pub percent: u8,
}

/// What one server, or several, saw of a candidate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The revision that answers.
    pub former: String,
    /// How many requests were read with the candidate, too.
    pub reads: u64,
    /// How many were not, since those before them were still being read.
    pub dropped: u64,
    /// How many could not be read: the candidate has no head, or a row that cannot be decoded.
    pub failed: u64,
    /// How many entities have a row that is live, and none of the candidate's.
    pub missing: u64,
    /// How long these reads took.
    pub latency: Latency,
    /// By name, the features that both revisions have and that were asked for.
    pub features: BTreeMap<String, Feature>,
    /// When this was said, in milliseconds.
    pub said_ms: i64,
}

/// What was seen of one feature.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Feature {
    /// For how many entities it was read exactly on both sides.
    pub compared: u64,
    /// For how many it could not be read exactly as of a time that both are complete to.
    pub unreadable: u64,
    /// For how many of those compared the values differ.
    pub differing: u64,
    /// The worst of them, with how far they are apart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub worst: Vec<(f64, Example)>,
}

/// How long reads took: so many of each length, in steps of a fifth.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency(BTreeMap<u16, u64>);

impl Latency {
    /// One more, of so many microseconds.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    pub fn observe(&mut self, micros: u64) {
        // From 0 to 256 for any number of 64 bits.
        let step = ((micros.max(1) as f64).log2() * STEPS).ceil() as u16;
        *self.0.entry(step).or_default() += 1;
    }

    /// The microseconds within which a `share` of them, from 0 to 1, were done; `None` if there are none. Never too short, and
    /// at most a fifth too long.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let wanted = share * self.0.values().sum::<u64>() as f64;
        let mut seen = 0;
        for (step, count) in &self.0 {
            seen += count;
            if seen as f64 >= wanted {
                return Some((f64::from(*step) / STEPS).exp2());
            }
        }
        None
    }

    fn add(&mut self, other: &Self) {
        for (step, count) in &other.0 {
            *self.0.entry(*step).or_default() += count;
        }
    }
}

impl Feature {
    /// One entity's readings, of values of these types. It is told of by its [hash](crate::row::entity_hash). Answers whether
    /// they are equal; `None` if that cannot be said.
    pub fn observe(
        &mut self,
        entity_hash: &str,
        (former, candidate): (&Reading, &Reading),
        (of_former, of_candidate): (&ValueType, &ValueType),
    ) -> Option<bool> {
        if !former.exact || !candidate.exact {
            self.unreadable += 1;
            return None;
        }
        self.compared += 1;
        let (a, b) = (former.value.as_ref(), candidate.value.as_ref());
        if equal(a, b) {
            return Some(true);
        }
        self.differing += 1;
        let apart = distance((a, of_former), (b, of_candidate));
        let is_known = self.worst.iter().any(|(_, example)| example.entity == entity_hash);
        let is_worse = self.worst.len() < EXAMPLES || self.worst.last().is_some_and(|(least, _)| apart > *least);
        if is_worse && !is_known {
            let (former, candidate) = (text(a, Some(of_former)), text(b, Some(of_candidate)));
            self.keep(apart, Example { entity: entity_hash.to_owned(), former, candidate });
        }
        Some(false)
    }

    fn keep(&mut self, apart: f64, example: Example) {
        if self.worst.iter().any(|(_, known)| known.entity == example.entity) {
            return;
        }
        self.worst.push((apart, example));
        self.worst.sort_by(|(a, x), (b, y)| b.total_cmp(a).then_with(|| x.entity.cmp(&y.entity)));
        self.worst.truncate(EXAMPLES);
    }

    /// The share of those compared whose values differ.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn share(&self) -> f64 {
        if self.compared == 0 { 0.0 } else { self.differing as f64 / self.compared as f64 }
    }
}

impl Report {
    /// All of several servers' that are of the same live revision.
    #[must_use]
    pub fn of_all<'a>(former: &str, reports: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut all = Self { former: former.to_owned(), ..Self::default() };
        for report in reports.into_iter().filter(|report| report.former == former) {
            all.reads += report.reads;
            all.dropped += report.dropped;
            all.failed += report.failed;
            all.missing += report.missing;
            all.said_ms = all.said_ms.max(report.said_ms);
            all.latency.add(&report.latency);
            for (name, feature) in &report.features {
                let sum = all.features.entry(name.clone()).or_default();
                sum.compared += feature.compared;
                sum.unreadable += feature.unreadable;
                sum.differing += feature.differing;
                for (apart, example) in &feature.worst {
                    sum.keep(*apart, example.clone());
                }
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;

    fn reading(value: i64) -> Reading {
        Reading { value: Some(Value::Int64(value)), exact: true }
    }

    fn observe(feature: &mut Feature, entity: &str, a: i64, b: i64) -> Option<bool> {
        feature.observe(entity, (&reading(a), &reading(b)), (&ValueType::Int64, &ValueType::Int64))
    }

    #[test]
    fn of_a_feature_the_worst_cases_are_kept_each_entity_once() {
        let mut feature = Feature::default();
        assert_eq!(observe(&mut feature, "same", 4, 4), Some(true));
        for (entity, a, b) in [("one", 1, 2), ("nine", 1, 10), ("nine", 1, 10), ("two", 3, 1), ("four", 0, 4)] {
            assert_eq!(observe(&mut feature, entity, a, b), Some(false));
        }
        let inexact = Reading { value: None, exact: false };
        let types = (&ValueType::Int64, &ValueType::Int64);
        assert_eq!(feature.observe("x", (&inexact, &reading(1)), types), None);
        assert_eq!((feature.compared, feature.unreadable, feature.differing), (6, 1, 5));
        let worst: Vec<&str> = feature.worst.iter().map(|(_, example)| example.entity.as_str()).collect();
        assert_eq!(worst, ["nine", "four", "two"]);
        assert_eq!((feature.worst[0].1.former.as_str(), feature.worst[0].1.candidate.as_str()), ("1", "10"));
        // A value that is there against one that is not is as bad as it gets.
        let null = Reading { value: None, exact: true };
        feature.observe("null", (&reading(1), &null), types);
        assert_eq!(feature.worst[0].1.entity, "null");
    }

    #[test]
    fn a_quantile_is_never_too_short_and_at_most_a_fifth_too_long() {
        assert_eq!(Latency::default().quantile(0.95), None);
        let mut latency = Latency::default();
        (1..=1000).for_each(|micros| latency.observe(micros));
        for (share, exact) in [(0.5, 500.0), (0.95, 950.0), (0.99, 990.0), (1.0, 1000.0)] {
            let told = latency.quantile(share).unwrap_or_default();
            assert!((exact..exact * 1.2).contains(&told), "{share}: {told}");
        }
    }

    #[test]
    fn reports_of_servers_add_up_and_survive_the_store() {
        let one = |entity: &str, apart| {
            let mut report = Report { former: "a".into(), reads: 2, dropped: 1, ..Report::default() };
            observe(report.features.entry("f".into()).or_default(), entity, 0, apart);
            report.latency.observe(100);
            report
        };
        let (x, y) = (one("x", 1), one("y", 5));
        let other = Report { former: "b".into(), reads: 100, ..Report::default() };
        let all = Report::of_all("a", [&x, &other, &y]);
        assert_eq!(all, Report::of_all("a", [&y, &x]));
        assert_eq!((all.reads, all.dropped, all.features["f"].differing), (4, 2, 2));
        assert_eq!(all.features["f"].worst[0].1.entity, "y");
        let read = |report: &Report| {
            let json = serde_json::to_string(report).unwrap_or_default();
            serde_json::from_str::<Report>(&json).ok()
        };
        assert_eq!(read(&all).as_ref(), Some(&all));
        // As far apart as can be is a number of JSON, too.
        let mut null = all;
        let nothing = Reading { value: None, exact: true };
        let types = (&ValueType::Int64, &ValueType::Int64);
        null.features.entry("f".into()).or_default().observe("z", (&nothing, &reading(1)), types);
        let known = read(&null).map(|report| report.features["f"].worst[0].1.entity.clone());
        assert_eq!(known.as_deref(), Some("z"));
    }
}

//! The estimate against real lanes of the entity it assumes.
#![allow(clippy::unwrap_used, clippy::cast_precision_loss)]

use super::*;
use crate::aggregate::ValueRef;
use crate::definition::FeatureDefinition;
use crate::fixtures;
use crate::lane::{Events, Lane};

const DAY: i64 = 86_400_000;

fn view(features: Vec<FeatureDefinition>) -> Plan {
    fixtures::plan(&[("user", "String"), ("page", "String"), ("price", "Double")], features)
}

fn feature(name: &str, aggregate: &str, of: Option<&str>, window: Option<&str>) -> FeatureDefinition {
    FeatureDefinition {
        name: name.into(),
        aggregate: Some(aggregate.into()),
        of: of.map(Into::into),
        window: window.map(Into::into),
        percentile: (aggregate == "Percentile").then(|| "0.95".into()),
        k: matches!(aggregate, "LastK" | "TopK").then_some(5),
        ..FeatureDefinition::default()
    }
}

/// The assumed entity: event `row` is at minute `row`.
struct Busy<'a> {
    plan: &'a Plan,
    texts: Vec<String>,
}

impl Events for Busy<'_> {
    fn time(&self, row: usize) -> i64 {
        20_000 * DAY + i64::try_from(row).unwrap() * EVERY_MS
    }
    fn condition(&self, _: usize, _: usize) -> bool {
        true
    }
    fn value(&self, input: usize, row: usize) -> Option<ValueRef<'_>> {
        let new = row / 16;
        Some(match self.plan.inputs[input].value_type {
            ValueType::String => ValueRef::String(&self.texts[new]),
            _ => ValueRef::Double((new * 7919 % 1_000_000) as f64 / 100.0),
        })
    }
}

fn real(plan: &Plan, days: usize) -> u64 {
    let layout = Layout::new(plan).unwrap();
    let minutes = days * 24 * 60;
    let texts = (0..=minutes / 16).map(|n| format!("{:016x}", n.wrapping_mul(2_654_435_761))).collect();
    let events = Busy { plan, texts };
    let mut lane = Lane::new();
    for row in 0..minutes {
        lane.insert(&layout, &events, row);
    }
    lane.encode(&layout).segments.iter().map(|(_, bytes)| bytes.len() as u64).sum()
}

#[test]
fn an_estimate_is_within_a_factor_of_two_of_the_entity_it_assumes() {
    let all = [
        ("Count", None),
        ("Sum", Some("price")),
        ("Avg", Some("price")),
        ("Max", Some("price")),
        ("Variance", Some("price")),
        ("CountDistinct", Some("page")),
        ("Percentile", Some("price")),
        ("Last", Some("page")),
        ("LastK", Some("page")),
        ("TopK", Some("price")),
        ("MaxTimestamp", None),
    ];
    let windows = [Some("1h"), Some("24h"), Some("7d"), Some("30d")];
    for (aggregate, of) in all {
        let features =
            windows.iter().enumerate().map(|(i, w)| feature(&format!("f{i}"), aggregate, of, *w)).collect::<Vec<_>>();
        let plan = view(features);
        let (estimate, real) = (row_bytes(&plan).unwrap().bytes, real(&plan, 32));
        assert!(estimate <= 2 * real && real <= 2 * estimate, "{aggregate}: estimated {estimate}, really {real}");
    }
}

#[test]
fn the_heaviest_feature_comes_first_and_expressions_weigh_nothing() {
    let mut ratio = feature("ratio", "", None, None);
    (ratio.aggregate, ratio.expression) = (None, Some("a / nullif(b, 0)".into()));
    let mut fine = feature("a", "Count", None, Some("365d"));
    fine.hop = Some("1s".into());
    let mut light = feature("b", "Count", None, Some("1h"));
    light.condition = Some("price > 1.0".into());
    let plan = view(vec![light, fine, ratio]);
    let estimate = row_bytes(&plan).unwrap();
    let names: Vec<&str> = estimate.features.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(estimate.bytes > 256 * 1024, "{}", estimate.bytes);
}

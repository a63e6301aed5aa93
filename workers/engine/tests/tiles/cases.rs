//! Golden cases: every YAML file in `workers/engine/cases` is a view, its events, and what reads of it must say. Add a case
//! by adding a file; `workers/engine/cases/README.md` says how one is written.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use engine::definition::{ColumnDefinition, FeatureDefinition, ViewDefinition};
use engine::event::Decoder;
use engine::lane::{Lane, Layout};
use engine::plan::{Stream, TimestampField, TimestampUnit, ViewIdentity};
use engine::program::Program;
use engine::read::{Reader, Status};
use engine::resolve::resolve;
use engine::value::{Value, ValueType};
use serde::Deserialize;
use serde_yaml_ng::Value as Yaml;

use crate::events::D;
use crate::orders::{load, whole};

/// Where a case's time begins: a midnight that every tile size divides.
const BASE: i64 = 19_000 * D;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    #[serde(default = "a_day")]
    lateness: String,
    #[serde(default = "none")]
    future: String,
    columns: BTreeMap<String, String>,
    features: Vec<FeatureYaml>,
    events: Vec<BTreeMap<String, Yaml>>,
    reads: Vec<ReadYaml>,
}

fn a_day() -> String {
    "1d".into()
}

fn none() -> String {
    "0s".into()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FeatureYaml {
    name: String,
    aggregate: String,
    of: Option<String>,
    #[serde(rename = "where")]
    condition: Option<String>,
    window: Option<String>,
    hop: Option<String>,
    #[serde(default)]
    tumbling: bool,
    q: Option<String>,
    k: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadYaml {
    at: String,
    expect: BTreeMap<String, Yaml>,
}

/// A time as a case writes it: `1d 2h 3m 4s 5ms`, or `-` and such.
fn moment(text: &str) -> i64 {
    let (sign, rest) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let total: i64 = (rest.split_whitespace())
        .map(|word| {
            let digits = word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len());
            let unit = match &word[digits..] {
                "ms" => 1,
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => D,
                unit => panic!("unknown unit {unit} in {text}"),
            };
            word[..digits].parse::<i64>().unwrap() * unit
        })
        .sum();
    BASE + sign * total
}

fn definition(case: &Case) -> ViewDefinition {
    let columns = case.columns.iter().map(|(name, of)| {
        let (type_name, sizes) = of.split_once('(').map_or((of.as_str(), None), |(t, s)| (t, Some(s)));
        let mut sizes =
            sizes.into_iter().flat_map(|s| s.trim_end_matches(')').split(',')).map(|n| n.trim().parse().unwrap());
        ColumnDefinition {
            name: name.clone(),
            type_name: type_name.into(),
            precision: sizes.next(),
            scale: sizes.next(),
        }
    });
    let user = ColumnDefinition { name: "user".into(), type_name: "String".into(), ..Default::default() };
    let features = case.features.iter().map(|f| FeatureDefinition {
        name: f.name.clone(),
        aggregate: Some(f.aggregate.clone()),
        of: f.of.clone(),
        condition: f.condition.clone(),
        window: f.window.clone(),
        hop: f.hop.clone(),
        tumbling: f.tumbling,
        percentile: f.q.clone(),
        k: f.k,
        expression: None,
    });
    ViewDefinition {
        view: ViewIdentity { uid: "uid".into(), namespace: "ns".into(), name: "view".into() },
        mode: "Kappa".into(),
        entity_keys: vec!["user".into()],
        stream: Some(Stream { topic: "topic".into(), epoch: 0 }),
        table: None,
        archive: false,
        timestamp: TimestampField { field: "ts".into(), unit: TimestampUnit::Milliseconds },
        schema: std::iter::once(user).chain(columns).collect(),
        allowed_lateness: case.lateness.clone(),
        max_future: case.future.clone(),
        horizon_max_age: None,
        features: features.collect(),
    }
}

/// The case's lanes: its events in this order, dealt out to so many lanes, each through its bytes.
fn lanes(program: &Program, layout: &Layout, events: &[BTreeMap<String, Yaml>], count: usize) -> Vec<Lane> {
    let mut decoder = Decoder::new(program.plan());
    for event in events {
        let mut fields = event.clone();
        let time = moment(fields.remove("at").expect("every event has `at`").as_str().unwrap());
        fields.insert("ts".into(), time.into());
        fields.insert("user".into(), "u".into());
        let payload = serde_json::to_vec(&fields).unwrap();
        decoder.push(Some(&payload), time).unwrap_or_else(|reject| panic!("{event:?}: {reject:?}"));
    }
    let columns = decoder.take();
    let evaluated = program.evaluate(&columns.record_batch().unwrap(), columns.times().to_vec());
    assert!(evaluated.failures().is_empty(), "{:?}", evaluated.failures());
    let mut lanes = vec![Lane::new(); count];
    (0..evaluated.len()).for_each(|row| lanes[row * 7 % count].insert(layout, &evaluated, row));
    lanes.iter().map(|lane| load(layout, &whole(layout, lane))).collect()
}

/// A value as a case writes it: times as moments, decimals as text.
fn written(value: &Value, of: &ValueType) -> Yaml {
    match (value, of) {
        (Value::Boolean(x), _) => (*x).into(),
        (Value::Int64(x), _) => (*x).into(),
        (Value::Double(x), _) => (*x).into(),
        (Value::String(x), _) => x.as_str().into(),
        (Value::Timestamp(x), _) => (x - BASE).into(),
        (Value::Decimal(x), ValueType::Decimal { scale, .. }) => {
            let digits = format!("{:0width$}", x.unsigned_abs(), width = usize::from(*scale) + 1);
            let (whole, rest) = digits.split_at(digits.len() - usize::from(*scale));
            let mut text = String::from(if *x < 0 { "-" } else { "" });
            write!(text, "{whole}{}{rest}", if rest.is_empty() { "" } else { "." }).unwrap();
            text.into()
        }
        (Value::List(items), ValueType::List(of)) => Yaml::Sequence(items.iter().map(|x| written(x, of)).collect()),
        _ => panic!("{value:?} is no {of:?}"),
    }
}

fn run(name: &str, case: &Case) {
    let plan = resolve(&definition(case)).unwrap_or_else(|invalid| panic!("{name}: {invalid:?}"));
    let program = Program::new(Arc::new(plan)).unwrap();
    let plan = program.plan();
    let layout = Layout::new(plan).unwrap();
    let mut backwards = case.events.clone();
    backwards.reverse();
    for (events, count) in [(&case.events, 1), (&backwards, 1), (&case.events, 3), (&backwards, 2)] {
        let lanes = lanes(&program, &layout, events, count);
        for read in &case.reads {
            for (feature, expected) in &read.expect {
                let f = plan.feature(feature).unwrap_or_else(|| panic!("{name}: no feature {feature}"));
                let got = Reader::new(&layout).read(&lanes, moment(&read.at), &[f]).remove(0);
                let got = match (&got.value, got.status) {
                    (_, Status::Inexact) => "inexact".into(),
                    (None, _) => Yaml::Null,
                    (Some(value), _) => written(value, &plan.features[f].value_type),
                };
                // How far back a lane can tell depends on its own newest event, so on the split.
                if expected.as_str() == Some("inexact") && count > 1 {
                    continue;
                }
                let expected = match (expected.as_str(), &plan.features[f].value_type) {
                    (Some(text), ValueType::Timestamp) if text != "inexact" => (moment(text) - BASE).into(),
                    _ => expected.clone(),
                };
                assert_eq!(got, expected, "{name}: {feature} at {}, {count} lanes", read.at);
            }
        }
    }
}

#[test]
fn golden_cases() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("cases");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == "yaml"));
    files.sort();
    assert!(files.len() >= 8, "the cases are not there");
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let case = serde_yaml_ng::from_str(&std::fs::read_to_string(&file).unwrap());
        run(&name, &case.unwrap_or_else(|error| panic!("{name}: {error}")));
    }
}

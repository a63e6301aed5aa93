//! Training sets against all events recomputed for every question, with an event planted on every boundary.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{Field, Int64Type, Schema};
use batch::train::{Lineage, Output, Report, TrainConfig, TrainView, ViewReport};
use engine::plan::{Assignment, Plan, Table, TableFormat, TimestampField, TimestampUnit};
use engine::program::value_at;
use engine::value::{Value, ValueType};
use lake::session::{SessionOptions, session};
use lake::{Identity, Owner, Storage, TableSpec, source as tables};
use serde_json::Map;
use tempfile::TempDir;
use tokio::process::Command;

use crate::fixtures::{self, DAY, HOUR, MINUTE};
use crate::oracle;
use crate::source::{Dice, Event, START, append, events};

/// A question, and its place in the table.
#[derive(Clone, Debug)]
struct Ask {
    who: Option<String>,
    at: Option<i64>,
}

struct World {
    folder: TempDir,
    events: Vec<Event>,
    asks: Vec<Ask>,
    config: TrainConfig,
}

/// Times at which a window of an event's features opens or closes, and those beside them.
fn boundaries(at: i64) -> impl Iterator<Item = i64> {
    let windows = [(HOUR, MINUTE), (DAY, 15 * MINUTE), (7 * DAY, HOUR)];
    let edges = windows.into_iter().flat_map(move |(length, hop)| {
        let tile = at.div_euclid(hop) * hop;
        [tile, tile + hop, tile + length, tile + length + hop, at + length]
    });
    edges.chain([at]).flat_map(|edge| [edge - 1, edge, edge + 1])
}

impl World {
    async fn new(format: TableFormat, asked: usize) -> Self {
        lake::install_crypto();
        let folder = TempDir::new().unwrap();
        let uri = |name: &str| folder.path().join(name).display().to_string();
        let mut dice = Dice(21);
        let events = events(&mut dice, 40, 4_000, START, START + 30 * DAY);
        append(&uri("events"), &events).await;
        let mut asks = Vec::new();
        while asks.len() < asked {
            let event = &events[usize::try_from(dice.roll(4_000)).unwrap()];
            let edges: Vec<i64> = boundaries(event.at.unwrap()).collect();
            let at = edges[usize::try_from(dice.roll(edges.len() as u64)).unwrap()];
            asks.push(Ask { who: event.user.clone(), at: Some(at) });
        }
        asks.push(Ask { who: Some("nobody".into()), at: Some(START + DAY) });
        asks.push(Ask { who: None, at: Some(START + DAY) });
        asks.push(Ask { who: Some("u1".into()), at: None });
        asks.push(Ask { who: Some("u1".into()), at: Some(START - DAY) });
        asks.push(Ask { who: Some("u1".into()), at: Some(START + 300 * DAY) });
        // Asked twice, and at the ends of what a table can say.
        for at in [START + 9 * DAY, START + 9 * DAY, i64::MAX / 1_000, i64::MIN / 1_000] {
            asks.push(Ask { who: Some("u1".into()), at: Some(at) });
        }
        write_asks(&uri("asks"), &asks).await;
        let whole = fixtures::plan("uid-1", &uri("events"));
        let mut windowed = fixtures::definition("uid-2", &uri("events"));
        windowed.view.name = "windowed".into();
        windowed.features.retain(|feature| feature.window.is_some());
        let view = |plan: Plan| TrainView {
            assignment: Assignment { incarnation: 0, plan },
            source: None,
            lake: None,
            version_as_of: None,
            keys: BTreeMap::from([("user".to_owned(), "who".to_owned())]),
        };
        let config = TrainConfig {
            asks: Table { uri: uri("asks"), format: TableFormat::Delta },
            asks_version_as_of: None,
            timestamp: TimestampField { field: "asked_at".into(), unit: TimestampUnit::Milliseconds },
            views: vec![view(whole), view(fixtures::resolve(&windowed))],
            output: Output { table: Table { uri: uri("training"), format }, uid: "training-1".into() },
        };
        Self { folder, events, asks, config }
    }

    fn start(&self, flags: &[&str]) -> Command {
        let config = self.folder.path().join("train.json");
        std::fs::write(&config, serde_json::to_string(&self.config).unwrap()).unwrap();
        let mut command = Command::new(crate::world::binary());
        command
            .args(["train", "--threads", "2", "--config"])
            .arg(&config)
            .arg("--report")
            .arg(self.folder.path().join("report"))
            .args(flags)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    async fn run(&self, flags: &[&str]) -> (i32, String) {
        let output = self.start(flags).output().await.unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    /// What the last run reported.
    fn report(&self) -> Report {
        serde_json::from_str(&std::fs::read_to_string(self.folder.path().join("report")).unwrap()).unwrap()
    }

    /// What `ask` must be answered for a view: `None` if every feature is NULL because the entity is not known then.
    fn expected(
        plan: &Plan,
        ask: &Ask,
        by_user: &BTreeMap<&str, Vec<&Event>>,
    ) -> Option<BTreeMap<String, Option<Value>>> {
        let (who, at) = (ask.who.as_ref()?, ask.at?);
        let of = by_user.get(who.as_str())?;
        let events: Vec<&Event> = of.iter().copied().filter(|event| event.at.unwrap() < at).collect();
        let newest = events.iter().map(|event| event.at.unwrap()).max()?;
        if plan.time.retention_ms.is_some_and(|retention| newest < at - retention) {
            return None;
        }
        Some(oracle::features(&events, at))
    }

    async fn rows(&self) -> Vec<RecordBatch> {
        let session = session(&SessionOptions::default()).unwrap();
        let Table { uri, format } = &self.config.output.table;
        let frame = match format {
            TableFormat::Delta => {
                let table = lake::open(uri, &Storage::local(), None).await.unwrap();
                tables::frame(&table, uri, &session).await.unwrap()
            }
            TableFormat::Parquet => tables::parquet(uri, &Storage::local(), &session).await.unwrap(),
        };
        frame.collect().await.unwrap()
    }

    /// Checks every row of the training set; how many values were neither NULL nor 0.
    async fn check(&self) -> usize {
        let (mut seen, mut telling) = (vec![0; self.asks.len()], 0);
        let mut by_user: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
        for event in &self.events {
            by_user.entry(event.user.as_deref().unwrap()).or_default().push(event);
        }
        for batch in self.rows().await {
            let ids = batch.column_by_name("id").unwrap().as_primitive::<Int64Type>().clone();
            for plan in self.config.views.iter().map(|view| &view.assignment.plan) {
                let column = |name: &str| batch.column_by_name(&format!("{}__{name}", plan.view.name)).unwrap();
                let columns: Vec<_> = plan.features.iter().map(|feature| (feature, column(&feature.name))).collect();
                for (row, id) in ids.values().iter().enumerate() {
                    let ask = &self.asks[usize::try_from(*id).unwrap()];
                    let mut expected = Self::expected(plan, ask, &by_user).unwrap_or_default();
                    for (feature, column) in &columns {
                        let found = value(&feature.value_type, column, row);
                        let expected = expected.remove(&feature.name).flatten();
                        assert_eq!(found, expected, "{} of {}, {ask:?}", feature.name, plan.view.name);
                        telling += usize::from(found.is_some_and(|value| value != Value::Int64(0)));
                    }
                }
            }
            ids.values().iter().for_each(|id| seen[usize::try_from(*id).unwrap()] += 1);
        }
        assert!(seen.iter().all(|times| *times == 1), "each question is answered once");
        telling
    }
}

fn value(value_type: &ValueType, column: &ArrayRef, row: usize) -> Option<Value> {
    if column.is_null(row) {
        return None;
    }
    if let ValueType::List(item) = value_type {
        let items = cast(&column.as_list::<i32>().value(row), &item.arrow()).unwrap();
        return Some(Value::List((0..items.len()).filter_map(|i| value_at(&items, i)).collect()));
    }
    value_at(&cast(&column.slice(row, 1), &value_type.arrow()).unwrap(), 0)
}

async fn write_asks(uri: &str, asks: &[Ask]) {
    let micros = |at: Option<i64>| at.map(|at| at * 1_000);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from_iter_values(0..i64::try_from(asks.len()).unwrap()))),
        ("label", Arc::new(asks.iter().map(|_| Some("yes")).collect::<StringArray>())),
        ("who", Arc::new(asks.iter().map(|ask| ask.who.clone()).collect::<StringArray>())),
        (
            "asked_at",
            Arc::new(asks.iter().map(|ask| micros(ask.at)).collect::<TimestampMicrosecondArray>().with_timezone("UTC")),
        ),
    ];
    let fields = columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let batch = RecordBatch::try_new(schema.clone(), columns.into_iter().map(|(_, column)| column).collect()).unwrap();
    let spec = TableSpec {
        schema,
        partition_by: Vec::new(),
        identity: Identity { uid: "labels".into(), owner: Owner::Topic("labels".into()) },
        properties: Vec::new(),
        evolves: false,
    };
    let mut table = lake::ensure(uri, &Storage::local(), &spec).await.unwrap();
    lake::append(&mut table, uri, &[batch], None, Map::new()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn features_are_as_they_were_at_each_boundary() {
    let world = World::new(TableFormat::Delta, 5_000).await;
    let (code, log) = world.run(&[]).await;
    assert_eq!(code, 0, "{log}");
    let telling = world.check().await;
    assert!(telling > 5_000, "only {telling} values say anything");

    let uri = &world.config.output.table.uri;
    let table = lake::open(uri, &Storage::local(), None).await.unwrap();
    let (_, lineage) = lake::commit::latest_info(&table, uri, &["featuremill.lineage"]).await.unwrap().unwrap();
    let lineage: Lineage = serde_json::from_value(lineage).unwrap();
    assert_eq!((lineage.asks.version.as_str(), lineage.views.len()), ("1", 2));
    let view = &lineage.views[0];
    assert_eq!((view.view.as_str(), view.events.version.as_str()), ("shop/user-events", "1"));
    assert_eq!(view.revision, world.config.views[0].assignment.plan.revision);
    let of = |view: &TrainView| {
        let plan = &view.assignment.plan;
        ViewReport { view: plan.view.name.clone(), revision: plan.revision.clone(), version: "1".into() }
    };
    let views: Vec<ViewReport> = world.config.views.iter().map(of).collect();
    let rows = world.asks.len() as u64;
    assert_eq!(world.report(), Report::Made { rows, version: Some(1), asks: "1".into(), views: views.clone() });

    // Made again it is a new version, not twice the rows.
    let (code, log) = world.run(&[]).await;
    assert_eq!(code, 0, "{log}");
    world.check().await;
    assert_eq!(world.report(), Report::Made { rows, version: Some(2), asks: "1".into(), views });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_questions_are_answered_as_at_each_boundary() {
    let world = World::new(TableFormat::Delta, 100_000).await;
    let (code, log) = world.run(&[]).await;
    assert_eq!(code, 0, "{log}");
    let telling = world.check().await;
    println!("{} pairs, {telling} values that are neither NULL nor 0, all equal", world.asks.len());
    assert!(telling > 100_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn parquet_files_carry_their_lineage_and_nothing_is_written_over() {
    let world = World::new(TableFormat::Parquet, 500).await;
    let (code, log) = world.run(&[]).await;
    assert_eq!(code, 0, "{log}");
    world.check().await;
    let text = std::fs::read_to_string(format!("{}/_lineage.json", world.config.output.table.uri)).unwrap();
    assert_eq!(serde_json::from_str::<Lineage>(&text).unwrap().views.len(), 2);
    let (code, log) = world.run(&[]).await;
    assert_eq!(code, 2, "{log}");
    let Report::Failed { error } = world.report() else { panic!("{:?}", world.report()) };
    assert!(error.contains("name an empty folder"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_meet_are_refused() {
    let mut world = World::new(TableFormat::Delta, 5).await;
    world.config.views.push(world.config.views[0].clone());
    let (code, log) = world.run(&[]).await;
    assert_eq!(code, 2, "{log}");
    assert!(log.contains("user-events__events"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_who_was_erased_are_in_no_training_set() {
    let mut world = World::new(TableFormat::Delta, 4_000).await;
    let (lake, time) = (world.folder.path().display().to_string(), START + 20 * DAY);
    let session = session(&SessionOptions::default()).unwrap();
    for view in &mut world.config.views {
        let covers = engine::erase::Covers { before_ms: time, ..Default::default() };
        let erasure = crate::erase::erasure(&view.assignment.plan, &lake, "u3", covers);
        lake::erase::mark(&erasure, &Storage::local(), &session).await.unwrap();
        view.lake = Some(lake.clone());
    }
    let asked = world.asks.iter().filter(|ask| ask.who.as_deref() == Some("u3")).count();
    assert!(asked > 20, "only {asked} questions are about who was erased");
    world.events.retain(|event| event.user.as_deref() != Some("u3") || event.at.unwrap() >= time);
    for version in [None, Some(1)] {
        for view in &mut world.config.views {
            view.version_as_of = version;
        }
        let (code, log) = world.run(&[]).await;
        assert_eq!(code, 0, "{log}");
        world.check().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_at_once_make_one_table_with_each_answer_once() {
    let world = World::new(TableFormat::Delta, 3_000).await;
    let ((a, first), (b, second)) = tokio::join!(world.run(&[]), world.run(&[]));
    assert!([a, b].contains(&0) && [a, b].iter().all(|code| [0, 1].contains(code)), "{a} {b}\n{first}\n{second}");
    world.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parquet_of_a_run_that_was_killed_is_made_anew_by_the_next() {
    for attempt in 0..10 {
        let world = World::new(TableFormat::Parquet, 40_000).await;
        let folder = std::path::PathBuf::from(&world.config.output.table.uri);
        let is_there = |name: &str| folder.join(name).exists();
        let mut child = world.start(&[]).spawn().unwrap();
        while std::fs::read_dir(&folder).map_or(0, Iterator::count) == 0 && child.try_wait().unwrap().is_none() {
            tokio::task::yield_now().await;
        }
        child.start_kill().unwrap();
        child.wait().await.unwrap();
        if is_there("_lineage.json") {
            assert!(attempt < 9, "never killed in the middle");
            continue;
        }
        assert!(std::fs::read_dir(&folder).unwrap().next().is_some(), "killed too early to test anything");
        // What it may have left of a file that it was writing.
        std::fs::write(folder.join("part-00001.parquet#3"), "half").unwrap();
        // What a Job's next pod does.
        let (code, log) = world.run(&[]).await;
        assert_eq!(code, 0, "{log}");
        world.check().await;
        let names: Vec<String> =
            std::fs::read_dir(&folder).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
        let is_part = |name: &str| name.starts_with("part-") && name.ends_with(".parquet");
        assert!(names.iter().all(|name| is_part(name) || name == "_lineage.json"), "{names:?}");
        return;
    }
}

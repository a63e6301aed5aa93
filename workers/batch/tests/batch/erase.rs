//! Who is erased stays away: from runs that follow, from one that is under way, from older versions and training sets.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use batch::config::{Completeness, Rows, SourceTable};
use batch::feature_table::{self, FeatureTable, Stamp};
use engine::erase::Covers;
use engine::plan::{Plan, Table, TableFormat};
use engine::row::{RunOutcome, entity_text};
use lake::Storage;
use lake::erase::{Erased, Erasure, mark, remove};
use lake::session::{SessionOptions, session};
use lake::silver::Silver;
use shell::redis::Connector;
use shell::store::{Eraser as _, RedisStore, RowErasure, erase_rows};

use crate::archive::{archive, day_of_events};
use crate::fixtures::{DAY, HOUR};
use crate::oracle;
use crate::source::{Dice, Event, START, append, events};
use crate::world::{Served, World};

/// Who is erased from the tables of a view.
pub fn erasure(plan: &Plan, lake: &str, user: &str, covers: Covers) -> Erasure {
    Erasure {
        plan: Arc::new(plan.clone()),
        entity: vec![user.into()],
        lake: lake.to_owned(),
        bronze: None,
        silver: None,
        gold: None,
        covers,
    }
}

fn lake_of(world: &World) -> String {
    world.folder.path().display().to_string()
}

/// Erases a user, in the order in which the command does.
async fn erase(world: &World, user: &str, covers: Covers) -> (u64, Erased) {
    let store = RedisStore::connect(&Connector::new(&world.redis.url(), None).unwrap()).await.unwrap();
    let (storage, session) = (Storage::local(), session(&SessionOptions::default()).unwrap());
    let (plan, entity) = (world.plan(), entity_text([user]));
    let covers = store.begin_erasure(&plan.view.uid, &entity, &covers).await.unwrap();
    let gold = Some(world.config.feature_table.clone());
    let erasure = Erasure { gold, ..erasure(plan, &lake_of(world), user, covers.clone()) };
    mark(&erasure, &storage, &session).await.unwrap();
    let rows = RowErasure { uid: plan.view.uid.clone(), entity: entity.clone(), covers, lows: BTreeMap::new() };
    let online = erase_rows(&store, &rows, &[]).await.unwrap();
    let removed = remove(&erasure, &storage, &session).await.unwrap();
    store.end_erasure(&plan.view.uid, &entity).await.unwrap();
    (online, removed)
}

/// How many rows Gold has of a user.
async fn in_gold(world: &World, user: &str) -> i64 {
    let uri = &world.config.feature_table;
    let session = session(&SessionOptions::default()).unwrap();
    let table = lake::open(uri, &Storage::local(), None).await.unwrap();
    session.register_table("gold", lake::source::provider(&table, uri, &session).await.unwrap()).unwrap();
    let counted = session.sql(&format!("SELECT count(*) FROM gold WHERE \"user\" = '{user}'")).await.unwrap();
    counted.collect().await.unwrap()[0].column(0).as_primitive::<Int64Type>().value(0)
}

/// Those that are not erased, where events of `user` before `time` are.
fn left(all: &[Event], user: &str, time: i64) -> Vec<Event> {
    let is_left = |event: &&Event| event.user.as_deref() != Some(user) || event.at.unwrap() >= time;
    all.iter().filter(is_left).cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_the_users_brings_nobody_back() {
    let mut world = World::new().await;
    world.config.lake = Some(lake_of(&world));
    let mut dice = Dice(17);
    let mut all = events(&mut dice, 30, 3_000, START, START + 10 * DAY);
    append(&world.source(), &all).await;
    world.run_to(0).await;
    assert!(world.served().await.contains_key("u7"));
    let time = START + 8 * DAY;
    let covers = Covers { before_ms: time, ..Covers::default() };
    assert_eq!(erase(&world, "u7", covers.clone()).await, (1, Erased { gold: 1, ..Erased::default() }));
    assert_eq!(erase(&world, "u7", covers.clone()).await, (0, Erased::default()), "twice");
    assert!(!world.served().await.contains_key("u7"));
    assert!(!world.rows().await.contains_key("u7"));

    // The same version of the source: what came later counts again.
    world.run_to(0).await;
    let report = world.report().await;
    assert_eq!((report.outcome, report.generation), (RunOutcome::Published, 2));
    assert!(report.notes[0].contains("erased since"), "{:?}", report.notes);
    let expected = oracle::values(&left(&all, "u7", time), oracle::horizon(&all));
    assert!(expected.contains_key("u7") && expected["u7"] != oracle::values(&all, oracle::horizon(&all))["u7"]);
    assert_eq!(world.served().await, expected);
    world.run_to(0).await;
    assert_eq!(world.report().await.outcome, RunOutcome::NothingNew);

    // Then on top of that generation, and late events that the erasure covers all the same.
    let more = events(&mut dice, 30, 500, oracle::horizon(&all), START + 11 * DAY);
    append(&world.source(), &more).await;
    all.extend(more);
    world.run_to(0).await;
    let notes = world.report().await.notes;
    assert!(notes[0].contains("only events from"), "{notes:?}");
    assert_eq!(world.served().await, oracle::values(&left(&all, "u7", time), oracle::horizon(&all)));
    append(&world.source(), &events(&mut Dice(18), 30, 500, START, START + DAY)).await;
    all.extend(events(&mut Dice(18), 30, 500, START, START + DAY));
    world.run_to(0).await;
    assert_eq!(world.served().await, oracle::values(&left(&all, "u7", time), oracle::horizon(&all)));

    // The first version of the source, which is older than the erasure.
    world.config.version_as_of = Some(1);
    world.run_to(0).await;
    let first = &all[..3_000];
    assert_eq!(world.served().await, oracle::values(&left(first, "u7", time), oracle::horizon(first)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_under_way_brings_nobody_back() {
    let mut world = World::new().await;
    world.config.lake = Some(lake_of(&world));
    world.config.full_refresh = true;
    let mut dice = Dice(23);
    let mut all = events(&mut dice, 2_000, 20_000, START, START + 10 * DAY);
    append(&world.source(), &all).await;
    world.run_to(0).await;
    let (mut refused, mut erased) = (0, Vec::new());
    // Once it knows what to make, once it has folded, and once its rows are about to be written.
    for (round, moment) in ["a generation is to be made", "\"folded\"", "a generation is to be made"].iter().enumerate()
    {
        let user = format!("u{}", 100 + round);
        let (mut child, log) = world.start();
        let mut tries = 0;
        while !std::fs::read_to_string(&log).unwrap().contains(moment) {
            tries += 1;
            assert!(tries < 6_000 && child.try_wait().unwrap().is_none(), "{}", std::fs::read_to_string(&log).unwrap());
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let covers = Covers { before_ms: START + 10 * DAY, ..Covers::default() };
        assert!(erase(&world, &user, covers).await.0 <= 1);
        erased.push(user.clone());
        let code = child.wait().await.unwrap().code().unwrap();
        refused += usize::from(code == 1);
        assert!(code <= 1, "{}", std::fs::read_to_string(&log).unwrap());
        assert!(!world.rows().await.contains_key(&user), "round {round}, code {code}");
        // A run that was killed on the way may leave it in a generation that nobody reads; the next run replaces that.
        world.run_to_its_end().await;
        assert_eq!(in_gold(&world, &user).await, 0, "round {round}, code {code}");
        assert!(!world.rows().await.contains_key(&user));
    }
    assert!(refused > 0, "no run was under way when it mattered");
    all.retain(|event| !erased.contains(event.user.as_ref().unwrap()));
    let expected: Served = oracle::values(&all, world.head().await.unwrap().horizon);
    assert_eq!(world.served().await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_archives_and_silver_are_left_out_by_their_offsets_at_any_version() {
    let mut world = World::new().await;
    let lake = lake_of(&world);
    let events = day_of_events();
    let bronze = format!("{lake}/bronze");
    archive(&bronze, &events, &world.plan().source.timestamp, |_, time| time).await;
    let (storage, session) = (Storage::local(), session(&SessionOptions::default()).unwrap());
    let silver = Silver {
        plan: Arc::new(world.plan().clone()),
        dedup: Vec::new(),
        rules: Vec::new(),
        bronze: bronze.clone(),
        silver: format!("{lake}/silver"),
        tombstones: lake::erase::uri(&lake, world.plan()),
    };
    let made = lake::silver::run(&silver, &storage, &session, None, None).await.unwrap();
    let covers = Covers { offsets: [(0, 12)].into(), before_ms: START + DAY };
    let erasure = erasure(world.plan(), &lake, "u1", covers);
    let tables = Erasure { bronze: Some(bronze.clone()), silver: Some(silver.silver.clone()), ..erasure };
    lake::erase::erase(&tables, &storage, &session).await.unwrap();
    world.config.lake = Some(lake);
    world.config.completeness = Completeness::Archive;
    world.config.full_refresh = true;
    let before = lake::open(&bronze, &storage, None).await.unwrap().version().unwrap() - 1;
    let kept: Vec<Event> = (events.iter().zip(0..))
        .filter(|(event, offset)| event.user.as_deref() != Some("u1") || *offset >= 12)
        .map(|(event, _)| event.clone())
        .collect();
    for (uri, rows, before) in [(bronze, Rows::Archive, before), (silver.silver, Rows::Silver, made.version)] {
        for version in [None, Some(before)] {
            world.config.source =
                Some(SourceTable { table: Table { uri: uri.clone(), format: TableFormat::Delta }, rows });
            world.config.version_as_of = version;
            world.run_to(0).await;
            let head = world.head().await.unwrap();
            assert_eq!(head.horizon, START + 2 * DAY - HOUR);
            let counts = |served: &Served| {
                served.iter().map(|(user, of)| (user.clone(), of["events"].clone())).collect::<BTreeMap<_, _>>()
            };
            let (found, expected) = (counts(&world.served().await), counts(&oracle::values(&kept, head.horizon)));
            assert_eq!(found, expected, "{rows:?} at {version:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_run_of_another_revision_commits_nobody_behind_an_erasure() {
    let world = World::new().await;
    append(&world.source(), &events(&mut Dice(19), 10, 500, START, START + 9 * DAY)).await;
    world.run_to(0).await;
    // A candidate's first run has set out: Gold knows nothing of its revision yet.
    let mut plan = world.plan().clone();
    plan.revision = "candidate".to_owned();
    let plan = Arc::new(plan);
    let mut candidate = FeatureTable::open(&world.config.feature_table, plan.clone(), &Storage::local()).await.unwrap();
    erase(&world, "u1", Covers { before_ms: START + 20 * DAY, ..Covers::default() }).await;
    assert_eq!(in_gold(&world, "u1").await, 0);

    let program = Arc::new(engine::program::Program::new(plan.clone()).unwrap());
    let layout = Arc::new(engine::lane::Layout::new(&plan).unwrap());
    let reader = batch::features::FeatureReader::new(program, layout, START);
    let mut features = reader.rows(1);
    features.push(&[], START).unwrap();
    let keys: arrow::array::ArrayRef = Arc::new(arrow::array::StringArray::from(vec!["u1"]));
    let stamp = Stamp { horizon: START, revision: plan.revision.clone(), generation: 1 };
    let rows = feature_table::rows(&plan, &[keys], &stamp, &features.finish().unwrap()).unwrap();
    let mut writer = candidate.writer().unwrap();
    writer.write(&rows).await.unwrap();
    let files = writer.finish().await.unwrap();
    let committed = candidate.commit(1, files, 1, std::collections::HashMap::new()).await;
    assert_eq!(in_gold(&world, "u1").await, 0, "who was erased is in Gold again");
    committed.unwrap_err();
}

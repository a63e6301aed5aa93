//! Runs that are killed, stopped and doubled: the served generation is always a whole one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, StringArray};
use batch::feature_table::{self, FeatureTable, Stamp};
use batch::features::FeatureReader;
use engine::lane::Layout;
use engine::program::Program;
use engine::row::RunOutcome;
use futures::TryStreamExt as _;
use lake::Storage;
use lake::session::{SessionOptions, session};

use crate::fixtures::DAY;
use crate::oracle;
use crate::source::{Dice, Event, START, append, events, replace};
use crate::world::World;

/// Sends a signal to a process that was started here and has not been awaited.
fn signal(child: &tokio::process::Child, name: &str) {
    let id = child.id().expect("it runs").to_string();
    assert!(std::process::Command::new("kill").args([name, &id]).status().unwrap().success());
}

/// That what is served is exactly the generation made of the source's version that was published.
async fn assert_whole(world: &World, by_version: &BTreeMap<String, Vec<Event>>) {
    let (head, published) = (world.head().await.unwrap(), world.published().await.unwrap());
    assert_eq!(head.generation, published.generation);
    let events = &by_version[&published.source];
    assert_eq!(head.horizon, oracle::horizon(events));
    assert_eq!(world.served().await, oracle::values(events, head.horizon), "generation {}", head.generation);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_twenty_moments_it_serves_a_whole_generation() {
    let mut world = World::new().await;
    world.flags = ["--lease-ms", "1000", "--redis-connections", "1"].map(Into::into).to_vec();
    let mut dice = Dice(12);
    let mut all = events(&mut dice, 3_000, 12_000, START, START + 9 * DAY);
    append(&world.source(), &all).await;
    let mut by_version = BTreeMap::from([("1".to_owned(), all.clone())]);
    let start = Instant::now();
    world.run_to_its_end().await;
    let whole_run = start.elapsed();
    let (mut kills, mut in_publication) = (0, 0);
    for attempt in 0_u32..200 {
        if kills == 20 {
            break;
        }
        // Some users are new, and now and then some are gone.
        let version: u64 = by_version.keys().map(|version| version.parse().unwrap()).max().unwrap_or(0);
        let day = START + 9 * DAY + i64::from(attempt) * DAY / 8;
        let more = events(&mut dice, 3_200, 300, day, day + DAY / 8);
        if attempt % 5 == 4 {
            let gone = format!("{}", attempt % 10);
            all.retain(|event| event.user.as_ref().is_some_and(|user| !user.ends_with(&gone)));
            all.extend(more);
            replace(&world.source(), &all).await;
        } else {
            append(&world.source(), &more).await;
            all.extend(more);
        }
        by_version.insert((version + 1).to_string(), all.clone());

        let generation = world.head().await.unwrap().generation;
        let (mut child, _) = world.start();
        let mut killed = false;
        if attempt % 4 == 0 {
            // At any moment of the run.
            let most = u64::try_from(whole_run.as_millis()).unwrap();
            tokio::time::sleep(Duration::from_millis(u64::try_from(dice.roll(most)).unwrap())).await;
        } else {
            // When some row of the new generation is there, whichever: the order of rows is nobody's.
            let some = [format!("u{}", dice.roll(3_000))];
            while world.written(&some, generation + 1).await == 0 && child.try_wait().unwrap().is_none() {}
        }
        if child.try_wait().unwrap().is_none() {
            child.start_kill().unwrap();
            killed = true;
        }
        child.wait().await.unwrap();
        if killed && world.head().await.unwrap().generation == generation {
            kills += 1;
            in_publication += u32::from(!world.lanes(generation + 1).await.is_empty());
        }
        assert_whole(&world, &by_version).await;
    }
    assert_eq!(kills, 20);
    assert!(in_publication >= 5, "only {in_publication} of 20 kills met the writing of rows");
    world.run_to_its_end().await;
    assert_whole(&world, &by_version).await;
    assert_eq!(world.published().await.unwrap().source, by_version.len().to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_was_killed_leaves_no_entity_behind() {
    let mut world = World::new().await;
    world.flags = ["--lease-ms", "1000", "--redis-connections", "1"].map(Into::into).to_vec();
    let all = events(&mut Dice(13), 3_000, 12_000, START, START + 9 * DAY);
    append(&world.source(), &all).await;
    world.run_to_its_end().await;
    // The attempt sees users that the source no longer has when it is made again.
    let mut poisoned = all.clone();
    // So many that writing them takes long enough to be met, however busy the machine.
    poisoned.extend((0..30_000).map(|i| Event {
        user: Some(format!("ghost{i}")),
        at: Some(START),
        ..Event::default()
    }));
    replace(&world.source(), &poisoned).await;
    let (mut child, _) = world.start();
    let some: Vec<String> = (0..30).map(|i| format!("ghost{}", i * 1_000)).collect();
    let ghosts = async || world.lanes(2).await.keys().filter(|user| user.starts_with("ghost")).count();
    while world.written(&some, 2).await == 0 && child.try_wait().unwrap().is_none() {}
    child.start_kill().unwrap();
    child.wait().await.unwrap();
    assert_eq!(world.head().await.unwrap().generation, 1, "the kill came too late to test anything");
    assert!(ghosts().await > 0);

    replace(&world.source(), &all).await;
    world.run_to_its_end().await;
    assert_eq!(world.head().await.unwrap().generation, 2);
    assert_eq!(ghosts().await, 0);
    assert!(!world.rows().await.keys().any(|user| user.starts_with("ghost")));
    assert_eq!(world.served().await, oracle::values(&all, oracle::horizon(&all)));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_at_once_make_one_generation() {
    let world = World::new().await;
    let all = events(&mut Dice(14), 1_000, 5_000, START, START + 9 * DAY);
    append(&world.source(), &all).await;
    let (a, b) = tokio::join!(world.run(), world.run());
    assert_eq!((a.code, b.code), (0, 0), "{}\n{}", a.log, b.log);
    assert_eq!(world.head().await.unwrap().generation, 1);
    assert_eq!(world.served().await, oracle::values(&all, oracle::horizon(&all)));
    assert_eq!(world.report().await.outcome, RunOutcome::NothingNew);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_stood_still_and_lost_its_lease_writes_nothing_more() {
    let mut world = World::new().await;
    world.flags = ["--lease-ms", "300", "--redis-connections", "1"].map(Into::into).to_vec();
    let mut all = events(&mut Dice(15), 3_000, 12_000, START, START + 9 * DAY);
    append(&world.source(), &all).await;
    let mut tries = 0;
    let (mut sleeper, log) = loop {
        let (mut child, log) = world.start();
        let some: Vec<String> = (0..30).map(|i| format!("u{}", i * 100)).collect();
        while world.written(&some, 1).await == 0 && child.try_wait().unwrap().is_none() {}
        signal(&child, "-STOP");
        if world.head().await.is_none() {
            break (child, log);
        }
        // It was through already.
        signal(&child, "-CONT");
        child.wait().await.unwrap();
        tries += 1;
        assert!(tries < 5, "never met in time");
        redis::cmd("FLUSHALL").query_async::<()>(&mut world.connection.clone()).await.unwrap();
    };
    let more = events(&mut Dice(16), 3_500, 3_000, START + 9 * DAY, START + 10 * DAY);
    append(&world.source(), &more).await;
    all.extend(more);
    world.run_to_its_end().await;
    let (rows, head) = (world.rows().await, world.head().await);
    signal(&sleeper, "-CONT");
    let status = sleeper.wait().await.unwrap();
    assert_eq!(status.code(), Some(1), "{}", std::fs::read_to_string(log).unwrap());
    assert_eq!((world.rows().await, world.head().await), (rows, head));
    assert_eq!(world.served().await, oracle::values(&all, oracle::horizon(&all)));
    assert_eq!(world.report().await.outcome, RunOutcome::Published);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_lease_passed_on_cannot_commit_over_its_successor() {
    let world = World::new().await;
    let plan = Arc::new(world.plan().clone());
    let open = async || FeatureTable::open(&world.config.feature_table, plan.clone(), &Storage::local()).await.unwrap();
    let (mut sleeper, mut successor) = (open().await, open().await);
    let files = async |table: &FeatureTable, users: &[&str]| {
        let reader = FeatureReader::new(
            Arc::new(Program::new(plan.clone()).unwrap()),
            Arc::new(Layout::new(&plan).unwrap()),
            START,
        );
        let mut features = reader.rows(users.len());
        for _ in users {
            features.push(&[], START).unwrap();
        }
        let keys: ArrayRef = Arc::new(StringArray::from(users.to_vec()));
        let stamp = Stamp { horizon: START, revision: plan.revision.clone(), generation: 1 };
        let rows = feature_table::rows(&plan, &[keys], &stamp, &features.finish().unwrap()).unwrap();
        let mut writer = table.writer().unwrap();
        writer.write(&rows).await.unwrap();
        writer.finish().await.unwrap()
    };
    let (old, new) = (files(&sleeper, &["a", "b"]).await, files(&successor, &["c"]).await);
    successor.commit(1, new, 8, HashMap::new()).await.unwrap();
    sleeper.commit(1, old, 7, HashMap::new()).await.unwrap_err();

    let session = session(&SessionOptions::default()).unwrap();
    let mut table = open().await;
    let count = async |table: &FeatureTable| {
        let batches: Vec<_> = table.generation(1, &session).await.unwrap().try_collect().await.unwrap();
        batches.iter().map(arrow::array::RecordBatch::num_rows).sum::<usize>()
    };
    assert_eq!((table.generations(0).unwrap(), count(&table).await), (vec![1], 1));
    // The next try replaces what was committed under its number.
    let again = files(&table, &["d", "e", "f"]).await;
    table.commit(1, again, 9, HashMap::new()).await.unwrap();
    assert_eq!((table.generations(0).unwrap(), count(&table).await), (vec![1], 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_began_before_a_rollback_leaves_the_generation_gone_back_to_whole() {
    let mut world = World::new().await;
    world.flags = ["--lease-ms", "60000", "--redis-connections", "1"].map(Into::into).to_vec();
    let mut by_version = BTreeMap::new();
    let mut all = Vec::new();
    for day in 0..2 {
        let from = START + (9 + day) * DAY;
        let more = events(&mut Dice(20), 300, 2_000, from - DAY, from);
        append(&world.source(), &more).await;
        all.extend(more);
        world.run_to(0).await;
        by_version.insert(world.head().await.unwrap().generation, (world.head().await.unwrap(), all.clone()));
    }
    append(&world.source(), &events(&mut Dice(21), 300, 2_000, START + 11 * DAY, START + 12 * DAY)).await;
    // The run has seen the head, and has written nothing yet.
    let (mut run, log) = world.start();
    let begun = || std::fs::read_to_string(&log).unwrap().contains("a generation is to be made");
    while !begun() && run.try_wait().unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    signal(&run, "-STOP");
    assert!(world.lanes(3).await.is_empty(), "it was stopped too late to test anything");

    // Going back, as the operator does it: one compare-and-set of the head.
    let (served, (first, events)) = (world.head().await.unwrap(), &by_version[&1]);
    assert_eq!((served.generation, first.generation), (2, 1));
    let head = engine::row::Head { fence: served.fence + 1, ..first.clone() };
    let key = engine::row::head_key(&world.plan().view.uid, &world.plan().revision);
    let text = serde_json::to_string(&head).unwrap();
    redis::cmd("SET").arg(key).arg(text).query_async::<()>(&mut world.connection.clone()).await.unwrap();
    signal(&run, "-CONT");
    let status = run.wait().await.unwrap();

    assert_eq!(status.code(), Some(1), "{}", std::fs::read_to_string(log).unwrap());
    assert_eq!(world.head().await, Some(head.clone()));
    let (found, expected) = (world.served().await, oracle::values(events, head.horizon));
    assert!(found == expected, "of {} entities {} are still served", expected.len(), found.len());
}

/// The report of a run that came later, and wrote nothing, hid that one before it had been killed amid its rows: the generation
/// before last, of which half was left, could be gone back to.
#[tokio::test(flavor = "multi_thread")]
async fn that_the_generation_before_is_no_longer_whole_outlasts_who_overwrote_it() {
    let mut world = World::new().await;
    world.flags = ["--lease-ms", "1000", "--redis-connections", "1"].map(Into::into).to_vec();
    let mut all = events(&mut Dice(24), 3_000, 12_000, START, START + 9 * DAY);
    for day in 0..2 {
        all.extend(events(&mut Dice(25), 3_000, 500, START + (9 + day) * DAY, START + (10 + day) * DAY));
        replace(&world.source(), &all).await;
        world.run_to_its_end().await;
    }
    let before = world.lanes(1).await;
    assert_eq!((world.head().await.unwrap().generation, world.writing().await), (2, Some(2)));
    let some: Vec<String> = before.keys().take(30).cloned().collect();

    all.extend(events(&mut Dice(26), 30_000, 60_000, START + 11 * DAY, START + 12 * DAY));
    replace(&world.source(), &all).await;
    let (mut child, _) = world.start();
    while world.written(&some, 3).await == 0 && child.try_wait().unwrap().is_none() {}
    child.start_kill().unwrap();
    child.wait().await.unwrap();
    assert_eq!(world.head().await.unwrap().generation, 2, "the kill came too late to test anything");
    assert_ne!(world.lanes(1).await, before, "the kill came too early to test anything");

    // The next try finds another source, and is refused.
    world.config.gate = batch::gate::Limits::default();
    replace(&world.source(), &all[..100]).await;
    world.run_to(3).await;
    assert!(matches!(world.report().await.outcome, RunOutcome::Refused { .. }));
    assert_eq!((world.head().await.unwrap().generation, world.writing().await), (2, Some(3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_swept_leaves_rows_that_are_served_without_an_end() {
    // Without features of all time, rows of which nothing but stream lanes is left have an end.
    let mut world = World::with(|definition| definition.features.retain(|feature| feature.window.is_some())).await;
    assert!(world.plan().time.retention_ms.is_some());
    let mut heads = Vec::new();
    for day in 0..2 {
        let from = START + (9 + day) * DAY;
        append(&world.source(), &events(&mut Dice(22), 300, 4_000, from - DAY, from)).await;
        world.run_to(0).await;
        heads.push(world.head().await.unwrap());
    }
    // A person goes back to the first, whose rows are served from now on.
    let head = engine::row::Head { fence: heads[1].fence + 1, ..heads[0].clone() };
    let key = engine::row::head_key(&world.plan().view.uid, &world.plan().revision);
    let text = serde_json::to_string(&head).unwrap();
    redis::cmd("SET").arg(key).arg(text).query_async::<()>(&mut world.connection.clone()).await.unwrap();
    let served = world.served().await;
    // The next run sweeps what was gone back from, and is refused.
    world.config.gate = batch::gate::Limits::default();
    replace(&world.source(), &events(&mut Dice(23), 100, 1_000, START + 10 * DAY, START + 11 * DAY)).await;
    world.run_to(3).await;
    assert!(world.lanes(2).await.is_empty(), "nothing was swept");
    assert_eq!(world.served().await, served);
    let prefix = engine::row::row_prefix(&world.plan().view.uid, &world.plan().revision, 0);
    for entity in world.rows().await.into_keys() {
        let left: i64 = redis::cmd("PTTL")
            .arg(format!("{prefix}{entity}"))
            .query_async(&mut world.connection.clone())
            .await
            .unwrap();
        assert_eq!(left, -1, "{entity} is served, and ends in {left} ms");
    }
}

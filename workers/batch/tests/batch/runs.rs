//! Runs that nobody disturbs: values, tables, reports.

use std::collections::BTreeMap;

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use batch::config::Completeness;
use engine::plan::{TableFormat, TimestampUnit};
use engine::row::RunOutcome;
use lake::session::{SessionOptions, session};
use lake::{Storage, source as tables};

use crate::fixtures::{DAY, HOUR};
use crate::source::{Dice, Event, START, append, batch, events, replace, table};
use crate::world::World;
use crate::{fixtures, oracle};

#[tokio::test(flavor = "multi_thread")]
async fn values_are_those_of_all_events_recomputed() {
    let world = World::new().await;
    let mut dice = Dice(1);
    let mut all = events(&mut dice, 50, 4_000, START, START + 10 * DAY);
    append(&world.source(), &all).await;
    world.run_to(0).await;
    let head = world.head().await.unwrap();
    assert_eq!((head.generation, head.horizon), (1, oracle::horizon(&all)));
    let expected = oracle::values(&all, head.horizon);
    assert_eq!(world.served().await, expected);
    // The lateness is the reach of a read into the past.
    let earlier = head.horizon - HOUR;
    let served = world.served_at(&head, earlier).await;
    for (entity, values) in oracle::values(&all, earlier) {
        assert_eq!(served[&entity], values, "{entity} an hour before the horizon");
    }
    let report = world.report().await;
    assert_eq!((report.outcome, report.rows, report.table_version), (RunOutcome::Published, 50, Some(1)));

    // Late events, which the next generation has, and newer ones.
    let more: Vec<Event> = events(&mut dice, 60, 1_000, START + 5 * DAY, START + 12 * DAY);
    append(&world.source(), &more).await;
    all.extend(more);
    world.run_to(0).await;
    assert_eq!(world.head().await.unwrap().generation, 2);
    assert_eq!(world.served().await, oracle::values(&all, oracle::horizon(&all)));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_new_is_said_and_a_full_refresh_is_made_anyway() {
    let mut world = World::new().await;
    append(&world.source(), &events(&mut Dice(2), 5, 100, START, START + DAY)).await;
    world.run_to(0).await;
    world.run_to(0).await;
    let report = world.report().await;
    assert_eq!((report.outcome, report.generation), (RunOutcome::NothingNew, 1));
    assert_eq!(world.head().await.unwrap().generation, 1);
    world.config.full_refresh = true;
    world.run_to(0).await;
    assert_eq!(world.head().await.unwrap().generation, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feature_table_has_every_generation_typed_and_another_views_is_refused() {
    let mut world = World::new().await;
    let all = events(&mut Dice(3), 20, 500, START, START + 9 * DAY);
    append(&world.source(), &all).await;
    world.run_to(0).await;
    append(&world.source(), &events(&mut Dice(4), 20, 10, START + 9 * DAY, START + 10 * DAY)).await;
    world.run_to(0).await;

    let uri = world.config.feature_table.clone();
    let table = lake::open(&uri, &Storage::local(), None).await.unwrap();
    let session = session(&SessionOptions::default()).unwrap();
    session.register_table("gold", tables::provider(&table, &uri, &session).await.unwrap()).unwrap();
    let sql =
        "SELECT \"user\", as_of, generation, events, newest_7d, last_kinds[1] AS latest FROM gold WHERE generation = 1";
    let rows = session.sql(sql).await.unwrap().collect().await.unwrap();
    let expected = oracle::values(&all, oracle::horizon(&all));
    let mut seen = 0;
    for batch in rows {
        let users = arrow::compute::cast(batch.column(0), &arrow::datatypes::DataType::Utf8).unwrap();
        for row in 0..batch.num_rows() {
            let values = &expected[users.as_string::<i32>().value(row)];
            let as_of = batch.column(1).as_primitive::<TimestampMicrosecondType>().value(row);
            assert_eq!(as_of, oracle::horizon(&all) * 1_000);
            let events = batch.column(3).as_primitive::<Int64Type>().value(row);
            assert_eq!(values["events"], Some(engine::value::Value::Int64(events)));
            seen += 1;
        }
    }
    assert_eq!(seen, expected.len());

    world.config.assignment.plan.view.uid = "uid-2".into();
    let ended = world.run_to(2).await;
    assert!(ended.log.contains("belongs to"), "{}", ended.log);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_rows_are_counted_by_reason_and_end_nothing() {
    let world = World::new().await;
    let mut all = events(&mut Dice(5), 20, 300, START, START + 9 * DAY);
    append(&world.source(), &all).await;
    let now = jiff::Timestamp::now().as_millisecond();
    let bad = |user: Option<&str>, at: Option<i64>| Event { user: user.map(Into::into), at, ..Event::default() };
    append(
        &world.source(),
        &[bad(None, Some(START)), bad(Some("x"), None), bad(None, None), bad(Some("x"), Some(now + DAY))],
    )
    .await;
    world.run_to(0).await;
    assert_eq!(world.report().await.refused, BTreeMap::from([("NullField".to_owned(), 3)]));
    all.retain(|event| event.user.is_some());
    assert_eq!(world.served().await, oracle::values(&all, oracle::horizon(&all)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_parquet_is_read_and_its_files_are_its_version() {
    let world = World::with(|definition| {
        definition.table.as_mut().unwrap().format = TableFormat::Parquet;
        definition.timestamp.unit = TimestampUnit::Milliseconds;
    })
    .await;
    let all = events(&mut Dice(6), 30, 1_000, START, START + 9 * DAY);
    std::fs::create_dir_all(world.source()).unwrap();
    for (i, part) in all.chunks(300).enumerate() {
        let file = std::fs::File::create(format!("{}/part-{i}.parquet", world.source())).unwrap();
        let batch = batch(part);
        let mut writer = deltalake::parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }
    world.run_to(0).await;
    assert_eq!(world.served().await, oracle::values(&all, oracle::horizon(&all)));
    world.run_to(0).await;
    assert_eq!(world.report().await.outcome, RunOutcome::NothingNew);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_read_can_need_is_not_read_and_a_read_that_would_need_it_is_told() {
    // Without features of all time, a lane keeps what its longest window needs.
    let world = World::with(|definition| {
        definition.features.retain(|f| f.window.is_some());
    })
    .await;
    let mut all = events(&mut Dice(7), 10, 2_000, START, START + 30 * DAY);
    all.push(Event { user: Some("gone".into()), at: Some(START), ..Event::default() });
    append(&world.source(), &all).await;
    world.run_to(0).await;
    let head = world.head().await.unwrap();
    let served = world.served().await;
    assert!(!served.contains_key("gone"), "its last event is older than any window");
    for (entity, mut values) in oracle::values(&all, head.horizon) {
        values.remove("events");
        values.remove("buy_share");
        if entity != "gone" {
            assert_eq!(served[&entity], values, "{entity}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn entities_that_vanish_from_the_source_vanish_from_the_store() {
    let world = World::new().await;
    let mut dice = Dice(8);
    let mut all = events(&mut dice, 40, 2_000, START, START + 9 * DAY);
    append(&world.source(), &all).await;
    world.run_to(0).await;
    let gone = |event: &Event| event.user.as_ref().is_some_and(|user| user.ends_with('7'));
    all.retain(|event| !gone(event));
    replace(&world.source(), &all).await;
    world.run_to(0).await;
    assert!(!world.served().await.keys().any(|user| user.ends_with('7')), "a generation has no more than its source");
    assert!(world.rows().await.keys().any(|user| user.ends_with('7')), "the generation before is whole still");
    all.extend(events(&mut dice, 5, 50, START + 9 * DAY, START + 10 * DAY));
    replace(&world.source(), &all).await;
    world.run_to(0).await;
    assert!(!world.rows().await.keys().any(|user| user.ends_with('7')), "nothing is left behind");
    assert_eq!(world.served().await, oracle::values(&all, oracle::horizon(&all)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_larger_than_its_memory_spills_and_gives_the_same_bytes() {
    let all = events(&mut Dice(9), 6_000, 120_000, START, START + 9 * DAY);
    spills_and_gives_the_same_bytes(World::new().await, &all).await;
}

/// Runs over `all` with memory enough and with little; what must be seen of the little.
pub async fn spills_and_gives_the_same_bytes(mut world: World, all: &[Event]) {
    append(&world.source(), all).await;
    world.run_to(0).await;
    let whole = world.lanes(1).await;
    world.config.assignment.plan.view.uid = "uid-2".into();
    world.config.feature_table = world.folder.path().join("gold-2").display().to_string();
    world.flags = vec!["--memory-mib".into(), "8".into()];
    let ended = world.run_to(0).await;
    let line = ended.log.lines().find(|line| line.contains("spilled_bytes")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert!(line["spilled_bytes"].as_u64().unwrap() > 0, "{line}");
    assert_eq!(world.lanes(1).await, whole);
    assert_eq!(whole.len(), oracle::values(all, oracle::horizon(all)).len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_configuration_ends_with_two_and_says_what_to_fix() {
    let mut world = World::new().await;
    append(&world.source(), &events(&mut Dice(10), 5, 10, START, START + DAY)).await;
    world.config.completeness = batch::config::Completeness::Declared;
    let ended = world.run_to(2).await;
    assert!(ended.log.contains("featuremill.completeUntil"), "{}", ended.log);
    world.config.completeness = batch::config::Completeness::NewestEvent;
    world.config.assignment.plan.source.columns[2].name = "nowhere".into();
    world.run_to(2).await;
    let mut definition = fixtures::definition("uid-1", &world.source());
    definition.features[0].name = "as_of".into();
    definition.features.truncate(1);
    world.config.assignment.plan = fixtures::resolve(&definition);
    let ended = world.run_to(2).await;
    assert!(ended.log.contains("as_of"), "{}", ended.log);
}

/// The bytes of a generation's lanes without its number.
async fn bytes(world: &World, generation: u64) -> BTreeMap<String, Vec<(u8, Vec<u8>)>> {
    let mut lanes = world.lanes(generation).await;
    for segments in lanes.values_mut() {
        segments[0].1[9..17].fill(0);
    }
    lanes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_on_top_of_the_last_generation_gives_the_bytes_of_one_over_everything() {
    for (windowed, numbers) in [(false, false), (true, false), (true, true)] {
        let mut world = World::with(|definition| {
            if numbers {
                crate::tallies::of_numbers(definition);
            }
            if windowed {
                definition.features.retain(|f| f.window.is_some());
                definition.features.push(fixtures::feature("events_7d", "Count", Some("7d")));
            }
        })
        .await;
        let mut dice = Dice(31);
        append(&world.source(), &events(&mut dice, 200, 3_000, START, START + 9 * DAY)).await;
        world.run_to(0).await;
        for round in 0..3 {
            // Less and less users go on, so that some run out of every window.
            let (from, users) = (START + 9 * DAY + round * 4 * DAY, 150 - 50 * u64::try_from(round).unwrap());
            append(&world.source(), &events(&mut dice, users, 500, from, from + 4 * DAY)).await;
            world.run_to(0).await;
            let report = world.report().await;
            assert!(
                report.notes.iter().any(|note| note.contains("on top of the last generation")),
                "{:?}",
                report.notes
            );
            let incremental = bytes(&world, report.generation).await;
            world.config.full_refresh = true;
            world.run_to(0).await;
            world.config.full_refresh = false;
            let report = world.report().await;
            assert!(report.notes.iter().any(|note| note.contains("a full refresh")), "{:?}", report.notes);
            assert_eq!(
                bytes(&world, report.generation).await,
                incremental,
                "round {round}, windowed {windowed}, numbers {numbers}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_late_or_lost_makes_a_run_read_everything() {
    let world = World::new().await;
    let mut dice = Dice(32);
    let mut all = events(&mut dice, 50, 2_000, START, START + 9 * DAY);
    append(&world.source(), &all).await;
    world.run_to(0).await;
    let next = async |more: Vec<Event>, all: &mut Vec<Event>, why: &str| {
        append(&world.source(), &more).await;
        all.extend(more);
        world.run_to(0).await;
        let notes = world.report().await.notes;
        assert!(notes.iter().any(|note| note.contains(why)), "{notes:?}");
        assert_eq!(world.served().await, oracle::values(all, oracle::horizon(all)));
    };
    let late = events(&mut dice, 50, 100, START + 8 * DAY, START + 10 * DAY);
    next(late, &mut all, "holds events before the last horizon").await;
    let key = format!("{}u7", engine::row::row_prefix("uid-1", &world.plan().revision, 0));
    redis::cmd("DEL").arg(key).query_async::<()>(&mut world.connection.clone()).await.unwrap();
    next(events(&mut dice, 50, 100, START + 10 * DAY, START + 11 * DAY), &mut all, "the store lost writes").await;
    next(events(&mut dice, 50, 100, START + 11 * DAY, START + 12 * DAY), &mut all, "on top of the last").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_version_of_the_table_gives_that_versions_features() {
    let world = World::new().await;
    let mut dice = Dice(17);
    let old = events(&mut dice, 30, 1_000, START, START + 6 * DAY);
    append(&world.source(), &old).await;
    let version = lake::open(&world.source(), &Storage::local(), None).await.unwrap().version().unwrap();
    let more = events(&mut dice, 40, 1_000, START, START + 12 * DAY);
    append(&world.source(), &more).await;
    world.run_to(0).await;
    let all = [old.clone(), more].concat();
    assert_eq!(world.served().await, oracle::values(&all, oracle::horizon(&all)));

    let uri = world.source();
    let mut then = World::with(|definition| definition.table.as_mut().unwrap().uri = uri).await;
    then.config.version_as_of = Some(version);
    then.run_to(0).await;
    assert_eq!(then.report().await.table_version, i64::try_from(version).ok());
    let head = then.head().await.unwrap();
    assert_eq!(head.horizon, oracle::horizon(&old));
    assert_eq!(then.served().await, oracle::values(&old, head.horizon));
}

/// Makes the table anew, in `commits` commits, as if it had never been there.
async fn make_anew(uri: &str, commits: &[&[Event]]) {
    std::fs::remove_dir_all(uri).unwrap();
    for events in commits {
        append(uri, events).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_made_anew_is_another_whatever_its_version() {
    let world = World::new().await;
    let mut dice = Dice(70);
    let first = events(&mut dice, 30, 1_000, START, START + 9 * DAY);
    append(&world.source(), &first).await;
    world.run_to(0).await;
    assert_eq!(world.served().await, oracle::values(&first, oracle::horizon(&first)));

    // The same version, and an end at the same time.
    let last = Event { at: Some(first.iter().filter_map(|event| event.at).max().unwrap()), ..first[0].clone() };
    let mut all = events(&mut dice, 30, 700, START, START + 8 * DAY);
    all.push(last);
    assert_eq!(oracle::horizon(&all), oracle::horizon(&first));
    make_anew(&world.source(), &[&all]).await;
    world.run_to(0).await;
    assert_eq!(world.report().await.outcome, RunOutcome::Published, "{:?}", world.report().await.notes);
    assert_eq!(world.served().await, oracle::values(&all, oracle::horizon(&all)));

    // One version more, of which the last commit alone looks as if it had been appended.
    let mut anew = events(&mut dice, 30, 500, START, START + 9 * DAY);
    let more = events(&mut dice, 30, 100, START + 9 * DAY, START + 10 * DAY);
    make_anew(&world.source(), &[&anew, &more]).await;
    anew.extend(more);
    world.run_to(0).await;
    assert_eq!(world.served().await, oracle::values(&anew, oracle::horizon(&anew)));
}

#[tokio::test(flavor = "multi_thread")]
async fn parquet_files_with_unusual_names_are_read_like_others() {
    let world = World::with(|definition| {
        definition.table.as_mut().unwrap().format = TableFormat::Parquet;
    })
    .await;
    let all = events(&mut Dice(71), 30, 1_000, START, START + 9 * DAY);
    // As Hive and Spark write them: a colon in the value of a partition is `%3A` in the name of its folder.
    let names = ["hour=10%3A00/part.parquet", "hour=11/100% of it.parquet", "a?b#c.parquet", "ü+[x].parquet"];
    for (name, part) in names.iter().zip(all.chunks(250)) {
        let path = std::path::Path::new(&world.source()).join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let (file, batch) = (std::fs::File::create(path).unwrap(), batch(part));
        let mut writer = deltalake::parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }
    world.run_to(0).await;
    assert_eq!(world.served().await, oracle::values(&all, oracle::horizon(&all)));
}

/// What a job of Spark's writes there stands in `_temporary` until it ends, once for each attempt of a task; a table's log
/// holds checkpoints. Both were read as events.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_hidden_in_a_folder_of_parquet_is_not_read() {
    let world = World::with(|definition| {
        definition.table.as_mut().unwrap().format = TableFormat::Parquet;
    })
    .await;
    let all = events(&mut Dice(76), 30, 500, START, START + 9 * DAY);
    let names = ["_year=2023/part.parquet", "_temporary/0/part.parquet", "_delta_log/1.parquet", ".part.parquet"];
    for name in names {
        let path = std::path::Path::new(&world.source()).join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let (file, batch) = (std::fs::File::create(path).unwrap(), batch(&all));
        let mut writer = deltalake::parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }
    world.run_to(0).await;
    assert_eq!(world.served().await, oracle::values(&all, oracle::horizon(&all)));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_horizon_is_in_the_future_whatever_the_table_declares() {
    let mut world = World::new().await;
    world.config.completeness = Completeness::Declared;
    let now = jiff::Timestamp::now().as_millisecond();
    let mut all = events(&mut Dice(72), 20, 1_000, now - 9 * DAY, now - HOUR);
    let declared = serde_json::Map::from_iter([(lake::COMPLETE_UNTIL.to_owned(), "2100-01-01T00:00:00Z".into())]);
    let mut table = table(&world.source()).await;
    lake::append(&mut table, &world.source(), &[batch(&all)], None, declared).await.unwrap();
    world.run_to(0).await;
    let head = world.head().await.unwrap();
    assert!(head.horizon <= jiff::Timestamp::now().as_millisecond() + HOUR, "the horizon is {}", head.horizon);
    assert_eq!(world.served().await, oracle::values(&all, head.horizon));
    // What has happened since counts as soon as a horizon has passed it.
    let more = events(&mut Dice(73), 20, 100, now - HOUR, now);
    append(&world.source(), &more).await;
    all.extend(more);
    world.run_to(0).await;
    let head = world.head().await.unwrap();
    assert_eq!(world.served().await, oracle::values(&all, head.horizon));
}

/// The horizon was as much as `maxFuture` ahead. In a Lambda, nothing that the stream brought until then counted.
#[tokio::test(flavor = "multi_thread")]
async fn no_horizon_is_ahead_of_now_by_what_events_may_be() {
    for completeness in [Completeness::Declared, Completeness::NewestEvent] {
        let mut world = World::with(|definition| {
            (definition.allowed_lateness, definition.max_future) = ("0s".into(), "2h".into());
            definition.features.retain(|feature| feature.name == "events_1h");
        })
        .await;
        world.config.completeness = completeness;
        let at = |at| Event { user: Some("u1".into()), at: Some(at), ..Event::default() };
        let now = jiff::Timestamp::now().as_millisecond();
        let declared = serde_json::Map::from_iter([(lake::COMPLETE_UNTIL.to_owned(), "2100-01-01T00:00:00Z".into())]);
        let mut table = table(&world.source()).await;
        let events = batch(&[at(now - DAY / 48), at(now + HOUR)]);
        lake::append(&mut table, &world.source(), &[events], None, declared).await.unwrap();
        world.run_to(0).await;
        let (head, now) = (world.head().await.unwrap(), jiff::Timestamp::now().as_millisecond());
        let ahead = head.horizon - now;
        assert!((-5 * fixtures::MINUTE..=0).contains(&ahead), "{completeness:?}: the horizon is {ahead} ms ahead");
        assert_eq!(world.served().await["u1"]["events_1h"], Some(engine::value::Value::Int64(1)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_does_not_go_on_from_a_feature_table_that_lost_the_last_generation() {
    let world = World::new().await;
    let mut dice = Dice(74);
    let mut all = events(&mut dice, 40, 2_000, START, START + 9 * DAY);
    append(&world.source(), &all).await;
    world.run_to(0).await;
    // It is gone, or another folder is named for it.
    std::fs::remove_dir_all(&world.config.feature_table).unwrap();
    let more = events(&mut dice, 40, 200, START + 9 * DAY, START + 10 * DAY);
    append(&world.source(), &more).await;
    all.extend(more);
    world.run_to(0).await;
    assert_eq!(world.served().await, oracle::values(&all, oracle::horizon(&all)), "{:?}", world.report().await.notes);

    // Some of its rows are gone.
    let uri = world.config.feature_table.clone();
    let table = lake::open(&uri, &Storage::local(), None).await.unwrap();
    let some = datafusion::prelude::ident("user").eq(datafusion::prelude::lit("u7"));
    table.delete().with_predicate(some).await.unwrap();
    let more = events(&mut dice, 40, 200, START + 10 * DAY, START + 11 * DAY);
    append(&world.source(), &more).await;
    all.extend(more);
    world.run_to(0).await;
    assert_eq!(world.served().await, oracle::values(&all, oracle::horizon(&all)), "{:?}", world.report().await.notes);
}

#[tokio::test(flavor = "multi_thread")]
async fn entities_of_any_name_are_kept_apart_gone_on_from_and_let_go() {
    let world = World::new().await;
    let names = ["", " ", "%", "%25", "|", "a|b", "a%7Cb", "日本", "line\nbreak", "\u{0}", "'", "\"", "*", "?", "u1 "];
    let named = |events: Vec<Event>| -> Vec<Event> {
        let name = |event: &Event| {
            let number: usize = event.user.as_ref().unwrap()[1..].parse().unwrap();
            Some(names[number].to_owned())
        };
        events.into_iter().map(|event| Event { user: name(&event), ..event }).collect()
    };
    let users = names.len() as u64;
    let mut dice = Dice(75);
    let mut all = named(events(&mut dice, users, 2_000, START, START + 9 * DAY));
    let expected = |all: &[Event]| -> BTreeMap<_, _> {
        let values = oracle::values(all, oracle::horizon(all)).into_iter();
        values.map(|(user, values)| (engine::row::entity_text([user.as_str()]), values)).collect()
    };
    append(&world.source(), &all).await;
    world.run_to(0).await;
    assert_eq!(world.served().await, expected(&all));
    let more = named(events(&mut dice, users, 100, START + 9 * DAY, START + 10 * DAY));
    append(&world.source(), &more).await;
    all.extend(more);
    world.run_to(0).await;
    assert!(world.report().await.notes[0].contains("only events from"), "{:?}", world.report().await.notes);
    assert_eq!(world.served().await, expected(&all));
    all.retain(|event| !["%", "a|b", "", "\u{0}"].contains(&event.user.as_deref().unwrap()));
    for _ in 0..2 {
        all.extend(named(vec![Event { user: Some("u7".into()), at: Some(START + 11 * DAY), ..Event::default() }]));
        replace(&world.source(), &all).await;
        world.run_to(0).await;
        assert_eq!(world.served().await, expected(&all));
    }
    assert_eq!(world.rows().await.len(), names.len() - 4, "who vanished left a row");
}

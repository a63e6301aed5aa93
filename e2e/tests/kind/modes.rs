//! One view in four modes, over the same events: every value equal to DuckDB's, and so to each other's; and where Lambda's
//! two halves meet, each with events that the other never saw.

use std::time::Duration;

use e2e::clickstream::{Clickstream, Event};
use e2e::cluster::Cluster;
use e2e::history::History;
use e2e::online::{Answer, Client};
use e2e::oracle;
use e2e::progress::wait_for;
use jiff::Timestamp;

use crate::values::features;
use crate::world::{SHOPPER, World};

const EXAMPLE: &str = include_str!("../../../examples/modes/shopper.yaml");
const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

/// A folder of the bucket that no earlier run has used: tables stay when their view goes, and are never another's.
pub fn lake(world: &World) -> String {
    format!("s3://lake/{}-{}", world.namespace, Timestamp::now().as_millisecond())
}

/// The example in one mode, over this test's topic and lake.
pub fn example(world: &World, mode: &str, lake: &str) -> String {
    let yaml = EXAMPLE
        .replace("mode: Lambda #", &format!("mode: {mode} #"))
        .replace("topic: clickstream", &format!("topic: {}", world.topic))
        .replace("s3://lake/shop/clicks", &table(lake))
        .replace("uri: s3://lake/shop\n", &format!("uri: {lake}\n"))
        .replace("*/5 * * * *", "* * * * *");
    assert!(yaml.contains(&format!("mode: {mode} #")) && yaml.contains(&table(lake)), "the example has changed");
    yaml
}

/// The history table in a lake.
pub fn table(lake: &str) -> String {
    format!("{lake}/clicks")
}

/// Writes a history table of the events that meet `events`, which is said to be complete up to `complete_until`.
pub fn history(clickstream: &Clickstream, uri: &str, events: &str, complete_until: i64) {
    spoilt_history(clickstream, uri, events, &[], complete_until);
}

/// As [`history`], with SQL in place of some columns.
pub fn spoilt_history(
    clickstream: &Clickstream,
    uri: &str,
    events: &str,
    columns: &[(&str, &str)],
    complete_until: i64,
) {
    let complete_until = Timestamp::from_millisecond(complete_until).unwrap();
    let history = History::clickstream(&Cluster::from_env(), uri, complete_until).of(events).with(columns);
    let written = history.write(clickstream).unwrap();
    assert!(written.rows > 500, "{written:?}");
}

pub fn send(world: &World, events: impl IntoIterator<Item = impl std::borrow::Borrow<Event>>) {
    for event in events {
        let event = event.borrow();
        world.feed.send(event.user.as_bytes(), event.json().as_bytes(), event.ts, None).unwrap();
    }
    world.feed.flush().unwrap();
}

/// Waits until a generation is served whose horizon is at or past `at_least`; gives the horizon.
pub async fn horizon(world: &World, at_least: i64) -> i64 {
    wait_for("a generation to be published", Duration::from_mins(4), || async {
        let path = "jsonpath={.status.horizon}";
        let found = world.kubectl(&["get", "featureview", SHOPPER, "-o", path])?;
        let horizon =
            found.parse::<Timestamp>().map(Timestamp::as_millisecond).map_err(|e| format!("{found:?}: {e}"))?;
        if horizon >= at_least { Ok(horizon) } else { Err(format!("the horizon is {found}")) }
    })
    .await
    .unwrap()
}

/// Compares all features of all shoppers as of a time with DuckDB, were there only the events that meet `events`. Gives how
/// many values were compared and how many of them were neither zero nor NULL.
pub fn compare(world: &World, client: &Client, clickstream: &Clickstream, events: &str, as_of: i64) -> (usize, usize) {
    let (users, features) = (clickstream.users(), features(world));
    let answer = client.get(SHOPPER, &features, "user_id", &users, Some(as_of)).unwrap();
    compare_answer(&answer, &features, clickstream, events, as_of)
}

/// As [`compare`], of an answer that was given.
pub fn compare_answer(
    answer: &Answer,
    features: &[String],
    clickstream: &Clickstream,
    events: &str,
    as_of: i64,
) -> (usize, usize) {
    let users = clickstream.users();
    let reads: Vec<_> = users.iter().map(|user| (user.clone(), as_of)).collect();
    let rows = oracle::ask_where(clickstream, events, &reads).unwrap();
    let (mut compared, mut telling, mut wrong) = (0, 0, Vec::new());
    for (i, (user, row)) in users.iter().zip(&rows).enumerate() {
        for feature in features {
            let (cell, computed) = (&answer.features[feature][i], &row[feature]);
            compared += 1;
            telling += usize::from(oracle::telling(computed));
            let known = row["_known"].as_i64().unwrap_or(0) > 0;
            let unknown = cell.status == "NOT_FOUND" && !known;
            if !unknown && !oracle::agrees_or_has_no_row(cell, computed) {
                wrong.push(format!("{feature} of {user}: {} ({}), DuckDB {computed}", cell.value, cell.status));
            }
        }
    }
    let at = Timestamp::from_millisecond(as_of).unwrap();
    assert!(wrong.is_empty(), "as of {at}: {} of {compared} differ: {:#?}", wrong.len(), &wrong[..wrong.len().min(8)]);
    println!("  as of {at}: {compared} values equal, {telling} of them not zero");
    (compared, telling)
}

#[tokio::test(flavor = "multi_thread")]
async fn four_modes_serve_equal_values() {
    // Old enough that also a lake, which allows three days of lateness from now on, has all of it behind its horizon.
    let now = Timestamp::now().as_millisecond();
    let clickstream = Clickstream::fetch().unwrap().ending_at(now - 4 * DAY);
    let last = clickstream.events.last().unwrap().ts;
    let common = (last + HOUR) / HOUR * HOUR;
    // All at once, because each waits for schedules and pods most of the time.
    let mut worlds = Vec::new();
    for mode in ["Kappa", "Batch", "Lambda", "Lakehouse"] {
        let name = format!("mode-{}", mode.to_lowercase());
        let world = World::bare(&name, 8).await;
        let lake = lake(&world);
        history(&clickstream, &table(&lake), "true", last + 4 * DAY);
        send(&world, &clickstream.events);
        world.apply(&example(&world, mode, &lake));
        worlds.push((mode, world));
    }
    for (mode, mut world) in worlds {
        if mode != "Kappa" {
            horizon(&world, common).await;
        }
        for object in ["architecture/shop", "featureview/shopper"] {
            world.ready(object);
        }
        if matches!(mode, "Kappa" | "Lambda") {
            world.settled(&world.uid(SHOPPER)).await.unwrap();
        }
        let client = world.client_of("service/shop-server");
        println!("{mode}:");
        let (_, telling) = compare(&world, &client, &clickstream, "true", common);
        assert!(telling > 1_000, "a mode could pass by knowing nothing: {telling}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lambda_counts_each_event_on_its_own_side_of_the_horizon() {
    let clickstream = Clickstream::fetch().unwrap().ending_at(Timestamp::now().as_millisecond());
    let last = clickstream.events.last().unwrap().ts;
    let mut world = World::bare("lambda", 8).await;
    let lake = lake(&world);
    // Every fiftieth event came too late for the table, every seventieth never came to the topic.
    history(&clickstream, &table(&lake), "i % 50 != 0", last - 5 * DAY);
    world.apply(&example(&world, "Lambda", &lake));
    let horizon = horizon(&world, i64::MIN).await;
    assert!(horizon <= last - 8 * DAY && horizon > last - 9 * DAY, "less the lateness, to the coarsest tile");
    let arrived = |from: i64, to: i64| {
        clickstream
            .events
            .iter()
            .enumerate()
            .filter(move |(i, e)| i % 70 != 1 && from <= e.ts && e.ts < to)
            .map(|(_, e)| e)
    };
    let rule = format!("(ts < {horizon} AND i % 50 != 0) OR (ts >= {horizon} AND i % 70 != 1)");
    // What is read as of a time around the horizon is read before the stream is far past it, so that it is exact.
    let soon = horizon + 2 * DAY;
    send(&world, arrived(0, soon));
    for object in ["architecture/shop", "featureview/shopper"] {
        world.ready(object);
    }
    let uid = world.uid(SHOPPER);
    world.settled(&uid).await.unwrap();
    let client = world.client_of("service/shop-server");
    for as_of in [horizon - DAY, horizon - 1, horizon, horizon + 1, horizon + HOUR, soon - 60_000] {
        compare(&world, &client, &clickstream, &rule, as_of);
    }
    send(&world, arrived(soon, i64::MAX));
    world.settled(&uid).await.unwrap();
    compare(&world, &client, &clickstream, &rule, last / 60_000 * 60_000 + 59_999);

    // The late ones enter with the next generation.
    history(&clickstream, &table(&lake), "true", last - 4 * DAY);
    let next = self::horizon(&world, horizon + DAY).await;
    let rule = format!("ts < {next} OR (ts >= {next} AND i % 70 != 1)");
    compare(&world, &client, &clickstream, &rule, last / 60_000 * 60_000 + 59_999);
}

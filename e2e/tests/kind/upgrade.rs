//! An upgrade of chart, definitions and image under load, and back again: no read fails, none is wrong, no event is lost.
//!
//! The other build is what `kind/images next` made: other binaries, so another image, under which the operator, every worker
//! and every server are replaced. Reads go on all the while, each on a connection of its own, each compared with DuckDB.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use e2e::clickstream::Clickstream;
use e2e::online::Client;
use e2e::oracle::{self, Row};
use jiff::Timestamp;

use crate::values::features;
use crate::world::{SHOPPER, World};

const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;
/// Reads that are under way at once.
const READERS: usize = 4;
/// Shoppers asked for in one read.
const SHOPPERS: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_under_load_fails_no_read_and_changes_no_value() {
    let world = World::new("upgrade", 8).await;
    world.serve_shopper();
    let url = world.node_port();
    let clickstream = Clickstream::fetch().unwrap().ending_at(Timestamp::now().as_millisecond());
    let uid = world.uid(SHOPPER);
    // What comes in during the upgrade is within the view's lateness, so that reads as of before it stay exact.
    let last = clickstream.events.last().unwrap().ts;
    let as_of = (last - 2 * DAY) / MINUTE * MINUTE - 1;
    let (before, during): (Vec<_>, Vec<_>) = clickstream.events.iter().partition(|e| e.ts <= as_of);
    for event in &before {
        world.feed.send(event.user.as_bytes(), event.json().as_bytes(), event.ts, None).unwrap();
    }
    world.feed.flush().unwrap();
    world.settled(&uid).await.unwrap();

    let readers = Readers { url, features: features(&world), as_of, expected: expected(&clickstream, as_of) };
    let stop = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..READERS)
            .map(|n| {
                scope.spawn({
                    let (readers, stop) = (&readers, &stop);
                    move || readers.read_until(stop, n)
                })
            })
            .collect();
        let half = during.len() / 2;
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            replace_all(&world, "next", &during[..half]);
            replace_all(&world, "dev", &during[half..]);
        }));
        stop.store(true, Ordering::Relaxed);
        let seen: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        outcome.unwrap();
        seen
    });
    let reads: usize = seen.iter().map(|s| s.reads).sum();
    let slowest = seen.iter().map(|s| s.slowest).max().unwrap_or_default();
    let wrong: Vec<_> = seen.iter().flat_map(|s| &s.wrong).collect();
    println!(
        "{reads} reads of {SHOPPERS} shoppers during an upgrade and the way back: {} failed or wrong, the slowest took {slowest:?}",
        wrong.len()
    );
    assert!(wrong.is_empty(), "{:?}", &wrong[..wrong.len().min(5)]);
    assert!(reads > 1_000, "the load was no load: {reads} reads");

    world.settled(&uid).await.unwrap();
    let now = last / MINUTE * MINUTE + MINUTE - 1;
    let at_the_end = Readers { as_of: now, expected: expected(&clickstream, now), ..readers };
    let users: Vec<_> = at_the_end.expected.keys().cloned().collect();
    for users in users.chunks(SHOPPERS) {
        at_the_end.read(users).unwrap();
    }
}

/// What DuckDB computes for all shoppers.
fn expected(clickstream: &Clickstream, as_of: i64) -> BTreeMap<String, Row> {
    let reads: Vec<_> = clickstream.users().into_iter().map(|user| (user, as_of)).collect();
    let rows = oracle::ask(clickstream, &reads).unwrap();
    reads.into_iter().map(|(user, _)| user).zip(rows).collect()
}

/// Upgrades the whole to a build while events come in, and waits until nothing of the old one runs.
fn replace_all(world: &World, tag: &str, events: &[&e2e::clickstream::Event]) {
    let chart = chart_of(tag);
    let mut install = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../kind/install"))
        .arg(tag)
        .env("CHART", &chart)
        .spawn()
        .unwrap();
    let image = format!("featuremill:{tag}");
    let started = Instant::now();
    let mut events = events.iter();
    // An event now and then, until the last old pod is gone; then the rest of them.
    loop {
        if let Some(event) = events.next() {
            world.feed.send(event.user.as_bytes(), event.json().as_bytes(), event.ts, None).unwrap();
        }
        let images = world
            .kubectl(&["get", "pods", "-o", "jsonpath={range .items[*]}{.spec.containers[0].image} {end}"])
            .unwrap();
        if images.split_whitespace().all(|i| i == image) && install.try_wait().unwrap().is_some() {
            break;
        }
        assert!(started.elapsed() < Duration::from_mins(5), "pods still run {images}, not {image}");
    }
    assert!(install.wait().unwrap().success(), "kind/install {tag}");
    let definition = world
        .cluster
        .kubectl(&[
            "get",
            "crd",
            "featureviews.featuremill.dev",
            "-o",
            "jsonpath={.spec.versions[0].schema.openAPIV3Schema.description}",
        ])
        .unwrap();
    assert_eq!(definition.contains("(next)"), tag == "next", "the definition was not replaced: {definition}");
    for event in events {
        world.feed.send(event.user.as_bytes(), event.json().as_bytes(), event.ts, None).unwrap();
    }
    world.feed.flush().unwrap();
    for object in ["architecture/realtime", "featureview/shopper"] {
        world.ready(object);
    }
}

/// The chart as it is for `dev`; for another build a copy of it with another version and another text in a definition.
fn chart_of(tag: &str) -> PathBuf {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/featuremill");
    if tag == "dev" {
        return chart;
    }
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("chart-next");
    let script = "rm -rf \"$2\" && cp -r \"$1\" \"$2\" && sed -i 's/^version: .*/version: 99.0.0/' \"$2/Chart.yaml\" && \
        sed -i 's/A set of features of one kind of entity/(next) &/' \"$2/files/crds/featureviews.yaml\"";
    let done = Command::new("sh").args(["-c", script, "sh"]).arg(&chart).arg(&copy).status().unwrap();
    assert!(done.success());
    copy
}

/// Who reads, and what must be read.
struct Readers {
    url: String,
    features: Vec<String>,
    as_of: i64,
    expected: BTreeMap<String, Row>,
}

/// What one reader saw.
#[derive(Default)]
struct Seen {
    reads: usize,
    slowest: Duration,
    wrong: Vec<String>,
}

impl Readers {
    /// Reads some shoppers after the other until told to stop.
    fn read_until(&self, stop: &AtomicBool, first: usize) -> Seen {
        let users: Vec<_> = self.expected.keys().cloned().collect();
        let mut seen = Seen::default();
        let chunks: Vec<_> = users.chunks(SHOPPERS).collect();
        let mut next = first * chunks.len() / READERS;
        while !stop.load(Ordering::Relaxed) {
            let started = Instant::now();
            if let Err(wrong) = self.read(chunks[next % chunks.len()]) {
                seen.wrong.push(format!("{}: {wrong}", Timestamp::now()));
            }
            seen.slowest = seen.slowest.max(started.elapsed());
            seen.reads += 1;
            next += 1;
        }
        seen
    }

    /// Reads, on a connection of its own, and compares.
    fn read(&self, users: &[String]) -> Result<(), String> {
        let answer = Client::new(&self.url).get(SHOPPER, &self.features, "user_id", users, Some(self.as_of));
        let answer = answer.map_err(|e| e.to_string())?;
        for feature in &self.features {
            for (user, cell) in users.iter().zip(&answer.features[feature]) {
                let computed = &self.expected[user][feature];
                let known = self.expected[user]["_known"].as_i64().unwrap_or(0) > 0;
                let right = match cell.status.as_str() {
                    "NOT_FOUND" => !known,
                    _ => known && oracle::agrees(cell, computed),
                };
                if !right {
                    return Err(format!("{feature} of {user}: {} ({}), not {computed}", cell.value, cell.status));
                }
            }
        }
        Ok(())
    }
}

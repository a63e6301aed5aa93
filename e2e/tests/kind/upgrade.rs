//! An upgrade of chart, definitions and image under load, and back again: no read fails, none is wrong, no event is lost.
//!
//! The other build is what `kind/images next` made: other binaries, so another image, under which the operator, every worker
//! and every server are replaced. Reads go on all the while, each on a connection of its own, each compared with DuckDB.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use e2e::clickstream::Clickstream;
use jiff::Timestamp;

use crate::readers::{Readers, Rows, expected};
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
    let url = world.node_port().await;
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

    let of = |as_of| {
        let shoppers = expected(&clickstream, clickstream.users(), as_of);
        Readers::new(url.clone(), features(&world), shoppers, as_of).at_once(SHOPPERS).rows(Rows::OfAll)
    };
    let half = during.len() / 2;
    let replaced = async {
        replace_all(&world, "next", &during[..half]);
        replace_all(&world, "dev", &during[half..]);
    };
    let ((), seen) = of(as_of).during(READERS, replaced).await;
    println!("{SHOPPERS} shoppers a read during an upgrade and the way back: {seen}");
    seen.assert_right();
    assert!(seen.reads() > 1_000, "the load was no load");

    world.settled(&uid).await.unwrap();
    let now = last / MINUTE * MINUTE + MINUTE - 1;
    of(now).read_all().unwrap();
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

//! The mode of an Architecture changed under load: rolled out, back in the soak, forward again, and the old mode's workers, runs
//! and rows removed. No read fails, and every value is DuckDB's, whichever mode it was computed in.

use std::time::{Duration, Instant};

use e2e::clickstream::Clickstream;
use e2e::oracle;
use e2e::progress::wait_for;
use jiff::Timestamp;

use crate::modes::{example, history, horizon, lake, send, table};
use crate::readers::{Readers, expected};
use crate::values::features;
use crate::world::{SHOPPER, SHOPPER_VIEW, World};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
/// Reads that are under way at once.
const READERS: usize = 3;
/// How many shoppers a read asks for.
const SHOPPERS: usize = 100;

fn of_view(world: &World, field: &str) -> String {
    world.status(SHOPPER_VIEW, field)
}

fn patch(world: &World, object: &str, spec: &str) {
    world.kubectl(&["patch", object, "--type=merge", "-p", &format!(r#"{{"spec":{spec}}}"#)]).unwrap();
}

/// Waits until the view is in a phase, and served as computed in a mode.
async fn settled_in(world: &World, mode: &str, phase: &str) {
    wait_for(&format!("{phase} in {mode}"), Duration::from_mins(8), || async {
        let found = (of_view(world, "mode"), of_view(world, "phase"));
        if found == (mode.to_owned(), phase.to_owned()) {
            return Ok(());
        }
        let says = of_view(world, r#"conditions[?(@.type=="Reconciling")].message"#);
        Err(format!("{found:?}: {says}"))
    })
    .await
    .unwrap();
}

/// The URL of the server behind a port of the node: unlike a forwarded port, it outlives any pod.
async fn migrate(name: &str, from: &str, to: &str) {
    // Old enough that all of it is behind the horizon of a batch whose events may be three days late, and behind any that may
    // take over: of a lake that is being filled, the first may not.
    let clickstream = Clickstream::fetch().unwrap().ending_at(Timestamp::now().as_millisecond() - 5 * DAY);
    let last = clickstream.events.last().unwrap().ts;
    let as_of = (last + HOUR) / HOUR * HOUR;
    let world = World::bare(name, 4).await;
    let lake = lake(&world);
    history(&clickstream, &table(&lake), "true", last + 5 * DAY);
    send(&world, &clickstream.events);
    // From the first record on: the reads here are as of a time long past, which a replay of the longest window back from now
    // does not answer.
    let quick = "spec:\n  rollout: {catchUp: {stableForSeconds: 3}, scaleDownDelaySeconds: 3600, startFrom: {policy: Earliest}}\n  \
                 architectureRef:";
    let yaml = example(&world, from, &lake)
        .replacen("spec:\n  mode:", "spec:\n  serving: {service: {type: NodePort}}\n  mode:", 1)
        .replacen("spec:\n  architectureRef:", quick, 1)
        .replacen("horizonTargetSeconds: 345600", "horizonTargetSeconds: 60", 1);
    let edits = ["NodePort", "stableForSeconds", "horizonTargetSeconds: 60\n"];
    assert!(edits.iter().all(|edit| yaml.contains(edit)), "the example has changed");
    world.apply(&yaml);
    horizon(&world, as_of).await;
    for object in ["architecture/shop", "featureview/shopper"] {
        world.ready(object);
    }
    let uid = world.uid(SHOPPER);
    if from == "Lambda" {
        world.settled(&uid).await.unwrap();
    }

    let users: Vec<String> = clickstream.users().into_iter().take(SHOPPERS).collect();
    let shoppers = expected(&clickstream, users, as_of);
    let features = features(&world);
    let values = shoppers.iter().flat_map(|(_, row)| features.iter().map(|f| &row[f]));
    let telling = values.filter(|v| oracle::telling(v)).count();
    assert!(telling > 500, "a mode could pass by knowing nothing: {telling}");
    let old = of_view(&world, "activeRevision");
    let readers = Readers::new(world.node_port_url("shop-server").await, features, shoppers, as_of);
    assert_eq!(readers.read(), Ok(old.clone()));

    let migrated = async {
        patch(&world, "architecture/shop", &format!(r#"{{"mode":"{to}"}}"#));
        settled_in(&world, to, "Soaking").await;
        let new = of_view(&world, "activeRevision");
        assert_eq!((of_view(&world, "previousRevision"), new == old), (old.clone(), false));
        let begun = Instant::now();
        patch(&world, "featureview/shopper", &format!(r#"{{"rollout":{{"servingRevision":"{old}"}}}}"#));
        settled_in(&world, from, "RolledBack").await;
        println!("{to} to {from}, from patch to status: {:?}", begun.elapsed());
        patch(&world, "featureview/shopper", r#"{"rollout":{"servingRevision":null}}"#);
        settled_in(&world, to, "Soaking").await;
        patch(&world, "featureview/shopper", r#"{"rollout":{"scaleDownDelaySeconds":0}}"#);
        settled_in(&world, to, "Live").await;
        new
    };
    let (new, seen) = readers.during(READERS, migrated).await;
    println!("{from} to {to}, {SHOPPERS} shoppers: {seen}");
    seen.assert_right();
    assert!(seen.of(&old) > 20 && seen.of(&new) > 20, "the load was no load");

    wait_for("the old revision to be gone", Duration::from_mins(4), || async {
        let left = world.left_of(&uid, &old)?;
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await
    .unwrap();
    assert_eq!(world.status("architecture/shop", "updatedViews"), "1");
    assert_eq!(readers.read(), Ok(new));
}

#[tokio::test(flavor = "multi_thread")]
async fn lambda_becomes_kappa_under_reads() {
    migrate("lambda-kappa", "Lambda", "Kappa").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batch_becomes_lakehouse_under_reads() {
    migrate("batch-lakehouse", "Batch", "Lakehouse").await;
}

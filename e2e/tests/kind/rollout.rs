//! A changed view under load: rolled out, rolled back, forward again, and the revision before removed. No read fails, each
//! is of one revision and right for it, none is of the revision that was left.
//!
//! The changed feature counts what another feature counts, so that DuckDB knows its values before and after.

use std::time::{Duration, Instant};

use e2e::clickstream::Clickstream;
use e2e::oracle::Row;
use e2e::progress::wait_for;
use jiff::Timestamp;

use crate::modes::send;
use crate::readers::{Changes, Readers, expected};
use crate::values::features;
use crate::world::{SHOPPER, SHOPPER_VIEW, World};

const MINUTE: i64 = 60_000;
/// Reads that are under way at once.
const READERS: usize = 4;
/// What changes, and what it is then equal to.
const CHANGED: (&str, &str) = ("carts_30d", "purchases_30d");

async fn phase(world: &World, wanted: &str) {
    wait_for(&format!("the phase {wanted}"), Duration::from_mins(3), || async {
        let found = world.status(SHOPPER_VIEW, "phase");
        if found == wanted { Ok(()) } else { Err(found) }
    })
    .await
    .unwrap();
}

/// Patches `spec.rollout`, and waits until a read is of `revision`; how long that took.
fn move_to(world: &World, readers: &Readers, rollout: &str, revision: &str) -> Duration {
    readers.settle(None);
    let patch = format!(r#"{{"spec":{{"rollout":{rollout}}}}}"#);
    let begun = Instant::now();
    world.kubectl(&["patch", "featureview", SHOPPER, "--type=merge", "-p", &patch]).unwrap();
    while readers.read().unwrap() != revision {
        assert!(
            begun.elapsed() < Duration::from_mins(1),
            "{revision} is not read: {}",
            world.status(SHOPPER_VIEW, "phase")
        );
    }
    let took = begun.elapsed();
    readers.settle(Some(revision));
    took
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_view_is_rolled_out_and_back_under_load_and_leaves_nothing_behind() {
    let world = World::new("rollout", 4).await;
    let quick = "spec:\n  rollout: {catchUp: {stableForSeconds: 3}, comparison: {expectedChanges: [carts_30d, preference_30d]}, \
                 scaleDownDelaySeconds: 3600}\n";
    let view = world.shopper().replacen("spec:\n", quick, 1);
    world.apply(&view);
    for object in ["architecture/realtime", "featureview/shopper"] {
        world.ready(object);
    }
    let url = world.node_port().await;
    let clickstream = Clickstream::fetch().unwrap().ending_at(Timestamp::now().as_millisecond());
    let uid = world.uid(SHOPPER);
    send(&world, &clickstream.events);
    world.settled(&uid).await.unwrap();

    let as_of = clickstream.events.last().unwrap().ts / MINUTE * MINUTE - 1;
    let shoppers = expected(&clickstream, clickstream.users(), as_of);
    let telling = shoppers.iter().filter(|(_, row)| row[CHANGED.0] != row[CHANGED.1]).count();
    assert!(telling > 20, "both revisions could be equal: they differ for {telling} shoppers");
    // Those who have no row are left out: of them a revision that read less says another thing, and rightly.
    let known = |row: &Row| row["_known"].as_i64().unwrap_or(0) > 0;
    let shoppers: Vec<_> = shoppers.into_iter().filter(|(_, row)| known(row)).take(100).collect();

    let old = world.status(SHOPPER_VIEW, "activeRevision");
    // What is derived from the changed feature changes with it, to what DuckDB was not asked for.
    let features: Vec<String> = features(&world).into_iter().filter(|f| f != "preference_30d").collect();
    let before = old.clone();
    let changes = move |revision: &str| Some::<Changes>(if revision == before { &[] } else { &[CHANGED] });
    let readers = Readers::new(url, features, shoppers, as_of).changing(changes);
    assert_eq!(readers.read(), Ok(old.clone()));

    let rolled = async {
        let changed = view.replace(
            r#"{name: carts_30d, aggregate: Count, where: "event = 'add_to_cart'""#,
            r#"{name: carts_30d, aggregate: Count, where: "event = 'purchase'""#,
        );
        assert_ne!(changed, view, "the example has changed");
        world.apply(&changed);
        phase(&world, "Soaking").await;
        let new = world.status(SHOPPER_VIEW, "activeRevision");
        assert_eq!((world.status(SHOPPER_VIEW, "previousRevision"), new == old), (old.clone(), false));
        // Its history came by a Job, which is gone by now.
        let told = ["get", "events", "-o", "jsonpath={.items[?(@.reason=='ReplayCompleted')].message}"];
        let told = world.kubectl(&told).unwrap();
        assert!(told.contains(&new), "{told}");
        let replays = ["get", "jobs", "-l", "app.kubernetes.io/component=replay", "-o", "name"];
        wait_for("the replay's Job to go", Duration::from_mins(1), || async {
            let jobs = world.kubectl(&replays)?;
            if jobs.trim().is_empty() { Ok(()) } else { Err(jobs) }
        })
        .await
        .unwrap();
        let mut moves = Vec::new();
        for _ in 0..5 {
            let back = move_to(&world, &readers, &format!(r#"{{"servingRevision":"{old}"}}"#), &old);
            let forward = move_to(&world, &readers, r#"{"servingRevision":null}"#, &new);
            moves.extend([back, forward]);
        }
        println!("from patch to the first read: {moves:?}");
        (new, moves.into_iter().max().unwrap())
    };
    let ((new, slowest_move), seen) = readers.during(READERS, rolled).await;
    println!("100 shoppers, {old} and then {new}: {seen}");
    seen.assert_right();
    assert!(seen.of(&old) > 50 && seen.of(&new) > 50, "the load was no load");
    assert!(slowest_move < Duration::from_secs(5), "{slowest_move:?}");

    // The soak ends as soon as the spec says so, and nothing of the old revision stays.
    let over = r#"{"spec":{"rollout":{"scaleDownDelaySeconds":0}}}"#;
    world.kubectl(&["patch", "featureview", SHOPPER, "--type=merge", "-p", over]).unwrap();
    wait_for("the old revision to be gone", Duration::from_mins(4), || async {
        let (left, phase) = (world.left_of(&uid, &old)?, world.status(SHOPPER_VIEW, "phase"));
        if left.is_empty() && phase == "Live" { Ok(()) } else { Err(format!("{phase}: {left}")) }
    })
    .await
    .unwrap();
    assert_eq!(readers.read(), Ok(new));
}

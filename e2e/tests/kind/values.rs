//! Six months of a clickstream in step: every feature of every shopper equals DuckDB.

use std::time::Duration;

use e2e::clickstream::{Clickstream, Event};
use e2e::in_step::{Check, Report};
use e2e::online::Client;
use e2e::progress::wait_for;
use jiff::Timestamp;

use crate::world::{SHOPPER, World};

/// The features of the clickstream's view, by the operator's own account.
pub fn features(world: &World) -> Vec<String> {
    let names = world.kubectl(&["get", "featureview", SHOPPER, "-o", "jsonpath={.spec.features[*].name}"]).unwrap();
    names.split_whitespace().map(str::to_owned).collect()
}

/// Feeds and checks all of it, asking through `client`.
pub async fn check(
    world: &World,
    client: &Client,
    place: impl Fn(usize, &Event) -> (String, Option<i32>),
    disturb: impl AsyncFnMut(usize) -> Result<(), String>,
) -> Report {
    let clickstream = Clickstream::fetch().unwrap().ending_at(Timestamp::now().as_millisecond());
    let uid = world.uid(SHOPPER);
    let check = Check { clickstream: &clickstream, client, view: SHOPPER, features: features(world) };
    let settle = async || {
        world.settled(&uid).await?;
        // A server whose Redis was just away says so until it is back: it never answers from memory.
        let (features, users) = (&check.features[..1], &["user_0000".to_owned()]);
        wait_for("the server to answer", Duration::from_mins(1), || async {
            client.get(SHOPPER, features, "user_id", users, None).map(drop).map_err(|e| e.to_string())
        })
        .await
    };
    let report = check.run(&world.feed, place, disturb, settle).await.unwrap();
    println!("{report}");
    report
}

pub fn assert_equal_and_telling(report: &Report) {
    assert_eq!(report.differing, 0, "{report}");
    assert!(report.whole_reads >= 20, "{report}");
    assert!(report.least_telling() >= 0.3, "a feature could pass by being zero: {report}");
}

/// The same as under faults, without them: for who looks for the reason of a difference.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the faults' test checks the same values: make soak"]
async fn keyed_by_shopper_every_value_equals_duckdb() {
    let mut world = World::new("keyed", 8).await;
    world.serve_shopper();
    let client = world.client();
    let report = check(&world, &client, |_, event| (event.user.clone(), None), async |_| Ok(())).await;
    assert_equal_and_telling(&report);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_random_keys_every_value_equals_duckdb() {
    let mut world = World::new("unkeyed", 8).await;
    world.serve_shopper();
    // A shopper's events are spread over all partitions, so that every row has several lanes.
    let client = world.client();
    let report = check(&world, &client, |i, _| (format!("{:x}", i * 2_654_435_761), None), async |_| Ok(())).await;
    assert_equal_and_telling(&report);
}

//! Killed in mid-stream, doubled, and cut off from its table.

use std::time::Duration;

use super::world::{Chance, LIMIT, World, now};

#[tokio::test(flavor = "multi_thread")]
async fn every_offset_stands_once_after_ten_kills() {
    let world = World::new(6).await;
    let mut chance = Chance(5);
    let mut worker = world.worker("worker", &[]);
    for round in 0..10 {
        world.produce(&mut chance, 6, 3_000).await;
        world.until_versions(&mut worker, 1).await;
        world.produce(&mut chance, 6, 3_000).await;
        // At no particular point of its work.
        tokio::time::sleep(Duration::from_millis(chance.below(150))).await;
        worker.process.kill().await.unwrap();
        worker = world.worker(&format!("worker-{round}"), &[]);
    }
    world.until_archived().await;
    world.assert_exactly_once().await;
    worker.ready().await;
    // Read to its end, the table is complete up to now, however old the events are; as long as it is read.
    let from = now();
    e2e::services::until("completeness", LIMIT, async || {
        let (_, state) = world.state().await.unwrap();
        if state.complete_until() >= Some(from) { Ok(()) } else { Err(format!("{state:?}")) }
    })
    .await
    .unwrap();
    assert!(worker.metric("featuremill_archive_lag_records{partition=\"3\"}").await.abs() < f64::EPSILON);
    let status = worker.process.terminate(Duration::from_secs(25)).await.unwrap();
    assert!(status.success(), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_offset_stands_once_while_workers_come_and_go() {
    let world = World::new(6).await;
    let mut chance = Chance(6);
    let mut first = world.worker("first", &[]);
    world.produce(&mut chance, 6, 4_000).await;
    world.until_versions(&mut first, 1).await;
    for round in 0..3 {
        let mut second = world.worker(&format!("second-{round}"), &[]);
        world.produce(&mut chance, 6, 6_000).await;
        second.ready().await;
        world.produce(&mut chance, 6, 6_000).await;
        // In order, then not.
        if round == 1 {
            second.process.kill().await.unwrap();
        } else {
            let status = second.process.terminate(Duration::from_secs(25)).await.unwrap();
            assert!(status.success(), "{status}");
        }
        world.produce(&mut chance, 6, 2_000).await;
        if round == 1 {
            // The group finds out that it is dead only by its silence.
            first.process.kill().await.unwrap();
            first = world.worker("first-again", &[]);
        }
    }
    world.until_archived().await;
    world.assert_exactly_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_away_is_waited_for_within_memory() {
    let world = World::new(2).await;
    let mut chance = Chance(8);
    let mut worker = world.worker("worker", &[]);
    world.produce(&mut chance, 2, 1_000).await;
    world.until_archived().await;
    worker.ready().await;
    // A file in place of its folder: nothing can be read or written.
    let (table, aside) = (world.uri(), world.directory.path().join("aside"));
    std::fs::rename(&table, &aside).unwrap();
    std::fs::write(&table, "no folder").unwrap();
    world.produce(&mut chance, 2, 20_000).await;
    worker.unready("store").await;
    assert!(worker.metric("featuremill_archive_buffered_bytes").await <= 600_000.0);
    std::fs::remove_file(&table).unwrap();
    std::fs::rename(&aside, &table).unwrap();
    worker.ready().await;
    world.until_archived().await;
    world.assert_exactly_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_is_waited_for() {
    let mut world = World::new(2).await;
    let mut chance = Chance(9);
    let mut worker = world.worker("worker", &[]);
    world.produce(&mut chance, 2, 2_000).await;
    world.until_archived().await;
    world.kafka.kill().await.unwrap();
    worker.unready("kafka").await;
    world.kafka.resume().await.unwrap();
    world.produce(&mut chance, 2, 2_000).await;
    worker.ready().await;
    world.until_archived().await;
    world.assert_exactly_once().await;
}

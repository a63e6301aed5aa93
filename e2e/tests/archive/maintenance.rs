//! Compaction, restoration and time travel beside a running worker.

use std::time::Duration;

use super::world::{Chance, LIMIT, World};

#[tokio::test(flavor = "multi_thread")]
async fn maintenance_keeps_the_rows_and_a_restored_table_is_read_full_again() {
    let world = World::new(3).await;
    let mut chance = Chance(13);
    let mut worker = world.worker("worker", &[]);
    world.produce(&mut chance, 3, 2_000).await;
    world.until_archived().await;
    let (early, _) = world.state().await.unwrap();
    let then = world.rows(Some(early)).await;
    for _ in 0..4 {
        world.produce(&mut chance, 3, 1_000).await;
        world.until_archived().await;
    }
    run(&world, "maintain", &["--retention-hours", "1"]).await;
    world.assert_exactly_once().await;
    // An older version reads as it was, behind the compaction too.
    assert_eq!(world.rows(Some(early)).await, then);
    world.produce(&mut chance, 3, 1_000).await;
    world.until_archived().await;
    world.assert_exactly_once().await;

    // The running worker may overtake a restoration, which then changes nothing and is asked for again.
    e2e::services::until("a restoration", LIMIT, async || {
        let mut process = world
            .program("restore")
            .args(["--to-version", &early.to_string()])
            .start(world.directory.path().join("restore.log"))
            .map_err(|error| error.to_string())?;
        let status = process.wait(LIMIT).await.map_err(|error| error.to_string())?;
        if status.success() { Ok(()) } else { Err(process.log_tail()) }
    })
    .await
    .unwrap();
    world.until_archived().await;
    world.assert_exactly_once().await;
    run(&world, "maintain", &["--retention-hours", "0"]).await;
    world.assert_exactly_once().await;
    worker.ready().await;
    world.produce(&mut chance, 3, 1_000).await;
    world.until_archived().await;
    world.assert_exactly_once().await;
}

async fn run(world: &World, command: &str, arguments: &[&str]) {
    let log = world.directory.path().join(format!("{command}.log"));
    let mut process = world.program(command).args(arguments.iter().copied()).start(log).unwrap();
    let status = process.wait(Duration::from_mins(1)).await.unwrap();
    assert!(status.success(), "{}", process.log_tail());
}

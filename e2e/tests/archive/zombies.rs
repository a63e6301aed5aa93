//! A worker that stands still until the group gives its partitions to another, and then goes on where it was.

use e2e::services::Signal;

use super::world::{Chance, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_wakes_after_it_was_replaced_appends_nothing_twice() {
    let world = World::new(3).await;
    let mut chance = Chance(10);
    // The old protocol lets a member say after how much silence it counts as dead.
    let settings = world.directory.path().join("kafka");
    std::fs::create_dir(&settings).unwrap();
    std::fs::write(settings.join("session.timeout.ms"), "6000").unwrap();
    std::fs::write(settings.join("heartbeat.interval.ms"), "1000").unwrap();
    let settings = settings.display().to_string();
    let arguments = ["--group-protocol", "classic", "--kafka-config-dir", settings.as_str()];
    let mut zombie = world.worker("zombie", &arguments);
    world.produce(&mut chance, 3, 2_000).await;
    world.until_versions(&mut zombie, 1).await;
    for round in 0..2 {
        // It holds records that it has not committed, or a commit under way.
        world.produce(&mut chance, 3, 5_000).await;
        zombie.process.signal(Signal::Stop).unwrap();
        world.produce(&mut chance, 3, 3_000).await;
        let mut heir = world.worker(&format!("heir-{round}"), &arguments);
        // It gets the partitions when the group misses the other.
        heir.ready().await;
        world.until_archived().await;
        zombie.process.signal(Signal::Continue).unwrap();
        world.produce(&mut chance, 3, 3_000).await;
        zombie.ready().await;
        world.until_archived().await;
        world.assert_exactly_once().await;
        heir.process.kill().await.unwrap();
    }
}

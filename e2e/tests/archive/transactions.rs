//! Transactions of producers: what stands behind one that is open has not been archived, and the table must not say so.

use std::time::Duration;

use e2e::services::until;

use crate::world::{Chance, LIMIT, TOPIC, World, now};

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_behind_an_open_transaction_is_not_said_to_be_archived() {
    let world = World::new(1).await;
    let mut chance = Chance(41);
    world.produce(&mut chance, 1, 10).await;
    let _worker = world.worker("worker", &[]);
    world.until_archived().await;
    let complete = async || world.state().await.map_or(0, |(_, state)| state.progress[&0].read_to_end_at);

    let hanging = world.kafka.hang(TOPIC, 0).await.unwrap();
    let before = now();
    world.produce(&mut chance, 1, 10).await;
    let claimed = until("a claim of completeness", Duration::from_secs(8), async || match complete().await {
        at if at > before + 3_000 => Ok(at),
        at => Err(format!("complete until {at}")),
    });
    let claimed = claimed.await.ok().map(|at| at - before);
    assert_eq!(claimed, None, "the table says to be complete that many ms after ten records that it does not have");

    hanging.abort().await.unwrap();
    until("completeness", LIMIT, async || match complete().await {
        at if at > before => Ok(()),
        at => Err(format!("complete until {at}")),
    })
    .await
    .unwrap();
}

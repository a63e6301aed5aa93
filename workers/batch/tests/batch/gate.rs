//! Poisoned sources: the gate refuses, and what was served is served on.

use batch::gate::Limits;
use engine::row::RunOutcome;

use crate::fixtures::DAY;
use crate::source::{Dice, Event, START, append, events, replace};
use crate::world::{Served, World};

/// A world with one generation published under the usual limits.
async fn published() -> (World, Vec<Event>, Served) {
    let mut world = World::new().await;
    world.config.gate = Limits::default();
    let all = events(&mut Dice(11), 1_000, 20_000, START, START + 9 * DAY);
    append(&world.source(), &all).await;
    world.run_to(0).await;
    let served = world.served().await;
    (world, all, served)
}

async fn refused(world: &World, before: &Served, what: &str) {
    let rows = world.rows().await;
    for _ in 0..2 {
        world.run_to(3).await;
        let RunOutcome::Refused { reason } = world.report().await.outcome else { panic!("not refused") };
        assert!(reason.contains(what), "{reason}");
    }
    assert_eq!(world.head().await.unwrap().generation, 1);
    assert_eq!(&world.served().await, before);
    assert_eq!(world.rows().await, rows, "a refused generation touches no row");
}

#[tokio::test(flavor = "multi_thread")]
async fn half_the_entities_missing() {
    let (world, mut all, served) = published().await;
    all.retain(|event| event.user.as_ref().is_some_and(|user| user.as_bytes()[user.len() - 1] % 2 == 0));
    replace(&world.source(), &all).await;
    refused(&world, &served, "maxRowCountDrop is 0.2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_of_nulls() {
    let (world, mut all, served) = published().await;
    for event in &mut all {
        event.amount = None;
    }
    replace(&world.source(), &all).await;
    refused(&world, &served, "feature mean_7d: its share of NULLs rose").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shifted_distribution_and_then_the_right_one() {
    let (world, mut all, served) = published().await;
    let right = all.clone();
    for event in &mut all {
        event.amount = event.amount.map(|amount| amount * 100);
    }
    replace(&world.source(), &all).await;
    refused(&world, &served, "feature mean_7d: its population stability index is").await;
    replace(&world.source(), &right).await;
    world.run_to(0).await;
    assert_eq!(world.head().await.unwrap().generation, 2);
    assert_eq!(world.served().await, served);
}

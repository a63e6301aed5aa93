//! Everything is killed in mid-stream; the rows are as if nothing had been.

use std::time::Duration;

use super::world::{Chance, Event, LIMIT, Worker, World, events, now, record};

const PARTITIONS: i32 = 8;

/// Writes events to partitions that have nothing to do with their users.
async fn write(world: &World, chance: &mut Chance, events: &[Event], now: i64) {
    let records = events.iter().map(|event| record(event, i32::try_from(chance.below(8)).unwrap(), now));
    let records: Vec<_> = records.collect();
    world.kafka.produce(super::world::TOPIC, records).await.unwrap();
}

/// Waits until the worker has written more than what stands now.
async fn until_progress(world: &World, worker: &mut Worker) {
    let before = world.redis.append_only_length().unwrap();
    worker
        .process
        .until("more writes to the store", LIMIT, async || {
            let length = world.redis.append_only_length().map_err(|error| error.to_string())?;
            // Idle markers alone are shorter.
            if length > before + 20_000 { Ok(()) } else { Err(format!("{length} bytes, {before} before")) }
        })
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_equal_a_brute_force_count_after_kills_of_everything() {
    let mut world = World::new(PARTITIONS).await;
    let (mut chance, now) = (Chance(7), now());
    // Far more lanes than 16 MiB hold, so that they are dropped and read back all the time.
    let all = events(&mut chance, 60_000, 12_000, now);
    let mut parts = all.chunks(all.len() / 10);
    let mut written = 0;
    let mut worker = world.worker("worker");
    for round in 0..5 {
        let part = parts.next().unwrap();
        write(&world, &mut chance, part, now).await;
        written += part.len();
        until_progress(&world, &mut worker).await;
        // At no particular point of its work.
        tokio::time::sleep(Duration::from_millis(chance.below(600))).await;
        worker.process.kill().await.unwrap();
        worker = world.worker(&format!("worker-{round}"));
    }
    write(&world, &mut chance, parts.next().unwrap(), now).await;
    until_progress(&world, &mut worker).await;

    // Redis loses its last writes, wherever in a command they are cut.
    world.redis.stop().await.unwrap();
    let length = world.redis.append_only_length().unwrap();
    world.redis.cut_append_only(length / 4 + 3).unwrap();
    write(&world, &mut chance, parts.next().unwrap(), now).await;
    worker.unready("redis").await;
    world.redis.resume().await.unwrap();
    worker.ready().await;
    write(&world, &mut chance, parts.next().unwrap(), now).await;

    // Kafka goes away and comes back.
    world.kafka.kill().await.unwrap();
    worker.unready("kafka").await;
    world.kafka.resume().await.unwrap();
    write(&world, &mut chance, parts.next().unwrap(), now).await;
    worker.ready().await;

    // Redis goes away without losing anything, and the worker with it.
    world.redis.restart().await.unwrap();
    write(&world, &mut chance, parts.next().unwrap(), now).await;
    worker.process.kill().await.unwrap();
    written = all.len().max(written);
    let mut worker = world.worker("last");
    world.until_read(written).await;
    world.assert_equal(&all, now).await;
    worker.ready().await;
    let markers = world.markers().await;
    assert_eq!(markers.len(), 8);
    assert!(markers.values().all(|marker| marker.end_offset == marker.offset));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_emptied_is_filled_again() {
    let world = World::new(2).await;
    let (mut chance, now) = (Chance(11), now());
    let all = events(&mut chance, 2_000, 50, now);
    let (first, second) = all.split_at(1_000);
    let put = |events: &[Event]| {
        events.iter().enumerate().map(|(i, e)| record(e, i32::try_from(i % 2).unwrap(), now)).collect::<Vec<_>>()
    };
    world.kafka.produce(super::world::TOPIC, put(first)).await.unwrap();
    let worker = world.worker("worker");
    world.until_read(1_000).await;
    let _: () = world.redis.command(&["FLUSHALL"]).await.unwrap();
    // The connection is whole, so only the guards can tell.
    world.kafka.produce(super::world::TOPIC, put(second)).await.unwrap();
    world.until_read(2_000).await;
    world.assert_equal(&all, now).await;
    assert!(worker.metric("featuremill_stream_store_lost_total").await >= 1.0);
}

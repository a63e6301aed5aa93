//! Workers come and go in order: nothing waits, nothing is read twice for long.

use std::time::{Duration, Instant};

use super::world::{Chance, LIMIT, TOPIC, World, events, now, record};

#[tokio::test(flavor = "multi_thread")]
async fn partitions_move_between_workers_and_a_drained_one_leaves_at_once() {
    let world = World::new(4).await;
    let (mut chance, now) = (Chance(5), now());
    let all = events(&mut chance, 12_000, 500, now);
    let put = |from: usize, to: usize| {
        let numbered = all[from..to].iter().enumerate();
        numbered.map(|(i, event)| record(event, i32::try_from(i % 4).unwrap(), now)).collect::<Vec<_>>()
    };
    world.kafka.produce(TOPIC, put(0, 4_000)).await.unwrap();
    let mut first = world.worker("first");
    first.ready().await;
    world.until_read(4_000).await;
    let mut second = world.worker("second");
    second.ready().await;
    e2e::services::until("two partitions each", LIMIT, async || {
        let each =
            [first.metric("featuremill_stream_partitions").await, second.metric("featuremill_stream_partitions").await];
        if each.iter().all(|n| (n - 2.0).abs() < f64::EPSILON) { Ok(()) } else { Err(format!("{each:?}")) }
    })
    .await
    .unwrap();
    world.kafka.produce(TOPIC, put(4_000, 8_000)).await.unwrap();
    world.until_read(8_000).await;
    world.kafka.produce(TOPIC, put(8_000, 12_000)).await.unwrap();
    let start = Instant::now();
    let status = first.process.terminate(Duration::from_secs(20)).await.unwrap();
    assert!(status.success(), "{status}");
    assert!(start.elapsed() < Duration::from_secs(10), "the drain took {:?}", start.elapsed());
    world.until_read(12_000).await;
    world.assert_equal(&all, now).await;
    // Without news the markers still say that the partitions were read to their ends.
    let before = now;
    e2e::services::until("fresh markers", LIMIT, async || {
        let oldest = world.markers().await.values().map(|marker| marker.read_to_end_at).min().unwrap_or(0);
        if oldest > before { Ok(()) } else { Err(oldest.to_string()) }
    })
    .await
    .unwrap();
    second.ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_reads_a_topic_to_its_end_goes_on_when_it_gains_partitions() {
    let world = World::new(1).await;
    let (mut chance, now) = (Chance(6), now());
    let all = events(&mut chance, 3_000, 100, now);
    let put = |from: usize, to: usize, partitions: usize| {
        let numbered = all[from..to].iter().enumerate();
        numbered.map(|(i, event)| record(event, i32::try_from(i % partitions).unwrap(), now)).collect::<Vec<_>>()
    };
    world.kafka.produce(TOPIC, put(0, 1_000, 1)).await.unwrap();
    let mut worker = world.worker("grows");
    worker.ready().await;
    world.until_read(1_000).await;
    world.kafka.add_partitions(TOPIC, 3).await.unwrap();
    world.kafka.produce(TOPIC, put(1_000, 3_000, 3)).await.unwrap();
    world.until_read(3_000).await;
    // Not only what is there is read: that it was read to the end is known of the new partitions, too.
    e2e::services::until("markers of three partitions that were read to their ends", LIMIT, async || {
        let read = world.markers().await.values().filter(|marker| marker.read_to_end_at > 0).count();
        if read == 3 { Ok(()) } else { Err(read.to_string()) }
    })
    .await
    .unwrap();
    worker.ready().await;
    world.assert_equal(&all, now).await;
}

//! Servers that hang or are not there: the worker waits within its memory, says so, and still ends when it is asked to.

use std::time::Duration;

use e2e::services::Signal;

use super::world::{Chance, LIMIT, TOPIC, World, events, now, record};

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_hangs_is_waited_for_and_one_that_is_away_does_not_hold_up_the_end() {
    let mut world = World::new(2).await;
    let (mut chance, now) = (Chance(13), now());
    let all = events(&mut chance, 9_000, 300, now);
    let put = |from: usize, to: usize| {
        let numbered = all[from..to].iter().enumerate();
        numbered.map(|(i, event)| record(event, i32::try_from(i % 2).unwrap(), now)).collect::<Vec<_>>()
    };
    world.kafka.produce(TOPIC, put(0, 4_000)).await.unwrap();
    let mut worker = world.worker("worker");
    world.until_read(4_000).await;
    world.redis.process().unwrap().signal(Signal::Stop).unwrap();
    world.kafka.produce(TOPIC, put(4_000, 8_000)).await.unwrap();
    worker.unready("redis").await;
    world.redis.process().unwrap().signal(Signal::Continue).unwrap();
    world.until_read(8_000).await;
    world.assert_equal(&all[..8_000], now).await;
    worker.ready().await;

    world.redis.stop().await.unwrap();
    worker.unready("redis").await;
    let status = worker.process.terminate(Duration::from_secs(25)).await.unwrap();
    assert!(status.success(), "{status}");
    // One that never had a store holds an assignment which it could not answer.
    let mut worker = world.worker("storeless");
    let log = worker.process.log().to_path_buf();
    let assigned = async || match std::fs::read_to_string(&log) {
        Ok(text) if text.contains("Assigned") => Ok(()),
        Ok(text) => Err(text),
        Err(error) => Err(error.to_string()),
    };
    worker.process.until("its assignment", LIMIT, assigned).await.unwrap();
    let status = worker.process.terminate(Duration::from_secs(25)).await.unwrap();
    assert!(status.success(), "{status}");
    world.redis.resume().await.unwrap();
    // Where brokers have no other protocol, the old one does as well.
    let mut worker = world.worker_of("classic", "classic");
    worker.ready().await;
    world.kafka.produce(TOPIC, put(8_000, 9_000)).await.unwrap();
    world.until_read(9_000).await;
    world.assert_equal(&all, now).await;
    let status = worker.process.terminate(Duration::from_secs(25)).await.unwrap();
    assert!(status.success(), "{status}");
}

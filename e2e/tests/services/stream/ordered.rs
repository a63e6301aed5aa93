//! A replay as the operator orders it: the topic is asked, what follows is handed to the processes, and a live worker goes on.

use std::collections::BTreeMap;

use crds::feature_view::{Rollout, StartFrom, StartPolicy};
use e2e::services::Message;
use engine::replay::Part;
use jiff::Timestamp;
use operator::edges::{Edges, LogAddress, RealEdges};
use operator::feature_view::replay;

use super::world::{Chance, Event, LIMIT, TOPIC, World, events, now, record};

const HOUR: i64 = 3_600_000;

/// The events over two partitions in turn, as records of a time.
fn spread(events: &[Event], time: i64) -> Vec<Message> {
    events.iter().enumerate().map(|(i, event)| record(event, i32::try_from(i % 2).unwrap(), time)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_operator_orders_is_read_from_the_time_on_and_a_partition_that_comes_later_from_its_start() {
    let world = World::new(2).await;
    let (mut chance, now) = (Chance(31), now());
    let all = events(&mut chance, 8_000, 300, now);
    let (early, wanted) = all.split_at(2_000);
    let (before, later) = wanted.split_at(3_000);
    let (after, elsewhere) = later.split_at(2_000);
    world.kafka.produce(TOPIC, spread(early, now - 2 * HOUR)).await.unwrap();
    world.kafka.produce(TOPIC, spread(before, now)).await.unwrap();

    let timestamp = Timestamp::from_millisecond(now - HOUR).unwrap();
    let start_from = StartFrom { policy: StartPolicy::Timestamp, timestamp: Some(timestamp.to_string()) };
    let rollout = Rollout { start_from, ..Rollout::default() };
    let since = replay::since(&rollout.start_from, &world.plan, Timestamp::now());
    let address = LogAddress { bootstrap: world.kafka.bootstrap(), properties: BTreeMap::new() };
    let held = RealEdges::default().topic(&address, TOPIC, since).await.unwrap();
    let order = replay::order(&rollout, &world.plan, &held, None, Timestamp::now()).unwrap();
    let parts: Vec<Part> =
        order.parts.iter().map(|part| Part { partition: part.partition, from: part.from, to: part.to }).collect();
    assert_eq!(parts, [Part { partition: 0, from: 1_000, to: 2_500 }, Part { partition: 1, from: 1_000, to: 2_500 }]);

    // The replay is under way when the topic goes on, and gains a partition.
    let mut processes: Vec<_> =
        (0..2).map(|i| world.replay(&format!("replay-{i}"), (0, i), &parts, Some(2_000))).collect();
    world.kafka.produce(TOPIC, spread(after, now)).await.unwrap();
    world.kafka.add_partitions(TOPIC, 3).await.unwrap();
    world.kafka.produce(TOPIC, elsewhere.iter().map(|event| record(event, 2, now))).await.unwrap();
    for process in &mut processes {
        let code = process.process.wait(LIMIT).await.unwrap().code();
        assert_eq!(code, Some(0), "{}", process.process.log_tail());
    }
    let ends: Vec<i64> = world.markers().await.values().map(|marker| marker.offset).collect();
    assert_eq!(ends, [2_500, 2_500]);
    let mut worker = world.worker("after");
    world.until_read(all.len()).await;
    worker.process.terminate(LIMIT).await.unwrap();
    // The live worker's markers cover the partitions; of the early records none was read.
    world.assert_equal(wanted, now).await;
}

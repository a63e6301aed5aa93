//! What no attempt at a replay can mend ends it at once, says which offsets are meant, and is told from what can be tried
//! again by its exit code.

use e2e::services::Message;
use engine::replay::{Part, State};
use rdkafka::TopicPartitionList;
use rdkafka::admin::AdminOptions;
use rdkafka::topic_partition_list::Offset;

use super::world::{Chance, LIMIT, TOPIC, UID, World, events, now, record};

/// A topic of one partition with 100 records.
async fn world() -> World {
    let world = World::new(1).await;
    let now = now();
    let records: Vec<Message> =
        events(&mut Chance(31), 100, 5, now).iter().map(|event| record(event, 0, now)).collect();
    world.kafka.produce(TOPIC, records).await.unwrap();
    world
}

/// Runs a replay of one part into rows of its own; gives its exit code and its log.
async fn replay(world: &World, name: &str, incarnation: u32, part: (i32, i64, i64)) -> (i32, String) {
    let (partition, from, to) = part;
    let mut process = world.replay(name, (incarnation, 0), &[Part { partition, from, to }], None);
    let status = process.process.wait(LIMIT).await.unwrap();
    (status.code().unwrap(), std::fs::read_to_string(process.process.log()).unwrap())
}

/// What the replay of a partition says that it was refused for.
async fn refusal(world: &World, incarnation: u32, partition: i32) -> (String, String) {
    match world.progress(incarnation).await.remove(&partition).unwrap().state {
        State::Refused { reason, message } => (reason, message),
        other => panic!("{other:?}"),
    }
}

async fn delete_before(world: &World, offset: i64) {
    let mut to = TopicPartitionList::new();
    to.add_partition_offset(TOPIC, 0, Offset::Offset(offset)).unwrap();
    let options = AdminOptions::new().operation_timeout(Some(LIMIT));
    world.kafka.admin().unwrap().delete_records(&to, &options).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_does_not_reach_back_far_enough_is_refused_by_offset() {
    let world = world().await;
    delete_before(&world, 40).await;
    let (code, log) = replay(&world, "short", 1, (0, 10, 100)).await;
    assert_eq!(code, 2, "{log}");
    for text in ["RetentionTooShort", "partition 0 of events", "[10, 40)", "[10, 100)"] {
        assert!(log.contains(text), "{text} is not in\n{log}");
    }
    let (reason, message) = refusal(&world, 1, 0).await;
    assert_eq!((reason.as_str(), message.contains("[10, 40)")), ("RetentionTooShort", true));
    assert!(world.markers_of(1).await.is_empty(), "nothing counts as read");

    // What was read before it went is no loss.
    let key = engine::row::marker_key(UID, &world.plan.revision, 2, 0);
    let _: i64 = world.redis.command(&["HSET", &key, "0", "40:0:0:0", "partitions", "1"]).await.unwrap();
    let (code, log) = replay(&world, "read-before", 2, (0, 10, 100)).await;
    assert_eq!(code, 0, "{log}");
    // Nor is what is still there.
    let (code, log) = replay(&world, "there", 3, (0, 40, 100)).await;
    assert_eq!(code, 0, "{log}");
    assert_eq!(world.markers_of(3).await[&0].offset, 100);
    // An empty part needs nothing that is gone.
    let (code, log) = replay(&world, "empty", 4, (0, 10, 10)).await;
    assert_eq!(code, 0, "{log}");
    assert_eq!(world.markers_of(4).await[&0].offset, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_while_it_is_being_read_is_refused_too() {
    let world = World::new(1).await;
    let now = now();
    // More bytes than are fetched ahead.
    let pad = "x".repeat(4_000);
    let payload =
        serde_json::json!({"user": "ada", "kind": "click", "amount": 1, "at": now, "ignored": pad}).to_string();
    let large =
        Message { partition: Some(0), payload: Some(payload.into_bytes()), time: Some(now), ..Message::default() };
    world.kafka.produce(TOPIC, std::iter::repeat_n(large, 6_000)).await.unwrap();
    let mut process = world.replay("replay", (1, 0), &[Part { partition: 0, from: 0, to: 6_000 }], Some(500));
    let reading = process.process.until("its first records", LIMIT, async || {
        let said = world.progress(1).await;
        if said.get(&0).is_some_and(|progress| progress.position > 0) { Ok(()) } else { Err(format!("{said:?}")) }
    });
    reading.await.unwrap();
    delete_before(&world, 5_900).await;
    let status = process.process.wait(LIMIT).await.unwrap();
    assert_eq!(status.code(), Some(2), "{}", process.process.log_tail());
    let (reason, message) = refusal(&world, 1, 0).await;
    assert_eq!((reason.as_str(), message.contains(", 5900)")), ("RetentionTooShort", true), "{message}");
    let read = world.markers_of(1).await.get(&0).map_or(0, |marker| marker.offset);
    assert!(read < 5_900, "the marker stands at {read}, past what was never read");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_topic_of_the_name_is_refused_and_so_is_an_index_without_a_part() {
    let world = world().await;
    let (code, log) = replay(&world, "longer", 1, (0, 0, 500)).await;
    assert_eq!((code, log.contains("SourceReset") && log.contains("ends at offset 100")), (2, true), "{log}");
    assert_eq!(refusal(&world, 1, 0).await.0, "SourceReset");
    let (code, log) = replay(&world, "wider", 1, (7, 0, 10)).await;
    assert_eq!((code, log.contains("PartitionMissing") && log.contains("partition 7")), (2, true), "{log}");
    assert_eq!(refusal(&world, 1, 7).await.0, "PartitionMissing");

    let mut process = world.replay("index", (1, 3), &[Part { partition: 0, from: 0, to: 100 }], None);
    assert_eq!(process.process.wait(LIMIT).await.unwrap().code(), Some(2));
    assert!(process.process.log_tail().contains("index 3 has no part"), "{}", process.process.log_tail());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_done_is_done_again_without_its_topic() {
    let mut world = world().await;
    let (code, log) = replay(&world, "first", 1, (0, 0, 100)).await;
    assert_eq!(code, 0, "{log}");
    let (rows, markers) = (world.bytes(1).await, world.markers_of(1).await);
    world.kafka.kill().await.unwrap();
    let (code, log) = replay(&world, "again", 1, (0, 0, 100)).await;
    assert_eq!(code, 0, "{log}");
    assert_eq!((world.bytes(1).await, world.markers_of(1).await), (rows, markers));
}

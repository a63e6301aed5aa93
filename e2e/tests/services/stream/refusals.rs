//! What a worker refuses to do, says why, and heals from.

use e2e::services::{Message, Redis};
use rdkafka::TopicPartitionList;
use rdkafka::admin::AdminOptions;
use rdkafka::topic_partition_list::Offset;

use super::world::{Chance, LIMIT, TOPIC, UID, World, events, now, record};

const LETTERS: &str = "featuremill.shop.user-events.dead-letters";

async fn fill(world: &World, count: u64) {
    let now = now();
    let records: Vec<Message> =
        events(&mut Chance(1), count, 5, now).iter().map(|event| record(event, 0, now)).collect();
    world.kafka.produce(TOPIC, records).await.unwrap();
}

async fn set_marker(world: &World, offset: i64) {
    let key = engine::row::marker_key(UID, &world.plan.revision, 0, 0);
    let text = format!("{offset}:0:0:0");
    let _: i64 = world.redis.command(&["HSET", &key, "0", &text, "partitions", "1"]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_never_reset_by_themselves() {
    let world = World::new(1).await;
    fill(&world, 100).await;
    // The topic ends before the marker.
    set_marker(&world, 500).await;
    let mut worker = world.worker("reset");
    worker.unready("SourceReset").await;
    assert!((worker.metric("featuremill_stream_source_reset{partition=\"0\"}").await - 1.0).abs() < 0.5);
    worker.process.kill().await.unwrap();
    // The topic starts behind the marker.
    let _: i64 =
        world.redis.command(&["DEL", &engine::row::marker_key(UID, &world.plan.revision, 0, 0)]).await.unwrap();
    set_marker(&world, 10).await;
    let mut to = TopicPartitionList::new();
    to.add_partition_offset(TOPIC, 0, Offset::Offset(40)).unwrap();
    let options = AdminOptions::new().operation_timeout(Some(LIMIT));
    world.kafka.admin().unwrap().delete_records(&to, &options).await.unwrap();
    let mut worker = world.worker("gap");
    worker.unready("[10, 40)").await;
    assert!((worker.metric("featuremill_stream_source_gap{partition=\"0\"}").await - 1.0).abs() < 0.5);
    assert_eq!(world.markers().await[&0].offset, 10, "it stands still");
    // What is still there may be read.
    worker.process.kill().await.unwrap();
    set_marker(&world, 40).await;
    let _worker = world.worker("rest");
    world.until_read(100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_cannot_serve_are_named_and_a_mended_one_is_read() {
    let mut world = World::new(1).await;
    world.redis = Redis::start_with(&[("maxmemory", "100mb"), ("maxmemory-policy", "allkeys-lru")]).await.unwrap();
    let mut worker = world.worker("evicting");
    worker.unready("allkeys-lru").await;
    let _: () = world.redis.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await.unwrap();
    worker.ready().await;
    worker.process.kill().await.unwrap();

    let compacted = serde_json::to_string(&world.plan).unwrap().replace("\"topic\":\"events\"", "\"topic\":\"table\"");
    let assignments = format!("{{\"assignments\":[{{\"incarnation\":0,\"plan\":{compacted}}}]}}");
    let good = std::fs::read(world.assignments()).unwrap();
    std::fs::write(world.assignments(), assignments).unwrap();
    let mut worker = world.worker("missing");
    worker.unready("topic table does not exist").await;
    world.kafka.create_topic_with("table", 1, &[("cleanup.policy", "compact")]).await.unwrap();
    worker.unready("cleanup.policy=compact").await;
    worker.process.kill().await.unwrap();

    std::fs::write(world.assignments(), b"{}").unwrap();
    let mut worker = world.worker("foreign");
    worker.unready("assignments").await;
    let headers = vec![("featuremill-view-uid".to_owned(), Some(b"somebody".to_vec()))];
    world.kafka.produce(LETTERS, [Message { headers, ..Message::default() }]).await.unwrap();
    std::fs::write(world.assignments(), good).unwrap();
    worker.unready("UID somebody").await;
}

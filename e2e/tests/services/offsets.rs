//! What the operator asks a topic before it has a revision's history replayed.

use std::collections::BTreeMap;

use e2e::services::{Kafka, Message};
use operator::edges::{Edges, Held, LogAddress, RealEdges, Topic};
use rdkafka::admin::AdminOptions;
use rdkafka::{Offset, TopicPartitionList};

const TOPIC: &str = "clicks";
const HOUR: i64 = 3_600_000;

async fn ask(kafka: &Kafka, topic: &str, since: Option<i64>) -> Result<Topic, (&'static str, bool, String)> {
    let address = LogAddress { bootstrap: kafka.bootstrap(), properties: BTreeMap::new() };
    let answer = RealEdges::default().topic(&address, topic, since).await;
    answer.map_err(|trouble| (trouble.reason, trouble.stuck, trouble.message))
}

fn held(low: i64, end: i64, from: i64, oldest_ms: Option<i64>) -> Held {
    Held { low, end, from, oldest_ms }
}

/// Ten records, an hour apart, the last at `now`.
fn hourly(partition: i32, now: i64) -> Vec<Message> {
    let of = |n: i64| Message {
        partition: Some(partition),
        payload: Some(b"{}".to_vec()),
        time: Some(now - (9 - n) * HOUR),
        ..Message::default()
    };
    (0..10).map(of).collect()
}

async fn remove_before(kafka: &Kafka, partition: i32, offset: i64) {
    let mut to = TopicPartitionList::new();
    to.add_partition_offset(TOPIC, partition, Offset::Offset(offset)).unwrap();
    let options = AdminOptions::new();
    for answer in kafka.admin().unwrap().delete_records(&to, &options).await.unwrap().elements() {
        answer.error().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_topic_holds_is_told_with_where_a_time_begins() {
    let kafka = Kafka::start().await.unwrap();
    let now = jiff::Timestamp::now().as_millisecond();
    kafka.create_topic_with(TOPIC, 4, &[("retention.ms", "864000000")]).await.unwrap();
    for partition in 0..3 {
        kafka.produce(TOPIC, hourly(partition, now)).await.unwrap();
    }
    // Of one the first five are gone, and of another all.
    remove_before(&kafka, 1, 5).await;
    remove_before(&kafka, 2, 10).await;

    let topic = ask(&kafka, TOPIC, Some(now - 6 * HOUR - 1)).await.unwrap();
    assert_eq!(topic.keeps_ms, Some(864_000_000));
    let expected = [
        (0, held(0, 10, 3, None)),
        (1, held(5, 10, 5, Some(now - 4 * HOUR))),
        (2, held(10, 10, 10, None)),
        (3, held(0, 0, 0, None)),
    ];
    assert_eq!(topic.partitions, expected.into());

    // A time that comes after what is gone, one that never comes, and none.
    let at = async |since| ask(&kafka, TOPIC, since).await.unwrap().partitions;
    assert_eq!(at(Some(now - 2 * HOUR)).await[&1], held(5, 10, 7, None));
    assert_eq!(at(Some(now + HOUR)).await[&0], held(0, 10, 10, None));
    assert_eq!(at(None).await[&1], held(5, 10, 5, Some(now - 4 * HOUR)));

    let (reason, stuck, message) = ask(&kafka, "nothing", None).await.unwrap_err();
    assert_eq!((reason, stuck), ("TopicMissing", true), "{message}");
    assert!(message.contains("topic nothing"), "{message}");
    kafka.create_topic_with("compacted", 1, &[("cleanup.policy", "compact")]).await.unwrap();
    let (reason, stuck, message) = ask(&kafka, "compacted", None).await.unwrap_err();
    assert_eq!((reason, stuck), ("TopicCompacted", true), "{message}");
    kafka.create_topic_with("ever", 1, &[("retention.ms", "-1")]).await.unwrap();
    assert_eq!(ask(&kafka, "ever", None).await.unwrap().keeps_ms, Some(i64::MAX));
    kafka.create_topic_with("bounded", 1, &[("retention.bytes", "1000000")]).await.unwrap();
    assert_eq!(ask(&kafka, "bounded", None).await.unwrap().keeps_ms, None, "it promises no time");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_behind_an_open_transaction_is_part_of_what_a_topic_holds() {
    let kafka = Kafka::start().await.unwrap();
    kafka.create_topic(TOPIC, 1).await.unwrap();
    let now = jiff::Timestamp::now().as_millisecond();
    let open = kafka.hang(TOPIC, 0).await.unwrap();
    kafka.produce(TOPIC, hourly(0, now)).await.unwrap();
    assert_eq!(ask(&kafka, TOPIC, None).await.unwrap().partitions[&0], held(0, 11, 0, None));
    open.abort().await.unwrap();
}

//! Where topics end, as the operator asks the brokers again and again to measure lag: all topics of a cluster at once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use e2e::services::{Kafka, Message, until};
use operator::edges::{Edges, Ends, LogAddress, RealEdges};
use operator::lag::measure::Bounds;
use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use rdkafka::{Offset, TopicPartitionList};

/// How long a change may take to be seen.
const LIMIT: Duration = Duration::from_secs(30);

struct Asked {
    kafka: Kafka,
    edges: RealEdges,
}

impl Asked {
    async fn new() -> Self {
        Self { kafka: Kafka::start().await.unwrap(), edges: RealEdges::default() }
    }

    async fn of(&self, topics: &[&str]) -> Result<Ends, String> {
        let address = LogAddress { bootstrap: self.kafka.bootstrap(), properties: BTreeMap::new() };
        let topics: BTreeSet<String> = topics.iter().map(|topic| (*topic).to_owned()).collect();
        self.edges.ends(&address, &topics).await.map_err(|error| error.to_string())
    }

    async fn put(&self, topic: &str, partition: i32, records: usize) {
        let one = || Message { partition: Some(partition), payload: Some(b"{}".to_vec()), ..Message::default() };
        self.kafka.produce(topic, (0..records).map(|_| one())).await.unwrap();
    }

    async fn delete(&self, topic: &str) {
        for answer in self.kafka.admin().unwrap().delete_topics(&[topic], &AdminOptions::new()).await.unwrap() {
            answer.unwrap();
        }
    }
}

fn bounds<const N: usize>(all: [(i32, i64, i64); N]) -> BTreeMap<i32, Bounds> {
    all.into_iter().map(|(partition, start, end)| (partition, Bounds { start, end })).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_topics_are_asked_for_at_once_and_one_that_goes_keeps_no_other_from_its_answer() {
    let mut asked = Asked::new().await;
    asked.kafka.create_topic("clicks", 3).await.unwrap();
    asked.kafka.create_topic("orders", 2).await.unwrap();
    asked.put("clicks", 0, 10).await;
    asked.put("clicks", 1, 10).await;
    asked.put("orders", 1, 7).await;
    let mut to = TopicPartitionList::new();
    to.add_partition_offset("clicks", 1, Offset::Offset(4)).unwrap();
    for answer in asked.kafka.admin().unwrap().delete_records(&to, &AdminOptions::new()).await.unwrap().elements() {
        answer.error().unwrap();
    }

    let ends = asked.of(&["clicks", "orders", "nothing"]).await.unwrap();
    let clicks = bounds([(0, 0, 10), (1, 4, 10), (2, 0, 0)]);
    let expected = [("clicks".to_owned(), clicks.clone()), ("orders".to_owned(), bounds([(0, 0, 0), (1, 0, 7)]))];
    assert_eq!(ends, expected.into());

    // What is written is seen with the next question.
    asked.put("orders", 0, 2).await;
    assert_eq!(asked.of(&["orders"]).await.unwrap()["orders"][&0], Bounds { start: 0, end: 2 });

    // One goes; then it is there again, smaller than it was.
    asked.delete("orders").await;
    until("the others alone", LIMIT, async || match asked.of(&["clicks", "orders"]).await {
        Ok(ends) if ends.len() == 1 && ends["clicks"] == clicks => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await
    .unwrap();
    until("it is made anew", LIMIT, async || {
        asked.kafka.create_topic("orders", 1).await.map_err(|error| error.to_string())
    })
    .await
    .unwrap();
    asked.put("orders", 0, 1).await;
    until("the new one", LIMIT, async || match asked.of(&["clicks", "orders"]).await {
        Ok(ends) if ends.get("orders") == Some(&bounds([(0, 0, 1)])) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await
    .unwrap();

    // Brokers that are away are an error, and none any more once they are back.
    asked.kafka.kill().await.unwrap();
    let start = Instant::now();
    let error = asked.of(&["clicks"]).await.unwrap_err();
    assert!(error.contains(&asked.kafka.bootstrap()) && start.elapsed() < Duration::from_secs(12), "{error}");
    asked.kafka.resume().await.unwrap();
    until("they answer again", LIMIT, async || match asked.of(&["clicks"]).await {
        Ok(ends) if ends["clicks"] == clicks => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_ends_where_it_can_be_read_up_to() {
    let asked = Asked::new().await;
    asked.kafka.create_topic("clicks", 1).await.unwrap();
    asked.put("clicks", 0, 5).await;
    let open = asked.kafka.hang("clicks", 0).await.unwrap();
    asked.put("clicks", 0, 5).await;
    let end = async || asked.of(&["clicks"]).await.unwrap()["clicks"][&0].end;
    assert_eq!(end().await, 5, "what stands behind an open transaction cannot be read yet");
    open.abort().await.unwrap();
    until("it can be read", LIMIT, async || match end().await {
        // Ten records, the one that was taken back, and the marker that says so.
        12 => Ok(()),
        end => Err(format!("the end is {end}")),
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_partitions_are_a_matter_of_milliseconds() {
    let asked = Asked::new().await;
    let names: Vec<String> = (0..100).map(|n| format!("topic-{n:03}")).collect();
    let topics: Vec<NewTopic<'_>> = names.iter().map(|n| NewTopic::new(n, 10, TopicReplication::Fixed(1))).collect();
    for answer in asked.kafka.admin().unwrap().create_topics(&topics, &AdminOptions::new()).await.unwrap() {
        answer.unwrap();
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let all = until("all of them", LIMIT, async || match asked.of(&names).await {
        Ok(ends) if ends.len() == 100 && ends.values().all(|partitions| partitions.len() == 10) => Ok(ends),
        Ok(ends) => Err(format!("{} topics", ends.len())),
        Err(error) => Err(error),
    })
    .await
    .unwrap();
    assert!(all.values().flat_map(BTreeMap::values).all(|bounds| *bounds == Bounds::default()));
    let mut took: Vec<Duration> = Vec::new();
    for _ in 0..5 {
        let start = Instant::now();
        assert_eq!(asked.of(&names).await.unwrap().len(), 100);
        took.push(start.elapsed());
    }
    took.sort();
    println!("1,000 partitions of 100 topics: {took:?}");
    // One question for each partition would take a thousand round trips.
    assert!(took[0] < Duration::from_millis(500), "{took:?}");
}

//! Where topics end, as the operator asks the brokers again and again to measure lag: all topics of a cluster at once; and how
//! long it takes to measure all views.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use e2e::services::{Kafka, Message, Redis, until};
use engine::row::{Marker, marker_key};
use futures::stream::{self, StreamExt as _};
use operator::edges::{Edges, Ends, LogAddress, RealEdges, StoreAddress};
use operator::lag::figures::Figures;
use operator::lag::measure::Bounds;
use operator::lag::sweep::{self, Swept};
use operator::lag::tier::Thresholds;
use operator::lag::{Address, Follow, Lags, Standing, Subject};
use prometheus_client::registry::Registry;
use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use rdkafka::{Offset, TopicPartitionList};
use shell::redis::Connector;
use shell::store::{Fence, MarkerWrite, RedisStore, RowStore as _};

/// How long a change may take to be seen.
const LIMIT: Duration = Duration::from_secs(30);

pub struct Asked {
    pub kafka: Kafka,
    pub edges: RealEdges,
}

impl Asked {
    pub async fn new() -> Self {
        Self { kafka: Kafka::start().await.unwrap(), edges: RealEdges::default() }
    }

    async fn of(&self, topics: &[&str]) -> Result<Ends, String> {
        let address = LogAddress { bootstrap: self.kafka.bootstrap(), properties: BTreeMap::new() };
        let topics: BTreeSet<String> = topics.iter().map(|topic| (*topic).to_owned()).collect();
        self.edges.ends(&address, &topics).await.map_err(|error| error.to_string())
    }

    /// These brokers and a store.
    pub fn beside(&self, redis: &Redis) -> Arc<Address> {
        Arc::new(Address {
            log: LogAddress { bootstrap: self.kafka.bootstrap(), properties: BTreeMap::new() },
            store: StoreAddress { url: redis.url(), settings: BTreeMap::new() },
        })
    }

    pub async fn put(&self, topic: &str, partition: i32, records: usize) {
        let one = || Message { partition: Some(partition), payload: Some(b"{}".to_vec()), ..Message::default() };
        self.kafka.produce(topic, (0..records).map(|_| one())).await.unwrap();
    }

    /// Records of a partition before an offset go, as they do when they expire.
    pub async fn expire(&self, topic: &str, partition: i32, before: i64) {
        let mut to = TopicPartitionList::new();
        to.add_partition_offset(topic, partition, Offset::Offset(before)).unwrap();
        for answer in self.kafka.admin().unwrap().delete_records(&to, &AdminOptions::new()).await.unwrap().elements() {
            answer.error().unwrap();
        }
    }

    pub async fn delete(&self, topic: &str) {
        for answer in self.kafka.admin().unwrap().delete_topics(&[topic], &AdminOptions::new()).await.unwrap() {
            answer.unwrap();
        }
    }
}

/// A view of revision `a`, as the operator follows it.
pub fn subject(name: &str, topic: &str, address: &Arc<Address>) -> Subject {
    Subject {
        namespace: "shop".into(),
        name: name.into(),
        revision: "a".into(),
        topic: topic.into(),
        ahead_ms: 300_000,
        thresholds: Thresholds::of(&[], &[]),
        suspended: false,
        scaling: None,
        address: Some(address.clone()),
    }
}

fn bounds<const N: usize>(all: [(i32, i64, i64); N]) -> BTreeMap<i32, Bounds> {
    all.into_iter().map(|(partition, start, end)| (partition, Bounds { start, end, past: false })).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_topics_are_asked_for_at_once_and_one_that_goes_keeps_no_other_from_its_answer() {
    let mut asked = Asked::new().await;
    asked.kafka.create_topic("clicks", 3).await.unwrap();
    asked.kafka.create_topic("orders", 2).await.unwrap();
    asked.put("clicks", 0, 10).await;
    asked.put("clicks", 1, 10).await;
    asked.put("orders", 1, 7).await;
    asked.expire("clicks", 1, 4).await;

    let ends = asked.of(&["clicks", "orders", "nothing"]).await.unwrap();
    let clicks = bounds([(0, 0, 10), (1, 4, 10), (2, 0, 0)]);
    let expected = [("clicks".to_owned(), clicks.clone()), ("orders".to_owned(), bounds([(0, 0, 0), (1, 0, 7)]))];
    assert_eq!(ends, expected.into());

    // What is written is seen with the next question.
    asked.put("orders", 0, 2).await;
    assert_eq!(asked.of(&["orders"]).await.unwrap()["orders"][&0], Bounds { start: 0, end: 2, past: false });

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

/// The views of the test below, and partitions of each of their topics.
const VIEWS: usize = 1000;
const TOPICS: usize = 100;
const PARTITIONS: i32 = 10;

/// The markers of every view: it has read nine of ten records of each partition that has any, and was at the end a minute ago.
async fn write_markers(redis: &Redis, now: i64) {
    let connector = Connector::with_settings(&redis.url(), BTreeMap::new()).unwrap();
    let store = RedisStore::connect(&connector).await.unwrap();
    let write = async |view: usize| {
        let (uid, key) = (view.to_string(), marker_key(&view.to_string(), "a", 0, 0));
        for partition in 0..PARTITIONS {
            let marker = Marker { offset: 9, event_time: now - 600_000, end_offset: 10, read_to_end_at: now - 60_000 };
            let write = MarkerWrite { partition, base: None, marker };
            store.write_marker(&key, PARTITIONS, Fence { uid: &uid, version: 0 }, write).await.unwrap();
        }
    };
    stream::iter(0..VIEWS).map(write).buffer_unordered(64).collect::<Vec<()>>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_views_of_ten_partitions_are_measured_in_two_seconds() {
    shell::redis::install_crypto();
    let (asked, redis) = (Asked::new().await, Redis::start().await.unwrap());
    let names: Vec<String> = (0..TOPICS).map(|n| format!("topic-{n:03}")).collect();
    let new = |name| NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(1));
    let topics: Vec<NewTopic<'_>> = names.iter().map(|name| new(name)).collect();
    for answer in asked.kafka.admin().unwrap().create_topics(&topics, &AdminOptions::new()).await.unwrap() {
        answer.unwrap();
    }
    for partition in 0..PARTITIONS {
        asked.put("topic-000", partition, 10).await;
        asked.put("topic-001", partition, 29).await;
    }
    write_markers(&redis, jiff::Timestamp::now().as_millisecond()).await;

    let address = asked.beside(&redis);
    let (lags, figures) = (Lags::default(), Figures::register(&mut Registry::default()));
    for view in 0..VIEWS {
        let subject = subject(&format!("view-{view}"), &names[view % TOPICS], &address);
        lags.follow(&view.to_string(), Follow::Yes(Box::new(subject)), None);
    }
    let sweep = async || {
        let start = Instant::now();
        let swept = sweep::once(&asked.edges, &lags, &figures, k8s_openapi::jiff::Timestamp::now, |_, _| true).await;
        (start.elapsed(), swept)
    };
    // The first finds out how many partitions there are, and connects.
    let (first, _) = until("all of them", LIMIT, async || {
        let (took, swept) = sweep().await;
        let known = swept.iter().filter(|swept| matches!(swept.standing, Standing::Known(_))).count();
        if known == VIEWS { Ok((took, swept)) } else { Err(format!("{known} are known")) }
    })
    .await
    .unwrap();
    let mut took = Vec::new();
    for _ in 0..5 {
        let (elapsed, swept) = sweep().await;
        took.push(elapsed);
        for Swept { subject, standing, .. } in swept {
            let Standing::Known(judged) = standing else { panic!("{}: {standing:?}", subject.name) };
            let (records, broken) = match subject.topic.as_str() {
                "topic-000" => (10, 0),
                "topic-001" => (200, 0),
                // Nothing is in it, and the marker stands at nine.
                _ => (0, 10),
            };
            assert_eq!((judged.measured.records, judged.measured.broken.len()), (records, broken), "{}", subject.topic);
            assert!((60..90).contains(&judged.measured.seconds), "{:?}", judged.measured);
        }
    }
    took.sort();
    println!("{VIEWS} views, {TOPICS} topics of {PARTITIONS} partitions: first {first:?}, then {took:?}");
    assert!(took[2] < Duration::from_secs(2), "{took:?}");
}

//! What a topic holds, as a replay must know before it begins.
//!
//! Invariant: nothing is read but one record of each partition of which it matters how old its first is.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crds::condition::reasons;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::Message as _;
use rdkafka::metadata::MetadataPartition;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use shell::kafka::{Complaints, KafkaError, explain, is_refusal};
use shell::topic::kept_ms;

use super::{LogAddress, kafka};
use crate::trouble::Trouble;

/// How long all questions about a topic may take together.
const TIMEOUT: Duration = Duration::from_secs(15);
/// How long the first records may take to come; without them the answer is only less telling.
const RECORDS: Duration = Duration::from_secs(5);

/// What a topic holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topic {
    /// Its partitions; not empty.
    pub partitions: BTreeMap<i32, Held>,
    /// How old a record becomes before it may go, in milliseconds; `i64::MAX` if none ever goes, `None` if the topic promises
    /// no time, or may not be asked.
    pub keeps_ms: Option<i64>,
}

/// What a partition holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// The first offset that is still there.
    pub low: i64,
    /// The end of its log, be the records before it committed or not.
    pub end: i64,
    /// The first offset whose record is of the time that was asked for, or later.
    pub from: i64,
    /// The time of the first record, where records before it are gone and it is of the time that was asked for, or later.
    pub oldest_ms: Option<i64>,
}

/// Asks the brokers.
pub(super) async fn ask(address: &LogAddress, topic: &str, since_ms: Option<i64>) -> Result<Topic, Trouble> {
    let keeps_ms = promise(address, topic).await?;
    let (address, topic) = (address.clone(), topic.to_owned());
    let asked = tokio::task::spawn_blocking(move || Question::new(&address, &topic)?.partitions(since_ms)).await;
    let partitions = asked.unwrap_or_else(|error| Err(away(error.to_string())))?;
    Ok(Topic { partitions, keeps_ms })
}

fn away(message: String) -> Trouble {
    Trouble { reason: reasons::KAFKA_UNREACHABLE, message, stuck: false }
}

fn refused(message: String) -> Trouble {
    Trouble { reason: reasons::KAFKA_REFUSED, message, stuck: true }
}

fn missing(topic: &str) -> Trouble {
    let message = format!("topic {topic} does not exist or may not be described; create it, or fix source.topic");
    Trouble { reason: reasons::TOPIC_MISSING, message, stuck: true }
}

fn client_error(error: &KafkaError) -> Trouble {
    refused(error.to_string())
}

/// How long the topic promises to keep a record.
async fn promise(address: &LogAddress, topic: &str) -> Result<Option<i64>, Trouble> {
    let (settings, properties) = kafka::settings(address).map_err(|error| refused(error.to_string()))?;
    let admin: AdminClient<DefaultClientContext> =
        settings.client(&properties, DefaultClientContext).map_err(|error| client_error(&error))?;
    let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
    let answer = admin.describe_configs(&[ResourceSpecifier::Topic(topic)], &options).await;
    let doing = format!("asking {} for the configuration of topic {topic}", address.bootstrap);
    let answer = answer.map_err(|error| away(format!("{doing}: {error}")))?;
    let config = match answer.into_iter().next() {
        Some(Ok(config)) => config,
        Some(Err(RDKafkaErrorCode::UnknownTopicOrPartition)) => return Err(missing(topic)),
        // Who may read a topic need not be let see its configuration.
        Some(Err(_)) | None => return Ok(None),
    };
    let policy = config.get("cleanup.policy").and_then(|entry| entry.value.clone());
    if let Some(policy) = policy.filter(|policy| policy.contains("compact")) {
        let message = format!(
            "topic {topic} has cleanup.policy={policy}: a compacted topic does not keep every event; use one with \
             cleanup.policy=delete"
        );
        return Err(Trouble { reason: reasons::TOPIC_COMPACTED, message, stuck: true });
    }
    Ok(kept_ms(&config))
}

/// Questions about one topic, all within one deadline.
struct Question {
    client: BaseConsumer<Complaints>,
    bootstrap: String,
    topic: String,
    deadline: Instant,
}

impl Question {
    fn new(address: &LogAddress, topic: &str) -> Result<Self, Trouble> {
        let (settings, mut properties) = kafka::settings(address).map_err(|error| refused(error.to_string()))?;
        // What stands behind an open transaction is in the log, too.
        properties.extend([
            ("group.id", "featuremill-unused"),
            ("isolation.level", "read_uncommitted"),
            ("enable.auto.commit", "false"),
        ]);
        let client = settings.client(&properties, Complaints::default()).map_err(|error| client_error(&error))?;
        let (bootstrap, topic) = (address.bootstrap.clone(), topic.to_owned());
        Ok(Self { client, bootstrap, topic, deadline: Instant::now() + TIMEOUT })
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
    }

    fn failed(&self, error: &rdkafka::error::KafkaError) -> Trouble {
        let why = explain(&self.client, error);
        let told = format!("asking {} what topic {} holds: {why}", self.bootstrap, self.topic);
        if is_refusal(&why) { refused(told) } else { away(told) }
    }

    fn partitions(&self, since_ms: Option<i64>) -> Result<BTreeMap<i32, Held>, Trouble> {
        let failed = |error| self.failed(&error);
        let metadata = self.client.fetch_metadata(Some(&self.topic), self.left()).map_err(failed)?;
        let found = metadata.topics().iter().find(|found| found.name() == self.topic);
        let partitions: Vec<i32> = match found {
            Some(found) if found.error().is_none() => found.partitions().iter().map(MetadataPartition::id).collect(),
            _ => Vec::new(),
        };
        if partitions.is_empty() {
            return Err(missing(&self.topic));
        }
        let mut all = BTreeMap::new();
        for partition in partitions {
            let (low, end) = self.client.fetch_watermarks(&self.topic, partition, self.left()).map_err(failed)?;
            all.insert(partition, Held { low, end, from: low, oldest_ms: None });
        }
        if let Some(since) = since_ms {
            self.starts(since, &mut all).map_err(failed)?;
        }
        self.oldest(&mut all).map_err(failed)?;
        Ok(all)
    }

    /// The first offsets of `since` or later.
    fn starts(&self, since: i64, all: &mut BTreeMap<i32, Held>) -> Result<(), rdkafka::error::KafkaError> {
        let mut times = TopicPartitionList::new();
        for partition in all.keys() {
            times.add_partition_offset(&self.topic, *partition, Offset::Offset(since.max(0)))?;
        }
        for found in self.client.offsets_for_times(times, self.left())?.elements() {
            found.error()?;
            let Some(held) = all.get_mut(&found.partition()) else { continue };
            held.from = match found.offset() {
                // It may have come, or gone, since the bounds were asked for.
                Offset::Offset(offset) => offset.clamp(held.low, held.end),
                _ => held.end,
            };
        }
        Ok(())
    }

    /// The times of the first records, where these could have been missed.
    fn oldest(&self, all: &mut BTreeMap<i32, Held>) -> Result<(), rdkafka::error::KafkaError> {
        let mut wanted = TopicPartitionList::new();
        for (partition, held) in all.iter().filter(|(_, h)| h.low > 0 && h.from == h.low && h.low < h.end) {
            wanted.add_partition_offset(&self.topic, *partition, Offset::Offset(held.low))?;
        }
        if wanted.count() == 0 {
            return Ok(());
        }
        self.client.assign(&wanted)?;
        let deadline = Instant::now() + RECORDS.min(self.left());
        let mut left = wanted.count();
        while left > 0 {
            let patience = deadline.saturating_duration_since(Instant::now());
            if patience.is_zero() {
                break;
            }
            let Some(Ok(record)) = self.client.poll(patience.min(Duration::from_millis(100))) else { continue };
            if let Some(held) = all.get_mut(&record.partition())
                && held.oldest_ms.is_none()
            {
                held.oldest_ms = record.timestamp().to_millis();
                left -= 1;
                let mut seen = TopicPartitionList::new();
                seen.add_partition(&self.topic, record.partition());
                self.client.pause(&seen)?;
            }
        }
        Ok(())
    }
}

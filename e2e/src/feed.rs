//! Putting events into a Kafka topic, with their event time as the record's time.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Message, OwnedMessage};
use rdkafka::metadata::MetadataTopic;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

const TIMEOUT: Duration = Duration::from_secs(30);

/// Larger than what a worker takes, so that a test can send too much.
const MAX_RECORD_BYTES: &str = "4194304";

/// A topic and a producer for it.
pub struct Feed {
    config: ClientConfig,
    producer: BaseProducer,
    topic: String,
}

impl Feed {
    /// Connects to a broker, for one topic.
    ///
    /// # Errors
    /// [`KafkaError`] if the client cannot be made.
    pub fn new(bootstrap: &str, topic: &str) -> Result<Self, KafkaError> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", bootstrap)
            .set("enable.idempotence", "true")
            .set("linger.ms", "5")
            .set("message.max.bytes", MAX_RECORD_BYTES)
            .set("compression.type", "lz4");
        Ok(Self { producer: config.create()?, config, topic: topic.to_owned() })
    }

    /// Makes the topic anew, with records kept for ever. An old one of the name is deleted first.
    ///
    /// # Errors
    /// [`KafkaError`].
    pub async fn recreate(&self, partitions: i32) -> Result<(), KafkaError> {
        self.delete().await?;
        let admin: AdminClient<DefaultClientContext> = self.config.create()?;
        let topic = NewTopic::new(&self.topic, partitions, TopicReplication::Fixed(1))
            .set("retention.ms", "-1")
            .set("max.message.bytes", MAX_RECORD_BYTES);
        let options = AdminOptions::new().operation_timeout(Some(TIMEOUT));
        // The broker forgets a deleted topic some moments after it has said so.
        let deadline = tokio::time::Instant::now() + TIMEOUT;
        loop {
            match admin.create_topics([&topic], &options).await?.remove(0) {
                Ok(_) => return Ok(()),
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) if tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err((_, code)) => return Err(KafkaError::AdminOp(code)),
            }
        }
    }

    /// Deletes the topic, if there is one.
    ///
    /// # Errors
    /// [`KafkaError`].
    pub async fn delete(&self) -> Result<(), KafkaError> {
        let admin: AdminClient<DefaultClientContext> = self.config.create()?;
        let options = AdminOptions::new().operation_timeout(Some(TIMEOUT));
        match admin.delete_topics(&[&self.topic], &options).await?.remove(0) {
            Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => Ok(()),
            Err((_, code)) => Err(KafkaError::AdminOp(code)),
        }
    }

    /// Gives the topic more partitions, and waits until the producer knows of them.
    ///
    /// # Errors
    /// [`KafkaError`].
    pub async fn grow(&self, partitions: usize) -> Result<(), KafkaError> {
        let admin: AdminClient<DefaultClientContext> = self.config.create()?;
        let options = AdminOptions::new().operation_timeout(Some(TIMEOUT));
        let more = NewPartitions::new(&self.topic, partitions);
        admin.create_partitions([&more], &options).await?.remove(0).map_err(|(_, code)| KafkaError::AdminOp(code))?;
        let deadline = tokio::time::Instant::now() + TIMEOUT;
        loop {
            let metadata = self.producer.client().fetch_metadata(Some(&self.topic), TIMEOUT)?;
            if metadata.topics().first().is_some_and(|topic| topic.partitions().len() >= partitions) {
                return Ok(());
            }
            if tokio::time::Instant::now() >= deadline {
                return Err(KafkaError::AdminOp(RDKafkaErrorCode::UnknownPartition));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Sends one record; blocks while the producer's queue is full. Without a partition the key decides.
    ///
    /// # Errors
    /// [`KafkaError`] if the record cannot be queued.
    pub fn send(&self, key: &[u8], payload: &[u8], time_ms: i64, partition: Option<i32>) -> Result<(), KafkaError> {
        let mut record = BaseRecord::to(&self.topic).key(key).payload(payload).timestamp(time_ms);
        if let Some(partition) = partition {
            record = record.partition(partition);
        }
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    self.producer.poll(Duration::from_millis(10));
                    record = back;
                }
                Err((error, _)) => return Err(error),
            }
        }
    }

    /// Waits until the broker has all that was sent.
    ///
    /// # Errors
    /// [`KafkaError`] if it does not within 30 s.
    pub fn flush(&self) -> Result<(), KafkaError> {
        self.producer.flush(TIMEOUT)
    }

    /// The end offset of every partition.
    ///
    /// # Errors
    /// [`KafkaError`].
    pub fn end_offsets(&self) -> Result<Vec<i64>, KafkaError> {
        let consumer: BaseConsumer = self.config.create()?;
        let metadata = consumer.fetch_metadata(Some(&self.topic), TIMEOUT)?;
        let partitions = metadata.topics().first().map_or(0, |t| t.partitions().len());
        (0..partitions)
            .map(|p| Ok(consumer.fetch_watermarks(&self.topic, i32::try_from(p).unwrap_or(i32::MAX), TIMEOUT)?.1))
            .collect()
    }

    /// The names of the consumer groups that the broker knows.
    ///
    /// # Errors
    /// [`KafkaError`].
    pub fn groups(&self) -> Result<Vec<String>, KafkaError> {
        let consumer: BaseConsumer = self.config.create()?;
        let list = consumer.fetch_group_list(None, TIMEOUT)?;
        Ok(list.groups().iter().map(|g| g.name().to_owned()).collect())
    }

    /// Every record of a topic that is there now, in the order of each partition.
    ///
    /// # Errors
    /// [`KafkaError`], or what the broker answers within 30 s.
    pub fn read_all(&self, topic: &str) -> Result<Vec<OwnedMessage>, KafkaError> {
        let mut config = self.config.clone();
        config.set("group.id", "e2e-reader").set("enable.auto.commit", "false");
        let consumer: BaseConsumer = config.create()?;
        let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT)?;
        let mut left = BTreeMap::new();
        let mut assignment = TopicPartitionList::new();
        for partition in metadata.topics().iter().flat_map(MetadataTopic::partitions) {
            let (start, end) = consumer.fetch_watermarks(topic, partition.id(), TIMEOUT)?;
            if end > start {
                left.insert(partition.id(), end);
                assignment.add_partition_offset(topic, partition.id(), Offset::Offset(start))?;
            }
        }
        consumer.assign(&assignment)?;
        let mut records = Vec::new();
        while !left.is_empty() {
            let Some(record) = consumer.poll(TIMEOUT) else {
                return Err(KafkaError::MessageConsumption(RDKafkaErrorCode::RequestTimedOut));
            };
            let record = record?.detach();
            if left.get(&record.partition()).is_some_and(|end| record.offset() + 1 >= *end) {
                left.remove(&record.partition());
            }
            records.push(record);
        }
        Ok(records)
    }
}

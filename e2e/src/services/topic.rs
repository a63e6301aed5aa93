//! Writing to topics and reading them whole.

use std::collections::VecDeque;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header as KafkaHeader, Headers, Message as _, OwnedHeaders};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};

use super::kafka::REQUEST_LIMIT;
use super::{Kafka, ServiceError};

/// A header's name and value.
pub type Header = (String, Option<Vec<u8>>);

/// One record of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Its partition; written with `None`, the key's hash chooses.
    pub partition: Option<i32>,
    /// Its offset; ignored when written.
    pub offset: i64,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its payload; `None` is a tombstone.
    pub payload: Option<Vec<u8>>,
    /// Its time in milliseconds; written with `None`, now.
    pub time: Option<i64>,
    /// Its headers, in order.
    pub headers: Vec<Header>,
}

impl Message {
    /// The value of its first header of that name, as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(other, _)| other == name)?;
        std::str::from_utf8(value.as_deref()?).ok()
    }
}

/// A transaction that nobody ends.
pub struct Hanging(FutureProducer);

impl Hanging {
    /// Ends it: its record counts for nothing, and what stands behind it is readable.
    ///
    /// # Errors
    /// [`ServiceError::Kafka`].
    pub async fn abort(self) -> Result<(), ServiceError> {
        transact("abort a transaction", move || self.0.abort_transaction(REQUEST_LIMIT)).await
    }
}

async fn transact<T: Send + 'static>(
    action: &str,
    f: impl FnOnce() -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, ServiceError> {
    let failed = |detail: String| ServiceError::Kafka { action: action.to_owned(), detail };
    match tokio::task::spawn_blocking(f).await {
        Ok(result) => result.map_err(|error| failed(error.to_string())),
        Err(error) => Err(failed(error.to_string())),
    }
}

impl Kafka {
    /// Writes `messages` and waits until the broker has acknowledged them all. Those of one partition keep their order.
    ///
    /// # Errors
    /// [`ServiceError::Kafka`] if one cannot be written.
    pub async fn produce(&self, topic: &str, messages: impl IntoIterator<Item = Message>) -> Result<(), ServiceError> {
        let failed =
            |error: KafkaError| ServiceError::Kafka { action: format!("write to {topic}"), detail: error.to_string() };
        let mut config = self.client_config();
        config.set("enable.idempotence", "true").set("linger.ms", "5").set("message.max.bytes", "4000000");
        let producer: FutureProducer = config.create().map_err(failed)?;
        let mut pending = VecDeque::new();
        for message in messages {
            let mut record = record(topic, &message);
            loop {
                match producer.send_result(record) {
                    Ok(delivery) => {
                        pending.push_back(delivery);
                        break;
                    }
                    Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                        record = again;
                        acknowledged(topic, pending.pop_front()).await?;
                    }
                    Err((error, _)) => return Err(failed(error)),
                }
            }
        }
        while let Some(delivery) = pending.pop_front() {
            acknowledged(topic, Some(delivery)).await?;
        }
        Ok(())
    }

    /// Begins a transaction with one record `{}` in a partition and leaves it open: until it ends, who reads what is
    /// committed is given nothing that is written behind it.
    ///
    /// # Errors
    /// [`ServiceError::Kafka`] if it cannot be begun.
    pub async fn hang(&self, topic: &str, partition: i32) -> Result<Hanging, ServiceError> {
        let mut config = self.client_config();
        config.set("transactional.id", "hangs");
        let topic = topic.to_owned();
        transact("begin a transaction", move || {
            let producer: FutureProducer = config.create()?;
            producer.init_transactions(REQUEST_LIMIT)?;
            producer.begin_transaction()?;
            let record = FutureRecord::<(), [u8]>::to(&topic).partition(partition).payload(b"{}");
            let held = producer.send_result(record).map_err(|(error, _)| error)?;
            producer.flush(REQUEST_LIMIT)?;
            drop(held);
            Ok(Hanging(producer))
        })
        .await
    }

    /// Every record that the topic holds now: by partition, then by offset.
    ///
    /// # Errors
    /// [`ServiceError::Kafka`] if the topic does not exist or cannot be read.
    pub async fn read_all(&self, topic: &str) -> Result<Vec<Message>, ServiceError> {
        let mut config = self.client_config();
        // Never used: without a group librdkafka makes no consumer.
        config.set("group.id", "featuremill-tests").set("enable.auto.commit", "false");
        config.set("enable.partition.eof", "true").set("auto.offset.reset", "error");
        let name = topic.to_owned();
        let read = move || {
            let consumer: BaseConsumer = config.create()?;
            read_to_end(&consumer, &name)
        };
        let failed = |detail: String| ServiceError::Kafka { action: format!("read {topic}"), detail };
        let messages = tokio::task::spawn_blocking(read).await.map_err(|error| failed(error.to_string()))?;
        messages.map_err(|error| failed(error.to_string()))
    }
}

fn record<'a>(topic: &'a str, message: &'a Message) -> FutureRecord<'a, [u8], [u8]> {
    let mut record = FutureRecord::to(topic);
    record.partition = message.partition;
    record.key = message.key.as_deref();
    record.payload = message.payload.as_deref();
    record.timestamp = message.time;
    if !message.headers.is_empty() {
        let headers = message.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(KafkaHeader { key, value: value.as_deref() })
        });
        record.headers = Some(headers);
    }
    record
}

async fn acknowledged(topic: &str, delivery: Option<DeliveryFuture>) -> Result<(), ServiceError> {
    let failed = |detail: String| ServiceError::Kafka { action: format!("write to {topic}"), detail };
    let Some(delivery) = delivery else { return Ok(()) };
    match delivery.await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err((error, _))) => Err(failed(error.to_string())),
        Err(_) => Err(failed("the producer was dropped".to_owned())),
    }
}

fn read_to_end(consumer: &BaseConsumer, topic: &str) -> Result<Vec<Message>, KafkaError> {
    let metadata = consumer.fetch_metadata(Some(topic), REQUEST_LIMIT)?;
    let partitions: Vec<i32> = metadata
        .topics()
        .iter()
        .flat_map(rdkafka::metadata::MetadataTopic::partitions)
        .map(rdkafka::metadata::MetadataPartition::id)
        .collect();
    if partitions.is_empty() {
        return Err(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition));
    }
    let mut assignment = TopicPartitionList::new();
    for partition in &partitions {
        assignment.add_partition_offset(topic, *partition, Offset::Beginning)?;
    }
    consumer.assign(&assignment)?;
    let mut unread = partitions;
    let mut messages = Vec::new();
    while !unread.is_empty() {
        match consumer.poll(REQUEST_LIMIT) {
            Some(Ok(message)) => messages.push(Message {
                partition: Some(message.partition()),
                offset: message.offset(),
                key: message.key().map(<[u8]>::to_vec),
                payload: message.payload().map(<[u8]>::to_vec),
                time: message.timestamp().to_millis(),
                headers: message.headers().map_or_else(Vec::new, |headers| {
                    headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
                }),
            }),
            Some(Err(KafkaError::PartitionEOF(partition))) => unread.retain(|other| *other != partition),
            Some(Err(error)) => return Err(error),
            None => return Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut)),
        }
    }
    messages.sort_by_key(|message| (message.partition, message.offset));
    Ok(messages)
}

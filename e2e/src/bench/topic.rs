//! The topic: written once, and read by the consumer that drops everything.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::error::BenchError;
use super::usage;
use super::workload::{Event, Workload};
use crate::progress::Step;

/// How long one question to the broker, or a pause in reading, may take.
const LIMIT: Duration = Duration::from_secs(30);

/// One reading of the whole topic.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Records read after the first.
    pub records: u64,
    /// From the first record to the last.
    pub elapsed: Duration,
    /// CPU time of this process meanwhile.
    pub cpu: Duration,
}

/// Writes the workload, keyed by user, with the event's time as the record's.
pub fn write(mut config: ClientConfig, topic: &str, workload: &Workload, step: &Step) -> Result<(), BenchError> {
    config.set("linger.ms", "50").set("batch.size", "1000000").set("batch.num.messages", "100000");
    config.set("queue.buffering.max.messages", "500000").set("acks", "1");
    let producer: BaseProducer = config.create()?;
    let mut payload = Vec::new();
    for (i, event) in workload.events().enumerate() {
        event.write(&mut payload);
        let key = Event::user(event.user);
        let mut record = BaseRecord::to(topic).key(&key).payload(&payload).timestamp(event.time);
        while let Err((error, again)) = producer.send(record) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            producer.poll(Duration::from_millis(10));
            record = again;
        }
        if i % 10_000 == 0 {
            producer.poll(Duration::ZERO);
            step.advance(10_000);
        }
    }
    producer.flush(LIMIT)?;
    Ok(())
}

/// The end offsets by partition.
pub fn ends(config: &ClientConfig, topic: &str, partitions: i32) -> Result<Vec<i64>, BenchError> {
    let consumer: BaseConsumer = config.create()?;
    (0..partitions)
        .map(|partition| Ok(consumer.fetch_watermarks(topic, partition, LIMIT).map(|(_, high)| high)?))
        .collect()
}

/// Reads the whole topic in one thread and drops every record: what librdkafka can do at most with this client. Its
/// fetch settings are those of the stream worker.
pub fn drop_all(mut config: ClientConfig, topic: &str, ends: &[i64]) -> Result<Reading, BenchError> {
    config.set("group.id", "drop-all").set("enable.auto.commit", "false").set("auto.offset.reset", "error");
    config.set("queued.max.messages.kbytes", "65536").set("fetch.queue.backoff.ms", "5");
    let consumer: BaseConsumer = config.create()?;
    let mut assignment = TopicPartitionList::new();
    for partition in 0..ends.len() {
        let partition = i32::try_from(partition).unwrap_or(0);
        assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&assignment)?;
    let total = u64::try_from(ends.iter().sum::<i64>()).unwrap_or(0);
    let (mut read, mut bytes) = (0, 0);
    let mut first = None;
    while read < total {
        match consumer.poll(LIMIT) {
            Some(Ok(record)) => {
                bytes += record.payload().map_or(0, <[u8]>::len);
                read += 1;
            }
            Some(Err(error)) => return Err(error.into()),
            None => return Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut).into()),
        }
        if first.is_none() {
            first = Some((Instant::now(), usage::cpu(std::process::id())));
        }
    }
    // The payloads' lengths are used, so that reading them is not left out.
    if bytes == 0 {
        return Err(BenchError::Wrong("the topic holds no bytes".to_owned()));
    }
    let (start, before) = first.unwrap_or_else(|| (Instant::now(), Duration::ZERO));
    let cpu = usage::cpu(std::process::id()).saturating_sub(before);
    Ok(Reading { records: total - 1, elapsed: start.elapsed(), cpu })
}

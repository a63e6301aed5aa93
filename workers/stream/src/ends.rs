//! Where the partitions end, asked of the brokers once a second for all of them at once; and whether the brokers answer.

use std::sync::{Arc, Weak, mpsc};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use shell::ends::{Asker, asker};

use crate::group::GroupConsumer;
use crate::shared::{End, Shared, now_ms};

/// The subject of the brokers' readiness.
pub const SUBJECT: &str = "kafka";
/// How often ends are asked for.
const PERIOD: Duration = Duration::from_secs(1);
/// How often the number of partitions is asked for.
const METADATA_PERIOD: Duration = Duration::from_secs(5);
/// How long the brokers may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Asks until `stop` is dropped. The consumer is held only while a question is under way, so that it can be closed.
pub fn watch<S>(shared: &Shared<S>, consumer: &Weak<GroupConsumer>, stop: &mpsc::Receiver<()>) {
    let mut next_metadata = Instant::now();
    let mut asker = None;
    loop {
        let Some(consumer) = consumer.upgrade() else { return };
        let mut answer = ends(shared, &consumer, &mut asker);
        if answer.is_ok() && Instant::now() >= next_metadata {
            answer = partitions(shared, &consumer);
            next_metadata = Instant::now() + METADATA_PERIOD;
        }
        match answer {
            Ok(()) => shared.readiness.clear(SUBJECT),
            Err(error) => {
                shared.readiness.block(SUBJECT, format!("the brokers do not answer: {error}"));
                // Then they are asked something even of a worker without partitions.
                next_metadata = Instant::now();
            }
        }
        release(consumer);
        if !matches!(stop.recv_timeout(PERIOD), Err(mpsc::RecvTimeoutError::Timeout)) {
            return;
        }
    }
}

/// Gives the consumer back; the coordinator closes it.
fn release(consumer: Arc<GroupConsumer>) {
    drop(consumer);
}

fn ends<S>(shared: &Shared<S>, consumer: &GroupConsumer, known: &mut Option<Asker>) -> KafkaResult<()> {
    let assignment = consumer.assignment()?;
    if assignment.count() == 0 {
        return Ok(());
    }
    let mut question = TopicPartitionList::new();
    for element in assignment.elements() {
        question.add_partition_offset(element.topic(), element.partition(), Offset::End)?;
    }
    let asker = match known {
        Some(asker) => asker,
        none => {
            let made = asker(&shared.kafka, "featuremill-stream-ends");
            none.insert(made.map_err(|error| KafkaError::ClientCreation(error.to_string()))?)
        }
    };
    let as_of = now_ms();
    // A "time" of −1 asks for the end, of all partitions in one request a broker.
    let answer = asker.offsets_for_times(question, TIMEOUT)?;
    let mut failed = Ok(());
    for element in answer.elements() {
        match (element.error(), element.offset()) {
            (Ok(()), Offset::Offset(offset)) => shared.set_end(element.partition(), End { offset, as_of }),
            (Ok(()), _) => {}
            (Err(error), _) => failed = Err(error),
        }
    }
    failed
}

fn partitions<S>(shared: &Shared<S>, consumer: &GroupConsumer) -> KafkaResult<()> {
    let metadata = consumer.fetch_metadata(Some(&shared.topic), TIMEOUT)?;
    let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == shared.topic) else { return Ok(()) };
    if let Some(error) = topic.error() {
        return Err(KafkaError::MetadataFetch(error.into()));
    }
    match i32::try_from(topic.partitions().len()) {
        Ok(partitions) if partitions > 0 => shared.set_partitions(partitions),
        _ => {}
    }
    Ok(())
}

//! Where the partitions end, asked of the brokers once a second for all of them at once; and whether the brokers answer.

use std::sync::{Arc, Weak, mpsc};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, KafkaResult};
use shell::ends::Asker;

use crate::group::GroupConsumer;
use crate::shared::Shared;

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
    let mut asker = Asker::new(shared.kafka.clone(), "featuremill-stream-ends");
    loop {
        let Some(consumer) = consumer.upgrade() else { return };
        let mut answer = asker.ask(&consumer, |partition, end| shared.set_end(partition, end));
        if answer.is_ok() && Instant::now() >= next_metadata {
            answer = partitions(shared, &consumer);
            next_metadata = Instant::now() + METADATA_PERIOD;
        }
        match answer {
            Ok(()) => shared.readiness.clear(SUBJECT),
            Err(error) => {
                shared
                    .readiness
                    .block(SUBJECT, format!("the brokers at {} do not answer: {error}", shared.kafka.bootstrap));
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

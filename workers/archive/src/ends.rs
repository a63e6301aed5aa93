//! Where the partitions end, asked of the brokers once a second for all of them at once; and whether the brokers answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, KafkaResult};
use shell::admin::Readiness;
pub use shell::ends::End;
use shell::ends::{Asker, PartitionEnds};
use shell::group::GroupConsumer;
use shell::kafka::KafkaSettings;

/// The subject of the brokers' readiness.
pub const SUBJECT: &str = "kafka";
/// How often ends are asked for.
const PERIOD: Duration = Duration::from_secs(1);
/// In how many of those the number of partitions is asked for as well.
const METADATA_EVERY: u32 = 5;
/// How long the brokers may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What the brokers said of the topic. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Ends(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    ends: HashMap<i32, PartitionEnds>,
    partitions: i32,
}

impl Ends {
    /// Knows how many partitions there are, and no end.
    #[must_use]
    pub fn new(partitions: i32) -> Self {
        Self(Arc::new(Mutex::new(Known { ends: HashMap::new(), partitions })))
    }

    /// The end of a partition as last asked for.
    #[must_use]
    pub fn end(&self, partition: i32) -> Option<End> {
        self.with(|known| known.ends.get(&partition).map(PartitionEnds::newest))
    }

    /// A partition ends there.
    pub fn set(&self, partition: i32, end: End) {
        self.with(|known| known.ends.entry(partition).or_insert(PartitionEnds::new(end)).set(end));
    }

    /// See [`PartitionEnds::reached`].
    #[must_use]
    pub fn reached(&self, partition: i32, position: i64) -> Option<i64> {
        self.with(|known| known.ends.get_mut(&partition)?.reached(position))
    }

    /// How many partitions the topic has.
    #[must_use]
    pub fn partitions(&self) -> i32 {
        self.with(|known| known.partitions)
    }

    fn with<T>(&self, f: impl FnOnce(&mut Known) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Asks until `stop` is dropped. The consumer is held only while a question is under way, so that it can be closed.
pub fn watch(
    ends: &Ends,
    kafka: &KafkaSettings,
    topic: &str,
    readiness: &Readiness,
    consumer: &Weak<GroupConsumer>,
    stop: &mpsc::Receiver<()>,
) {
    let mut until_metadata = 0;
    let mut asker = Asker::new(kafka.clone(), "featuremill-archive-ends");
    loop {
        let Some(consumer) = consumer.upgrade() else { return };
        let mut answer = asker.ask(&consumer, |partition, end| ends.set(partition, end));
        if answer.is_ok() && until_metadata == 0 {
            answer = ask_partitions(ends, topic, &consumer);
            until_metadata = METADATA_EVERY;
        }
        drop(consumer);
        until_metadata = until_metadata.saturating_sub(1);
        match answer {
            Ok(()) => readiness.clear(SUBJECT),
            Err(error) => {
                readiness.block(SUBJECT, format!("the brokers at {} do not answer: {error}", kafka.bootstrap));
                // Then they are asked something even of a worker without partitions.
                until_metadata = 0;
            }
        }
        if !matches!(stop.recv_timeout(PERIOD), Err(mpsc::RecvTimeoutError::Timeout)) {
            return;
        }
    }
}

fn ask_partitions(ends: &Ends, topic: &str, consumer: &GroupConsumer) -> KafkaResult<()> {
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT)?;
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else { return Ok(()) };
    if let Some(error) = found.error() {
        return Err(KafkaError::MetadataFetch(error.into()));
    }
    if let Ok(partitions @ 1..) = i32::try_from(found.partitions().len()) {
        ends.with(|known| known.partitions = partitions);
    }
    Ok(())
}

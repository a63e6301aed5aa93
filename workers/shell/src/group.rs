//! A consumer group's member: its configuration, and rebalances as a queue that the worker works off.
//!
//! librdkafka waits for an assignment to be applied before it starts the next rebalance, so a rebalance may be answered
//! later than in its callback: after it is known where to read on, and after what was revoked is flushed.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use clap::ValueEnum;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError as ClientError, KafkaResult};
use rdkafka::topic_partition_list::{TopicPartitionList, TopicPartitionListElem};
use rdkafka::types::RDKafkaRespErr;

use crate::kafka::{KafkaError, KafkaSettings};

/// Which rebalance protocol the consumer group speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GroupProtocol {
    /// The broker assigns (KIP-848); falls back to `classic` by itself where brokers do not have it.
    Consumer,
    /// The members assign, cooperatively and sticky.
    Classic,
}

/// The consumer, shared by all threads of a worker.
pub type GroupConsumer = BaseConsumer<GroupContext>;

/// One step of a rebalance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rebalance {
    /// These partitions are ours.
    Assigned(Vec<i32>),
    /// These are no longer.
    Revoked(Vec<i32>),
}

/// Takes librdkafka's callbacks.
#[derive(Debug, Default)]
pub struct GroupContext {
    rebalances: Mutex<VecDeque<Rebalance>>,
    closing: AtomicBool,
}

impl GroupContext {
    /// The next step of a rebalance that waits for an answer.
    pub fn next_rebalance(&self) -> Option<Rebalance> {
        self.rebalances.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// From now on nobody answers rebalances; they are answered in the callback.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }
}

impl ClientContext for GroupContext {
    fn error(&self, error: ClientError, reason: &str) {
        tracing::warn!(%error, reason, "kafka");
    }
}

impl ConsumerContext for GroupContext {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, err: RDKafkaRespErr, tpl: &mut TopicPartitionList) {
        let partitions: Vec<i32> = tpl.elements().iter().map(TopicPartitionListElem::partition).collect();
        let assigned = err == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::Acquire) {
            let cooperative = matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
            let answer = match (assigned, cooperative) {
                (true, true) => consumer.incremental_assign(tpl),
                (true, false) => consumer.assign(tpl),
                (false, true) => consumer.incremental_unassign(tpl),
                (false, false) => consumer.unassign(),
            };
            if let Err(error) = answer {
                tracing::warn!(%error, "answering a rebalance while closing");
                // Whatever is left must go, or closing would wait for it.
                drop(consumer.unassign());
            }
            return;
        }
        let step = if assigned { Rebalance::Assigned(partitions) } else { Rebalance::Revoked(partitions) };
        tracing::info!(?step, "rebalance");
        self.rebalances.lock().unwrap_or_else(PoisonError::into_inner).push_back(step);
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            // What stands beside the data is the truth; a commit only helps tools.
            tracing::debug!(%error, "commit");
        }
    }
}

/// Answers an assignment: fetches `read` from its offsets, and keeps `held`, which is part of it, standing still.
///
/// librdkafka remembers which partitions it was told to pause, even of those that were revoked meanwhile: every one is let
/// go, or what comes back to this member while its reader was full would never be read again.
///
/// # Errors
/// librdkafka's.
pub fn assign(consumer: &GroupConsumer, read: &TopicPartitionList, held: &TopicPartitionList) -> KafkaResult<()> {
    consumer.incremental_assign(read)?;
    consumer.resume(read)?;
    consumer.pause(held)
}

/// What librdkafka holds beside each record that it has fetched, in bytes, and of what it counts nothing.
const BESIDE_RECORD: usize = 384;
/// What it fetches ahead at most where memory allows: its own default.
const MOST_AHEAD: usize = 100_000;

/// A consumer in `group`. `queue_kib` bounds what is fetched ahead for each partition: half of it for the bytes of records, half
/// for what librdkafka holds beside each. Offsets are neither committed nor reset by themselves.
///
/// # Errors
/// [`KafkaError`].
pub fn consumer(
    kafka: &KafkaSettings,
    group: &str,
    client_id: &str,
    protocol: GroupProtocol,
    queue_kib: usize,
) -> Result<Arc<GroupConsumer>, KafkaError> {
    let records = (queue_kib * 1_024 / 2 / BESIDE_RECORD).clamp(1_000, MOST_AHEAD).to_string();
    let bytes = (queue_kib / 2).to_string();
    let mut ours = vec![
        ("group.id", group),
        ("client.id", client_id),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("auto.offset.reset", "error"),
        ("allow.auto.create.topics", "false"),
        ("topic.metadata.refresh.interval.ms", "30000"),
        ("queued.max.messages.kbytes", &bytes),
        ("queued.min.messages", &records),
        // A full queue is emptied in milliseconds; the default pause of a second would leave us idle.
        ("fetch.queue.backoff.ms", "5"),
        ("fetch.error.backoff.ms", "100"),
        ("reconnect.backoff.max.ms", "3000"),
    ];
    match protocol {
        GroupProtocol::Consumer => ours.push(("group.protocol", "consumer")),
        GroupProtocol::Classic => {
            ours.extend([("group.protocol", "classic"), ("partition.assignment.strategy", "cooperative-sticky")]);
        }
    }
    Ok(Arc::new(kafka.client(&ours, GroupContext::default())?))
}

//! The consumer group of this worker; rebalances are a queue that the coordinator works off.

use std::sync::Arc;

pub use shell::group::{GroupConsumer, GroupContext, Rebalance};
use shell::kafka::{KafkaError, KafkaSettings};

use crate::args::GroupProtocol;

/// A consumer in `group`. `queue_kib` bounds what is fetched ahead for each partition.
///
/// # Errors
/// [`KafkaError`].
pub fn consumer(
    kafka: &KafkaSettings,
    group: &str,
    protocol: GroupProtocol,
    queue_kib: usize,
) -> Result<Arc<GroupConsumer>, KafkaError> {
    shell::group::consumer(kafka, group, "featuremill-stream", protocol, queue_kib)
}

//! What is left to do at the end: commit to the table, leave the group.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::topic_partition_list::TopicPartitionList;

use super::{POLL, Worker};

/// How long closing may wait for questions under way.
const CLOSE_LIMIT: Duration = Duration::from_secs(6);

impl Worker {
    /// Commits what is buffered.
    pub(super) fn drain(&mut self) {
        if !self.flush(self.world.bounds.drain) {
            tracing::warn!(records = self.buffer.rows(), "left without committing; the next owner reads them anew");
        }
    }

    /// Leaves the group.
    pub(super) fn close(self) {
        let Self { consumer, assigning, .. } = self;
        consumer.context().close();
        // librdkafka closes only when every rebalance is answered.
        if assigning.is_some()
            && let Err(error) = consumer.incremental_assign(&TopicPartitionList::new())
        {
            tracing::warn!(%error, "answering the last assignment");
        }
        let deadline = Instant::now() + CLOSE_LIMIT;
        let mut shared = consumer;
        // Questions under way hold the consumer for at most their time limit.
        let consumer = loop {
            match Arc::try_unwrap(shared) {
                Ok(consumer) => break consumer,
                Err(_) if Instant::now() >= deadline => return,
                Err(still) => {
                    // Serves what the consumer has to say meanwhile.
                    drop(still.poll(POLL));
                    shared = still;
                }
            }
        };
        consumer.unsubscribe();
        drop(consumer);
        tracing::info!("left the group");
    }
}

//! What is left to do at the end: commit, let the processors flush, leave the group.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use shell::store::RowStore;

use super::{Coordinator, POLL};
use crate::shared::Command;

/// How long closing may wait for questions under way.
const CLOSE_LIMIT: Duration = Duration::from_secs(6);

impl<S: RowStore> Coordinator<S> {
    /// Commits what the store has had for long enough.
    pub(super) fn commit(&self, mode: CommitMode) {
        let mut offsets = TopicPartitionList::new();
        for (partition, offset) in self.shared.take_durable(self.durability_lag) {
            if self.owned.contains_key(&partition)
                && let Err(error) = offsets.add_partition_offset(&self.shared.topic, partition, Offset::Offset(offset))
            {
                tracing::debug!(%error, "commit");
            }
        }
        if offsets.count() > 0
            && let Err(error) = self.consumer.commit(&offsets, mode)
        {
            tracing::debug!(%error, "commit");
        }
    }

    /// Stops the processors; each flushes what it has.
    pub(super) fn drain(&mut self) {
        for worker in &self.workers {
            // A processor that is gone has nothing to flush.
            drop(worker.commands.send(Command::Drain));
            worker.thread.thread().unpark();
        }
        for worker in self.workers.drain(..) {
            if worker.thread.join().is_err() {
                tracing::error!("a processor panicked; what it had not flushed is read anew by the next owner");
            }
        }
        self.commit(CommitMode::Sync);
    }

    /// Leaves the group.
    pub(super) fn close(self) {
        let Self { consumer, ended, assigning, .. } = self;
        ended.cancel();
        consumer.context().close();
        // librdkafka closes only when every rebalance is answered.
        if assigning && let Err(error) = consumer.incremental_assign(&TopicPartitionList::new()) {
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

//! What is left to do at the end: commit, let the processors flush, leave the group.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use shell::store::RowStore;

use super::{Coordinator, POLL};
use crate::group::GroupConsumer;
use crate::shared::{Command, Shared};

/// How long closing may wait for questions under way.
const CLOSE_LIMIT: Duration = Duration::from_secs(6);

impl<S: RowStore> Coordinator<S> {
    /// Commits what the store has had for long enough.
    pub(super) fn commit(&self, mode: CommitMode) {
        commit(&self.shared, &self.consumer, self.durability_lag, mode, |of| self.owned.contains_key(&of));
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
        if let Some(consumer) = alone(consumer) {
            consumer.unsubscribe();
            drop(consumer);
            tracing::info!("left the group");
        }
    }
}

/// Commits those offsets that the store has had for `lag`, of partitions that are `owned`.
pub(crate) fn commit<S>(
    shared: &Shared<S>,
    consumer: &GroupConsumer,
    lag: Duration,
    mode: CommitMode,
    owned: impl Fn(i32) -> bool,
) {
    let mut offsets = TopicPartitionList::new();
    for (partition, offset) in shared.take_durable(lag) {
        if owned(partition)
            && let Err(error) = offsets.add_partition_offset(&shared.topic, partition, Offset::Offset(offset))
        {
            tracing::debug!(%error, "commit");
        }
    }
    if offsets.count() > 0
        && let Err(error) = consumer.commit(&offsets, mode)
    {
        tracing::debug!(%error, "commit");
    }
}

/// The consumer once nobody else holds it: questions under way do, for at most their time limit. `None` if they take longer.
pub(crate) fn alone(mut shared: Arc<GroupConsumer>) -> Option<GroupConsumer> {
    let deadline = Instant::now() + CLOSE_LIMIT;
    loop {
        match Arc::try_unwrap(shared) {
            Ok(consumer) => return Some(consumer),
            Err(_) if Instant::now() >= deadline => return None,
            Err(still) => {
                // Serves what the consumer has to say meanwhile.
                drop(still.poll(POLL));
                shared = still;
            }
        }
    }
}

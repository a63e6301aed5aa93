//! The driver of a replay: the coordinator's counterpart for one partition that nobody else is assigned. It starts the
//! processor where the marker says, starts it anew when the processor asks, and ends when the marker stands at the end.

use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use engine::replay::Part;
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList, TopicPartitionListElem};
use shell::backoff::Backoff;
use shell::store::RowStore;
use tokio_util::sync::CancellationToken;

use super::decide::{Decision, Order, Refusal};
use super::observe::{Observed, observe};
use crate::coordinator::leave;
use crate::ends;
use crate::group::GroupConsumer;
use crate::metrics::Started;
use crate::processor::Processor;
use crate::shared::{Command, Queue, Request, Shared, Start};

/// How long one poll waits; records come over the partition's own queue.
const POLL: Duration = Duration::from_millis(20);
/// How often offsets are committed.
const COMMIT_PERIOD: Duration = Duration::from_secs(1);
/// How long the brokers may take to answer a seek.
const SEEK_LIMIT: Duration = Duration::from_secs(5);
/// A reading that lasted so long failed for another reason than the one before.
const LONG: Duration = Duration::from_secs(30);

/// How a replay ended.
#[derive(Debug)]
pub(super) enum End {
    /// The marker stands at the end.
    Done,
    /// It was asked to stop; what was read is flushed.
    Stopped,
    /// This process can do no more; another can.
    Failed(String),
    /// No process can.
    Refused(Refusal),
}

/// What follows after a reading.
enum Turn {
    /// Go back to the marker, for this reason.
    Again(String),
    /// It is over.
    Over(End),
}

/// The driver's state.
pub(super) struct Driver<S> {
    shared: Arc<Shared<S>>,
    consumer: Arc<GroupConsumer>,
    order: Order,
    durability_lag: Duration,
    commands: mpsc::Sender<Command<S>>,
    requests: mpsc::Receiver<Request>,
    processor: JoinHandle<()>,
    /// Which reading is the present one.
    term: u64,
    assigned: bool,
}

impl<S: RowStore> Driver<S> {
    /// Starts the processor.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn new(
        shared: Arc<Shared<S>>,
        consumer: Arc<GroupConsumer>,
        order: Order,
        durability_lag: Duration,
    ) -> std::io::Result<Self> {
        let (ask, requests) = mpsc::channel();
        let (commands, received) = mpsc::channel();
        let processor = Processor::new(shared.clone(), consumer.clone(), received, ask, 0);
        let processor = std::thread::Builder::new().name("processor-0".to_owned()).spawn(move || processor.run())?;
        Ok(Self { shared, consumer, order, durability_lag, commands, requests, processor, term: 0, assigned: false })
    }

    /// Works until the part is done, cannot be done, or `shutdown`.
    pub(super) fn run(mut self, shutdown: &CancellationToken) -> End {
        let (stop, stopped) = mpsc::channel();
        let watcher = {
            let (shared, consumer) = (self.shared.clone(), Arc::downgrade(&self.consumer));
            std::thread::spawn(move || ends::watch(&shared, &consumer, &stopped))
        };
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(10));
        let mut delay = Duration::ZERO;
        let end = loop {
            let mut begun = Instant::now();
            let turn = match self.begin(delay, shutdown) {
                Ok(()) => {
                    begun = Instant::now();
                    self.follow(shutdown)
                }
                Err(turn) => turn,
            };
            match turn {
                Turn::Over(end) => break end,
                Turn::Again(reason) => {
                    tracing::warn!(partition = self.order.part.partition, reason, "going back to the marker");
                    if begun.elapsed() > LONG {
                        backoff.reset();
                    }
                    delay = backoff.delay();
                }
            }
        };
        drop(stop);
        self.close();
        if watcher.join().is_err() {
            tracing::error!("the watcher of end offsets panicked");
        }
        end
    }

    /// What is to be done now.
    fn observe(&self, delay: Duration, shutdown: &CancellationToken) -> Result<Observed<S>, Turn> {
        let question = async {
            tokio::time::sleep(delay).await;
            observe(&self.shared, self.order).await
        };
        let answer = self.shared.runtime.block_on(shutdown.run_until_cancelled(question));
        answer.flatten().ok_or(Turn::Over(End::Stopped))
    }

    /// Begins a reading at the marker.
    fn begin(&mut self, delay: Duration, shutdown: &CancellationToken) -> Result<(), Turn> {
        let Observed { connection, markers, erased, decision } = self.observe(delay, shutdown)?;
        let position = over(decision)?;
        let Part { partition, to, .. } = self.order.part;
        self.term += 1;
        self.shared.forget_stored(partition);
        let queue = if self.assigned {
            self.seek(position).map_err(|error| Turn::Again(format!("seeking to {position}: {error}")))?;
            None
        } else {
            Some(self.assign(position)?)
        };
        self.shared.set_position(partition, position);
        Started { partition, position, end: to }.emit(&self.shared.metrics);
        let (term, until, from) = (self.term, to, vec![position; markers.len()]);
        // What is left out was told by who ordered the replay.
        let lost = vec![None; markers.len()];
        let start = Start { partition, term, queue, connection, position, until, from, markers, erased, lost };
        // A processor that is gone shows in `follow`.
        drop(self.commands.send(Command::Start(Box::new(start))));
        self.processor.thread().unpark();
        Ok(())
    }

    /// Assigns the partition to this process: no group is asked, so that nobody waits for anybody's rebalance.
    fn assign(&mut self, position: i64) -> Result<Queue, Turn> {
        let (topic, partition) = (self.shared.topic.clone(), self.order.part.partition);
        // The queue is split off before the partition is assigned, so that no record takes the common one.
        let Some(queue) = Queue::split(&self.consumer, &topic, partition) else {
            return Err(Turn::Over(End::Failed(format!("librdkafka gives no queue for partition {partition}"))));
        };
        // Where there is nothing to read, nothing is fetched: what the topic holds there may be gone.
        let idle = position >= self.order.part.to;
        let mut assignment = TopicPartitionList::new();
        let answer = assignment
            .add_partition_offset(&topic, partition, if idle { Offset::End } else { Offset::Offset(position) })
            .and_then(|()| self.consumer.assign(&assignment))
            .and_then(|()| if idle { self.consumer.pause(&assignment) } else { Ok(()) });
        answer.map_err(|error| Turn::Over(End::Failed(format!("assigning partition {partition}: {error}"))))?;
        self.assigned = true;
        Ok(queue)
    }

    fn seek(&self, position: i64) -> KafkaResult<()> {
        if position >= self.order.part.to {
            return Ok(());
        }
        let mut to = TopicPartitionList::new();
        to.add_partition_offset(&self.shared.topic, self.order.part.partition, Offset::Offset(position))?;
        let answer = self.consumer.seek_partitions(to, SEEK_LIMIT)?;
        answer.elements().iter().try_for_each(TopicPartitionListElem::error)
    }

    /// Follows the reading until something ends it.
    fn follow(&self, shutdown: &CancellationToken) -> Turn {
        let mut next_commit = Instant::now() + COMMIT_PERIOD;
        loop {
            if shutdown.is_cancelled() {
                return Turn::Over(End::Stopped);
            }
            if let Err(turn) = self.poll(shutdown) {
                return turn;
            }
            match self.requests.try_recv() {
                Ok(request) => {
                    if let Some(turn) = self.answer(request) {
                        return turn;
                    }
                }
                Err(mpsc::TryRecvError::Empty) => {}
                Err(mpsc::TryRecvError::Disconnected) => {
                    return Turn::Over(End::Failed("the processor ended; its log says why".to_owned()));
                }
            }
            if let Some(reason) = self.shared.dead_letters.failed() {
                return Turn::Over(End::Failed(reason));
            }
            if Instant::now() >= next_commit {
                self.commit(CommitMode::Async);
                next_commit = Instant::now() + COMMIT_PERIOD;
            }
        }
    }

    /// Serves the consumer's own queue.
    fn poll(&self, shutdown: &CancellationToken) -> Result<(), Turn> {
        let error = match self.consumer.poll(POLL) {
            None => return Ok(()),
            Some(Ok(_)) => return Err(Turn::Again("a record came over the wrong queue".to_owned())),
            Some(Err(error)) => error,
        };
        if matches!(error, KafkaError::MessageConsumptionFatal(_)) {
            return Err(Turn::Over(End::Failed(error.to_string())));
        }
        tracing::warn!(%error, "kafka");
        let gone = [RDKafkaErrorCode::UnknownTopicOrPartition, RDKafkaErrorCode::UnknownPartition];
        if error.rdkafka_error_code().is_some_and(|code| gone.contains(&code)) {
            // It may be away for a moment, or be another one by now. If it is neither, the reading goes on.
            over(self.observe(POLL, shutdown)?.decision)?;
        }
        Ok(())
    }

    /// What a request of the present reading leads to.
    fn answer(&self, request: Request) -> Option<Turn> {
        match request {
            Request::Restart { term, reason, .. } if term == self.term => Some(Turn::Again(reason)),
            Request::Reached { term, .. } if term == self.term => Some(Turn::Over(End::Done)),
            Request::Halt { term, reason, .. } if term == self.term => {
                Some(Turn::Over(End::Refused(Refusal::Row(reason))))
            }
            _ => None,
        }
    }

    fn commit(&self, mode: CommitMode) {
        let mine = |partition| partition == self.order.part.partition;
        leave::commit(&self.shared, &self.consumer, self.durability_lag, mode, mine);
    }

    /// Lets the processor flush what it has, and the consumer go.
    fn close(self) {
        // A processor that is gone has nothing to flush.
        drop(self.commands.send(Command::Drain));
        self.processor.thread().unpark();
        self.commit(CommitMode::Async);
        if self.processor.join().is_err() {
            tracing::error!("the processor panicked; what it had not flushed is read anew by the next attempt");
        }
        self.consumer.context().close();
        if let Err(error) = self.consumer.unassign() {
            tracing::debug!(%error, "giving the partition up");
        }
        drop(leave::alone(self.consumer));
    }
}

/// Where to read on, unless it is over.
fn over(decision: Decision) -> Result<i64, Turn> {
    match decision {
        Decision::Read { position } => Ok(position),
        Decision::Done => Err(Turn::Over(End::Done)),
        Decision::ArchiveFirst => Err(Turn::Over(End::Failed(
            "the rows do not hold what is before this part, which its archive does: featuremill-archive replay reads that first"
                .to_owned(),
        ))),
        Decision::Refused(refusal) => Err(Turn::Over(End::Refused(refusal))),
    }
}

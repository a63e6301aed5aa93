//! The coordinator: one thread that answers the group's rebalances, starts partitions on their processors at the offset that
//! the markers say, starts them anew when a processor asks, and commits offsets that are old enough.

pub(crate) mod leave;

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures::future::join_all;
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use shell::backoff::Backoff;
use shell::group;
use shell::store::RowStore;
use tokio_util::sync::CancellationToken;

use crate::ends;
use crate::facts::{Facts, gather};
use crate::group::{GroupConsumer, Rebalance};
use crate::metrics::{Halt, Halted, Revoked, Started};
use crate::processor::Processor;
use crate::shared::{Command, Queue, Request, Shared, Start};
use crate::start;

/// How long one poll waits; messages come over the partitions' own queues.
const POLL: Duration = Duration::from_millis(20);
/// How often offsets are committed.
const COMMIT_PERIOD: Duration = Duration::from_secs(1);
/// How long a processor may take to give partitions up; a little more than it takes itself.
const REVOKE_LIMIT: Duration = Duration::from_secs(6);

/// Why the coordinator ended.
#[derive(Debug)]
pub enum Exit {
    /// It was asked to; everything is flushed and the group is left.
    Drained,
    /// The brokers do not have this group protocol.
    Unsupported(String),
    /// The consumer failed for good and must be made anew.
    Failed(String),
}

/// A thread of partitions.
struct Worker<S> {
    commands: mpsc::Sender<Command<S>>,
    thread: JoinHandle<()>,
}

/// One assigned partition.
struct Owned {
    term: u64,
    /// The delay before the next start, so that what fails again and again does not spin.
    backoff: Backoff,
    started: Instant,
}

/// What the answers to rebalances and restarts are gathered into.
enum Gathered<S> {
    Assigned(Vec<Facts<S>>),
    Restart(Box<Facts<S>>),
}

/// The coordinator's state.
pub struct Coordinator<S> {
    shared: Arc<Shared<S>>,
    consumer: Arc<GroupConsumer>,
    workers: Vec<Worker<S>>,
    requests: mpsc::Receiver<Request>,
    gathered: (mpsc::Sender<Gathered<S>>, mpsc::Receiver<Gathered<S>>),
    owned: HashMap<i32, Owned>,
    /// Whether an assignment waits for its facts; librdkafka sends no other rebalance before it is answered.
    assigning: bool,
    terms: u64,
    durability_lag: Duration,
    /// Ends the questions that are under way.
    ended: CancellationToken,
}

impl<S: RowStore> Coordinator<S> {
    /// Starts `threads` processors.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new(
        shared: Arc<Shared<S>>,
        consumer: Arc<GroupConsumer>,
        threads: usize,
        durability_lag: Duration,
    ) -> std::io::Result<Self> {
        let (ask, requests) = mpsc::channel();
        let mut workers = Vec::with_capacity(threads);
        for number in 0..u32::try_from(threads).unwrap_or(1) {
            let (commands, received) = mpsc::channel();
            let processor = Processor::new(shared.clone(), consumer.clone(), received, ask.clone(), number);
            let builder = std::thread::Builder::new().name(format!("processor-{number}"));
            workers.push(Worker { commands, thread: builder.spawn(move || processor.run())? });
        }
        let (gathered, owned) = (mpsc::channel(), HashMap::new());
        let ended = CancellationToken::new();
        Ok(Self {
            shared,
            consumer,
            workers,
            requests,
            gathered,
            owned,
            assigning: false,
            terms: 0,
            durability_lag,
            ended,
        })
    }

    /// Works until `shutdown`, or until the consumer fails.
    pub fn run(mut self, shutdown: &CancellationToken) -> Exit {
        let (stop, stopped) = mpsc::channel();
        let watcher = {
            let (shared, consumer) = (self.shared.clone(), Arc::downgrade(&self.consumer));
            std::thread::spawn(move || ends::watch(&shared, &consumer, &stopped))
        };
        let mut exit = match self.consumer.subscribe(&[&self.shared.topic]) {
            Ok(()) => None,
            Err(error) => Some(Exit::Failed(format!("subscribing to {}: {error}", self.shared.topic))),
        };
        let mut next_commit = Instant::now() + COMMIT_PERIOD;
        while exit.is_none() && !shutdown.is_cancelled() {
            exit = self.poll();
            self.answer();
            if exit.is_none() {
                exit = self.shared.dead_letters.failed().map(Exit::Failed);
            }
            if Instant::now() >= next_commit {
                self.commit(CommitMode::Async);
                next_commit = Instant::now() + COMMIT_PERIOD;
            }
        }
        self.drain();
        drop(stop);
        if watcher.join().is_err() {
            tracing::error!("the watcher of end offsets panicked");
        }
        self.close();
        exit.unwrap_or(Exit::Drained)
    }

    /// Serves the consumer's own queue.
    fn poll(&mut self) -> Option<Exit> {
        let error = match self.consumer.poll(POLL)? {
            Err(error) => error,
            Ok(record) => {
                // Partitions have queues of their own, set up before they are assigned. If one came here all the same, its
                // partition must not go on without it.
                let partition = record.partition();
                drop(record);
                tracing::error!(partition, "a record came over the wrong queue");
                self.restart(partition, "a record came over the wrong queue");
                return None;
            }
        };
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::UnsupportedFeature | RDKafkaErrorCode::UnsupportedVersion) => {
                Some(Exit::Unsupported(error.to_string()))
            }
            Some(RDKafkaErrorCode::UnknownTopicOrPartition) => {
                let reason = format!("topic {} is gone; create it, or fix source.topic", self.shared.topic);
                self.shared.readiness.block("topic", reason);
                None
            }
            _ if matches!(error, KafkaError::MessageConsumptionFatal(_)) => Some(Exit::Failed(error.to_string())),
            _ => {
                tracing::warn!(%error, "kafka");
                None
            }
        }
    }

    /// Does what rebalances, gathered facts and processors ask for.
    fn answer(&mut self) {
        while !self.assigning {
            match self.consumer.context().next_rebalance() {
                Some(Rebalance::Assigned(partitions)) => self.assigned(&partitions),
                Some(Rebalance::Revoked(partitions)) => self.revoked(&partitions),
                None => break,
            }
        }
        while let Ok(request) = self.requests.try_recv() {
            let (Request::Restart { partition, term, .. }
            | Request::Halt { partition, term, .. }
            | Request::Reached { partition, term }) = &request;
            if self.owned.get(partition).is_none_or(|owned| owned.term != *term) {
                continue;
            }
            match request {
                Request::Restart { partition, reason, .. } => self.restart(partition, &reason),
                Request::Halt { partition, reason, .. } => self.halt(partition, Halt::Row, reason),
                // No reading of a live worker has an end.
                Request::Reached { .. } => {}
            }
        }
        while let Ok(gathered) = self.gathered.1.try_recv() {
            match gathered {
                Gathered::Assigned(facts) => self.apply(facts),
                Gathered::Restart(facts) => self.begin_again(*facts),
            }
        }
    }

    fn next_term(&mut self) -> u64 {
        self.terms += 1;
        self.terms
    }

    fn assigned(&mut self, partitions: &[i32]) {
        self.assigning = true;
        self.shared.readiness.clear("topic");
        let mut facts = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let term = self.next_term();
            let backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(10));
            self.owned.insert(*partition, Owned { term, backoff, started: Instant::now() });
            facts.push(gather(self.shared.clone(), self.consumer.clone(), *partition, term, Duration::ZERO));
        }
        let answer = self.gathered.0.clone();
        self.spawn(async move {
            let facts = join_all(facts).await.into_iter().flatten().collect();
            // The coordinator is gone only at the very end.
            drop(answer.send(Gathered::Assigned(facts)));
        });
    }

    /// Runs a question, which holds the consumer, until it is answered or the coordinator ends.
    fn spawn(&self, question: impl Future<Output = ()> + Send + 'static) {
        let ended = self.ended.clone();
        self.shared.runtime.spawn(async move { ended.run_until_cancelled_owned(question).await });
    }

    /// Answers an assignment: librdkafka starts to fetch at the offsets given here.
    fn apply(&mut self, facts: Vec<Facts<S>>) {
        self.assigning = false;
        let topic = self.shared.topic.clone();
        let (mut assignment, mut paused) = (TopicPartitionList::new(), TopicPartitionList::new());
        let mut starts = Vec::new();
        for facts in facts {
            // The queue is split off before the partition is assigned, so that no record takes the common one.
            let queue = Queue::split(&self.consumer, &topic, facts.partition);
            let offset = match &facts.decision {
                start::Start::Read { position, .. } => Offset::Offset(*position),
                _ => Offset::End,
            };
            if offset == Offset::End {
                paused.add_partition(&topic, facts.partition);
            }
            if let Err(error) = assignment.add_partition_offset(&topic, facts.partition, offset) {
                tracing::error!(partition = facts.partition, %error, "assigning");
            }
            starts.push((facts, queue));
        }
        let answer = group::assign(&self.consumer, &assignment, &paused);
        if let Err(error) = answer {
            tracing::error!(%error, "assigning partitions");
        }
        for (facts, queue) in starts {
            self.decide(facts, queue);
        }
        self.shared.metrics.partitions.set(i64::try_from(self.owned.len()).unwrap_or(i64::MAX));
    }

    /// Starts a partition, or lets it stand still.
    fn decide(&mut self, facts: Facts<S>, queue: Option<Queue>) {
        let Facts { partition, term, connection, markers, erased, lost, end, decision } = facts;
        let topic = &self.shared.topic;
        let remedy = "raise source.epoch, which starts new rows from what the topic holds";
        match decision {
            start::Start::Read { position, from } => {
                Started { partition, position, end }.emit(&self.shared.metrics);
                self.shared.readiness.clear(&subject(partition));
                if let Some(owned) = self.owned.get_mut(&partition) {
                    owned.started = Instant::now();
                }
                let until = i64::MAX;
                let start = Start { partition, term, queue, connection, position, until, from, markers, erased, lost };
                self.send(partition, Command::Start(Box::new(start)));
            }
            start::Start::SourceReset { marker, end } => {
                let reason = format!(
                    "SourceReset: partition {partition} of {topic} ends at {end}, before the marker {marker}: the topic was made anew or lost records; {remedy}"
                );
                self.halt(partition, Halt::SourceReset, reason);
            }
            start::Start::SourceGap { from, to } => {
                let reason = format!(
                    "SourceGap: partition {partition} of {topic} no longer holds [{from}, {to}), which was not read yet; {remedy}"
                );
                self.halt(partition, Halt::SourceGap, reason);
            }
        }
    }

    fn halt(&mut self, partition: i32, kind: Halt, reason: String) {
        self.shared.readiness.block(&subject(partition), reason.as_str());
        Halted { partition, kind, reason }.emit(&self.shared.metrics);
    }

    /// Goes back to the markers of a partition.
    fn restart(&mut self, partition: i32, reason: &str) {
        let term = self.next_term();
        let Some(owned) = self.owned.get_mut(&partition) else { return };
        owned.term = term;
        if owned.started.elapsed() > Duration::from_secs(30) {
            owned.backoff.reset();
        }
        let delay = owned.backoff.delay();
        tracing::warn!(partition, reason, "going back to the markers");
        let facts = gather(self.shared.clone(), self.consumer.clone(), partition, term, delay);
        let answer = self.gathered.0.clone();
        self.spawn(async move {
            if let Some(facts) = facts.await {
                // The coordinator is gone only at the very end.
                drop(answer.send(Gathered::Restart(Box::new(facts))));
            }
        });
    }

    fn begin_again(&mut self, facts: Facts<S>) {
        let partition = facts.partition;
        if self.owned.get(&partition).is_none_or(|owned| owned.term != facts.term) {
            return;
        }
        if let start::Start::Read { position, .. } = facts.decision
            && let Err(error) = self.seek(partition, position)
        {
            self.restart(partition, &format!("seeking to {position}: {error}"));
            return;
        }
        self.decide(facts, None);
    }

    fn seek(&self, partition: i32, position: i64) -> KafkaResult<()> {
        let mut to = TopicPartitionList::new();
        to.add_partition_offset(&self.shared.topic, partition, Offset::Offset(position))?;
        let answer = self.consumer.seek_partitions(to, Duration::from_secs(5))?;
        answer.elements().iter().try_for_each(rdkafka::topic_partition_list::TopicPartitionListElem::error)
    }

    fn revoked(&mut self, partitions: &[i32]) {
        let lost = self.consumer.assignment_lost();
        for partition in partitions {
            self.owned.remove(partition);
            self.shared.readiness.clear(&subject(*partition));
        }
        let (done, all_done) = mpsc::channel();
        for (number, worker) in self.workers.iter().enumerate() {
            let mine = |partition: &&i32| self.worker_of(**partition) == number;
            let partitions: Vec<i32> = partitions.iter().filter(mine).copied().collect();
            if !partitions.is_empty() {
                // A processor that is gone has nothing to give up.
                drop(worker.commands.send(Command::Revoke { partitions, lost, done: done.clone() }));
                worker.thread.thread().unpark();
            }
        }
        drop(done);
        // Nothing is ever sent: it ends when every processor has dropped its end.
        if let Err(mpsc::RecvTimeoutError::Timeout) = all_done.recv_timeout(REVOKE_LIMIT) {
            tracing::warn!(?partitions, "given up before they were flushed; the next owner reads them anew");
        }
        for partition in partitions {
            self.shared.forget_stored(*partition);
            Revoked { partition: *partition }.emit(&self.shared.metrics);
        }
        let mut gone = TopicPartitionList::new();
        for partition in partitions {
            gone.add_partition(&self.shared.topic, *partition);
        }
        if let Err(error) = self.consumer.incremental_unassign(&gone) {
            tracing::error!(%error, "giving partitions up");
        }
        self.shared.metrics.partitions.set(i64::try_from(self.owned.len()).unwrap_or(i64::MAX));
    }

    fn worker_of(&self, partition: i32) -> usize {
        usize::try_from(partition).unwrap_or(0) % self.workers.len()
    }

    fn send(&self, partition: i32, command: Command<S>) {
        let worker = &self.workers[self.worker_of(partition)];
        if worker.commands.send(command).is_err() {
            tracing::error!(partition, "its processor is gone");
        }
        worker.thread.thread().unpark();
    }
}

fn subject(partition: i32) -> String {
    format!("partition-{partition}")
}

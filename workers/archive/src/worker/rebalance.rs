//! Partitions come and go, and go back to where the table ends.

use std::time::{Duration, Instant};

use lake::bronze::Gap;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList, TopicPartitionListElem};
use shell::group::{self, Rebalance};

use super::{Part, Phase, STORE, Worker};
use crate::args::OnGap;
use crate::ends::SUBJECT;
use crate::metrics::PartitionLabel;
use crate::start::{Observed, Start, decide};

/// How long the table may take to say where it ends.
const TABLE_LIMIT: Duration = Duration::from_mins(1);
/// How long a broker may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long what was revoked may take to be committed.
const REVOKE_LIMIT: Duration = Duration::from_secs(15);

impl Worker {
    /// Answers rebalances, and asks the table where partitions stand.
    pub(super) fn answer(&mut self) {
        while self.assigning.is_none() {
            match self.consumer.context().next_rebalance() {
                Some(Rebalance::Assigned(partitions)) => {
                    self.world.readiness.clear("topic");
                    self.assigning = Some(partitions);
                    self.next_try = Instant::now();
                }
                Some(Rebalance::Revoked(partitions)) => self.revoked(&partitions),
                None => break,
            }
        }
        let asks = self.assigning.is_some() || self.restart;
        // A commit under way has the table, and may move it.
        if asks && self.flight.is_none() && Instant::now() >= self.next_try {
            self.gather();
        }
    }

    /// Drops what is buffered: every partition is to be read anew from where the table ends.
    pub(super) fn go_back(&mut self, reason: &str) {
        tracing::warn!(reason, "going back to where the table ends");
        self.buffer.clear();
        self.gaps.clear();
        for part in self.parts.values_mut().filter(|part| part.phase == Phase::Reading) {
            part.phase = Phase::Waiting;
        }
        self.restart = true;
    }

    /// Asks the table and the brokers, and starts the partitions that wait.
    fn gather(&mut self) {
        let assigned = self.assigning.clone().unwrap_or_default();
        let waiting = self.parts.iter().filter(|(_, part)| part.phase != Phase::Reading && self.restart);
        let mut partitions: Vec<i32> = waiting.map(|(partition, _)| *partition).collect();
        partitions.extend(&assigned);
        let facts = match self.facts(&partitions) {
            Ok(facts) => facts,
            Err((subject, reason)) => {
                self.world.readiness.block(subject, reason);
                self.next_try = Instant::now() + self.backoff.delay();
                return;
            }
        };
        if !self.failing {
            self.world.readiness.clear(STORE);
        }
        if self.assigning.take().is_some() {
            self.apply(&assigned, &facts);
        }
        self.restart = false;
        for (partition, observed) in facts {
            let fresh = assigned.contains(&partition);
            self.begin(partition, observed, fresh);
        }
        self.world.metrics.partitions.set(i64::try_from(self.parts.len()).unwrap_or(i64::MAX));
    }

    fn facts(&mut self, partitions: &[i32]) -> Result<Vec<(i32, Observed)>, (&'static str, String)> {
        let Some(bronze) = self.bronze.as_mut() else { return Err((STORE, "a commit has the table".to_owned())) };
        let asked = async {
            bronze.refresh().await?;
            bronze.positions(partitions).await
        };
        let answer = self.world.runtime.block_on(async { tokio::time::timeout(TABLE_LIMIT, asked).await });
        let positions = match answer {
            Ok(Ok(positions)) => positions,
            Ok(Err(error)) => return Err((STORE, error.to_string())),
            Err(_) => return Err((STORE, format!("{} does not answer", bronze.uri()))),
        };
        self.world.metrics.version.set(i64::try_from(bronze.version()).unwrap_or(i64::MAX));
        let mut facts = Vec::with_capacity(partitions.len());
        for (partition, position) in positions {
            let answer = self.consumer.fetch_watermarks(&self.world.topic, partition, TIMEOUT);
            let (low, end) =
                answer.map_err(|error| (SUBJECT, format!("asking for the ends of partition {partition}: {error}")))?;
            facts.push((partition, Observed { position, low, end }));
        }
        Ok(facts)
    }

    /// Answers an assignment: librdkafka starts to fetch at the offsets given here.
    fn apply(&mut self, assigned: &[i32], facts: &[(i32, Observed)]) {
        let topic = self.world.topic.clone();
        let (mut assignment, mut held) = (TopicPartitionList::new(), TopicPartitionList::new());
        for (partition, observed) in facts.iter().filter(|(partition, _)| assigned.contains(partition)) {
            let offset = self.target(*observed).map_or(Offset::End, Offset::Offset);
            // A full buffer holds them all. One that was just dropped does not, and who goes back to the table is let go
            // there: a partition that was held beside them would be held for good.
            if self.paused && !self.restart || offset == Offset::End {
                held.add_partition(&topic, *partition);
            }
            if let Err(error) = assignment.add_partition_offset(&topic, *partition, offset) {
                tracing::error!(partition, %error, "assigning");
            }
        }
        if let Err(error) = group::assign(&self.consumer, &assignment, &held) {
            tracing::error!(%error, "assigning partitions");
        }
    }

    /// Where a partition with these facts is read from; `None` if it is not.
    fn target(&self, observed: Observed) -> Option<i64> {
        match decide(observed) {
            Start::Read(position) => Some(position),
            Start::SourceGap { to, .. } if self.world.bounds.on_gap == OnGap::Continue => Some(to),
            Start::SourceGap { .. } | Start::SourceReset { .. } => None,
        }
    }

    /// Starts a partition, or lets it stand still.
    fn begin(&mut self, partition: i32, observed: Observed, fresh: bool) {
        let topic = self.world.topic.clone();
        let label = PartitionLabel { partition };
        let gap = matches!(decide(observed), Start::SourceGap { .. });
        let Some(position) = self.target(observed) else {
            let metrics = if gap { &self.world.metrics.source_gap } else { &self.world.metrics.source_reset };
            metrics.get_or_create(&label).set(1);
            let (uri, known) = (self.bronze.as_ref().map_or("the table", |bronze| bronze.uri()), observed.position);
            let reason = match decide(observed) {
                Start::SourceGap { from, to } => format!(
                    "SourceGap: partition {partition} of {topic} no longer holds [{from}, {to}), which {uri} does not have; go on without it by --on-gap continue, which records the gap, or archive into a new table"
                ),
                _ => format!(
                    "SourceReset: partition {partition} of {topic} ends at {}, before {} of {uri}: the topic was made anew or lost records; archive it into a new table",
                    observed.end,
                    known.unwrap_or_default()
                ),
            };
            tracing::error!(partition, reason, "partition stands still");
            self.world.readiness.block(&subject(partition), reason);
            let part = self.part(partition, observed, observed.position.unwrap_or_default());
            self.parts.insert(partition, Part { phase: Phase::Halted, ..part });
            return;
        };
        if !fresh && let Err(error) = self.seek(partition, position) {
            self.go_back(&format!("seeking to {position} of partition {partition}: {error}"));
            self.next_try = Instant::now() + self.backoff.delay();
            return;
        }
        if let Start::SourceGap { from, to } = decide(observed) {
            tracing::warn!(partition, from, to, "the topic lost records that were not read; going on without them");
            self.gaps.push(Gap { partition, from, to });
        }
        tracing::info!(partition, position, end = observed.end, "reading");
        self.world.metrics.source_gap.get_or_create(&label).set(0);
        self.world.metrics.source_reset.get_or_create(&label).set(0);
        self.world.readiness.clear(&subject(partition));
        let part = self.part(partition, observed, position);
        self.parts.insert(partition, part);
    }

    /// A partition that is read from `position`.
    fn part(&mut self, partition: i32, observed: Observed, position: i64) -> Part {
        self.terms += 1;
        let known = self.bronze.as_ref().and_then(|bronze| bronze.state().progress.get(&partition));
        Part {
            term: self.terms,
            phase: Phase::Reading,
            stored: observed.position,
            position,
            event_time: known.and_then(|known| known.event_time),
            read_to_end_at: known.map_or(0, |known| known.read_to_end_at),
            stale: self.positions().get(&partition).copied(),
        }
    }

    fn seek(&mut self, partition: i32, position: i64) -> KafkaResult<()> {
        let mut to = TopicPartitionList::new();
        to.add_partition_offset(&self.world.topic, partition, Offset::Offset(position))?;
        let answer = self.consumer.seek_partitions(to, TIMEOUT)?;
        answer.elements().iter().try_for_each(TopicPartitionListElem::error)?;
        let mut held = TopicPartitionList::new();
        held.add_partition(&self.world.topic, partition);
        // It was paused if it stood still, or if the buffer was full.
        self.consumer.resume(&held)?;
        self.paused = false;
        Ok(())
    }

    fn revoked(&mut self, partitions: &[i32]) {
        // What another owns by now is not ours to commit; it would be refused anyway.
        let flushed = !self.consumer.assignment_lost() && self.flush(REVOKE_LIMIT);
        for partition in partitions {
            self.parts.remove(partition);
            self.world.readiness.clear(&subject(*partition));
            tracing::info!(partition, "given up");
        }
        if !flushed && !self.parts.is_empty() {
            self.go_back("partitions were given up before they were committed");
        } else if !flushed {
            self.buffer.clear();
            self.gaps.clear();
        }
        if self.parts.is_empty() {
            self.restart = false;
            self.paused = false;
        }
        let mut gone = TopicPartitionList::new();
        for partition in partitions {
            gone.add_partition(&self.world.topic, *partition);
        }
        if let Err(error) = self.consumer.incremental_unassign(&gone) {
            tracing::error!(%error, "giving partitions up");
        }
        self.world.metrics.partitions.set(i64::try_from(self.parts.len()).unwrap_or(i64::MAX));
    }
}

fn subject(partition: i32) -> String {
    format!("partition-{partition}")
}

//! A commit under way, and what its end means.

use std::time::{Duration, Instant};

use lake::LakeError;
use lake::bronze::{Bronze, Chunk, Progress};
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use shell::trace::{Kind, Trace};
use tokio::sync::oneshot;

use super::{Exit, STORE, Worker};

/// A commit under way.
pub(super) struct Flight {
    /// The table comes back with the outcome.
    outcome: oneshot::Receiver<(Bronze, Result<u64, LakeError>)>,
    /// By partition: its term, and where it will stand.
    covers: Vec<(i32, u64, i64)>,
    rows: u64,
    bytes: usize,
    started: Instant,
    /// What is logged of it belongs here.
    trace: Trace,
}

impl Worker {
    /// Starts to commit what is buffered, and how far each partition has been read.
    pub(super) fn begin_flight(&mut self) {
        if self.flight.is_some() || self.restart {
            return;
        }
        let Some(mut bronze) = self.bronze.take() else { return };
        let (rows, bytes) = (self.buffer.rows(), self.buffer.bytes());
        let batches = match self.buffer.take() {
            Ok(batches) => batches,
            Err(error) => {
                self.bronze = Some(bronze);
                self.go_back(&format!("closing a batch: {error}"));
                return;
            }
        };
        let mut chunk = Chunk {
            batches,
            partitions: self.world.ends.partitions(),
            gaps: std::mem::take(&mut self.gaps),
            ..Chunk::default()
        };
        let mut covers = Vec::new();
        for (partition, part) in self.reading() {
            let known = bronze.state().progress.get(&partition).map_or(0, |progress| progress.end_offset);
            let end_offset = self.world.ends.end(partition).map_or(known, |end| end.offset);
            let progress = Progress {
                offset: part.position,
                event_time: part.event_time,
                end_offset,
                read_to_end_at: part.read_to_end_at,
            };
            chunk.progress.insert(partition, (part.stored, progress));
            covers.push((partition, part.term, part.position));
        }
        let (report, outcome) = oneshot::channel();
        let trace = Trace::next();
        self.world.runtime.spawn(async move {
            let mut span = trace.open("commit", Kind::Internal);
            let outcome = trace.scope(bronze.append(&chunk)).await;
            if let Err(error) = &outcome {
                span.fail(error);
            }
            // The worker is gone only at the very end.
            drop(report.send((bronze, outcome)));
        });
        self.flight = Some(Flight { outcome, covers, rows, bytes, started: Instant::now(), trace });
        self.last_commit = Instant::now();
    }

    /// Takes in the outcome of the commit under way, if it has ended.
    pub(super) fn end_flight(&mut self) -> Option<Exit> {
        let mut flight = self.flight.take()?;
        match flight.outcome.try_recv() {
            Ok((bronze, outcome)) => flight.trace.within(|| self.landed(flight, bronze, outcome)),
            Err(oneshot::error::TryRecvError::Empty) => self.flight = Some(flight),
            Err(oneshot::error::TryRecvError::Closed) => {
                return Some(Exit::Failed("a commit ended without an outcome".to_owned()));
            }
        }
        None
    }

    /// Waits for the commit under way.
    fn wait_for_flight(&mut self, deadline: Instant) {
        let Some(mut flight) = self.flight.take() else { return };
        let left = deadline.saturating_duration_since(Instant::now());
        let outcome = &mut flight.outcome;
        match self.world.runtime.block_on(async { tokio::time::timeout(left, outcome).await }) {
            Ok(Ok((bronze, outcome))) => flight.trace.within(|| self.landed(flight, bronze, outcome)),
            // What is lost shows in the next look at it.
            Ok(Err(_)) | Err(_) => self.flight = Some(flight),
        }
    }

    /// Commits everything that is buffered; whether that was done within `limit`. Nothing is polled meanwhile.
    pub(super) fn flush(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        self.wait_for_flight(deadline);
        if self.flight.is_none() && !self.restart && self.reading().any(|(_, part)| part.stored != Some(part.position))
        {
            self.begin_flight();
            self.wait_for_flight(deadline);
        }
        self.flight.is_none() && self.buffer.is_empty() && !self.restart
    }

    fn landed(&mut self, flight: Flight, bronze: Bronze, outcome: Result<u64, LakeError>) {
        let Flight { covers, rows, bytes, started, .. } = flight;
        self.bronze = Some(bronze);
        let metrics = &self.world.metrics;
        let error = match outcome {
            Err(error) => error,
            Ok(version) => {
                metrics.commit_seconds.observe(started.elapsed().as_secs_f64());
                metrics.commits.inc();
                metrics.records.inc_by(rows);
                metrics.bytes.inc_by(u64::try_from(bytes).unwrap_or(u64::MAX));
                metrics.version.set(i64::try_from(version).unwrap_or(i64::MAX));
                tracing::debug!(version, rows, bytes, seconds = started.elapsed().as_secs_f64(), "committed");
                self.world.readiness.clear(STORE);
                self.failing = false;
                self.backoff.reset();
                self.stored(&covers);
                return;
            }
        };
        if let LakeError::Superseded { .. } = error {
            metrics.superseded.inc();
        } else {
            self.world.readiness.block(STORE, error.to_string());
            self.failing = true;
            self.next_try = Instant::now() + self.backoff.delay();
        }
        self.go_back(&error.to_string());
    }

    /// The table has everything before these offsets.
    fn stored(&mut self, covers: &[(i32, u64, i64)]) {
        let mut offsets = TopicPartitionList::new();
        for (partition, term, offset) in covers {
            let Some(part) = self.parts.get_mut(partition).filter(|part| part.term == *term) else { continue };
            part.stored = Some(*offset);
            if let Err(error) = offsets.add_partition_offset(&self.world.topic, *partition, Offset::Offset(*offset)) {
                tracing::debug!(%error, "commit");
            }
        }
        if offsets.count() > 0
            && let Err(error) = self.consumer.commit(&offsets, CommitMode::Async)
        {
            tracing::debug!(%error, "commit");
        }
    }
}

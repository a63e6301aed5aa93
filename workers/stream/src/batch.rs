//! One batch of one partition: taken from its queue, folded for every plan, its bad records sent off.

use fetch::Record;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use shell::store::{RowStore, StoreError};

use crate::dead_letter::Refusal;
use crate::fold::{FoldError, Source};
use crate::group::GroupConsumer;
use crate::metrics::Rejected;
use crate::processor::Reading;
use crate::shared::{Queue, Shared};

/// The most records that are taken from one partition at a time.
pub(crate) const BATCH: usize = 2_048;

/// How the reading of a partition ends.
pub(crate) enum Ended {
    /// The store failed.
    Store(StoreError),
    /// Another reason to go back to the marker.
    Restart(String),
    /// A person must act.
    Halt(String),
}

impl Ended {
    /// What follows from events that could not be folded.
    pub(crate) fn of(error: FoldError) -> Self {
        match error {
            FoldError::Store(error) => Self::Store(error),
            error => Self::Halt(format!("{error}; fix it by raising source.epoch, which starts new rows")),
        }
    }
}

/// A batch of records, as many as are there, and at most `most`.
pub(crate) fn take(queue: &Queue, most: usize) -> Result<Vec<Record<'_>>, KafkaError> {
    let mut records = queue.take(most);
    for code in records.iter().filter_map(Record::error) {
        let error = KafkaError::MessageConsumption(code);
        if let RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange = code {
            // What was read before it is read again, from the marker or not at all.
            return Err(error);
        }
        // librdkafka goes on by itself after every other error of a fetch.
        tracing::warn!(%error, "fetching");
    }
    records.retain(|record| record.error().is_none());
    Ok(records)
}

pub(crate) fn process<S: RowStore>(
    shared: &Shared<S>,
    partition: i32,
    reading: &mut Reading<S>,
    records: &[Record<'_>],
) -> Result<(), Ended> {
    let Some(last) = records.last() else { return Ok(()) };
    // What is at the end or behind it is another's to read.
    let position = (last.offset() + 1).min(reading.until);
    let records = &records[..records.partition_point(|record| record.offset() < reading.until)];
    let source =
        Source { partition, store: &reading.connection.store, runtime: &shared.runtime, metrics: &shared.metrics };
    for (plan, state) in shared.plans.iter().zip(&mut reading.plans) {
        let letters = state.letters.clone();
        let refuse = |record: &Record<'_>, reason: &'static str, detail: &str| {
            let view = &plan.plan().view;
            let refusal = Refusal { view, revision: &plan.plan().revision, reason, detail };
            shared.dead_letters.send(&plan.dead_letters, record, &refusal, &letters);
            Rejected { reason }.emit(&shared.metrics);
        };
        state.fold(plan, records, &source, refuse).map_err(Ended::of)?;
    }
    reading.position = position;
    Ok(())
}

/// Where the consumer stands: it passes the control records of transactions, which are never handed out.
pub(crate) fn behind_control_records(consumer: &GroupConsumer, partition: i32) -> i64 {
    let Ok(positions) = consumer.position() else { return i64::MIN };
    let found = positions.elements().into_iter().find(|element| element.partition() == partition);
    found.and_then(|element| element.offset().to_raw()).filter(|offset| *offset >= 0).unwrap_or(i64::MIN)
}

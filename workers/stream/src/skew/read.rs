//! Reads a topic again between two offsets of each partition. It asks for no membership, and commits nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use shell::kafka::{Complaints, KafkaSettings, explain};
use shell::topic::{self, Bounds};

use super::SkewError;
use super::refold::Refold;
use crate::limit::Limit;

/// How long brokers may take to answer a question.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long no record may come before the reading is given up.
const SILENCE: Duration = Duration::from_mins(2);

/// How a topic is read again.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub(super) kafka: KafkaSettings,
    /// The record time from which on it is read.
    pub(super) since_ms: i64,
    pub(super) max_future_ms: i64,
    /// The time that is looked at.
    pub(super) at_ms: i64,
    pub(super) records_per_second: Option<NonZeroU32>,
}

/// One partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    from: i64,
    to: i64,
    /// The event time from which on `[from, to)` holds every event; `None`: that is told by its first record.
    complete_from: Option<i64>,
}

impl Reading {
    /// Folds what the sampled rows hold, as far as the topic still has it; gives the event time from which on that is all.
    pub(super) async fn run(self, refold: Refold) -> Result<(Refold, i64), SkewError> {
        let bounds = topic::bounds(&self.kafka, refold.topic()).await?;
        let topic = refold.topic().to_owned();
        let read = tokio::task::spawn_blocking(move || self.blocking(refold, &bounds));
        read.await.unwrap_or_else(|error| Err(SkewError::Read { topic, detail: error.to_string() }))
    }

    fn blocking(self, mut refold: Refold, bounds: &BTreeMap<i32, Bounds>) -> Result<(Refold, i64), SkewError> {
        let topic = refold.topic().to_owned();
        let failed = |detail: String| SkewError::Read { topic: topic.clone(), detail };
        // Records of transactions that were given up are no events, as for workers.
        let ours = [
            ("group.id", "featuremill-unused"),
            ("enable.auto.commit", "false"),
            ("enable.partition.eof", "true"),
            ("auto.offset.reset", "error"),
        ];
        let client: BaseConsumer<Complaints> =
            self.kafka.client(&ours, Complaints::default()).map_err(|error| failed(error.to_string()))?;
        let told = |error: KafkaError| failed(explain(&client, &error));
        let starts = self.starts(&client, &topic, bounds).map_err(told)?;
        let mut parts = BTreeMap::new();
        for (partition, to) in refold.ends() {
            // A partition that is gone: its topic was made anew, and nothing of what the rows hold can be read again.
            let part = match (bounds.get(&partition), starts.get(&partition)) {
                (Some(bounds), Some(from)) => self.part(*bounds, *from, to),
                _ => Part { from: to, to, complete_from: Some(self.at_ms) },
            };
            parts.insert(partition, part);
        }
        let mut from = TopicPartitionList::new();
        let mut open: BTreeSet<i32> = BTreeSet::new();
        for (partition, part) in parts.iter().filter(|(_, part)| part.from < part.to) {
            from.add_partition_offset(&topic, *partition, Offset::Offset(part.from)).map_err(told)?;
            open.insert(*partition);
        }
        client.assign(&from).map_err(told)?;
        let mut limit = self.records_per_second.map(|rate| Limit::new(rate, Instant::now()));
        let mut heard = Instant::now();
        while !open.is_empty() {
            let over = match client.poll(Duration::from_millis(200)) {
                None if heard.elapsed() > SILENCE => {
                    return Err(failed(format!("no record came for {} s", SILENCE.as_secs())));
                }
                None => continue,
                Some(Err(KafkaError::PartitionEOF(partition))) => Some(partition),
                Some(Err(error)) => return Err(told(error)),
                Some(Ok(record)) => {
                    let (partition, offset) = (record.partition(), record.offset());
                    let Some(part) = parts.get_mut(&partition).filter(|_| open.contains(&partition)) else { continue };
                    let time = record.timestamp().to_millis().unwrap_or(-1);
                    part.complete_from.get_or_insert(time.saturating_add(self.max_future_ms));
                    if offset < part.to {
                        refold.push(partition, offset, record.payload(), time)?;
                    }
                    wait(limit.as_mut());
                    (offset + 1 >= part.to).then_some(partition)
                }
            };
            heard = Instant::now();
            if let Some(partition) = over.filter(|partition| open.remove(partition)) {
                refold.fold(partition)?;
                let mut done = TopicPartitionList::new();
                done.add_partition(&topic, partition);
                client.pause(&done).map_err(told)?;
            }
        }
        // Of a partition whose records are all gone nothing is known.
        let complete_from = parts.values().map(|part| part.complete_from.unwrap_or(self.at_ms)).max();
        Ok((refold, complete_from.unwrap_or(i64::MIN)))
    }

    /// What of a partition is read: `from` is its first record of the time, `to` where the rows end.
    fn part(&self, bounds: Bounds, from: i64, to: i64) -> Part {
        let complete_from = match from {
            // There never was another.
            0 => Some(i64::MIN),
            // A record of before that time is left, so all after it are.
            from if from > bounds.low => Some(self.since_ms.saturating_add(self.max_future_ms)),
            _ => None,
        };
        Part { from, to, complete_from }
    }

    /// The first offsets of records of the time or later; the end, where there are none.
    fn starts(
        &self,
        client: &BaseConsumer<Complaints>,
        topic: &str,
        bounds: &BTreeMap<i32, Bounds>,
    ) -> Result<BTreeMap<i32, i64>, KafkaError> {
        let mut times = TopicPartitionList::new();
        for partition in bounds.keys() {
            times.add_partition_offset(topic, *partition, Offset::Offset(self.since_ms.max(0)))?;
        }
        let found = client.offsets_for_times(times, TIMEOUT)?;
        let start = |(partition, bounds): (&i32, &Bounds)| {
            let found = found.find_partition(topic, *partition).map(|element| element.offset());
            let from = match found {
                Some(Offset::Offset(offset)) => offset.max(bounds.low),
                _ => bounds.end,
            };
            (*partition, from)
        };
        Ok(bounds.iter().map(start).collect())
    }
}

/// Waits until one more record may be taken.
fn wait(limit: Option<&mut Limit>) {
    let Some(limit) = limit else { return };
    while limit.allowed(Instant::now()) == 0 {
        std::thread::park_timeout(Duration::from_millis(5));
    }
    limit.took(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_back_a_partition_is_whole_is_told_by_what_it_still_holds() {
        let reading = Reading {
            kafka: KafkaSettings { bootstrap: String::new(), config_dir: None },
            since_ms: 1_000,
            max_future_ms: 50,
            at_ms: 9_000,
            records_per_second: None,
        };
        let part = |low, from| reading.part(Bounds { low, end: 100 }, from, 100).complete_from;
        // It begins with the first record there ever was; behind one of before the time; with what retention left.
        assert_eq!((part(0, 0), part(0, 7), part(5, 7), part(5, 5)), (Some(i64::MIN), Some(1_050), Some(1_050), None));
    }
}

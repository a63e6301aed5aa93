//! Where partitions end, and since when a reader has been there.
//!
//! The end is that of the log, not the last stable offset: what stands behind an open transaction is in the topic and has
//! not been read. A consumer that reads what is committed would be told the latter, so a client of its own asks.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer, DefaultConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::clock::now_ms;
use crate::group::GroupConsumer;
use crate::kafka::{self, KafkaSettings};

/// How long the brokers may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Asks for the ends of what a group's member is assigned, with a client of its own that is made with the first question.
pub struct Asker {
    kafka: KafkaSettings,
    client_id: &'static str,
    client: Option<BaseConsumer<DefaultConsumerContext>>,
}

impl Asker {
    /// Asks nothing yet.
    #[must_use]
    pub fn new(kafka: KafkaSettings, client_id: &'static str) -> Self {
        Self { kafka, client_id, client: None }
    }

    /// Asks for all ends in one request a broker, and gives `set` each that is known. Without an assignment it asks
    /// nothing.
    ///
    /// # Errors
    /// librdkafka's, when no client can be made, the brokers do not answer, or one of the partitions has no end.
    pub fn ask(&mut self, member: &GroupConsumer, set: impl FnMut(i32, End)) -> KafkaResult<()> {
        let answer = self.ask_once(member, set);
        // A client goes by the partitions that a topic had when it last heard of it, for minutes: also by that it had none,
        // which brokers that come back may say in their first seconds. A new one asks.
        if answer.is_err() {
            self.client = None;
        }
        answer
    }

    fn ask_once(&mut self, member: &GroupConsumer, mut set: impl FnMut(i32, End)) -> KafkaResult<()> {
        let assignment = member.assignment()?;
        if assignment.count() == 0 {
            return Ok(());
        }
        let mut question = TopicPartitionList::new();
        for element in assignment.elements() {
            // A "time" of −1 asks for the end.
            question.add_partition_offset(element.topic(), element.partition(), Offset::End)?;
        }
        let client = match &mut self.client {
            Some(client) => client,
            none => {
                let made = client(&self.kafka, self.client_id);
                none.insert(made.map_err(|error| KafkaError::ClientCreation(error.to_string()))?)
            }
        };
        let as_of = now_ms();
        let answer = client.offsets_for_times(question, TIMEOUT)?;
        let mut failed = Ok(());
        for element in answer.elements() {
            match (element.error(), element.offset()) {
                (Ok(()), Offset::Offset(offset)) => set(element.partition(), End { offset, as_of }),
                (Ok(()), _) => {}
                (Err(error), _) => failed = Err(error),
            }
        }
        failed
    }
}

fn client(kafka: &KafkaSettings, client_id: &str) -> Result<BaseConsumer<DefaultConsumerContext>, kafka::KafkaError> {
    let ours = [
        // Never used: without a group librdkafka makes no consumer.
        ("group.id", "featuremill-unused"),
        ("client.id", client_id),
        ("enable.auto.commit", "false"),
        ("isolation.level", "read_uncommitted"),
        ("reconnect.backoff.max.ms", "3000"),
    ];
    kafka.client(&ours, DefaultConsumerContext)
}

/// A partition's end, as the brokers said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The offset that the next record will have, be those before it committed or not.
    pub offset: i64,
    /// When it was asked for, in milliseconds since the epoch: everything written before that is below `offset`.
    pub as_of: i64,
}

/// A partition's ends: the newest, and the one that is waited for. Where producers' transactions follow one another there
/// is always one open, so that the newest end would be replaced before it is reached.
#[derive(Clone, Copy, Debug)]
pub struct PartitionEnds {
    newest: End,
    awaited: End,
}

impl PartitionEnds {
    /// A partition that ends there.
    #[must_use]
    pub fn new(end: End) -> Self {
        Self { newest: end, awaited: end }
    }

    /// The newest end.
    #[must_use]
    pub fn newest(&self) -> End {
        self.newest
    }

    /// It ends there now.
    pub fn set(&mut self, end: End) {
        self.newest = end;
    }

    /// The latest time, in milliseconds since the epoch, of which it is known that everything written before it is below
    /// `position`.
    pub fn reached(&mut self, position: i64) -> Option<i64> {
        let reached = [self.newest, self.awaited].into_iter().find(|end| position >= end.offset)?;
        self.awaited = self.newest;
        Some(reached.as_of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_waited_for_until_it_is_reached() {
        let end = |offset, as_of| End { offset, as_of };
        let mut ends = PartitionEnds::new(end(10, 1));
        assert_eq!(ends.reached(9), None);
        // Newer ends come before it is reached, time and again.
        ends.set(end(20, 2));
        ends.set(end(30, 3));
        assert_eq!(ends.reached(10), Some(1));
        assert_eq!((ends.reached(29), ends.reached(30)), (None, Some(3)));
    }
}

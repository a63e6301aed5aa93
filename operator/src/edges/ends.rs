//! Where topics end, asked again and again: one client for each cluster and Secret, and a request for each broker and thousand
//! partitions, not one for each partition.
//!
//! `librdkafka` knows the times -1 and -2, the end and the beginning, in the question for offsets by time, which it asks each
//! leader for all of its partitions.
//!
//! Invariants: the calls block, so they are made on a thread of their own, one at a time of each client; what of an open
//! transaction cannot be read yet is behind the end; a topic that is not there keeps no other from its answer.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::metadata::{MetadataPartition, MetadataTopic};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use shell::kafka::{Complaints, explain};

use super::{EdgeError, Ends, LogAddress, kafka};
use crate::lag::measure::Bounds;

/// How long all questions of one call may take together.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a first attempt may take: librdkafka waits for a topic that went until it may wait no longer.
const FIRST: Duration = Duration::from_secs(3);
/// How long it is believed that a topic has as many partitions as it had.
const KNOWN_FOR: Duration = Duration::from_mins(1);
/// A client that was not asked for this long is of an Architecture that is gone, or of a Secret that was replaced.
const UNUSED_FOR: Duration = Duration::from_mins(5);
/// So many partitions are asked for at once: librdkafka looks each of an answer up in a list.
const AT_ONCE: usize = 1000;
/// From so many topics on the brokers are asked for all that they have, instead of for each.
const MANY: usize = 20;

/// The clients.
#[derive(Default)]
pub(super) struct Clients(Mutex<HashMap<LogAddress, (Arc<Client>, Instant)>>);

impl Clients {
    pub(super) async fn ends(&self, address: &LogAddress, topics: &BTreeSet<String>) -> Result<Ends, EdgeError> {
        let (client, topics) = (self.get(address)?, topics.clone());
        let asked = tokio::task::spawn_blocking(move || client.ends(&topics)).await;
        asked.unwrap_or_else(|error| Err(EdgeError(error.to_string())))
    }

    fn get(&self, address: &LogAddress) -> Result<Arc<Client>, EdgeError> {
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        clients.retain(|known, (_, used)| known == address || now.duration_since(*used) < UNUSED_FOR);
        if let Some((client, used)) = clients.get_mut(address) {
            *used = now;
            return Ok(client.clone());
        }
        let client = Arc::new(Client::new(address)?);
        clients.insert(address.clone(), (client.clone(), now));
        Ok(client)
    }
}

/// A client of one cluster.
struct Client {
    consumer: BaseConsumer<Complaints>,
    bootstrap: String,
    /// Held while questions are asked.
    known: Mutex<Known>,
}

/// What is known of topics.
#[derive(Default)]
struct Known {
    topics: BTreeMap<String, Partitions>,
    /// The last answer of each.
    last: Ends,
}

/// The partitions of a topic.
struct Partitions {
    led: Vec<i32>,
    /// Those without a leader, of whom nobody could be asked.
    leaderless: Vec<i32>,
    /// When they were asked for.
    asked: Instant,
}

/// Within which time, and of which client, a call asks.
struct Call<'a> {
    consumer: &'a BaseConsumer<Complaints>,
    deadline: Instant,
}

impl Client {
    fn new(address: &LogAddress) -> Result<Self, EdgeError> {
        let (settings, mut properties) = kafka::settings(address)?;
        properties.extend([
            ("group.id", "featuremill-unused"),
            ("isolation.level", "read_committed"),
            ("enable.auto.commit", "false"),
        ]);
        let made = settings.client(&properties, Complaints::default());
        let consumer = made.map_err(|error| EdgeError(error.to_string()))?;
        Ok(Self { consumer, bootstrap: address.bootstrap.clone(), known: Mutex::default() })
    }

    fn ends(&self, topics: &BTreeSet<String>) -> Result<Ends, EdgeError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let call = Call { consumer: &self.consumer, deadline: Instant::now() + TIMEOUT };
        let failed = |error: KafkaError| {
            EdgeError(format!("asking {} where topics end: {}", self.bootstrap, explain(&self.consumer, &error)))
        };
        let stands = |found: &Partitions| found.leaderless.is_empty() && found.asked.elapsed() < KNOWN_FOR;
        known.topics.retain(|topic, found| topics.contains(topic) && stands(found));
        known.last.retain(|topic, _| topics.contains(topic));
        call.look_up(topics, &mut known.topics).map_err(failed)?;
        let first = Call { consumer: &self.consumer, deadline: Instant::now() + FIRST };
        if let Ok(ends) = first.ask(known.topics.iter()) {
            return Ok(known.complete(ends));
        }
        // A topic went, or was made anew with fewer partitions: each is looked up again, and asked for alone if need be.
        known.topics.clear();
        call.look_up(topics, &mut known.topics).map_err(failed)?;
        if let Ok(ends) = call.ask(known.topics.iter()) {
            return Ok(known.complete(ends));
        }
        let mut all = Ends::new();
        let mut last = None;
        for one in &known.topics {
            match call.ask(std::iter::once(one)) {
                Ok(ends) => all.extend(ends),
                Err(error) if call.is_over() => return Err(failed(error)),
                Err(error) => last = Some(error),
            }
        }
        match last.filter(|_| all.is_empty()) {
            Some(error) => Err(failed(error)),
            None => Ok(known.complete(all)),
        }
    }
}

impl Known {
    /// An answer, with what was known last of partitions that lost their leader.
    fn complete(&mut self, mut ends: Ends) -> Ends {
        for (topic, partitions) in &self.topics {
            for partition in &partitions.leaderless {
                if let Some(bounds) = self.last.get(topic).and_then(|last| last.get(partition)) {
                    let past = Bounds { past: true, ..*bounds };
                    ends.entry(topic.clone()).or_default().insert(*partition, past);
                }
            }
        }
        self.last.extend(ends.clone());
        ends
    }
}

impl Call<'_> {
    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// The partitions of the topics that are not known; one that does not exist stays unknown.
    fn look_up(&self, topics: &BTreeSet<String>, known: &mut BTreeMap<String, Partitions>) -> Result<(), KafkaError> {
        let unknown: Vec<&String> = topics.iter().filter(|topic| !known.contains_key(*topic)).collect();
        let mut found = |topic: &MetadataTopic| {
            let ids = |led: bool| {
                let of = topic.partitions().iter().filter(move |partition| (partition.leader() >= 0) == led);
                of.map(MetadataPartition::id).collect()
            };
            if topic.error().is_none() && topics.contains(topic.name()) {
                let found = Partitions { led: ids(true), leaderless: ids(false), asked: Instant::now() };
                known.insert(topic.name().to_owned(), found);
            }
        };
        if unknown.len() >= MANY {
            self.consumer.fetch_metadata(None, self.left())?.topics().iter().for_each(&mut found);
            return Ok(());
        }
        for topic in unknown {
            self.consumer.fetch_metadata(Some(topic), self.left())?.topics().iter().for_each(&mut found);
        }
        Ok(())
    }

    /// Where they begin and end.
    fn ask<'a>(&self, topics: impl Iterator<Item = (&'a String, &'a Partitions)>) -> Result<Ends, KafkaError> {
        let all: Vec<(&str, i32)> =
            topics.flat_map(|(topic, partitions)| partitions.led.iter().map(|p| (topic.as_str(), *p))).collect();
        let mut ends = Ends::new();
        for some in all.chunks(AT_ONCE) {
            // The beginning first: it only ever rises, up to the end.
            let starts = self.offsets(some, Offset::Beginning)?;
            let mut of_end = self.offsets(some, Offset::End)?;
            for (at, start) in starts {
                let Some(end) = of_end.remove(&at) else { continue };
                let (topic, partition) = at;
                ends.entry(topic).or_default().insert(partition, Bounds { start, end: end.max(start), past: false });
            }
        }
        Ok(ends)
    }

    fn offsets(&self, some: &[(&str, i32)], of: Offset) -> Result<BTreeMap<(String, i32), i64>, KafkaError> {
        let mut question = TopicPartitionList::with_capacity(some.len());
        for (topic, partition) in some {
            question.add_partition_offset(topic, *partition, of)?;
        }
        let answer = self.consumer.offsets_for_times(question, self.left())?;
        let mut offsets = BTreeMap::new();
        for element in answer.elements() {
            element.error()?;
            if let Offset::Offset(offset) = element.offset() {
                offsets.insert((element.topic().to_owned(), element.partition()), offset);
            }
        }
        Ok(offsets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_partition_that_lost_its_leader_what_was_known_last_stands() {
        let topic = |leaderless: &[i32]| {
            let found = Partitions { led: vec![0], leaderless: leaderless.to_vec(), asked: Instant::now() };
            BTreeMap::from([("clicks".to_owned(), found)])
        };
        let bounds = |end, past| Bounds { start: 0, end, past };
        let answer = |of: &[(i32, Bounds)]| Ends::from([("clicks".to_owned(), of.iter().copied().collect())]);
        let mut known = Known { topics: topic(&[2]), ..Known::default() };
        let both = answer(&[(0, bounds(5, false)), (1, bounds(7, false))]);
        assert_eq!(known.complete(both.clone()), both, "of another nothing is known");
        known.topics = topic(&[1]);
        for _ in 0..2 {
            let one = answer(&[(0, bounds(6, false))]);
            assert_eq!(known.complete(one), answer(&[(0, bounds(6, false)), (1, bounds(7, true))]));
        }
    }
}

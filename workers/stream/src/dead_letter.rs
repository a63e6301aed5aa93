//! Dead letters: records that no plan can take in, sent to the view's own topic with all that is needed to find and mend
//! them. At least once: a partition's marker passes a bad record only when Kafka has acknowledged its dead letter.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use engine::plan::ViewIdentity;
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, NoCustomPartitioner, Producer, ProducerContext, ThreadedProducer};
use shell::admin::Readiness;
use shell::kafka::{KafkaError, KafkaSettings};

use crate::progress::Unacknowledged;

/// The longest payload that is kept; what is longer is cut and marked so.
pub const MAX_PAYLOAD: usize = 64 * 1024;
/// The header that names the view a dead-letter topic belongs to.
pub const VIEW_UID: &str = "featuremill-view-uid";
/// The subject of the dead letters' readiness.
const SUBJECT: &str = "dead-letters";

/// The dead letters of one reading of one partition.
#[derive(Debug, Default)]
pub struct Letters {
    /// Those on their way.
    pub unacknowledged: Unacknowledged,
    /// Whether one of them failed for good, so that the partition must be read anew from its marker.
    pub failed: bool,
}

/// [`Letters`] shared between a partition and the producer's thread.
pub type SharedLetters = Arc<Mutex<Letters>>;

/// What a delivery report is for.
#[derive(Debug)]
pub struct Receipt {
    letters: SharedLetters,
    offset: i64,
}

/// Takes delivery reports.
#[derive(Clone, Debug)]
pub struct LetterContext {
    readiness: Readiness,
}

impl ClientContext for LetterContext {}

impl ProducerContext<NoCustomPartitioner> for LetterContext {
    type DeliveryOpaque = Box<Receipt>;

    fn delivery(&self, result: &DeliveryResult<'_>, receipt: Self::DeliveryOpaque) {
        let mut letters = receipt.letters.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(_) => {
                letters.unacknowledged.acknowledged(receipt.offset);
                self.readiness.clear(SUBJECT);
            }
            Err((error, message)) => {
                letters.failed = true;
                self.readiness.block(SUBJECT, format!("topic {}: {error}; trying again", message.topic()));
            }
        }
    }
}

/// Why and where from.
#[derive(Debug)]
pub struct Refusal<'a> {
    /// The view whose plan refused the record.
    pub view: &'a ViewIdentity,
    /// Its revision.
    pub revision: &'a str,
    /// The sort of fault.
    pub reason: &'static str,
    /// For people.
    pub detail: &'a str,
}

/// Sends dead letters.
pub struct DeadLetters {
    producer: ThreadedProducer<LetterContext>,
}

impl DeadLetters {
    /// An idempotent producer; it retries for as long as it takes.
    ///
    /// # Errors
    /// [`KafkaError`].
    pub fn new(kafka: &KafkaSettings, readiness: Readiness) -> Result<Self, KafkaError> {
        let ours = [
            ("client.id", "featuremill-stream-dead-letters"),
            ("enable.idempotence", "true"),
            ("message.timeout.ms", "0"),
            ("queue.buffering.max.kbytes", "32768"),
            ("linger.ms", "5"),
            ("compression.type", "zstd"),
        ];
        Ok(Self { producer: kafka.client(&ours, LetterContext { readiness })? })
    }

    /// Sends one, waiting while the producer's queue is full.
    pub fn send(&self, topic: &str, record: &impl Message, refusal: &Refusal<'_>, letters: &SharedLetters) {
        let offset = record.offset();
        letters.lock().unwrap_or_else(PoisonError::into_inner).unacknowledged.sent(offset);
        let receipt = Box::new(Receipt { letters: letters.clone(), offset });
        let payload = record.payload();
        let mut letter: BaseRecord<'_, [u8], [u8], Box<Receipt>> =
            BaseRecord::with_opaque_to(topic, receipt).headers(headers(record, refusal));
        if let Some(key) = record.key() {
            letter = letter.key(&key[..key.len().min(MAX_PAYLOAD)]);
        }
        if let Some(payload) = payload {
            letter = letter.payload(&payload[..payload.len().min(MAX_PAYLOAD)]);
        }
        loop {
            match self.producer.send(letter) {
                Ok(()) => return,
                Err((ClientError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    // The producer's own thread empties the queue; this waits for that, or a moment.
                    drop(self.producer.flush(Duration::from_millis(100)));
                    letter = back;
                }
                Err((error, back)) => {
                    back.delivery_opaque.letters.lock().unwrap_or_else(PoisonError::into_inner).failed = true;
                    tracing::warn!(%error, topic, "cannot send a dead letter");
                    return;
                }
            }
        }
    }

    /// Why the producer can send no more, if so: it must then be made anew.
    #[must_use]
    pub fn failed(&self) -> Option<String> {
        let (code, reason) = self.producer.client().fatal_error()?;
        Some(format!("the producer of dead letters failed ({code}): {reason}"))
    }

    /// Waits for what is on its way, at most `limit`.
    pub fn flush(&self, limit: Duration) {
        if let Err(error) = self.producer.flush(limit) {
            tracing::warn!(%error, "dead letters are still on their way");
        }
    }
}

fn headers(record: &impl Message, refusal: &Refusal<'_>) -> OwnedHeaders {
    let (partition, offset) = (record.partition().to_string(), record.offset().to_string());
    let mut headers = OwnedHeaders::new_with_capacity(8);
    for (key, value) in [
        (VIEW_UID, refusal.view.uid.as_str()),
        ("featuremill-revision", refusal.revision),
        ("featuremill-reason", refusal.reason),
        ("featuremill-detail", refusal.detail),
        ("featuremill-topic", record.topic()),
        ("featuremill-partition", &partition),
        ("featuremill-offset", &offset),
    ] {
        headers = headers.insert(Header { key, value: Some(value) });
    }
    if record.payload().is_some_and(|payload| payload.len() > MAX_PAYLOAD) {
        headers = headers.insert(Header { key: "featuremill-truncated", value: Some("true") });
    }
    headers
}

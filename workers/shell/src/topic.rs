//! What must hold of a source topic before it is read: it is there, and it keeps its records.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::MetadataTopic;
use rdkafka::types::RDKafkaRespErr;
use thiserror::Error;

use crate::kafka::{Complaints, KafkaError, KafkaSettings, explain};

/// How long a broker may take to answer one question.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why a topic cannot be read.
#[derive(Debug, Error)]
pub enum TopicError {
    /// No client can be made.
    #[error(transparent)]
    Client(#[from] KafkaError),
    /// The brokers do not answer.
    #[error("kafka at {bootstrap} while {doing}: {detail}")]
    Kafka {
        /// Where.
        bootstrap: String,
        /// What was being done.
        doing: &'static str,
        /// What librdkafka says.
        detail: String,
    },
    /// It is not there.
    #[error("topic {topic} does not exist or may not be described; create it, or fix source.topic")]
    Missing {
        /// The topic.
        topic: String,
    },
    /// It drops superseded records, so that not every event would be seen.
    #[error(
        "topic {topic} has cleanup.policy={policy}: a compacted topic does not keep every event; use one with cleanup.policy=delete"
    )]
    Compacted {
        /// The topic.
        topic: String,
        /// Its policy.
        policy: String,
    },
}

/// How many partitions a topic has; it exists and is not compacted.
///
/// # Errors
/// [`TopicError`].
pub async fn check(kafka: &KafkaSettings, topic: &str) -> Result<i32, TopicError> {
    let asked = (kafka.clone(), topic.to_owned());
    let partitions = tokio::task::spawn_blocking(move || partition_count(&asked.0, &asked.1)).await;
    let partitions = partitions.unwrap_or_else(|error| {
        let (bootstrap, detail) = (kafka.bootstrap.clone(), error.to_string());
        Err(TopicError::Kafka { bootstrap, doing: "asking for the topic", detail })
    })?;
    let partitions = partitions.ok_or_else(|| TopicError::Missing { topic: topic.to_owned() })?;
    refuse_compacted(kafka, topic).await?;
    Ok(partitions)
}

/// How many partitions a topic has; `None` if there is no such topic.
///
/// # Errors
/// [`TopicError::Client`] or [`TopicError::Kafka`].
pub fn partition_count(kafka: &KafkaSettings, topic: &str) -> Result<Option<i32>, TopicError> {
    let doing = "asking for the topic";
    let failed = |detail: String| TopicError::Kafka { bootstrap: kafka.bootstrap.clone(), doing, detail };
    let client: BaseConsumer<Complaints> = kafka.client(&[], Complaints::default())?;
    let metadata = client.fetch_metadata(Some(topic), TIMEOUT).map_err(|error| failed(explain(&client, &error)))?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    let partitions = found.filter(|found| found.error().is_none()).map_or(0, |found| found.partitions().len());
    if let Some(error) = found.and_then(MetadataTopic::error)
        && !matches!(
            error,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
                | RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED
        )
    {
        return Err(failed(RDKafkaErrorCode::from(error).to_string()));
    }
    Ok(i32::try_from(partitions).ok().filter(|partitions| *partitions > 0))
}

/// What a partition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The first offset that is still there.
    pub low: i64,
    /// The end of its log, be the records before it committed or not.
    pub end: i64,
}

/// What the partitions of a topic hold.
///
/// # Errors
/// [`TopicError`].
pub async fn bounds(kafka: &KafkaSettings, topic: &str) -> Result<BTreeMap<i32, Bounds>, TopicError> {
    let (kafka, topic) = (kafka.clone(), topic.to_owned());
    let bootstrap = kafka.bootstrap.clone();
    let asked = tokio::task::spawn_blocking(move || bounds_now(&kafka, &topic)).await;
    asked.unwrap_or_else(|error| {
        Err(TopicError::Kafka { bootstrap, doing: "asking for the topic's ends", detail: error.to_string() })
    })
}

/// What one partition of a topic holds; `None` if the topic has no such partition.
///
/// # Errors
/// [`TopicError`].
pub async fn partition_bounds(
    kafka: &KafkaSettings,
    topic: &str,
    partition: i32,
) -> Result<Option<Bounds>, TopicError> {
    let (kafka, topic) = (kafka.clone(), topic.to_owned());
    let bootstrap = kafka.bootstrap.clone();
    let asked = tokio::task::spawn_blocking(move || {
        let found = bounds_of(&kafka, &topic, |partitions| partition..(partition + 1).min(partitions))?;
        Ok(found.get(&partition).copied())
    });
    asked.await.unwrap_or_else(|error| {
        Err(TopicError::Kafka { bootstrap, doing: "asking for a partition's ends", detail: error.to_string() })
    })
}

fn bounds_now(kafka: &KafkaSettings, topic: &str) -> Result<BTreeMap<i32, Bounds>, TopicError> {
    bounds_of(kafka, topic, |partitions| 0..partitions)
}

/// What those partitions hold that `which` names when told how many there are.
fn bounds_of(
    kafka: &KafkaSettings,
    topic: &str,
    which: impl FnOnce(i32) -> Range<i32>,
) -> Result<BTreeMap<i32, Bounds>, TopicError> {
    let partitions = partition_count(kafka, topic)?.ok_or_else(|| TopicError::Missing { topic: topic.to_owned() })?;
    // What stands behind an open transaction is in the log, too.
    let ours = [("group.id", "featuremill-unused"), ("isolation.level", "read_uncommitted")];
    let client: BaseConsumer<Complaints> = kafka.client(&ours, Complaints::default())?;
    let ask = |partition| match client.fetch_watermarks(topic, partition, TIMEOUT) {
        Ok((low, end)) => Ok((partition, Bounds { low, end })),
        Err(error) => Err(TopicError::Kafka {
            bootstrap: kafka.bootstrap.clone(),
            doing: "asking for the topic's ends",
            detail: explain(&client, &error),
        }),
    };
    which(partitions).map(ask).collect()
}

/// How long the topic keeps each record, in milliseconds; `None` if that depends on more than time, or we may not know.
///
/// # Errors
/// [`TopicError`] if the brokers cannot be asked, or it does not exist.
pub async fn keeps_ms(kafka: &KafkaSettings, topic: &str) -> Result<Option<i64>, TopicError> {
    Ok(config(kafka, topic).await?.as_ref().and_then(kept_ms))
}

/// The same of a topic's configuration.
#[must_use]
pub fn kept_ms(config: &ConfigResource) -> Option<i64> {
    let number = |name: &str| config.get(name)?.value.as_ref()?.parse::<i64>().ok();
    match (number("retention.ms"), number("retention.bytes")) {
        (Some(ms), Some(bytes)) if bytes < 0 => Some(if ms < 0 { i64::MAX } else { ms }),
        _ => None,
    }
}

async fn refuse_compacted(kafka: &KafkaSettings, topic: &str) -> Result<(), TopicError> {
    let config = config(kafka, topic).await?;
    let policy = config.and_then(|config| config.get("cleanup.policy")?.value.clone());
    match policy.filter(|policy| policy.contains("compact")) {
        Some(policy) => Err(TopicError::Compacted { topic: topic.to_owned(), policy }),
        None => Ok(()),
    }
}

/// The topic's configuration; `None` if we may not see it.
async fn config(kafka: &KafkaSettings, topic: &str) -> Result<Option<ConfigResource>, TopicError> {
    let doing = "asking for the topic's configuration";
    let failed = |detail: String| TopicError::Kafka { bootstrap: kafka.bootstrap.clone(), doing, detail };
    let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
    let admin: AdminClient<DefaultClientContext> = kafka.client(&[], DefaultClientContext)?;
    let answer = admin.describe_configs(&[ResourceSpecifier::Topic(topic)], &options).await;
    match answer.map_err(|error| failed(error.to_string()))?.into_iter().next() {
        Some(Ok(config)) => Ok(Some(config)),
        Some(Err(RDKafkaErrorCode::UnknownTopicOrPartition)) => Err(TopicError::Missing { topic: topic.to_owned() }),
        Some(Err(code)) => {
            tracing::warn!(topic, %code, "cannot see the topic's configuration; its cleanup.policy must not be compact");
            Ok(None)
        }
        None => Ok(None),
    }
}

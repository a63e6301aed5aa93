//! What must hold before anything is read: the plans compile, the source topic is there and keeps its records, and the
//! dead-letter topics are ours. Nothing here changes anything but creating missing dead-letter topics.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use engine::plan::Assignments;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer, DefaultConsumerContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use shell::kafka::{KafkaSettings, is_refusal};
use shell::topic::{self, TopicError};
use thiserror::Error;

use crate::dead_letter::VIEW_UID;
use crate::plan_run::{PlanError, PlanRun};

/// How long a broker may take to answer one question.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why the worker cannot start; it stays up, not ready, and tries again.
#[derive(Debug, Error)]
pub enum SetupError {
    /// The file of assignments does not read.
    #[error("assignments {path}: {detail}")]
    Assignments {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// A plan does not run here.
    #[error("view {view}, revision {revision}: {source}")]
    Plan {
        /// `namespace/name`.
        view: String,
        /// The revision.
        revision: String,
        /// Why.
        source: Box<PlanError>,
    },
    /// The source topic cannot be read.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// The brokers do not answer a question about the dead-letter topic.
    #[error("kafka at {bootstrap} while {doing}: {detail}")]
    Kafka {
        /// Where.
        bootstrap: String,
        /// What was being done.
        doing: &'static str,
        /// What librdkafka says.
        detail: String,
    },
    /// The dead-letter topic is another view's.
    #[error(
        "topic {topic} holds dead letters of the view with UID {found}, not {expected}; remove or rename that topic"
    )]
    ForeignDeadLetters {
        /// The topic.
        topic: String,
        /// Whose it is.
        found: String,
        /// Who we are.
        expected: String,
    },
}

impl SetupError {
    /// A stable word for conditions.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Assignments { .. } | Self::Plan { .. } => "PlanRefused",
            Self::Topic(TopicError::Client(_)) => "KafkaRefused",
            Self::Kafka { detail, .. } | Self::Topic(TopicError::Kafka { detail, .. }) if is_refusal(detail) => {
                "KafkaRefused"
            }
            Self::Kafka { .. } | Self::Topic(TopicError::Kafka { .. }) => "KafkaUnreachable",
            Self::Topic(TopicError::Missing { .. }) => "TopicMissing",
            Self::Topic(TopicError::Compacted { .. }) => "TopicCompacted",
            Self::ForeignDeadLetters { .. } => "ForeignDeadLetters",
        }
    }
}

/// What holds.
#[derive(Debug)]
pub struct Checked {
    /// The plans.
    pub plans: Arc<[PlanRun]>,
    /// Their topic.
    pub topic: String,
    /// How many partitions it has.
    pub partitions: i32,
    /// The consumer group.
    pub group: String,
}

/// Reads and compiles the plans.
///
/// # Errors
/// [`SetupError::Assignments`] or [`SetupError::Plan`].
pub fn plans(path: &Path) -> Result<Arc<[PlanRun]>, SetupError> {
    let failed = |detail: String| SetupError::Assignments { path: path.to_owned(), detail };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let Assignments { assignments } = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
    let plans: Arc<[PlanRun]> = assignments
        .iter()
        .map(|assignment| {
            PlanRun::new(assignment).map_err(|error| SetupError::Plan {
                view: format!("{}/{}", assignment.plan.view.namespace, assignment.plan.view.name),
                revision: assignment.plan.revision.clone(),
                source: Box::new(error),
            })
        })
        .collect::<Result<_, _>>()?;
    let Some(first) = plans.first() else {
        return Err(failed("it holds no assignment".to_owned()));
    };
    if let Some(other) = plans.iter().find(|other| other.topic != first.topic) {
        let detail = format!("it mixes topics {} and {}; one worker reads one topic", first.topic, other.topic);
        return Err(failed(detail));
    }
    Ok(plans)
}

/// Checks the topics of these plans, and creates missing dead-letter topics.
///
/// # Errors
/// [`SetupError`].
pub async fn check(kafka: &KafkaSettings, plans: Arc<[PlanRun]>) -> Result<Checked, SetupError> {
    let topic = plans[0].topic.clone();
    let partitions = topic::check(kafka, &topic).await?;
    for plan in plans.iter() {
        dead_letter_topic(kafka, plan).await?;
    }
    let group = plans[0].group.clone();
    Ok(Checked { plans, topic, partitions, group })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SetupError> + Send + 'static,
) -> Result<T, SetupError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(SetupError::Kafka { bootstrap: String::new(), doing: "checking", detail: error.to_string() }),
    }
}

fn failed(kafka: &KafkaSettings, doing: &'static str) -> impl Fn(rdkafka::error::KafkaError) -> SetupError {
    let bootstrap = kafka.bootstrap.clone();
    move |error| SetupError::Kafka { bootstrap: bootstrap.clone(), doing, detail: error.to_string() }
}

fn client<C: ClientContext, T: FromClientConfigAndContext<C>>(
    kafka: &KafkaSettings,
    ours: &[(&str, &str)],
    context: C,
) -> Result<T, SetupError> {
    Ok(kafka.client(ours, context).map_err(TopicError::from)?)
}

/// Makes sure that the plan's dead-letter topic is there and its own.
async fn dead_letter_topic(kafka: &KafkaSettings, plan: &PlanRun) -> Result<(), SetupError> {
    let doing = "creating the dead-letter topic";
    let topic = plan.dead_letters.clone();
    let known = {
        let (kafka, topic) = (kafka.clone(), topic.clone());
        blocking(move || Ok(topic::partition_count(&kafka, &topic)?)).await?
    };
    let Some(partitions) = known else {
        let options = AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT));
        let new = NewTopic::new(&topic, 1, TopicReplication::Fixed(-1));
        let admin: AdminClient<DefaultClientContext> = client(kafka, &[], DefaultClientContext)?;
        let answer = admin.create_topics([&new], &options).await.map_err(failed(kafka, doing))?;
        return match answer.into_iter().next() {
            None | Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
            Some(Err((topic, code))) => {
                let detail = format!("{topic}: {code}");
                Err(SetupError::Kafka { bootstrap: kafka.bootstrap.clone(), doing, detail })
            }
        };
    };
    let expected = plan.plan().view.uid.clone();
    let kafka = kafka.clone();
    blocking(move || refuse_foreign(&kafka, &topic, partitions, &expected)).await
}

/// Looks at the first record of each partition.
fn refuse_foreign(kafka: &KafkaSettings, topic: &str, partitions: i32, expected: &str) -> Result<(), SetupError> {
    let doing = "reading the dead-letter topic's first record";
    let ours = [("group.id", "featuremill-unused"), ("enable.auto.commit", "false"), ("auto.offset.reset", "earliest")];
    let client: BaseConsumer<DefaultConsumerContext> = client(kafka, &ours, DefaultConsumerContext)?;
    for partition in 0..partitions {
        let (low, high) = client.fetch_watermarks(topic, partition, TIMEOUT).map_err(failed(kafka, doing))?;
        if low >= high {
            continue;
        }
        let mut from = TopicPartitionList::new();
        from.add_partition_offset(topic, partition, Offset::Offset(low)).map_err(failed(kafka, doing))?;
        client.assign(&from).map_err(failed(kafka, doing))?;
        let Some(first) = client.poll(TIMEOUT) else { continue };
        let first = first.map_err(failed(kafka, doing))?;
        let found = first.headers().and_then(|headers| headers.iter().find(|header| header.key == VIEW_UID));
        let found = found.and_then(|header| header.value).map_or("none", |uid| std::str::from_utf8(uid).unwrap_or("?"));
        if found != expected {
            let (topic, found, expected) = (topic.to_owned(), found.to_owned(), expected.to_owned());
            return Err(SetupError::ForeignDeadLetters { topic, found, expected });
        }
    }
    Ok(())
}

//! A real Kafka of one node: a broker that is its own controller.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::{Directory, Process, Program, ServiceError, free_ports};

/// How long it may take until it leads all of its partitions.
const START_LIMIT: Duration = Duration::from_mins(2);
/// How long it may take to end in order.
const STOP_LIMIT: Duration = Duration::from_mins(1);
/// How long one request may take.
pub(super) const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// An Apache Kafka from the jars that `kind/kafka/fetch` gets, run by `kind/kafka/run` as in the local cluster.
#[derive(Debug)]
pub struct Kafka {
    process: Option<Process>,
    program: Program,
    port: u16,
    directory: Directory,
    client: Vec<(String, String)>,
}

impl Kafka {
    /// Formats an empty log, starts the broker and waits until it answers.
    ///
    /// # Errors
    /// [`ServiceError`]; without the jars, what fetches them.
    pub async fn start() -> Result<Self, ServiceError> {
        Self::start_with("", &[]).await
    }

    /// As [`Self::start`], with further lines of `server.properties` and the properties its clients then need.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with(properties: &str, client: &[(&str, &str)]) -> Result<Self, ServiceError> {
        let libs = jars()?;
        let directory = Directory::new("kafka")?;
        let [port, controller] = free_ports()?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kind/kafka/run");
        let mut program = Program::new("sh")
            .arg(script)
            .env("KAFKA_DATA", directory.path().join("data"))
            .env("KAFKA_LIBS", libs)
            .env("KAFKA_PORT", port.to_string())
            .env("KAFKA_CONTROLLER_PORT", controller.to_string())
            .env("KAFKA_PROPERTIES", properties)
            .env("KAFKA_HEAP", "512m");
        "Kafka".clone_into(&mut program.name);
        let client = client.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        let mut kafka = Self { process: None, program, port, directory, client };
        kafka.resume().await?;
        Ok(kafka)
    }

    /// `127.0.0.1:port`, the same over restarts.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The running process.
    ///
    /// # Errors
    /// [`ServiceError::Misuse`] while it is stopped.
    pub fn process(&mut self) -> Result<&mut Process, ServiceError> {
        self.process.as_mut().ok_or_else(|| ServiceError::Misuse("Kafka is stopped; resume it first".to_owned()))
    }

    /// Kills it, with SIGKILL, and waits until it is gone. Its log stays.
    ///
    /// # Errors
    /// As [`Process::kill`].
    pub async fn kill(&mut self) -> Result<(), ServiceError> {
        if let Some(mut process) = self.process.take() {
            process.kill().await?;
        }
        Ok(())
    }

    /// Ends it in order. Its log stays.
    ///
    /// # Errors
    /// As [`Process::terminate`].
    pub async fn stop(&mut self) -> Result<(), ServiceError> {
        if let Some(mut process) = self.process.take() {
            process.terminate(STOP_LIMIT).await?;
        }
        Ok(())
    }

    /// Starts it again, on the same ports and log, and waits until it leads every partition. Running already, it is left
    /// alone.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn resume(&mut self) -> Result<(), ServiceError> {
        if self.process.is_some() {
            return Ok(());
        }
        let mut process = self.program.start(self.directory.path().join("kafka.log"))?;
        let config = self.client_config();
        process.until("its partitions' leader", START_LIMIT, async || led(config.clone()).await).await?;
        self.process = Some(process);
        Ok(())
    }

    /// [`Self::stop`] and [`Self::resume`].
    ///
    /// # Errors
    /// As those.
    pub async fn restart(&mut self) -> Result<(), ServiceError> {
        self.stop().await?;
        self.resume().await
    }

    /// Makes a topic that keeps everything, however old the records' own times are.
    ///
    /// # Errors
    /// [`ServiceError::Kafka`] if it exists, or the broker refuses.
    pub async fn create_topic(&self, name: &str, partitions: i32) -> Result<(), ServiceError> {
        self.create_topic_with(name, partitions, &[("retention.ms", "-1")]).await
    }

    /// Makes a topic with these settings.
    ///
    /// # Errors
    /// As [`Self::create_topic`].
    pub async fn create_topic_with(
        &self,
        name: &str,
        partitions: i32,
        settings: &[(&str, &str)],
    ) -> Result<(), ServiceError> {
        let failed = |detail: String| ServiceError::Kafka { action: format!("create topic {name}"), detail };
        let admin = self.admin()?;
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        for (property, value) in settings {
            topic = topic.set(property, value);
        }
        let options = AdminOptions::new().operation_timeout(Some(REQUEST_LIMIT));
        let outcomes = admin.create_topics(&[topic], &options).await.map_err(|error| failed(error.to_string()))?;
        for outcome in outcomes {
            outcome.map_err(|(_, code)| failed(code.to_string()))?;
        }
        // The answer may precede the partitions' leaders, without which nothing can be produced.
        let config = self.client_config();
        super::until(&format!("the leaders of topic {name}"), REQUEST_LIMIT, async || led(config.clone()).await).await
    }

    /// Raises the number of a topic's partitions to `partitions`.
    ///
    /// # Errors
    /// [`ServiceError::Kafka`] if the broker refuses.
    pub async fn add_partitions(&self, topic: &str, partitions: usize) -> Result<(), ServiceError> {
        let failed = |detail: String| ServiceError::Kafka { action: format!("add partitions to {topic}"), detail };
        let new = rdkafka::admin::NewPartitions::new(topic, partitions);
        let options = AdminOptions::new().operation_timeout(Some(REQUEST_LIMIT));
        let outcomes =
            self.admin()?.create_partitions(&[new], &options).await.map_err(|error| failed(error.to_string()))?;
        for outcome in outcomes {
            outcome.map_err(|(_, code)| failed(code.to_string()))?;
        }
        let config = self.client_config();
        super::until(&format!("the leaders of topic {topic}"), REQUEST_LIMIT, async || led(config.clone()).await).await
    }

    /// A client's configuration for this broker.
    #[must_use]
    pub fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.bootstrap());
        // The default waits ten seconds between attempts at a broker that was away.
        config.set("reconnect.backoff.max.ms", "500");
        for (name, value) in &self.client {
            config.set(name, value);
        }
        config
    }

    /// An administrator of this broker.
    ///
    /// # Errors
    /// [`ServiceError::Kafka`] if no client can be made.
    pub fn admin(&self) -> Result<AdminClient<DefaultClientContext>, ServiceError> {
        self.client_config().create().map_err(|error| ServiceError::Kafka {
            action: "make an admin client".to_owned(),
            detail: error.to_string(),
        })
    }
}

/// Whether the broker answers and leads every partition.
async fn led(config: ClientConfig) -> Result<(), String> {
    let ask = move || {
        let consumer: BaseConsumer = config.create().map_err(|error| error.to_string())?;
        let metadata = consumer.fetch_metadata(None, Duration::from_secs(5)).map_err(|error| error.to_string())?;
        if metadata.brokers().is_empty() {
            return Err("it knows no broker yet".to_owned());
        }
        for topic in metadata.topics() {
            if let Some(partition) = topic.partitions().iter().find(|partition| partition.leader() < 0) {
                return Err(format!("{}-{} has no leader", topic.name(), partition.id()));
            }
        }
        Ok(())
    };
    tokio::task::spawn_blocking(ask).await.unwrap_or_else(|error| Err(error.to_string()))
}

/// The folder of Kafka's jars.
fn jars() -> Result<PathBuf, ServiceError> {
    let path = crate::control_plane::cache_directory().join("kafka/libs");
    let fetched = std::fs::read_dir(&path).is_ok_and(|mut files| files.next().is_some());
    if fetched { Ok(path) } else { Err(ServiceError::Missing { path, fix: "run kind/kafka/fetch".to_owned() }) }
}

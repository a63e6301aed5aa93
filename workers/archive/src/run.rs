//! The worker's life: serve the admin port, check what must hold, read until asked to stop. What is wrong with configuration
//! or servers shows as a reason on /readyz and is tried again; the process never ends for it.

use std::sync::Arc;
use std::time::Duration;

use engine::plan::TimestampField;
use lake::bronze::Bronze;
use lake::{Identity, Owner, Storage};
use prometheus_client::registry::Registry;
use shell::admin::{self, Readiness};
use shell::backoff::Backoff;
use shell::group::{self, GroupProtocol};
use shell::kafka::KafkaSettings;
use shell::topic;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::args::RunArgs;
use crate::ends::Ends;
use crate::event_time::EventTimes;
use crate::metrics::Metrics;
use crate::worker::{Bounds, Exit, Worker, World};

/// The subject of the readiness of all that is checked before reading.
const SUBJECT: &str = "setup";

/// Why the worker did not run.
#[derive(Debug, Error)]
pub enum RunError {
    /// The admin port cannot be bound or fails.
    #[error("admin port {address}: {source}")]
    Admin {
        /// Where.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// What lasts as long as the process.
struct Process {
    args: RunArgs,
    kafka: KafkaSettings,
    metrics: Metrics,
    readiness: Readiness,
    shutdown: CancellationToken,
}

/// Runs until `shutdown` is cancelled; then everything read is committed, and the group is left.
///
/// # Errors
/// [`RunError`] if it cannot even start.
pub async fn run(args: RunArgs, shutdown: CancellationToken) -> Result<(), RunError> {
    let address = args.admin;
    let failed = |source| RunError::Admin { address, source };
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    let readiness = Readiness::default();
    readiness.block(SUBJECT, "starting");
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let stop_serving = CancellationToken::new();
    let server = tokio::spawn(admin::serve(listener, Arc::new(registry), readiness.clone(), stop_serving.clone()));
    let kafka = KafkaSettings { bootstrap: args.kafka_bootstrap.clone(), config_dir: args.kafka_config_dir.clone() };
    Process { args, kafka, metrics, readiness, shutdown }.live().await;
    stop_serving.cancel();
    match server.await {
        Ok(result) => result.map_err(failed),
        Err(error) => Err(failed(std::io::Error::other(error))),
    }
}

impl Process {
    /// Checks and reads, again and again.
    async fn live(&self) {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(15));
        let mut protocol = self.args.group_protocol;
        loop {
            let reason = match self.check().await {
                Ok((partitions, bronze)) => match self.read(partitions, bronze, protocol).await {
                    Ok(Exit::Drained) => return,
                    Ok(Exit::Unsupported(reason)) if protocol == GroupProtocol::Consumer => {
                        tracing::warn!(reason, "the brokers do not have group.protocol=consumer; using classic");
                        protocol = GroupProtocol::Classic;
                        continue;
                    }
                    Ok(Exit::Unsupported(reason) | Exit::Failed(reason)) | Err(reason) => reason,
                },
                Err(reason) => reason,
            };
            self.readiness.block(SUBJECT, reason);
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                () = tokio::time::sleep(backoff.delay()) => {}
            }
        }
    }

    /// The field that holds the event time.
    fn field(&self) -> Option<TimestampField> {
        let field = self.args.timestamp_field.clone()?;
        Some(TimestampField { field, unit: self.args.timestamp_unit.into() })
    }

    /// How many partitions the topic has, and the table. The folders are read anew, so that rotated Secrets are seen.
    async fn check(&self) -> Result<(i32, Bronze), String> {
        let check = async {
            let topic = &self.args.topic;
            let partitions = topic::check(&self.kafka, topic).await.map_err(|error| error.to_string())?;
            let table = &self.args.table;
            let storage = Storage::from_dir(table.store_config_dir.as_deref()).map_err(|error| error.to_string())?;
            let identity = Identity { uid: table.uid.clone(), owner: Owner::Topic(topic.clone()) };
            let bronze = Bronze::open(&table.table, &storage, identity, self.field().as_ref())
                .await
                .map_err(|error| error.to_string())?;
            Ok((partitions, bronze))
        };
        tokio::select! {
            () = self.shutdown.cancelled() => Err("stopped".to_owned()),
            checked = check => checked,
        }
    }

    /// Reads until the worker ends.
    async fn read(&self, partitions: i32, bronze: Bronze, protocol: GroupProtocol) -> Result<Exit, String> {
        let args = &self.args;
        let max_bytes = usize::try_from(args.max_bytes).unwrap_or(usize::MAX);
        // What librdkafka fetches ahead comes on top of what waits here, so it gets a quarter of that at most.
        let queue_kib = (max_bytes / 4 / usize::try_from(partitions).unwrap_or(1) / 1024).clamp(64, 16 * 1024);
        let group = format!("{}.archive.{}", args.table.uid, args.topic);
        let consumer = group::consumer(&self.kafka, &group, "featuremill-archive", protocol, queue_kib)
            .map_err(|error| error.to_string())?;
        let field = self.field();
        let world = World {
            kafka: self.kafka.clone(),
            topic: args.topic.clone(),
            ends: Ends::new(partitions),
            event_times: EventTimes::new(field.as_ref().map(|by| (by.field.as_str(), by.unit)), args.max_future_ms),
            metrics: self.metrics.clone(),
            readiness: self.readiness.clone(),
            runtime: Handle::current(),
            bounds: Bounds {
                commit_interval: Duration::from_millis(args.commit_interval_ms),
                idle_interval: Duration::from_millis(args.idle_commit_interval_ms.max(args.commit_interval_ms)),
                chunk_bytes: max_bytes / 2,
                on_gap: args.on_gap,
                drain: Duration::from_millis(args.drain_ms),
            },
        };
        let worker = Worker::new(world, consumer, bronze);
        self.readiness.clear(SUBJECT);
        let shutdown = self.shutdown.clone();
        tokio::task::spawn_blocking(move || worker.run(&shutdown)).await.map_err(|error| error.to_string())
    }
}

//! The worker's life: serve the admin port, check what must hold, read until asked to stop. What is wrong with configuration
//! or servers shows as a reason on /readyz and is tried again; the process never ends for it.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use shell::admin::{self, Readiness};
use shell::backoff::Backoff;
use shell::kafka::{KafkaError, KafkaSettings};
use shell::redis::{Connector, RedisError};
use shell::store::RedisStore;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::args::{GroupProtocol, RunArgs};
use crate::coordinator::{Coordinator, Exit};
use crate::dead_letter::DeadLetters;
use crate::group;
use crate::horizon;
use crate::link::{self, Link};
use crate::metrics::Metrics;
use crate::setup::{self, Checked};
use crate::shared::{Shared, World};
use crate::trouble;

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
    /// The store's URL is wrong.
    #[error(transparent)]
    Redis(#[from] RedisError),
}

/// What lasts as long as the process.
struct Process {
    args: RunArgs,
    kafka: KafkaSettings,
    link: Link<RedisStore>,
    metrics: Metrics,
    readiness: Readiness,
    shutdown: CancellationToken,
}

/// Runs until `shutdown` is cancelled; then everything read is flushed, and the group is left.
///
/// # Errors
/// [`RunError`] if it cannot even start.
pub async fn run(args: RunArgs, shutdown: CancellationToken) -> Result<(), RunError> {
    let edge = &args.edge;
    let address = edge.admin;
    let failed = |source| RunError::Admin { address, source };
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    let readiness = Readiness::default();
    readiness.block(SUBJECT, "starting");
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let stop_serving = CancellationToken::new();
    let server = tokio::spawn(admin::serve(listener, Arc::new(registry), readiness.clone(), stop_serving.clone()));
    let connector = Connector::new(&edge.redis_url, edge.redis_config_dir.as_deref())?;
    let link = link::connect(connector, readiness.clone(), shutdown.clone());
    let teller = tokio::spawn(trouble::tell(
        readiness.clone(),
        link.clone(),
        trouble::keys(&args.assignments),
        edge.worker.clone(),
        stop_serving.clone(),
    ));
    let kafka = KafkaSettings { bootstrap: edge.kafka_bootstrap.clone(), config_dir: edge.kafka_config_dir.clone() };
    Process { args, kafka, link, metrics, readiness, shutdown }.live().await;
    stop_serving.cancel();
    // It only takes back what it said, and says it to a store that may be away.
    let _ = tokio::time::timeout(Duration::from_secs(1), teller).await;
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
                Ok(checked) => match self.read(checked, protocol).await {
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

    async fn check(&self) -> Result<Checked, String> {
        let told = |error: setup::SetupError| format!("{}: {error}", error.reason());
        let plans = setup::plans(&self.args.assignments).map_err(told)?;
        tokio::select! {
            () = self.shutdown.cancelled() => Err("stopped".to_owned()),
            checked = setup::check(&self.kafka, plans) => checked.map_err(told),
        }
    }

    /// Reads until the coordinator ends.
    async fn read(&self, checked: Checked, protocol: GroupProtocol) -> Result<Exit, String> {
        let Checked { plans, topic, partitions, group } = checked;
        let threads = match self.args.threads {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            threads => threads,
        };
        let threads = threads.min(usize::try_from(partitions).unwrap_or(1));
        let edge = &self.args.edge;
        let queue_kib = edge.queue_kib(usize::try_from(partitions).unwrap_or(1));
        let client_error = |error: KafkaError| error.to_string();
        let dead_letters = DeadLetters::new(&self.kafka, self.readiness.clone()).map_err(client_error)?;
        let consumer = group::consumer(&self.kafka, &group, protocol, queue_kib).map_err(client_error)?;
        let world = World {
            kafka: self.kafka.clone(),
            plans,
            topic,
            partitions,
            link: self.link.clone(),
            metrics: self.metrics.clone(),
            readiness: self.readiness.clone(),
            dead_letters,
            flush_interval: Duration::from_millis(edge.flush_interval_ms),
            cache_bytes: edge.memory() / 2 / threads,
            records_per_second: None,
        };
        let shared = Arc::new(Shared::new(world, Handle::current()));
        let lag = Duration::from_millis(edge.durability_lag_ms);
        let watched = Arc::clone(&shared);
        let coordinator = Coordinator::new(shared, consumer, threads, lag).map_err(|error| error.to_string())?;
        self.readiness.clear(SUBJECT);
        let horizons = tokio::spawn(horizon::watch(watched));
        let shutdown = self.shutdown.clone();
        let exit = tokio::task::spawn_blocking(move || coordinator.run(&shutdown)).await;
        horizons.abort();
        exit.map_err(|error| error.to_string())
    }
}

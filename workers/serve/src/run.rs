//! Puts the server together and takes it apart again.
//!
//! The way down: readiness turns false, the cluster is given time to notice, the port stops accepting, requests in
//! flight finish, the admin port closes last.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt as _;
use prometheus_client::registry::Registry;
use shell::admin::{self, Readiness};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::args::Args;
use crate::metrics::Metrics;
use crate::read::Reader;
use crate::redis_store::RedisStore;
use crate::select::Limits;
use crate::server::Server;
use crate::shadow::{self, Shadows};
use crate::store::Store;
use crate::watch::{CatalogWatch, Settings};

/// How often readiness follows what the catalog's watch has seen.
const READINESS_PERIOD: Duration = Duration::from_millis(250);

/// The subject under which the catalog objects to readiness.
const CATALOG: &str = "catalog";

/// The subject under which the drain objects to readiness.
const DRAIN: &str = "drain";

/// Why the server could not start or go on.
#[derive(Debug, Error)]
pub enum RunError {
    /// A port could not be bound.
    #[error("cannot listen on {address}: {source}; choose another with the flag")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The online store's settings are wrong.
    #[error(transparent)]
    Store(#[from] shell::redis::RedisError),
    /// A port failed while it was served.
    #[error("serving failed: {0}")]
    Serve(std::io::Error),
}

/// Serves until `shutdown`, then drains.
///
/// # Errors
/// [`RunError`].
pub async fn run(args: Args, shutdown: CancellationToken) -> Result<(), RunError> {
    let listener = listen(args.listen).await?;
    let admin_listener = listen(args.admin).await?;
    let store = RedisStore::new(
        &args.redis_url,
        args.redis_config_dir.as_deref(),
        args.redis_connections,
        Duration::from_millis(args.redis_timeout_ms),
    )?;
    serve(args, Arc::new(store), listener, admin_listener, shutdown).await
}

/// Serves on listeners and a store that are given.
///
/// # Errors
/// [`RunError::Serve`].
pub async fn serve(
    args: Args,
    store: Arc<dyn Store>,
    listener: TcpListener,
    admin_listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    let mut registry = Registry::default();
    let metrics = Arc::new(Metrics::new(&mut registry));
    let readiness = Readiness::default();
    readiness.block(CATALOG, "the catalog has not been read yet");
    let catalog = CatalogWatch::new(Settings::default());
    // Everything that must outlive the drain stops by this token, after it.
    let drained = CancellationToken::new();
    let _stop_all = drained.clone().drop_guard();
    let key = engine::row::catalog_key(&args.architecture_uid);
    tokio::spawn(Arc::clone(&catalog).run(Arc::clone(&store), key, Arc::clone(&metrics), drained.clone()));
    tokio::spawn(follow(Arc::clone(&catalog), readiness.clone(), drained.clone()));
    let admin = tokio::spawn(admin::serve(admin_listener, Arc::new(registry), readiness.clone(), drained.clone()));

    let limits = Limits { rows: args.max_entities, values: args.max_values };
    let (shadows, worker) = Shadows::new(Arc::clone(&store), Arc::clone(&metrics), &args.name, shadow::QUEUE);
    tokio::spawn(worker.run(drained.clone()));
    let reader = Reader { store, catalog, metrics, limits };
    let server = Server::new(reader, shadows, readiness.clone(), args.max_in_flight, args.max_body_bytes);
    let refuse = CancellationToken::new();
    tokio::spawn(drain(shutdown, readiness, Duration::from_millis(args.drain_delay_ms), refuse.clone()));
    // Answers are one write each; waiting to fill a packet would only delay them.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set; answers may be late");
        }
    });
    tracing::info!("serving");
    axum::serve(listener, server.router())
        .with_graceful_shutdown(refuse.cancelled_owned())
        .await
        .map_err(RunError::Serve)?;
    tracing::info!("drained");
    drained.cancel();
    match admin.await {
        Ok(result) => result.map_err(RunError::Serve),
        Err(error) => Err(RunError::Serve(std::io::Error::other(error))),
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(address).await.map_err(|source| RunError::Listen { address, source })
}

/// Turns not ready first; refuses new connections when the cluster has had `delay` to notice.
async fn drain(shutdown: CancellationToken, readiness: Readiness, delay: Duration, refuse: CancellationToken) {
    shutdown.cancelled().await;
    readiness.block(DRAIN, "the server is shutting down");
    tokio::time::sleep(delay).await;
    refuse.cancel();
}

/// Keeps readiness in step with the catalog, which is read from the same store as the rows.
async fn follow(catalog: Arc<CatalogWatch>, readiness: Readiness, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(READINESS_PERIOD);
    while !stop.is_cancelled() {
        match catalog.ready() {
            Ok(()) => readiness.clear(CATALOG),
            // The age in the reason changes; the reason for the log is that it is away at all.
            Err(reason) => readiness.block(CATALOG, reason),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
    }
}

//! The link to the online store: one connection at a time, each with a number, and nobody goes on with an old one.
//!
//! A broken connection, a restart or a failover of the server may have lost writes, so all state about what the store holds
//! goes with the connection. Partitions see that the number changed, drop their lanes and start anew at their markers.

use std::time::Duration;

use shell::admin::Readiness;
use shell::backoff::Backoff;
use shell::redis::Connector;
use shell::store::{RedisStore, StoreError};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// The subject of the store's readiness.
const SUBJECT: &str = "redis";
/// How often the server is asked whether it is still the same.
const WATCH: Duration = Duration::from_secs(1);

/// One connection to the store.
#[derive(Clone, Debug)]
pub struct Connected<S> {
    /// Which; rises with each.
    pub number: u64,
    /// The store over it.
    pub store: S,
}

/// The present connection, shared by all who use the store.
#[derive(Clone, Debug)]
pub struct Link<S> {
    current: watch::Receiver<Option<Connected<S>>>,
    broken: mpsc::UnboundedSender<(u64, String)>,
}

impl<S: Clone> Link<S> {
    /// The present connection, if there is one.
    #[must_use]
    pub fn current(&self) -> Option<Connected<S>> {
        self.current.borrow().clone()
    }

    /// The number of the present connection.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        self.current.borrow().as_ref().map(|connected| connected.number)
    }

    /// The present connection, as soon as there is one; `None` when the link is closed.
    pub async fn connected(&mut self) -> Option<Connected<S>> {
        self.current.wait_for(Option::is_some).await.ok()?.clone()
    }

    /// Says that this connection is of no more use.
    pub fn broke(&self, number: u64, error: &StoreError) {
        // Nobody listens only at shutdown.
        drop(self.broken.send((number, error.to_string())));
    }

    /// A link to one store that never changes, for tests.
    #[cfg(test)]
    pub fn fixed(store: S) -> Self {
        let (keep, current) = watch::channel(Some(Connected { number: 1, store }));
        std::mem::forget(keep);
        Self { current, broken: mpsc::unbounded_channel().0 }
    }
}

/// Connects to Redis, again and again, until `shutdown`; gives the link.
#[must_use]
pub fn connect(connector: Connector, readiness: Readiness, shutdown: CancellationToken) -> Link<RedisStore> {
    let (publish, current) = watch::channel(None);
    let (broken, mut breaks) = mpsc::unbounded_channel();
    readiness.block(SUBJECT, "not yet connected");
    tokio::spawn(async move {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(3));
        for number in 1.. {
            let reason = match open(&connector).await {
                Ok(store) => {
                    backoff.reset();
                    readiness.clear(SUBJECT);
                    let identity = store.connection().identity();
                    tracing::info!(number, run_id = identity.run_id, "connected to the online store");
                    publish.send_replace(Some(Connected { number, store: store.clone() }));
                    let reason = tokio::select! {
                        () = shutdown.cancelled() => std::future::pending().await,
                        reason = watch_over(&store, number, &mut breaks) => reason,
                    };
                    publish.send_replace(None);
                    reason
                }
                Err(reason) => reason,
            };
            readiness.block(SUBJECT, reason);
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(backoff.delay()) => {}
            }
        }
    });
    Link { current, broken }
}

/// A connection to a server that keeps what is written to it.
async fn open(connector: &Connector) -> Result<RedisStore, String> {
    let store = RedisStore::connect(connector).await.map_err(|error| error.to_string())?;
    match store.eviction_policy().await.map_err(|error| error.to_string())? {
        Some(policy) if policy != "noeviction" => Err(format!(
            "redis has maxmemory-policy {policy}, under which it drops rows that are still needed; set it to noeviction"
        )),
        Some(_) => Ok(store),
        None => {
            tracing::warn!("redis does not tell its maxmemory-policy; it must be noeviction");
            Ok(store)
        }
    }
}

/// Ends with the reason when the connection is of no more use.
async fn watch_over(store: &RedisStore, number: u64, breaks: &mut mpsc::UnboundedReceiver<(u64, String)>) -> String {
    let mut ticks = tokio::time::interval(WATCH);
    loop {
        tokio::select! {
            broken = breaks.recv() => match broken {
                Some((of, reason)) if of == number => return reason,
                // A partition was late to notice an earlier break.
                Some(_) => {}
                None => return std::future::pending().await,
            },
            _ = ticks.tick() => match store.connection().observe_identity().await {
                Ok(identity) if identity == *store.connection().identity() => {}
                Ok(_) => return "redis failed over to another server".to_owned(),
                Err(error) => return error.to_string(),
            },
        }
    }
}

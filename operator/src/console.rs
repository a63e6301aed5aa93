//! The console: a page that shows the views of the cluster, and how far each is, to who can reach its port.
//!
//! Invariants: it only reads; of Secrets it reads nothing; what it serves is built in and loads nothing from elsewhere. It
//! has watches of its own, so that a replica that does not lead shows the same. [`seen`], [`row`], [`detail`], [`alerts`] and
//! [`board`] are pure; [`watch`] and [`routes`] are the edge.

mod alerts;
mod board;
mod detail;
mod docs;
#[cfg(test)]
mod fixtures;
mod flow;
mod routes;
mod row;
mod seen;
mod watch;

use std::sync::{Arc, PoisonError, RwLock};

use kube::Client;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::lag::figures::Figures;
use board::Board;

/// The board, shared by the watches that write it and the routes that read it.
#[derive(Clone, Default)]
struct Shared(Arc<RwLock<Board>>);

impl Shared {
    fn write<T>(&self, change: impl FnOnce(&mut Board) -> T) -> T {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn read<T>(&self, look: impl FnOnce(&Board) -> T) -> T {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Serves the console until `shutdown` is cancelled; of one namespace, or of all. `figures` are those of this process: it has
/// them while it leads.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    client: Client,
    namespace: Option<String>,
    figures: Figures,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let address = listener.local_addr()?;
    let board = Shared::default();
    let router = routes::router(board.clone(), client.clone(), namespace.clone(), address.ip().is_loopback());
    tracing::info!(%address, "console");
    let served = axum::serve(listener, router).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    tokio::select! {
        end = async { served.await } => end,
        () = watch::run(board, client, namespace, figures) => Ok(()),
        // A browser that holds its connection does not hold up the process.
        () = shutdown.cancelled() => Ok(()),
    }
}

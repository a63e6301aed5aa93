//! The admin port: `/livez`, `/readyz` and `/metrics`.
//!
//! Invariant: readiness is the absence of reasons. Whoever finds something amiss sets a reason under its own subject and
//! clears it when it heals; nobody can make a worker ready while another subject still objects.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use prometheus_client::registry::Registry;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Why the process is not ready, by subject; ready when empty. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<RwLock<BTreeMap<String, String>>>);

/// What `/readyz` answers.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Ready {
    /// Whether there is no reason against it.
    pub ready: bool,
    /// Subject → reason.
    pub reasons: BTreeMap<String, String>,
}

impl Readiness {
    /// Not ready, because of `reason`, until [`Self::clear`]ed. Logs the reason when it is new.
    pub fn block(&self, subject: &str, reason: impl Into<String>) {
        let reason = reason.into();
        let mut reasons = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if reasons.get(subject) != Some(&reason) {
            tracing::warn!(subject, reason, "not ready");
            reasons.insert(subject.to_owned(), reason);
        }
    }

    /// The subject has healed.
    pub fn clear(&self, subject: &str) {
        let mut reasons = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if reasons.remove(subject).is_some() {
            tracing::info!(subject, ready = reasons.is_empty(), "healed");
        }
    }

    /// The present state.
    #[must_use]
    pub fn report(&self) -> Ready {
        let reasons = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        Ready { ready: reasons.is_empty(), reasons }
    }
}

/// The three routes, for a server that adds none of its own.
pub fn router(registry: Arc<Registry>, readiness: Readiness) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(readyz).with_state(readiness))
        .route("/metrics", get(metrics).with_state(registry))
}

/// Serves [`router`] until `shutdown` is cancelled; open requests are finished.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    registry: Arc<Registry>,
    readiness: Readiness,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    axum::serve(listener, router(registry, readiness)).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

async fn readyz(State(readiness): State<Readiness>) -> Response {
    let report = readiness.report();
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report)).into_response()
}

async fn metrics(State(registry): State<Arc<Registry>>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &registry) {
        Ok(()) => ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
            .into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests;

//! The yardstick of the feature server: the same framework and runtime, sending fixed bytes.

use std::net::SocketAddr;
use std::path::Path;

use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;

use super::error::{BenchError, io};

/// Answers every POST /get-online-features with the bytes of `body`, once it has read the request, until it is killed.
///
/// # Errors
/// [`BenchError::Io`].
pub async fn serve(address: SocketAddr, body: &Path) -> Result<(), BenchError> {
    let bytes = Bytes::from(std::fs::read(body).map_err(io(format!("read {}", body.display())))?);
    let answer = async move |_request: Bytes| ([(CONTENT_TYPE, "application/json")], bytes);
    let router = Router::new().route("/get-online-features", post(answer)).route("/readyz", get(async || "ok"));
    let listener = TcpListener::bind(address).await.map_err(io(format!("listen on {address}")))?;
    let listener = listener.tap_io(|stream| {
        // As the feature server does; without it answers are late, not wrong.
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, router).await.map_err(io("serve"))
}

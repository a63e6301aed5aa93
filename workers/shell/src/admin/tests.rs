//! The routes over a real socket.
#![allow(clippy::unwrap_used)]

use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

async fn get(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn readiness_names_every_reason_and_metrics_carry_their_type() {
    let mut registry = Registry::default();
    let counter: Counter = Counter::default();
    registry.register("seen", "Things seen", counter.clone());
    counter.inc();
    let readiness = Readiness::default();
    let shutdown = CancellationToken::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(serve(listener, Arc::new(registry), readiness.clone(), shutdown.clone()));

    assert!(get(address, "/livez").await.starts_with("HTTP/1.1 200"));
    assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
    readiness.block("redis", "no connection");
    readiness.block("kafka", "no broker");
    readiness.clear("kafka");
    let answer = get(address, "/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains(r#"{"ready":false,"reasons":{"redis":"no connection"}}"#), "{answer}");
    let metrics = get(address, "/metrics").await;
    assert!(
        metrics.contains("application/openmetrics-text; version=1.0.0") && metrics.contains("seen_total 1"),
        "{metrics}"
    );

    shutdown.cancel();
    server.await.unwrap().unwrap();
}

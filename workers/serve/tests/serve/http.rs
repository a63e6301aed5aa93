//! A small HTTP client that keeps its connection, and a whole server in the test's own process.

use std::net::SocketAddr;
use std::sync::Arc;

use clap::Parser as _;
use serde_json::Value as Json;
use serve::args::{Cli, Command};
use serve::run::{RunError, serve};
use serve::store::Store;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A server under test.
pub struct Running {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub shutdown: CancellationToken,
    pub ended: JoinHandle<Result<(), RunError>>,
}

/// Starts a server over `store` with further `flags`, and waits until it is ready.
pub async fn start(store: Arc<dyn Store>, flags: &[&str]) -> Running {
    let running = start_unready(store, flags).await;
    let mut client = Client::connect(running.address).await;
    while client.get("/health").await.0 != 200 {
        tokio::task::yield_now().await;
    }
    running
}

/// Starts a server over `store` with further `flags`.
pub async fn start_unready(store: Arc<dyn Store>, flags: &[&str]) -> Running {
    let fixed =
        ["featuremill-serve", "run", "--architecture-uid", "arch", "--redis-url", "unused", "--drain-delay-ms", "0"];
    let Command::Run(args) = Cli::parse_from(fixed.iter().chain(flags)).command else { unreachable!() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let admin_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, admin) = (listener.local_addr().unwrap(), admin_listener.local_addr().unwrap());
    let shutdown = CancellationToken::new();
    let ended = tokio::spawn(serve(*args, store, listener, admin_listener, shutdown.clone()));
    Running { address, admin, shutdown, ended }
}

/// One kept connection.
pub struct Client(BufReader<TcpStream>);

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        Self(BufReader::new(TcpStream::connect(address).await.unwrap()))
    }

    pub async fn get(&mut self, path: &str) -> (u16, String) {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: t\r\n\r\n")).await;
        self.receive().await
    }

    pub async fn post(&mut self, body: &str) -> (u16, Json) {
        self.begin_post(body).await;
        let (code, body) = self.receive().await;
        (code, serde_json::from_str(&body).unwrap())
    }

    /// Sends a request without waiting for its answer.
    pub async fn begin_post(&mut self, body: &str) {
        let head = "POST /get-online-features HTTP/1.1\r\nhost: t\r\ncontent-type: application/json";
        self.send(&format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await;
    }

    pub async fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).await.unwrap();
    }

    pub async fn receive(&mut self) -> (u16, String) {
        let (mut code, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).await.unwrap();
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(status) = line.strip_prefix("http/1.1 ") {
                code = status[..3].parse().unwrap();
            } else if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await.unwrap();
        (code, String::from_utf8(body).unwrap())
    }
}

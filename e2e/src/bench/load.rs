//! A load on an HTTP server: connections that are kept, each with one request under way.
//!
//! Either as fast as the server answers, or paced: then a request's latency counts from when it was due, so that one slow
//! answer shows in all that had to wait behind it. The client does as little as it can, as it shares the machine.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::error::{BenchError, io};

/// A load.
#[derive(Clone, Debug)]
pub struct Load {
    /// The server.
    pub address: SocketAddr,
    /// What is asked, one after the other, headers and all.
    pub requests: Arc<[Vec<u8>]>,
    /// How many connections.
    pub connections: usize,
    /// How long.
    pub duration: Duration,
}

/// What a load saw.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Answers a second.
    pub rate: f64,
    /// The median latency in milliseconds.
    pub p50: f64,
    /// The 99th percentile of the latency in milliseconds.
    pub p99: f64,
}

impl Load {
    /// Runs it: at `rate` requests a second over all connections, or as fast as it goes.
    pub async fn run(&self, rate: Option<f64>) -> Result<Outcome, BenchError> {
        let mut tasks = JoinSet::new();
        let start = Instant::now();
        for number in 0..self.connections {
            let connection = Connection::open(self.address).await?;
            let pace = rate.map(|rate| Duration::from_secs_f64(self.connections as f64 / rate));
            tasks.spawn(drive(connection, self.clone(), number, start, pace));
        }
        let mut latencies = Vec::new();
        while let Some(done) = tasks.join_next().await {
            latencies.extend(done.map_err(std::io::Error::other).map_err(io("join a connection"))??);
        }
        let elapsed = start.elapsed().as_secs_f64();
        latencies.sort_unstable();
        let at = |share: f64| {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below the length")]
            let index = (latencies.len() as f64 * share) as usize;
            latencies.get(index.min(latencies.len().saturating_sub(1))).map_or(f64::NAN, |ns| *ns as f64 / 1e6)
        };
        Ok(Outcome { rate: latencies.len() as f64 / elapsed, p50: at(0.5), p99: at(0.99) })
    }
}

/// Asks until the time is over; the latencies in nanoseconds.
async fn drive(
    mut connection: Connection,
    load: Load,
    number: usize,
    start: Instant,
    pace: Option<Duration>,
) -> Result<Vec<u64>, BenchError> {
    let mut latencies = Vec::with_capacity(1 << 16);
    let end = start + load.duration;
    // Connections start at different parts of their period.
    let mut due = pace.map(|period| start + period.mul_f64(number as f64 / load.connections as f64));
    for i in (number..).step_by(load.connections) {
        if let Some(due) = due {
            tokio::time::sleep_until(due.into()).await;
        }
        let asked = due.unwrap_or_else(Instant::now);
        if asked >= end {
            break;
        }
        connection.ask(&load.requests[i % load.requests.len()]).await?;
        latencies.push(u64::try_from(asked.elapsed().as_nanos()).unwrap_or(u64::MAX));
        due = due.zip(pace).map(|(due, period)| due + period);
    }
    Ok(latencies)
}

/// One connection that is kept.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> Result<Self, BenchError> {
        let stream = TcpStream::connect(address).await.map_err(io(format!("connect to {address}")))?;
        stream.set_nodelay(true).map_err(io("set TCP_NODELAY"))?;
        Ok(Self { stream, buffer: Vec::with_capacity(1 << 16) })
    }

    /// Sends a request and reads the answer whole; its body. Anything but 200 is an error.
    pub async fn ask(&mut self, request: &[u8]) -> Result<&[u8], BenchError> {
        self.stream.write_all(request).await.map_err(io("send a request"))?;
        self.buffer.clear();
        let mut whole = None;
        while whole.is_none_or(|(_, end)| self.buffer.len() < end) {
            if self.stream.read_buf(&mut self.buffer).await.map_err(io("read an answer"))? == 0 {
                return Err(io("read an answer")(std::io::ErrorKind::UnexpectedEof.into()));
            }
            if whole.is_none() {
                whole = extent(&self.buffer)?;
            }
        }
        let (head, end) = whole.unwrap_or_default();
        Ok(self.buffer.get(head..end).unwrap_or_default())
    }
}

/// A request for `body`.
pub fn request(address: SocketAddr, body: &str) -> Vec<u8> {
    let head = "POST /get-online-features HTTP/1.1\r\ncontent-type: application/json";
    format!("{head}\r\nhost: {address}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Where the body starts and ends, once the headers are there.
fn extent(answer: &[u8]) -> Result<Option<(usize, usize)>, BenchError> {
    let Some(head) = answer.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4) else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&answer[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    match length {
        Some(length) if text.starts_with("http/1.1 200") => Ok(Some((head, head + length))),
        _ => Err(BenchError::Wrong(format!("the server answered {}", text.lines().next().unwrap_or_default()))),
    }
}

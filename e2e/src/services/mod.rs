//! A real Redis and a real Kafka on this machine, and our own binaries beside them, for tests.
//!
//! Invariants:
//! - Each server listens on free ports of its own and keeps everything in a directory of its own.
//! - Each dies with its value, and with the test process however that ends, by its own process id.
//! - Nothing is waited for by time: a server is ready when it answers as its clients need it to.
//!
//! Nothing here hides a fault: what a test kills stays dead until the test starts it again, on the same ports and data.

mod directory;
mod kafka;
mod monitoring;
mod process;
mod redis;
mod topic;

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use thiserror::Error;

pub use directory::Directory;
pub use kafka::Kafka;
pub use monitoring::{Alertmanager, Prometheus, Uplot, uplot};
pub use process::{Process, Program, Signal};
pub use redis::Redis;
pub use topic::{Hanging, Header, Message};

/// Why a server could not be had, or did not do what was asked.
#[derive(Debug, Error)]
pub enum ServiceError {
    /// A file, port or process could not be had.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was being done.
        action: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// What must be built, fetched or installed first is not there.
    #[error("{path} does not exist; {fix}")]
    Missing {
        /// What was looked for.
        path: PathBuf,
        /// What makes it.
        fix: String,
    },
    /// The program ended by itself.
    #[error("{program} ended ({status}) while {what} was awaited; its end of log:\n{log}")]
    Ended {
        /// Which program.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// What was awaited.
        what: String,
        /// The last lines that it wrote.
        log: String,
    },
    /// A condition did not come about.
    #[error("{what}: not within {} s; {last}", limit.as_secs_f32())]
    TooLong {
        /// What was awaited.
        what: String,
        /// For how long.
        limit: Duration,
        /// What the last probe saw, and the end of the log.
        last: String,
    },
    /// Redis refused a command, or could not be reached.
    #[error("Redis, {command}: {source}")]
    Redis {
        /// The command.
        command: String,
        /// What it said.
        source: ::redis::RedisError,
    },
    /// Kafka refused, or could not be reached.
    #[error("Kafka, {action}: {detail}")]
    Kafka {
        /// What was being done.
        action: String,
        /// What it said.
        detail: String,
    },
    /// The harness was used in the wrong order.
    #[error("{0}")]
    Misuse(String),
}

/// Names what was being done when input or output failed.
fn io(action: impl Into<String>) -> impl FnOnce(std::io::Error) -> ServiceError {
    move |source| ServiceError::Io { action: action.into(), source }
}

/// `N` ports that nobody listened on a moment ago, all different.
///
/// # Errors
/// [`ServiceError::Io`] if the loopback interface gives none.
pub fn free_ports<const N: usize>() -> Result<[u16; N], ServiceError> {
    let mut listeners = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(io("find a free port"))?;
        *port = listener.local_addr().map_err(io("find a free port"))?.port();
        // Held until all are found, so that none is found twice.
        listeners.push(listener);
    }
    Ok(ports)
}

/// Asks `probe` again and again until it is `Ok`.
///
/// # Errors
/// [`ServiceError::TooLong`] with what the last probe said, if `limit` passes.
pub async fn until<T>(
    what: &str,
    limit: Duration,
    mut probe: impl AsyncFnMut() -> Result<T, String>,
) -> Result<T, ServiceError> {
    let start = Instant::now();
    loop {
        let last = match probe().await {
            Ok(value) => return Ok(value),
            Err(last) => last,
        };
        if start.elapsed() > limit {
            return Err(ServiceError::TooLong { what: what.to_owned(), limit, last });
        }
        // Servers can only be asked; this is the pause between two questions.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

//! One connection that is kept, with one request for one entity under way.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use super::expected::Expected;
use crate::bench::load::{Connection, request};

/// What became of one request.
#[derive(Debug)]
pub(super) struct Seen {
    pub begun: Instant,
    pub ended: Instant,
    /// From when it was due.
    pub latency: Duration,
    pub outcome: Outcome,
}

#[derive(Debug)]
pub(super) enum Outcome {
    /// Every value is this revision's.
    Of(Arc<str>),
    Mixed(String),
    Failed(String),
}

/// Who asks.
pub(super) struct Reader {
    pub address: SocketAddr,
    pub expected: Arc<Expected>,
    /// Entities and the requests for them.
    pub requests: Arc<[(String, Vec<u8>)]>,
    /// The revisions by name, so that none is copied an answer.
    pub revisions: Arc<[Arc<str>]>,
    /// When its first request is due, and how long after each the next.
    pub first: Instant,
    pub pace: Duration,
    /// Which request is its first, and how far the next is.
    pub offset: usize,
    pub step: usize,
}

/// The requests for all entities, and their names.
pub(super) fn requests(address: SocketAddr, expected: &Expected) -> Arc<[(String, Vec<u8>)]> {
    let entities = expected.revisions.values().next().into_iter().flat_map(|values| values.keys());
    entities.map(|entity| (entity.clone(), request(address, &expected.ask(entity)))).collect()
}

impl Reader {
    /// Asks until `stop`. A request that is late is asked at once, and its latency counts from when it was due: one slow
    /// answer shows in all that had to wait behind it.
    pub async fn run(self, seen: UnboundedSender<Seen>, stop: CancellationToken) {
        let (mut due, mut connection) = (self.first, None);
        for i in (self.offset..).step_by(self.step) {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep_until(due.into()) => {}
            }
            let (entity, request) = &self.requests[i % self.requests.len()];
            let begun = Instant::now();
            let outcome = self.ask(&mut connection, entity, request).await;
            let ended = Instant::now();
            if seen.send(Seen { begun, ended, latency: ended.saturating_duration_since(due), outcome }).is_err() {
                return;
            }
            due += self.pace;
        }
    }

    async fn ask(&self, connection: &mut Option<Connection>, entity: &str, request: &[u8]) -> Outcome {
        let opened = match connection.take() {
            Some(open) => Ok(open),
            None => Connection::open(self.address).await,
        };
        let mut open = match opened {
            Ok(open) => open,
            Err(error) => return Outcome::Failed(error.to_string()),
        };
        let outcome = match open.ask(request).await {
            Ok(body) => match self.expected.check(entity, body) {
                Ok(revision) => match self.revisions.iter().find(|known| ***known == *revision) {
                    Some(known) => Outcome::Of(Arc::clone(known)),
                    None => Outcome::Mixed(format!("{revision} was not expected")),
                },
                Err(wrong) => Outcome::Mixed(wrong),
            },
            // What follows on such a connection could be the answer to this.
            Err(error) => return Outcome::Failed(error.to_string()),
        };
        *connection = Some(open);
        outcome
    }
}

//! The run: readers, a poll of the pointer, and a judge of what both saw.
//!
//! An answer is judged once the pointer has been polled after its end and the margin behind it, so that every move that
//! could concern it is known.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::row::{Live, live_key};
use shell::redis::Connector;
use shell::store::{RedisStore, RowStore as _};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::expected::Expected;
use super::latency::Latencies;
use super::moves::Moves;
use super::reader::{Outcome, Reader, Seen, requests};
use super::report::Report;

/// How often the pointer is looked at.
const POLL_EVERY: Duration = Duration::from_millis(5);
/// How many wrong answers are told in words.
const TOLD: usize = 10;

/// What is run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The feature server.
    pub address: SocketAddr,
    /// Where the pointer is.
    pub redis_url: String,
    /// Connections.
    pub connections: u32,
    /// Requests a second, over all of them.
    pub rate: f64,
    /// It ends when the pointer has moved so often,
    pub moves: usize,
    /// and so many answers were checked;
    pub checked: u64,
    /// or at the latest after this.
    pub limit: Duration,
    /// What counts as near a move.
    pub near: Duration,
}

/// Runs it; `progress` is given a report every second.
///
/// # Errors
/// What kept it from beginning.
pub async fn run(
    settings: &Settings,
    expected: Expected,
    stop: &CancellationToken,
    mut progress: impl FnMut(&Report),
) -> Result<Report, String> {
    if settings.moves > 0 {
        expected.telling()?;
    }
    let connector = Connector::new(&settings.redis_url, None).map_err(|error| error.to_string())?;
    let mut store = RedisStore::connect(&connector).await.map_err(|error| error.to_string())?;
    let (key, expected) = (live_key(&expected.uid), Arc::new(expected));
    let (send, receive) = unbounded_channel();
    let mut moves = Moves::default();
    // Where it stands at the beginning is known before anything is asked, or the first answers could not be judged.
    let asked = Instant::now();
    let stands = store.pointer::<Live>(&key).await.map_err(|error| error.to_string())?;
    moves.saw(stands.ok_or_else(|| format!("{key} is not there"))?, asked, Instant::now());
    let (begun, ended) = (Instant::now(), stop.child_token());
    let mut readers = start(settings, &expected, begun, &ended, send);
    let mut judge = Judge::new(settings.near, begun, receive, moves);
    let mut told = 0;
    let mut ticks = tokio::time::interval(POLL_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let polled = Instant::now();
        match store.pointer::<Live>(&key).await {
            Ok(Some(live)) => judge.moves.saw(live, polled, Instant::now()),
            Ok(None) => return Err(format!("{key} is not there")),
            Err(error) => {
                judge.report.failed_polls += 1;
                judge.tell(&format!("a poll of the pointer: {error}"));
                if let Ok(anew) = RedisStore::connect(&connector).await {
                    store = anew;
                }
            }
        }
        let over = judge.moves.count() >= settings.moves && judge.report.checked >= settings.checked;
        if over || stop.is_cancelled() || begun.elapsed() >= settings.limit {
            ended.cancel();
        }
        // Looked at before what they sent is taken, so that nothing is left behind.
        let all_ended = ended.is_cancelled() && readers.try_join_next().is_none() && readers.is_empty();
        judge.judge();
        if all_ended && judge.waiting.is_empty() {
            return Ok(judge.done(begun.elapsed()));
        }
        if begun.elapsed().as_secs() > told {
            told = begun.elapsed().as_secs();
            progress(&judge.so_far(begun.elapsed()));
        }
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the last sender goes with the readers, so that the channel ends with them"
)]
fn start(
    settings: &Settings,
    expected: &Arc<Expected>,
    begun: Instant,
    stop: &CancellationToken,
    send: tokio::sync::mpsc::UnboundedSender<Seen>,
) -> JoinSet<()> {
    let requests = requests(settings.address, expected);
    let revisions: Arc<[Arc<str>]> = expected.revisions.keys().map(|name| Arc::from(name.as_str())).collect();
    let pace = Duration::from_secs_f64(f64::from(settings.connections) / settings.rate);
    let mut readers = JoinSet::new();
    for number in 0..settings.connections {
        let reader = Reader {
            address: settings.address,
            expected: Arc::clone(expected),
            requests: Arc::clone(&requests),
            revisions: Arc::clone(&revisions),
            // Connections start at different parts of their period.
            first: begun + pace.mul_f64(f64::from(number) / f64::from(settings.connections)),
            pace,
            offset: number as usize,
            step: settings.connections as usize,
        };
        readers.spawn(reader.run(send.clone(), stop.clone()));
    }
    readers
}

/// Judges what was seen.
struct Judge {
    moves: Moves,
    near: Duration,
    begun: Instant,
    receive: UnboundedReceiver<Seen>,
    waiting: VecDeque<Seen>,
    /// Answers by the second in which they came.
    by_second: Vec<u64>,
    latencies: [Latencies; 2],
    report: Report,
}

impl Judge {
    fn new(near: Duration, begun: Instant, receive: UnboundedReceiver<Seen>, moves: Moves) -> Self {
        let near_ms = u64::try_from(near.as_millis()).unwrap_or(u64::MAX);
        let report = Report { near_ms, ..Report::default() };
        let (waiting, by_second) = (VecDeque::new(), Vec::new());
        Self { moves, near, begun, receive, waiting, by_second, latencies: Default::default(), report }
    }

    /// Judges all of which enough is known.
    fn judge(&mut self) {
        while let Ok(seen) = self.receive.try_recv() {
            self.waiting.push_back(seen);
        }
        let Some(known_to) = self.moves.known_to() else { return };
        // In the order in which they came, which is that of their ends but for moments.
        while self.waiting.front().is_some_and(|seen| seen.ended + self.near < known_to) {
            let Some(seen) = self.waiting.pop_front() else { return };
            self.one(&seen);
        }
    }

    fn one(&mut self, seen: &Seen) {
        let Seen { begun, ended, latency, outcome } = seen;
        self.report.checked += 1;
        let second = usize::try_from(ended.saturating_duration_since(self.begun).as_secs()).unwrap_or(usize::MAX);
        if second >= self.by_second.len() {
            self.by_second.resize(second + 1, 0);
        }
        self.by_second[second] += 1;
        let near = self.moves.near(*begun, *ended, self.near);
        self.latencies[usize::from(near)].add(*latency);
        match outcome {
            Outcome::Of(revision) => {
                *self.report.of_revision.entry(revision.to_string()).or_default() += 1;
                if let Some(stale) = self.moves.stale(revision, *begun, *ended) {
                    self.report.stale += 1;
                    self.tell(&format!("stale: {stale}"));
                }
            }
            Outcome::Mixed(wrong) => {
                self.report.mixed += 1;
                self.tell(&format!("mixed: {wrong}"));
            }
            Outcome::Failed(wrong) => {
                self.report.failed += 1;
                self.tell(&format!("failed: {wrong}"));
            }
        }
    }

    fn tell(&mut self, wrong: &str) {
        if self.report.wrong.len() < TOLD {
            self.report.wrong.push(format!("after {:?}: {wrong}", self.begun.elapsed()));
        }
    }

    /// The counts so far; percentiles are for the end.
    fn so_far(&self, elapsed: Duration) -> Report {
        let seconds = elapsed.as_secs_f64();
        let whole = self.by_second.get(1..self.by_second.len().saturating_sub(1)).unwrap_or_default();
        #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
        let per_second = self.report.checked as f64 / seconds;
        Report {
            seconds,
            per_second,
            slowest_second: whole.iter().min().copied().unwrap_or(0),
            moves: self.moves.count(),
            missed_moves: self.moves.missed,
            ..self.report.clone()
        }
    }

    fn done(&self, elapsed: Duration) -> Report {
        let [rest, near] = &self.latencies;
        Report { done: true, near: near.summary(), rest: rest.summary(), ..self.so_far(elapsed) }
    }
}

//! Sends spans to a collector, from a thread of its own: nobody who works waits for it.
//!
//! Invariant: whatever the collector does, no more than [`WAITING`] spans are held; what is too much is left out and counted.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::config::Config;
use super::otlp;
use super::sampler::Sampler;
use super::span::Span;

/// How many spans wait at most, as OpenTelemetry has it.
const WAITING: usize = 2048;
/// How many are sent at once.
const BATCH: usize = 512;
/// How long the first of them waits.
const DELAY: Duration = Duration::from_secs(1);
/// How long the collector may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a process that ends waits for the last spans to be sent.
const LAST: Duration = Duration::from_secs(3);

static EXPORTER: OnceLock<Exporter> = OnceLock::new();

struct Exporter {
    to: SyncSender<Message>,
    sampler: Sampler,
    left_out: AtomicU64,
}

enum Message {
    Ended(Box<Span>),
    /// All before it are to be sent, and then this is to be told.
    Flush(SyncSender<()>),
}

/// Sends what is left when it is dropped, at the end of `main`.
#[must_use]
#[derive(Debug)]
pub struct Flush(());

/// Begins to send spans, if a collector is configured; call it once.
///
/// # Errors
/// When no thread can be had.
pub(crate) fn start(config: Option<Config>) -> std::io::Result<Flush> {
    if let Some(config) = config {
        let (to, spans) = sync_channel(WAITING);
        let exporter = Exporter { to, sampler: config.sampler, left_out: AtomicU64::new(0) };
        if EXPORTER.set(exporter).is_ok() {
            std::thread::Builder::new().name("traces".to_owned()).spawn(move || send_all(&config, &spans))?;
        }
    }
    Ok(Flush(()))
}

/// Whether spans are sent at all.
pub(super) fn is_on() -> bool {
    EXPORTER.get().is_some()
}

/// Whether a trace is sent; where nothing is, what the caller does is handed on.
pub(super) fn samples(trace_id: u128, caller: Option<bool>) -> bool {
    EXPORTER.get().map_or(caller.unwrap_or(false), |exporter| exporter.sampler.samples(trace_id, caller))
}

/// A span has ended.
pub(super) fn ended(span: Span) {
    if let Some(exporter) = EXPORTER.get()
        && exporter.to.try_send(Message::Ended(Box::new(span))).is_err()
    {
        exporter.left_out.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        let Some(exporter) = EXPORTER.get() else { return };
        let (done, when) = sync_channel(1);
        if exporter.to.try_send(Message::Flush(done)).is_ok() {
            // A collector that is away keeps nobody from ending.
            let _ = when.recv_timeout(LAST);
        }
    }
}

fn send_all(config: &Config, messages: &Receiver<Message>) {
    let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).build());
    let mut away = false;
    while let Ok(first) = messages.recv() {
        let (mut batch, mut flushed) = (Vec::new(), None);
        take(first, &mut batch, &mut flushed);
        let until = Instant::now() + DELAY;
        while flushed.is_none() && batch.len() < BATCH {
            match messages.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(message) => take(message, &mut batch, &mut flushed),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        if !batch.is_empty() {
            match post(&agent, config, &batch) {
                Ok(()) if away => {
                    let left_out = EXPORTER.get().map_or(0, |e| e.left_out.swap(0, Ordering::Relaxed));
                    tracing::info!(collector = config.url, left_out, "spans are taken again");
                    away = false;
                }
                Ok(()) => {}
                Err(problem) => {
                    if let Some(exporter) = EXPORTER.get() {
                        exporter.left_out.fetch_add(batch.len() as u64, Ordering::Relaxed);
                    }
                    if !away {
                        tracing::warn!(
                            collector = config.url,
                            problem,
                            "spans are not taken; they are left out until they are"
                        );
                    }
                    away = true;
                }
            }
        }
        if let Some(done) = flushed {
            // Who waited may have given up.
            let _ = done.send(());
        }
    }
}

fn take(message: Message, batch: &mut Vec<Span>, flushed: &mut Option<SyncSender<()>>) {
    match message {
        Message::Ended(span) => batch.push(*span),
        Message::Flush(done) => *flushed = Some(done),
    }
}

fn post(agent: &ureq::Agent, config: &Config, batch: &[Span]) -> Result<(), String> {
    let mut request = agent.post(&config.url);
    for (key, value) in &config.headers {
        request = request.header(key, value);
    }
    request.send_json(otlp::request(&config.resource, batch)).map(drop).map_err(|error| error.to_string())
}

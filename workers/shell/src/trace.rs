//! What a log line belongs to: one request, one round of reconciliation, one flush, one run; in the W3C's terms of trace context.
//!
//! Spans are sent to an OpenTelemetry collector if one is configured ([`config`]); ids in log lines and headers are there anyhow.
//!
//! A request that names a trace is answered, and logged of, in that trace. Invariant: the ids are never zero, as the standard has it.

mod config;
mod export;
mod otlp;
mod sampler;
mod span;

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};
use std::str::FromStr;
use std::sync::OnceLock;

use futures::FutureExt as _;
use futures::future::Either;
use thiserror::Error;

pub use config::{Config, ConfigError, HANDED_ON};
pub use export::Flush;
pub(crate) use export::start;
pub use span::{Kind, Open, Span};

/// The name of the header, and of the variable by which a process is told the trace that it belongs to (there in capitals).
pub const TRACEPARENT: &str = "traceparent";

tokio::task_local! {
    static CURRENT: Trace;
}
static PROCESS: OnceLock<Trace> = OnceLock::new();

/// A place in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    trace_id: NonZeroU128,
    span_id: NonZeroU64,
    /// The place in the same trace that this is a part of.
    parent: Option<NonZeroU64>,
    sampled: bool,
}

/// Why a text is no place in a trace.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no trace context; it is written as 00-<32 hexadecimal digits>-<16>-<2>, in small letters")]
pub struct ParseError(String);

impl Trace {
    /// A new place in the trace of what is under way here, or the first of a new one.
    #[must_use]
    pub fn next() -> Self {
        current().map_or_else(Self::first, Self::child)
    }

    /// The place of what answers a request whose header is `header`; the first of a new trace if that names none.
    #[must_use]
    pub fn answering(header: Option<&str>) -> Self {
        let Some(caller) = header.and_then(|header| header.parse::<Self>().ok()) else { return Self::first() };
        Self { sampled: export::samples(caller.trace_id.get(), Some(caller.sampled)), ..caller.child() }
    }

    fn first() -> Self {
        // One is never drawn twice; zero, which is none, is drawn by nobody who lives long enough.
        let trace_id = NonZeroU128::new(fastrand::u128(..)).unwrap_or(NonZeroU128::MIN);
        let sampled = export::samples(trace_id.get(), None);
        Self { trace_id, span_id: span_id(), parent: None, sampled }
    }

    fn child(self) -> Self {
        Self { span_id: span_id(), parent: Some(self.span_id), ..self }
    }

    /// Begins the span of this place; what is named so ends when what is answered is dropped.
    pub fn open(self, name: &str, kind: Kind) -> Open {
        Open::begin(self, name, kind)
    }

    /// Runs `work` in this place: what it logs says so.
    pub fn scope<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, work)
    }

    /// The same for what does not wait.
    pub fn within<T>(self, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self, work)
    }

    /// The trace, as log lines have it.
    #[must_use]
    pub fn trace_id(self) -> String {
        format!("{:032x}", self.trace_id)
    }

    /// The place in it, as log lines have it.
    #[must_use]
    pub fn span_id(self) -> String {
        format!("{:016x}", self.span_id)
    }
}

fn span_id() -> NonZeroU64 {
    NonZeroU64::new(fastrand::u64(..)).unwrap_or(NonZeroU64::MIN)
}

/// As the header has it.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace_id, span_id, sampled, .. } = self;
        write!(f, "00-{trace_id:032x}-{span_id:016x}-{:02x}", u8::from(*sampled))
    }
}

impl FromStr for Trace {
    type Err = ParseError;

    /// Of a later version of the standard what this one knows, as it demands.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let parse = || {
            let mut parts = text.trim().split('-');
            let mut part = |digits: usize| {
                let part = parts.next()?;
                let hexadecimal = part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
                (part.len() == digits && hexadecimal).then_some(part)
            };
            let (version, trace_id, span_id, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
            if version == "ff" || (version == "00" && parts.next().is_some()) {
                return None;
            }
            Some(Self {
                trace_id: NonZeroU128::new(u128::from_str_radix(trace_id, 16).ok()?)?,
                span_id: NonZeroU64::new(u64::from_str_radix(span_id, 16).ok()?)?,
                parent: None,
                sampled: u8::from_str_radix(flags, 16).ok()? & 1 == 1,
            })
        };
        parse().ok_or_else(|| ParseError(text.to_owned()))
    }
}

/// What is under way here, if anything is.
#[must_use]
pub fn current() -> Option<Trace> {
    CURRENT.try_with(|trace| *trace).ok().or_else(|| PROCESS.get().copied())
}

/// All that this process does is one run, in the trace that `TRACEPARENT` names, or in one of its own. Answers its span.
pub fn process(name: &str) -> Open {
    let named = std::env::var(TRACEPARENT.to_ascii_uppercase()).ok();
    // The first call counts.
    PROCESS.get_or_init(|| Trace::answering(named.as_deref())).open(name, Kind::Internal)
}

/// Runs `work` as a part of what is under way here, with a span of its own if spans are sent. It is as large as `work`.
pub fn span<F: Future>(name: &str, work: F) -> impl Future<Output = F::Output> {
    let Some(parent) = sent_here() else { return Either::Left(work) };
    let place = parent.child();
    let open = place.open(name, Kind::Internal);
    Either::Right(CURRENT.scope(place, work.inspect(move |_| drop(open))))
}

/// The span of a part that does not wait; it ends when it is dropped.
#[must_use]
pub fn part(name: &str) -> Option<Open> {
    sent_here().map(|parent| parent.child().open(name, Kind::Internal))
}

fn sent_here() -> Option<Trace> {
    if export::is_on() { current().filter(|trace| trace.sampled) } else { None }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const HEADER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn headers_are_read_and_written_as_the_standard_has_them() {
        let trace: Trace = HEADER.parse().unwrap();
        assert_eq!(trace.to_string(), HEADER);
        assert_eq!(
            (trace.trace_id(), trace.span_id()),
            ("4bf92f3577b34da6a3ce929d0e0e4736".to_owned(), "00f067aa0ba902b7".to_owned())
        );
        let later = HEADER.replacen("00", "01", 1) + "-more";
        assert_eq!(later.parse::<Trace>().unwrap(), trace);
        for wrong in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        ] {
            assert!(wrong.parse::<Trace>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_answer_is_another_place_in_the_trace_of_its_request() {
        let answer = Trace::answering(Some(HEADER));
        assert!(answer.trace_id() == "4bf92f3577b34da6a3ce929d0e0e4736" && answer.span_id() != "00f067aa0ba902b7");
        assert!(answer.to_string().ends_with("-01"), "the caller's sampling is kept");
        let (one, other) = (Trace::answering(None), Trace::answering(Some("nonsense")));
        assert_ne!(one.trace_id(), other.trace_id());
    }

    #[tokio::test]
    async fn what_is_under_way_is_known_where_it_is_under_way() {
        assert_eq!(current(), None);
        let trace = Trace::next();
        let work = async {
            tokio::task::yield_now().await;
            (current(), Trace::next())
        };
        let (seen, inner) = trace.scope(work).await;
        assert_eq!((seen, inner.trace_id()), (Some(trace), trace.trace_id()));
        assert_eq!(trace.within(current), Some(trace));
        assert_eq!(current(), None);
    }
}

//! Logs: one subscriber for the process, as text for people or JSON for collectors.
//!
//! Lines in JSON say by `trace_id` and `span_id` what they belong to, where they belong to anything: see [`crate::trace`].
//!
//! What is logged follows `RUST_LOG`, and `info` of ours without it. Records of crates that use `log` (librdkafka's bindings do)
//! go the same way.

use std::fmt;
use std::io::IsTerminal as _;

use clap::ValueEnum;
use thiserror::Error;
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{self, Format, Json, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::trace::{self, Config, Flush};

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// For a terminal.
    Text,
}

/// Why logging could not be set up.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// `RUST_LOG` does not parse.
    #[error("RUST_LOG is not a filter: {source}; write for example `info,shell=debug`")]
    Filter {
        /// What does not parse.
        source: tracing_subscriber::filter::FromEnvError,
    },
    /// A variable of OpenTelemetry's says what cannot be done.
    #[error(transparent)]
    Traces(#[from] trace::ConfigError),
    /// There is no thread for traces.
    #[error("no thread can be started to send traces: {0}")]
    Thread(std::io::Error),
    /// Somebody set a subscriber before.
    #[error("logging is set up already: {source}")]
    AlreadySet {
        /// What the subscriber says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Installs the process's subscriber, and begins to send traces if a collector is configured; call it once, first thing in `main`,
/// and drop what it answers last: traces that wait are sent then.
///
/// # Errors
/// [`TelemetryError`] if `RUST_LOG` or a variable of OpenTelemetry's cannot be heeded, or it was called before.
pub fn init(format: LogFormat) -> Result<Flush, TelemetryError> {
    let filter = if std::env::var_os(EnvFilter::DEFAULT_ENV).is_some() {
        EnvFilter::try_from_default_env().map_err(|source| TelemetryError::Filter { source })?
    } else {
        // Delta's kernel tells of every snapshot it takes.
        EnvFilter::new("info,buoyant_kernel=warn,delta_kernel=warn,deltalake=warn")
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Json => builder.fmt_fields(JsonFields::new()).event_format(Traced::new()).try_init(),
        // Colours are for people at a terminal; in a file or a pod's log they are noise.
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
    }
    .map_err(|source| TelemetryError::AlreadySet { source })?;
    let program = std::env::current_exe().ok().and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
    let config = Config::from(|name| std::env::var(name).ok(), program.as_deref().unwrap_or("featuremill"))?;
    if let Some(config) = &config {
        tracing::info!(collector = config.url, sampler = ?config.sampler, "traces are sent");
    }
    trace::start(config).map_err(TelemetryError::Thread)
}

/// Lines in JSON, with what they belong to.
struct Traced(Format<Json>);

impl Traced {
    fn new() -> Self {
        Self(format::format().json().flatten_event(true))
    }
}

impl<S, N> FormatEvent<S, N> for Traced
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let Some(trace) = trace::current() else { return self.0.format_event(context, to, event) };
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        match line.trim_end().strip_suffix('}') {
            Some(fields) => {
                writeln!(to, r#"{fields},"trace_id":"{}","span_id":"{}"}}"#, trace.trace_id(), trace.span_id())
            }
            None => to.write_str(&line),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::trace::Trace;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_says_what_it_belongs_to_and_is_else_as_it_was() {
        let lines = Lines::default();
        let to = lines.clone();
        let builder = tracing_subscriber::fmt().with_writer(move || to.clone());
        let subscriber = builder.fmt_fields(JsonFields::new()).event_format(Traced::new()).finish();
        let trace = Trace::answering(None);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(partition = 3, "outside");
            trace.within(|| tracing::warn!(reason = "a } brace", "inside"));
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let [outside, inside] = text.lines().collect::<Vec<_>>().try_into().unwrap();
        let outside: serde_json::Value = serde_json::from_str(outside).unwrap();
        assert_eq!((&outside["message"], &outside["partition"]), (&"outside".into(), &3.into()));
        assert!(outside.get("trace_id").is_none());
        let inside: serde_json::Value = serde_json::from_str(inside).unwrap();
        assert_eq!((&inside["level"], &inside["reason"]), (&"WARN".into(), &"a } brace".into()));
        assert_eq!((&inside["trace_id"], &inside["span_id"]), (&trace.trace_id().into(), &trace.span_id().into()));
    }
}

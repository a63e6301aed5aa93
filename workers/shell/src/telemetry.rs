//! Logs: one subscriber for the process, as text for people or JSON for collectors.
//!
//! What is logged follows `RUST_LOG`, and `info` of ours without it. Records of crates that use `log` (librdkafka's bindings do)
//! go the same way.

use std::io::IsTerminal as _;

use clap::ValueEnum;
use thiserror::Error;
use tracing_subscriber::EnvFilter;

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
    /// Somebody set a subscriber before.
    #[error("logging is set up already: {source}")]
    AlreadySet {
        /// What the subscriber says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Installs the process's subscriber; call it once, first thing in `main`.
///
/// # Errors
/// [`TelemetryError`] if `RUST_LOG` does not parse, or it was called before.
pub fn init(format: LogFormat) -> Result<(), TelemetryError> {
    let filter = if std::env::var_os(EnvFilter::DEFAULT_ENV).is_some() {
        EnvFilter::try_from_default_env().map_err(|source| TelemetryError::Filter { source })?
    } else {
        // Delta's kernel tells of every snapshot it takes.
        EnvFilter::new("info,buoyant_kernel=warn,delta_kernel=warn,deltalake=warn")
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        // Colours are for people at a terminal; in a file or a pod's log they are noise.
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
    }
    .map_err(|source| TelemetryError::AlreadySet { source })
}

//! Why no figures were had.

use thiserror::Error;

use crate::services::ServiceError;

/// Why a benchmark ended early.
#[derive(Debug, Error)]
pub enum BenchError {
    /// A server or process failed.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// Kafka refused.
    #[error("Kafka: {0}")]
    Kafka(#[from] rdkafka::error::KafkaError),
    /// Redis refused.
    #[error("Redis: {0}")]
    Redis(#[from] redis::RedisError),
    /// The online store refused.
    #[error(transparent)]
    Store(#[from] shell::store::StoreError),
    /// A file or socket failed.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was being done.
        action: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The benchmark's own view does not resolve or compile.
    #[error("the view of the benchmark: {0}")]
    View(String),
    /// What was measured did not do its work.
    #[error("no figure, for the results are wrong: {0}")]
    Wrong(String),
}

/// Names what was being done when input or output failed.
pub fn io(action: impl Into<String>) -> impl FnOnce(std::io::Error) -> BenchError {
    move |source| BenchError::Io { action: action.into(), source }
}

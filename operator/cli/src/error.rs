//! Why a command did nothing.

use thiserror::Error;

/// Why a command did nothing.
#[derive(Debug, Error)]
pub enum CliError {
    /// No cluster is configured.
    #[error("no cluster can be reached by this configuration: {0}; set KUBECONFIG, or name a --context")]
    Config(String),
    /// The API server refused or did not answer.
    #[error("{doing}: {source}")]
    Api {
        /// What was asked.
        doing: String,
        /// Why not.
        source: Box<kube::Error>,
    },
    /// There is nothing to be done.
    #[error("{0}")]
    Nothing(String),
}

impl CliError {
    /// For `map_err`.
    pub fn api(doing: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Api { doing, source: Box::new(source) }
    }
}

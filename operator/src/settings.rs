//! What the operator is told at its start and then never changes.

use std::time::Duration;

use crate::alertmanager::Alertmanagers;

/// How the pods that it makes are run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The image of workers and servers.
    pub image: String,
    /// `Always`, `IfNotPresent` or `Never`; the cluster's default if not given.
    pub image_pull_policy: Option<String>,
    /// Passed on to workers and servers.
    pub log_format: Option<String>,
    /// Variables of workers and servers: where they send traces to.
    pub pod_env: Vec<(String, String)>,
    /// The CPU that a pod asks for where nothing is said of its resources.
    pub cpu_request: String,
    /// The one namespace to work in; all if not given.
    pub namespace: Option<String>,
    /// How many objects of a kind are reconciled at once.
    pub concurrency: u16,
    /// How often every object is looked at although nothing changed, in seconds.
    pub resync_seconds: u64,
    /// How soon a round comes again while something is awaited that sends no event: markers, a store that is away, a removal.
    pub poll: Duration,
    /// How often the Secrets that an Architecture names are looked at, so that a rotated one is seen.
    pub secrets_poll: Duration,
    /// How often the lag of all views is measured.
    pub lag_poll: Duration,
    /// Who is told of alerts; nobody if not given.
    pub alertmanagers: Option<Alertmanagers>,
    /// How long the rows of a revision stay readable after the pointer left it, in seconds. Not for people to choose:
    /// servers may be a few seconds behind, and readers finish what they began.
    pub readable_seconds: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            image: "featuremill:dev".to_owned(),
            image_pull_policy: None,
            log_format: None,
            pod_env: Vec::new(),
            cpu_request: "100m".to_owned(),
            namespace: None,
            concurrency: 16,
            resync_seconds: 300,
            poll: Duration::from_secs(2),
            secrets_poll: Duration::from_secs(30),
            lag_poll: Duration::from_secs(15),
            alertmanagers: None,
            readable_seconds: 60,
        }
    }
}

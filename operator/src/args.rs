//! The command line. Every flag has an environment name, so that a chart can set it either way.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use http::Uri;
use shell::telemetry::LogFormat;

use crate::alertmanager::{self, Alertmanagers, Wording};
use crate::settings::Settings;

/// Runs feature views and architectures.
#[derive(Clone, Debug, Parser)]
#[command(name = "featuremill-operator", version)]
pub struct Args {
    /// The image of stream workers and feature servers.
    #[arg(long, env = "FEATUREMILL_IMAGE", default_value = "featuremill:dev")]
    pub image: String,
    /// Their pull policy, in the words of Kubernetes.
    #[arg(long, env = "FEATUREMILL_IMAGE_PULL_POLICY")]
    pub image_pull_policy: Option<String>,
    /// The one namespace to work in; all if not given.
    #[arg(long, env = "FEATUREMILL_NAMESPACE")]
    pub namespace: Option<String>,
    /// The namespace of the Lease that elects one leader; none, and this process leads at once.
    #[arg(long, env = "FEATUREMILL_LEASE_NAMESPACE")]
    pub lease_namespace: Option<String>,
    /// The name of this process, unique among its replicas: the pod's name.
    #[arg(long, env = "FEATUREMILL_IDENTITY", default_value = "featuremill-operator")]
    pub identity: String,
    /// How many objects of a kind are reconciled at once.
    #[arg(long, env = "FEATUREMILL_CONCURRENCY", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub concurrency: u16,
    /// How often every object is looked at although nothing changed, in seconds.
    #[arg(long, env = "FEATUREMILL_RESYNC_SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..))]
    pub resync_seconds: u64,
    /// Where /livez, /readyz and /metrics are served.
    #[arg(long, env = "FEATUREMILL_ADMIN", default_value = "0.0.0.0:8080")]
    pub admin: SocketAddr,
    /// Where the console is served, a page that shows all views: such as `127.0.0.1:8090`. It asks nobody who they are. Not
    /// served if not given.
    #[arg(long, env = "FEATUREMILL_CONSOLE")]
    pub console: Option<SocketAddr>,
    /// How log lines are written, here and by workers and servers.
    #[arg(long, env = "FEATUREMILL_LOG_FORMAT", value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,
    /// The Alertmanagers to which the operator posts alerts on lag itself, such as `http://alertmanager.monitoring:9093`; of a
    /// cluster of them, all.
    #[arg(long = "alertmanager-url", env = "FEATUREMILL_ALERTMANAGER_URLS", value_delimiter = ',', value_parser = alertmanager::url)]
    pub alertmanager_urls: Vec<Uri>,
    /// A file with the bearer token that they ask for.
    #[arg(long, env = "FEATUREMILL_ALERTMANAGER_TOKEN_FILE", requires = "alertmanager_urls")]
    pub alertmanager_token_file: Option<PathBuf>,
    /// A file with the authority of their certificates.
    #[arg(long, env = "FEATUREMILL_ALERTMANAGER_CA_FILE", requires = "alertmanager_urls")]
    pub alertmanager_ca_file: Option<PathBuf>,
    /// A label of every alert that is posted, such as `cluster=berlin`.
    #[arg(long = "alertmanager-label", env = "FEATUREMILL_ALERTMANAGER_LABELS", value_delimiter = ',', value_parser = alertmanager::label)]
    pub alertmanager_labels: Vec<(String, String)>,
    /// After how long an alert that goes on is posted again, in seconds. It ends by itself after four times that.
    #[arg(long, env = "FEATUREMILL_ALERTMANAGER_RESEND_SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub alertmanager_resend_seconds: u64,
    /// Where `docs/runbooks` is served, to which alerts lead.
    #[arg(long, env = "FEATUREMILL_RUNBOOKS_URL", default_value = "docs/runbooks")]
    pub runbooks_url: String,
    /// Where the console is served for people, to which alerts lead.
    #[arg(long, env = "FEATUREMILL_CONSOLE_URL")]
    pub console_url: Option<String>,
    /// The CPU that a pod asks for where its FeatureView or Architecture says nothing, such as `100m`.
    #[arg(long, env = "FEATUREMILL_CPU_REQUEST", default_value = "100m")]
    pub cpu_request: String,
}

impl Args {
    /// What of it concerns the drivers.
    #[must_use]
    pub fn settings(&self) -> Settings {
        // Whole, so that a flag that nobody uses does not compile.
        let Self {
            image,
            image_pull_policy,
            namespace,
            lease_namespace: _,
            identity: _,
            concurrency,
            resync_seconds,
            admin: _,
            console: _,
            log_format,
            alertmanager_urls,
            alertmanager_token_file,
            alertmanager_ca_file,
            alertmanager_labels,
            alertmanager_resend_seconds,
            runbooks_url,
            console_url,
            cpu_request,
        } = self.clone();
        let log_format = match log_format {
            LogFormat::Json => "json",
            LogFormat::Text => "text",
        };
        let wording =
            Wording { labels: alertmanager_labels.into_iter().collect(), runbooks: runbooks_url, console: console_url };
        let alertmanagers = (!alertmanager_urls.is_empty()).then_some(Alertmanagers {
            urls: alertmanager_urls,
            token_file: alertmanager_token_file,
            ca_file: alertmanager_ca_file,
            wording,
            resend: Duration::from_secs(alertmanager_resend_seconds),
        });
        Settings {
            image,
            image_pull_policy,
            log_format: Some(log_format.to_owned()),
            namespace,
            concurrency,
            resync_seconds,
            cpu_request,
            alertmanagers,
            ..Settings::default()
        }
    }
}

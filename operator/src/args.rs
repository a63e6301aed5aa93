//! The command line. Every flag has an environment name, so that a chart can set it either way.

use std::net::SocketAddr;

use clap::Parser;
use shell::telemetry::LogFormat;

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
            cpu_request,
        } = self.clone();
        let log_format = match log_format {
            LogFormat::Json => "json",
            LogFormat::Text => "text",
        };
        Settings {
            image,
            image_pull_policy,
            log_format: Some(log_format.to_owned()),
            namespace,
            concurrency,
            resync_seconds,
            cpu_request,
            ..Settings::default()
        }
    }
}

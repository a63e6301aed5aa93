//! The operator's process: parse, set up telemetry, run.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;
use operator::args::Args;
use operator::console;
use operator::edges::RealEdges;
use operator::metrics::Metrics;
use operator::run::{World, not_ready_yet, run};
use operator::settings::Settings;
use prometheus_client::registry::Registry;
use shell::admin::{self, Readiness};

/// Which build this is; `kind/images` names those that are to be told apart.
const BUILD: Option<&str> = option_env!("FEATUREMILL_BUILD");

#[tokio::main]
async fn main() -> ExitCode {
    match start(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("featuremill-operator: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn start(args: Args) -> Result<(), Box<dyn std::error::Error>> {
    let _traces = shell::telemetry::init(args.log_format)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), build = BUILD, "featuremill-operator starts");
    // Two providers are compiled in by different dependencies, and rustls will not choose between them.
    shell::redis::install_crypto();
    let shutdown = shell::shutdown::on_signal()?;
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let readiness = Readiness::default();
    not_ready_yet(&readiness);
    let listener = tokio::net::TcpListener::bind(args.admin).await?;
    tokio::spawn(admin::serve(listener, Arc::new(registry), readiness.clone(), shutdown.clone()));
    let client = operator::client::build(kube::Config::infer().await?, metrics.clone())?;
    if let Some(address) = args.console {
        let listener = tokio::net::TcpListener::bind(address).await?;
        tokio::spawn(console::serve(
            listener,
            client.clone(),
            args.namespace.clone(),
            metrics.lag.clone(),
            shutdown.clone(),
        ));
    }
    let world = World {
        client,
        edges: Arc::new(RealEdges::default()),
        settings: Settings { pod_env: handed_on(), ..args.settings() },
        metrics,
        readiness,
        identity: args.identity,
        lease_namespace: args.lease_namespace,
    };
    Ok(run(world, shutdown).await?)
}

/// Where this process sends traces to, workers and servers do.
fn handed_on() -> Vec<(String, String)> {
    let of = |name: &&str| Some(((*name).to_owned(), std::env::var(name).ok()?));
    shell::trace::HANDED_ON.iter().filter_map(of).filter(|(_, value)| !value.is_empty()).collect()
}

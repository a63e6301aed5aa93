//! `featuremill`: what people do with views by hand, in few words. As `kubectl-featuremill` it is a plugin of kubectl.
//!
//! Invariant: it only reads objects and patches them, with the rights of who calls it; all of it can be done with kubectl.

mod act;
mod args;
mod bundle;
mod diff;
mod error;
mod features;
mod replay;
mod screen;
mod status;
mod table;
mod tell;

use std::process::ExitCode;

use clap::Parser as _;
use kube::config::KubeConfigOptions;
use kube::{Client, Config};

use args::{Args, Command};
use error::CliError;

#[tokio::main]
async fn main() -> ExitCode {
    // Two providers are compiled in by different dependencies, and rustls will not choose between them.
    shell::redis::install_crypto();
    let args = Args::parse();
    // Of a diff, 1 means that there are differences.
    let failure = if matches!(args.command, Command::Diff { .. }) { ExitCode::from(2) } else { ExitCode::FAILURE };
    match run(args).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("featuremill: {error}");
            failure
        }
    }
}

async fn run(args: Args) -> Result<ExitCode, CliError> {
    let mut config = match args.context {
        None => Config::infer().await.map_err(|e| CliError::Config(e.to_string()))?,
        Some(context) => {
            let options = KubeConfigOptions { context: Some(context), ..KubeConfigOptions::default() };
            Config::from_kubeconfig(&options).await.map_err(|e| CliError::Config(e.to_string()))?
        }
    };
    let namespace = args.namespace.unwrap_or_else(|| config.default_namespace.clone());
    // What a pod answers that is not ready looks like an API server that is away, and would be asked for half a minute.
    config.default_retry = !matches!(args.command, Command::SupportBundle(_));
    let client = Client::try_from(config).map_err(|e| CliError::Config(e.to_string()))?;
    match args.command {
        Command::Diff { filename } => {
            let differs = diff::run(&client, &namespace, &filename).await?;
            return Ok(ExitCode::from(u8::from(differs)));
        }
        Command::Status { view, watch } => status::run(&client, &namespace, view.as_deref(), watch).await,
        Command::History { view } => status::history(&client, &namespace, &view).await,
        Command::GetFeatures(asked) => features::run(&client, &namespace, &asked).await,
        Command::SupportBundle(asked) => bundle::run(&client, &namespace, &asked).await,
        Command::Replay(asked) => replay::run(&client, &namespace, &asked).await,
        Command::Promote { view } => act::run(&client, &namespace, &view, act::Act::Promote).await,
        Command::Abort { view } => act::run(&client, &namespace, &view, act::Act::Abort).await,
        Command::Retry { view } => act::run(&client, &namespace, &view, act::Act::Retry).await,
        Command::Pause { view } => act::run(&client, &namespace, &view, act::Act::Pause(true)).await,
        Command::Resume { view } => act::run(&client, &namespace, &view, act::Act::Pause(false)).await,
        Command::Rollback { view, to } => act::run(&client, &namespace, &view, act::Act::Rollback { to }).await,
        Command::Unpin { view } => act::run(&client, &namespace, &view, act::Act::Unpin).await,
    }?;
    Ok(ExitCode::SUCCESS)
}

//! The cluster's scheduler: Ballista's own, with our codec.

use std::sync::Arc;

use ballista_scheduler::cluster::BallistaCluster;
use ballista_scheduler::config::SchedulerConfig;
use ballista_scheduler::scheduler_process::start_server;
use lake::Storage;
use tokio_util::sync::CancellationToken;

use super::MESSAGE_BYTES;
use super::codec::Codec;
use crate::args::SchedulerArgs;
use crate::run::{BAD_CONFIGURATION, DONE, RETRYABLE};

/// Seconds for which results stay after their job; a run fetches them at once.
const KEEP_RESULTS: u64 = 600;
/// Seconds after which an executor that is silent is taken for lost; executors say that they are there every
/// [`HEARTBEAT`](super::executor::HEARTBEAT).
const LOST_AFTER: u64 = 30;

/// Serves until `shutdown`, and gives the process's exit code.
pub async fn scheduler(args: SchedulerArgs, shutdown: CancellationToken) -> u8 {
    lake::install_crypto();
    let config = SchedulerConfig {
        external_host: args.host.clone(),
        bind_host: args.bind.ip().to_string(),
        bind_port: args.bind.port(),
        min_ready_executors: args.min_executors,
        executor_timeout_seconds: LOST_AFTER,
        no_executors_grace_period_seconds: LOST_AFTER,
        expire_dead_executor_interval_seconds: 5,
        finished_job_data_clean_up_interval_seconds: KEEP_RESULTS,
        finished_job_state_clean_up_interval_seconds: KEEP_RESULTS,
        grpc_server_max_decoding_message_size: MESSAGE_BYTES,
        grpc_server_max_encoding_message_size: MESSAGE_BYTES,
        grpc_client_max_message_size: MESSAGE_BYTES,
        // It plans only; nothing is opened here.
        override_physical_codec: Some(Arc::new(Codec::new(Storage::local()))),
        ..SchedulerConfig::default()
    };
    let served = async {
        let cluster = BallistaCluster::new_from_config(&config).await?;
        start_server(cluster, args.bind, Arc::new(config.clone())).await
    };
    tokio::select! {
        served = served => match served {
            Ok(()) => RETRYABLE,
            Err(error) => {
                tracing::error!(%error, address = %args.bind, "the scheduler cannot serve");
                BAD_CONFIGURATION
            }
        },
        () = shutdown.cancelled() => DONE,
    }
}

//! An executor of the cluster: Ballista's own, with our codec and the credentials of tables.

use std::sync::Arc;

use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};
use lake::Storage;

use super::MESSAGE_BYTES;
use super::codec::Codec;
use crate::args::ExecutorArgs;
use crate::run::{BAD_CONFIGURATION, DONE, RETRYABLE};

/// Seconds between two signs of life.
pub(super) const HEARTBEAT: u64 = 5;
/// Seconds for which shuffled events stay if nobody asks for their removal.
const KEEP_SHUFFLED: u64 = 6 * 3_600;

/// Works until a signal asks for the end, and gives the process's exit code.
pub async fn executor(args: ExecutorArgs) -> u8 {
    lake::install_crypto();
    let storage = match Storage::from_dir(args.tables.store_config_dir.as_deref()) {
        Ok(storage) => storage,
        Err(error) => {
            tracing::error!(%error, "the executor cannot start");
            return BAD_CONFIGURATION;
        }
    };
    let folder = args.tables.temp_dir.unwrap_or_else(std::env::temp_dir).join("shuffled");
    if let Err(error) = std::fs::create_dir_all(&folder) {
        tracing::error!(%error, folder = %folder.display(), "the executor's folder cannot be made");
        return BAD_CONFIGURATION;
    }
    let memory = args.tables.memory_mib.get() as u64;
    let config = ExecutorProcessConfig {
        bind_host: args.bind.to_string(),
        external_host: args.host,
        port: args.port,
        grpc_port: args.grpc_port,
        scheduler_host: args.scheduler_host,
        scheduler_port: args.scheduler_port,
        scheduler_connect_timeout_seconds: 60,
        vcores: args.tables.threads.map_or(0, std::num::NonZero::get),
        work_dir: Some(folder.display().to_string()),
        memory_pool_size: Some(memory.saturating_mul(1 << 20)),
        job_data_ttl_seconds: KEEP_SHUFFLED,
        job_data_clean_up_interval_seconds: 300,
        executor_heartbeat_interval_seconds: HEARTBEAT,
        grpc_max_decoding_message_size: MESSAGE_BYTES,
        grpc_max_encoding_message_size: MESSAGE_BYTES,
        override_physical_codec: Some(Arc::new(Codec::new(storage))),
        ..ExecutorProcessConfig::default()
    };
    match start_executor_process(Arc::new(config)).await {
        Ok(()) => DONE,
        Err(error) => {
            tracing::error!(%error, "the executor ended");
            RETRYABLE
        }
    }
}

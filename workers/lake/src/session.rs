//! The DataFusion session that reads and rewrites tables: set up once, with a bound on memory and a place to spill to.

use std::path::PathBuf;
use std::sync::Arc;

use datafusion::execution::SessionStateBuilder;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::prelude::{SessionConfig, SessionContext};
use deltalake::delta_datafusion::DeltaSessionConfig;
use deltalake::delta_datafusion::planner::DeltaPlanner;

use crate::error::LakeError;

/// What a session may take.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// The memory of all operators together, in bytes; beyond it they spill.
    pub memory_bytes: usize,
    /// Where they spill to; `None` is the system's temporary folder.
    pub spill_dir: Option<PathBuf>,
    /// The most that may be spilled, in bytes.
    pub spill_bytes: u64,
    /// How many threads a query takes; 0 is one a core.
    pub threads: usize,
}

impl Default for SessionOptions {
    /// 512 MiB, spilling up to 100 GiB.
    fn default() -> Self {
        Self { memory_bytes: 512 << 20, spill_dir: None, spill_bytes: 100 << 30, threads: 0 }
    }
}

/// A session within these bounds. Identifiers keep their letter case; strings are read as views.
///
/// # Errors
/// [`LakeError::Spill`] if the folder cannot be used.
pub fn session(options: &SessionOptions) -> Result<SessionContext, LakeError> {
    let failed = |detail: String| LakeError::Spill {
        path: options.spill_dir.clone().unwrap_or_else(std::env::temp_dir),
        detail,
    };
    let mode = match &options.spill_dir {
        None => DiskManagerMode::OsTmpDirectory,
        Some(dir) => {
            std::fs::create_dir_all(dir).map_err(|error| failed(error.to_string()))?;
            DiskManagerMode::Directories(vec![dir.clone()])
        }
    };
    let disk = DiskManagerBuilder::default().with_mode(mode).with_max_temp_directory_size(options.spill_bytes);
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(FairSpillPool::new(options.memory_bytes)))
        .with_disk_manager_builder(disk)
        .build_arc()
        .map_err(|error| failed(error.to_string()))?;
    Ok(of(runtime, options.threads))
}

/// A session of one thread within the bounds of another's runtime, for a piece of its work.
#[must_use]
pub fn within(runtime: Arc<RuntimeEnv>) -> SessionContext {
    of(runtime, 1)
}

fn of(runtime: Arc<RuntimeEnv>, threads: usize) -> SessionContext {
    let mut config: SessionConfig = DeltaSessionConfig::default().into();
    if threads > 0 {
        config = config.with_target_partitions(threads);
    }
    let state = SessionStateBuilder::new()
        .with_default_features()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_query_planner(DeltaPlanner::new())
        .build();
    SessionContext::new_with_state(state)
}

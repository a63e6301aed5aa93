//! The pods of the batch worker: the program, its memory, its disk and the way to tables.

use std::sync::LazyLock;

use crds::Architecture;
use crds::architecture::BatchPod;
use kube::ResourceExt as _;

use super::{Life, Mount, Pod};
use crate::names;

/// Memory beside that of tiles: the program, its buffers and batches of columns.
const BASE_MEMORY_MIB: i64 = 512;

/// A pod of the batch worker as `wanted`, or else as the architecture wants its batch runs. The caller puts the command before
/// its arguments; `config` is its first mount.
pub fn batch<'a>(
    architecture: &'a Architecture,
    wanted: Option<&'a BatchPod>,
    name: &'a str,
    config: Mount,
) -> Pod<'a> {
    static DEFAULT: LazyLock<BatchPod> = LazyLock::new(BatchPod::default);
    let batch = wanted.or(architecture.spec.batch.as_ref().map(|batch| &batch.pod)).unwrap_or(&DEFAULT);
    let mut mounts = vec![config];
    mounts.extend(Mount::tables(architecture));
    mounts.push(Mount::scratch("spill", "--temp-dir", batch.spill_gib));
    Pod {
        name,
        command: "/usr/local/bin/featuremill-batch",
        arguments: vec![format!("--memory-mib={}", batch.memory_mib)],
        ports: Vec::new(),
        mounts,
        memory_mib: BASE_MEMORY_MIB + i64::from(batch.memory_mib),
        overrides: &batch.overrides,
        account: names::worker_account(&architecture.name_any()),
        secrets_version: architecture.status.as_ref().and_then(|s| s.secrets_version.as_deref()).unwrap_or_default(),
        life: Life::Ends,
    }
}

//! What carries a comparison out: a file, and a Job that is created and never edited.

use crds::{Architecture, FeatureView};
use engine::compare::Comparison;
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{ConfigMap, ConfigMapVolumeSource, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;

use crate::apply::Object;
use crate::jobs;
use crate::names::{self, COMPARE, COMPARISON_KEY, COMPONENT_LABEL};
use crate::pods::{Life, Mount, Pod};
use crate::settings::Settings;

/// The container's name.
const CONTAINER: &str = "compare";
/// The memory of two compiled plans, the rows of a round trip, and the values that distributions are told from: all bounded.
const MEMORY_MIB: i64 = 512;
/// How many sampled entities' keys a further MiB holds, at 256 bytes a key.
const KEYS_PER_MIB: usize = 4_096;
/// How often a pod that fails is followed by another before the attempt is over.
const BACKOFF_LIMIT: i32 = 2;
/// How long an attempt may take, in seconds.
const ACTIVE_DEADLINE: i64 = 3_600;
/// How long a Job is kept after it ended, in seconds: long enough for a person to look at it.
const TTL: i32 = 86_400;

/// The file that the worker is handed.
pub fn config_map(view: &FeatureView, comparison: &Comparison) -> ConfigMap {
    // Serialising owned data with string keys cannot fail.
    let text = serde_json::to_string(comparison).unwrap_or_default();
    ConfigMap {
        metadata: metadata(view, comparison),
        immutable: Some(true),
        data: Some([(COMPARISON_KEY.to_owned(), text)].into()),
        ..ConfigMap::default()
    }
}

/// The Job of an attempt.
pub fn job(view: &FeatureView, architecture: &Architecture, comparison: &Comparison, settings: &Settings) -> Job {
    let redis = &architecture.spec.online_store.redis;
    let metadata = metadata(view, comparison);
    let source = ConfigMapVolumeSource { name: comparison.name.clone(), ..ConfigMapVolumeSource::default() };
    let file = Mount::volume("comparison", Volume { config_map: Some(source), ..Volume::default() });
    let arguments = vec![
        "compare".to_owned(),
        format!("--comparison-file={}", file.file(COMPARISON_KEY)),
        format!("--redis-url={}", redis.url),
    ];
    let secret = redis.secret_ref.iter().map(|s| Mount::secret("redis", "--redis-config-dir", &s.name));
    let pod = Pod {
        name: CONTAINER,
        command: "/usr/local/bin/featuremill-serve",
        arguments,
        ports: Vec::new(),
        mounts: std::iter::once(file).chain(secret).collect(),
        memory_mib: MEMORY_MIB + i64::try_from(comparison.sample_entities / KEYS_PER_MIB).unwrap_or_default(),
        // It reads as a server does, and so runs where servers may.
        overrides: &architecture.spec.serving.pod,
        account: names::worker_account(&architecture.name_any()),
        secrets_version: architecture.status.as_ref().and_then(|s| s.secrets_version.as_deref()).unwrap_or_default(),
        life: Life::Ends,
    };
    let labels = metadata.labels.clone().unwrap_or_default();
    let template = pod.template(settings, labels, std::collections::BTreeMap::new());
    let spec = jobs::job_spec(template, CONTAINER, BACKOFF_LIMIT, Some(ACTIVE_DEADLINE));
    Job { metadata, spec: Some(JobSpec { ttl_seconds_after_finished: Some(TTL), ..spec }), ..Job::default() }
}

/// Whether an object belongs to a comparison.
pub fn is_of_comparison<K: Object>(object: &K) -> bool {
    object.labels().get(COMPONENT_LABEL).is_some_and(|component| component == COMPARE)
}

fn metadata(view: &FeatureView, comparison: &Comparison) -> ObjectMeta {
    let selector = names::compare_selector(view, &comparison.candidate.revision);
    jobs::metadata(comparison.name.clone(), view.namespace(), names::with_common(&selector, &view.name_any()))
}

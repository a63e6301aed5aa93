//! The Deployment of one revision's stream workers.

use crds::architecture::Kafka;
use crds::{Architecture, FeatureView};
use engine::plan::Plan;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{ConfigMapVolumeSource, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt as _;

use crate::names::{self, ASSIGNMENTS_KEY, PLAN_ANNOTATION};
use crate::pods::{Life, Mount, Pod, path};
use crate::settings::Settings;

/// Memory beside the cached rows: the program, its buffers and a batch in flight.
const BASE_MEMORY_MIB: i64 = 256;

pub(super) fn deployment(
    view: &FeatureView,
    architecture: &Architecture,
    plan: &Plan,
    replicas: i32,
    settings: &Settings,
) -> Option<Deployment> {
    let kafka = architecture.spec.kafka.as_ref()?;
    let name = view.name_any();
    let selector = names::stream_selector(view, &plan.revision);
    let labels = names::with_common(&selector, &name);
    Some(Deployment {
        metadata: ObjectMeta {
            name: Some(names::stream_deployment(&name, &plan.revision)),
            namespace: view.namespace(),
            labels: Some(labels.clone()),
            ..ObjectMeta::default()
        },
        spec: Some(DeploymentSpec {
            replicas: Some(replicas),
            selector: LabelSelector { match_labels: Some(selector), ..LabelSelector::default() },
            // A new worker joins before an old one leaves: partitions move by hand-over, and nobody stands still.
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::Int(1)),
                    max_unavailable: Some(IntOrString::Int(0)),
                }),
            }),
            revision_history_limit: Some(1),
            template: pod(view, architecture, kafka, plan).template(
                settings,
                labels,
                names::labels([(PLAN_ANNOTATION, &plan.hash())]),
            ),
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    })
}

fn pod<'a>(view: &'a FeatureView, architecture: &'a Architecture, kafka: &Kafka, plan: &Plan) -> Pod<'a> {
    let volume = Volume {
        config_map: Some(ConfigMapVolumeSource {
            name: names::plan_config_map(&view.name_any(), &plan.hash()),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    };
    let arguments = vec![format!("--assignments={}/{ASSIGNMENTS_KEY}", path("plan"))];
    worker(view, architecture, kafka, arguments, Mount::volume("plan", volume))
}

/// A pod that reads a part of the topic once: as [`pod`], but for its name, its first arguments and what it mounts.
pub(super) fn replay_pod<'a>(
    view: &'a FeatureView,
    architecture: &'a Architecture,
    kafka: &Kafka,
    name: &'a str,
    arguments: Vec<String>,
    what: Mount,
) -> Pod<'a> {
    Pod { name, life: Life::Ends, ..worker(view, architecture, kafka, arguments, what) }
}

fn worker<'a>(
    view: &'a FeatureView,
    architecture: &'a Architecture,
    kafka: &Kafka,
    mut arguments: Vec<String>,
    what: Mount,
) -> Pod<'a> {
    let redis = &architecture.spec.online_store.redis;
    let mut mounts = vec![what];
    mounts.extend(kafka.secret_ref.iter().map(|s| Mount::secret("kafka", "--kafka-config-dir", &s.name)));
    mounts.extend(redis.secret_ref.iter().map(|s| Mount::secret("redis", "--redis-config-dir", &s.name)));
    let worker = &view.spec.worker;
    arguments.extend([
        format!("--kafka-bootstrap={}", kafka.bootstrap_servers),
        format!("--redis-url={}", redis.url),
        format!("--memory-mib={}", worker.memory_mib),
    ]);
    Pod {
        name: "stream",
        command: "/usr/local/bin/featuremill-stream",
        arguments,
        ports: Vec::new(),
        mounts,
        memory_mib: BASE_MEMORY_MIB + i64::from(worker.memory_mib),
        overrides: &worker.pod,
        account: names::worker_account(&architecture.name_any()),
        secrets_version: architecture.status.as_ref().and_then(|s| s.secrets_version.as_deref()).unwrap_or_default(),
        life: Life::Stays,
    }
}

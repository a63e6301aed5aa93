//! The replay of a revision's history: what it reads, and the Job that reads it. The Job is made, and never edited.

use std::num::NonZeroU32;

use crds::feature_view::ReplayStatus;
use crds::{Architecture, FeatureView};
use engine::plan::{Assignment, Plan};
use engine::replay::{Part, Replay};
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{ConfigMap, ConfigMapVolumeSource, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;

use super::stream;
use crate::feature_view::observe::revision_of;
use crate::feature_view::phase::{Decision, Step};
use crate::feature_view::replay::{fence, is_replay};
use crate::jobs;
use crate::names::{self, FENCE_ANNOTATION, PLAN_ANNOTATION, REPLAY_KEY};
use crate::pods::{Mount, path};
use crate::settings::Settings;

/// How often each part is tried again. What can heal, a process waits for; this is for nodes and memory.
const RETRIES: i32 = 6;
/// The exit code after which no other attempt can succeed.
const REFUSED: i32 = 2;
/// The container's name.
const CONTAINER: &str = "replay";

/// What the processes are handed; none if it cannot be written, which a plan always can.
pub(super) fn config_map(view: &FeatureView, plan: &Plan, order: &ReplayStatus) -> Option<ConfigMap> {
    let parts = order.parts.iter().map(|part| Part { partition: part.partition, from: part.from, to: part.to });
    let rate = order.max_records_per_second.and_then(|n| NonZeroU32::new(u32::try_from(n).ok()?));
    let replay = Replay {
        assignment: Assignment { incarnation: 0, plan: plan.clone() },
        parts: parts.collect(),
        records_per_second: rate,
    };
    let text = serde_json::to_string(&replay).ok()?;
    let name = view.name_any();
    Some(ConfigMap {
        metadata: ObjectMeta {
            name: Some(names::replay_config_map(&name, &names::hex(text.as_bytes(), 12))),
            namespace: view.namespace(),
            labels: Some(names::with_common(&names::replay_selector(view, &plan.revision), &name)),
            ..ObjectMeta::default()
        },
        immutable: Some(true),
        data: Some([(REPLAY_KEY.to_owned(), text)].into()),
        ..ConfigMap::default()
    })
}

/// The Job: one index a part.
pub(super) fn job(
    view: &FeatureView,
    architecture: &Architecture,
    plan: &Plan,
    order: &ReplayStatus,
    config: &str,
    settings: &Settings,
) -> Option<Job> {
    let kafka = architecture.spec.kafka.as_ref()?;
    let name = view.name_any();
    let labels = names::with_common(&names::replay_selector(view, &plan.revision), &name);
    let volume = Volume {
        config_map: Some(ConfigMapVolumeSource { name: config.to_owned(), ..ConfigMapVolumeSource::default() }),
        ..Volume::default()
    };
    let file = format!("--replay={}/{REPLAY_KEY}", path(CONTAINER));
    let mount = Mount::volume(CONTAINER, volume);
    let pod = stream::replay_pod(view, architecture, kafka, CONTAINER, vec!["replay".to_owned(), file], mount);
    let template = pod.template(settings, labels.clone(), names::labels([(PLAN_ANNOTATION, &plan.hash())]));
    let parts = i32::try_from(order.parts.len()).unwrap_or(i32::MAX);
    let mut metadata = jobs::metadata(names::replay_job(&name, &plan.revision), view.namespace(), labels);
    metadata.annotations = Some(names::labels([(FENCE_ANNOTATION, &order.fence)]));
    let parallelism = view.spec.rollout.replay.parallelism.clamp(1, parts.max(1));
    let spec = JobSpec {
        completion_mode: Some("Indexed".to_owned()),
        completions: Some(parts),
        parallelism: Some(parallelism),
        backoff_limit_per_index: Some(RETRIES),
        // A history with a hole in it is none.
        max_failed_indexes: Some(0),
        pod_failure_policy: Some(jobs::failure_policy(CONTAINER, "FailIndex", &[REFUSED])),
        template,
        ..JobSpec::default()
    };
    Some(Job { metadata, spec: Some(spec), ..Job::default() })
}

/// Whether a Job is a replay's that is not to stand: its revision is read by its workers for good, it is of another fence, or
/// workers are stopped on purpose; made again, it goes on where it was.
pub fn is_surplus(job: &Job, decision: &Decision, suspended: bool) -> bool {
    if !is_replay(job) || matches!(decision.step, Step::Hold | Step::Unavailable) {
        return false;
    }
    let revision = revision_of(job);
    if decision.memory.active.as_deref() == revision {
        return true;
    }
    let order = decision.replay.as_ref().filter(|replay| Some(replay.revision.as_str()) == revision);
    let other = order.and_then(|replay| replay.order.as_ref()).is_some_and(|order| fence(job) != Some(&order.fence));
    other || suspended && !jobs::is_finished(job)
}

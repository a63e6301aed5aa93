//! The replay of a revision's history: what it reads, and the Job that reads it. The Job is made, and never edited.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use crds::feature_view::ReplayStatus;
use crds::{Architecture, FeatureView};
use engine::plan::{Assignment, Plan};
use engine::replay::{Part, Replay};
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{ConfigMap, ConfigMapVolumeSource, PodTemplateSpec, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;

use super::stream;
use crate::architecture::archive::SPILL_GIB;
use crate::feature_view::observe::revision_of;
use crate::feature_view::phase::{Decision, Step};
use crate::feature_view::replay::{archived, complete_from_ms, fence, is_replay};
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
/// The name of the one before it, which reads what the topic no longer holds.
const ARCHIVE_CONTAINER: &str = "archive";
/// The memory in which that one puts records into order before it spills, in MiB.
const SORT_MEMORY_MIB: i64 = 256;
/// The memory that it takes beside, for files that are read, in MiB.
const TABLES_MEMORY_MIB: i64 = 256;

/// What the processes are handed; none if it cannot be written, which a plan always can.
pub(super) fn config_map(view: &FeatureView, plan: &Plan, order: &ReplayStatus) -> Option<ConfigMap> {
    let parts = order.parts.iter().map(|part| Part { partition: part.partition, from: part.from, to: part.to });
    let rate = order.max_records_per_second.and_then(|n| NonZeroU32::new(u32::try_from(n).ok()?));
    let replay = Replay {
        assignment: Assignment { incarnation: 0, plan: plan.clone() },
        parts: parts.collect(),
        records_per_second: rate,
        complete_from_ms: complete_from_ms(order),
        archive: archived(order),
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
    let mount = || Mount::volume(CONTAINER, volume.clone());
    let arguments = vec!["replay".to_owned(), file];
    let pod = stream::replay_pod(view, architecture, kafka, CONTAINER, arguments.clone(), mount());
    let mut template = pod.template(settings, labels.clone(), names::labels([(PLAN_ANNOTATION, &plan.hash())]));
    let mut failures = jobs::failure_policy(CONTAINER, "FailIndex", &[REFUSED]);
    if order.archive.is_some() {
        let mut pod = stream::replay_pod(view, architecture, kafka, ARCHIVE_CONTAINER, arguments, mount());
        pod.command = "/usr/local/bin/featuremill-archive";
        pod.arguments.push(format!("--sort-memory-mib={SORT_MEMORY_MIB}"));
        pod.mounts.extend(Mount::tables(architecture));
        pod.mounts.push(Mount::scratch("spill", "--spill-dir", SPILL_GIB));
        pod.memory_mib += SORT_MEMORY_MIB + TABLES_MEMORY_MIB;
        begin_with(&mut template, pod.template(settings, BTreeMap::new(), BTreeMap::new()));
        failures
            .rules
            .splice(..0, jobs::failure_policy(ARCHIVE_CONTAINER, "FailIndex", &[REFUSED]).rules.into_iter().take(1));
    }
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
        pod_failure_policy: Some(failures),
        template,
        ..JobSpec::default()
    };
    Some(Job { metadata, spec: Some(spec), ..Job::default() })
}

/// Has a pod begin with what another would do: its container comes first, and has to end well before the pod's own begins.
fn begin_with(template: &mut PodTemplateSpec, first: PodTemplateSpec) {
    let (Some(spec), Some(first)) = (&mut template.spec, first.spec) else { return };
    spec.init_containers.get_or_insert_default().extend(first.containers);
    let volumes = spec.volumes.get_or_insert_default();
    for volume in first.volumes.unwrap_or_default() {
        if volumes.iter().all(|known| known.name != volume.name) {
            volumes.push(volume);
        }
    }
}

/// Whether a Job is a replay's that is not to stand: its revision is read by its workers for good, it is of another fence, or
/// workers are stopped on purpose; made again, it goes on where it was.
#[must_use]
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crds::feature_view::{ReplayArchive, ReplayPart};
    use serde_json::json;

    use super::super::super::fixtures::observed;
    use super::super::super::resolve;
    use super::*;

    fn order(parts: i32) -> ReplayStatus {
        let part = |partition| ReplayPart { partition, from: 1, to: 5 };
        let parts = (0..parts).map(part).collect();
        ReplayStatus {
            fence: "f1".to_owned(),
            parts,
            max_records_per_second: Some(9),
            complete_from: Some("1970-01-01T00:00:07Z".to_owned()),
            ..ReplayStatus::default()
        }
    }

    fn made(parts: i32) -> (Job, ConfigMap) {
        let observed = observed("1h", 1, Vec::new());
        let plan = resolve::plan(&observed.view, "Kappa").unwrap();
        let (view, order, settings) = (&observed.view, order(parts), Settings::default());
        let map = config_map(view, &plan, &order).unwrap();
        let architecture = observed.architecture.as_ref().unwrap();
        (job(view, architecture, &plan, &order, &map.name_any(), &settings).unwrap(), map)
    }

    #[test]
    fn a_job_has_an_index_for_each_part_and_gives_up_what_cannot_be_read() {
        let (job, map) = made(3);
        let spec = serde_json::to_value(job.spec.as_ref().unwrap()).unwrap();
        for (field, value) in [
            ("completionMode", json!("Indexed")),
            ("completions", json!(3)),
            ("parallelism", json!(2)),
            ("backoffLimitPerIndex", json!(6)),
            ("maxFailedIndexes", json!(0)),
        ] {
            assert_eq!(spec[field], value, "{field}");
        }
        let rule = &spec["podFailurePolicy"]["rules"][0];
        assert_eq!((&rule["action"], &rule["onExitCodes"]["values"]), (&json!("FailIndex"), &json!([2])));
        assert_eq!(rule["onExitCodes"]["containerName"], spec["template"]["spec"]["containers"][0]["name"]);
        let arguments = spec["template"]["spec"]["containers"][0]["args"].as_array().unwrap();
        assert_eq!(arguments[..2], [json!("replay"), json!("--replay=/etc/featuremill/replay/replay.json")]);
        assert_eq!(spec["template"]["spec"]["restartPolicy"], json!("Never"));
        assert_eq!(jobs::config_maps(&job).collect::<Vec<_>>(), [map.name_any()]);
        assert_eq!(fence(&job), Some("f1"));
        // What its processes read back.
        let replay: Replay = serde_json::from_str(&map.data.unwrap()[REPLAY_KEY]).unwrap();
        assert_eq!(replay.part(2), Ok(Part { partition: 2, from: 1, to: 5 }));
        assert_eq!((replay.records_per_second, replay.complete_from_ms), (NonZeroU32::new(9), Some(7_000)));
    }

    #[test]
    fn what_the_topic_lacks_is_read_from_the_archive_by_a_container_before() {
        let mut observed = observed("1h", 1, Vec::new());
        let plan = resolve::plan(&observed.view, "Kappa").unwrap();
        let architecture = observed.architecture.as_mut().unwrap();
        architecture.spec.offline_store = serde_json::from_value(json!(
            {"delta": {"uri": "s3://lake/shop", "secretRef": {"name": "lake"}}}
        ))
        .unwrap();
        let (table, since) = ("s3://lake/shop/bronze/clicks".to_owned(), Some("1970-01-01T00:00:02.5Z".to_owned()));
        let archive = Some(ReplayArchive { table, since, partitions: vec![1] });
        let order = ReplayStatus { archive, ..order(2) };
        let map = config_map(&observed.view, &plan, &order).unwrap();
        let job = job(&observed.view, architecture, &plan, &order, "config", &Settings::default()).unwrap();
        let spec = serde_json::to_value(job.spec.as_ref().unwrap()).unwrap();
        let pod = &spec["template"]["spec"];
        assert_eq!(pod["containers"].as_array().unwrap().len(), 1);
        let first = &pod["initContainers"][0];
        assert_eq!(
            (&first["name"], &first["command"]),
            (&json!("archive"), &json!(["/usr/local/bin/featuremill-archive"]))
        );
        let arguments = first["args"].as_array().unwrap();
        for argument in
            ["replay", "--replay=/etc/featuremill/replay/replay.json", "--store-config-dir=/etc/featuremill/store"]
        {
            assert!(arguments.contains(&json!(argument)), "{argument}: {arguments:?}");
        }
        let named = |list: &serde_json::Value| {
            list.as_array().unwrap().iter().map(|of| of["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let volumes = named(&pod["volumes"]);
        for mount in named(&first["volumeMounts"]).into_iter().chain(named(&pod["containers"][0]["volumeMounts"])) {
            assert_eq!(volumes.iter().filter(|volume| **volume == mount).count(), 1, "{mount}: {volumes:?}");
        }
        let refused: Vec<_> = spec["podFailurePolicy"]["rules"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|rule| rule["onExitCodes"]["containerName"].as_str())
            .collect();
        assert_eq!(refused, ["archive", "replay"]);
        // What its processes read back, and the operator that lost its status.
        let replay: Replay = serde_json::from_str(&map.data.unwrap()[REPLAY_KEY]).unwrap();
        let archive = replay.archive.unwrap();
        assert_eq!((archive.since_ms, archive.partitions), (Some(2_500), vec![1]));
    }

    #[test]
    fn one_partition_takes_one_pod() {
        assert_eq!(made(1).0.spec.unwrap().parallelism, Some(1));
    }

    #[test]
    fn the_longest_names_fit_into_a_host_name() {
        let name = names::replay_job(&"v".repeat(40), "0123456789");
        assert_eq!(format!("{name}-9998").len(), 63);
    }
}

//! Jobs and CronJobs: what they have in common, and what they say of themselves. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::{
    CronJob, CronJobSpec, Job, JobSpec, JobTemplateSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement,
    PodFailurePolicyOnPodConditionsPattern, PodFailurePolicyRule,
};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;

/// The exit codes after which trying again is of no use: a bad configuration, and a generation that the gate refused.
const FINAL_EXIT_CODES: [i32; 2] = [2, 3];

/// A CronJob of pods of which one runs at a time.
pub fn cron_job(metadata: ObjectMeta, schedule: &str, time_zone: Option<&str>, job: JobSpec) -> CronJob {
    let labels = metadata.labels.clone();
    CronJob {
        metadata,
        spec: Some(CronJobSpec {
            schedule: schedule.to_owned(),
            time_zone: time_zone.map(str::to_owned),
            concurrency_policy: Some("Forbid".to_owned()),
            suspend: Some(false),
            job_template: JobTemplateSpec {
                metadata: Some(ObjectMeta { labels, ..ObjectMeta::default() }),
                spec: Some(job),
            },
            ..CronJobSpec::default()
        }),
        ..CronJob::default()
    }
}

/// A Job of one pod, tried again as often as given, unless it ended with one of [`FINAL_EXIT_CODES`]. A node that goes
/// away does not count as a try.
pub fn job_spec(template: PodTemplateSpec, container: &str, backoff_limit: i32, deadline: Option<i64>) -> JobSpec {
    JobSpec {
        backoff_limit: Some(backoff_limit),
        active_deadline_seconds: deadline,
        pod_failure_policy: Some(failure_policy(container, "FailJob", &FINAL_EXIT_CODES)),
        template,
        ..JobSpec::default()
    }
}

/// What a pod's failure means: `action` after one of the exit codes, nothing if its node went away, and else a try.
pub fn failure_policy(container: &str, action: &str, exit_codes: &[i32]) -> PodFailurePolicy {
    let exit = PodFailurePolicyOnExitCodesRequirement {
        container_name: Some(container.to_owned()),
        operator: "In".to_owned(),
        values: exit_codes.to_vec(),
    };
    let disrupted =
        PodFailurePolicyOnPodConditionsPattern { type_: "DisruptionTarget".to_owned(), status: "True".to_owned() };
    PodFailurePolicy {
        rules: vec![
            PodFailurePolicyRule {
                action: action.to_owned(),
                on_exit_codes: Some(exit),
                ..PodFailurePolicyRule::default()
            },
            PodFailurePolicyRule {
                action: "Ignore".to_owned(),
                on_pod_conditions: Some(vec![disrupted]),
                ..PodFailurePolicyRule::default()
            },
        ],
    }
}

/// Whether it has ended, well or not.
#[must_use]
pub fn is_finished(job: &Job) -> bool {
    ended(job, "Complete") || ended(job, "Failed")
}

/// When it was made, in milliseconds.
#[must_use]
pub fn begun(job: &Job) -> i64 {
    job.metadata.creation_timestamp.as_ref().map_or(i64::MIN, |time| time.0.as_millisecond())
}

/// Why it failed, if it did: `BackoffLimitExceeded: …` or the like.
#[must_use]
pub fn failure(job: &Job) -> Option<String> {
    let failed = condition(job, "Failed")?;
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    Some(format!("{}: {}", text(&failed.reason), text(&failed.message)))
}

/// When it ended, well or not, if it did.
#[must_use]
pub fn ended_at(job: &Job) -> Option<Timestamp> {
    let ended = condition(job, "Complete").or_else(|| condition(job, "Failed"))?;
    ended.last_transition_time.as_ref().map(|time| time.0)
}

/// The names of the config maps that its pods mount.
pub fn config_maps(job: &Job) -> impl Iterator<Item = &str> {
    let volumes = job.spec.as_ref().and_then(|s| s.template.spec.as_ref()?.volumes.as_deref()).unwrap_or_default();
    volumes.iter().filter_map(|v| Some(v.config_map.as_ref()?.name.as_str()))
}

fn ended(job: &Job, type_: &str) -> bool {
    condition(job, type_).is_some()
}

fn condition<'a>(job: &'a Job, type_: &str) -> Option<&'a k8s_openapi::api::batch::v1::JobCondition> {
    let conditions = job.status.as_ref()?.conditions.as_deref().unwrap_or_default();
    conditions.iter().find(|c| c.type_ == type_ && c.status == "True")
}

/// Metadata of an object in `namespace`.
pub fn metadata(name: String, namespace: Option<String>, labels: BTreeMap<String, String>) -> ObjectMeta {
    ObjectMeta { name: Some(name), namespace, labels: Some(labels), ..ObjectMeta::default() }
}

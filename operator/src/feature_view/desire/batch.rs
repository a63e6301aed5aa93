//! What computes one revision's generations: a configuration, a CronJob, and a first Job that does not wait for it.

use crds::feature_view::{CompleteUntil, QualityGate, Silver};
use crds::{Architecture, FeatureView};
use engine::plan::{Mode, Plan};
use k8s_openapi::api::batch::v1::{CronJob, Job, JobSpec};
use k8s_openapi::api::core::v1::{ConfigMap, ConfigMapVolumeSource, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::jobs;
use crate::names::{self, BATCH_KEY, PLAN_ANNOTATION};
use crate::pods::{self, Mount, Pod};
use crate::settings::Settings;

/// How long a first Job is kept after it ended, in seconds: long enough for a person to look at it.
const FIRST_JOB_TTL: i32 = 86_400;
/// The container's name.
const CONTAINER: &str = "batch";

/// The configuration of the revision's runs; none if there is no place for its tables.
pub(super) fn config_map(view: &FeatureView, architecture: &Architecture, plan: &Plan) -> Option<ConfigMap> {
    let text = config(view, architecture, plan)?.to_string();
    let name = view.name_any();
    let labels = names::with_common(&names::batch_selector(view, &plan.revision), &name);
    Some(ConfigMap {
        metadata: ObjectMeta {
            name: Some(names::batch_config_map(&name, &names::hex(text.as_bytes(), 12))),
            namespace: view.namespace(),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        immutable: Some(true),
        data: Some([(BATCH_KEY.to_owned(), text)].into()),
        ..ConfigMap::default()
    })
}

/// The file that the batch worker is handed.
pub(super) fn config(view: &FeatureView, architecture: &Architecture, plan: &Plan) -> Option<Value> {
    let lake = names::lake(architecture)?;
    let mut config = json!({
        "assignment": {"incarnation": 0, "plan": plan},
        "featureTable": names::view_table(&lake, "gold", view),
        "lake": lake,
        "gate": gate(&view.spec.quality_gate),
        "completeness": "Archive",
        "fullRefresh": view.spec.schedule.as_ref().is_some_and(|schedule| schedule.full_refresh),
    });
    let batch = architecture.spec.batch.as_ref();
    if let Some((url, batch)) = batch.and_then(|batch| Some((batch.scheduler_url.as_ref()?, batch))) {
        config["cluster"] = json!({"schedulerUrl": url, "partitions": batch.partitions});
    }
    if plan.source.table.is_some() {
        let declared = view.spec.source.table.as_ref().map(|t| t.complete_until).unwrap_or_default();
        config["completeness"] = match declared {
            CompleteUntil::Declared => json!("Declared"),
            CompleteUntil::NewestEvent => json!("NewestEvent"),
        };
    } else if let Some(stream) = &plan.source.stream {
        let bronze = names::bronze_table(&lake, &stream.topic);
        config["source"] = source_table(&bronze, "Archive");
        if let Some(silver) = view.spec.silver.as_ref().filter(|_| plan.mode == Mode::Lakehouse) {
            let table = silver_table(&lake, view, silver, plan);
            let rules: Vec<Value> =
                silver.rules.iter().map(|r| json!({"name": r.name, "expression": r.expression})).collect();
            config["source"] = source_table(&table, "Silver");
            config["silver"] =
                json!({"bronze": bronze, "table": table, "lake": lake, "dedup": silver.dedup, "rules": rules});
        }
    }
    Some(config)
}

/// A table of ours that is read in place of the plan's own; `rows` is `Archive` or `Silver`.
pub(crate) fn source_table(uri: &str, rows: &str) -> Value {
    json!({"table": {"uri": uri, "format": "Delta"}, "rows": rows})
}

/// The view's Silver, one for each way of making it: two revisions that differ in it run beside each other, and what one
/// has let through the other may not.
fn silver_table(lake: &str, view: &FeatureView, silver: &Silver, plan: &Plan) -> String {
    let made_by = json!({"silver": silver, "source": plan.source, "time": plan.time}).to_string();
    format!("{}.{}", names::view_table(lake, "silver", view), names::hex(made_by.as_bytes(), 8))
}

fn gate(gate: &QualityGate) -> Value {
    // The schema lets nothing else through; a limit that does not read is none that passes anything.
    let number = |text: &str| text.parse::<f64>().unwrap_or_default();
    json!({
        "maxRowCountDrop": number(&gate.max_row_count_drop),
        "maxNullShareRise": number(&gate.max_null_share_rise),
        "maxPsi": number(&gate.max_psi),
    })
}

/// The CronJob; it waits while `hold`.
pub(super) fn cron_job(
    view: &FeatureView,
    architecture: &Architecture,
    plan: &Plan,
    config: &str,
    hold: bool,
    settings: &Settings,
) -> Option<CronJob> {
    let schedule = view.spec.schedule.as_ref()?;
    let name = names::batch_cron_job(&view.name_any(), &plan.revision);
    let metadata = jobs::metadata(name, view.namespace(), labels(view, plan));
    let job = job_spec(view, architecture, plan, config, settings);
    let mut cron_job = jobs::cron_job(metadata, &schedule.schedule, schedule.time_zone.as_deref(), job);
    if let Some(spec) = &mut cron_job.spec {
        spec.suspend = Some(view.spec.suspend || hold);
        spec.starting_deadline_seconds = schedule.starting_deadline_seconds;
        spec.successful_jobs_history_limit = Some(schedule.successful_jobs_history_limit);
        spec.failed_jobs_history_limit = Some(schedule.failed_jobs_history_limit);
    }
    Some(cron_job)
}

/// The Job that computes the revision's first generation at once.
pub(super) fn first_job(
    view: &FeatureView,
    architecture: &Architecture,
    plan: &Plan,
    config: &str,
    settings: &Settings,
) -> Job {
    let mut spec = job_spec(view, architecture, plan, config, settings);
    spec.ttl_seconds_after_finished = Some(FIRST_JOB_TTL);
    let name = names::first_job(&view.name_any(), &plan.revision);
    Job { metadata: jobs::metadata(name, view.namespace(), labels(view, plan)), spec: Some(spec), ..Job::default() }
}

fn labels(view: &FeatureView, plan: &Plan) -> std::collections::BTreeMap<String, String> {
    names::with_common(&names::batch_selector(view, &plan.revision), &view.name_any())
}

fn job_spec(
    view: &FeatureView,
    architecture: &Architecture,
    plan: &Plan,
    config: &str,
    settings: &Settings,
) -> JobSpec {
    let schedule = view.spec.schedule.clone().unwrap_or_default();
    let annotations = names::labels([(PLAN_ANNOTATION, &plan.hash())]);
    let template = pod(architecture, config).template(settings, labels(view, plan), annotations);
    jobs::job_spec(template, CONTAINER, schedule.backoff_limit, schedule.active_deadline_seconds)
}

fn pod<'a>(architecture: &'a Architecture, config: &str) -> Pod<'a> {
    let redis = &architecture.spec.online_store.redis;
    let volume = Volume {
        config_map: Some(ConfigMapVolumeSource { name: config.to_owned(), ..ConfigMapVolumeSource::default() }),
        ..Volume::default()
    };
    let config = Mount::volume("batch", volume);
    let arguments =
        ["run".to_owned(), format!("--config={}", config.file(BATCH_KEY)), format!("--redis-url={}", redis.url)];
    let mut pod = pods::batch(architecture, None, CONTAINER, config);
    pod.arguments.splice(0..0, arguments);
    pod.mounts.splice(1..1, redis.secret_ref.iter().map(|s| Mount::secret("redis", "--redis-config-dir", &s.name)));
    pod
}

//! What looks at the values of the live revision: for each check a file, and a CronJob whose Jobs leave their report in the
//! online store.

use std::num::NonZeroU32;

use crds::feature_view::{DriftReference, DriftWatch, Monitoring, SkewWatch};
use crds::{Architecture, FeatureView};
use engine::monitor::{DriftCheck, Reference, SkewCheck};
use engine::plan::Plan;
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::{ConfigMap, ConfigMapVolumeSource, Volume};
use kube::ResourceExt as _;

use super::batch;
use crate::jobs;
use crate::names::{self, BATCH_KEY, DRIFT, DRIFT_KEY, SKEW, SKEW_KEY};
use crate::pods::{self, Life, Mount, Pod};
use crate::settings::Settings;

/// The memory of a drift check: a compiled plan, the rows of a round trip, the values of its sample; all bounded.
const DRIFT_MEMORY_MIB: i64 = 512;
/// The memory of a skew check beside its sample: the program, its buffers, and batches of records.
const SKEW_MEMORY_MIB: i64 = 512;
/// How many sampled entities' lanes a further MiB holds, at 32 KiB a lane.
const LANES_PER_MIB: i64 = 32;
/// How often a pod that fails is followed by another before a check is over.
const BACKOFF_LIMIT: i32 = 2;
/// How long a check may take, in seconds.
const ACTIVE_DEADLINE: i64 = 21_600;

/// The checks that are asked for, of a revision; `view` is as that was made.
pub(super) fn desire(
    monitoring: Option<&Monitoring>,
    view: &FeatureView,
    architecture: &Architecture,
    plan: &Plan,
    settings: &Settings,
) -> Vec<(ConfigMap, CronJob)> {
    let Some(monitoring) = monitoring else { return Vec::new() };
    let check = Check { view, architecture, plan, settings };
    let drift = monitoring.drift.as_ref().map(|watch| check.drift(watch));
    let skew = monitoring.skew.as_ref().and_then(|watch| check.skew(watch));
    drift.into_iter().chain(skew).collect()
}

/// What all checks of a revision share.
struct Check<'a> {
    view: &'a FeatureView,
    architecture: &'a Architecture,
    plan: &'a Plan,
    settings: &'a Settings,
}

impl Check<'_> {
    fn drift(&self, watch: &DriftWatch) -> (ConfigMap, CronJob) {
        let asked = DriftCheck {
            plan: self.plan.clone(),
            sample_entities: usize::try_from(watch.sample_keys).unwrap_or_default(),
            reference: match watch.reference {
                DriftReference::Baseline => Reference::Baseline { name: watch.baseline.clone() },
                DriftReference::PreviousCheck => Reference::PreviousCheck,
            },
        };
        // Serialising owned data with string keys cannot fail.
        let (map, file) = self.file(DRIFT, [(DRIFT_KEY, serde_json::to_string(&asked).unwrap_or_default())]);
        let redis = &self.architecture.spec.online_store.redis;
        let mut mounts = vec![file];
        mounts.extend(redis.secret_ref.iter().map(|s| Mount::secret("redis", "--redis-config-dir", &s.name)));
        let pod = Pod {
            name: DRIFT,
            command: "/usr/local/bin/featuremill-serve",
            arguments: vec![
                "drift".to_owned(),
                format!("--drift-file={}", mounts[0].file(DRIFT_KEY)),
                format!("--redis-url={}", redis.url),
            ],
            ports: Vec::new(),
            mounts,
            memory_mib: DRIFT_MEMORY_MIB,
            // It reads as a server does, and so runs where servers may.
            overrides: &self.architecture.spec.serving.pod,
            account: names::worker_account(&self.architecture.name_any()),
            secrets_version: self.secrets_version(),
            life: Life::Ends,
        };
        (map, self.cron_job(DRIFT, &watch.schedule, watch.time_zone.as_deref(), pod))
    }

    /// Of a revision that reads a topic it is that which is read again, else the source of its generations.
    fn skew(&self, watch: &SkewWatch) -> Option<(ConfigMap, CronJob)> {
        let asked = SkewCheck {
            plan: self.plan.clone(),
            sample_entities: usize::try_from(watch.sample_keys).unwrap_or_default(),
            // The schema lets nothing else through.
            lookback_ms: engine::resolve::parse_duration(&watch.lookback).unwrap_or_default(),
            records_per_second: watch
                .max_records_per_second
                .and_then(|n| u32::try_from(n).ok().and_then(NonZeroU32::new)),
        };
        let text = serde_json::to_string(&asked).unwrap_or_default();
        let (map, pod) =
            if self.plan.mode.has_stream_lanes() { self.of_stream(watch, text)? } else { self.of_generation(text)? };
        Some((map, self.cron_job(SKEW, &watch.schedule, watch.time_zone.as_deref(), pod)))
    }

    fn of_stream(&self, watch: &SkewWatch, text: String) -> Option<(ConfigMap, Pod<'_>)> {
        let kafka = self.architecture.spec.kafka.as_ref()?;
        let (map, file) = self.file(SKEW, [(SKEW_KEY, text)]);
        let redis = &self.architecture.spec.online_store.redis;
        let arguments = vec![
            "skew".to_owned(),
            format!("--skew-file={}", file.file(SKEW_KEY)),
            format!("--kafka-bootstrap={}", kafka.bootstrap_servers),
            format!("--redis-url={}", redis.url),
        ];
        let mut mounts = vec![file];
        mounts.extend(kafka.secret_ref.iter().map(|s| Mount::secret("kafka", "--kafka-config-dir", &s.name)));
        mounts.extend(redis.secret_ref.iter().map(|s| Mount::secret("redis", "--redis-config-dir", &s.name)));
        let pod = Pod {
            name: SKEW,
            command: "/usr/local/bin/featuremill-stream",
            arguments,
            ports: Vec::new(),
            mounts,
            memory_mib: SKEW_MEMORY_MIB + i64::from(watch.sample_keys) / LANES_PER_MIB,
            // It reads as a worker does, and so runs where workers may.
            overrides: &self.view.spec.worker.pod,
            account: names::worker_account(&self.architecture.name_any()),
            secrets_version: self.secrets_version(),
            life: Life::Ends,
        };
        Some((map, pod))
    }

    fn of_generation(&self, text: String) -> Option<(ConfigMap, Pod<'_>)> {
        let config = batch::config(self.view, self.architecture, self.plan)?.to_string();
        let (map, files) = self.file(SKEW, [(SKEW_KEY, text), (BATCH_KEY, config)]);
        let redis = &self.architecture.spec.online_store.redis;
        let arguments = [
            "skew".to_owned(),
            format!("--skew-file={}", files.file(SKEW_KEY)),
            format!("--config={}", files.file(BATCH_KEY)),
            format!("--redis-url={}", redis.url),
        ];
        let mut pod = pods::batch(self.architecture, None, SKEW, files);
        pod.arguments.splice(0..0, arguments);
        pod.mounts.splice(1..1, redis.secret_ref.iter().map(|s| Mount::secret("redis", "--redis-config-dir", &s.name)));
        Some((map, pod))
    }

    fn secrets_version(&self) -> &str {
        self.architecture.status.as_ref().and_then(|status| status.secrets_version.as_deref()).unwrap_or_default()
    }

    /// The files of a check, named by what they say, and where the pod finds them.
    fn file<const N: usize>(&self, component: &str, files: [(&str, String); N]) -> (ConfigMap, Mount) {
        let view = self.view.name_any();
        let all: String = files.iter().map(|(_, text)| text.as_str()).collect();
        let name = names::check_config_map(&view, component, &names::hex(all.as_bytes(), 12));
        let labels = names::with_common(&names::check_selector(self.view, component, &self.plan.revision), &view);
        let map = ConfigMap {
            metadata: jobs::metadata(name.clone(), self.view.namespace(), labels),
            immutable: Some(true),
            data: Some(files.into_iter().map(|(key, text)| (key.to_owned(), text)).collect()),
            ..ConfigMap::default()
        };
        let source = ConfigMapVolumeSource { name, ..ConfigMapVolumeSource::default() };
        (map, Mount::volume("check", Volume { config_map: Some(source), ..Volume::default() }))
    }

    fn cron_job(&self, component: &str, schedule: &str, time_zone: Option<&str>, pod: Pod<'_>) -> CronJob {
        let (view, revision) = (self.view.name_any(), &self.plan.revision);
        let labels = names::with_common(&names::check_selector(self.view, component, revision), &view);
        let name = names::check_cron_job(&view, component, revision);
        let template = pod.template(self.settings, labels.clone(), std::collections::BTreeMap::new());
        let job = jobs::job_spec(template, component, BACKOFF_LIMIT, Some(ACTIVE_DEADLINE));
        let metadata = jobs::metadata(name, self.view.namespace(), labels);
        let mut cron_job = jobs::cron_job(metadata, schedule, time_zone, job);
        if let Some(spec) = &mut cron_job.spec {
            spec.suspend = Some(self.view.spec.suspend);
            spec.successful_jobs_history_limit = Some(1);
            spec.failed_jobs_history_limit = Some(1);
        }
        cron_job
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::super::super::fixtures::observed;
    use super::super::super::resolve;
    use super::*;

    /// The checks of a view in a mode, each as its name, its file's keys and the arguments of its pod.
    fn made(mode: &str) -> Vec<(String, Vec<String>, Value)> {
        let observed = observed("1h", 1, Vec::new());
        let (mut view, mut architecture) = (observed.view, observed.architecture.unwrap());
        if mode == "Batch" {
            view.spec.source.table = serde_json::from_value(json!({"uri": "s3://lake/clicks"})).unwrap();
            architecture.spec.offline_store =
                serde_json::from_value(json!({"delta": {"uri": "s3://lake/shop"}})).unwrap();
        }
        let plan = resolve::plan(&view, mode).unwrap();
        let monitoring = Monitoring { drift: Some(DriftWatch::default()), skew: Some(SkewWatch::default()) };
        let all = desire(Some(&monitoring), &view, &architecture, &plan, &Settings::default());
        assert!(desire(None, &view, &architecture, &plan, &Settings::default()).is_empty());
        let told = |(map, cron_job): (ConfigMap, CronJob)| {
            let pod =
                cron_job.spec.as_ref().unwrap().job_template.spec.as_ref().unwrap().template.spec.clone().unwrap();
            let mounts = pod.volumes.unwrap();
            assert!(mounts.iter().any(|v| v.config_map.as_ref().is_some_and(|source| source.name == map.name_any())));
            let container = &pod.containers[0];
            let words = json!([container.command, container.args]);
            (cron_job.name_any(), map.data.unwrap().into_keys().collect(), words)
        };
        all.into_iter().map(told).collect()
    }

    #[test]
    fn a_view_of_a_topic_has_that_read_again_and_one_of_a_table_its_table() {
        let [drift, skew] = made("Kappa").try_into().unwrap();
        assert!(drift.0.starts_with("clicks-drift-") && skew.0.starts_with("clicks-skew-"), "{} {}", drift.0, skew.0);
        assert_eq!((drift.1, skew.1), (vec![DRIFT_KEY.to_owned()], vec![SKEW_KEY.to_owned()]));
        let (drift, skew) = (drift.2.to_string(), skew.2.to_string());
        assert!(drift.contains("featuremill-serve") && drift.contains("\"drift\""), "{drift}");
        assert!(skew.contains("featuremill-stream") && skew.contains("--kafka-bootstrap=kafka:9092"), "{skew}");
        let [drift, skew] = made("Batch").try_into().unwrap();
        assert_eq!((drift.1, skew.1), (vec![DRIFT_KEY.to_owned()], vec![BATCH_KEY.to_owned(), SKEW_KEY.to_owned()]));
        let skew = skew.2.to_string();
        assert!(skew.contains("featuremill-batch") && skew.contains("--config=") && !skew.contains("kafka"), "{skew}");
    }
}

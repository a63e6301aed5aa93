//! The archives of an architecture: for each topic that some view wants kept, a Deployment that appends it to its table,
//! and a CronJob that keeps that table in order. Pure.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crds::architecture::{Archive, Kafka, OnGap};
use crds::feature_view::{Timestamp, TimestampUnit};
use crds::{Architecture, FeatureView};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy};
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt as _;

use crate::jobs;
use crate::names::{self, ARCHIVE, MAINTENANCE};
use crate::pods::{Life, Mount, Pod};
use crate::settings::Settings;

/// The memory of an archive: what waits, what is being written, and the program.
const ARCHIVE_MEMORY_MIB: i64 = 768;
/// The memory of work on tables, such as a merge of small files, before it spills, in MiB.
pub(crate) const MERGE_MEMORY_MIB: i64 = 512;
/// Memory beside that, in MiB.
pub(crate) const BASE_MEMORY_MIB: i64 = 256;
/// The disk that it may spill to, in GiB.
pub(crate) const SPILL_GIB: i32 = 10;
/// How often maintenance that failed is tried again.
const MAINTENANCE_RETRIES: i32 = 2;
/// How many Jobs of maintenance are kept, of those that succeeded and of those that failed.
const MAINTENANCE_HISTORY: i32 = 1;

/// The topics to be archived, each with the event time of its events: of what the views ask for, and of what their revisions
/// that run read, which may be another mode's. Where views differ in how they read that, the oldest has
/// its way, and so it stays when another comes: the table says by what it goes, and runs of views that differ refuse it.
#[must_use]
pub fn topics<'a>(
    architecture: &Architecture,
    views: impl Iterator<Item = &'a FeatureView>,
) -> BTreeMap<String, Timestamp> {
    let mut views: Vec<&FeatureView> = views.filter(|view| view.metadata.deletion_timestamp.is_none()).collect();
    views.sort_by_key(|view| (view.creation_timestamp(), view.name_any()));
    let name = architecture.name_any();
    let every = architecture.spec.mode.canonical() == crds::architecture::Mode::Lakehouse;
    let mut topics = BTreeMap::new();
    for view in views {
        let asks = view.spec.architecture_ref.name == name && (every || view.spec.archive);
        if let Some(topic) = view.spec.source.topic.as_ref().filter(|_| asks) {
            topics.entry(topic.clone()).or_insert_with(|| view.spec.source.timestamp.clone());
        }
        for (topic, timestamp) in of_revisions(&name, view) {
            topics.entry(topic.clone()).or_insert_with(|| timestamp.clone());
        }
    }
    topics
}

/// The topics whose archive revisions of a view that run with an architecture read.
pub fn of_revisions<'a>(
    architecture: &str,
    view: &'a FeatureView,
) -> impl Iterator<Item = (&'a String, &'a Timestamp)> {
    let revisions = view.status.iter().flat_map(|status| &status.revisions);
    revisions
        .filter(move |revision| revision.architecture == architecture)
        .filter_map(|revision| revision.archive.as_ref())
        .map(|archive| (&archive.topic, &archive.timestamp))
}

/// What archives a topic, and what keeps its table in order; none without a log or a place for tables.
pub(super) fn objects(
    architecture: &Architecture,
    topic: &str,
    timestamp: &Timestamp,
    secrets_version: &str,
    settings: &Settings,
) -> Option<(Deployment, CronJob)> {
    static DEFAULT: LazyLock<Archive> = LazyLock::new(Archive::default);
    let (kafka, lake) = (architecture.spec.kafka.as_ref()?, names::lake(architecture)?);
    let table = names::bronze_table(&lake, topic);
    let archive = architecture.spec.archive.as_ref().unwrap_or(&DEFAULT);
    let of = Of { architecture, archive, topic, table: &table, secrets_version, settings };
    Some((of.deployment(kafka, timestamp), of.maintenance()))
}

/// One topic's archive.
struct Of<'a> {
    architecture: &'a Architecture,
    archive: &'a Archive,
    topic: &'a str,
    table: &'a str,
    secrets_version: &'a str,
    settings: &'a Settings,
}

impl Of<'_> {
    fn labels(&self, component: &str) -> BTreeMap<String, String> {
        let selector = names::archive_selector(self.architecture, component, self.topic);
        names::with_common(&selector, &self.architecture.name_any())
    }

    fn pod(&self, name: &'static str, command: &str, life: Life, memory_mib: i64) -> Pod<'_> {
        Pod {
            name,
            command: "/usr/local/bin/featuremill-archive",
            arguments: vec![
                command.to_owned(),
                format!("--table={}", self.table),
                format!("--uid={}", self.architecture.uid().unwrap_or_default()),
            ],
            ports: Vec::new(),
            mounts: Mount::tables(self.architecture),
            memory_mib,
            overrides: &self.archive.pod,
            account: names::worker_account(&self.architecture.name_any()),
            secrets_version: self.secrets_version,
            life,
        }
    }

    fn deployment(&self, kafka: &Kafka, timestamp: &Timestamp) -> Deployment {
        let selector = names::archive_selector(self.architecture, ARCHIVE, self.topic);
        let labels = self.labels(ARCHIVE);
        let name = names::archive(&self.architecture.name_any(), self.topic);
        let mut pod = self.pod("archive", "run", Life::Stays, ARCHIVE_MEMORY_MIB);
        pod.mounts.extend(kafka.secret_ref.iter().map(|s| Mount::secret("kafka", "--kafka-config-dir", &s.name)));
        pod.arguments.extend([
            format!("--topic={}", self.topic),
            format!("--kafka-bootstrap={}", kafka.bootstrap_servers),
            format!("--timestamp-field={}", timestamp.field),
            format!("--timestamp-unit={}", unit(timestamp.unit)),
            format!("--on-gap={}", on_gap(self.archive.on_gap)),
        ]);
        Deployment {
            metadata: jobs::metadata(name, self.architecture.namespace(), labels.clone()),
            spec: Some(DeploymentSpec {
                replicas: Some(1),
                selector: LabelSelector { match_labels: Some(selector), ..LabelSelector::default() },
                // Two would be safe, as no record is appended twice, but each would redo what the other did.
                strategy: Some(DeploymentStrategy {
                    type_: Some("Recreate".to_owned()),
                    ..DeploymentStrategy::default()
                }),
                revision_history_limit: Some(1),
                template: pod.template(self.settings, labels, BTreeMap::new()),
                ..DeploymentSpec::default()
            }),
            ..Deployment::default()
        }
    }

    fn maintenance(&self) -> CronJob {
        let labels = self.labels(MAINTENANCE);
        let name = names::maintenance(&self.architecture.name_any(), self.topic);
        let mut pod = self.pod("maintain", "maintain", Life::Ends, BASE_MEMORY_MIB + MERGE_MEMORY_MIB);
        pod.mounts.push(Mount::scratch("spill", "--spill-dir", SPILL_GIB));
        pod.arguments.extend([
            format!("--retention-hours={}", i64::from(self.archive.retention_days) * 24),
            format!("--memory-mib={MERGE_MEMORY_MIB}"),
        ]);
        let template = pod.template(self.settings, labels.clone(), BTreeMap::new());
        let job = jobs::job_spec(template, "maintain", MAINTENANCE_RETRIES, None);
        let metadata = jobs::metadata(name, self.architecture.namespace(), labels);
        let mut cron_job = jobs::cron_job(metadata, &self.archive.maintenance, Some("Etc/UTC"), job);
        if let Some(spec) = &mut cron_job.spec {
            spec.successful_jobs_history_limit = Some(MAINTENANCE_HISTORY);
            spec.failed_jobs_history_limit = Some(MAINTENANCE_HISTORY);
        }
        cron_job
    }
}

fn unit(unit: TimestampUnit) -> &'static str {
    match unit {
        TimestampUnit::Seconds => "seconds",
        TimestampUnit::Milliseconds => "milliseconds",
        TimestampUnit::Microseconds => "microseconds",
        TimestampUnit::Rfc3339 => "rfc3339",
    }
}

fn on_gap(on_gap: OnGap) -> &'static str {
    match on_gap {
        OnGap::Halt => "halt",
        OnGap::Continue => "continue",
    }
}

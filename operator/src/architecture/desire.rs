//! The objects that an architecture should have, and their way to the API server.
//!
//! [`desire`] is pure. Everything has the architecture's name with a suffix.

use std::collections::BTreeMap;

use crds::Architecture;
use crds::architecture::ServiceType;
use crds::feature_view::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::{Service, ServiceAccount, ServicePort, ServiceSpec, TopologySpreadConstraint};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt as _;

use super::archive;
use super::observe::Observed;
use crate::apply::{Object, Writer};
use crate::error::Error;
use crate::names::{self, ARCHITECTURE_LABEL, SERVING_PORT};
use crate::pods::{Life, Mount, Pod};
use crate::settings::Settings;

/// The memory of a feature server where nothing else is said, in MiB.
const SERVER_MEMORY_MIB: i64 = 256;

/// What should stand, not yet written.
#[derive(Clone, Debug)]
pub struct Desired {
    /// Of servers and of stream workers.
    pub accounts: Vec<ServiceAccount>,
    /// Before the servers.
    pub service: Service,
    /// Only with more than one server: a budget for one would keep its node from being drained.
    pub budget: Option<PodDisruptionBudget>,
    /// The servers.
    pub server: Deployment,
    /// What archives each topic.
    pub archives: Vec<Deployment>,
    /// What keeps each archive in order.
    pub maintenance: Vec<CronJob>,
}

/// What stands after it was written.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The servers.
    pub server: Deployment,
    /// What archives each topic.
    pub archives: Vec<Deployment>,
    /// Why the API server does not take the schedule of maintenance.
    pub refused: Option<String>,
}

/// All objects of the architecture.
#[must_use]
pub fn desire(observed: &Observed, secrets_version: &str, settings: &Settings) -> Desired {
    let architecture = &observed.architecture;
    let name = architecture.name_any();
    let objects = |(topic, timestamp): (&String, &Timestamp)| {
        archive::objects(architecture, topic, timestamp, secrets_version, settings)
    };
    let (archives, maintenance) = observed.topics.iter().filter_map(objects).unzip();
    let accounts = [names::server(&name), names::worker_account(&name)];
    Desired {
        accounts: accounts
            .into_iter()
            .map(|account| ServiceAccount {
                metadata: metadata(architecture, account),
                // Neither servers nor workers speak to the API server.
                automount_service_account_token: Some(false),
                ..ServiceAccount::default()
            })
            .collect(),
        service: service(architecture),
        budget: (architecture.spec.serving.replicas > 1).then(|| budget(architecture)),
        server: server(architecture, secrets_version, settings),
        archives,
        maintenance,
    }
}

/// Makes it all stand, pods last, and removes what should not.
///
/// # Errors
/// What the API server says.
pub async fn apply(desired: Desired, writer: &Writer, observed: &Observed) -> Result<Applied, Error> {
    let Desired { accounts, service, budget, server, archives, maintenance } = desired;
    for account in accounts {
        writer.apply(&observed.accounts, account).await?;
    }
    writer.apply(&observed.services, service).await?;
    match budget {
        Some(budget) => drop(writer.apply(&observed.budgets, budget).await?),
        None => delete_all(writer, &observed.budgets).await?,
    }
    let server = writer.apply(&observed.deployments, server).await?;
    let mut applied = Applied { server, archives: Vec::new(), refused: None };
    for archive in archives {
        applied.archives.push(writer.apply(&observed.deployments, archive).await?);
    }
    let mut kept: Vec<String> = applied.archives.iter().map(kube::ResourceExt::name_any).collect();
    kept.push(applied.server.name_any());
    for cron_job in maintenance {
        kept.push(cron_job.name_any());
        match writer.apply(&observed.cron_jobs, cron_job).await {
            Ok(_) => {}
            Err(error) if error.is_invalid() => applied.refused = Some(error.to_string()),
            Err(error) => return Err(error),
        }
    }
    for cron_job in observed.cron_jobs.iter().filter(|c| !kept.contains(&c.name_any())) {
        writer.delete(cron_job).await?;
    }
    for archive in observed.deployments.iter().filter(|d| !kept.contains(&d.name_any())) {
        writer.delete(archive).await?;
    }
    Ok(applied)
}

/// Removes it all, servers first.
///
/// # Errors
/// What the API server says.
pub async fn delete(writer: &Writer, observed: &Observed) -> Result<(), Error> {
    delete_all(writer, &observed.cron_jobs).await?;
    delete_all(writer, &observed.deployments).await?;
    delete_all(writer, &observed.services).await?;
    delete_all(writer, &observed.budgets).await?;
    delete_all(writer, &observed.accounts).await
}

async fn delete_all<K: Object>(writer: &Writer, objects: &[K]) -> Result<(), Error> {
    for object in objects {
        writer.delete(object).await?;
    }
    Ok(())
}

fn metadata(architecture: &Architecture, name: String) -> ObjectMeta {
    let own = architecture.name_any();
    ObjectMeta {
        name: Some(name),
        namespace: architecture.namespace(),
        labels: Some(names::with_common(&names::labels([(ARCHITECTURE_LABEL, &own)]), &own)),
        ..ObjectMeta::default()
    }
}

fn service(architecture: &Architecture) -> Service {
    let wanted = &architecture.spec.serving.service;
    let type_ = match wanted.type_ {
        ServiceType::ClusterIP => "ClusterIP",
        ServiceType::NodePort => "NodePort",
    };
    Service {
        metadata: metadata(architecture, names::server(&architecture.name_any())),
        spec: Some(ServiceSpec {
            type_: Some(type_.to_owned()),
            selector: Some(names::server_selector(architecture)),
            ports: Some(vec![ServicePort {
                name: Some("http".to_owned()),
                port: SERVING_PORT,
                protocol: Some("TCP".to_owned()),
                target_port: Some(IntOrString::String("http".to_owned())),
                node_port: wanted.node_port,
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

fn budget(architecture: &Architecture) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: metadata(architecture, names::server(&architecture.name_any())),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(selector(architecture)),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}

fn server(architecture: &Architecture, secrets_version: &str, settings: &Settings) -> Deployment {
    let (name, serving) = (architecture.name_any(), &architecture.spec.serving);
    let redis = &architecture.spec.online_store.redis;
    let labels = names::with_common(&names::server_selector(architecture), &name);
    let pod = Pod {
        name: "server",
        command: "/usr/local/bin/featuremill-serve",
        arguments: vec![
            format!("--architecture-uid={}", architecture.uid().unwrap_or_default()),
            format!("--redis-url={}", redis.url),
            format!("--listen=0.0.0.0:{SERVING_PORT}"),
        ],
        ports: vec![("http", SERVING_PORT)],
        mounts: redis.secret_ref.iter().map(|s| Mount::secret("redis", "--redis-config-dir", &s.name)).collect(),
        memory_mib: SERVER_MEMORY_MIB,
        overrides: &serving.pod,
        account: names::server(&name),
        secrets_version,
        life: Life::Stays,
    };
    let mut template = pod.template(settings, labels.clone(), BTreeMap::new());
    if let Some(spec) = &mut template.spec {
        spec.topology_spread_constraints = Some(vec![TopologySpreadConstraint {
            max_skew: 1,
            topology_key: "kubernetes.io/hostname".to_owned(),
            when_unsatisfiable: "ScheduleAnyway".to_owned(),
            label_selector: Some(selector(architecture)),
            ..TopologySpreadConstraint::default()
        }]);
    }
    let mut metadata = metadata(architecture, names::server(&name));
    metadata.labels = Some(labels);
    Deployment {
        metadata,
        spec: Some(DeploymentSpec {
            replicas: Some(serving.replicas),
            selector: selector(architecture),
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::Int(1)),
                    max_unavailable: Some(IntOrString::Int(0)),
                }),
            }),
            revision_history_limit: Some(2),
            template,
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

fn selector(architecture: &Architecture) -> LabelSelector {
    LabelSelector { match_labels: Some(names::server_selector(architecture)), ..LabelSelector::default() }
}

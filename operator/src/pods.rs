//! The pods of workers and servers: one container, nothing it is not allowed, under the restricted profile.

use std::collections::BTreeMap;

use crds::Architecture;
use crds::pod::{PodOverrides, ResourceAmounts, TaintEffect, TolerationOperator};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EmptyDirVolumeSource, EnvVar, HTTPGetAction, LocalObjectReference,
    PersistentVolumeClaimVolumeSource, PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ResourceRequirements,
    SeccompProfile, SecretVolumeSource, SecurityContext, Toleration, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::names::{ADMIN_PORT, RUN_AS_USER, SECRETS_ANNOTATION};
use crate::settings::Settings;

mod batch;

pub use batch::batch;

/// Where Secrets and plans are mounted.
const MOUNTS: &str = "/etc/featuremill";
/// How long a pod may take to drain.
const GRACE_SECONDS: i64 = 60;

/// What makes one sort of pod differ from the other.
pub struct Pod<'a> {
    /// The container's name.
    pub name: &'a str,
    /// What it runs.
    pub command: &'a str,
    /// Its flags; those of mounts and of the admin port are added.
    pub arguments: Vec<String>,
    /// Ports by name, beside the admin port.
    pub ports: Vec<(&'a str, i32)>,
    /// What is mounted.
    pub mounts: Vec<Mount>,
    /// The memory it needs where nothing else is said, in MiB.
    pub memory_mib: i64,
    /// What the user says of it.
    pub overrides: &'a PodOverrides,
    /// The service account where the user names none.
    pub account: String,
    /// The version of what its Secrets hold.
    pub secrets_version: &'a str,
    /// Whether it stays or ends.
    pub life: Life,
}

/// How long a pod lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Until it is told to end: it is probed, and its container started again.
    Stays,
    /// Until its work is done: a Job's, which decides itself what a failure means.
    Ends,
}

/// A folder in the container.
pub struct Mount {
    name: &'static str,
    flag: Option<&'static str>,
    at: String,
    read_only: bool,
    source: Volume,
}

impl Mount {
    /// A Secret as a folder, which a flag names.
    pub fn secret(name: &'static str, flag: &'static str, secret: &str) -> Self {
        let source = SecretVolumeSource { secret_name: Some(secret.to_owned()), ..SecretVolumeSource::default() };
        Self { flag: Some(flag), ..Self::volume(name, Volume { secret: Some(source), ..Volume::default() }) }
    }

    /// A folder to write to, as large as `gib`, that goes with the pod; a flag names it.
    pub fn scratch(name: &'static str, flag: &'static str, gib: i32) -> Self {
        let source =
            EmptyDirVolumeSource { size_limit: Some(Quantity(format!("{gib}Gi"))), ..EmptyDirVolumeSource::default() };
        let volume = Volume { empty_dir: Some(source), ..Volume::default() };
        Self { flag: Some(flag), read_only: false, ..Self::volume(name, volume) }
    }

    /// A claim's volume, at a path of its own.
    pub fn claim(name: &'static str, at: &str, claim: &str) -> Self {
        let source = PersistentVolumeClaimVolumeSource {
            claim_name: claim.to_owned(),
            ..PersistentVolumeClaimVolumeSource::default()
        };
        let volume = Volume { persistent_volume_claim: Some(source), ..Volume::default() };
        Self { at: at.to_owned(), read_only: false, ..Self::volume(name, volume) }
    }

    /// What an architecture's tables need: the settings of their store, or the claim that they stand on.
    pub fn tables(architecture: &Architecture) -> Vec<Self> {
        let Some(delta) = architecture.spec.offline_store.as_ref().map(|store| &store.delta) else { return Vec::new() };
        let settings = delta.secret_ref.iter().map(|s| Self::secret("store", "--store-config-dir", &s.name));
        let folder = delta.uri.strip_prefix("file://").map(|path| path.trim_end_matches('/'));
        let claim = delta.claim_ref.iter().zip(folder).map(|(claim, at)| Self::claim("tables", at, &claim.name));
        settings.chain(claim).collect()
    }

    /// Where one of its files is.
    pub fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.at)
    }

    /// Any other volume, at [`path`] of `name`.
    pub fn volume(name: &'static str, source: Volume) -> Self {
        Self { name, flag: None, at: path(name), read_only: true, source: Volume { name: name.to_owned(), ..source } }
    }
}

/// Where a mount's folder is.
pub fn path(name: &str) -> String {
    format!("{MOUNTS}/{name}")
}

impl Pod<'_> {
    /// The template, with `labels`, and `annotations` beside those of the mounts.
    pub fn template(
        self,
        settings: &Settings,
        labels: BTreeMap<String, String>,
        mut annotations: BTreeMap<String, String>,
    ) -> PodTemplateSpec {
        let Self { name, command, mut arguments, ports, mounts, memory_mib, overrides, account, secrets_version, life } =
            self;
        let stays = life == Life::Stays;
        if !secrets_version.is_empty() {
            annotations.insert(SECRETS_ANNOTATION.to_owned(), secrets_version.to_owned());
        }
        for mount in &mounts {
            arguments.extend(mount.flag.map(|flag| format!("{flag}={}", mount.at)));
        }
        arguments.extend(stays.then(|| format!("--admin=0.0.0.0:{ADMIN_PORT}")));
        arguments.extend(settings.log_format.iter().map(|format| format!("--log-format={format}")));
        let container = Container {
            name: name.to_owned(),
            image: Some(settings.image.clone()),
            image_pull_policy: settings.image_pull_policy.clone(),
            command: Some(vec![command.to_owned()]),
            args: Some(arguments),
            env: non_empty(settings.pod_env.iter().map(|(name, value)| variable(name, value)).collect()),
            ports: non_empty(
                ports
                    .into_iter()
                    .chain(stays.then_some(("admin", ADMIN_PORT)))
                    .map(|(name, port)| container_port(name, port))
                    .collect(),
            ),
            resources: Some(resources(overrides, settings, memory_mib)),
            volume_mounts: non_empty(mounts.iter().map(mount_of).collect()),
            liveness_probe: stays.then(|| probe("/livez", 10, 6)),
            readiness_probe: stays.then(|| probe("/readyz", 2, 3)),
            // A first start compiles plans and joins its group; until then liveness waits.
            startup_probe: stays.then(|| probe("/livez", 1, 120)),
            security_context: Some(container_security()),
            // What a process says of its end; of one that could say nothing, the end of its log.
            termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
            ..Container::default()
        };
        PodTemplateSpec {
            metadata: Some(ObjectMeta {
                labels: Some(labels),
                annotations: (!annotations.is_empty()).then_some(annotations),
                ..ObjectMeta::default()
            }),
            spec: Some(PodSpec {
                containers: vec![container],
                volumes: non_empty(mounts.into_iter().map(|m| m.source).collect()),
                service_account_name: Some(overrides.service_account_name.clone().unwrap_or(account)),
                automount_service_account_token: Some(false),
                enable_service_links: Some(false),
                // What a failure means, the Job decides: its container is never started again in its place.
                restart_policy: (!stays).then(|| "Never".to_owned()),
                termination_grace_period_seconds: Some(GRACE_SECONDS),
                security_context: Some(pod_security()),
                node_selector: (!overrides.node_selector.is_empty()).then(|| overrides.node_selector.clone()),
                tolerations: non_empty(overrides.tolerations.iter().map(toleration).collect()),
                image_pull_secrets: non_empty(
                    overrides
                        .image_pull_secrets
                        .iter()
                        .map(|s| LocalObjectReference { name: s.name.clone() })
                        .collect(),
                ),
                ..PodSpec::default()
            }),
        }
    }
}

fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.to_owned()), ..EnvVar::default() }
}

fn mount_of(mount: &Mount) -> VolumeMount {
    VolumeMount {
        name: mount.name.to_owned(),
        mount_path: mount.at.clone(),
        read_only: mount.read_only.then_some(true),
        ..VolumeMount::default()
    }
}

fn container_port(name: &str, port: i32) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: port,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

fn probe(path: &str, period_seconds: i32, failure_threshold: i32) -> Probe {
    let get = HTTPGetAction {
        path: Some(path.to_owned()),
        port: IntOrString::String("admin".to_owned()),
        ..HTTPGetAction::default()
    };
    Probe {
        http_get: Some(get),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(2),
        failure_threshold: Some(failure_threshold),
        ..Probe::default()
    }
}

fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), ..Capabilities::default() }),
        ..SecurityContext::default()
    }
}

fn pod_security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(RUN_AS_USER),
        run_as_group: Some(RUN_AS_USER),
        fs_group: Some(RUN_AS_USER),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), ..SeccompProfile::default() }),
        ..PodSecurityContext::default()
    }
}

/// What the user says, else the settings' CPU and the memory it needs, which is its limit too. CPU is not limited: a
/// throttled worker lags.
fn resources(overrides: &PodOverrides, settings: &Settings, memory_mib: i64) -> ResourceRequirements {
    let Some(resources) = &overrides.resources else {
        let memory = || Quantity(format!("{memory_mib}Mi"));
        return ResourceRequirements {
            requests: Some(
                [("cpu".to_owned(), Quantity(settings.cpu_request.clone())), ("memory".to_owned(), memory())].into(),
            ),
            limits: Some([("memory".to_owned(), memory())].into()),
            ..ResourceRequirements::default()
        };
    };
    ResourceRequirements {
        requests: resources.requests.as_ref().map(amounts),
        limits: resources.limits.as_ref().map(amounts),
        ..ResourceRequirements::default()
    }
}

fn amounts(amounts: &ResourceAmounts) -> BTreeMap<String, Quantity> {
    [("cpu", &amounts.cpu), ("memory", &amounts.memory)]
        .into_iter()
        .filter_map(|(name, amount)| {
            let text = match amount.as_ref()? {
                IntOrString::Int(number) => number.to_string(),
                IntOrString::String(text) => text.clone(),
            };
            Some((name.to_owned(), Quantity(text)))
        })
        .collect()
}

fn toleration(toleration: &crds::pod::Toleration) -> Toleration {
    Toleration {
        key: toleration.key.clone(),
        operator: toleration.operator.map(|operator| match operator {
            TolerationOperator::Exists => "Exists".to_owned(),
            TolerationOperator::Equal => "Equal".to_owned(),
        }),
        value: toleration.value.clone(),
        effect: toleration.effect.map(|effect| match effect {
            TaintEffect::NoSchedule => "NoSchedule".to_owned(),
            TaintEffect::PreferNoSchedule => "PreferNoSchedule".to_owned(),
            TaintEffect::NoExecute => "NoExecute".to_owned(),
        }),
        toleration_seconds: toleration.toleration_seconds,
    }
}

fn non_empty<T>(items: Vec<T>) -> Option<Vec<T>> {
    (!items.is_empty()).then_some(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_send_traces_where_the_operator_does_and_have_no_variables_else() {
        let env = |settings: &Settings| {
            let pod = Pod {
                name: "stream",
                command: "/usr/local/bin/featuremill-stream",
                arguments: Vec::new(),
                ports: Vec::new(),
                mounts: Vec::new(),
                memory_mib: 64,
                overrides: &PodOverrides::default(),
                account: "worker".to_owned(),
                secrets_version: "",
                life: Life::Stays,
            };
            let template = pod.template(settings, BTreeMap::new(), BTreeMap::new());
            template.spec.and_then(|spec| spec.containers.into_iter().next()).and_then(|container| container.env)
        };
        assert_eq!(env(&Settings::default()), None);
        let pod_env = vec![("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), "http://collector:4318".to_owned())];
        let expected = variable("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        assert_eq!(env(&Settings { pod_env, ..Settings::default() }), Some(vec![expected]));
    }
}

//! The Job, and what it is handed. Pure.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, ConfigMapVolumeSource, Secret, SecretVolumeSource, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;
use serde_json::Value;

use super::observe::Observed;
use super::{Once, name_of};
use crate::apply::Object;
use crate::conditions::find;
use crate::feature_view::resolve::Refusal;
use crate::jobs;
use crate::names::{self, COMPONENT_LABEL};
use crate::pods::Mount;
use crate::settings::Settings;
use crds::condition::{ConditionStatus, reasons, types};

/// The name of the mount with the file.
const MOUNT: &str = "work";
/// The largest file that fits into a ConfigMap or Secret beside its metadata.
const MAX_BYTES: usize = 900 * 1024;
/// Where the container leaves its report: what Kubernetes keeps of its end.
const REPORT: &str = "/dev/termination-log";

/// A kind of object that holds a file.
pub trait Holder: Object {
    /// One that holds `text` as the file `key`, for ever.
    fn holding(metadata: ObjectMeta, key: &str, text: String) -> Self;
    /// The text of its one file.
    fn text(&self) -> Option<String>;
    /// It as a folder.
    fn volume(name: String) -> Volume;
}

impl Holder for ConfigMap {
    fn holding(metadata: ObjectMeta, key: &str, text: String) -> Self {
        Self { metadata, immutable: Some(true), data: Some([(key.to_owned(), text)].into()), ..Self::default() }
    }

    fn text(&self) -> Option<String> {
        self.data.as_ref()?.values().next().cloned()
    }

    fn volume(name: String) -> Volume {
        let source = ConfigMapVolumeSource { name, ..ConfigMapVolumeSource::default() };
        Volume { config_map: Some(source), ..Volume::default() }
    }
}

impl Holder for Secret {
    fn holding(metadata: ObjectMeta, key: &str, text: String) -> Self {
        let data = [(key.to_owned(), ByteString(text.into_bytes()))].into();
        Self { metadata, immutable: Some(true), data: Some(data), ..Self::default() }
    }

    fn text(&self) -> Option<String> {
        String::from_utf8(self.data.as_ref()?.values().next()?.0.clone()).ok()
    }

    fn volume(name: String) -> Volume {
        let source = SecretVolumeSource { secret_name: Some(name), ..SecretVolumeSource::default() };
        Volume { secret: Some(source), ..Volume::default() }
    }
}

/// What the Job is handed.
pub(super) enum Input<I> {
    /// It stands already, from a round that did not get as far as the Job.
    Stands(I),
    /// It is to be made.
    Wanted(I),
}

/// What should stand, not yet written.
pub(super) struct Desired<I> {
    /// What the Job is handed; before the Job.
    pub input: Input<I>,
    /// The Job.
    pub job: Job,
}

/// The objects with which the work begins.
///
/// # Errors
/// Why it cannot begin.
pub(super) fn desire<K: Once>(observed: &Observed<K>, settings: &Settings) -> Result<Desired<K::Input>, Refusal> {
    let (object, name) = (&observed.object, name_of(&observed.object));
    let architecture = architecture(observed)?;
    let mut labels = names::labels([(COMPONENT_LABEL, K::WORK.name)]);
    labels.insert(K::WORK.label.to_owned(), object.name_any());
    let labels = names::with_common(&labels, &object.name_any());
    let metadata = || jobs::metadata(name.clone(), object.namespace(), labels.clone());
    let input = if let Some(input) = &observed.input {
        Input::Stands(input.clone())
    } else {
        let text = fitting(&object.resolve(architecture, &observed.views)?)?;
        Input::Wanted(K::Input::holding(metadata(), K::WORK.file, text))
    };
    let mut pod = object.pod(architecture, Mount::volume(MOUNT, K::Input::volume(name.clone())));
    pod.arguments.push(format!("--report={REPORT}"));
    let template = pod.template(settings, labels.clone(), BTreeMap::new());
    let limits = object.limits();
    let mut spec = jobs::job_spec(template, K::WORK.name, limits.backoff_limit, limits.active_deadline_seconds);
    spec.ttl_seconds_after_finished = limits.ttl_seconds_after_finished;
    Ok(Desired { input, job: Job { metadata: metadata(), spec: Some(spec), ..Job::default() } })
}

/// The Architecture, if its pods can be made.
fn architecture<K: Once>(observed: &Observed<K>) -> Result<&crds::Architecture, Refusal> {
    let name = observed.object.architecture();
    let Some(architecture) = &observed.architecture else {
        let message = format!(
            "spec.architectureRef.name: there is no Architecture {name:?} in this namespace; apply it, or make another object that names another"
        );
        return Err(Refusal { reason: reasons::ARCHITECTURE_NOT_FOUND, message, pending: false });
    };
    // Until the Architecture is observed, it is unknown whether its Secrets are there, which the pod mounts.
    let accepted = architecture.status.as_ref().and_then(|status| find(&status.conditions, types::SPEC_ACCEPTED));
    match accepted.filter(|c| c.observed_generation == architecture.metadata.generation) {
        Some(condition) if condition.status == ConditionStatus::True => Ok(architecture),
        Some(condition) if condition.status == ConditionStatus::False => Err(Refusal {
            reason: reasons::ARCHITECTURE_NOT_ACCEPTED,
            message: format!("Architecture {name:?}: {}", condition.message),
            pending: false,
        }),
        _ => {
            let message = format!("Architecture {name:?} has not been observed yet");
            Err(Refusal { reason: reasons::PENDING, message, pending: true })
        }
    }
}

fn fitting(input: &Value) -> Result<String, Refusal> {
    let text = input.to_string();
    if text.len() > MAX_BYTES {
        let message = format!(
            "spec.views: the plans of all views take {} bytes of at most {MAX_BYTES}; name fewer views, and make another object for the rest",
            text.len()
        );
        return Err(Refusal { reason: reasons::INVALID_SPEC, message, pending: false });
    }
    Ok(text)
}

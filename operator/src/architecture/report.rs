//! The status of an architecture. Pure but for the events.

use crds::condition::{ConditionStatus, reasons, types};
use crds::{Architecture, ArchitectureStatus};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::runtime::events::EventType;

use super::desire::Applied;
use super::observe::Observed;
use crate::conditions::{Conditions, find};
use crate::context::Context;
use crate::events::{Happening, emit};
use crate::names;
use crate::trouble::{self, Trouble};
use crate::workload::{is_available, is_rolled_out, replicas};

type Verdict = (ConditionStatus, &'static str, String);

/// The status to be written, if it differs from what stands.
#[must_use]
pub fn status(observed: &Observed, applied: Option<&Applied>, now: Timestamp) -> ArchitectureStatus {
    let server = applied.map(|applied| &applied.server);
    let previous = observed.architecture.status.clone().unwrap_or_default();
    let generation = observed.architecture.metadata.generation;
    let (_, running, ready) = server.map(replicas).unwrap_or_default();
    let verdicts = verdicts(observed, applied);
    let mut conditions = Conditions::new(&previous.conditions, generation, now);
    for (type_, (status, reason, message)) in
        [types::READY, types::RECONCILING, types::STALLED, types::SPEC_ACCEPTED].into_iter().zip(verdicts)
    {
        conditions.set(type_, status, reason, message);
    }
    ArchitectureStatus {
        observed_generation: generation,
        views: i32::try_from(observed.named).unwrap_or(i32::MAX),
        updated_views: i32::try_from(observed.progress.updated).unwrap_or(i32::MAX),
        migration: observed.progress.status(),
        archives: i32::try_from(observed.topics.len()).unwrap_or(i32::MAX),
        endpoint: Some(names::endpoint(&observed.architecture)),
        replicas: running,
        ready_replicas: ready,
        secrets_version: observed
            .secrets
            .as_ref()
            .map_or(previous.secrets_version, |s| Some(s.version.clone()).filter(|v| !v.is_empty())),
        conditions: conditions.finish(),
    }
}

/// `Ready`, `Reconciling`, `Stalled`, `SpecAccepted`.
fn verdicts(observed: &Observed, applied: Option<&Applied>) -> [Verdict; 4] {
    let no = |reason| (ConditionStatus::False, reason, String::new());
    let accepted = (ConditionStatus::True, reasons::ACCEPTED, String::new());
    if observed.architecture.metadata.deletion_timestamp.is_some() {
        let message = format!("{} views still refer to it; delete them first", observed.views);
        return [
            (ConditionStatus::False, reasons::IN_USE, message.clone()),
            (ConditionStatus::True, reasons::IN_USE, message),
            no(reasons::IDLE),
            accepted,
        ];
    }
    if let Err(missing) = &observed.secrets {
        let refused = |status| (status, reasons::SECRET_NOT_FOUND, missing.to_string());
        return [
            refused(ConditionStatus::False),
            no(reasons::IDLE),
            refused(ConditionStatus::True),
            refused(ConditionStatus::False),
        ];
    }
    if let Some(why) = applied.and_then(|applied| applied.refused.clone()) {
        let refused = |status| (status, reasons::INVALID_SPEC, format!("spec.archive.maintenance: {why}"));
        let (yes, no_) = (ConditionStatus::True, ConditionStatus::False);
        return [refused(no_), no(reasons::IDLE), refused(yes), refused(no_)];
    }
    let Some(Applied { server, archives, .. }) = applied else {
        let rolling = (ConditionStatus::True, reasons::ROLLING_OUT, String::new());
        return [(ConditionStatus::Unknown, reasons::PENDING, String::new()), rolling, no(reasons::IDLE), accepted];
    };
    let all = || std::iter::once(server).chain(archives);
    let trouble = all().filter(|d| !is_rolled_out(d)).find_map(|d| trouble::of_deployment(d, &observed.pods));
    let ready = match (all().find(|d| !is_available(d)), &trouble) {
        (None, _) => (ConditionStatus::True, reasons::HEALTHY, "serving".to_owned()),
        (Some(workload), Some(trouble)) => {
            let message = format!("no pod of Deployment {} is ready; {}", workload.name_any(), trouble.message);
            (ConditionStatus::False, trouble.reason, message)
        }
        (Some(workload), None) => {
            let message = format!("no pod of Deployment {} is ready", workload.name_any());
            (ConditionStatus::False, reasons::WORKLOAD_UNAVAILABLE, message)
        }
    };
    if let Some(Trouble { reason, message, .. }) = trouble.as_ref().filter(|t| t.stuck) {
        return [ready, no(reason), (ConditionStatus::True, reason, message.clone()), accepted];
    }
    let reconciling = match trouble {
        _ if all().all(is_rolled_out) => no(reasons::IDLE),
        Some(trouble) => (ConditionStatus::True, trouble.reason, trouble.message),
        None => (ConditionStatus::True, reasons::ROLLING_OUT, "pods are being rolled out".to_owned()),
    };
    let Some(_) = observed.progress.status() else { return [ready, reconciling, no(reasons::IDLE), accepted] };
    let message = observed.progress.message(&observed.architecture);
    if observed.progress.is_halted() {
        let message = format!(
            "{message}; mend and retry what is halted, or hold it with spec.rollout.servingRevision to let the others go on"
        );
        return [ready, reconciling, (ConditionStatus::True, reasons::MIGRATION_HALTED, message), accepted];
    }
    let migrating = (ConditionStatus::True, reasons::MIGRATING, message);
    let reconciling = if reconciling.0 == ConditionStatus::False { migrating } else { reconciling };
    [ready, reconciling, no(reasons::IDLE), accepted]
}

/// Tells people when it stalls and when it heals.
pub(super) async fn events(
    context: &Context,
    architecture: &Architecture,
    before: &ArchitectureStatus,
    after: &ArchitectureStatus,
) {
    let stalled = |status: &ArchitectureStatus| {
        find(&status.conditions, types::STALLED).filter(|c| c.status == ConditionStatus::True).cloned()
    };
    match (stalled(before), stalled(after)) {
        (was, Some(is)) if was.as_ref().map(|w| &w.message) != Some(&is.message) => {
            emit(context, architecture, Happening::new(EventType::Warning, &is.reason, "Observe", is.message)).await;
        }
        (Some(_), None) => {
            emit(context, architecture, Happening::new(EventType::Normal, reasons::ACCEPTED, "Observe", "it heals"))
                .await;
        }
        _ => {}
    }
}

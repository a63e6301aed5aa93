//! What keeps a revision from its work, in the words of whoever knows: its workers, its pods, its Deployment, its Job. Pure.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

use crds::condition::reasons;

use super::observe::{Observed, StoreFacts, revision_of};
use super::replay::is_replay;
use crate::names::{COMPONENT_LABEL, REPLAY};
use crate::trouble::{self, Trouble};
use crate::workload::is_rolled_out;

/// What a revision's workers say keeps them from their work.
#[must_use]
pub fn told(facts: &StoreFacts, revision: &str, now: Timestamp) -> Option<Trouble> {
    trouble::of_workers(facts.troubles.get(revision)?.iter(), now.as_millisecond())
}

/// Why no pod of a Job can be made, as its controller says.
#[must_use]
pub fn of_job(observed: &Observed, job: &Job) -> Option<Trouble> {
    let name = job.name_any();
    let message = format!("Job {name}: {}", observed.refused.get(&name)?);
    Some(Trouble { reason: reasons::POD_REFUSED, message, stuck: true })
}

/// What keeps a replay from its work, once its Job stands: what its processes say, or what their pods and their Job show.
#[must_use]
pub fn of_replay(observed: &Observed, facts: &StoreFacts, revision: &str, now: Timestamp) -> Option<Trouble> {
    let job = observed.own_jobs().find(|job| is_replay(job) && revision_of(*job) == Some(revision))?;
    let is_ours = |pod: &&Pod| {
        revision_of(*pod) == Some(revision) && pod.labels().get(COMPONENT_LABEL).is_some_and(|c| c == REPLAY)
    };
    told(facts, revision, now)
        .or_else(|| of_job(observed, job))
        .or_else(|| trouble::of_pods(observed.pods.iter().filter(is_ours)))
}

/// What keeps a revision that is replayed, or catches up, from its work.
#[must_use]
pub fn of(observed: &Observed, facts: &StoreFacts, revision: &str, now: Timestamp) -> Option<Trouble> {
    let Some(stream) = observed.deployments.iter().find(|d| revision_of(*d) == Some(revision)) else {
        return of_replay(observed, facts, revision, now);
    };
    let unready = !is_rolled_out(stream);
    let refusal = facts.refusal.clone().filter(|_| unready);
    refusal
        .map(|message| Trouble { reason: reasons::STORE_REFUSES_WRITES, message, stuck: true })
        .or_else(|| told(facts, revision, now))
        .or_else(|| trouble::of_deployment(stream, &observed.pods).filter(|_| unready))
}

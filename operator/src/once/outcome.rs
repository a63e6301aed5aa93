//! What a Job and its pods say of the work. Pure.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

use crate::jobs;
use crate::trouble::{self, Trouble};

/// How the work stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It goes on, or is about to.
    Running {
        /// When it began.
        since: Option<Timestamp>,
        /// What keeps it from its end.
        trouble: Option<Trouble>,
    },
    /// It is done.
    Done {
        /// When it began.
        since: Option<Timestamp>,
        /// When it ended.
        at: Option<Timestamp>,
        /// What the container left; none if its pod is gone already.
        report: Option<String>,
    },
    /// It is given up.
    GivenUp {
        /// When it began.
        since: Option<Timestamp>,
        /// When it ended.
        at: Option<Timestamp>,
        /// Why, in the words of the Job and of its last pod.
        why: String,
    },
}

/// What `job`, whose pods are `pods`, says.
pub(super) fn outcome(job: &Job, pods: &[Pod]) -> Outcome {
    let since = job.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let at = jobs::ended_at(job);
    if let Some(why) = jobs::failure(job) {
        // Of several tries the last one's words: earlier ones it had a chance to mend.
        let last = pods
            .iter()
            .filter_map(|pod| Some((pod, end_of(pod)?)))
            .max_by_key(|(pod, end)| (end.finished_at.as_ref().map(|time| time.0), pod.name_any()));
        let words = last.map(|(pod, end)| format!("; pod {} {}", pod.name_any(), trouble::of_end(end)));
        let why = format!("Job {}: {why}{}", job.name_any(), words.unwrap_or_default());
        return Outcome::GivenUp { since, at, why };
    }
    if jobs::is_finished(job) {
        let done = pods.iter().filter_map(end_of).find(|end| end.exit_code == 0);
        return Outcome::Done { since, at, report: done.and_then(|end| end.message.clone()) };
    }
    Outcome::Running { since, trouble: trouble::of_pods(pods.iter()) }
}

/// How a pod's container ended, if it did.
fn end_of(pod: &Pod) -> Option<&ContainerStateTerminated> {
    let containers = pod.status.as_ref()?.container_statuses.as_deref().unwrap_or_default();
    containers.iter().find_map(|container| container.state.as_ref()?.terminated.as_ref())
}

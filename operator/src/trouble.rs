//! What keeps a workload from its work, in the words of whoever knows: the Deployment, the scheduler, the kubelet, the
//! container's last words, the worker itself. Pure.
//!
//! Invariant: the answer does not change while the state does not. It counts no restarts, and of several pods in the same
//! trouble it names the first by name.

use crds::condition::reasons;
use engine::row::Trouble as Told;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};
use kube::ResourceExt as _;

/// How long what a worker said counts after it last said so, in milliseconds: it repeats itself much more often.
const SAID_MS: i64 = 45_000;
/// The longest last words that a message quotes.
const MAX_WORDS: usize = 400;

/// What keeps a workload from its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// A reason of conditions.
    pub reason: &'static str,
    /// Who, what, and what to do.
    pub message: String,
    /// Whether it needs a person, as far as that can be known.
    pub stuck: bool,
}

/// What the Deployment and the pods of its selector say; `None` if all is ready, or only takes its time.
#[must_use]
pub fn of_deployment(deployment: &Deployment, pods: &[Pod]) -> Option<Trouble> {
    let conditions = deployment.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    let failure = conditions.iter().find(|c| c.type_ == "ReplicaFailure" && c.status == "True").map(|c| Trouble {
        reason: reasons::POD_REFUSED,
        message: format!(
            "Deployment {}: {}",
            deployment.name_any(),
            c.message.as_deref().unwrap_or("no pod can be made")
        ),
        stuck: true,
    });
    let selector = deployment.spec.as_ref().and_then(|s| s.selector.match_labels.clone()).unwrap_or_default();
    let mine = pods.iter().filter(|pod| selector.iter().all(|(key, value)| pod.labels().get(key) == Some(value)));
    failure.or_else(|| of_pods(mine))
}

/// The worst that any of the pods is in.
pub fn of_pods<'a>(pods: impl Iterator<Item = &'a Pod>) -> Option<Trouble> {
    let mut all: Vec<(usize, String, Trouble)> = pods
        .filter(|pod| pod.metadata.deletion_timestamp.is_none() && !has_ended(pod))
        .filter_map(|pod| of_pod(pod).map(|(rank, trouble)| (rank, pod.name_any(), trouble)))
        .collect();
    all.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    all.into_iter().next().map(|(_, _, trouble)| trouble)
}

/// Whether the pod has ended for good: what became of it, its Job says.
fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    matches!(phase, Some("Failed" | "Succeeded"))
}

/// What one pod is in, and how bad that is: the lowest first.
fn of_pod(pod: &Pod) -> Option<(usize, Trouble)> {
    let status = pod.status.as_ref()?;
    let say = |what: String| format!("pod {}: {what}", pod.name_any());
    for container in status.container_statuses.iter().flatten().filter(|c| !c.ready) {
        let waiting = container.state.as_ref().and_then(|s| s.waiting.as_ref());
        let (reason, detail) = waiting
            .map_or(("", ""), |w| (w.reason.as_deref().unwrap_or_default(), w.message.as_deref().unwrap_or_default()));
        match reason {
            "ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull" | "InvalidImageName" | "ImageInspectError" => {
                // Trying and waiting to try again take turns; to people they are one.
                let what = match reason {
                    "ErrImageNeverPull" => "is not on the node, and imagePullPolicy is Never",
                    "InvalidImageName" => "is no image name",
                    _ => "cannot be pulled; check its name, the registry and imagePullSecrets",
                };
                let message = say(format!("image {} {what}", container.image));
                return Some((0, Trouble { reason: reasons::IMAGE_UNAVAILABLE, message, stuck: true }));
            }
            "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
                let message = say(format!("{reason}: {detail}"));
                return Some((1, Trouble { reason: reasons::CONTAINER_REFUSED, message, stuck: true }));
            }
            _ => {}
        }
        if let Some(end) = last_end(container).filter(|end| end.exit_code != 0) {
            let message = say(format!("container {} {}", container.name, of_end(end)));
            return Some((2, Trouble { reason: reasons::CRASHING, message, stuck: true }));
        }
    }
    let unscheduled = status.conditions.iter().flatten().find(|c| c.type_ == "PodScheduled" && c.status == "False")?;
    let reason = unscheduled.reason.as_deref().unwrap_or("Unschedulable");
    let message = say(format!("{reason}: {}", unscheduled.message.as_deref().unwrap_or_default()));
    Some((3, Trouble { reason: reasons::UNSCHEDULABLE, message, stuck: false }))
}

/// How the container last ended, if it did.
fn last_end(container: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    [&container.state, &container.last_state].into_iter().flatten().find_map(|state| state.terminated.as_ref())
}

/// An end in words: the exit code, and the process's last.
#[must_use]
pub fn of_end(end: &ContainerStateTerminated) -> String {
    let mut text = match end.reason.as_deref() {
        Some("OOMKilled") => "was killed for using more memory than its limit".to_owned(),
        _ => format!("ended with exit code {}", end.exit_code),
    };
    let words = end.message.as_deref().unwrap_or_default().trim();
    let line = words.lines().last().unwrap_or_default();
    // A line of a log in JSON, or a report: what went wrong is a field of it.
    let error = serde_json::from_str::<serde_json::Value>(line)
        .ok()
        .and_then(|line| Some(line.get("error")?.as_str()?.to_owned()));
    let last = error.as_deref().unwrap_or(line);
    if !last.is_empty() {
        let cut = (0..=last.len().min(MAX_WORDS)).rev().find(|i| last.is_char_boundary(*i)).unwrap_or(0);
        text.push_str(": ");
        text.push_str(&last[..cut]);
    }
    text
}

/// What the workers of a revision say of themselves: the longest-lasting of what they said lately.
pub fn of_workers<'a>(told: impl Iterator<Item = (&'a String, &'a Told)>, now_ms: i64) -> Option<Trouble> {
    let lately = told.filter(|(_, t)| now_ms.saturating_sub(t.said_ms) <= SAID_MS);
    let (worker, told) =
        lately.min_by_key(|(worker, t)| (reasons::passes(&t.reason), t.since_ms, (*worker).clone()))?;
    Some(Trouble {
        reason: reasons::of_worker(&told.reason),
        message: format!("pod {worker}: {}", told.message),
        stuck: !reasons::passes(&told.reason),
    })
}

#[cfg(test)]
mod tests;

//! The end of a view: its workers, then what it has in the log and the store, then its finalizer.
//!
//! Invariant: it never hangs. What does not answer by the view's deadline is left behind, and an event says so.

use std::collections::BTreeSet;

use crds::FeatureViewStatus;
use crds::condition::{reasons, types};
use crds::feature_view::DeletionPolicy;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;

use super::observe::{Observed, has_pods, revision_of};
use super::{act, belonging};
use crate::apply::Writer;
use crate::conditions::{Conditions, seconds};
use crate::context::Context;
use crate::edges::Secrets;
use crate::error::Error;
use crate::events::{Happening, emit};
use crate::names::VIEW_FINALIZER;
use crate::purge::{Progress, Purge};

/// How the removal stands.
enum State {
    /// It goes on.
    Going(String),
    /// It is complete.
    Complete(String),
    /// It cannot go on now.
    Stuck(String),
}

pub(super) async fn finalize(context: &Context, writer: &Writer, observed: Observed) -> Result<Action, Error> {
    context.resolutions.forget(&observed.view.uid().unwrap_or_default());
    if !observed.view.finalizers().iter().any(|f| f == VIEW_FINALIZER) {
        return Ok(Action::await_change());
    }
    for stream in &observed.deployments {
        writer.delete(stream).await?;
    }
    for cron_job in &observed.cron_jobs {
        writer.delete(cron_job).await?;
    }
    for job in observed.own_jobs() {
        writer.delete(job).await?;
    }
    let stands =
        !observed.deployments.is_empty() || !observed.cron_jobs.is_empty() || observed.own_jobs().next().is_some();
    let state = if stands || has_pods(context, &observed.view, None).await? {
        State::Stuck("its workers are still stopping".to_owned())
    } else {
        remove(context, &observed).await?
    };
    let happening = match state {
        State::Complete(note) => Happening::new(EventType::Normal, reasons::PURGED, "Delete", note),
        State::Stuck(problem) if is_overdue(&observed, (context.now)()) => {
            let note = format!(
                "left behind in the online store and Kafka under {}: {problem}",
                observed.view.uid().unwrap_or_default()
            );
            Happening::new(EventType::Warning, reasons::LEFT_BEHIND, "Delete", note)
        }
        State::Going(message) | State::Stuck(message) => {
            report(context, writer, &observed, &message).await?;
            return Ok(Action::requeue(context.settings.poll));
        }
    };
    for plan in &observed.config_maps {
        writer.delete(plan).await?;
    }
    for entry in &observed.history {
        writer.delete(entry).await?;
    }
    // While the object stands: an event of one that is gone is harder to find.
    emit(context, &observed.view, happening).await;
    writer.finalizer(&observed.view, VIEW_FINALIZER, false).await?;
    Ok(Action::await_change())
}

async fn remove(context: &Context, observed: &Observed) -> Result<State, Error> {
    let view = &observed.view;
    let Some(architecture) = &observed.architecture else {
        return Ok(State::Stuck(format!("Architecture {:?} is gone", view.spec.architecture_ref.name)));
    };
    let secrets = match Secrets::of_edges(&context.client, architecture).await? {
        Ok(secrets) => secrets,
        Err(missing) => return Ok(State::Stuck(missing.to_string())),
    };
    let delete = view.spec.deletion_policy == DeletionPolicy::Delete;
    let log = act::log(context, observed, &secrets).await?;
    let left = belonging::left(view, architecture).map(|a| a.uid);
    let catalogs = left.chain(architecture.uid()).map(|uid| (uid, view.name_any())).collect();
    let purge = Purge {
        uid: view.uid().unwrap_or_default(),
        revision: None,
        groups: if delete && observed.streams() { revisions(observed).into_iter().collect() } else { Vec::new() },
        log,
        store: secrets.store,
        rows: delete,
        catalogs,
    };
    Ok(match context.purges.poll(&purge, &context.edges, &context.ended) {
        Progress::Running => State::Going("its rows and consumer groups are being removed".to_owned()),
        Progress::Done(_) if !delete => {
            State::Complete("rows and consumer groups stay: deletionPolicy is Retain".to_owned())
        }
        Progress::Done(keys) => {
            State::Complete(format!("{keys} keys of the online store and its consumer groups were removed"))
        }
        Progress::Failed(problem) => State::Stuck(problem),
    })
}

/// Every revision that anything says existed.
fn revisions(observed: &Observed) -> BTreeSet<String> {
    let status = observed.view.status.clone().unwrap_or_default();
    let reported = status.active_revision.into_iter().chain(status.previous_revision).chain(status.candidate_revision);
    let retiring = status.retiring.into_iter().map(|r| r.revision);
    let labelled =
        observed.config_maps.iter().filter_map(revision_of).chain(observed.history.iter().filter_map(revision_of));
    reported.chain(retiring).chain(labelled.map(str::to_owned)).collect()
}

fn is_overdue(observed: &Observed, now: Timestamp) -> bool {
    let deadline = SignedDuration::from_secs(observed.view.spec.deletion_deadline_seconds.into());
    observed.view.metadata.deletion_timestamp.as_ref().is_some_and(|since| now.duration_since(since.0) >= deadline)
}

/// Says once what is being done, and again when that changes.
async fn report(context: &Context, writer: &Writer, observed: &Observed, message: &str) -> Result<(), Error> {
    let previous = observed.view.status.clone().unwrap_or_default();
    let generation = observed.view.metadata.generation;
    let mut conditions = Conditions::new(&previous.conditions, generation, (context.now)());
    conditions.set(types::READY, false, reasons::TERMINATING, message);
    conditions.set(types::RECONCILING, true, reasons::TERMINATING, message);
    conditions.set(types::STALLED, false, reasons::IDLE, "");
    for kept in
        previous.conditions.iter().filter(|c| [types::SPEC_ACCEPTED, types::CAUGHT_UP].contains(&c.type_.as_str()))
    {
        conditions.set(&kept.type_, kept.status, &kept.reason, &kept.message);
    }
    let status = FeatureViewStatus {
        observed_generation: generation,
        phase: Some("Terminating".to_owned()),
        conditions: conditions.finish(),
        ..previous.clone()
    };
    if status != previous {
        tracing::debug!(at = seconds((context.now)()), message, "terminating");
        writer.status(&observed.view, &status).await?;
    }
    Ok(())
}

//! What is done once: an object that names some work, and the one Job that does it.
//!
//! The driver of `TrainingSet` and `Erasure`: observe → resolve → desire → apply → report, once a round. A kind says what
//! its Job is handed ([`Once::resolve`]), which pod works on it, and what its report means; the rest is here.
//!
//! Invariants: what the Job is handed is written before the Job and never again, so what was decided when the work began
//! holds to its end; a Job is created and never edited; an object whose phase is final is never worked on again.

mod apply;
mod desire;
pub mod observe;
mod outcome;
mod report;
mod revisions;

use std::sync::Arc;

use crds::once::{Limits, Progress};
use crds::{Architecture, FeatureView};
use kube::ResourceExt as _;
use kube::runtime::controller::Action;
use serde_json::Value;

use crate::apply::{Object, Writer};
use crate::context::Context;
use crate::error::Error;
use crate::feature_view::resolve::Refusal;
use crate::pods::{Mount, Pod};
use crate::resync;

pub use desire::Holder;
pub use observe::{Known, Views};
pub use revisions::Revision;

/// What tells one kind's Jobs from the other's.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// The component's label, the container's name, and the end of the names of all that is made.
    pub name: &'static str,
    /// The label that names the object on its Job and pods.
    pub label: &'static str,
    /// The file that the Job is handed.
    pub file: &'static str,
}

/// A kind whose work is one Job.
pub trait Once: Object + Send + Sync + 'static {
    /// What holds the file that the Job is handed.
    type Input: Holder;
    /// The kind's status.
    type Status: serde::Serialize + Default + Clone + PartialEq + Send + Sync;
    /// What tells its Jobs from others'.
    const WORK: Work;

    /// The Architecture that it names.
    fn architecture(&self) -> &str;
    /// How long the Job may take.
    fn limits(&self) -> &Limits;
    /// The status that stands.
    fn known(&self) -> Option<&Self::Status>;
    /// How the work went, in a status.
    fn progress(status: &mut Self::Status) -> &mut Progress;
    /// Whether it may be about a view of its Architecture.
    fn concerns(&self, view: &FeatureView) -> bool;
    /// What the Job is handed.
    ///
    /// # Errors
    /// Why there is no such work yet, or at all.
    fn resolve(&self, architecture: &Architecture, views: &Views) -> Result<Value, Refusal>;
    /// The pod that does it, with `input`, the folder of [`Work::file`], among its mounts.
    fn pod<'a>(&'a self, architecture: &'a Architecture, input: Mount) -> Pod<'a>;
    /// Notes what was decided when the work began.
    fn begun(status: &mut Self::Status, input: &Value);
    /// Notes what the Job reported, and says it in words; `None` if the report does not read.
    fn ended(status: &mut Self::Status, report: &str) -> Option<String>;
}

/// One round.
///
/// # Errors
/// [`Error`]; the round is tried again.
pub async fn reconcile<K: Once>(object: Arc<K>, context: Arc<Context>) -> Result<Action, Error> {
    let Some(observed) = observe::observe(&context, &*object).await? else { return Ok(Action::await_change()) };
    let writer = Writer::new(context.client.clone(), &observed.object);
    let state = match &observed.job {
        Some(job) => report::State::of(outcome::outcome(job, &observed.pods)),
        None => match desire::desire(&observed, &context.settings) {
            Ok(desired) => apply::apply(desired, &writer).await?,
            Err(refusal) => report::State::Refused(refusal),
        },
    };
    let status = report::status(&observed, &state, (context.now)());
    let previous = observed.object.known().cloned().unwrap_or_default();
    if status != previous {
        writer.status(&observed.object, &status).await?;
        report::events(&context, &observed.object, previous, status).await;
    }
    Ok(if state.waits() {
        Action::requeue(context.settings.poll * 5)
    } else if state.is_final() {
        Action::await_change()
    } else {
        resync(&context, &observed.object)
    })
}

/// Whether an object still waits for what a change of its Architecture or of a view may bring.
pub fn is_pending<K: Once>(object: &K) -> bool {
    let mut status = object.known().cloned().unwrap_or_default();
    object.meta().deletion_timestamp.is_none() && !K::progress(&mut status).phase.is_final()
}

/// The name of its Job, and of what the Job is handed.
fn name_of<K: Once>(object: &K) -> String {
    format!("{}-{}", object.name_any(), K::WORK.name)
}

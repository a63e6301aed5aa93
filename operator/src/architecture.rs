//! The driver of `Architecture`: observe → desire → apply → report, once a round.

pub mod archive;
pub mod desire;
pub mod migration;
pub mod observe;
pub mod report;

use std::sync::Arc;

use crds::Architecture;
use kube::ResourceExt as _;
use kube::runtime::controller::Action;

use crate::apply::Writer;
use crate::context::Context;
use crate::error::Error;
use crate::names::ARCHITECTURE_FINALIZER;
use crate::resync;

/// One round.
///
/// # Errors
/// [`Error`]; the round is tried again.
pub async fn reconcile(architecture: Arc<Architecture>, context: Arc<Context>) -> Result<Action, Error> {
    let Some(mut observed) = observe::observe(&context, &architecture).await? else {
        return Ok(Action::await_change());
    };
    let writer = Writer::new(context.client.clone(), &observed.architecture);
    let finalized = observed.architecture.finalizers().iter().any(|f| f == ARCHITECTURE_FINALIZER);
    let deleted = observed.architecture.metadata.deletion_timestamp.is_some();
    if deleted && (!finalized || observed.views == 0) {
        // Its views are gone, so nothing needs the way to their store any more.
        desire::delete(&writer, &observed).await?;
        if finalized {
            writer.finalizer(&observed.architecture, ARCHITECTURE_FINALIZER, false).await?;
        }
        return Ok(Action::await_change());
    }
    if !finalized {
        observed.architecture = writer.finalizer(&observed.architecture, ARCHITECTURE_FINALIZER, true).await?;
    }
    let applied = match &observed.secrets {
        Ok(secrets) => {
            let desired = desire::desire(&observed, &secrets.version, &context.settings);
            Some(Box::pin(desire::apply(desired, &writer, &observed)).await?)
        }
        // Pods would wait for a Secret that is not there; what stands, stays.
        Err(_) => None,
    };
    let status = report::status(&observed, applied.as_ref(), (context.now)());
    let previous = observed.architecture.status.clone().unwrap_or_default();
    if status != previous {
        writer.status(&observed.architecture, &status).await?;
        report::events(&context, &observed.architecture, &previous, &status).await;
    }
    Ok(if deleted || observed.secrets.is_err() {
        Action::requeue(context.settings.poll)
    } else if observed.secrets.as_ref().is_ok_and(|secrets| !secrets.version.is_empty()) {
        // To watch Secrets is to be allowed to read all of them; those that are named are asked for instead.
        Action::requeue(context.settings.secrets_poll)
    } else {
        resync(&context, &observed.architecture)
    })
}

//! The driver of `FeatureView`: observe → resolve → decide → desire → apply → act → report, once a round.
//!
//! A round never relies on the one before: it reads everything anew, does the next step, and may be cut off anywhere.
//! `resolve`, `phase`, `desire` and `report` are pure; `observe` reads, `apply` and `act` write.

pub mod act;
pub mod apply;
pub mod desire;
mod events;
mod finalize;
pub mod observe;
pub mod phase;
mod pin;
pub mod report;
pub mod resolve;

use std::sync::Arc;

use crds::FeatureView;
use kube::ResourceExt as _;
use kube::runtime::controller::Action;

use crate::apply::Writer;
use crate::context::Context;
use crate::error::Error;
use crate::names::VIEW_FINALIZER;
use crate::resync;

/// One round.
///
/// # Errors
/// [`Error`]; the round is tried again.
pub async fn reconcile(view: Arc<FeatureView>, context: Arc<Context>) -> Result<Action, Error> {
    let Some(mut observed) = observe::objects(&context, &view).await? else { return Ok(Action::await_change()) };
    let writer = Writer::new(context.client.clone(), &observed.view);
    if observed.view.metadata.deletion_timestamp.is_some() {
        return finalize::finalize(&context, &writer, observed).await;
    }

    let resolved = resolve::resolve(&context.resolutions, &observed);
    // A view that was never accepted owns nothing outside of Kubernetes, and so needs no finalizer.
    if resolved.is_ok() && !observed.view.finalizers().iter().any(|f| f == VIEW_FINALIZER) {
        observed.view = writer.finalizer(&observed.view, VIEW_FINALIZER, true).await?;
    }
    let store = observe::store(&context, &observed, resolved.as_ref().ok()).await;
    let now = (context.now)();
    let decision = phase::decide(&phase::facts(&observed, &resolved, &store, now));

    let plans = observe::plans(&observed, &resolved, &store);
    let desired = desire::desire(&observed, &plans, &decision, &context.settings);
    let applied = Box::pin(apply::apply(desired, &writer, &observed, &decision)).await?;
    let acted = act::act(&context, &writer, &mut observed, &store, &plans, &decision).await?;

    let round = report::Round {
        observed: &observed,
        resolved: &resolved,
        store: &store,
        decision: &decision,
        applied: &applied,
        acted: &acted,
        now,
    };
    let status = round.status();
    let previous = observed.view.status.clone().unwrap_or_default();
    if status != previous {
        writer.status(&observed.view, &status).await?;
        events::publish(&context, &observed.view, &previous, &status).await;
    }
    Ok(if round.waits(&status) {
        Action::requeue(context.settings.poll)
    } else if round.is_troubled() {
        Action::requeue(context.settings.poll * 5)
    } else {
        resync(&context, &observed.view)
    })
}

//! The driver of `FeatureView`: observe → resolve → decide → desire → apply → act → report, once a round.
//!
//! A round never relies on the one before: it reads everything anew, does the next step, and may be cut off anywhere.
//! `resolve`, `phase`, `desire` and `report` are pure; `observe` reads, `apply` and `act` write.

pub mod act;
pub mod apply;
mod belonging;
pub mod comparison;
pub mod desire;
mod events;
mod finalize;
#[cfg(test)]
pub(crate) mod fixtures;
mod hindrance;
mod history;
mod migration;
pub mod monitoring;
pub mod observe;
pub mod phase;
mod pin;
pub mod replay;
pub mod report;
pub mod resolve;
pub mod runs;
mod shadow;
pub mod source;

pub use history::MADE_OF;

use std::sync::Arc;
use std::time::Duration;

use crds::{FeatureView, FeatureViewStatus};
use kube::ResourceExt as _;
use kube::runtime::controller::Action;
use shell::trace;

use self::phase::Decision;
use crate::apply::Writer;
use crate::context::Context;
use crate::error::Error;
use crate::lag;
use crate::names::VIEW_FINALIZER;
use crate::resync_after;
use crate::scaling;

/// A view and its Architecture, for the tests of other drivers.
#[cfg(test)]
pub(crate) fn example() -> (FeatureView, crds::Architecture) {
    let observed = fixtures::observed("1h", 1, Vec::new());
    (observed.view, observed.architecture.unwrap_or_else(|| unreachable!()))
}

/// One round.
///
/// # Errors
/// [`Error`]; the round is tried again.
pub async fn reconcile(view: Arc<FeatureView>, context: Arc<Context>) -> Result<Action, Error> {
    let (namespace, name) = (view.namespace().unwrap_or_default(), view.name_any());
    let Some(mut observed) = trace::span("observe", observe::objects(&context, &view)).await? else {
        context.metrics.forget(namespace, name);
        return Ok(Action::await_change());
    };
    let uid = observed.view.uid().unwrap_or_default();
    let writer = Writer::new(context.client.clone(), &observed.view);
    if observed.view.metadata.deletion_timestamp.is_some() {
        context.lags.forget(&uid);
        context.metrics.forget(namespace, name);
        context.metrics.checks.forget(&uid);
        return finalize::finalize(&context, &writer, observed).await;
    }

    let resolving = trace::part("resolve");
    let resolved = resolve::resolve(&context.resolutions, &observed);
    drop(resolving);
    let resolved = resolved.map(|plan| {
        let run = observed.run.insert(runs::current(&observed, &plan.revision));
        runs::named(plan, &run.revision)
    });
    // A view that was never accepted owns nothing outside of Kubernetes, and so needs no finalizer.
    if resolved.is_ok() && !observed.view.finalizers().iter().any(|f| f == VIEW_FINALIZER) {
        observed.view = writer.finalizer(&observed.view, VIEW_FINALIZER, true).await?;
    }
    let wanted = resolved.as_ref().ok().map(|plan| plan.revision.clone());
    let pin = phase::pin(&observed.view.spec.rollout).map(str::to_owned);
    let asked = pin.as_ref().or(wanted.as_ref()).map(String::as_str);
    let store = trace::span("observe the store", observe::store(&context, &observed, asked)).await;
    let now = (context.now)();
    let plans = observe::plans(&observed, &resolved, &store);
    let resolved = comparison::accept(resolved, &observed, &plans, &store);
    let wanted = resolved.as_ref().ok().map(|plan| plan.revision.clone());
    let mut facts = phase::facts(&observed, wanted.as_deref(), &plans, &store, now);
    let mut decision = phase::decide(&facts);
    facts.replay.captured = observe::offsets(&context, &observed, &store, &plans, &decision, now).await;
    if facts.replay.captured.is_some() {
        decision = phase::decide(&facts);
    }

    let desired = desire::desire(&observed, &plans, &decision, &context.settings);
    let applied = trace::span("apply", Box::pin(apply::apply(desired, &writer, &observed, &decision))).await?;
    let acted = trace::span("act", act::act(&context, &writer, &mut observed, &store, &plans, &decision)).await?;

    let stands = observed.view.status.as_ref();
    let live = acted.moved.as_ref().or(decision.memory.active.as_ref()).map(String::as_str);
    let lag = context.lags.follow(&uid, lag::of_round(&observed, &store, &plans, live), stands);
    let round = report::Round {
        observed: &observed,
        resolved: &resolved,
        plans: &plans,
        store: &store,
        decision: &decision,
        applied: &applied,
        acted: &acted,
        lag: &lag,
        now,
    };
    let mut status = round.status();
    status.source = source::held(&context, &observed, &store, &resolved, now);
    let previous = observed.view.status.clone().unwrap_or_default();
    let (waits, troubled) = (round.waits(&status), round.is_troubled());
    round.show_checks(&context.metrics.checks, &status);
    if status != previous {
        observed.view = writer.status(&observed.view, &status).await?;
        events::publish(&context, &observed.view, &previous, &status).await;
    }
    context.metrics.lag.freshness.reported(&namespace, &name, &previous, &status);
    let policy = scaling::Policy::of(&observed.view.spec);
    let of_view = lag::figures::View { namespace, feature_view: name };
    context.metrics.scaling.reported(of_view, policy.as_ref(), &previous, &status);
    // Only now: what was asked for stands in status, and would otherwise be lost with the round.
    answer(&context, &writer, &observed.view, &decision).await?;
    // How many workers there are to be stands in status now, and so they may be made.
    let desired = |status: &FeatureViewStatus| status.scaling.as_ref().map(|scaling| scaling.desired_replicas);
    if desired(&status).is_some() && desired(&status) != desired(&previous) {
        return Ok(Action::requeue(Duration::ZERO));
    }
    let again = match (waits, troubled) {
        (true, _) => context.settings.poll,
        (false, true) => context.settings.poll * 5,
        (false, false) => resync_after(&context, &observed.view),
    };
    let next = decision.next.into_iter().chain(belonging::next(&observed, &decision, now));
    let next = next.chain(observed.until_overdue(now)).min();
    let next = next.and_then(|next| Duration::try_from(next).ok());
    Ok(Action::requeue(next.map_or(again, |next| next.min(again))))
}

/// Takes requests off the view, so that none is heeded twice, and says which could not be heeded.
async fn answer(context: &Context, writer: &Writer, view: &FeatureView, decision: &Decision) -> Result<(), Error> {
    if decision.answered.is_empty() {
        return Ok(());
    }
    let asked: Vec<&str> = decision.answered.iter().map(|(request, _)| request.verb.annotation()).collect();
    writer.unannotate(view, &asked).await?;
    for (request, _) in decision.answered.iter().filter(|(_, heeded)| !heeded) {
        events::ignored(context, view, request, decision).await;
    }
    Ok(())
}

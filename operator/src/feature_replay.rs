//! The driver of `FeatureReplay`: observe → decide → report, once a round. What it decides is when a run of a view's definition
//! begins and what became of it; the run itself is the view's, and goes the way of any other revision.
//!
//! Invariants: a run stands in the replay's status before the view knows of it; of one view there is never more than one
//! under way; a replay whose phase is final is never worked on again.

mod decide;
mod observe;
mod report;

use std::sync::Arc;
use std::time::Duration;

use crds::FeatureReplay;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::runtime::controller::Action;

use crate::apply::Writer;
use crate::context::Context;
use crate::error::Error;

/// One round.
///
/// # Errors
/// [`Error`]; the round is tried again.
pub async fn reconcile(replay: Arc<FeatureReplay>, context: Arc<Context>) -> Result<Action, Error> {
    let Some(mut observed) = observe::observe(&context, &replay).await? else { return Ok(Action::await_change()) };
    let (writer, now) = (Writer::new(context.client.clone(), &observed.replay), (context.now)());
    if let Some(ended) = ended(&observed.replay) {
        let Some(ttl) = observed.replay.spec.ttl_seconds_after_finished else { return Ok(Action::await_change()) };
        let left = SignedDuration::from_secs(ttl.into()) - now.duration_since(ended);
        if let Ok(left) = Duration::try_from(left)
            && !left.is_zero()
        {
            return Ok(Action::requeue(left));
        }
        writer.end(&observed.replay).await?;
        return Ok(Action::await_change());
    }
    let mut state = decide::decide(&observed, now);
    if matches!(state, decide::State::Asks) {
        observed.held = Some(observe::offsets(&context, &observed, now).await?);
        state = decide::decide(&observed, now);
    }
    let status = report::status(&observed.replay, &state, now);
    let previous = observed.replay.status.clone().unwrap_or_default();
    if status != previous {
        let written = writer.status(&observed.replay, &status).await?;
        report::events(&context, &written, &previous, &status).await;
    }
    // The end of a round of the view sends no event here. What takes a person heals in no hurry.
    let hurry = if matches!(&state, decide::State::Refused(refusal) if !refusal.pending) { 5 } else { 1 };
    Ok(Action::requeue(context.settings.poll * hurry))
}

/// When it ended, if it did.
fn ended(replay: &FeatureReplay) -> Option<Timestamp> {
    let progress = &replay.status.as_ref()?.progress;
    let at = progress.completion_time.as_ref().and_then(|time| time.parse().ok());
    progress.phase.is_final().then(|| at.unwrap_or(Timestamp::UNIX_EPOCH))
}

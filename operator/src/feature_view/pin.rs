//! Which generation `spec.servingGeneration` asks for, and whether it can be had. Pure.
//!
//! Generation `n − 1` stays whole in its slot until run `n + 1` writes to it. A run says so in the store before its first row,
//! and that stands whatever becomes of it: killed, failed, or followed by one that the gate refuses. One that has begun and said
//! nothing yet is seen by its Job.

use engine::row::Head;
use k8s_openapi::jiff::Timestamp;

use super::monitoring::is_check;
use super::observe::{Observed, StoreFacts, revision_of};
use crate::jobs::{begun, is_finished};

/// The live revision and the head that it should have, if that is another than it has.
///
/// # Errors
/// Why the generation cannot be served.
pub(super) fn target(observed: &Observed, facts: &StoreFacts) -> Result<Option<(String, Head)>, String> {
    let (Some(pin), Some(head), Some(live)) =
        (observed.view.spec.serving_generation, facts.live_head.as_ref(), facts.live.as_ref())
    else {
        return Ok(None);
    };
    let served = i64::try_from(head.generation).unwrap_or(i64::MAX);
    if served == pin {
        return Ok(None);
    }
    let previous = observed.view.status.as_ref().and_then(|status| status.previous_generation.as_ref());
    let previous =
        previous.filter(|p| p.generation == pin && p.generation + 1 == served && p.revision == live.revision);
    let Some(previous) = previous else {
        return Err(format!(
            "spec.servingGeneration: {pin} cannot be served: {served} is, and only the one before it is kept, as status.previousGeneration says"
        ));
    };
    if let Some(writing) = facts.writing.filter(|writing| *writing > head.generation) {
        return Err(format!(
            "spec.servingGeneration: generation {pin} is no longer whole: a run has begun to write generation {writing} in its place"
        ));
    }
    let mine =
        |job: &&k8s_openapi::api::batch::v1::Job| revision_of(*job) == Some(live.revision.as_str()) && !is_check(*job);
    let reported = facts.run.as_ref().map_or(i64::MIN, |report| report.finished_ms);
    if observed.jobs.iter().filter(mine).any(|job| !is_finished(job)) {
        return Err(format!(
            "spec.servingGeneration: generation {pin} cannot be served while a batch run is under way"
        ));
    }
    if observed.jobs.iter().filter(mine).any(|job| begun(job) > reported) {
        return Err(format!(
            "spec.servingGeneration: generation {pin} may no longer be whole: a batch run has begun since and did not report its end"
        ));
    }
    let horizon: Timestamp = previous
        .horizon
        .parse()
        .map_err(|error| format!("status.previousGeneration.horizon {:?} does not read: {error}", previous.horizon))?;
    let head = Head {
        generation: head.generation - 1,
        horizon: horizon.as_millisecond(),
        fence: head.fence + 1,
        ..head.clone()
    };
    Ok(Some((live.revision.clone(), head)))
}

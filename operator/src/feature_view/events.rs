//! What of a change of status people are told of, as Kubernetes events: transitions only, so that nothing repeats.

use crds::condition::{ConditionStatus, reasons, types};
use crds::{FeatureView, FeatureViewStatus};
use kube::runtime::events::EventType;

use crate::conditions::find;
use crate::context::Context;
use crate::events::{Happening, emit};

pub(super) async fn publish(
    context: &Context,
    view: &FeatureView,
    before: &FeatureViewStatus,
    after: &FeatureViewStatus,
) {
    for happening in happenings(before, after) {
        emit(context, view, happening).await;
    }
}

fn happenings(before: &FeatureViewStatus, after: &FeatureViewStatus) -> Vec<Happening> {
    let mut all = Vec::new();
    let condition = |status: &FeatureViewStatus, type_| find(&status.conditions, type_).cloned();
    let (was, is) = (condition(before, types::SPEC_ACCEPTED), condition(after, types::SPEC_ACCEPTED));
    if let Some(is) =
        is.filter(|is| was.as_ref().is_none_or(|was| was.status != is.status || was.message != is.message))
    {
        match is.status {
            ConditionStatus::False => all.push(Happening::new(EventType::Warning, &is.reason, "Resolve", is.message)),
            ConditionStatus::True => all.push(Happening::new(EventType::Normal, &is.reason, "Resolve", is.message)),
            ConditionStatus::Unknown => {}
        }
    }
    if let (Some(was), None | Some(_)) = (&before.candidate_revision, &after.candidate_revision)
        && after.candidate_revision.as_ref() != Some(was)
        && after.active_revision.as_ref() != Some(was)
        && find(&after.conditions, types::SPEC_ACCEPTED).is_some_and(|c| c.status == ConditionStatus::True)
    {
        let note = format!("revision {was} was superseded before it caught up");
        all.push(Happening::new(EventType::Normal, reasons::SUPERSEDED, "Promote", note));
    }
    if let Some(active) = after.active_revision.as_ref().filter(|a| before.active_revision.as_ref() != Some(a)) {
        let note = format!("revision {active} is live");
        all.push(Happening::new(EventType::Normal, reasons::PROMOTED, "Promote", note));
    }
    if let (Some(was), Some(is)) = (before.generation, after.generation)
        && is < was
        && before.active_revision == after.active_revision
    {
        let note = format!("generation {is} is served again in place of {was}");
        all.push(Happening::new(EventType::Normal, reasons::ROLLED_BACK, "Publish", note));
    }
    if let Some(run) = after.last_run.as_ref().filter(|run| before.last_run.as_ref() != Some(run)) {
        let why = run.message.clone().unwrap_or_default();
        let generation = run.generation;
        all.extend(match run.outcome.as_str() {
            "Published" => {
                let note = format!("generation {generation} of {} entities is served", run.rows);
                Some(Happening::new(EventType::Normal, reasons::GENERATION_PUBLISHED, "Publish", note))
            }
            "Refused" => {
                let note = format!("generation {generation}: {why}; the one before is served on");
                Some(Happening::new(EventType::Warning, reasons::GENERATION_REFUSED, "Publish", note))
            }
            "Failed" => Some(Happening::new(EventType::Warning, reasons::RUN_FAILED, "Run", why)),
            _ => None,
        });
    }
    let stalled = |status| condition(status, types::STALLED).filter(|c| c.status == ConditionStatus::True);
    let told = before.last_run != after.last_run
        || stalled(after)
            .is_some_and(|c| find(&after.conditions, types::SPEC_ACCEPTED).is_some_and(|s| s.reason == c.reason));
    if let Some(is) = stalled(after).filter(|_| !told)
        && stalled(before).is_none_or(|was| was.reason != is.reason)
    {
        all.push(Happening::new(EventType::Warning, &is.reason, "Observe", is.message));
    }
    let ready = |status| condition(status, types::READY);
    if let Some(is) = ready(after).filter(|c| c.reason == reasons::STORE_UNREACHABLE)
        && ready(before).is_none_or(|was| was.reason != is.reason)
    {
        all.push(Happening::new(EventType::Warning, reasons::STORE_UNREACHABLE, "Observe", is.message));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unchanged_status_tells_nothing_and_a_promotion_one_thing() {
        let before = FeatureViewStatus {
            candidate_revision: Some("b".into()),
            active_revision: Some("a".into()),
            ..Default::default()
        };
        let after = FeatureViewStatus { active_revision: Some("b".into()), ..Default::default() };
        assert!(happenings(&before, &before).is_empty());
        let told: Vec<String> = happenings(&before, &after).into_iter().map(|h| h.reason).collect();
        assert_eq!(told, ["Promoted"]);
    }
}

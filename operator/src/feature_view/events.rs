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

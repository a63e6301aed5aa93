//! The history of a view: each of its revisions as a ControllerRevision, with what it was made of and the image it runs. Pure.
//!
//! Invariants: what a revision was made of is written once and never changed; a revision is made anew only if the engine
//! of today makes the very same of it.

mod under;

pub use under::mode_of;
pub(super) use under::{architecture, architecture_of_entry, mode, mode_of_entry};

use std::borrow::Cow;
use std::sync::Arc;

use crds::{FeatureView, FeatureViewSpec};
use engine::plan::Plan;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::ResourceExt as _;
use serde_json::{Map, Value, json};

use super::observe::{Observed, revision_of};
use super::phase::{Decision, Past};
use super::{replay, resolve, runs};
use crate::conditions::seconds;
use crate::names::{self, IMAGE_ANNOTATION, PROMOTED_ANNOTATION};

/// The parts of a spec that a revision is made of: all that changes a value, with what lies beside it in the same field.
pub const MADE_OF: [&str; 8] =
    ["entity", "source", "allowedLateness", "maxFuture", "features", "archive", "silver", "horizonMaxAge"];

/// What stands of the history.
pub(super) fn past(observed: &Observed) -> Vec<Past> {
    let of = |entry: &ControllerRevision| {
        let revision = revision_of(entry)?.to_owned();
        let promoted = entry.annotations().get(PROMOTED_ANNOTATION).and_then(|text| text.parse().ok());
        let stands = observed.workloads().any(|workload| workload == revision);
        let replays = replay::job(observed, &revision).is_some();
        Some(Past { revision, number: entry.revision, promoted, stands, replays })
    };
    observed.history.iter().filter_map(of).collect()
}

/// The image that a revision runs: the operator's own if it is the spec's, and else the one that it ran before, which
/// knows its plan.
pub(super) fn image<'a>(observed: &'a Observed, revision: &str, wanted: Option<&str>, newest: &'a str) -> &'a str {
    let before = entry(observed, revision).and_then(|entry| entry.annotations().get(IMAGE_ANNOTATION));
    before.filter(|_| wanted != Some(revision)).map_or(newest, String::as_str)
}

/// The view as it was when the revision was made, and as it is in all that changes no value.
pub(super) fn view<'a>(observed: &'a Observed, revision: &str, wanted: Option<&str>) -> Cow<'a, FeatureView> {
    let known = entry(observed, revision).filter(|_| wanted != Some(revision));
    let spec = known.and_then(|entry| {
        let mut spec = spec(observed, entry)?;
        // The mode of the spec may need none.
        spec.schedule = spec.schedule.or_else(|| under::schedule(entry));
        if let Some(table) = &mut spec.source.table {
            // It may be edited in place: of the same table it is as it is now, of another as it was last.
            let now = observed.view.spec.source.table.as_ref().filter(|now| now.uri == table.uri);
            let declared = now.map(|now| now.complete_until).or_else(|| under::complete_until(entry));
            table.complete_until = declared.unwrap_or(table.complete_until);
        }
        Some(spec)
    });
    match spec {
        Some(spec) => Cow::Owned(FeatureView { spec, ..observed.view.clone() }),
        None => Cow::Borrowed(&observed.view),
    }
}

/// The plan of a revision of the history, if its Architecture has what its mode needs.
pub(super) fn plan(observed: &Observed, revision: &str) -> Option<Arc<Plan>> {
    let mode = resolve::text(&under::mode(observed, revision)?);
    let base = runs::base(entry(observed, revision)?).unwrap_or(revision);
    let plan = resolve::plan(&view(observed, revision, None), &mode).ok().filter(|plan| plan.revision == base)?;
    let plan = runs::named(plan, revision);
    let spec = &under::architecture(observed, revision, None)?.spec;
    let lacks = plan.mode.has_stream_lanes() && spec.kafka.is_none()
        || plan.mode.has_generations() && spec.offline_store.is_none();
    (!lacks).then_some(plan)
}

/// Whether a revision of the history has a feature of that name.
pub(super) fn has_feature(observed: &Observed, name: &str) -> bool {
    let features = observed.history.iter().filter_map(|entry| entry.data.as_ref()?.0["spec"]["features"].as_array());
    features.flatten().any(|feature| feature["name"].as_str() == Some(name))
}

/// The entries of what runs.
pub(super) fn desire(observed: &Observed, decision: &Decision, image_of_now: &str) -> Vec<ControllerRevision> {
    let last = observed.history.iter().map(|entry| entry.revision).max().unwrap_or_default();
    let wanted = decision.wanted.as_deref();
    let make = |revision: &String| {
        let known = entry(observed, revision);
        // Of a revision that nobody noted there is nothing to be written but its name.
        let data = match known {
            Some(known) => known.data.clone(),
            None if wanted == Some(revision.as_str()) => Some(RawExtension(made_of(observed)?)),
            None => return None,
        };
        let mut annotations = names::labels([(IMAGE_ANNOTATION, image(observed, revision, wanted, image_of_now))]);
        let promoted = match decision.memory.promoted.filter(|_| decision.memory.active.as_ref() == Some(revision)) {
            Some(promoted) => Some(seconds(promoted)),
            None => known.and_then(|known| known.annotations().get(PROMOTED_ANNOTATION).cloned()),
        };
        annotations.extend(under::notes(observed, revision, wanted == Some(revision.as_str())));
        annotations.extend(runs::base_note(observed, known, revision));
        annotations.extend(promoted.map(|promoted| (PROMOTED_ANNOTATION.to_owned(), promoted)));
        let name = observed.view.name_any();
        let labels = names::labels([(names::VIEW_LABEL, &name), (names::REVISION_LABEL, revision)]);
        Some(ControllerRevision {
            metadata: ObjectMeta {
                name: Some(names::controller_revision(&name, revision)),
                namespace: observed.view.namespace(),
                labels: Some(names::with_common(&labels, &name)),
                annotations: Some(annotations),
                ..ObjectMeta::default()
            },
            data,
            revision: known.map_or(last + 1, |known| known.revision),
        })
    };
    decision.run.iter().filter_map(make).collect()
}

/// The entries that the history no longer has room for, of those that neither run, nor are asked for, nor are being removed:
/// first what a newer entry computes by the same definition, so that replays push no definition out, and then the oldest.
pub(super) fn surplus<'a>(observed: &'a Observed, decision: &Decision) -> Vec<&'a ControllerRevision> {
    let limit = usize::try_from(observed.view.spec.rollout.revision_history_limit).unwrap_or_default();
    let in_use =
        |revision: &str| decision.run.iter().chain(&decision.retire).chain(&decision.target).any(|r| r == revision);
    let mut idle: Vec<&ControllerRevision> =
        observed.history.iter().filter(|entry| !revision_of(*entry).is_some_and(in_use)).collect();
    let definition = |entry: &'a ControllerRevision| runs::base(entry).or_else(|| revision_of(entry));
    let is_repeated = |entry: &'a ControllerRevision| {
        observed.history.iter().any(|other| other.revision > entry.revision && definition(other) == definition(entry))
    };
    idle.sort_by_key(|entry| (is_repeated(entry), std::cmp::Reverse(entry.revision)));
    idle.split_off(limit.min(idle.len()))
}

fn entry<'a>(observed: &'a Observed, revision: &str) -> Option<&'a ControllerRevision> {
    observed.history.iter().find(|entry| revision_of(*entry) == Some(revision))
}

/// What the spec's revision is made of.
fn made_of(observed: &Observed) -> Option<Value> {
    let mut spec = fields(&observed.view.spec)?;
    spec.retain(|key, _| MADE_OF.contains(&key.as_str()));
    Some(json!({"mode": resolve::mode_of(observed.architecture.as_ref()?), "spec": spec}))
}

/// The spec with what an entry was made of in place of its own.
fn spec(observed: &Observed, entry: &ControllerRevision) -> Option<FeatureViewSpec> {
    let mut spec = fields(&observed.view.spec)?;
    spec.retain(|key, _| !MADE_OF.contains(&key.as_str()));
    spec.extend(entry.data.as_ref()?.0.get("spec")?.as_object()?.clone());
    serde_json::from_value(Value::Object(spec)).ok()
}

fn fields(spec: &FeatureViewSpec) -> Option<Map<String, Value>> {
    match serde_json::to_value(spec) {
        Ok(Value::Object(fields)) => Some(fields),
        _ => None,
    }
}

#[cfg(test)]
mod tests;

//! What a change would do, in words. Pure.

use std::fmt::Write as _;
use std::sync::Arc;

use crds::feature_view::{Feature, StartPolicy, WindowType};
use crds::{Architecture, FeatureView};
use engine::plan::Plan;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use operator::feature_view::resolve::plan_under;
use operator::feature_view::{MADE_OF, replay, runs};

use super::Change;
use super::change::{Difference, differences};
use crate::tell::{duration, grouped, word};

/// A view as it stands.
pub struct Before<'a> {
    /// The view.
    pub view: &'a FeatureView,
    /// The Architecture that it names.
    pub architecture: Option<&'a Architecture>,
    /// The revisions that are remembered.
    pub history: Vec<ControllerRevision>,
}

/// A view, and what it would be.
pub struct View<'a> {
    /// As it stands, if it does.
    pub before: Option<Before<'a>>,
    /// As it would be.
    pub after: &'a FeatureView,
    /// The Architecture that it would name.
    pub architecture: Option<&'a Architecture>,
    /// Whether the file holds it, or only the Architecture that it follows.
    pub in_file: bool,
}

/// Whether anything changes, and what.
pub fn architecture(change: &Change<Architecture>) -> (bool, String) {
    let head = format!("architecture/{}", change.after.name_any());
    let Some(before) = &change.before else { return (true, format!("{head}  would be made\n")) };
    let spec = |architecture: &Architecture| serde_json::to_value(&architecture.spec).ok();
    let found = differences("spec", spec(before).as_ref(), spec(&change.after).as_ref());
    if found.is_empty() {
        return (false, format!("{head}  unchanged\n"));
    }
    let mut text = format!("{head}  updated in place\n");
    lines(&mut text, "  ~ ", &found);
    if super::mode_changes(change) {
        let at_once = change.after.spec.migration.max_concurrent;
        let _ = writeln!(text, "  its views are computed anew in the mode, {at_once} at once:");
    }
    (true, text)
}

/// Whether anything changes, and what.
///
/// # Errors
/// What the operator would say of the spec, if it would refuse it.
pub fn view(view: &View<'_>, now: Timestamp) -> Result<(bool, String), String> {
    let (name, after) = (view.after.name_any(), view.after);
    let Some(architecture) = view.architecture else {
        let reference = &after.spec.architecture_ref.name;
        return Err(format!("featureview/{name}: spec.architectureRef.name: there is no Architecture {reference:?}"));
    };
    let refused = |why| format!("featureview/{name} would be refused by the operator: {why}");
    let plan = plan_under(after, architecture).map_err(|refusal| refused(refusal.message))?;
    let head = format!("featureview/{name}");
    let Some(before) = &view.before else {
        let mut text = format!("{head}  would be made: revision {}, which serves at once\n", plan.revision);
        features(&mut text, &[], &after.spec.features);
        let _ = writeln!(text, "  reads    {}", reads(view, &plan, true, now));
        return Ok((true, text));
    };
    // What stands may be a spec that was refused, or have no Architecture.
    let former = before.architecture.and_then(|architecture| plan_under(before.view, architecture).ok());
    let spec = |view: &FeatureView| serde_json::to_value(&view.spec).ok();
    let found = differences("spec", spec(before.view).as_ref(), spec(after).as_ref());
    if former.as_ref().is_some_and(|former| former.revision == plan.revision) {
        if found.is_empty() {
            return Ok((false, format!("{head}  unchanged\n")));
        }
        let mut text = format!("{head}  updated in place, revision {} stays\n", plan.revision);
        lines(&mut text, "  ~ ", &found);
        return Ok((true, text));
    }
    // It may have been computed anew since, under another name.
    let active = before.view.status.as_ref().and_then(|status| status.active_revision.as_deref());
    let revision = runs::served(&before.history, active, &plan.revision);
    let plan = runs::named(plan, &revision);
    Ok((true, revised(view, before, &plan, former.as_deref(), &found, now)))
}

/// A view whose revision is another.
fn revised(
    view: &View<'_>,
    before: &Before<'_>,
    plan: &Arc<Plan>,
    former: Option<&Plan>,
    found: &[Difference],
    now: Timestamp,
) -> String {
    let (name, after, revision) = (view.after.name_any(), view.after, &plan.revision);
    let status = before.view.status.clone().unwrap_or_default();
    let (active, candidate) = (status.active_revision.as_ref(), status.candidate_revision.as_ref());
    let given_up = candidate.filter(|candidate| *candidate != revision);
    let given_up = given_up.map_or_else(String::new, |candidate| format!("; candidate {candidate} is given up"));
    let kept = active == Some(revision) || status.previous_revision.as_ref() == Some(revision);
    let what = match active {
        Some(active) if active == revision => format!("back to revision {revision}, which serves{given_up}"),
        Some(active) if kept => {
            format!("back to revision {revision}, which is kept: reads move there at once from {active}{given_up}")
        }
        Some(active) => format!("a new revision {revision} is to take the place of {active}{given_up}"),
        None => format!("a new revision {revision}, which serves at once"),
    };
    let mut text = format!("featureview/{name}  {what}\n");
    features(&mut text, &before.view.spec.features, &after.spec.features);
    if let Some(former) = former.filter(|former| former.mode != plan.mode) {
        let _ = writeln!(text, "  ~ mode: {:?} -> {:?}", former.mode, plan.mode);
    }
    let field = |difference: &Difference| difference.path.split(['.', '[']).nth(1).unwrap_or_default().to_owned();
    let (made_of, in_place): (Vec<_>, Vec<_>) = found
        .iter()
        .filter(|difference| field(difference) != "features")
        .cloned()
        .partition(|difference| MADE_OF.contains(&field(difference).as_str()));
    lines(&mut text, "  ~ ", &made_of);
    if !kept {
        let _ = writeln!(text, "  reads    {}", reads(view, plan, active.is_none(), now));
    }
    if let Some(active) = active.filter(|_| !kept) {
        let _ = writeln!(text, "  then     {}", then(after, active));
    }
    if !in_place.is_empty() {
        text.push_str("  updated in place\n");
        lines(&mut text, "    ~ ", &in_place);
    }
    if !view.in_file {
        text.push_str("  it follows its Architecture, and is not in the file\n");
    }
    text
}

fn lines(text: &mut String, before: &str, found: &[Difference]) {
    for difference in found {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{before}{difference}");
    }
}

/// A line for each feature that comes, goes or is changed.
fn features(text: &mut String, before: &[Feature], after: &[Feature]) {
    let of = |all: &[Feature], name: &str| all.iter().find(|feature| feature.name == name).map(define);
    let added = after.iter().filter(|feature| of(before, &feature.name).is_none());
    let names: Vec<&String> = before.iter().chain(added).map(|feature| &feature.name).collect();
    let differs = |name: &&&String| of(before, name) != of(after, name);
    let names: Vec<&&String> = names.iter().filter(differs).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or_default();
    for name in names {
        let _ = match (of(before, name), of(after, name)) {
            (Some(old), Some(new)) => writeln!(text, "  ~ {name:<width$}  {old}\n    {:<width$}  -> {new}", ""),
            (Some(old), None) => writeln!(text, "  - {name:<width$}  {old}"),
            (None, new) => writeln!(text, "  + {name:<width$}  {}", new.unwrap_or_default()),
        };
    }
}

/// What a feature is, in one line.
fn define(feature: &Feature) -> String {
    if let Some(expression) = &feature.expression {
        return expression.clone();
    }
    let aggregate = feature.aggregate.as_ref().map(word).unwrap_or_default();
    let arguments: Vec<String> = [
        feature.of.clone(),
        feature.percentile.as_ref().map(|p| format!("percentile {p}")),
        feature.k.map(|k| format!("k {k}")),
    ]
    .into_iter()
    .flatten()
    .collect();
    let arguments = if arguments.is_empty() { String::new() } else { format!("({})", arguments.join(", ")) };
    let condition = feature.where_.as_ref().map(|where_| format!(" where {where_}")).unwrap_or_default();
    let tumbling = if feature.type_ == Some(WindowType::Tumbling) { "tumbling " } else { "" };
    let window = match &feature.window {
        Some(window) => format!(" over {tumbling}{window}"),
        None => " over all time".to_owned(),
    };
    let hop = feature.hop.as_ref().map(|hop| format!(" by {}", word(hop))).unwrap_or_default();
    format!("{aggregate}{arguments}{condition}{window}{hop}")
}

/// What a new revision reads before it serves.
fn reads(view: &View<'_>, plan: &Plan, first: bool, now: Timestamp) -> String {
    let source = &view.after.spec.source;
    let mut parts = Vec::new();
    if let Some(stream) = plan.source.stream.as_ref().filter(|_| plan.mode.has_stream_lanes()) {
        let topic = &stream.topic;
        let status = view.before.as_ref().and_then(|before| before.view.status.as_ref());
        let held = status.and_then(|status| status.source.as_ref()).filter(|held| held.topic == *topic);
        let records = held.map_or_else(
            || format!("records of topic {topic}, of which it is not known yet how many it holds"),
            |held| format!("{} records of {} partitions of topic {topic}", grouped(held.records), held.partitions),
        );
        let counted = held.and_then(|held| counted(&held.observed_time, now)).unwrap_or_default();
        let start = &view.after.spec.rollout.start_from;
        parts.push(match (replay::since(start, plan, now).map(time), start.policy) {
            _ if first => format!("{records}, from the first on{counted}"),
            (_, StartPolicy::Latest) => format!("nothing of what topic {topic} holds: windows fill as time goes by"),
            (Some(since), _) => format!("replays at most {records}: those of {since} or later{counted}"),
            (None, _) => format!("replays {records}, from the first on{counted}"),
        });
    }
    if plan.mode.has_generations() {
        let table = match (&source.table, &source.topic) {
            (Some(table), _) => format!("table {}", table.uri),
            (None, Some(topic)) => format!("the archive of topic {topic}"),
            (None, None) => "its table".to_owned(),
        };
        parts.push(format!("{table}, by a batch run that begins at once"));
    }
    parts.join("; ")
}

/// When the records of a topic were counted, if that is so long ago that there may be many more by now.
fn counted(observed: &str, now: Timestamp) -> Option<String> {
    let ago = now.as_second() - observed.parse::<Timestamp>().ok()?.as_second();
    (ago >= 60).then(|| format!(" (counted {} ago)", duration(ago)))
}

/// A time in RFC 3339, to the second.
fn time(ms: i64) -> String {
    Timestamp::from_second(ms.div_euclid(1000))
        .map_or_else(|_| "the beginning of time".to_owned(), |time| time.to_string())
}

/// What comes after the replay.
fn then(view: &FeatureView, active: &str) -> String {
    let (rollout, name) = (&view.spec.rollout, view.name_any());
    if let Some(pin) = rollout.serving_revision.as_deref().filter(|pin| !pin.is_empty()) {
        return format!("nothing, and nothing is read: spec.rollout.servingRevision holds revision {pin}");
    }
    if view.spec.suspend {
        return "nothing, and nothing is read, while spec.suspend is set".to_owned();
    }
    let mut steps = vec![format!("once it has kept up for {}", duration(rollout.catch_up.stable_for_seconds.into()))];
    if rollout.comparison.sample_keys > 0 {
        let entities = grouped(rollout.comparison.sample_keys.into());
        steps.push(format!("and its values of {entities} entities are those announced"));
    }
    let takes_over = match (rollout.paused, rollout.auto_promotion_enabled) {
        (true, _) => "it waits, since spec.rollout.paused is set".to_owned(),
        (false, true) => "it takes over by itself".to_owned(),
        (false, false) => format!("it waits for `featuremill promote {name}`"),
    };
    let soak = match rollout.scale_down_delay_seconds {
        0 => format!("{active} is removed at once"),
        seconds => format!("{active} is kept for {}", duration(seconds.into())),
    };
    format!("{}, {takes_over}; {soak}", steps.join(" "))
}

#[cfg(test)]
mod tests;

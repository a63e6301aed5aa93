//! What the revisions of a view that run were made from, as their `ConfigMap`s say. Pure.
//!
//! Not as the spec would resolve now: a live revision stays what it was while the spec is edited.

use std::collections::BTreeMap;

use crds::FeatureView;
use engine::plan::{Assignment, Assignments};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use serde_json::Value;

use crate::feature_view::observe::{BatchPlan, revision_of};
use crate::names::{ASSIGNMENTS_KEY, BATCH_KEY};

/// One revision, and where its tables are.
pub struct Revision {
    /// Its plan, and the rows that it fills.
    pub assignment: Assignment,
    /// What its batch runs read in place of the plan's own table, in the words of their configuration.
    pub source: Option<Value>,
    /// The topic that its events come from, if that is archived.
    pub archived: Option<String>,
    /// Its Silver.
    pub silver: Option<String>,
    /// Its feature table.
    pub gold: Option<String>,
}

/// The revisions of `view` that run; `topics` are those that its Architecture archives, for this view or for another.
pub(super) fn revisions<T>(
    view: &FeatureView,
    topics: &BTreeMap<String, T>,
    maps: &[ConfigMap],
) -> BTreeMap<String, Revision> {
    let uid = view.uid().unwrap_or_default();
    let archived = view.spec.source.topic.clone().filter(|topic| topics.contains_key(topic));
    let mut revisions = BTreeMap::new();
    let mine = maps.iter().filter(|map| map.owner_references().iter().any(|owner| owner.uid == uid));
    for (revision, data) in mine.filter_map(|map| Some((revision_of(map)?, map.data.as_ref()?))) {
        let of =
            |assignment| Revision { assignment, source: None, archived: archived.clone(), silver: None, gold: None };
        if let Some(plan) = data.get(BATCH_KEY).and_then(|text| serde_json::from_str::<BatchPlan>(text).ok()) {
            let gold = Some(plan.feature_table);
            let silver = plan.silver.map(|silver| silver.table);
            let revised = Revision { source: plan.source, silver, gold, ..of(plan.assignment) };
            // It says more than the plan of a Lambda's stream, which may have been seen first.
            revisions.insert(revision.to_owned(), revised);
        } else if let Some(plans) =
            data.get(ASSIGNMENTS_KEY).and_then(|text| serde_json::from_str::<Assignments>(text).ok())
        {
            for assignment in plans.assignments {
                revisions.entry(revision.to_owned()).or_insert_with(|| of(assignment));
            }
        }
    }
    revisions
}

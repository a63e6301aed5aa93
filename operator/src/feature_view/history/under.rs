//! In which mode, with which Architecture and with which runs a revision was made, and so goes on. Pure.
//!
//! The mode changes values and is part of what a revision is made of; the rest is noted while the revision is the spec's, and
//! stays as it was from then on: what is kept to go back to is not to lose its schedule because the new mode needs none.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crds::Architecture;
use crds::architecture::{Batch, Mode};
use crds::feature_view::{CompleteUntil, Schedule};
use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::ResourceExt as _;
use serde::{Deserialize, Serialize};

use super::{Observed, entry};
use crate::names::{ARCHITECTURE_ANNOTATION, RUNS_ANNOTATION};

/// How the batch runs of a revision are carried out.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Runs {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<Batch>,
    /// What its history table declares: it lies beside what the revision is made of, and is none of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete_until: Option<CompleteUntil>,
}

/// The mode that a plan was made for, in the words of the API.
#[must_use]
pub fn mode_of(plan: &engine::plan::Plan) -> Mode {
    match plan.mode {
        engine::plan::Mode::Kappa => Mode::Kappa,
        engine::plan::Mode::Batch => Mode::Batch,
        engine::plan::Mode::Lambda => Mode::Lambda,
        engine::plan::Mode::Lakehouse => Mode::Lakehouse,
    }
}

/// The mode of an entry of the history.
pub(in super::super) fn mode_of_entry(entry: &ControllerRevision) -> Option<Mode> {
    let mode: Mode = serde_json::from_value(entry.data.as_ref()?.0.get("mode")?.clone()).ok()?;
    Some(mode.canonical())
}

/// The mode of a revision of the history.
pub(in super::super) fn mode(observed: &Observed, revision: &str) -> Option<Mode> {
    mode_of_entry(entry(observed, revision)?)
}

/// The name of the Architecture that an entry of the history was made with.
pub(in super::super) fn architecture_of_entry(entry: &ControllerRevision) -> Option<&str> {
    entry.annotations().get(ARCHITECTURE_ANNOTATION).map(String::as_str)
}

/// The Architecture that a revision runs with: the view's own for what the spec wants, and else the one that it was made with.
pub(in super::super) fn architecture<'a>(
    observed: &'a Observed,
    revision: &str,
    wanted: Option<&str>,
) -> Option<Cow<'a, Architecture>> {
    let own = observed.architecture.as_ref()?;
    let Some(known) = entry(observed, revision).filter(|_| wanted != Some(revision)) else {
        return Some(Cow::Borrowed(own));
    };
    let before = architecture_of_entry(known).filter(|name| own.name_any() != *name);
    let of = before.and_then(|name| observed.former.iter().find(|a| a.name_any() == name)).unwrap_or(own);
    match runs(known).batch.filter(|_| of.spec.batch.is_none()) {
        Some(batch) => {
            let mut of = of.clone();
            of.spec.batch = Some(batch);
            Some(Cow::Owned(of))
        }
        None => Some(Cow::Borrowed(of)),
    }
}

/// What is noted with an entry beside its image: of what the spec wants as things stand, of another as it was.
pub(super) fn notes(observed: &Observed, revision: &str, wanted: bool) -> BTreeMap<String, String> {
    let mut notes = BTreeMap::new();
    match (entry(observed, revision).filter(|_| !wanted), &observed.architecture) {
        (Some(known), _) => {
            for name in [ARCHITECTURE_ANNOTATION, RUNS_ANNOTATION] {
                notes.extend(known.annotations().get(name).map(|value| (name.to_owned(), value.clone())));
            }
        }
        (None, Some(architecture)) => {
            notes.insert(ARCHITECTURE_ANNOTATION.to_owned(), architecture.name_any());
            if architecture.spec.mode.batches() {
                let spec = &observed.view.spec;
                let complete_until = spec.source.table.as_ref().map(|table| table.complete_until);
                let (schedule, batch) = (spec.schedule.clone(), architecture.spec.batch.clone());
                let runs = Runs { schedule, batch, complete_until };
                // Serialising owned data with string keys cannot fail.
                notes.insert(RUNS_ANNOTATION.to_owned(), serde_json::to_string(&runs).unwrap_or_default());
            }
        }
        (None, None) => {}
    }
    notes
}

/// The schedule that a revision had when the spec last wanted it.
pub(super) fn schedule(entry: &ControllerRevision) -> Option<Schedule> {
    runs(entry).schedule
}

/// What the history table of a revision declared when the spec last wanted it.
pub(super) fn complete_until(entry: &ControllerRevision) -> Option<CompleteUntil> {
    runs(entry).complete_until
}

fn runs(entry: &ControllerRevision) -> Runs {
    let noted = entry.annotations().get(RUNS_ANNOTATION);
    noted.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

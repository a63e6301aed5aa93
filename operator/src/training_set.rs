//! `TrainingSet`: which tables its Job reads, of which revisions, and what became of it. Pure; [`crate::once`] drives it.

use crds::condition::{ConditionStatus, reasons, types};
use crds::feature_view::Timestamp;
use crds::once::{Limits, Progress};
use crds::training_set::{AnsweredView, AskedView};
use crds::{Architecture, FeatureView, TrainingSet, TrainingSetStatus};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::conditions::find;
use crate::feature_view::desire::source_table;
use crate::feature_view::resolve::Refusal;
use crate::names::{self, TRAINING_SET_LABEL};
use crate::once::{Known, Once, Revision, Views, Work};
use crate::pods::{self, Mount, Pod};

impl Once for TrainingSet {
    type Input = ConfigMap;
    type Status = TrainingSetStatus;
    const WORK: Work = Work { name: "train", label: TRAINING_SET_LABEL, file: "train.json" };

    fn architecture(&self) -> &str {
        &self.spec.architecture_ref.name
    }

    fn limits(&self) -> &Limits {
        &self.spec.limits
    }

    fn known(&self) -> Option<&TrainingSetStatus> {
        self.status.as_ref()
    }

    fn progress(status: &mut TrainingSetStatus) -> &mut Progress {
        &mut status.progress
    }

    fn concerns(&self, view: &FeatureView) -> bool {
        self.spec.views.iter().any(|asked| asked.name == view.name_any())
    }

    fn resolve(&self, architecture: &Architecture, views: &Views) -> Result<Value, Refusal> {
        let asked = self.spec.views.iter().map(|asked| answered(asked, architecture, views));
        let asked: Vec<Value> = asked.collect::<Result<_, _>>()?;
        let spec = &self.spec;
        let mut config = json!({
            "asks": {"uri": spec.asks.uri, "format": spec.asks.format},
            "timestamp": timestamp(&spec.asks.timestamp),
            "views": asked,
            // One owner for all training sets of an Architecture, so that a later one can make the next version of a table, but
            // none can write over a table of another sort.
            "output": {
                "table": {"uri": spec.output.uri, "format": spec.output.format},
                "uid": format!("{}/training-sets", architecture.uid().unwrap_or_default()),
            },
        });
        if let Some(version) = spec.asks.version_as_of {
            config["asksVersionAsOf"] = version.into();
        }
        Ok(config)
    }

    fn pod<'a>(&'a self, architecture: &'a Architecture, input: Mount) -> Pod<'a> {
        let mut pod = pods::batch(architecture, self.spec.worker.as_ref(), Self::WORK.name, input);
        let config = format!("--config={}", pod.mounts[0].file(Self::WORK.file));
        pod.arguments.splice(0..0, ["train".to_owned(), config]);
        pod
    }

    fn begun(status: &mut TrainingSetStatus, input: &Value) {
        let views = input["views"].as_array().into_iter().flatten();
        status.views = views
            .filter_map(|view| {
                let plan = &view["assignment"]["plan"];
                let text = |value: &Value| value.as_str().map(str::to_owned);
                let (name, revision) = (text(&plan["view"]["name"])?, text(&plan["revision"])?);
                Some(AnsweredView { name, revision, table_version: None })
            })
            .collect();
    }

    fn ended(status: &mut TrainingSetStatus, report: &str) -> Option<String> {
        let Report { rows, version, asks, views } = serde_json::from_str(report).ok()?;
        status.rows = Some(rows);
        status.output_version = version;
        status.asks_version = Some(asks);
        for told in views {
            for view in status.views.iter_mut().filter(|view| view.name == told.view) {
                view.table_version = Some(told.version.clone());
            }
        }
        Some(match version {
            Some(version) => format!("{rows} rows, version {version} of the table"),
            None => format!("{rows} rows"),
        })
    }
}

/// What the Job reports.
#[derive(Deserialize)]
struct Report {
    rows: i64,
    #[serde(default)]
    version: Option<i64>,
    asks: String,
    views: Vec<ViewReport>,
}

/// What the Job reports of a view.
#[derive(Deserialize)]
struct ViewReport {
    view: String,
    version: String,
}

fn timestamp(timestamp: &Timestamp) -> Value {
    json!({"field": timestamp.field, "unit": timestamp.unit})
}

/// A view as the Job is asked of it: one revision, and what is read for it.
fn answered(asked: &AskedView, architecture: &Architecture, views: &Views) -> Result<Value, Refusal> {
    let name = &asked.name;
    let refuse = |reason, message| Err(Refusal { reason, message, pending: false });
    let Some(known) = views.known.get(name) else {
        let message = format!(
            "spec.views: there is no FeatureView {name:?} of Architecture {:?} in this namespace; apply it, or make a TrainingSet of others",
            architecture.name_any()
        );
        return refuse(reasons::VIEW_NOT_FOUND, message);
    };
    let revision = revision(asked, known)?;
    let plan = &revision.assignment.plan;
    if let Some(key) = asked.keys.keys().find(|key| !plan.entity.contains(key)) {
        let message = format!(
            "spec.views[{name}].keys: {key:?} is no key of the view's entity, which are {}; make a TrainingSet without it",
            plan.entity.join(", ")
        );
        return refuse(reasons::INVALID_SPEC, message);
    }
    let mut view = json!({"assignment": revision.assignment});
    if !asked.keys.is_empty() {
        view["keys"] = json!(asked.keys);
    }
    if let Some(version) = asked.version_as_of {
        view["versionAsOf"] = version.into();
    }
    if let Some(lake) = names::lake(architecture) {
        // Under which it is known who was erased.
        view["lake"] = lake.into();
    }
    if plan.source.table.is_some() {
        return Ok(view);
    }
    view["source"] = source(name, known, revision, architecture)?;
    Ok(view)
}

/// What is read of a view that names no table of its own.
fn source(name: &str, known: &Known, revision: &Revision, architecture: &Architecture) -> Result<Value, Refusal> {
    if let Some(source) = &revision.source {
        let generation = known.view.status.as_ref().and_then(|status| status.generation);
        if source["rows"] == "Silver" && generation.is_none() {
            let message = format!("FeatureView {name:?} has no generation yet, so its Silver may not be there");
            return Err(Refusal { reason: reasons::VIEW_NOT_READY, message, pending: true });
        }
        return Ok(source.clone());
    }
    if let Some((topic, lake)) = revision.archived.as_ref().zip(names::lake(architecture)) {
        return Ok(source_table(&names::bronze_table(&lake, topic), "Archive"));
    }
    let message = format!(
        "FeatureView {name:?} keeps no events in tables: in mode {:?} set archive: true in its spec, and offlineStore in that of Architecture {:?}; questions are answered from then on",
        architecture.spec.mode,
        architecture.name_any()
    );
    Err(Refusal { reason: reasons::NO_OFFLINE_SIDE, message, pending: false })
}

/// The revision that is asked: as named, or the live one.
fn revision<'a>(asked: &AskedView, known: &'a Known) -> Result<&'a Revision, Refusal> {
    let name = &asked.name;
    let status = known.view.status.clone().unwrap_or_default();
    if let Some(wanted) = asked.revision.as_ref().or(status.active_revision.as_ref())
        && let Some(revision) = known.revisions.get(wanted)
    {
        return Ok(revision);
    }
    if let Some(wanted) = &asked.revision {
        let running: Vec<&str> = known.revisions.keys().map(String::as_str).collect();
        let message = format!(
            "spec.views[{name}].revision: {wanted:?} does not run; {} do; make a TrainingSet of one of them, or leave it out for the live one",
            if running.is_empty() { "none".to_owned() } else { running.join(", ") }
        );
        return Err(Refusal { reason: reasons::VIEW_NOT_READY, message, pending: false });
    }
    let accepted = find(&status.conditions, types::SPEC_ACCEPTED).filter(|c| c.status == ConditionStatus::False);
    let (why, pending) = match accepted {
        Some(refused) => (format!("is not accepted: {}; mend it", refused.message), false),
        None => ("has no live revision yet".to_owned(), true),
    };
    Err(Refusal { reason: reasons::VIEW_NOT_READY, message: format!("FeatureView {name:?} {why}"), pending })
}

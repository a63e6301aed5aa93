//! Spec → plan, by the engine that will run it. Pure but for a cache.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crds::architecture::Mode;
use crds::condition::reasons;
use crds::{Architecture, FeatureView};
use engine::definition::{ColumnDefinition, FeatureDefinition, ViewDefinition};
use engine::estimate::Estimate;
use engine::plan::{Plan, Stream, Table, TableFormat, TimestampField, TimestampUnit, ViewIdentity};
use engine::value::ValueType;
use kube::ResourceExt as _;
use serde_json::Value;

use super::observe::Observed;
use crate::names;

/// The largest plan that fits into a ConfigMap beside its metadata.
const MAX_PLAN_BYTES: usize = 900 * 1024;
/// The largest row that a view may have, as the engine estimates it for a busy entity.
const MAX_ROW_BYTES: u64 = 256 * 1024;
/// How many of the heaviest features a message names.
const HEAVIEST: usize = 3;
/// How many problems a message names.
const MAX_PROBLEMS: usize = 10;

/// Why a spec cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// A reason of the condition `SpecAccepted`.
    pub reason: &'static str,
    /// What is wrong, naming the field.
    pub message: String,
    /// Whether it is only a matter of waiting.
    pub pending: bool,
}

type Resolution = Result<Arc<Plan>, Refusal>;

/// What specs resolved to, by view UID: planning many expressions takes a while, and a spec changes rarely.
#[derive(Default)]
pub struct Resolutions(Mutex<HashMap<String, (i64, String, Resolution)>>);

impl Resolutions {
    /// Forgets a view that is gone.
    pub fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

/// The plan of what the spec wants, or why there is none.
///
/// # Errors
/// [`Refusal`], which is an outcome and not a failure.
pub fn resolve(known: &Resolutions, observed: &Observed) -> Resolution {
    // The one before stays in effect while another is named that cannot take over.
    let name = &observed.view.spec.architecture_ref.name;
    let named = observed.architecture.as_ref().filter(|architecture| architecture.name_any() == *name);
    let Some(architecture) = named else {
        let (reason, message) = match &observed.misfit {
            Some(misfit) => (reasons::INVALID_SPEC, misfit.clone()),
            None => (
                reasons::ARCHITECTURE_NOT_FOUND,
                format!(
                    "spec.architectureRef.name: there is no Architecture {name:?} in this namespace; apply it, or name another"
                ),
            ),
        };
        return Err(Refusal { reason, message, pending: false });
    };
    needs(&observed.view, architecture).map_err(|message| Refusal {
        reason: reasons::INVALID_SPEC,
        message,
        pending: false,
    })?;
    let plan = planned(known, observed, &mode_of(architecture))?;
    // Until the Architecture is observed, the version of its Secrets is unknown, and pods would be made only to be rolled.
    if architecture.status.as_ref().is_none_or(|s| s.observed_generation.is_none()) {
        let message = format!("Architecture {:?} has not been observed yet", architecture.name_any());
        return Err(Refusal { reason: reasons::PENDING, message, pending: true });
    }
    Ok(plan)
}

/// The plan of a view under an Architecture, as both are written: what the cluster has made of either does not matter.
///
/// # Errors
/// [`Refusal`]: what the operator would say of the spec.
pub fn plan_under(view: &FeatureView, architecture: &Architecture) -> Result<Arc<Plan>, Refusal> {
    needs(view, architecture).map_err(|message| Refusal { reason: reasons::INVALID_SPEC, message, pending: false })?;
    plan(view, &mode_of(architecture))
}

/// What the architecture's mode needs of a view beyond what the engine does.
fn needs(view: &FeatureView, architecture: &Architecture) -> Result<(), String> {
    let (mode, name) = (architecture.spec.mode, text(&architecture.spec.mode));
    let spec = &view.spec;
    if mode.batches() && spec.schedule.is_none() {
        return Err(format!(
            "spec.schedule: mode {name} computes by batch runs; say when, such as {{schedule: \"0 3 * * *\"}}"
        ));
    }
    if spec.silver.is_some() && mode.canonical() != Mode::Lakehouse {
        return Err(format!(
            "spec.silver: mode {name} takes events as they are, so its features would differ; leave it out, or use a Lakehouse"
        ));
    }
    let archives = spec.archive || mode.canonical() == Mode::Lakehouse;
    if archives && architecture.spec.offline_store.is_none() {
        let reference = &spec.architecture_ref.name;
        return Err(format!("spec.archive: Architecture {reference:?} has no spec.offlineStore to archive into"));
    }
    if (archives || mode.streams()) && architecture.spec.kafka.is_none() {
        return Err(format!("spec.source.topic: Architecture {:?} has no spec.kafka", spec.architecture_ref.name));
    }
    Ok(())
}

fn planned(known: &Resolutions, observed: &Observed, mode: &str) -> Resolution {
    let (uid, generation) =
        (observed.view.uid().unwrap_or_default(), observed.view.metadata.generation.unwrap_or_default());
    if let Some((at, of, resolution)) = known.0.lock().unwrap_or_else(PoisonError::into_inner).get(&uid)
        && (*at, of.as_str()) == (generation, mode)
    {
        return resolution.clone();
    }
    let resolution = plan(&observed.view, mode);
    known
        .0
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(uid, (generation, mode.to_owned(), resolution.clone()));
    resolution
}

/// The architecture's mode as the engine writes it.
pub(super) fn mode_of(architecture: &Architecture) -> String {
    text(&architecture.spec.mode)
}

/// The plan of a view in a mode.
pub(super) fn plan(view: &FeatureView, mode: &str) -> Resolution {
    let refuse = |message| Refusal { reason: reasons::INVALID_SPEC, message, pending: false };
    let mut plan = engine::resolve::resolve(&definition(view, mode)).map_err(|problems| {
        let mut lines: Vec<String> =
            problems.iter().take(MAX_PROBLEMS).map(|p| format!("{}: {}", p.field, p.message)).collect();
        if problems.len() > MAX_PROBLEMS {
            lines.push(format!("and {} more", problems.len() - MAX_PROBLEMS));
        }
        refuse(lines.join("; "))
    })?;
    check_rules(view, &plan).map_err(refuse)?;
    // What Silver leaves out changes values, so it is part of the revision; plans know nothing of it.
    if let Some(silver) = &view.spec.silver {
        let silver = serde_json::to_string(silver).unwrap_or_default();
        plan.revision = names::hex(format!("{}{silver}", plan.revision).as_bytes(), plan.revision.len());
    }
    let bytes = plan.to_json().len();
    if bytes > MAX_PLAN_BYTES {
        return Err(refuse(format!(
            "spec.features: the plan takes {bytes} bytes of at most {MAX_PLAN_BYTES}; split the view"
        )));
    }
    match engine::estimate::row_bytes(&plan) {
        Ok(estimate) if estimate.bytes > MAX_ROW_BYTES => Err(refuse(too_heavy(&estimate))),
        Ok(_) => Ok(Arc::new(plan)),
        Err(error) => Err(refuse(error.to_string())),
    }
}

/// That every rule of Silver is a condition over the source's columns, by the engine that will evaluate it.
fn check_rules(view: &FeatureView, plan: &Plan) -> Result<(), String> {
    let columns = engine::event::schema(&plan.source);
    let rules = view.spec.silver.iter().flat_map(|silver| &silver.rules);
    for (i, rule) in rules.enumerate() {
        let field = format!("spec.silver.rules[{i}].expression");
        match engine::expr::compile(&rule.expression, &columns) {
            Ok(compiled) if compiled.value_type == ValueType::Boolean => {}
            Ok(compiled) => {
                let found = compiled.value_type;
                return Err(format!("{field}: {:?} gives {found:?}; a rule must be true or false", rule.expression));
            }
            Err(error) => return Err(format!("{field}: {error}")),
        }
    }
    Ok(())
}

fn too_heavy(estimate: &Estimate) -> String {
    let kib = |bytes: u64| format!("{} KiB", bytes.div_ceil(1024));
    let heaviest: Vec<String> =
        estimate.features.iter().take(HEAVIEST).map(|(name, bytes)| format!("{name} ({})", kib(*bytes))).collect();
    format!(
        "spec.features: the row of a busy entity (an event a minute) would take {} of at most {}; the heaviest are {}: \
         give them a coarser hop, a shorter window or a smaller k, or split the view",
        kib(estimate.bytes),
        kib(MAX_ROW_BYTES),
        heaviest.join(", ")
    )
}

/// The spec in the engine's words.
fn definition(view: &FeatureView, mode: &str) -> ViewDefinition {
    let spec = &view.spec;
    ViewDefinition {
        view: ViewIdentity {
            uid: view.uid().unwrap_or_default(),
            namespace: view.namespace().unwrap_or_default(),
            name: view.name_any(),
        },
        mode: mode.to_owned(),
        entity_keys: spec.entity.keys.clone(),
        stream: spec.source.topic.clone().map(|topic| Stream {
            topic,
            // The schema keeps it from being negative.
            epoch: u32::try_from(spec.source.epoch).unwrap_or_default(),
        }),
        table: spec.source.table.as_ref().map(|table| Table {
            uri: table.uri.clone(),
            format: match table.format {
                crds::feature_view::TableFormat::Delta => TableFormat::Delta,
                crds::feature_view::TableFormat::Parquet => TableFormat::Parquet,
            },
        }),
        archive: spec.archive,
        timestamp: TimestampField {
            field: spec.source.timestamp.field.clone(),
            unit: unit(spec.source.timestamp.unit),
        },
        schema: spec
            .source
            .schema
            .iter()
            .map(|c| ColumnDefinition {
                name: c.name.clone(),
                type_name: text(&c.type_),
                precision: c.precision,
                scale: c.scale,
            })
            .collect(),
        allowed_lateness: spec.allowed_lateness.clone(),
        max_future: spec.max_future.clone(),
        horizon_max_age: spec.horizon_max_age.clone(),
        features: spec.features.iter().map(feature).collect(),
    }
}

fn feature(feature: &crds::feature_view::Feature) -> FeatureDefinition {
    FeatureDefinition {
        name: feature.name.clone(),
        aggregate: feature.aggregate.as_ref().map(text),
        of: feature.of.clone(),
        condition: feature.where_.clone(),
        window: feature.window.clone(),
        hop: feature.hop.as_ref().map(text),
        tumbling: feature.type_ == Some(crds::feature_view::WindowType::Tumbling),
        percentile: feature.percentile.clone(),
        k: feature.k.and_then(|k| u32::try_from(k).ok()),
        expression: feature.expression.clone(),
    }
}

fn unit(unit: crds::feature_view::TimestampUnit) -> TimestampUnit {
    use crds::feature_view::TimestampUnit as Unit;
    match unit {
        Unit::Seconds => TimestampUnit::Seconds,
        Unit::Milliseconds => TimestampUnit::Milliseconds,
        Unit::Microseconds => TimestampUnit::Microseconds,
        Unit::Rfc3339 => TimestampUnit::Rfc3339,
    }
}

/// An enum of the API as it is written there.
pub(super) fn text(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(text)) => text,
        // Every such enum is written as a string.
        _ => String::new(),
    }
}

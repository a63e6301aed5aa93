//! What stands: the replay, its view, and the other replays of that. Needs a client.

use std::sync::Arc;

use crds::feature_view::ReplayStatus;
use crds::{Architecture, FeatureReplay, FeatureView};
use engine::plan::Plan;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::core::DeserializeGuard;
use kube::{Api, ResourceExt as _};

use crate::context::Context;
use crate::edges::Secrets;
use crate::error::Error;
use crate::feature_view::resolve::{Refusal, base};
use crate::feature_view::{observe, replay, runs};
use crate::names::{MANAGED_BY_SELECTOR, VIEW_LABEL};
use crate::trouble::Trouble;

/// The replay and all that decides about it.
pub(super) struct Observed {
    /// The replay, as fresh as the API server can tell.
    pub replay: FeatureReplay,
    /// The view that it names.
    pub view: Option<FeatureView>,
    /// The Architecture that the view names.
    pub architecture: Option<Architecture>,
    /// What the view's definition is by itself; none without an Architecture.
    pub plan: Option<Result<Arc<Plan>, Refusal>>,
    /// The view's history.
    pub history: Vec<ControllerRevision>,
    /// Other replays of the view that are not over.
    pub others: Vec<FeatureReplay>,
    /// What would be read, if that was asked for.
    pub held: Option<Result<ReplayStatus, Trouble>>,
}

/// Reads everything; `None` if the replay is gone or going.
pub(super) async fn observe(context: &Context, replay: &FeatureReplay) -> Result<Option<Observed>, Error> {
    let (name, namespace) = (replay.name_any(), replay.namespace().unwrap_or_default());
    let replays = Api::<FeatureReplay>::namespaced(context.client.clone(), &namespace);
    let found = replays.get_opt(&name).await.map_err(Error::read(format!("FeatureReplay {name}")))?;
    let Some(replay) = found.filter(|replay| replay.metadata.deletion_timestamp.is_none()) else { return Ok(None) };
    let mut observed =
        Observed { replay, view: None, architecture: None, plan: None, history: vec![], others: vec![], held: None };
    if super::ended(&observed.replay).is_some() {
        return Ok(Some(observed));
    }
    let of = observed.replay.spec.view_ref.name.clone();
    let views = Api::<FeatureView>::namespaced(context.client.clone(), &namespace);
    let view = views.get_opt(&of).await.map_err(Error::read(format!("FeatureView {of}")))?;
    let Some(view) = view.filter(|view| view.metadata.deletion_timestamp.is_none()) else {
        return Ok(Some(observed));
    };
    let named = &view.spec.architecture_ref.name;
    let architectures = Api::<Architecture>::namespaced(context.client.clone(), &namespace);
    observed.architecture = architectures.get_opt(named).await.map_err(Error::read(format!("Architecture {named}")))?;
    observed.plan = observed.architecture.as_ref().map(|architecture| base(&context.resolutions, &view, architecture));
    if runs::run_of(&observed.replay).is_none() {
        let selector = format!("{MANAGED_BY_SELECTOR},{VIEW_LABEL}={of}");
        observed.history = observe::owned(context, &view, &selector).await?;
        // One that does not read is of another version; it waits for nobody, and nobody for it.
        let all = Api::<DeserializeGuard<FeatureReplay>>::namespaced(context.client.clone(), &namespace);
        let all = all.list(&ListParams::default()).await.map_err(Error::read("the list of featurereplays"))?.items;
        let all = all.into_iter().filter_map(|replay| replay.0.ok());
        let other = |other: &FeatureReplay| other.uid() != observed.replay.uid() && other.spec.view_ref.name == of;
        observed.others = all.filter(|r| other(r) && super::ended(r).is_none()).collect();
    }
    observed.view = Some(view);
    Ok(Some(observed))
}

/// What the replay would read.
pub(super) async fn offsets(
    context: &Context,
    observed: &Observed,
    now: Timestamp,
) -> Result<Result<ReplayStatus, Trouble>, Error> {
    let away = |message: String| {
        Ok(Err(Trouble { reason: crds::condition::reasons::KAFKA_UNREACHABLE, message, stuck: false }))
    };
    let (Some(view), Some(architecture), Some(Ok(plan))) = (&observed.view, &observed.architecture, &observed.plan)
    else {
        return away("the view is not known yet".to_owned());
    };
    let secrets = match Secrets::of_edges(&context.client, architecture).await? {
        Ok(secrets) => secrets,
        Err(missing) => return away(missing.to_string()),
    };
    let (Some(log), Some(stream)) = (&secrets.log, &plan.source.stream) else {
        return away(format!("Architecture {:?} has no log", architecture.name_any()));
    };
    let rollout = runs::rollout(&view.spec.rollout, &observed.replay);
    let since = replay::since(&rollout.start_from, plan, now);
    let held = context.edges.topic(log, &stream.topic, since).await.map(|held| replay::judged(view, held));
    let table = replay::archive(architecture, view, &stream.topic);
    Ok(held.and_then(|held| replay::order(&rollout, plan, &held, table.as_deref(), now)))
}

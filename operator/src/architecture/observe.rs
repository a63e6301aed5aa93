//! What stands: the architecture, what belongs to it, its Secrets, its views. Needs a client.

use std::collections::BTreeMap;

use crds::feature_view::Timestamp;
use crds::{Architecture, FeatureView};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::{Pod, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::ListParams;
use kube::core::DeserializeGuard;
use kube::{Api, ResourceExt as _};

use super::archive;
use super::migration::Progress;
use crate::context::Context;
use crate::edges::{MissingSecret, Secrets};
use crate::error::Error;
use crate::feature_view::observe::{owned, unready_pods};
use crate::names::{ARCHITECTURE_LABEL, MANAGED_BY_SELECTOR};

/// The architecture and all that belongs to it.
pub struct Observed {
    /// The architecture, as fresh as the API server can tell.
    pub architecture: Architecture,
    /// What its Secrets hold, or the one that is missing.
    pub secrets: Result<Secrets, MissingSecret>,
    /// How many views name it, or run with it still.
    pub views: usize,
    /// How many views name it.
    pub named: usize,
    /// How far its views have followed its mode.
    pub progress: Progress,
    /// The topics that its views want archived.
    pub topics: BTreeMap<String, Timestamp>,
    /// Its CronJobs.
    pub cron_jobs: Vec<CronJob>,
    /// Its Deployments.
    pub deployments: Vec<Deployment>,
    /// Its Services.
    pub services: Vec<Service>,
    /// Its service accounts.
    pub accounts: Vec<ServiceAccount>,
    /// Its disruption budgets.
    pub budgets: Vec<PodDisruptionBudget>,
    /// Its pods, if not all of them are ready.
    pub pods: Vec<Pod>,
}

/// Reads everything; `None` if the architecture is gone.
///
/// # Errors
/// What the API server says.
pub async fn observe(context: &Context, architecture: &Architecture) -> Result<Option<Observed>, Error> {
    let (name, namespace) = (architecture.name_any(), architecture.namespace().unwrap_or_default());
    let api = Api::<Architecture>::namespaced(context.client.clone(), &namespace);
    let Some(architecture) = api.get_opt(&name).await.map_err(Error::read(format!("Architecture {name}")))? else {
        return Ok(None);
    };
    let selector = format!("{MANAGED_BY_SELECTOR},{ARCHITECTURE_LABEL}={name}");
    // A view that does not read is of another version; its architecture must not stand still for it.
    let views = Api::<DeserializeGuard<FeatureView>>::namespaced(context.client.clone(), &namespace);
    let views = views.list(&ListParams::default()).await.map_err(Error::read("the list of featureviews"))?;
    let answers_for = |view: &FeatureView| {
        view.status.iter().flat_map(|status| &status.architectures).any(|serving| serving.name == name)
    };
    let (views, former): (Vec<FeatureView>, Vec<FeatureView>) = views
        .into_iter()
        .filter_map(|view| view.0.ok())
        .filter(|view| view.spec.architecture_ref.name == name || answers_for(view))
        .partition(|view| view.spec.architecture_ref.name == name);
    let cron_jobs = match architecture.spec.offline_store {
        Some(_) => owned(context, &architecture, &selector).await?,
        None => Vec::new(),
    };
    let deployments = owned(context, &architecture, &selector).await?;
    Ok(Some(Observed {
        topics: archive::topics(&architecture, views.iter().chain(&former)),
        progress: Progress::of(&architecture, &views),
        cron_jobs,
        pods: unready_pods(context, &architecture, &deployments, false, &selector).await?,
        deployments,
        secrets: Secrets::read(&context.client, &architecture).await?,
        views: views.len() + former.len(),
        named: views.len(),
        services: owned(context, &architecture, &selector).await?,
        accounts: owned(context, &architecture, &selector).await?,
        budgets: owned(context, &architecture, &selector).await?,
        architecture,
    }))
}

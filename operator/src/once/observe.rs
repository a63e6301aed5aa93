//! What stands: the object, its Job and what that is handed; while there is no Job, what it would be made from. Needs a client.

use std::collections::BTreeMap;

use crds::{Architecture, FeatureView};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::ListParams;
use kube::core::DeserializeGuard;
use kube::{Api, ResourceExt as _};

use super::revisions::{Revision, revisions};
use super::{Once, name_of};
use crate::apply::Object;
use crate::architecture::archive;
use crate::context::Context;
use crate::error::Error;
use crate::names::{MANAGED_BY_SELECTOR, VIEW_LABEL};

/// The object and all that its work needs.
pub struct Observed<K: Once> {
    /// The object, as fresh as the API server can tell.
    pub object: K,
    /// Its Job.
    pub job: Option<Job>,
    /// The pods of its Job.
    pub pods: Vec<Pod>,
    /// What its Job is handed.
    pub input: Option<K::Input>,
    /// The Architecture that it names; not read while there is a Job.
    pub architecture: Option<Architecture>,
    /// The views that it may be about; not read once it is known what the Job is handed.
    pub views: Views,
}

/// The views of one Architecture.
#[derive(Default)]
pub struct Views {
    /// Those that the object may be about, by name.
    pub known: BTreeMap<String, Known>,
    /// All of them.
    pub all: Vec<FeatureView>,
}

/// A view, and what its revisions that run were made from.
pub struct Known {
    /// The view.
    pub view: FeatureView,
    /// By revision.
    pub revisions: BTreeMap<String, Revision>,
}

/// Reads everything; `None` if nothing is to be done any more.
pub(super) async fn observe<K: Once>(context: &Context, object: &K) -> Result<Option<Observed<K>>, Error> {
    let (name, namespace) = (object.name_any(), object.namespace().unwrap_or_default());
    let api = Api::<K>::namespaced(context.client.clone(), &namespace);
    let found = api.get_opt(&name).await.map_err(Error::read(format!("{} {name}", K::kind(&()))))?;
    let Some(object) = found.filter(super::is_pending) else { return Ok(None) };
    let job: Option<Job> = own(context, &object).await?;
    let input: Option<K::Input> = own(context, &object).await?;
    let mut observed = Observed { object, job, pods: Vec::new(), input, architecture: None, views: Views::default() };
    if let Some(uid) = observed.job.as_ref().and_then(kube::ResourceExt::uid) {
        let selector = format!("{MANAGED_BY_SELECTOR},{}={name}", K::WORK.label);
        let api = Api::<Pod>::namespaced(context.client.clone(), &namespace);
        let pods = api.list(&ListParams::default().labels(&selector)).await.map_err(Error::read("the list of pods"))?;
        // Not those of a Job that an object of the same name had.
        observed.pods.extend(pods.into_iter().filter(|pod| pod.owner_references().iter().any(|o| o.uid == uid)));
        return Ok(Some(observed));
    }
    let reference = observed.object.architecture();
    let architectures = Api::<Architecture>::namespaced(context.client.clone(), &namespace);
    observed.architecture =
        architectures.get_opt(reference).await.map_err(Error::read(format!("Architecture {reference}")))?;
    if let (None, Some(architecture)) = (&observed.input, &observed.architecture) {
        observed.views = views(context, &observed.object, architecture).await?;
    }
    Ok(Some(observed))
}

/// What bears the name of its Job, if it is the object's own.
async fn own<K: Once, C: Object>(context: &Context, object: &K) -> Result<Option<C>, Error> {
    let name = name_of(object);
    let api = Api::<C>::namespaced(context.client.clone(), &object.namespace().unwrap_or_default());
    let found = api.get_opt(&name).await.map_err(Error::read(format!("{} {name}", C::kind(&()))))?;
    let uid = object.uid().unwrap_or_default();
    Ok(found.filter(|c| c.meta().deletion_timestamp.is_none() && c.owner_references().iter().any(|o| o.uid == uid)))
}

async fn views<K: Once>(context: &Context, object: &K, architecture: &Architecture) -> Result<Views, Error> {
    let namespace = &object.namespace().unwrap_or_default();
    // A view that does not read is of another version; others can be asked.
    let api = Api::<DeserializeGuard<FeatureView>>::namespaced(context.client.clone(), namespace);
    let list = api.list(&ListParams::default()).await.map_err(Error::read("the list of featureviews"))?;
    let all: Vec<FeatureView> = list
        .into_iter()
        .filter_map(|view| view.0.ok())
        .filter(|view| view.spec.architecture_ref.name == object.architecture())
        .collect();
    let mut views = Views { known: BTreeMap::new(), all };
    let names: Vec<String> =
        views.all.iter().filter(|view| object.concerns(view)).map(kube::ResourceExt::name_any).collect();
    if names.is_empty() {
        return Ok(views);
    }
    let selector = format!("{MANAGED_BY_SELECTOR},{VIEW_LABEL} in ({})", names.join(","));
    let maps = Api::<ConfigMap>::namespaced(context.client.clone(), namespace);
    let maps = maps.list(&ListParams::default().labels(&selector)).await;
    let maps = maps.map_err(Error::read("the list of configmaps"))?.items;
    let topics = archive::topics(architecture, views.all.iter());
    for view in views.all.iter().filter(|view| names.contains(&view.name_any())) {
        let known = Known { revisions: revisions(view, &topics, &maps), view: view.clone() };
        views.known.insert(view.name_any(), known);
    }
    Ok(views)
}

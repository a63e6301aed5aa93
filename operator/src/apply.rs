//! The only writer of Kubernetes objects.
//!
//! Invariants:
//! - Objects are written by server-side apply under one field manager, and only if what stands differs from what is wanted:
//!   at rest nothing is sent. What is never edited is created instead.
//! - Whatever is written over or deleted belongs to the object that is reconciled, by owner UID.
//! - Deletes carry the UID and resource version of what was read, so a stale view of the world cannot destroy a newer object.
//! - Status, finalizers and annotations carry the root's resource version: whoever did not see the newest spec loses.

mod compare;

use std::fmt::Write as _;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, is_conflict, is_not_found};
use crate::names::{DIGEST_ANNOTATION, FIELD_MANAGER};

/// A kind that lives in a namespace and can be written.
pub trait Object:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Serialize + DeserializeOwned + Clone + std::fmt::Debug
{
}
impl<K> Object for K where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Serialize
        + DeserializeOwned
        + Clone
        + std::fmt::Debug
{
}

/// Writes on behalf of one root object.
#[derive(Clone)]
pub struct Writer {
    client: Client,
    namespace: String,
    owner: OwnerReference,
}

impl Writer {
    /// A writer of what `root` owns, and of its status.
    pub fn new<K: Object>(client: Client, root: &K) -> Self {
        let namespace = root.namespace().unwrap_or_default();
        Self { client, namespace, owner: owner_reference(root) }
    }

    /// Makes `desired` stand, owned by the root, and answers with what stands. `observed` are the root's objects of the kind.
    ///
    /// # Errors
    /// [`Error::NotOurs`] if an object of that name belongs to somebody else, or what the API server says.
    pub async fn apply<K: Object>(&self, observed: &[K], mut desired: K) -> Result<K, Error> {
        let what = describe(&desired);
        desired.meta_mut().owner_references = Some(vec![self.owner.clone()]);
        let encode = |source| Error::Encode { what: what.clone(), source };
        let digest = digest(&serde_json::to_vec(&desired).map_err(encode)?);
        desired.annotations_mut().insert(DIGEST_ANNOTATION.to_owned(), digest);
        let mut body = serde_json::to_value(&desired).map_err(encode)?;

        let api = Api::<K>::namespaced(self.client.clone(), &self.namespace);
        let mut standing = observed.iter().find(|o| o.name_any() == desired.name_any()).cloned();
        if standing.is_none() {
            // Not among the root's own, yet it may stand: made a moment ago, or by somebody else.
            standing = api.get_opt(&desired.name_any()).await.map_err(Error::read(&what))?;
        }
        if let Some(standing) = standing {
            if !standing.owner_references().iter().any(|o| o.uid == self.owner.uid) {
                return Err(Error::NotOurs { what });
            }
            if compare::stands(&body, &serde_json::to_value(&standing).map_err(encode)?) {
                return Ok(standing);
            }
            // Against an object that took the name in the meantime.
            body["metadata"]["uid"] = json!(standing.uid());
        }
        type_meta::<K>(&mut body);
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        tracing::debug!(object = what, "apply");
        api.patch(&desired.name_any(), &parameters, &Patch::Apply(body)).await.map_err(Error::write(what))
    }

    /// Creates `desired`, owned by the root, unless an object of that name stands already, and answers with what stands.
    /// For what is never edited.
    ///
    /// # Errors
    /// [`Error::NotOurs`] if an object of that name belongs to somebody else, or what the API server says.
    pub async fn create<K: Object>(&self, mut desired: K) -> Result<K, Error> {
        let what = describe(&desired);
        desired.meta_mut().owner_references = Some(vec![self.owner.clone()]);
        let api = Api::<K>::namespaced(self.client.clone(), &self.namespace);
        let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        tracing::debug!(object = what, "create");
        let refusal = match api.create(&parameters, &desired).await {
            Ok(made) => return Ok(made),
            Err(refusal) => refusal,
        };
        if !is_conflict(&refusal) {
            return Err(Error::write(what)(refusal));
        }
        let standing = api.get_opt(&desired.name_any()).await.map_err(Error::read(&what))?;
        match standing {
            Some(standing) if standing.owner_references().iter().any(|o| o.uid == self.owner.uid) => Ok(standing),
            Some(_) => Err(Error::NotOurs { what }),
            // It went in the meantime; the next round makes it.
            None => Err(Error::write(what)(refusal)),
        }
    }

    /// Deletes what was observed, if it belongs to the root and nobody changed it since. One that is going already is left to go.
    ///
    /// # Errors
    /// What the API server says; that it is gone is no error.
    pub async fn delete<K: Object>(&self, observed: &K) -> Result<(), Error> {
        let what = describe(observed);
        if !observed.owner_references().iter().any(|o| o.uid == self.owner.uid) {
            return Err(Error::NotOurs { what });
        }
        if observed.meta().deletion_timestamp.is_some() {
            return Ok(());
        }
        let parameters = DeleteParams {
            preconditions: Some(Preconditions { uid: observed.uid(), resource_version: observed.resource_version() }),
            propagation_policy: Some(PropagationPolicy::Background),
            ..DeleteParams::default()
        };
        tracing::debug!(object = what, "delete");
        match Api::<K>::namespaced(self.client.clone(), &self.namespace).delete(&observed.name_any(), &parameters).await
        {
            Err(error) if !is_not_found(&error) => Err(Error::write(what)(error)),
            _ => Ok(()),
        }
    }

    /// Deletes the root, iff it is still as it was read.
    ///
    /// # Errors
    /// What the API server says; that it is gone is no error.
    pub async fn end<K: Object>(&self, root: &K) -> Result<(), Error> {
        let preconditions = Preconditions { uid: root.uid(), resource_version: root.resource_version() };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
        let api = Api::<K>::namespaced(self.client.clone(), &self.namespace);
        match api.delete(&root.name_any(), &parameters).await {
            Err(error) if !is_not_found(&error) => Err(Error::write(describe(root))(error)),
            _ => Ok(()),
        }
    }

    /// Writes the root's status, iff the root is still as it was read. Answers with the root as it stands then.
    ///
    /// # Errors
    /// What the API server says; a conflict if anybody wrote the root since.
    pub async fn status<K: Object>(&self, root: &K, status: &impl Serialize) -> Result<K, Error> {
        let what = format!("status of {}", describe(root));
        let status = serde_json::to_value(status).map_err(|source| Error::Encode { what: what.clone(), source })?;
        let mut body = json!({
            "metadata": {"name": root.name_any(), "uid": root.uid(), "resourceVersion": root.resource_version()},
            "status": status,
        });
        type_meta::<K>(&mut body);
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let api = Api::<K>::namespaced(self.client.clone(), &self.namespace);
        api.patch_status(&root.name_any(), &parameters, &Patch::Apply(body)).await.map_err(Error::write(what))
    }

    /// Sets or takes off our finalizer on the root, iff the root is still as it was read. Answers with the root as it
    /// stands then; one whose last finalizer was taken off is gone.
    ///
    /// # Errors
    /// What the API server says; a conflict if anybody wrote the root since.
    pub async fn finalizer<K: Object>(&self, root: &K, finalizer: &str, set: bool) -> Result<K, Error> {
        let what = format!("finalizer of {}", describe(root));
        let mut finalizers = root.finalizers().to_vec();
        finalizers.retain(|f| f != finalizer);
        if set {
            finalizers.push(finalizer.to_owned());
        }
        // A merge patch: finalizers of others stay theirs, and those that an older manager set can be taken off.
        let body = json!({"metadata": {"uid": root.uid(), "resourceVersion": root.resource_version(), "finalizers": finalizers}});
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let api = Api::<K>::namespaced(self.client.clone(), &self.namespace);
        api.patch(&root.name_any(), &parameters, &Patch::Merge(body)).await.map_err(Error::write(what))
    }

    /// Takes annotations off the root, iff the root is still as it was read.
    ///
    /// # Errors
    /// What the API server says; a conflict if anybody wrote the root since.
    pub async fn unannotate<K: Object>(&self, root: &K, annotations: &[&str]) -> Result<(), Error> {
        let what = format!("annotations of {}", describe(root));
        let none: serde_json::Map<String, Value> = annotations.iter().map(|a| ((*a).to_owned(), Value::Null)).collect();
        // A merge patch: people set them under whatever name they go by.
        let body = json!({
            "metadata": {"uid": root.uid(), "resourceVersion": root.resource_version(), "annotations": none},
        });
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let api = Api::<K>::namespaced(self.client.clone(), &self.namespace);
        api.patch(&root.name_any(), &parameters, &Patch::Merge(body)).await.map(drop).map_err(Error::write(what))
    }
}

/// The reference by which children name their owner.
pub fn owner_reference<K: Object>(root: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: root.name_any(),
        uid: root.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// Kind and name, for messages.
pub fn describe<K: Object>(object: &K) -> String {
    format!("{} {}", K::kind(&()), object.name_any())
}

fn type_meta<K: Object>(body: &mut Value) {
    body["apiVersion"] = json!(K::api_version(&()));
    body["kind"] = json!(K::kind(&()));
}

fn digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().take(8).fold(String::with_capacity(16), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

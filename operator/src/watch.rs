//! Watches: what they see becomes requests for rounds.
//!
//! Invariant: an object that does not read is counted, logged and skipped; it never holds up the watch.

use std::collections::HashMap;
use std::fmt::Debug;

use futures::StreamExt as _;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch};
use kube::{Api, Client, Resource, ResourceExt as _};
use shell::admin::Readiness;
use tokio::sync::mpsc::UnboundedSender;

use crate::apply::Object;
use crate::metrics::Metrics;
use crate::names::MANAGED_BY_SELECTOR;

/// What all watches share.
#[derive(Clone)]
pub struct Watches {
    /// The API server.
    pub client: Client,
    /// The one namespace, or all.
    pub namespace: Option<String>,
    /// Telemetry.
    pub metrics: Metrics,
    /// Blocked by every watch until its first list.
    pub readiness: Readiness,
}

impl Watches {
    /// Keeps `writer`'s store of all `K`, and calls `seen` for each object that comes, changes or goes, once the store knows it.
    pub async fn roots<K>(self, mut writer: Writer<K>, mut seen: impl FnMut(&K))
    where
        K: Object + Send + Sync + 'static,
    {
        let kind: &'static str = kind_name::<K>();
        self.readiness.block(kind, "not listed yet");
        let mut events = watch(self.api::<DeserializeGuard<K>>(), watcher::Config::default()).default_backoff().boxed();
        while let Some(event) = events.next().await {
            let Some(event) = self.decoded(kind, event) else { continue };
            writer.apply_watcher_event(&event);
            match event {
                Event::Apply(object) | Event::InitApply(object) | Event::Delete(object) => seen(&object),
                Event::InitDone => self.readiness.clear(kind),
                Event::Init => {}
            }
        }
    }

    /// Asks for a round of the owner of each object of ours that comes, changes or goes.
    pub async fn children<C, R>(self, owners: UnboundedSender<ObjectRef<R>>)
    where
        C: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + Debug
            + Send
            + Sync
            + 'static,
        R: Resource<DynamicType = ()> + 'static,
    {
        let kind = format!("{} of {}", C::plural(&()), R::plural(&()));
        let seen = move |child: &PartialObjectMeta<C>| {
            let namespace = child.namespace();
            for owner in child.owner_references() {
                if let Some(owner) = ObjectRef::from_owner_ref(namespace.as_deref(), owner, ()) {
                    // Nobody listens any more when leadership ended.
                    let _ = owners.send(owner);
                }
            }
        };
        self.ours(kind, seen).await;
    }

    /// Calls `seen` for each object of ours that comes, changes or goes, of which only the metadata is read. `kind` names
    /// the watch where readiness waits for it.
    pub async fn ours<C>(self, kind: String, mut seen: impl FnMut(&PartialObjectMeta<C>))
    where
        C: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + Debug
            + Send
            + Sync
            + 'static,
    {
        self.readiness.block(&kind, "not listed yet");
        let config = watcher::Config::default().labels(MANAGED_BY_SELECTOR);
        let mut events = watch(self.api::<PartialObjectMeta<C>>(), config).default_backoff().boxed();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Apply(child) | Event::InitApply(child) | Event::Delete(child)) => seen(&child),
                Ok(Event::InitDone) => self.readiness.clear(&kind),
                Ok(Event::Init) => {}
                Err(error) => tracing::warn!(kind, %error, "watch"),
            }
        }
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    fn decoded<K>(&self, kind: &'static str, event: watcher::Result<Event<DeserializeGuard<K>>>) -> Option<Event<K>> {
        let unwrap = |guard: DeserializeGuard<K>| match guard.0 {
            Ok(object) => Some(object),
            Err(invalid) => {
                let name = invalid.metadata.name.unwrap_or_default();
                tracing::error!(kind, name, error = invalid.error, "an object does not read and is skipped");
                self.metrics.undecodable(kind);
                None
            }
        };
        match event {
            Ok(Event::Apply(object)) => unwrap(object).map(Event::Apply),
            Ok(Event::InitApply(object)) => unwrap(object).map(Event::InitApply),
            Ok(Event::Delete(object)) => unwrap(object).map(Event::Delete),
            Ok(Event::Init) => Some(Event::Init),
            Ok(Event::InitDone) => Some(Event::InitDone),
            Err(error) => {
                tracing::warn!(kind, %error, "watch");
                None
            }
        }
    }
}

/// A kind's name, for metrics.
pub(crate) fn kind_name<K: 'static>() -> &'static str {
    std::any::type_name::<K>().rsplit("::").next().unwrap_or_default()
}

/// Remembers one property of each object, by its UID, and tells whether it changed.
pub struct Changes<T>(HashMap<String, T>);

impl<T> Default for Changes<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: PartialEq> Changes<T> {
    /// Whether the property is not what it was when this was asked last.
    pub fn is_new(&mut self, object: &impl kube::ResourceExt, property: T) -> bool {
        let uid = object.uid().unwrap_or_default();
        let same = self.0.get(&uid) == Some(&property);
        if !same {
            self.0.insert(uid, property);
        }
        !same
    }
}

//! How often each object of a namespace was made and deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt as _;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{Config, Event, watcher};
use operator::apply::Object;
use tokio::task::JoinSet;

use crate::world::World;

#[derive(Default)]
struct Seen {
    made: BTreeMap<String, BTreeSet<String>>,
    deleted: BTreeMap<String, BTreeSet<String>>,
}

/// Counts until dropped.
pub struct Tally {
    seen: Arc<Mutex<Seen>>,
    watches: JoinSet<()>,
}

impl Tally {
    pub fn start(world: &World) -> Self {
        let mut tally = Self { seen: Arc::default(), watches: JoinSet::new() };
        tally.watch::<Deployment>(world);
        tally.watch::<ControllerRevision>(world);
        tally.watch::<ConfigMap>(world);
        tally.watch::<CronJob>(world);
        tally.watch::<Job>(world);
        tally.watch::<Service>(world);
        tally.watch::<ServiceAccount>(world);
        tally.watch::<PodDisruptionBudget>(world);
        tally
    }

    fn watch<K: Object + Send + Sync + 'static>(&mut self, world: &World) {
        let api = kube::Api::<PartialObjectMeta<K>>::namespaced(world.client.clone(), &world.namespace);
        let seen = self.seen.clone();
        self.watches.spawn(async move {
            let mut events = watcher(api, Config::default()).boxed();
            while let Some(event) = events.next().await {
                let (object, deleted) = match event {
                    Ok(Event::Apply(object) | Event::InitApply(object)) => (object, false),
                    Ok(Event::Delete(object)) => (object, true),
                    _ => continue,
                };
                let (name, uid) = (format!("{} {}", K::kind(&()), object.name_any()), object.uid().unwrap());
                let mut seen = seen.lock().unwrap();
                seen.made.entry(name.clone()).or_default().insert(uid.clone());
                if deleted {
                    seen.deleted.entry(name).or_default().insert(uid);
                }
            }
        });
    }

    /// Object → how often it was made and deleted; plan hashes are masked by `mask`.
    pub fn counts(&self, mask: impl Fn(&str) -> String) -> BTreeMap<String, (usize, usize)> {
        let seen = self.seen.lock().unwrap();
        seen.made
            .iter()
            .map(|(name, uids)| (mask(name), (uids.len(), seen.deleted.get(name).map_or(0, BTreeSet::len))))
            .collect()
    }
}

//! The end of views and architectures: nothing is left, nothing hangs.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crds::{Architecture, FeatureView};
use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;

use crate::children::{finish, serve};
use crate::faults::Faults;
use crate::fixtures::{ARCHITECTURE, VIEW, architecture, view, view_with};
use crate::world::{World, architecture_is, eventually};

async fn is_told(world: &World, reason: &str) -> bool {
    let events = world.api::<Event>().list(&ListParams::default()).await.unwrap();
    events.iter().any(|e| {
        e.reason.as_deref() == Some(reason) && e.regarding.as_ref().is_some_and(|r| r.name.as_deref() == Some(VIEW))
    })
}

#[tokio::test]
async fn a_deleted_view_leaves_nothing_behind() {
    let world = World::new("delete").await;
    let operator = world.start(Faults::default());
    let served = serve(&world).await;
    let (uid, revision) = (served.uid().unwrap(), served.status.unwrap().active_revision.unwrap());
    assert!(world.has_keys(&format!("{uid}/")));
    world.delete::<FeatureView>(VIEW).await;
    assert_eq!(world.edges.store.keys(), Vec::<String>::new());
    assert_eq!(*world.edges.deleted_groups.lock().unwrap(), [format!("{uid}.{revision}.0")].into());
    let ours = ListParams::default().labels(&format!("featuremill.dev/view={VIEW}"));
    assert!(world.api::<Deployment>().list(&ours).await.unwrap().items.is_empty());
    assert!(world.api::<ConfigMap>().list(&ours).await.unwrap().items.is_empty());
    assert!(world.api::<ControllerRevision>().list(&ours).await.unwrap().items.is_empty());
    assert!(is_told(&world, "Purged").await);

    world.delete::<Architecture>(ARCHITECTURE).await;
    let ours = ListParams::default().labels(operator::names::MANAGED_BY_SELECTOR);
    assert!(world.api::<Deployment>().list(&ours).await.unwrap().items.is_empty());
    assert!(world.api::<Service>().list(&ours).await.unwrap().items.is_empty());
    assert!(world.api::<ServiceAccount>().list(&ours).await.unwrap().items.is_empty());
    operator.stop().await;
}

#[tokio::test]
async fn what_is_retained_stays() {
    let world = World::new("retain").await;
    let operator = world.start(Faults::default());
    world.apply::<Architecture>(&architecture()).await.unwrap();
    world.apply::<FeatureView>(&view_with("/spec/deletionPolicy", json!("Retain"))).await.unwrap();
    let served = finish(&world).await;
    let uid = served.uid().unwrap();
    world.delete::<FeatureView>(VIEW).await;
    assert!(world.live(&uid).await.is_some());
    assert!(world.edges.deleted_groups.lock().unwrap().is_empty());
    // But no server answers for it.
    assert!(!world.edges.store.keys().iter().any(|key| key.ends_with("/catalog")), "{:?}", world.edges.store.keys());
    operator.stop().await;
}

#[tokio::test]
async fn a_dead_store_or_log_holds_a_view_no_longer_than_its_deadline() {
    for (name, store, log) in [("dead-store", true, false), ("dead-log", false, true)] {
        let world = World::new(name).await;
        let operator = world.start(Faults::default());
        world.apply::<Architecture>(&architecture()).await.unwrap();
        world.apply::<FeatureView>(&view_with("/spec/deletionDeadlineSeconds", json!(3))).await.unwrap();
        finish(&world).await;
        world.edges.store.set_away(store);
        world.edges.log_is_away.store(log, Ordering::Release);
        let start = Instant::now();
        world.delete::<FeatureView>(VIEW).await;
        let took = start.elapsed();
        assert!(took > Duration::from_secs(2) && took < Duration::from_secs(10), "{name}: {took:?}");
        assert!(is_told(&world, "LeftBehind").await, "{name}");
        operator.stop().await;
    }
}

#[tokio::test]
async fn a_store_that_comes_back_in_time_is_cleaned() {
    let world = World::new("back-in-time").await;
    let operator = world.start(Faults::default());
    serve(&world).await;
    world.edges.store.set_away(true);
    world.api::<FeatureView>().delete(VIEW, &DeleteParams::default()).await.unwrap();
    world
        .view(VIEW, "it says what it waits for", |v| {
            v.status
                .as_ref()
                .is_some_and(|s| s.conditions.iter().any(|c| c.reason == "Terminating" && c.message.contains("away")))
        })
        .await;
    world.edges.store.set_away(false);
    world.delete::<FeatureView>(VIEW).await;
    assert_eq!(world.edges.store.keys(), Vec::<String>::new());
    operator.stop().await;
}

#[tokio::test]
async fn a_view_that_was_never_accepted_goes_at_once() {
    let world = World::new("never").await;
    let operator = world.start(Faults::default());
    world.apply::<FeatureView>(&view()).await.unwrap();
    let refused = world.view(VIEW, "refused", |v| crate::world::is(v, "SpecAccepted", "False")).await;
    assert!(refused.finalizers().is_empty());
    world.delete::<FeatureView>(VIEW).await;
    operator.stop().await;
}

#[tokio::test]
async fn an_architecture_outlives_its_views() {
    let world = World::new("in-use").await;
    let operator = world.start(Faults::default());
    serve(&world).await;
    let api = world.api::<Architecture>();
    api.delete(ARCHITECTURE, &DeleteParams::default()).await.unwrap();
    eventually("it says why it stays", || async {
        let architecture = api.get(ARCHITECTURE).await.unwrap();
        let says = architecture
            .status
            .as_ref()
            .is_some_and(|s| s.conditions.iter().any(|c| c.reason == "InUse" && c.message.contains('1')));
        if says && architecture_is(&architecture, "Ready", "False") {
            Ok(())
        } else {
            Err(format!("{:#?}", architecture.status))
        }
    })
    .await;
    world.delete::<FeatureView>(VIEW).await;
    assert_eq!(world.edges.store.keys(), Vec::<String>::new());
    eventually("it is gone", || async {
        api.get_opt(ARCHITECTURE).await.unwrap().map_or(Ok(()), |a| Err(format!("{:#?}", a.status)))
    })
    .await;
    operator.stop().await;
}

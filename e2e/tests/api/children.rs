//! What a view and an architecture own: exactly that, always, and without a write at rest.

use std::time::Duration;

use crds::{Architecture, FeatureView};
use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use operator::apply::Object;
use operator::settings::Settings;
use serde_json::json;

use crate::faults::Faults;
use crate::fixtures::{ARCHITECTURE, VIEW, architecture, view, with};
use crate::mask::Mask;
use crate::world::{World, eventually, is, settings};

/// Applies both roots and plays the cluster until the view is served.
pub async fn serve(world: &World) -> FeatureView {
    world.apply::<Architecture>(&architecture()).await.unwrap();
    world.apply::<FeatureView>(&view()).await.unwrap();
    finish(world).await
}

/// Plays the cluster until the newest spec is served.
pub async fn finish(world: &World) -> FeatureView {
    eventually("both Deployments", || async {
        let deployments = world.api::<Deployment>().list(&ListParams::default()).await.unwrap().items.len();
        if deployments >= 2 { Ok(()) } else { Err(format!("{deployments} Deployments")) }
    })
    .await;
    let api = world.api::<FeatureView>();
    let view = eventually("the view is served", || async {
        world.roll_out().await;
        let view = api.get(VIEW).await.unwrap();
        let status = view.status.clone().unwrap_or_default();
        for revision in status.active_revision.iter().chain(&status.candidate_revision) {
            world.catch_up(&view.uid().unwrap(), revision).await;
        }
        let settled =
            is(&view, "Ready", "True") && is(&view, "Reconciling", "False") && status.candidate_revision.is_none();
        if settled { Ok(view) } else { Err(format!("{status:#?}")) }
    })
    .await;
    let architectures = world.api::<Architecture>();
    eventually("the architecture is ready", || async {
        world.roll_out().await;
        let architecture = architectures.get(ARCHITECTURE).await.unwrap();
        let views = architecture.status.as_ref().map_or(-1, |s| s.views);
        if crate::world::architecture_is(&architecture, "Ready", "True") && views == 1 {
            Ok(())
        } else {
            Err(format!("{:#?}", architecture.status))
        }
    })
    .await;
    view
}

#[tokio::test]
async fn applying_a_view_makes_exactly_the_expected_objects() {
    let world = World::new("objects").await;
    let operator = world.start(Faults::default());
    serve(&world).await;
    let mask = Mask::of(&world).await;
    insta::assert_yaml_snapshot!(mask.state(&world).await);
    operator.stop().await;
}

#[tokio::test]
async fn at_rest_nothing_is_written_and_a_restart_writes_nothing() {
    let world = World::new("rest").await;
    let operator = world.start(Faults::default());
    serve(&world).await;
    let quiet = |faults: Faults| async move {
        let mut before = usize::MAX;
        // Until nothing was written for two seconds, in which every object was looked at twice (the resync is a second).
        while before != faults.writes().len() {
            before = faults.writes().len();
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        before
    };
    let settled = quiet(operator.faults.clone()).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(operator.faults.writes()[settled..].to_vec(), Vec::<String>::new());
    operator.stop().await;

    let restarted = world.start(Faults::default());
    eventually("the restarted operator is ready", || async {
        let report = restarted.readiness.report();
        if report.ready { Ok(()) } else { Err(format!("{report:?}")) }
    })
    .await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(restarted.faults.writes(), Vec::<String>::new());
    restarted.stop().await;
}

#[tokio::test]
async fn a_deleted_or_changed_child_comes_back() {
    let world = World::new("heal").await;
    let operator = world.start(Faults::default());
    let two = with(architecture(), "/spec/serving", json!({"replicas": 2}));
    world.apply::<Architecture>(&two).await.unwrap();
    world.apply::<FeatureView>(&view()).await.unwrap();
    finish(&world).await;
    comes_back::<Deployment>(&world, 2).await;
    comes_back::<ConfigMap>(&world, 1).await;
    comes_back::<ControllerRevision>(&world, 1).await;
    comes_back::<Service>(&world, 1).await;
    comes_back::<ServiceAccount>(&world, 2).await;
    comes_back::<PodDisruptionBudget>(&world, 1).await;

    let api = world.api::<Deployment>();
    let server = format!("{ARCHITECTURE}-server");
    let strip = json!({"spec": {"replicas": 9, "template": {"spec": {"automountServiceAccountToken": true}}}});
    api.patch(&server, &PatchParams::default(), &Patch::Merge(strip)).await.unwrap();
    eventually("the change is undone", || async {
        let spec = api.get(&server).await.unwrap().spec.unwrap();
        let token = spec.template.spec.unwrap().automount_service_account_token;
        if spec.replicas == Some(2) && token == Some(false) {
            Ok(())
        } else {
            Err(format!("{:?} {token:?}", spec.replicas))
        }
    })
    .await;
    operator.stop().await;
}

async fn comes_back<K: Object>(world: &World, expected: usize) {
    let api = world.api::<K>();
    let ours = ListParams::default().labels(operator::names::MANAGED_BY_SELECTOR);
    let children = api.list(&ours).await.unwrap().items;
    assert_eq!(children.len(), expected, "{}", K::plural(&()));
    for child in children {
        let (name, uid) = (child.name_any(), child.uid());
        api.delete(&name, &DeleteParams::default()).await.unwrap();
        eventually(&format!("{name} comes back"), || async {
            match api.get_opt(&name).await.unwrap() {
                Some(again) if again.uid() != uid => Ok(()),
                other => Err(format!("{:?}", other.map(|o| o.uid()))),
            }
        })
        .await;
    }
}

#[tokio::test]
async fn somebody_elses_object_is_never_taken_over() {
    let world = World::new("foreign").await;
    let name = format!("{ARCHITECTURE}-server");
    let foreign =
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": [{"port": 1}]}});
    world.apply::<Service>(&foreign).await.unwrap();
    let operator = world.start(Faults::default());
    world.apply::<Architecture>(&architecture()).await.unwrap();
    let accounts = world.api::<ServiceAccount>();
    eventually("what is made before it", || async {
        accounts.get_opt(&name).await.unwrap().map(drop).ok_or_else(String::new)
    })
    .await;
    let api = world.api::<Service>();
    for _ in 0..20 {
        assert_eq!(api.get(&name).await.unwrap().spec.unwrap().ports.unwrap()[0].port, 1);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Once it is out of the way, ours takes its place.
    api.delete(&name, &DeleteParams::default()).await.unwrap();
    eventually("our Service", || async {
        api.get_opt(&name).await.unwrap().filter(|s| !s.owner_references().is_empty()).map(drop).ok_or_else(String::new)
    })
    .await;
    operator.stop().await;
}

#[tokio::test]
async fn a_changed_secret_rolls_the_pods_and_a_missing_one_is_named() {
    let world = World::new("secrets").await;
    // Nothing but the look at the named Secrets can see it.
    let operator = world.start_with(Faults::default(), Settings { resync_seconds: 300, ..settings() }, None);
    let architecture = with(architecture(), "/spec/onlineStore/redis/secretRef", json!({"name": "redis"}));
    world.apply::<Architecture>(&architecture).await.unwrap();
    world.apply::<FeatureView>(&view()).await.unwrap();
    let api = world.api::<Architecture>();
    eventually("the missing Secret is named", || async {
        let status = api.get(ARCHITECTURE).await.unwrap().status.unwrap_or_default();
        let named = status
            .conditions
            .iter()
            .any(|c| c.reason == "SecretNotFound" && c.message.contains("spec.onlineStore.redis.secretRef"));
        if named { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
    let secret = |password| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "redis"}, "stringData": {"password": password}});
    world.apply::<Secret>(&secret("one")).await.unwrap();
    let served = finish(&world).await;
    let stream = format!("{VIEW}-stream-{}", served.status.unwrap().active_revision.unwrap());
    let deployments = world.api::<Deployment>();
    let version = |deployment: &Deployment| {
        let template = deployment.spec.as_ref().unwrap().template.metadata.clone().unwrap();
        template.annotations.unwrap_or_default().get("featuremill.dev/secrets").cloned()
    };
    let before = version(&deployments.get(&stream).await.unwrap());
    assert!(before.is_some());
    world.apply::<Secret>(&secret("two")).await.unwrap();
    for name in [stream, format!("{ARCHITECTURE}-server")] {
        eventually(&format!("{name} is rolled"), || async {
            let now = version(&deployments.get(&name).await.unwrap());
            if now != before && now.is_some() { Ok(()) } else { Err(format!("{now:?}")) }
        })
        .await;
    }
    operator.stop().await;
}

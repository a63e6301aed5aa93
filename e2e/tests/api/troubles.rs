//! What keeps a view from being served shows in its conditions, in the words of whoever knows, and goes when it heals.

use crds::{Architecture, FeatureView};
use engine::row::{Trouble, trouble_key};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use shell::store::RowStore as _;

use crate::children::{finish, serve};
use crate::faults::Faults;
use crate::fixtures::{ARCHITECTURE, VIEW, architecture, view};
use crate::world::{World, eventually, has, is};

const POD: &str = "played";

/// Makes the pod of a template as the controller would, in a state that the kubelet would report.
pub async fn play_pod(world: &World, template: &PodTemplateSpec, status: &Value) {
    let template = template.clone();
    let labels = template.metadata.unwrap().labels.unwrap();
    let mut spec = serde_json::to_value(template.spec.unwrap()).unwrap();
    // No volume is ever mounted here.
    spec.as_object_mut().unwrap().remove("serviceAccountName");
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": POD, "labels": labels}, "spec": spec});
    world.apply::<Pod>(&pod).await.unwrap();
    let api: Api<Pod> = world.api();
    api.patch_status(POD, &PatchParams::default(), &Patch::Merge(json!({"status": status}))).await.unwrap();
}

pub fn container(name: &str, state: &Value) -> Value {
    json!({"containerStatuses": [{
        "name": name, "image": "featuremill:dev", "imageID": "", "ready": false, "restartCount": 0, "state": state,
    }]})
}

pub async fn says(world: &World, type_: &str, status: &str, reason: &str, text: &str) {
    world
        .view(VIEW, reason, |v| {
            let conditions = v.status.as_ref().map(|s| s.conditions.clone()).unwrap_or_default();
            has(&conditions, type_, status, Some(reason)) && conditions.iter().any(|c| c.message.contains(text))
        })
        .await;
}

#[tokio::test]
async fn a_pod_that_does_not_start_says_why_in_the_views_condition() {
    let world = World::new("pods").await;
    let operator = world.start(Faults::default());
    world.apply::<Architecture>(&architecture()).await.unwrap();
    world.apply::<FeatureView>(&view()).await.unwrap();
    let view = world.view(VIEW, "live", |v| v.status.as_ref().is_some_and(|s| s.active_revision.is_some())).await;
    let name = format!("{VIEW}-stream-{}", view.status.unwrap().active_revision.unwrap());
    let api = world.api::<Deployment>();
    let stream = api.get(&name).await.unwrap();

    let cpu = "0/1 nodes are available: 1 Insufficient cpu.";
    let unschedulable = json!({"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": cpu},
    ]});
    play_pod(&world, &stream.spec.as_ref().unwrap().template, &unschedulable).await;
    says(&world, "Ready", "False", "Unschedulable", cpu).await;
    let waiting = container("stream", &json!({"waiting": {"reason": "ErrImageNeverPull"}}));
    play_pod(&world, &stream.spec.as_ref().unwrap().template, &waiting).await;
    says(&world, "Stalled", "True", "ImageUnavailable", "imagePullPolicy is Never").await;
    let crash =
        json!({"terminated": {"exitCode": 2, "reason": "Error", "message": "view shop/a: the plan is of semantics 2"}});
    play_pod(&world, &stream.spec.as_ref().unwrap().template, &container("stream", &crash)).await;
    says(&world, "Ready", "False", "Crashing", "exit code 2: view shop/a").await;
    let quota = "pods \"x\" is forbidden: exceeded quota: small";
    let failure = json!({"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": quota});
    let status = json!({"status": {"conditions": [failure]}});
    api.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    says(&world, "Ready", "False", "PodRefused", quota).await;

    world.api::<Pod>().delete(POD, &DeleteParams::default().grace_period(0)).await.unwrap();
    let healed = json!({"status": {"conditions": []}});
    api.patch_status(&name, &PatchParams::default(), &Patch::Merge(healed)).await.unwrap();
    let served = finish(&world).await;
    assert!(is(&served, "Stalled", "False"));
    operator.stop().await;
}

#[tokio::test]
async fn a_servers_pod_that_does_not_start_says_why_in_the_architectures_condition() {
    let world = World::new("server-pods").await;
    let operator = world.start(Faults::default());
    world.apply::<Architecture>(&architecture()).await.unwrap();
    let deployments = world.api::<Deployment>();
    let name = format!("{ARCHITECTURE}-server");
    let server = eventually("the server is made", || async {
        deployments.get_opt(&name).await.unwrap().ok_or_else(String::new)
    })
    .await;
    play_pod(
        &world,
        &server.spec.as_ref().unwrap().template,
        &container("server", &json!({"waiting": {"reason": "ImagePullBackOff"}})),
    )
    .await;
    let api = world.api::<Architecture>();
    eventually("it is told", || async {
        let conditions = api.get(ARCHITECTURE).await.unwrap().status.unwrap_or_default().conditions;
        let told = has(&conditions, "Ready", "False", Some("ImageUnavailable"))
            && has(&conditions, "Stalled", "True", Some("ImageUnavailable"));
        if told { Ok(()) } else { Err(format!("{conditions:#?}")) }
    })
    .await;
    operator.stop().await;
}

#[tokio::test]
async fn what_a_worker_says_of_itself_reaches_the_view_and_goes_when_it_heals() {
    let world = World::new("told").await;
    let operator = world.start(Faults::default());
    let served = serve(&world).await;
    let (uid, revision) = (served.uid().unwrap(), served.status.unwrap().active_revision.unwrap());
    let key = trouble_key(&uid, &revision, 0);
    let now = jiff::Timestamp::now().as_millisecond();
    let message = "partition 3 of clicks no longer holds [5, 9); raise source.epoch".to_owned();
    let trouble = Trouble { reason: "SourceGap".into(), message: message.clone(), since_ms: now, said_ms: now };
    world.edges.store.say_trouble(&key, "worker-1", Some(&trouble), 60_000).await.unwrap();
    says(&world, "Ready", "False", "SourceGap", &message).await;
    says(&world, "Stalled", "True", "SourceGap", "worker-1").await;
    world.edges.store.say_trouble(&key, "worker-1", None, 60_000).await.unwrap();
    finish(&world).await;

    // A worker that was killed says nothing more: what it said last is no longer believed.
    let stale = Trouble { said_ms: now - 3_600_000, ..trouble };
    world.edges.store.say_trouble(&key, "worker-1", Some(&stale), 60_000).await.unwrap();
    finish(&world).await;
    operator.stop().await;
}

#[tokio::test]
async fn a_store_that_takes_no_writes_is_named_while_workers_are_not_ready() {
    let world = World::new("refusal").await;
    let operator = world.start(Faults::default());
    let served = serve(&world).await;
    let stream = format!("{VIEW}-stream-{}", served.status.unwrap().active_revision.unwrap());
    world.edges.store.set_refusal(Some("OOM command not allowed when used memory > 'maxmemory'"));
    let unready = json!({"status": {"readyReplicas": 0, "availableReplicas": 0}});
    let api = world.api::<Deployment>();
    api.patch_status(&stream, &PatchParams::default(), &Patch::Merge(unready)).await.unwrap();
    says(&world, "Ready", "False", "StoreRefusesWrites", "OOM command").await;
    world.edges.store.set_refusal(None);
    finish(&world).await;
    operator.stop().await;
}

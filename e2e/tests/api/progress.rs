//! A candidate of which nothing advances is given up, and says what kept it; what is refused to it shows before that. And one
//! that may have more workers has them until it serves.

use crds::FeatureView;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use operator::edges::{Held, Topic};
use serde_json::{Value, json};

use crate::children::serve;
use crate::cutover::{active, annotate, candidate, edited, is_told, phase, played};
use crate::faults::Faults;
use crate::fixtures::VIEW;
use crate::replays::replaying;
use crate::troubles::{container, play_pod, says};
use crate::world::{World, eventually, has, is};

const QUOTA: &str = "Error creating: pods \"x\" is forbidden: exceeded quota: small";

/// Plays the Job controller that can make no pod.
async fn refuse_pods(world: &World, job: &Job) {
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": format!("{}.1", job.name_any())},
        "involvedObject": {
            "apiVersion": "batch/v1", "kind": "Job", "name": job.name_any(), "namespace": world.namespace, "uid": job.uid(),
        },
        "type": "Warning", "reason": "FailedCreate", "message": QUOTA, "lastTimestamp": "2026-01-01T00:00:00Z",
        "source": {"component": "job-controller"},
    });
    world.create::<Event>(&event).await.unwrap();
}

/// Plays a pod of a Job whose image cannot be had, until it is told.
async fn lacks_image(world: &World, job: &Job, name: &str, told: impl AsyncFn()) {
    let waiting = container(name, &json!({"waiting": {"reason": "ImagePullBackOff"}}));
    let owner =
        json!({"apiVersion": "batch/v1", "kind": "Job", "name": job.name_any(), "uid": job.uid(), "controller": true});
    play_pod(world, &job.spec.as_ref().unwrap().template, &waiting).await;
    let owned = json!({"metadata": {"ownerReferences": [owner]}});
    let pods = world.api::<Pod>();
    pods.patch("played", &PatchParams::default(), &Patch::Merge(owned)).await.unwrap();
    told().await;
    pods.delete("played", &DeleteParams::default().grace_period(0)).await.unwrap();
}

#[tokio::test]
async fn a_replay_that_gets_no_pod_says_why_is_given_up_and_goes_on_when_asked() {
    let world = World::new("no-progress").await;
    let operator = world.start(Faults::default());
    let (first, job) = replaying(&world, &json!({})).await;
    let (old, new) = (active(&first), candidate(&world).await);
    lacks_image(&world, &job, "replay", async || {
        says(&world, "Stalled", "True", "ImageUnavailable", "cannot be pulled").await;
    })
    .await;
    refuse_pods(&world, &job).await;
    says(&world, "Stalled", "True", "PodRefused", QUOTA).await;
    // Nothing of it advances: it is the clock alone that gives it up.
    let hasty = json!({"catchUp": {"stableForSeconds": 0, "progressDeadlineSeconds": 2}});
    world.apply::<FeatureView>(&edited("2h", &hasty)).await.unwrap();
    let aborted = world.view(VIEW, "given up", |v| phase(v) == "Aborted").await;
    let conditions = &aborted.status.as_ref().unwrap().conditions;
    assert!(has(conditions, "Stalled", "True", Some("NoProgress")) && is(&aborted, "Ready", "True"), "{aborted:#?}");
    let stalled = conditions.iter().find(|c| c.type_ == "Stalled").unwrap();
    for part in ["its replay read no record, and stands at 0 %", QUOTA, &format!("{old} serves on")] {
        assert!(stalled.message.contains(part), "{stalled:#?}");
    }
    is_told(&world, "NoProgress", QUOTA).await;
    eventually("its Job is gone", || async {
        let jobs = world.replays().await.len();
        if jobs == 0 { Ok(()) } else { Err(format!("{jobs} Jobs")) }
    })
    .await;

    world.edges.replays_wait.store(false, std::sync::atomic::Ordering::Release);
    world.apply::<FeatureView>(&edited("2h", &json!({}))).await.unwrap();
    annotate(&world, "retry", &new).await;
    played(&world, "it takes over after all", |v| active(v) == new).await;
    operator.stop().await;
}

#[tokio::test]
async fn a_pause_and_another_operator_take_nothing_of_the_time() {
    let world = World::new("no-progress-held").await;
    let operator = world.start(Faults::default());
    let at = |v: &FeatureView| v.status.clone()?.rollout?.trial?.advance;
    replaying(&world, &json!({"catchUp": {"stableForSeconds": 0, "progressDeadlineSeconds": 3600}})).await;
    let seen = world.view(VIEW, "the clock runs", |v| at(v).is_some()).await;
    operator.stop().await;
    let operator = world.start(Faults::default());
    world.view(VIEW, "another operator", |v| at(v) == at(&seen)).await;
    let hold = json!({"paused": true, "catchUp": {"stableForSeconds": 0, "progressDeadlineSeconds": 1}});
    world.apply::<FeatureView>(&edited("2h", &hold)).await.unwrap();
    let held = world.view(VIEW, "paused", |v| phase(v) == "Paused").await;
    assert_eq!((at(&held), is(&held, "Stalled", "False")), (None, true));
    operator.stop().await;
}

#[tokio::test]
async fn what_is_refused_to_a_candidates_workers_shows_while_the_old_ones_serve() {
    let world = World::new("candidate-refused").await;
    let operator = world.start(Faults::default());
    let first = serve(&world).await;
    world.apply::<FeatureView>(&edited("2h", &json!({}))).await.unwrap();
    let new = candidate(&world).await;
    let api = world.api::<Deployment>();
    let name = format!("{VIEW}-stream-{new}");
    let stream = eventually("its workers are made", || async {
        world.replay(true).await;
        api.get_opt(&name).await.unwrap().ok_or_else(String::new)
    })
    .await;
    let waiting = container("stream", &json!({"waiting": {"reason": "ErrImagePull"}}));
    play_pod(&world, &stream.spec.unwrap().template, &waiting).await;
    says(&world, "Stalled", "True", "ImageUnavailable", "cannot be pulled").await;
    let failure = json!({"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": QUOTA});
    let status = Patch::Merge(json!({"status": {"conditions": [failure]}}));
    api.patch_status(&name, &PatchParams::default(), &status).await.unwrap();
    says(&world, "Stalled", "True", "PodRefused", QUOTA).await;
    let view = world.view(VIEW, "the old one serves", |v| is(v, "Ready", "True")).await;
    assert_eq!(active(&view), active(&first));
    operator.stop().await;
}

#[tokio::test]
async fn what_is_refused_to_a_comparison_shows() {
    let world = World::new("compare-refused").await;
    let operator = world.start(Faults::default());
    serve(&world).await;
    world.apply::<FeatureView>(&crate::compares::edited("2h", &json!({}))).await.unwrap();
    played(&world, "it is compared", |v| phase(v) == "Comparing").await;
    let of = ListParams::default().labels("app.kubernetes.io/component=compare");
    let job = eventually("a comparison's Job", || async {
        world.api::<Job>().list(&of).await.unwrap().items.into_iter().next().ok_or_else(String::new)
    })
    .await;
    let told = async |text: &str| {
        let is = |v: &FeatureView| {
            let conditions = v.status.clone().unwrap_or_default().conditions;
            let passed = conditions.iter().find(|c| c.type_ == "ComparisonPassed");
            passed.is_some_and(|c| c.reason == "Comparing" && c.message.contains(text))
        };
        played(&world, text, is).await;
    };
    lacks_image(&world, &job, "compare", async || told("cannot be pulled").await).await;
    refuse_pods(&world, &job).await;
    told(QUOTA).await;
    operator.stop().await;
}

#[tokio::test]
async fn a_candidate_has_more_workers_until_it_serves_but_none_without_a_partition() {
    let world = World::new("hurry").await;
    let operator = world.start(Faults::default());
    let held = Held { low: 0, end: 100, from: 0, oldest_ms: None };
    *world.edges.topic.lock().unwrap() =
        Topic { partitions: (0..3).map(|partition| (partition, held)).collect(), keeps_ms: None };
    let old = active(&serve(&world).await);
    let hurry = json!({"catchUp": {"stableForSeconds": 0, "replicas": 8}, "autoPromotionEnabled": false});
    world.apply::<FeatureView>(&edited("2h", &hurry)).await.unwrap();
    let new = candidate(&world).await;
    let replicas = async |revision: &str| -> Value {
        let stream = world.api::<Deployment>().get_opt(&format!("{VIEW}-stream-{revision}")).await.unwrap();
        json!(stream.and_then(|stream| stream.spec.unwrap().replicas))
    };
    played(&world, "it waits", |v| phase(v) == "AwaitingPromotion").await;
    assert_eq!((replicas(&new).await, replicas(&old).await), (json!(3), json!(1)));
    annotate(&world, "promote", &new).await;
    played(&world, "it serves", |v| active(v) == new).await;
    eventually("it has as many as others", || async {
        let now = replicas(&new).await;
        if now == json!(1) { Ok(()) } else { Err(now.to_string()) }
    })
    .await;
    operator.stop().await;
}

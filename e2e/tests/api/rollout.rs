//! From one revision to the next: beside each other, moved when caught up, superseded, suspended.

use std::sync::atomic::Ordering;

use crds::FeatureView;
use engine::row::catalog_key;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::json;
use shell::store::RowStore as _;

use crate::children::{finish, serve};
use crate::faults::Faults;
use crate::fixtures::{ARCHITECTURE, VIEW, view_with};
use crate::world::{World, eventually, is, is_alone};

pub async fn streams(world: &World) -> Vec<String> {
    let list = ListParams::default().labels("app.kubernetes.io/component=stream");
    world.api::<Deployment>().list(&list).await.unwrap().iter().map(kube::ResourceExt::name_any).collect()
}

#[tokio::test]
async fn a_new_revision_runs_beside_the_old_one_until_it_has_caught_up() {
    let world = World::new("rollout").await;
    let operator = world.start(Faults::default());
    let first = serve(&world).await;
    let (uid, old) = (first.uid().unwrap(), first.status.unwrap().active_revision.unwrap());
    assert_eq!(world.live(&uid).await.unwrap().revision, old);

    world.apply::<FeatureView>(&view_with("/spec/features/0/window", json!("2h"))).await.unwrap();
    let rolling =
        world.view(VIEW, "a candidate", |v| v.status.as_ref().is_some_and(|s| s.candidate_revision.is_some())).await;
    let status = rolling.status.clone().unwrap();
    let new = status.candidate_revision.unwrap();
    assert_eq!(status.active_revision.as_deref(), Some(old.as_str()));
    assert!(
        is(&rolling, "CaughtUp", "False") && is(&rolling, "Reconciling", "True") && is(&rolling, "Ready", "True"),
        "{rolling:#?}"
    );
    let mut both = vec![format!("{VIEW}-stream-{old}"), format!("{VIEW}-stream-{new}")];
    both.sort();
    eventually("both run, once the history is read", || async {
        world.roll_out().await;
        let streams = streams(&world).await;
        if streams == both { Ok(()) } else { Err(format!("{streams:?}")) }
    })
    .await;
    // The server knows both plans before the pointer moves.
    let architecture = world.api::<crds::Architecture>().get(ARCHITECTURE).await.unwrap();
    let catalog = world.edges.store.catalog(&catalog_key(&architecture.uid().unwrap())).await.unwrap();
    let planned: Vec<&str> = catalog[VIEW].plans.iter().map(|p| p.revision.as_str()).collect();
    assert_eq!(planned, [old.as_str(), new.as_str()]);
    assert_eq!(world.live(&uid).await.unwrap().revision, old);

    let served = finish(&world).await.status.unwrap();
    assert_eq!(served.active_revision.as_deref(), Some(new.as_str()));
    let live = world.live(&uid).await.unwrap();
    assert_eq!((live.revision.as_str(), live.fence), (new.as_str(), 2));
    eventually("the old workers and plan are gone", || async {
        let (streams, plans) =
            (streams(&world).await, world.api::<ConfigMap>().list(&ListParams::default()).await.unwrap().items.len());
        if streams == [format!("{VIEW}-stream-{new}")] && plans == 1 {
            Ok(())
        } else {
            Err(format!("{streams:?}, {plans} plans"))
        }
    })
    .await;
    world.view(VIEW, "the removal is complete", is_alone).await;
    assert!(!world.has_keys(&format!("{uid}/{old}/")) && world.has_keys(&format!("{uid}/{new}/")));
    assert_eq!(*world.edges.deleted_groups.lock().unwrap(), [format!("{uid}.{old}.0")].into());
    // Each event says its own revision, not that of the one before it.
    eventually("an event of each promotion", || async {
        let events = world.api::<Event>().list(&ListParams::default()).await.unwrap();
        let notes = events.iter().filter(|e| e.reason.as_deref() == Some("Promoted")).filter_map(|e| e.note.clone());
        let notes: Vec<String> = notes.collect();
        let told = |revision: &String| notes.contains(&format!("revision {revision} is live"));
        if told(&old) && told(&new) { Ok(()) } else { Err(format!("{notes:?}")) }
    })
    .await;
    operator.stop().await;
}

#[tokio::test]
async fn a_revision_comes_back_only_after_its_removal_is_complete() {
    let world = World::new("comeback").await;
    let operator = world.start(Faults::default());
    let first = serve(&world).await;
    let (uid, old) = (first.uid().unwrap(), first.status.unwrap().active_revision.unwrap());
    world.apply::<FeatureView>(&view_with("/spec/features/0/window", json!("2h"))).await.unwrap();
    eventually("both run", || async {
        world.roll_out().await;
        let streams = streams(&world).await;
        if streams.len() == 2 { Ok(()) } else { Err(format!("{streams:?}")) }
    })
    .await;
    // The log is away, so that the removal of the first revision cannot be completed.
    world.edges.log_is_away.store(true, Ordering::Release);
    let api = world.api::<FeatureView>();
    let new = eventually("the second revision is live", || async {
        world.roll_out().await;
        let status = api.get(VIEW).await.unwrap().status.unwrap_or_default();
        if let Some(candidate) = &status.candidate_revision {
            world.catch_up(&uid, candidate).await;
        }
        let active = status.active_revision.filter(|a| *a != old && !status.retiring.is_empty());
        active.ok_or_else(|| format!("{:?}", status.candidate_revision))
    })
    .await;
    world.apply::<FeatureView>(&crate::fixtures::view()).await.unwrap();
    let waiting = world
        .view(VIEW, "it waits for the removal", |v| {
            v.status.as_ref().is_some_and(|s| s.phase.as_deref() == Some("Retiring"))
        })
        .await;
    assert_eq!(waiting.status.unwrap().active_revision.as_deref(), Some(new.as_str()));
    assert_eq!(streams(&world).await, [format!("{VIEW}-stream-{new}")]);
    assert_eq!(world.live(&uid).await.unwrap().revision, new);
    world.edges.log_is_away.store(false, Ordering::Release);
    let back = finish(&world).await.status.unwrap();
    assert_eq!(back.active_revision.as_deref(), Some(old.as_str()));
    operator.stop().await;
}

#[tokio::test]
async fn a_newer_edit_supersedes_and_an_edit_taken_back_serves_on() {
    let world = World::new("supersede").await;
    let operator = world.start(Faults::default());
    let first = serve(&world).await.status.unwrap().active_revision.unwrap();
    let mut candidates = Vec::new();
    for window in ["2h", "3h"] {
        world.apply::<FeatureView>(&view_with("/spec/features/0/window", json!(window))).await.unwrap();
        let seen = candidates.clone();
        let candidate = move |v: &FeatureView| {
            v.status.as_ref().and_then(|s| s.candidate_revision.clone()).filter(|c| !seen.contains(c))
        };
        let view = world.view(VIEW, window, |v| candidate(v).is_some()).await;
        candidates.push(candidate(&view).unwrap());
    }
    eventually("the first candidate's workers are gone", || async {
        world.roll_out().await;
        let streams = streams(&world).await;
        if streams.len() == 2 && !streams.iter().any(|s| s.ends_with(&candidates[0])) {
            Ok(())
        } else {
            Err(format!("{streams:?}"))
        }
    })
    .await;
    world.apply::<FeatureView>(&crate::fixtures::view()).await.unwrap();
    let back = world
        .view(VIEW, "taken back", |v| is(v, "Ready", "True") && is(v, "Reconciling", "False"))
        .await
        .status
        .unwrap();
    assert_eq!((back.active_revision, back.candidate_revision), (Some(first), None));
    operator.stop().await;
}

#[tokio::test]
async fn what_does_not_change_a_value_updates_in_place() {
    let world = World::new("in-place").await;
    let operator = world.start(Faults::default());
    let before = serve(&world).await.status.unwrap();
    world.apply::<FeatureView>(&view_with("/spec/worker", json!({"memoryMiB": 512}))).await.unwrap();
    let stream = format!("{VIEW}-stream-{}", before.active_revision.clone().unwrap());
    let api = world.api::<Deployment>();
    eventually("the new flag", || async {
        let pod = api.get(&stream).await.unwrap().spec.unwrap().template.spec.unwrap();
        let arguments = pod.containers[0].args.clone().unwrap();
        if arguments.contains(&"--memory-mib=512".to_owned()) { Ok(()) } else { Err(format!("{arguments:?}")) }
    })
    .await;
    let after = finish(&world).await.status.unwrap();
    assert_eq!((after.active_revision, after.plan_hash), (before.active_revision, before.plan_hash));
    operator.stop().await;
}

#[tokio::test]
async fn suspending_stops_the_workers_and_keeps_the_rest() {
    let world = World::new("suspend").await;
    let operator = world.start(Faults::default());
    let before = serve(&world).await;
    let uid = before.uid().unwrap();
    world.apply::<FeatureView>(&view_with("/spec/suspend", json!(true))).await.unwrap();
    let stream = format!("{VIEW}-stream-{}", before.status.unwrap().active_revision.unwrap());
    let api = world.api::<Deployment>();
    eventually("no workers", || async {
        let wanted = api.get(&stream).await.unwrap().spec.unwrap().replicas;
        if wanted == Some(0) { Ok(()) } else { Err(format!("{wanted:?}")) }
    })
    .await;
    let suspended = world.view(VIEW, "suspended", |v| is(v, "Ready", "True") && is(v, "Reconciling", "False")).await;
    assert_eq!(suspended.status.unwrap().phase.as_deref(), Some("Suspended"));
    assert!(world.live(&uid).await.is_some());
    world.apply::<FeatureView>(&crate::fixtures::view()).await.unwrap();
    finish(&world).await;
    operator.stop().await;
}

#[tokio::test]
async fn a_store_that_is_away_moves_nothing_and_is_named() {
    let world = World::new("away").await;
    let operator = world.start(Faults::default());
    let first = serve(&world).await;
    world.edges.store.set_away(true);
    world.apply::<FeatureView>(&view_with("/spec/features/0/window", json!("2h"))).await.unwrap();
    let away = world
        .view(VIEW, "unreachable", |v| {
            v.status
                .as_ref()
                .is_some_and(|s| crate::world::has(&s.conditions, "Ready", "Unknown", Some("StoreUnreachable")))
        })
        .await;
    assert_eq!(away.status.unwrap().active_revision, first.status.unwrap().active_revision);
    world.edges.store.set_away(false);
    let served = finish(&world).await;
    assert_eq!(
        world.live(&served.uid().unwrap()).await.unwrap().revision,
        served.status.unwrap().active_revision.unwrap()
    );
    operator.stop().await;
}

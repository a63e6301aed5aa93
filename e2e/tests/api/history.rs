//! The history of a view: what status is rebuilt from, what a pin can name, and how much of it is kept.

use crds::FeatureView;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use crate::children::serve;
use crate::cutover::{active, candidate, caught_up, edited, phase, played, take_over};
use crate::faults::Faults;
use crate::fixtures::VIEW;
use crate::world::{World, eventually, is, is_alone};

/// The names of the entries, the oldest first.
pub async fn entries(world: &World) -> Vec<String> {
    let list = world.api::<ControllerRevision>().list(&ListParams::default()).await.unwrap();
    let mut all: Vec<_> = list.into_iter().map(|entry| (entry.revision, entry.name_any())).collect();
    all.sort();
    all.into_iter().map(|(_, name)| name).collect()
}

#[tokio::test]
async fn a_status_that_is_lost_in_the_soak_is_rebuilt_and_the_soak_goes_on() {
    let world = World::new("lost-status").await;
    let operator = world.start(Faults::default());
    serve(&world).await;
    let before = take_over(&world, &edited("2h", &json!({}))).await.status.unwrap();
    // Once the history says when the new one took over.
    eventually("the history is written", || async {
        let list = world.api::<ControllerRevision>().list(&ListParams::default()).await.unwrap();
        let told =
            list.into_iter().filter(|entry| entry.annotations().contains_key("featuremill.dev/promoted")).count();
        if told == 2 { Ok(()) } else { Err(told.to_string()) }
    })
    .await;
    let lost = Patch::Merge(json!({"status": null}));
    world.api::<FeatureView>().patch_status(VIEW, &PatchParams::default(), &lost).await.unwrap();
    let after = played(&world, "rebuilt", |v| phase(v) == "Soaking").await.status.unwrap();
    assert_eq!((after.active_revision, after.previous_revision), (before.active_revision, before.previous_revision));
    assert_eq!(after.rollout.unwrap().promoted_time, before.rollout.unwrap().promoted_time);
    operator.stop().await;
}

#[tokio::test]
async fn a_pin_on_the_history_is_computed_anew_and_one_on_nothing_is_named() {
    let world = World::new("history").await;
    let operator = world.start(Faults::default());
    let first = serve(&world).await;
    let (uid, old) = (first.uid().unwrap(), active(&first));
    let at_once = |pin: &str| edited("2h", &json!({"scaleDownDelaySeconds": 0, "servingRevision": pin}));
    let new = active(&take_over(&world, &at_once("")).await);
    world.view(VIEW, "the first is gone", is_alone).await;

    world.apply::<FeatureView>(&at_once("0123456789")).await.unwrap();
    let unknown = world.view(VIEW, "unavailable", |v| is(v, "Stalled", "True")).await;
    let stalled = unknown.status.as_ref().unwrap().conditions.iter().find(|c| c.type_ == "Stalled").cloned().unwrap();
    assert_eq!(stalled.reason, "RevisionUnavailable");
    assert!(stalled.message.contains(&old) && stalled.message.contains(&new), "{}", stalled.message);
    assert!(is(&unknown, "Ready", "True"));

    world.apply::<FeatureView>(&at_once(&old)).await.unwrap();
    assert_eq!(candidate(&world).await, old);
    let plan = world.api::<ConfigMap>();
    let of = ListParams::default().labels(&format!("featuremill.dev/revision={old}"));
    eventually("its plan, with the window that it had", || async {
        let maps = plan.list(&of).await.unwrap().items;
        let text = maps.into_iter().find_map(|m| m.data?.remove("assignments.json")).unwrap_or_default();
        if text.contains(&old) { Ok(()) } else { Err(text) }
    })
    .await;
    eventually("it is live", || async {
        caught_up(&world).await;
        let live = world.live(&uid).await.unwrap();
        if live.revision == old { Ok(()) } else { Err(format!("{live:?}")) }
    })
    .await;
    operator.stop().await;
}

#[tokio::test]
async fn the_history_has_a_limit() {
    let world = World::new("history-limit").await;
    let operator = world.start(Faults::default());
    serve(&world).await;
    let mut all = Vec::new();
    for window in ["2h", "3h", "4h"] {
        let limited = json!({"revisionHistoryLimit": 1, "scaleDownDelaySeconds": 0});
        all.push(active(&take_over(&world, &edited(window, &limited)).await));
        world.view(VIEW, "alone", is_alone).await;
    }
    let kept: Vec<String> = all[1..].iter().map(|revision| format!("{VIEW}-{revision}")).collect();
    eventually("the newest are left", || async {
        let entries = entries(&world).await;
        if entries == kept { Ok(()) } else { Err(format!("{entries:?}")) }
    })
    .await;
    operator.stop().await;
}

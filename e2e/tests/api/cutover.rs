//! What comes before and after the move of the pointer: a person's word, the soak, the way back.

use crds::FeatureView;
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt as _;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::children::{finish, serve};
use crate::faults::Faults;
use crate::fixtures::{VIEW, view_with, with};
use crate::history::entries;
use crate::rollout::streams;
use crate::world::{World, eventually, has, is, is_alone};

/// The view with a window and a rollout; what is not said of the latter is for at once, and for ever.
pub fn edited(window: &str, rollout: &Value) -> Value {
    let mut all = json!({
        "catchUp": {"stableForSeconds": 0}, "comparison": {"sampleKeys": 0}, "scaleDownDelaySeconds": 86_400,
    });
    all.as_object_mut().unwrap().extend(rollout.as_object().unwrap().clone());
    with(view_with("/spec/features/0/window", json!(window)), "/spec/rollout", all)
}

pub fn active(view: &FeatureView) -> String {
    view.status.clone().unwrap().active_revision.unwrap()
}

pub fn phase(view: &FeatureView) -> String {
    view.status.clone().unwrap_or_default().phase.unwrap_or_default()
}

/// Applies, and plays the worker of the candidate until another revision is live.
pub async fn take_over(world: &World, view: &Value) -> FeatureView {
    let before = active(&world.api::<FeatureView>().get(VIEW).await.unwrap());
    world.apply::<FeatureView>(view).await.unwrap();
    played(world, "another revision is live", |v| active(v) != before).await;
    finish(world).await
}

/// All workers run, and have read everything.
pub async fn caught_up(world: &World) -> FeatureView {
    world.roll_out().await;
    let view = world.api::<FeatureView>().get(VIEW).await.unwrap();
    let status = view.status.clone().unwrap_or_default();
    for revision in status.active_revision.iter().chain(&status.previous_revision).chain(&status.candidate_revision) {
        world.catch_up(&view.uid().unwrap(), revision).await;
    }
    view
}

/// Plays the workers until the view is as it should be, and answers with it.
pub async fn played(world: &World, what: &str, is: impl Fn(&FeatureView) -> bool) -> FeatureView {
    eventually(what, || async {
        let view = caught_up(world).await;
        if is(&view) { Ok(view) } else { Err(format!("{:#?}", view.status)) }
    })
    .await
}

pub async fn candidate(world: &World) -> String {
    let rolling =
        world.view(VIEW, "a candidate", |v| v.status.as_ref().is_some_and(|s| s.candidate_revision.is_some())).await;
    rolling.status.unwrap().candidate_revision.unwrap()
}

pub async fn annotate(world: &World, verb: &str, revision: &str) {
    let patch = json!({"metadata": {"annotations": {(format!("featuremill.dev/{verb}")): revision}}});
    world.api::<FeatureView>().patch(VIEW, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

/// Waits until nothing is asked for any more.
pub async fn answered(world: &World) {
    let verbs = ["promote", "abort", "retry"].map(|verb| format!("featuremill.dev/{verb}"));
    let asks = |v: &FeatureView| verbs.iter().any(|verb| v.annotations().contains_key(verb));
    world.view(VIEW, "the request is taken off", |v| !asks(v)).await;
}

pub async fn is_told(world: &World, reason: &str, of: &str) {
    eventually(&format!("an event {reason} of {of}"), || async {
        let events = world.api::<Event>().list(&ListParams::default()).await.unwrap();
        let told: Vec<(Option<String>, Option<String>)> = events.into_iter().map(|e| (e.reason, e.note)).collect();
        let is = |(r, note): &(Option<String>, Option<String>)| {
            r.as_deref() == Some(reason) && note.as_ref().is_some_and(|note| note.contains(of))
        };
        if told.iter().any(is) { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
}

fn both(a: &str, b: &str) -> Vec<String> {
    let mut names = vec![format!("{VIEW}-stream-{a}"), format!("{VIEW}-stream-{b}")];
    names.sort();
    names
}

#[tokio::test]
async fn the_revision_before_is_kept_through_the_soak_and_then_goes_with_all_it_had() {
    let world = World::new("soak").await;
    let operator = world.start(Faults::default());
    let first = serve(&world).await;
    let (uid, old) = (first.uid().unwrap(), active(&first));
    let soaking = take_over(&world, &edited("2h", &json!({}))).await;
    let new = active(&soaking);
    let status = soaking.status.clone().unwrap();
    assert_eq!((status.phase.as_deref(), status.previous_revision.as_deref()), (Some("Soaking"), Some(old.as_str())));
    assert!(is(&soaking, "Ready", "True") && is(&soaking, "Reconciling", "False") && is(&soaking, "Stalled", "False"));
    let rollback = status.conditions.iter().find(|c| c.type_ == "RollbackAvailable").unwrap();
    assert!(rollback.message.contains(&format!(r#""servingRevision":"{old}""#)), "{rollback:?}");
    assert_eq!(streams(&world).await, both(&old, &new));

    // The soak is over as soon as the spec says so.
    world.apply::<FeatureView>(&edited("2h", &json!({"scaleDownDelaySeconds": 0}))).await.unwrap();
    let alone = world.view(VIEW, "the soak is over", is_alone).await;
    assert!(phase(&alone) == "Live" && is(&alone, "RollbackAvailable", "False"), "{alone:#?}");
    assert_eq!(streams(&world).await, [format!("{VIEW}-stream-{new}")]);
    assert!(!world.has_keys(&format!("{uid}/{old}/")) && world.has_keys(&format!("{uid}/{new}/")));
    assert_eq!(*world.edges.deleted_groups.lock().unwrap(), [format!("{uid}.{old}.0")].into());
    assert_eq!(entries(&world).await, [format!("{VIEW}-{old}"), format!("{VIEW}-{new}")]);
    is_told(&world, "Soaked", &old).await;
    operator.stop().await;
}

#[tokio::test]
async fn a_pin_goes_back_at_once_and_without_it_forward_again() {
    let world = World::new("rollback").await;
    let operator = world.start(Faults::default());
    let first = serve(&world).await;
    let (uid, old) = (first.uid().unwrap(), active(&first));
    let new = active(&take_over(&world, &edited("2h", &json!({}))).await);
    assert_eq!(world.live(&uid).await.unwrap().fence, 2);

    world.apply::<FeatureView>(&edited("2h", &json!({"servingRevision": old}))).await.unwrap();
    let back = played(&world, "rolled back", |v| phase(v) == "RolledBack").await;
    let live = world.live(&uid).await.unwrap();
    assert_eq!((live.revision.as_str(), live.fence), (old.as_str(), 3));
    let conditions = &back.status.as_ref().unwrap().conditions;
    assert!(has(conditions, "Ready", "True", Some("RolledBack")) && is(&back, "Stalled", "False"), "{back:#?}");
    // The one that was left reads on: the way forward is as short.
    assert_eq!((streams(&world).await, back.status.unwrap().previous_revision), (both(&old, &new), Some(new.clone())));
    is_told(&world, "RolledBack", &old).await;

    world.apply::<FeatureView>(&edited("2h", &json!({}))).await.unwrap();
    eventually("forward again", || async {
        let live = world.live(&uid).await.unwrap();
        if live.revision == new { Ok(()) } else { Err(format!("{live:?}")) }
    })
    .await;
    let forward = played(&world, "soaking", |v| phase(v) == "Soaking").await;
    assert_eq!(forward.status.unwrap().previous_revision.as_deref(), Some(old.as_str()));
    operator.stop().await;
}

#[tokio::test]
async fn a_person_lets_a_revision_take_over_and_no_other() {
    let world = World::new("promote").await;
    let operator = world.start(Faults::default());
    let first = serve(&world).await;
    let (uid, old) = (first.uid().unwrap(), active(&first));
    let manual = json!({"autoPromotionEnabled": false});
    world.apply::<FeatureView>(&edited("2h", &manual)).await.unwrap();
    let new = candidate(&world).await;
    let waiting = played(&world, "it waits for a person", |v| phase(v) == "AwaitingPromotion").await;
    let conditions = &waiting.status.as_ref().unwrap().conditions;
    assert!(has(conditions, "Reconciling", "True", Some("AwaitingPromotion")) && is(&waiting, "Ready", "True"));
    let says = &conditions.iter().find(|c| c.type_ == "Reconciling").unwrap().message;
    assert!(says.contains(&format!("featuremill.dev/promote={new}")), "{says}");

    annotate(&world, "promote", "0123456789").await;
    answered(&world).await;
    is_told(&world, "RequestIgnored", "0123456789").await;
    assert_eq!(world.live(&uid).await.unwrap().revision, old);

    annotate(&world, "promote", &new).await;
    eventually("it takes over", || async {
        caught_up(&world).await;
        let live = world.live(&uid).await.unwrap();
        if live.revision == new { Ok(()) } else { Err(format!("{live:?}")) }
    })
    .await;
    answered(&world).await;
    // The next edit needs a word of its own.
    world.apply::<FeatureView>(&edited("3h", &manual)).await.unwrap();
    played(&world, "the next one waits, too", |v| phase(v) == "AwaitingPromotion").await;
    assert_eq!(world.live(&uid).await.unwrap().revision, new);
    operator.stop().await;
}

#[tokio::test]
async fn an_edit_in_the_soak_keeps_the_revision_that_proved_itself_as_the_way_back() {
    let world = World::new("edit-in-soak").await;
    let operator = world.start(Faults::default());
    let first = active(&serve(&world).await);
    let second = active(&take_over(&world, &edited("2h", &json!({}))).await);
    let third = take_over(&world, &edited("3h", &json!({}))).await;
    assert_eq!(third.status.as_ref().unwrap().previous_revision.as_deref(), Some(first.as_str()));
    let third = active(&third);
    eventually("the second is gone", || async {
        let streams = streams(&world).await;
        if streams == both(&first, &third) { Ok(()) } else { Err(format!("{streams:?}, {second}")) }
    })
    .await;
    // And a revert goes back at once.
    let uid = world.api::<FeatureView>().get(VIEW).await.unwrap().uid().unwrap();
    world.apply::<FeatureView>(&edited("1h", &json!({}))).await.unwrap();
    eventually("the first is live again", || async {
        let live = world.live(&uid).await.unwrap();
        if live.revision == first { Ok(()) } else { Err(format!("{live:?}")) }
    })
    .await;
    operator.stop().await;
}

#[tokio::test]
async fn a_pause_holds_everything_but_the_way_back() {
    let world = World::new("pause").await;
    let operator = world.start(Faults::default());
    let first = active(&serve(&world).await);
    let second = active(&take_over(&world, &edited("2h", &json!({}))).await);
    let paused = |window: &str, pin: &str| {
        edited(window, &json!({"paused": true, "scaleDownDelaySeconds": 0, "servingRevision": pin}))
    };
    world.apply::<FeatureView>(&paused("3h", "")).await.unwrap();
    candidate(&world).await;
    let held = played(&world, "it is held", |v| is(v, "CaughtUp", "True") && phase(v) == "Paused").await;
    // The soak would have been over.
    assert_eq!(held.status.as_ref().unwrap().previous_revision.as_deref(), Some(first.as_str()));
    assert_eq!((active(&held), streams(&world).await.len()), (second, 3));
    world.apply::<FeatureView>(&paused("3h", &first)).await.unwrap();
    world.view(VIEW, "the first is live again", |v| active(v) == first).await;
    operator.stop().await;
}

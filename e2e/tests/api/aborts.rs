//! Revisions that are given up, by a person or by the clock, and what is left of them: nothing.

use crds::FeatureView;
use kube::ResourceExt as _;
use serde_json::json;

use crate::children::serve;
use crate::cutover::{active, annotate, answered, candidate, edited, is_told, phase, played};
use crate::faults::Faults;
use crate::fixtures::VIEW;
use crate::rollout::streams;
use crate::world::{World, has, is, is_alone};

#[tokio::test]
async fn a_revision_that_is_given_up_leaves_nothing_and_is_tried_again_when_asked() {
    let world = World::new("abort").await;
    let operator = world.start(Faults::default());
    let first = serve(&world).await;
    let (uid, old) = (first.uid().unwrap(), active(&first));
    world.apply::<FeatureView>(&edited("2h", &json!({}))).await.unwrap();
    let new = candidate(&world).await;
    annotate(&world, "abort", &new).await;
    let aborted = world.view(VIEW, "aborted", |v| phase(v) == "Aborted").await;
    let conditions = &aborted.status.as_ref().unwrap().conditions;
    assert!(has(conditions, "Stalled", "True", Some("AbortedByUser")) && is(&aborted, "Ready", "True"), "{aborted:#?}");
    answered(&world).await;
    world.view(VIEW, "nothing is left of it", is_alone).await;
    assert_eq!(streams(&world).await, [format!("{VIEW}-stream-{old}")]);
    assert!(!world.has_keys(&format!("{uid}/{new}/")), "{:?}", world.edges.store.keys());

    annotate(&world, "retry", &new).await;
    played(&world, "it takes over after all", |v| active(v) == new).await;
    operator.stop().await;
}

#[tokio::test]
async fn a_revision_that_does_not_catch_up_in_time_stalls_the_view_while_the_old_one_serves() {
    let world = World::new("deadline").await;
    let operator = world.start(Faults::default());
    let old = active(&serve(&world).await);
    let hasty = json!({"catchUp": {"stableForSeconds": 0, "deadlineSeconds": 2}});
    world.apply::<FeatureView>(&edited("2h", &hasty)).await.unwrap();
    let aborted = world.view(VIEW, "given up", |v| phase(v) == "Aborted").await;
    let status = aborted.status.clone().unwrap();
    assert!(has(&status.conditions, "Stalled", "True", Some("DeadlineExceeded")), "{status:#?}");
    assert!(is(&aborted, "Ready", "True") && is(&aborted, "Reconciling", "False"));
    assert_eq!(status.active_revision.as_deref(), Some(old.as_str()));
    is_told(&world, "DeadlineExceeded", &old).await;
    // Reverting the edit is all it takes.
    world.apply::<FeatureView>(&edited("1h", &json!({}))).await.unwrap();
    let healed = played(&world, "healed", |v| is(v, "Stalled", "False") && phase(v) == "Live").await;
    assert_eq!(active(&healed), old);
    operator.stop().await;
}

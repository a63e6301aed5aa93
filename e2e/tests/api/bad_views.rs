//! Views that cannot be: refused with a message that names the field, within two seconds, and healed by mending it.

use std::time::{Duration, Instant};

use crds::{Architecture, FeatureView};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::faults::Faults;
use crate::fixtures::{ARCHITECTURE, VIEW, architecture, view, view_with};
use crate::world::{World, has, is};

/// How soon a person is told.
const SOON: Duration = Duration::from_secs(2);

/// What is wrong, where it is put, and what the message must name.
fn table() -> Vec<(&'static str, &'static str, Value, &'static str)> {
    let circle = json!([
        {"name": "a", "expression": "b + 1"},
        {"name": "b", "expression": "a + 1"},
        {"name": "c", "aggregate": "Count"},
    ]);
    vec![
        ("unknown column in where", "/spec/features/0/where", json!("nonsense = 1"), "spec.features[0].where"),
        ("unknown column in of", "/spec/features/2/of", json!("nonsense"), "spec.features[2].of"),
        ("type error in where", "/spec/features/0/where", json!("price"), "spec.features[0].where"),
        ("not SQL", "/spec/features/0/where", json!("event_type = = 'click'"), "spec.features[0].where"),
        ("type error in of", "/spec/features/2/of", json!("event_type"), "spec.features[2]"),
        (
            "unknown feature",
            "/spec/features/3/expression",
            json!("clicks_1h / nonsense"),
            "spec.features[3].expression",
        ),
        ("circular expressions", "/spec/features", circle, "expression"),
        ("window of nothing", "/spec/features/0/window", json!("0s"), "spec.features[0].window"),
        ("window too short for its hop", "/spec/features/0/window", json!("30s"), "spec.features[0]"),
        (
            "a row that grows too large",
            "/spec/features/4",
            json!({"name": "heavy", "aggregate": "Count", "window": "365d", "hop": "1s"}),
            "heavy (",
        ),
        ("a double as a key", "/spec/entity/keys", json!(["price"]), "spec.entity.keys"),
    ]
}

#[tokio::test]
async fn bad_views_are_refused_naming_the_field_and_heal() {
    let world = World::alone("bad").await;
    let operator = world.start(Faults::default());
    world.apply::<Architecture>(&architecture()).await.unwrap();
    for (what, path, value, names) in table() {
        let start = Instant::now();
        world
            .apply::<FeatureView>(&view_with(path, value))
            .await
            .unwrap_or_else(|e| panic!("{what}: the API server refused it: {e}"));
        let refused = world.view(VIEW, what, |v| is(v, "SpecAccepted", "False")).await;
        let took = start.elapsed();
        assert!(took < SOON, "{what}: it took {took:?}");
        let status = refused.status.unwrap();
        assert!(has(&status.conditions, "SpecAccepted", "False", Some("InvalidSpec")), "{what}: {status:#?}");
        assert!(
            has(&status.conditions, "Stalled", "True", None) && has(&status.conditions, "Ready", "False", None),
            "{what}"
        );
        let message = &status.conditions.iter().find(|c| c.type_ == "SpecAccepted").unwrap().message;
        assert!(message.contains(names), "{what}: {message:?} does not name {names}");
        let deployments = world.api::<Deployment>().list(&ListParams::default()).await.unwrap();
        assert!(
            deployments.iter().all(|d| !d.metadata.name.as_ref().unwrap().starts_with(VIEW)),
            "{what}: workers were made"
        );
        let start = Instant::now();
        world.apply::<FeatureView>(&view()).await.unwrap();
        world.view(VIEW, what, |v| is(v, "SpecAccepted", "True") && is(v, "Stalled", "False")).await;
        assert!(start.elapsed() < SOON, "{what}: healing took {:?}", start.elapsed());
        world.delete::<FeatureView>(VIEW).await;
    }
    operator.stop().await;
}

#[tokio::test]
async fn an_architecture_that_comes_later_heals_the_view() {
    let world = World::alone("later").await;
    let operator = world.start(Faults::default());
    let start = Instant::now();
    world.apply::<FeatureView>(&view()).await.unwrap();
    let refused = world.view(VIEW, "refused", |v| is(v, "SpecAccepted", "False")).await;
    assert!(start.elapsed() < SOON);
    let conditions = refused.status.unwrap().conditions;
    assert!(has(&conditions, "SpecAccepted", "False", Some("ArchitectureNotFound")));
    assert!(
        conditions.iter().any(|c| c.message.contains("spec.architectureRef.name") && c.message.contains(ARCHITECTURE))
    );
    let start = Instant::now();
    world.apply::<Architecture>(&architecture()).await.unwrap();
    world.view(VIEW, "healed", |v| is(v, "SpecAccepted", "True")).await;
    assert!(start.elapsed() < SOON, "healing took {:?}", start.elapsed());
    operator.stop().await;
}

#[tokio::test]
async fn a_bad_edit_leaves_the_live_revision_running() {
    let world = World::new("bad-edit").await;
    let operator = world.start(Faults::default());
    let served = crate::children::serve(&world).await.status.unwrap();
    world.apply::<FeatureView>(&view_with("/spec/features/0/where", json!("nonsense = 1"))).await.unwrap();
    let refused = world.view(VIEW, "refused", |v| is(v, "SpecAccepted", "False")).await.status.unwrap();
    assert_eq!(refused.active_revision, served.active_revision);
    let stream = format!("{VIEW}-stream-{}", served.active_revision.clone().unwrap());
    assert!(world.api::<Deployment>().get_opt(&stream).await.unwrap().is_some());
    world.apply::<FeatureView>(&view()).await.unwrap();
    let healed = world.view(VIEW, "healed", |v| is(v, "Ready", "True")).await.status.unwrap();
    assert_eq!((healed.active_revision, healed.candidate_revision), (served.active_revision, None));
    operator.stop().await;
}

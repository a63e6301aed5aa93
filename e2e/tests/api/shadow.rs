//! What the operator tells servers to read with a candidate, while that has caught up and does not serve, and what it says of it.

use crds::feature_view::ShadowStatus;
use crds::{Architecture, FeatureView};
use engine::compare::Reading;
use engine::row::{CatalogEntry, catalog_key, shadow_key};
use engine::shadow::{Report, Shadow};
use engine::value::{Value, ValueType};
use kube::ResourceExt as _;
use serde_json::json;
use shell::store::RowStore as _;

use crate::children::serve;
use crate::cutover::{active, annotate, candidate, edited, phase, played};
use crate::faults::Faults;
use crate::fixtures::{ARCHITECTURE, VIEW};
use crate::world::{World, eventually};

async fn entry(world: &World) -> CatalogEntry {
    let uid = world.api::<Architecture>().get(ARCHITECTURE).await.unwrap().uid().unwrap();
    world.edges.store.catalog(&catalog_key(&uid)).await.unwrap().remove(VIEW).unwrap()
}

/// Waits until servers are told so.
async fn is_read(world: &World, shadow: Option<&Shadow>) {
    eventually("what servers are told", || async {
        let told = entry(world).await.shadow;
        if told.as_ref() == shadow { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
}

/// Plays a server that has read a few requests.
async fn says(world: &World, uid: &str, server: &str, shadow: &Shadow) {
    let mut report = Report { former: shadow.former.clone(), reads: 10, dropped: 1, said_ms: 1, ..Report::default() };
    report.latency.observe(2_000);
    let reading = |n| Reading { value: Some(Value::Int64(n)), exact: true };
    let feature = report.features.entry("clicks_1h".to_owned()).or_default();
    feature.observe("5eed", (&reading(4), &reading(9)), (&ValueType::Int64, &ValueType::Int64));
    feature.observe("cafe", (&reading(4), &reading(4)), (&ValueType::Int64, &ValueType::Int64));
    let key = shadow_key(uid, &shadow.candidate);
    world.edges.store.say_shadow(&key, server, &report, 60_000).await.unwrap();
}

fn told(view: &FeatureView) -> Option<ShadowStatus> {
    view.status.clone()?.rollout?.shadow.map(|told| *told)
}

#[tokio::test]
async fn servers_read_the_candidate_from_when_it_has_caught_up_until_it_serves() {
    let world = World::new("shadow").await;
    let operator = world.start(Faults::default());
    let first = serve(&world).await;
    let (uid, old) = (first.uid().unwrap(), active(&first));
    let waits = json!({"autoPromotionEnabled": false, "comparison": {"sampleKeys": 0, "shadow": {"percent": 20}}});
    world.apply::<FeatureView>(&edited("2h", &waits)).await.unwrap();
    let new = candidate(&world).await;
    is_read(&world, None).await;
    let shadow = Shadow { former: old.clone(), candidate: new.clone(), percent: 20 };
    // Before it has caught up: else status might tell of the first alone, which then stands for half a minute.
    for server in ["one", "two"] {
        says(&world, &uid, server, &shadow).await;
    }
    played(&world, "it waits", |v| phase(v) == "AwaitingPromotion").await;
    is_read(&world, Some(&shadow)).await;

    let view = played(&world, "it is told", |v| told(v).is_some_and(|told| told.reads == 20)).await;
    let status = told(&view).unwrap();
    assert_eq!((status.former.as_str(), status.candidate.as_str(), status.dropped), (old.as_str(), new.as_str(), 2));
    let difference = &status.differences[0];
    assert_eq!((difference.name.as_str(), difference.checked, difference.equal.as_str()), ("clicks_1h", 4, "0.5000"));
    let example = &difference.examples[0];
    assert_eq!((&*example.entity, &*example.former, &*example.candidate), ("5eed", "4", "9"));
    let p95: f64 = status.p95_millis.unwrap().parse().unwrap();
    assert!((2.0..2.4).contains(&p95), "{p95}");

    annotate(&world, "promote", &new).await;
    let served = played(&world, "it serves", |v| active(v) == new).await;
    is_read(&world, None).await;
    assert_eq!(told(&served).map(|told| told.reads), Some(20), "what was told of what serves stands");
    operator.stop().await;
}

#[tokio::test]
async fn a_candidate_that_is_given_up_is_read_no_more_and_nothing_is_told_of_it() {
    let world = World::new("shadow-abort").await;
    let operator = world.start(Faults::default());
    let first = serve(&world).await;
    let (uid, old) = (first.uid().unwrap(), active(&first));
    let waits = json!({"autoPromotionEnabled": false, "comparison": {"sampleKeys": 0, "shadow": {"percent": 100}}});
    world.apply::<FeatureView>(&edited("2h", &waits)).await.unwrap();
    let new = candidate(&world).await;
    played(&world, "it waits", |v| phase(v) == "AwaitingPromotion").await;
    let shadow = Shadow { former: old, candidate: new.clone(), percent: 100 };
    is_read(&world, Some(&shadow)).await;
    says(&world, &uid, "one", &shadow).await;
    annotate(&world, "abort", &new).await;
    world.view(VIEW, "given up", |v| phase(v) == "Aborted").await;
    is_read(&world, None).await;
    eventually("nothing is left of it", || async {
        let prefix = format!("{uid}/{new}/");
        if world.has_keys(&prefix) { Err(format!("{:?}", world.edges.store.keys())) } else { Ok(()) }
    })
    .await;
    operator.stop().await;
}

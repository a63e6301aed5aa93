//! Bad views are refused within two seconds, by the API server or by `SpecAccepted=False`, with a message that names the
//! field; mending the spec heals them.

use std::time::{Duration, Instant};

use e2e::progress::wait_for;

use crate::world::World;

/// What is replaced in the clickstream's view, by what, and what the refusal must name.
const BAD: [(&str, &str, &str, &str); 7] = [
    (
        "unknown column",
        "event = 'product_view'\", window: 1h",
        "evnt = 'product_view'\", window: 1h",
        "spec.features[0].where",
    ),
    ("type error", "event = 'product_view'\", window: 1h", "event - 1\", window: 1h", "spec.features[0].where"),
    (
        "circle",
        "purchases_30d / nullif(views_30d, 0)",
        "preference_7d + conversion_30d",
        "spec.features[22].expression",
    ),
    (
        "bad window",
        "event = 'product_view'\", window: 1h",
        "event = 'product_view'\", window: 1 hour",
        "spec.features[0].window",
    ),
    ("duplicate names", "name: views_24h", "name: views_1h", "spec.features"),
    ("no such architecture", "name: realtime", "name: nowhere", "nowhere"),
    (
        "short window without hop",
        "event = 'product_view'\", window: 1h",
        "event = 'product_view'\", window: 30s",
        "spec.features[0].hop",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_view_is_refused_by_name_within_two_seconds_and_heals() {
    let world = World::new("bad-views", 1).await;
    let good = world.shopper();
    for (sort, from, to, names) in BAD {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{sort}: the example has changed");
        // A view's architecture cannot be edited, so one that names another is another view.
        let view = if sort == "no such architecture" { "astray" } else { "shopper" };
        refused(&world, sort, view, &bad.replacen("name: shopper", &format!("name: {view}"), 1), names).await;
    }
    let empty = format!("{}  features: []\n", good.split("  features:").next().unwrap());
    refused(&world, "empty features", "shopper", &empty, "spec.features").await;

    world.apply(&good);
    world.kubectl(&["wait", "featureview/shopper", "--for=condition=SpecAccepted", "--timeout=10s"]).unwrap();
}

async fn refused(world: &World, sort: &str, view: &str, yaml: &str, names: &str) {
    let object = format!("featureview/{view}");
    let Err(said) = world.cluster.apply(&world.namespace, yaml) else {
        // The API server has it from here on.
        let started = Instant::now();
        let generation = world.kubectl(&["get", &object, "-o", "jsonpath={.metadata.generation}"]).unwrap();
        let message = wait_for(sort, Duration::from_secs(10), || async {
            let path = r#"jsonpath={range .status.conditions[?(@.type=="SpecAccepted")]}{.status} {.observedGeneration} {.message}{end}"#;
            let found = world.kubectl(&["get", &object, "-o", path])?;
            if found.starts_with(&format!("False {generation} ")) { Ok(found) } else { Err(found) }
        })
        .await
        .unwrap();
        assert!(message.contains(names), "{sort}: {message:?} does not name {names}");
        assert!(started.elapsed() < Duration::from_secs(2), "{sort}: took {:?}", started.elapsed());
        return;
    };
    assert!(said.contains(names) || said.contains("spec.features"), "{sort}: {said:?} does not name {names}");
}

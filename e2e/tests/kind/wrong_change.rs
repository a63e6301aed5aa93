//! Changes that are wrong, of a view that is fed: the comparison holds them back, the revision before serves on, and the view
//! says which feature is off, and how far.

use std::time::Duration;

use e2e::clickstream::Clickstream;
use e2e::progress::wait_for;
use jiff::Timestamp;

use crate::modes::send;
use crate::world::{SHOPPER, SHOPPER_VIEW, World};

/// The definition of a feature, and what somebody makes of it by mistake.
type Change = (&'static str, &'static str, &'static str);

/// A filter that lets about half of the events through.
const HALVED: Change = (
    "views_30d",
    r#"{name: views_30d, aggregate: Count, where: "event = 'product_view'", window: 30d}"#,
    r#"{name: views_30d, aggregate: Count, where: "event = 'product_view' and ascii(right(session_id, 1)) % 2 = 0", window: 30d}"#,
);

/// An expression that is NULL for about a tenth of the shoppers.
const NULL_FOR_SOME: Change = (
    "preference_7d",
    r#""purchases_7d * 10 + carts_7d * 2 + views_7d""#,
    r#""case when (views_30d + searches_30d) % 10 = 3 then null else purchases_7d * 10 + carts_7d * 2 + views_7d end""#,
);

/// Waits for a phase with a candidate other than `before`, and gives that.
async fn phase(world: &World, wanted: &str, before: &str) -> String {
    wait_for(&format!("the phase {wanted}"), Duration::from_mins(5), || async {
        // Of one status: what is read one after the other may be of two.
        let both = "jsonpath={.status.phase} {.status.candidateRevision}";
        let both = world.kubectl(&["get", SHOPPER_VIEW, "-o", both])?;
        let (found, candidate) = both.split_once(' ').ok_or(both.clone())?;
        let told =
            || format!("{found} of {candidate}: {}", world.condition(SHOPPER_VIEW, "ComparisonPassed", "message"));
        if found == wanted && candidate != before { Ok(candidate.to_owned()) } else { Err(told()) }
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_change_is_held_back_and_says_which_feature_is_off_and_how_far() {
    let world = World::new("wrong-change", 4).await;
    let quick = "spec:\n  rollout: {catchUp: {stableForSeconds: 3}}\n";
    let right = world.shopper().replacen("spec:\n", quick, 1);
    world.apply(&right);
    for object in ["architecture/realtime", "featureview/shopper"] {
        world.ready(object);
    }
    let clickstream = Clickstream::fetch().unwrap().ending_at(Timestamp::now().as_millisecond());
    let uid = world.uid(SHOPPER);
    send(&world, &clickstream.events);
    world.settled(&uid).await.unwrap();
    let old = world.status(SHOPPER_VIEW, "activeRevision");

    let mut held = String::new();
    for (feature, is, should_not_be) in [HALVED, NULL_FOR_SOME] {
        let wrong = right.replacen(is, should_not_be, 1);
        assert_ne!(wrong, right, "the example has changed");
        world.apply(&wrong);
        held = phase(&world, "ComparisonFailed", &held).await;
        assert_eq!(world.status(SHOPPER_VIEW, "activeRevision"), old, "the old one serves");
        for (kind, value) in [("Ready", "True"), ("Stalled", "True"), ("ComparisonPassed", "False")] {
            assert_eq!(world.condition(SHOPPER_VIEW, kind, "status"), value, "{kind}");
        }
        let says = world.condition(SHOPPER_VIEW, "Stalled", "message");
        println!("{says}");
        for part in [feature, " %", "expectedChanges", &format!("featuremill.dev/promote={held}")] {
            assert!(says.contains(part), "{part}: {says}");
        }
        let worst =
            world.status(SHOPPER_VIEW, &format!(r#"rollout.comparison.differences[?(@.name=="{feature}")].equal"#));
        let equal: f64 = worst.parse().unwrap();
        println!("{feature}: equal for {equal} of the shoppers");
        assert!(equal < 0.97, "{feature} is off for many: {worst}");
    }

    // Reverting the edit is all it takes, and nothing of the comparisons stays.
    world.apply(&right);
    phase(&world, "Live", &held).await;
    assert_eq!(world.status(SHOPPER_VIEW, "activeRevision"), old);
    wait_for("nothing of comparisons to be left", Duration::from_mins(4), || async {
        let label = "featuremill.dev/view=shopper,app.kubernetes.io/component=compare";
        let objects = world.kubectl(&["get", "jobs,configmaps,pods", "-l", label, "-o", "name"])?;
        let mut redis = redis::Client::open(world.cluster.redis()).and_then(|c| c.get_connection()).unwrap();
        let reports =
            redis::Commands::scan_match::<_, String>(&mut redis, format!("{uid}/*/comparison")).unwrap().count();
        if objects.trim().is_empty() && reports == 0 { Ok(()) } else { Err(format!("{objects}, {reports} reports")) }
    })
    .await
    .unwrap();
}

//! Lag as people see it: condition, status and Events of a view, while its workers are played and its topic's ends are given.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crds::feature_view::LagStatus;
use crds::{Architecture, FeatureView};
use engine::row::{Marker, marker_key};
use kube::ResourceExt as _;
use operator::lag::measure::Bounds;
use operator::settings::Settings;
use serde_json::{Value, json};
use shell::store::{Fence, MarkerWrite, RowStore as _};

use crate::children::{finish, serve};
use crate::cutover::{active, edited, is_told};
use crate::faults::Faults;
use crate::fixtures::{ARCHITECTURE, VIEW, architecture, view, view_with, with};
use crate::world::{Running, World, has, settings};

fn start(world: &World) -> Running {
    let settings = Settings { lag_poll: Duration::from_millis(200), ..settings() };
    world.start_with(Faults::default(), settings, None)
}

fn lag(view: &FeatureView) -> LagStatus {
    view.status.as_ref().and_then(|status| status.lag.clone()).unwrap_or_default()
}

pub fn fresh(view: &FeatureView, status: &str, reason: &str) -> bool {
    let known = view.status.clone().unwrap_or_default();
    let at = known.conditions.iter().find(|c| c.type_ == "Fresh").and_then(|c| c.observed_generation);
    at == view.metadata.generation && has(&known.conditions, "Fresh", status, Some(reason))
}

/// The topic's one partition ends there.
pub fn ends_at(world: &World, end: i64) {
    *world.edges.ends.lock().unwrap() = [(0, Bounds { start: 0, end, past: false })].into();
}

/// A worker that read up to `offset`, and was at the end that many seconds ago.
pub async fn reads(world: &World, view: &FeatureView, offset: i64, ago: i64) {
    let at = jiff::Timestamp::now().as_millisecond() - ago * 1000;
    let marker = Marker { offset, event_time: at - 3_600_000, end_offset: offset, read_to_end_at: at };
    let uid = view.uid().unwrap();
    let key = marker_key(&uid, &active(view), 0, 0);
    let base = world.edges.store.markers(&key).await.unwrap().by_partition.get(&0).map(|known| known.offset);
    let write = MarkerWrite { partition: 0, base, marker };
    world.edges.store.write_marker(&key, 1, Fence { uid: &uid, version: 0 }, write).await.unwrap();
}

/// A view that is served and whose tiers are these; nothing is known of its lag before.
pub async fn served(world: &World, tiers: &Value) -> FeatureView {
    world.apply::<Architecture>(&architecture()).await.unwrap();
    world.apply::<FeatureView>(&view_with("/spec/freshness", json!({"alertTiers": tiers}))).await.unwrap();
    finish(world).await
}

#[tokio::test]
async fn a_view_that_falls_behind_says_so_once_and_what_is_known_survives_a_restart() {
    let world = World::new("lag").await;
    world.edges.log_is_away.store(true, Ordering::Release);
    let operator = start(&world);
    let tiers =
        json!([{"tier": 1, "lagSeconds": 3600, "forSeconds": 0}, {"tier": 2, "lagSeconds": 300, "forSeconds": 0}]);
    let view = served(&world, &tiers).await;
    world.view(VIEW, "the lag is not known", |v| fresh(v, "Unknown", "KafkaUnreachable")).await;

    // It was at its end half an hour ago, and nobody has read since.
    let offset = jiff::Timestamp::now().as_millisecond() + 1000;
    reads(&world, &view, offset, 1800).await;
    ends_at(&world, offset + 50);
    world.edges.log_is_away.store(false, Ordering::Release);
    let late = world.view(VIEW, "late", |v| fresh(v, "False", "LagTier2")).await;
    let known = lag(&late);
    assert_eq!((known.records, known.tier, &known.revision), (50, Some(2), &active(&late)));
    assert!((1800..2000).contains(&known.seconds), "{known:?}");
    assert!(has(&late.status.as_ref().unwrap().conditions, "Ready", "True", None), "it is late, and serves");
    let message = late.status.as_ref().unwrap().conditions.iter().find(|c| c.type_ == "Fresh").unwrap().message.clone();
    assert!(message.contains("30 min behind, 50 records"), "{message}");
    is_told(&world, "LagTier2Raised", "30 min behind").await;
    // The tier in between is not the view's own: the built-in one holds, and is exceeded for less than its minute.
    assert_eq!(known.exceeded.iter().map(|e| e.tier).collect::<Vec<_>>(), [2, 3]);
    operator.stop().await;
    // What the topic holds is counted by an operator that finds the brokers there, and written once, too.
    let operator = start(&world);
    world.view(VIEW, "what the topic holds", |v| v.status.as_ref().is_some_and(|s| s.source.is_some())).await;
    operator.stop().await;

    // Another operator goes on where it was: what becomes much worse is told at once, and nothing else is written.
    // Both facts stand before it looks: between them it would rightly tell of the one without the other.
    ends_at(&world, offset + 9000);
    reads(&world, &view, offset + 1, 4000).await;
    let operator = start(&world);
    let worse = world.view(VIEW, "much later", |v| fresh(v, "False", "LagTier1")).await;
    assert_eq!(lag(&worse).records, 8999);
    is_told(&world, "LagTier1Raised", "8999 records").await;
    let written = operator.faults.writes().into_iter().filter(|w| w.ends_with(&format!("{VIEW}/status")));
    assert_eq!(written.count(), 1);

    // Workers that are stopped on purpose call nobody.
    let suspended = with(view_with("/spec/freshness", json!({"alertTiers": tiers})), "/spec/suspend", json!(true));
    world.apply::<FeatureView>(&suspended).await.unwrap();
    let silent = world.view(VIEW, "suspended", |v| fresh(v, "False", "Suspended") && lag(v).tier.is_none()).await;
    assert_eq!(lag(&silent).exceeded, []);
    is_told(&world, "LagTierCleared", "tier 1").await;
    operator.stop().await;
}

#[tokio::test]
async fn a_view_at_the_end_of_its_topic_is_on_time_and_its_candidate_calls_nobody() {
    let world = World::new("lag-candidate").await;
    let operator = start(&world);
    let first = serve(&world).await;
    let offset = jiff::Timestamp::now().as_millisecond() + 1000;
    reads(&world, &first, offset, 7200).await;
    ends_at(&world, offset);
    let on_time = world.view(VIEW, "on time", |v| fresh(v, "True", "OnTime")).await;
    assert_eq!((lag(&on_time).records, lag(&on_time).seconds), (0, 0));

    // A candidate that has read nothing, beside a live revision that is at the end. The tiers are the Architecture's.
    let strict = json!({"alertTiers": [{"tier": 1, "lagSeconds": 1, "forSeconds": 0}]});
    world.apply::<Architecture>(&with(architecture(), "/spec/freshness", strict)).await.unwrap();
    world.edges.replays_wait.store(true, Ordering::Release);
    world.apply::<FeatureView>(&edited("2h", &json!({}))).await.unwrap();
    let both = world
        .view(VIEW, "a candidate", |v| {
            v.status.as_ref().is_some_and(|s| s.candidate_revision.is_some()) && fresh(v, "True", "OnTime")
        })
        .await;
    assert_eq!((active(&both), lag(&both).revision), (active(&first), active(&first)));

    // The Architecture's tiers hold for it: one more record that nobody reads.
    ends_at(&world, offset + 1);
    let late = world.view(VIEW, "late", |v| fresh(v, "False", "LagTier1")).await;
    assert_eq!((lag(&late).records, lag(&late).revision), (1, active(&first)));
    operator.stop().await;
}

#[tokio::test]
async fn an_operator_that_begins_while_the_store_is_away_goes_on_calling_and_says_that_it_measures_nothing() {
    let world = World::new("lag-blind").await;
    let operator = start(&world);
    let view = served(&world, &json!([{"tier": 1, "lagSeconds": 300, "forSeconds": 0}])).await;
    let offset = jiff::Timestamp::now().as_millisecond() + 1000;
    reads(&world, &view, offset, 1800).await;
    ends_at(&world, offset + 50);
    world.view(VIEW, "late", |v| fresh(v, "False", "LagTier1")).await;
    operator.stop().await;

    let message = |v: &FeatureView| {
        let conditions = v.status.clone().unwrap_or_default().conditions;
        conditions.into_iter().find(|c| c.type_ == "Fresh").map(|c| c.message).unwrap_or_default()
    };
    world.edges.store.set_away(true);
    let operator = start(&world);
    let blind =
        world.view(VIEW, "measured no more", |v| message(v).contains("50 records as measured last, at 2")).await;
    assert!(fresh(&blind, "False", "LagTier1"), "{}", message(&blind));
    assert!(
        message(&blind).contains("; the online store does not say how far the topic was read"),
        "{}",
        message(&blind)
    );
    world.edges.store.set_away(false);
    let seen = world.view(VIEW, "measured again", |v| !message(v).contains("as measured last")).await;
    assert!(fresh(&seen, "False", "LagTier1"), "{}", message(&seen));
    operator.stop().await;
}

#[tokio::test]
async fn tiers_that_contradict_each_other_are_refused() {
    let world = World::new("lag-tiers").await;
    let tier = |tier: i32, lag: i32| json!({"tier": tier, "lagSeconds": lag});
    for (tiers, words) in [
        (json!([tier(1, 60), tier(2, 120)]), "the more urgent a tier, the larger its lagSeconds"),
        (json!([tier(1, 60), tier(1, 120)]), "uplicate"),
        (json!([tier(0, 60)]), "alertTiers[0].tier"),
        (json!([tier(4, 60)]), "alertTiers[0].tier"),
        (json!([tier(1, 0)]), "alertTiers[0].lagSeconds"),
    ] {
        let freshness = json!({"alertTiers": tiers});
        let error = world.apply::<FeatureView>(&view_with("/spec/freshness", freshness.clone())).await.unwrap_err();
        assert!(error.to_string().contains(words), "{words} in: {error}");
        let error = world.apply::<Architecture>(&with(architecture(), "/spec/freshness", freshness)).await.unwrap_err();
        assert!(error.to_string().contains(words), "{words} in: {error}");
    }
    let taken = json!({"alertTiers": [tier(3, 60), tier(1, 120)]});
    world.apply::<FeatureView>(&view_with("/spec/freshness", taken.clone())).await.unwrap();
    let taken = world.apply::<Architecture>(&with(architecture(), "/spec/freshness", taken)).await.unwrap();
    assert_eq!(taken.name_any(), ARCHITECTURE);
    assert_eq!(taken.spec.freshness.alert_tiers[0].for_seconds, 60);
    assert!(view()["spec"].get("freshness").is_none());
}

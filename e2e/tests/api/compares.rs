//! A candidate is compared with what serves before it takes over. The Job is played: its report is written into the store,
//! as the worker writes it.

use crds::FeatureView;
use crds::feature_view::ComparisonVerdict;
use engine::compare::{Comparison, Example, FeatureComparison, Kind, Report, Verdict};
use engine::row::{RunOutcome, comparison_key};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use shell::store::RowStore as _;

use crate::children::serve;
use crate::cutover::{self, active, annotate, candidate, caught_up, is_told, phase};
use crate::faults::Faults;
use crate::fixtures::{VIEW, with};
use crate::modes;
use crate::world::{Running, World, eventually, has, is, is_alone};

/// The view with a window; `rollout` beside a comparison that is on.
pub fn edited(window: &str, rollout: &Value) -> Value {
    let mut all = json!({"comparison": {"sampleKeys": 100}});
    all.as_object_mut().unwrap().extend(rollout.as_object().unwrap().clone());
    cutover::edited(window, &all)
}

/// How a Job ends.
type Ends = fn(&Comparison) -> Option<Verdict>;

#[allow(clippy::unnecessary_wraps, reason = "of the type of all ends")]
pub fn passed(_: &Comparison) -> Option<Verdict> {
    Some(Verdict::Passed)
}

/// As the worker judges: fails unless the change was announced.
#[allow(clippy::unnecessary_wraps, reason = "of the type of all ends")]
pub fn judged(comparison: &Comparison) -> Option<Verdict> {
    let reasons =
        vec!["feature clicks_1h was changed, and its values differ for 50 of 100 entities (50.00 %)".to_owned()];
    let announced = comparison.expected_changes.iter().any(|feature| feature == "clicks_1h");
    Some(if announced { Verdict::Passed } else { Verdict::Failed { reasons } })
}

fn fails(_: &Comparison) -> Option<Verdict> {
    None
}

async fn jobs(world: &World) -> Vec<Job> {
    let of = ListParams::default().labels("app.kubernetes.io/component=compare");
    world.api::<Job>().list(&of).await.unwrap().items
}

async fn files(world: &World) -> Vec<ConfigMap> {
    let of = ListParams::default().labels("app.kubernetes.io/component=compare");
    world.api::<ConfigMap>().list(&of).await.unwrap().items
}

/// Plays the pods of every Job that has not ended.
async fn play(world: &World, ends: Ends) {
    for job in jobs(world).await {
        let ended = job.status.as_ref().and_then(|s| s.conditions.as_ref()).is_some_and(|all| !all.is_empty());
        let file = world.api::<ConfigMap>().get_opt(&job.name_any()).await.unwrap();
        let (false, Some(file)) = (ended, file) else { continue };
        let comparison: Comparison = serde_json::from_str(&file.data.unwrap()["comparison.json"]).unwrap();
        let verdict = ends(&comparison);
        let well = verdict.is_some();
        if let Some(verdict) = verdict {
            let key = comparison_key(&comparison.candidate.view.uid, &comparison.candidate.revision);
            world.edges.store.put_comparison(&key, &report(&comparison, verdict)).await.unwrap();
        }
        end(world, &job, well).await;
    }
}

fn report(comparison: &Comparison, verdict: Verdict) -> Report {
    let example = Example { entity: "5eed".to_owned(), former: "4".to_owned(), candidate: "2".to_owned() };
    let feature = FeatureComparison {
        name: "clicks_1h".to_owned(),
        kind: Kind::Changed,
        compared: 100,
        unreadable: 0,
        mismatches: 50,
        former_null_share: 0.0,
        candidate_null_share: 0.0,
        psi: Some(1.5),
        ks: Some(0.5),
        histogram: None,
        examples: vec![example],
    };
    Report {
        name: comparison.name.clone(),
        former: comparison.former.revision.clone(),
        candidate: comparison.candidate.revision.clone(),
        as_of_ms: 0,
        entities: 100,
        verdict,
        features: vec![feature],
    }
}

/// Plays the end of a Job.
pub async fn end(world: &World, job: &Job, well: bool) {
    let (now, begun) = ("2026-01-01T00:01:00Z", "2026-01-01T00:00:00Z");
    let condition = |type_: &str| {
        json!({"type": type_, "status": "True", "lastTransitionTime": now, "lastProbeTime": now,
               "reason": "Played", "message": "by the test"})
    };
    let status = if well {
        json!({"startTime": begun, "completionTime": now, "succeeded": 1,
               "conditions": [condition("SuccessCriteriaMet"), condition("Complete")]})
    } else {
        json!({"startTime": begun, "failed": 1, "conditions": [condition("FailureTarget"), condition("Failed")]})
    };
    let patch = Patch::Merge(json!({"status": status}));
    match world.api::<Job>().patch_status(&job.name_any(), &PatchParams::default(), &patch).await {
        // It may go while it is played.
        Err(kube::Error::Api(answer)) if answer.code == 404 => {}
        answer => drop(answer.unwrap()),
    }
}

/// Plays workers and Jobs until the view is as it should be.
pub async fn until(world: &World, what: &str, ends: Ends, is: impl Fn(&FeatureView) -> bool) -> FeatureView {
    eventually(what, || async {
        let view = caught_up(world).await;
        play(world, ends).await;
        if is(&view) { Ok(view) } else { Err(format!("{:#?}", view.status)) }
    })
    .await
}

/// Waits for the Job of a comparison that is under way: the attempt stands in status a round before it.
async fn under_way(world: &World) -> Job {
    cutover::played(world, "it is compared", |v| phase(v) == "Comparing").await;
    eventually("its Job", || async { jobs(world).await.pop().ok_or_else(String::new) }).await
}

/// A view whose edit is rolled out with a comparison.
async fn rolled(name: &str, rollout: &Value) -> (World, Running, String, String) {
    let world = World::new(name).await;
    let operator = world.start(Faults::default());
    let old = active(&serve(&world).await);
    world.apply::<FeatureView>(&edited("2h", rollout)).await.unwrap();
    let new = candidate(&world).await;
    (world, operator, old, new)
}

async fn nothing_is_left(world: &World) {
    eventually("no Job and no file of a comparison", || async {
        let (jobs, files) = (jobs(world).await.len(), files(world).await.len());
        if (jobs, files) == (0, 0) { Ok(()) } else { Err(format!("{jobs} Jobs, {files} files")) }
    })
    .await;
}

#[tokio::test]
async fn what_gives_the_announced_values_takes_over_and_nothing_of_the_comparison_stays() {
    let (world, operator, old, new) = rolled("compare", &json!({})).await;
    cutover::played(&world, "it is compared", |v| phase(v) == "Comparing").await;
    let view = until(&world, "it takes over", passed, |v| active(v) == new && is(v, "ComparisonPassed", "True")).await;
    let told = view.status.unwrap().rollout.unwrap().comparison.unwrap();
    assert_eq!((told.former, told.candidate, told.verdict), (old.clone(), new.clone(), ComparisonVerdict::Passed));
    nothing_is_left(&world).await;
    is_told(&world, "ComparisonStarted", &new).await;
    is_told(&world, "ComparisonPassed", &new).await;
    operator.stop().await;
}

#[tokio::test]
async fn what_differs_waits_and_says_which_feature_and_how_far_until_it_is_announced() {
    let (world, operator, old, new) = rolled("differs", &json!({})).await;
    let view = until(&world, "it is held", judged, |v| is(v, "Stalled", "True")).await;
    assert_eq!((phase(&view).as_str(), active(&view)), ("ComparisonFailed", old));
    let status = view.status.clone().unwrap();
    assert!(has(&status.conditions, "ComparisonPassed", "False", Some("ComparisonFailed")), "{status:#?}");
    assert!(is(&view, "Ready", "True") && is(&view, "Reconciling", "False") && is(&view, "CaughtUp", "True"));
    let stalled = &status.conditions.iter().find(|c| c.type_ == "Stalled").unwrap().message;
    for says in ["clicks_1h", "50 of 100", "expectedChanges", &format!("featuremill.dev/promote={new}")] {
        assert!(stalled.contains(says), "{says}: {stalled}");
    }
    let told = status.rollout.unwrap().comparison.unwrap();
    let worst = &told.differences[0];
    assert_eq!(
        (worst.name.as_str(), worst.equal.as_str(), worst.psi.as_deref()),
        ("clicks_1h", "0.5000", Some("1.5000"))
    );
    assert_eq!(worst.examples[0].entity, "5eed");
    is_told(&world, "ComparisonFailed", "clicks_1h").await;

    let announced = json!({"comparison": {"sampleKeys": 100, "expectedChanges": ["clicks_1h"]}});
    world.apply::<FeatureView>(&edited("2h", &announced)).await.unwrap();
    until(&world, "it takes over", judged, |v| active(v) == new && is(v, "Stalled", "False")).await;
    nothing_is_left(&world).await;
    operator.stop().await;
}

#[tokio::test]
async fn a_person_who_names_the_revision_lets_it_take_over_all_the_same() {
    let (world, operator, old, new) = rolled("forced", &json!({})).await;
    // Said before there was anything to be seen: no word on what differs.
    annotate(&world, "promote", &new).await;
    cutover::answered(&world).await;
    let view = until(&world, "it is held", judged, |v| is(v, "Stalled", "True")).await;
    assert_eq!(active(&view), old);
    annotate(&world, "promote", &new).await;
    let view = until(&world, "it takes over", judged, |v| active(v) == new).await;
    assert!(is(&view, "ComparisonPassed", "False"), "{view:#?}");
    operator.stop().await;
}

#[tokio::test]
async fn the_spec_may_give_up_what_differs() {
    let abort = json!({"comparison": {"sampleKeys": 100, "failurePolicy": "Abort"}});
    let (world, operator, old, new) = rolled("gives-up", &abort).await;
    let view = until(&world, "given up", judged, |v| phase(v) == "Aborted" && is_alone(v)).await;
    let status = view.status.clone().unwrap();
    assert!(has(&status.conditions, "Stalled", "True", Some("ComparisonFailed")), "{status:#?}");
    let stalled = &status.conditions.iter().find(|c| c.type_ == "Stalled").unwrap().message;
    assert!(stalled.contains("clicks_1h") && stalled.contains(&format!("featuremill.dev/retry={new}")), "{stalled}");
    assert_eq!(active(&view), old);
    nothing_is_left(&world).await;
    assert!(!world.has_keys(&format!("{}/{new}/", view.uid().unwrap())), "{:?}", world.edges.store.keys());
    operator.stop().await;
}

#[tokio::test]
async fn the_spec_may_let_in_what_differs_and_it_is_told() {
    let ignore = json!({"comparison": {"sampleKeys": 100, "failurePolicy": "Ignore"}});
    let (world, operator, _, new) = rolled("ignores", &ignore).await;
    let view = until(&world, "it takes over", judged, |v| active(v) == new).await;
    assert!(is(&view, "ComparisonPassed", "False") && is(&view, "Stalled", "False"), "{view:#?}");
    is_told(&world, "ComparisonFailed", "clicks_1h").await;
    operator.stop().await;
}

#[tokio::test]
async fn a_comparison_that_comes_to_no_verdict_is_told_and_tried_again() {
    let (world, operator, _, new) = rolled("no-verdict", &json!({})).await;
    let first = under_way(&world).await.name_any();
    assert!(first.ends_with("-1"), "{first}");
    // It ended long ago, by its own clock, so the next attempt begins at once.
    let view = until(
        &world,
        "another attempt takes over",
        |c| if c.name.ends_with("-1") { fails(c) } else { passed(c) },
        |v| active(v) == new,
    )
    .await;
    is_told(&world, "ComparisonStarted", "attempt 2").await;
    assert!(is(&view, "Ready", "True"));
    nothing_is_left(&world).await;
    operator.stop().await;
}

#[tokio::test]
async fn a_job_that_is_deleted_is_made_again_and_one_that_is_superseded_goes() {
    let (world, operator, _, new) = rolled("job-deleted", &json!({})).await;
    let made = |what: &'static str, not: Option<String>| {
        let world = &world;
        async move {
            eventually(what, || async {
                caught_up(world).await;
                match jobs(world).await.into_iter().find(|job| job.uid() != not) {
                    Some(job) => Ok(job),
                    None => Err("there is none".to_owned()),
                }
            })
            .await
        }
    };
    let first = made("a Job", None).await;
    world.api::<Job>().delete(&first.name_any(), &DeleteParams::background()).await.unwrap();
    let again = made("another Job", first.uid()).await;
    assert_eq!(again.name_any(), first.name_any());

    world.apply::<FeatureView>(&edited("3h", &json!({}))).await.unwrap();
    let view = until(&world, "the newer takes over", passed, |v| {
        v.status.as_ref().is_some_and(|s| s.candidate_revision.is_none()) && is(v, "ComparisonPassed", "True")
    })
    .await;
    assert_ne!(active(&view), new);
    nothing_is_left(&world).await;
    operator.stop().await;
}

fn condition(view: &FeatureView, type_: &str) -> String {
    let status = view.status.clone().unwrap_or_default();
    status.conditions.into_iter().find(|c| c.type_ == type_).map(|c| c.message).unwrap_or_default()
}

#[tokio::test]
async fn an_entry_of_expected_changes_that_no_revision_has_refuses_the_spec() {
    let world = World::new("misnamed").await;
    let operator = world.start(Faults::default());
    let old = active(&serve(&world).await);
    let listed = |names: Value| json!({"comparison": {"sampleKeys": 100, "expectedChanges": names}});
    world.apply::<FeatureView>(&edited("2h", &listed(json!(["clicks_1h", "clicks1h"])))).await.unwrap();
    let view = world.view(VIEW, "refused", |v| is(v, "SpecAccepted", "False")).await;
    let says = condition(&view, "SpecAccepted");
    for part in ["spec.rollout.comparison.expectedChanges", r#""clicks1h" (is "clicks_1h" meant?)"#] {
        assert!(says.contains(part), "{says}");
    }
    assert!(is(&view, "Stalled", "True") && phase(&view) == "Invalid" && active(&view) == old, "{view:#?}");
    assert_eq!(view.status.unwrap().candidate_revision, None);
    // One that the edit takes away is named on purpose; it stays accepted once it is gone.
    let mut without = edited("2h", &listed(json!(["clicks_1h", "price_p95_7d"])));
    without["spec"]["features"].as_array_mut().unwrap().retain(|feature| feature["name"] != "price_p95_7d");
    world.apply::<FeatureView>(&without).await.unwrap();
    let view = until(&world, "it takes over", judged, |v| active(v) != old).await;
    assert!(is(&view, "SpecAccepted", "True"), "{view:#?}");
    without["spec"]["rollout"]["scaleDownDelaySeconds"] = json!(0);
    world.apply::<FeatureView>(&without).await.unwrap();
    let view = world.view(VIEW, "the one before is gone", is_alone).await;
    assert!(is(&view, "SpecAccepted", "True"), "{view:#?}");
    operator.stop().await;
}

#[tokio::test]
async fn a_pause_shows_what_differs() {
    let (world, operator, old, new) = rolled("paused-differs", &json!({})).await;
    under_way(&world).await;
    world.apply::<FeatureView>(&edited("2h", &json!({"paused": true}))).await.unwrap();
    let view = until(&world, "it is shown", judged, |v| is(v, "Stalled", "True")).await;
    assert_eq!((phase(&view).as_str(), active(&view)), ("ComparisonFailed", old.clone()));
    assert!(condition(&view, "Stalled").contains("clicks_1h") && is(&view, "ComparisonPassed", "False"), "{view:#?}");
    annotate(&world, "promote", &new).await;
    let view = until(&world, "it waits for the end of the pause", judged, |v| phase(v) == "Paused").await;
    assert!(active(&view) == old && is(&view, "ComparisonPassed", "False"), "{view:#?}");
    world.apply::<FeatureView>(&edited("2h", &json!({}))).await.unwrap();
    until(&world, "it takes over", judged, |v| active(v) == new).await;
    operator.stop().await;
}

#[tokio::test]
async fn what_the_live_revision_passed_is_told_of_again_when_another_came_to_nothing() {
    let (world, operator, old, new) = rolled("told-again", &json!({})).await;
    until(&world, "it takes over", passed, |v| active(v) == new && is(v, "Reconciling", "False")).await;
    let says = format!("revision {new}, compared with {old} for 100 entities");
    let tells = |v: &FeatureView| is(v, "ComparisonPassed", "True") && condition(v, "ComparisonPassed").contains(&says);
    cutover::played(&world, "it is told of", tells).await;
    // Another is on trial: what was passed says nothing of it.
    world.apply::<FeatureView>(&edited("3h", &json!({"paused": true}))).await.unwrap();
    candidate(&world).await;
    cutover::played(&world, "not compared yet", |v| is(v, "ComparisonPassed", "Unknown")).await;
    world.apply::<FeatureView>(&edited("2h", &json!({}))).await.unwrap();
    cutover::played(&world, "it is told of again", |v| tells(v) && phase(v) == "Soaking").await;
    // Back, where there was nothing to be compared, and forward again.
    world.apply::<FeatureView>(&edited("2h", &json!({"servingRevision": old}))).await.unwrap();
    cutover::played(&world, "gone back", |v| phase(v) == "RolledBack" && is(v, "ComparisonPassed", "Unknown")).await;
    world.apply::<FeatureView>(&edited("2h", &json!({}))).await.unwrap();
    cutover::played(&world, "it is told of again", |v| active(v) == new && tells(v)).await;
    operator.stop().await;
}

#[tokio::test]
async fn generations_are_compared_like_any_other_revision() {
    for mode in ["Batch", "Lakehouse"] {
        let world = World::new(&format!("compare-{}", mode.to_lowercase())).await;
        let operator = world.start(Faults::default());
        let served = modes::serve(&world, mode).await;
        let (uid, old) = (served.uid().unwrap(), active(&served));
        let compared = |window: &str, expected: Value| {
            let rollout =
                json!({"comparison": {"sampleKeys": 100, "expectedChanges": expected}, "scaleDownDelaySeconds": 0});
            with(with(modes::view_of_all_modes(), "/spec/features/0/window", json!(window)), "/spec/rollout", rollout)
        };
        world.apply::<FeatureView>(&compared("2h", json!([]))).await.unwrap();
        let new = candidate(&world).await;
        assert!(jobs(&world).await.is_empty(), "{mode}: it has no generation yet");
        modes::publish(&world, &uid, &new, RunOutcome::Published).await;
        let view = until(&world, "it is held", judged, |v| is(v, "Stalled", "True")).await;
        assert_eq!((phase(&view).as_str(), active(&view)), ("ComparisonFailed", old), "{mode}");
        assert!(condition(&view, "Stalled").contains("clicks_1h"), "{mode}: {view:#?}");
        world.apply::<FeatureView>(&compared("2h", json!(["clicks_1h"]))).await.unwrap();
        let view = until(&world, "it takes over", judged, |v| active(v) == new && is_alone(v)).await;
        assert!(is(&view, "ComparisonPassed", "True"), "{mode}: {view:#?}");
        nothing_is_left(&world).await;
        operator.stop().await;
    }
}

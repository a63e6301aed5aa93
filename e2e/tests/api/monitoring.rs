//! Checks of the values that are served: what the operator has run, and what it tells of their reports. The Jobs are played:
//! each report is written into the store as the worker writes it.

use crds::FeatureView;
use crds::feature_view::MonitoringStatus;
use engine::compare::{Example, FeatureComparison, Kind, Report as Skew, Verdict};
use engine::monitor::{Against, DriftCheck, FeatureDrift, Reference, Report as Drift, SkewCheck};
use engine::row::{drift_key, skew_key};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{ListParams, PostParams};
use serde_json::{Value, json};
use shell::store::RowStore as _;

use crate::children::finish;
use crate::compares::end;
use crate::cutover::{active, is_told, played};
use crate::faults::Faults;
use crate::fixtures::{VIEW, architecture, view_with, with};
use crate::world::{World, eventually, has};

pub fn monitored(monitoring: Value) -> Value {
    view_with("/spec/monitoring", monitoring)
}

fn both() -> Value {
    json!({
        "drift": {"schedule": "0 4 * * *", "timeZone": "Etc/UTC", "sampleKeys": 300, "baseline": "spring"},
        "skew": {"lookback": "2h", "maxRecordsPerSecond": 5000},
    })
}

async fn serve(world: &World, monitoring: Value) -> FeatureView {
    world.apply::<crds::Architecture>(&architecture()).await.unwrap();
    world.apply::<FeatureView>(&monitored(monitoring)).await.unwrap();
    finish(world).await
}

async fn cron_jobs(world: &World) -> Vec<CronJob> {
    let of = ListParams::default().labels("app.kubernetes.io/component in (drift,skew)");
    world.api::<CronJob>().list(&of).await.unwrap().items
}

/// The CronJobs, once there are so many.
async fn checks(world: &World, n: usize) -> Vec<CronJob> {
    eventually(&format!("{n} checks"), || async {
        let all = cron_jobs(world).await;
        if all.len() == n {
            Ok(all)
        } else {
            Err(format!("{:?}", all.iter().map(ResourceExt::name_any).collect::<Vec<_>>()))
        }
    })
    .await
}

/// Plays a Job that a CronJob begins, and its end.
pub async fn play(world: &World, cron_job: &CronJob, name: &str, well: bool) {
    let template = &cron_job.spec.as_ref().unwrap().job_template;
    let owner = json!({"apiVersion": "batch/v1", "kind": "CronJob", "name": cron_job.name_any(), "uid": cron_job.uid(),
                       "controller": true});
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": name, "labels": template.metadata.as_ref().unwrap().labels, "ownerReferences": [owner]},
        "spec": template.spec,
    });
    let job: Job = serde_json::from_value(job).unwrap();
    let job = world.api::<Job>().create(&PostParams::default(), &job).await.unwrap();
    end(world, &job, well).await;
}

pub fn drift(revision: &str, clicks: f64, velocity: f64) -> Drift {
    let feature = |name: &str, psi: f64| FeatureDrift {
        name: name.into(),
        read: 300,
        psi: Some(psi),
        ks: Some(psi / 2.0),
        null_share: 0.12,
        reference_null_share: Some(0.001),
        outlier_share: Some(0.02),
        reference_outlier_share: Some(0.02),
        ..FeatureDrift::default()
    };
    Drift {
        revision: revision.into(),
        as_of_ms: 1_767_225_600_000,
        finished_ms: 1_767_225_601_000,
        entities: 300,
        reference: Some(Against {
            reference: Reference::Baseline { name: "spring".into() },
            as_of_ms: 1_767_139_200_000,
            entities: 300,
        }),
        features: vec![feature("clicks_1h", clicks), feature("velocity", velocity)],
    }
}

fn skew(revision: &str, differ: usize) -> Skew {
    let example = Example { entity: "5eed".into(), former: "5".into(), candidate: "4".into() };
    let feature = |name: &str, compared, mismatches, examples| FeatureComparison {
        name: name.into(),
        kind: Kind::Unchanged,
        compared,
        unreadable: 500 - compared,
        mismatches,
        former_null_share: 0.0,
        candidate_null_share: 0.0,
        psi: None,
        ks: None,
        histogram: None,
        examples,
    };
    let examples = if differ > 0 { vec![example] } else { Vec::new() };
    Skew {
        name: "skew".into(),
        former: revision.into(),
        candidate: revision.into(),
        as_of_ms: 1_767_225_600_000,
        entities: 500,
        verdict: Verdict::Passed,
        features: vec![feature("clicks_1h", 500, differ, examples), feature("price_p95_7d", 0, 0, Vec::new())],
    }
}

fn monitoring(view: &FeatureView) -> MonitoringStatus {
    view.status.as_ref().and_then(|status| status.monitoring.as_deref().cloned()).unwrap_or_default()
}

fn sound(view: &FeatureView, status: &str, reason: &str) -> bool {
    has(&view.status.clone().unwrap_or_default().conditions, "Sound", status, Some(reason))
}

fn message(view: &FeatureView) -> String {
    let conditions = view.status.clone().unwrap().conditions;
    conditions.into_iter().find(|c| c.type_ == "Sound").unwrap().message
}

#[tokio::test]
async fn a_drifted_feature_and_a_skewed_one_are_told_by_name_and_no_more_often_than_they_change() {
    let world = World::new("monitoring").await;
    let operator = world.start(Faults::default());
    let view = serve(&world, both()).await;
    let (uid, revision) = (view.uid().unwrap(), active(&view));
    let all = checks(&world, 2).await;
    let of = |component: &str| {
        let is = |c: &&CronJob| c.labels()["app.kubernetes.io/component"] == component;
        all.iter().find(is).unwrap()
    };
    assert_eq!(of("drift").name_any(), format!("{VIEW}-drift-{revision}"));
    let spec = of("drift").spec.clone().unwrap();
    assert_eq!((spec.schedule.as_str(), spec.time_zone.as_deref()), ("0 4 * * *", Some("Etc/UTC")));
    assert_eq!((spec.concurrency_policy.as_deref(), spec.suspend), (Some("Forbid"), Some(false)));
    let maps = world.api::<ConfigMap>().list(&ListParams::default()).await.unwrap().items;
    let file = |key: &str| maps.iter().find_map(|map| map.data.as_ref()?.get(key).cloned()).unwrap();
    let asked: DriftCheck = serde_json::from_str(&file("drift.json")).unwrap();
    assert_eq!((asked.plan.revision.as_str(), asked.sample_entities), (revision.as_str(), 300));
    assert_eq!(asked.reference, Reference::Baseline { name: "spring".into() });
    let asked: SkewCheck = serde_json::from_str(&file("skew.json")).unwrap();
    assert_eq!((asked.lookback_ms, asked.records_per_second.map(u32::from)), (7_200_000, Some(5_000)));
    world.view(VIEW, "nothing is known yet", |v| sound(v, "Unknown", "Pending")).await;

    // All is well.
    let store = &world.edges.store;
    store.put_text(&drift_key(&uid, &revision), &drift(&revision, 0.01, 0.02).encode()).await.unwrap();
    play(&world, of("drift"), "drift-1", true).await;
    store.put_comparison(&skew_key(&uid, &revision), &skew(&revision, 0)).await.unwrap();
    play(&world, of("skew"), "skew-1", true).await;
    let well = world.view(VIEW, "sound", |v| sound(v, "True", "Sound")).await;
    assert_eq!(monitoring(&well).skew.unwrap().unchecked, 1);
    assert!(
        message(&well).contains("velocity moved furthest") && message(&well).contains("PSI 0.0200"),
        "{}",
        message(&well)
    );

    // One feature has drifted.
    store.put_text(&drift_key(&uid, &revision), &drift(&revision, 0.61, 0.02).encode()).await.unwrap();
    play(&world, of("drift"), "drift-2", true).await;
    let drifted = world.view(VIEW, "drifted", |v| sound(v, "False", "FeatureDrifted")).await;
    let told = message(&drifted);
    assert!(told.contains("feature clicks_1h moved: PSI 0.6100") && !told.contains("velocity"), "{told}");
    assert!(told.contains("NULL for 12.0 % instead of 0.1 %") && told.contains("FeaturemillFeatureDrift.md"), "{told}");
    let status = monitoring(&drifted).drift.unwrap();
    assert_eq!((status.drifted, status.features[0].name.as_str(), status.max_psi.as_str()), (1, "clicks_1h", "0.25"));
    assert!(has(&drifted.status.as_ref().unwrap().conditions, "Ready", "True", None), "it serves");
    is_told(&world, "FeatureDrifted", "clicks_1h moved").await;

    // The same once more is no news; what is skewed besides goes before it.
    store.put_comparison(&skew_key(&uid, &revision), &skew(&revision, 1)).await.unwrap();
    play(&world, of("skew"), "skew-2", true).await;
    let skewed = world.view(VIEW, "skewed", |v| sound(v, "False", "ValuesSkewed")).await;
    let told = message(&skewed);
    assert!(
        told.contains("clicks_1h differs for 1 of 500 entities; entity #5eed is served 5, its events give 4"),
        "{told}"
    );
    is_told(&world, "ValuesSkewed", "entity #5eed").await;

    // A check that fails says nothing of the values, and what was found stands.
    play(&world, of("skew"), "skew-3", false).await;
    store.put_text(&drift_key(&uid, &revision), &drift(&revision, 0.1, 0.02).encode()).await.unwrap();
    play(&world, of("drift"), "drift-3", true).await;
    world
        .view(VIEW, "skewed still", |v| {
            monitoring(v).drift.is_some_and(|d| d.drifted == 0) && sound(v, "False", "ValuesSkewed")
        })
        .await;
    store.put_comparison(&skew_key(&uid, &revision), &skew(&revision, 0)).await.unwrap();
    world.api::<Job>().delete("skew-3", &kube::api::DeleteParams::background()).await.unwrap();
    world.view(VIEW, "sound again", |v| sound(v, "True", "Sound")).await;
    is_told(&world, "Sound", "as of").await;
    play(&world, of("skew"), "skew-4", false).await;
    let failed = world.view(VIEW, "failed", |v| sound(v, "Unknown", "CheckFailed")).await;
    assert!(message(&failed).contains("Job skew-4"), "{}", message(&failed));

    // Nobody asks any more: all of it goes.
    world.apply::<FeatureView>(&view_with("/spec/replicas", json!(1))).await.unwrap();
    checks(&world, 0).await;
    world
        .view(VIEW, "not monitored", |v| {
            sound(v, "Unknown", "NotMonitored") && v.status.as_ref().unwrap().monitoring.is_none()
        })
        .await;
    eventually("no file of a check", || async {
        let maps = world.api::<ConfigMap>().list(&ListParams::default()).await.unwrap().items;
        let left: Vec<String> = maps
            .iter()
            .filter(|m| m.data.as_ref().is_some_and(|d| d.contains_key("drift.json") || d.contains_key("skew.json")))
            .map(ResourceExt::name_any)
            .collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    operator.stop().await;
}

#[tokio::test]
async fn the_checks_follow_the_live_revision_and_a_bad_schedule_is_told() {
    let world = World::new("monitoring-moves").await;
    let operator = world.start(Faults::default());
    let first = serve(&world, both()).await;
    let old = active(&first);
    checks(&world, 2).await;
    // Whom nobody reads is not looked at: the candidate has no checks, the new live one has, and the one before no more.
    let edited = with(monitored(both()), "/spec/features/0/window", json!("2h"));
    let edited = with(edited, "/spec/rollout/scaleDownDelaySeconds", json!(86_400));
    world.apply::<FeatureView>(&edited).await.unwrap();
    let moved = played(&world, "another is live", |v| active(v) != old).await;
    let new = active(&moved);
    eventually("checks of the new one alone", || async {
        let names: Vec<String> = cron_jobs(&world).await.iter().map(ResourceExt::name_any).collect();
        if names.len() == 2 && names.iter().all(|name| name.ends_with(&new)) {
            Ok(())
        } else {
            Err(format!("{names:?}"))
        }
    })
    .await;
    let kept = world.api::<FeatureView>().get(VIEW).await.unwrap();
    assert_eq!(kept.status.unwrap().previous_revision, Some(old));

    let bad = with(edited, "/spec/monitoring/drift/timeZone", json!("Nowhere/Land"));
    world.apply::<FeatureView>(&bad).await.unwrap();
    let told = world.view(VIEW, "refused", |v| sound(v, "Unknown", "InvalidSpec")).await;
    assert!(message(&told).contains("spec.monitoring") && message(&told).contains("Nowhere"), "{}", message(&told));
    assert!(has(&told.status.unwrap().conditions, "Ready", "True", None), "it serves on");
    operator.stop().await;
}

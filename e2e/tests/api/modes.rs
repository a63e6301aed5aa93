//! Batch, Lambda and Lakehouse: the objects of each, what comes back, generations in status, and what is refused.

use crds::{Architecture, FeatureView};
use engine::row::{Head, RunOutcome, RunReport, head_key, run_key, writing_key};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use operator::apply::Object;
use serde_json::{Value, json};
use shell::store::RowStore as _;

use crate::cutover::is_told;
use crate::faults::Faults;
use crate::fixtures::{ARCHITECTURE, VIEW, architecture, view, with};
use crate::mask::Mask;
use crate::world::{World, eventually, has, is, is_alone};

pub fn architecture_of(mode: &str) -> Value {
    let mut object = with(architecture(), "/spec/mode", json!(mode));
    object["spec"]["offlineStore"] = json!({"delta": {"uri": "s3://lake/shop", "secretRef": {"name": "lake"}}});
    if mode == "Batch" {
        object["spec"].as_object_mut().unwrap().remove("kafka");
    }
    object
}

/// One view that every mode takes.
pub fn view_of_all_modes() -> Value {
    let mut object = view();
    object["spec"]["schedule"] = json!({"schedule": "0 3 * * *", "timeZone": "Etc/UTC", "backoffLimit": 2});
    object["spec"]["source"]["table"] = json!({"uri": "s3://lake/shop/clicks"});
    object["spec"]["qualityGate"] = json!({"maxRowCountDrop": "0.5"});
    object
}

pub async fn secret(world: &World) {
    let lake =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "lake"}, "stringData": {"AWS_REGION": "x"}});
    world.apply::<k8s_openapi::api::core::v1::Secret>(&lake).await.unwrap();
}

/// Plays a batch run of the newest revision to its end, and answers with the head that it left.
pub async fn publish(world: &World, uid: &str, revision: &str, outcome: RunOutcome) -> Head {
    let store = &world.edges.store;
    let key = head_key(uid, revision);
    let before =
        eventually("a head", || async { store.pointer::<Head>(&key).await.unwrap().ok_or_else(String::new) }).await;
    let now = jiff::Timestamp::now().as_millisecond();
    let head =
        Head { generation: before.generation + 1, horizon: now - 60_000, fence: before.fence + 1, ..before.clone() };
    let published = outcome == RunOutcome::Published;
    if published {
        store.swap_pointer(&key, Some(before.fence), &head).await.unwrap();
    }
    let report = RunReport {
        generation: head.generation,
        horizon_ms: head.horizon,
        table_version: Some(7),
        started_ms: now - 1000,
        finished_ms: now,
        rows: 600,
        outcome,
        features: vec![],
        refused: std::collections::BTreeMap::new(),
        notes: vec![],
    };
    store.put_run_report(&run_key(uid, revision), &report).await.unwrap();
    let runs = ListParams::default().labels("app.kubernetes.io/component=batch");
    for job in world.api::<Job>().list(&runs).await.unwrap() {
        let time = jiff::Timestamp::now().to_string();
        let condition =
            |type_: &str| json!({"type": type_, "status": "True", "lastProbeTime": time, "lastTransitionTime": time});
        let status = json!({"status": {"succeeded": 1, "startTime": time, "completionTime": time,
            "conditions": [condition("SuccessCriteriaMet"), condition("Complete")]}});
        if job.status.as_ref().is_none_or(|s| s.completion_time.is_none()) {
            world
                .api::<Job>()
                .patch_status(&job.name_any(), &PatchParams::default(), &Patch::Merge(status))
                .await
                .unwrap();
        }
    }
    if published { head } else { before }
}

/// Applies both roots in a mode and plays the cluster until the view is served.
pub async fn serve(world: &World, mode: &str) -> FeatureView {
    // On the heap: a dozen tests hold it.
    Box::pin(serve_in_turn(world, mode)).await
}

async fn serve_in_turn(world: &World, mode: &str) -> FeatureView {
    secret(world).await;
    world.apply::<Architecture>(&architecture_of(mode)).await.unwrap();
    world.apply::<FeatureView>(&view_of_all_modes()).await.unwrap();
    let view = world.view(VIEW, "live", |v| v.status.as_ref().is_some_and(|s| s.active_revision.is_some())).await;
    let (uid, revision) = (view.uid().unwrap(), view.status.unwrap().active_revision.unwrap());
    eventually("the first Job", || async {
        let jobs = world.api::<Job>().list(&ListParams::default()).await.unwrap().items.len();
        if jobs == 1 { Ok(()) } else { Err(format!("{jobs} Jobs")) }
    })
    .await;
    publish(world, &uid, &revision, RunOutcome::Published).await;
    settle(world).await
}

async fn settle(world: &World) -> FeatureView {
    let api = world.api::<FeatureView>();
    eventually("the view is served", || async {
        world.roll_out().await;
        let view = api.get(VIEW).await.unwrap();
        let status = view.status.clone().unwrap_or_default();
        if let Some(revision) = &status.active_revision {
            world.catch_up(&view.uid().unwrap(), revision).await;
        }
        let ready = world.api::<Architecture>().get(ARCHITECTURE).await.unwrap();
        let settled = is(&view, "Ready", "True")
            && is(&view, "Reconciling", "False")
            && crate::world::architecture_is(&ready, "Ready", "True")
            && ready.status.as_ref().is_some_and(|s| s.views == 1);
        if settled { Ok(view) } else { Err(format!("{status:#?} {:#?}", ready.status)) }
    })
    .await
}

async fn names<K: Object>(world: &World) -> Vec<String> {
    let ours = ListParams::default().labels(operator::names::MANAGED_BY_SELECTOR);
    world.api::<K>().list(&ours).await.unwrap().iter().map(kube::ResourceExt::name_any).collect()
}

#[tokio::test]
async fn each_mode_makes_exactly_the_expected_objects_and_writes_nothing_at_rest() {
    for mode in ["Batch", "Lambda", "Lakehouse"] {
        let world = World::new(&format!("mode-{}", mode.to_lowercase())).await;
        let operator = world.start(Faults::default());
        let served = serve(&world, mode).await;
        let mask = Mask::of(&world).await;
        insta::assert_yaml_snapshot!(format!("mode-{}", mode.to_lowercase()), mask.state(&world).await);
        assert_eq!(served.status.unwrap().generation, Some(1), "{mode}");
        let quiet = || async {
            let mut before = usize::MAX;
            while before != operator.faults.writes().len() {
                before = operator.faults.writes().len();
                tokio::time::sleep(std::time::Duration::from_secs(2)).await;
            }
            before
        };
        let settled = quiet().await;
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        assert_eq!(operator.faults.writes()[settled..].to_vec(), Vec::<String>::new(), "{mode}");
        operator.stop().await;
    }
}

#[tokio::test]
async fn deleted_children_of_batch_and_archive_come_back() {
    let world = World::new("mode-heal").await;
    let operator = world.start(Faults::default());
    serve(&world, "Lakehouse").await;
    assert_eq!(names::<CronJob>(&world).await.len(), 2);
    for name in names::<CronJob>(&world).await {
        comes_back::<CronJob>(&world, &name).await;
    }
    for name in names::<Deployment>(&world).await {
        comes_back::<Deployment>(&world, &name).await;
    }
    for name in names::<ConfigMap>(&world).await {
        comes_back::<ConfigMap>(&world, &name).await;
    }
    // The first Job has done its work: deleted, it stays so.
    for name in names::<Job>(&world).await {
        world.api::<Job>().delete(&name, &DeleteParams::background()).await.unwrap();
    }
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(names::<Job>(&world).await, Vec::<String>::new());
    operator.stop().await;
}

async fn comes_back<K: Object>(world: &World, name: &str) {
    let api = world.api::<K>();
    let uid = api.get(name).await.unwrap().uid();
    api.delete(name, &DeleteParams::background()).await.unwrap();
    eventually(&format!("{name} comes back"), || async {
        match api.get_opt(name).await.unwrap() {
            Some(again) if again.uid() != uid => Ok(()),
            other => Err(format!("{:?}", other.map(|o| o.uid()))),
        }
    })
    .await;
}

#[tokio::test]
async fn nothing_is_ready_before_a_generation_and_a_refused_one_stalls_while_the_old_one_serves() {
    let world = World::new("gate").await;
    let operator = world.start(Faults::default());
    secret(&world).await;
    world.apply::<Architecture>(&architecture_of("Batch")).await.unwrap();
    world.apply::<FeatureView>(&view_of_all_modes()).await.unwrap();
    let waiting = world
        .view(VIEW, "no generation", |v| {
            v.status.as_ref().is_some_and(|s| has(&s.conditions, "Ready", "False", Some("NoGeneration")))
        })
        .await;
    let (uid, revision) = (waiting.uid().unwrap(), waiting.status.unwrap().active_revision.unwrap());
    let cron_job = format!("{VIEW}-batch-{revision}");
    let suspended =
        || async { world.api::<CronJob>().get_opt(&cron_job).await.unwrap().and_then(|c| c.spec.unwrap().suspend) };
    assert_eq!(suspended().await, Some(true), "the schedule waits for the first run");
    let first = publish(&world, &uid, &revision, RunOutcome::Published).await;
    let served = settle(&world).await;
    let status = served.status.unwrap();
    assert_eq!((status.generation, status.last_run.unwrap().outcome.as_str()), (Some(1), "Published"));
    assert!(has(&status.conditions, "Fresh", "True", Some("WithinTarget")));
    eventually("the schedule holds", || async {
        if suspended().await == Some(false) { Ok(()) } else { Err("suspended".to_owned()) }
    })
    .await;

    let reason = "maxRowCountDrop: 300 entities are 50 % fewer than 600, at most 20 % are allowed".to_owned();
    let head = publish(&world, &uid, &revision, RunOutcome::Refused { reason: reason.clone() }).await;
    assert_eq!(head, first);
    let refused = world
        .view(VIEW, "refused", |v| {
            v.status.as_ref().is_some_and(|s| has(&s.conditions, "Stalled", "True", Some("GenerationRefused")))
        })
        .await
        .status
        .unwrap();
    assert!(refused.conditions.iter().any(|c| c.type_ == "Stalled" && c.message.contains(&reason)));
    assert!(has(&refused.conditions, "Ready", "True", None) && refused.generation == Some(1));
    // Events are written after the status that they are of.
    for reason in ["GenerationPublished", "GenerationRefused"] {
        is_told(&world, reason, "generation").await;
    }
    publish(&world, &uid, &revision, RunOutcome::Published).await;
    world
        .view(VIEW, "healed", |v| {
            is(v, "Stalled", "False") && v.status.as_ref().is_some_and(|s| s.generation == Some(2))
        })
        .await;

    world.delete::<FeatureView>(VIEW).await;
    assert_eq!(world.edges.store.keys(), Vec::<String>::new());
    assert_eq!((names::<CronJob>(&world).await.len(), names::<ConfigMap>(&world).await.len()), (0, 0));
    operator.stop().await;
}

#[tokio::test]
async fn a_new_revision_is_served_only_once_its_first_generation_is_whole() {
    let world = World::new("mode-rollout").await;
    let operator = world.start(Faults::default());
    let first = serve(&world, "Batch").await;
    let (uid, old) = (first.uid().unwrap(), first.status.unwrap().active_revision.unwrap());
    let edited = with(view_of_all_modes(), "/spec/features/0/window", json!("2h"));
    world.apply::<FeatureView>(&edited).await.unwrap();
    let rolling = world
        .view(VIEW, "a candidate", |v| v.status.as_ref().is_some_and(|s| s.candidate_revision.is_some()))
        .await
        .status
        .unwrap();
    let new = rolling.candidate_revision.unwrap();
    assert_eq!((rolling.active_revision.as_deref(), rolling.generation), (Some(old.as_str()), Some(1)));
    assert!(has(&rolling.conditions, "Ready", "True", None));
    let job = format!("{VIEW}-batch-{new}-first");
    eventually("the new revision's first Job", || async {
        world.api::<Job>().get_opt(&job).await.unwrap().map(drop).ok_or_else(String::new)
    })
    .await;
    publish(&world, &uid, &new, RunOutcome::Published).await;
    let served = world
        .view(VIEW, "promoted", |v| v.status.as_ref().is_some_and(|s| s.active_revision.as_ref() == Some(&new)))
        .await;
    assert_eq!(world.live(&uid).await.unwrap().revision, new);
    assert_eq!(served.status.unwrap().generation, Some(1));
    world.view(VIEW, "the old one is removed", is_alone).await;
    assert_eq!(names::<CronJob>(&world).await, [format!("{VIEW}-batch-{new}")]);
    assert!(!world.has_keys(&format!("{uid}/{old}/")));
    operator.stop().await;
}

#[tokio::test]
async fn a_bad_generation_is_gone_back_from_by_naming_the_one_before() {
    let world = World::new("pin").await;
    let operator = world.start(Faults::default());
    let first = serve(&world, "Batch").await;
    let (uid, revision) = (first.uid().unwrap(), first.status.clone().unwrap().active_revision.unwrap());
    let before: Head = world.edges.store.pointer(&head_key(&uid, &revision)).await.unwrap().unwrap();
    publish(&world, &uid, &revision, RunOutcome::Published).await;
    let second = world
        .view(VIEW, "the second generation", |v| v.status.as_ref().is_some_and(|s| s.generation == Some(2)))
        .await
        .status
        .unwrap();
    assert_eq!(second.previous_generation.unwrap().generation, 1);

    world.apply::<FeatureView>(&with(view_of_all_modes(), "/spec/servingGeneration", json!(7))).await.unwrap();
    world
        .view(VIEW, "refused", |v| {
            v.status.as_ref().is_some_and(|s| has(&s.conditions, "Stalled", "True", Some("GenerationUnavailable")))
        })
        .await;
    // A run was killed amid its rows, and the next one, refused by the gate, has reported since.
    let writing = writing_key(&uid, &revision);
    world.edges.store.put_text(&writing, "3").await.unwrap();
    let go_back = with(view_of_all_modes(), "/spec/servingGeneration", json!(1));
    world.apply::<FeatureView>(&go_back).await.unwrap();
    world
        .view(VIEW, "refused: it is half overwritten", |v| {
            let is_told = |s: &crds::FeatureViewStatus| {
                s.conditions.iter().any(|c| c.type_ == "Stalled" && c.message.contains("begun to write generation 3"))
            };
            v.status.as_ref().is_some_and(is_told)
        })
        .await;
    world.edges.store.put_text(&writing, "2").await.unwrap();
    world.apply::<FeatureView>(&view_of_all_modes()).await.unwrap();
    world.view(VIEW, "no pin", |v| is(v, "Stalled", "False")).await;
    world.apply::<FeatureView>(&go_back).await.unwrap();
    let back = world
        .view(VIEW, "the first again", |v| {
            is(v, "Stalled", "False") && v.status.as_ref().is_some_and(|s| s.generation == Some(1))
        })
        .await;
    assert_eq!(back.status.unwrap().previous_generation, None);
    let head: Head = world.edges.store.pointer(&head_key(&uid, &revision)).await.unwrap().unwrap();
    assert_eq!((head.generation, head.horizon / 1000, head.fence), (1, before.horizon / 1000, before.fence + 2));
    let cron_job = world.api::<CronJob>().get(&format!("{VIEW}-batch-{revision}")).await.unwrap();
    assert_eq!(cron_job.spec.unwrap().suspend, Some(true), "a hold");
    operator.stop().await;
}

#[tokio::test]
async fn a_full_refresh_is_asked_for_in_the_spec_and_makes_no_new_revision() {
    let world = World::new("full-refresh").await;
    let operator = world.start(Faults::default());
    let served = serve(&world, "Batch").await;
    let revision = served.status.unwrap().active_revision.unwrap();
    let asks = with(view_of_all_modes(), "/spec/schedule/fullRefresh", json!(true));
    for (object, expected) in [(asks, true), (view_of_all_modes(), false)] {
        world.apply::<FeatureView>(&object).await.unwrap();
        eventually("runs of that configuration", || async {
            let cron_job = world.api::<CronJob>().get(&format!("{VIEW}-batch-{revision}")).await.unwrap();
            let pod = cron_job.spec.unwrap().job_template.spec.unwrap().template.spec.unwrap();
            let name = pod.volumes.into_iter().flatten().find_map(|volume| volume.config_map).unwrap().name;
            let config = world.api::<ConfigMap>().get(&name).await.map_err(|error| error.to_string())?;
            let config: Value = serde_json::from_str(&config.data.unwrap()["batch.json"]).unwrap();
            if config["fullRefresh"] == json!(expected) { Ok(()) } else { Err(config.to_string()) }
        })
        .await;
    }
    let status = world.api::<FeatureView>().get(VIEW).await.unwrap().status.unwrap();
    assert_eq!((status.active_revision, status.candidate_revision), (Some(revision), None));
    operator.stop().await;
}

#[tokio::test]
async fn what_a_mode_needs_is_named_and_mending_it_heals() {
    let world = World::new("mode-needs").await;
    let operator = world.start(Faults::default());
    secret(&world).await;
    world.apply::<Architecture>(&architecture_of("Lambda")).await.unwrap();
    let silver = json!({"dedup": ["user_id"]});
    for (path, value, names) in [
        ("/spec/schedule", Value::Null, "spec.schedule"),
        ("/spec/source/table", Value::Null, "spec.source.table"),
        ("/spec/silver", silver, "spec.silver"),
        ("/spec/schedule/timeZone", json!("Mars/Olympus"), "Mars/Olympus"),
    ] {
        world.apply::<FeatureView>(&with(view_of_all_modes(), path, value)).await.unwrap();
        let refused = world.view(VIEW, names, |v| is(v, "SpecAccepted", "False")).await.status.unwrap();
        let message = &refused.conditions.iter().find(|c| c.type_ == "SpecAccepted").unwrap().message;
        assert!(message.contains(names), "{path}: {message}");
        world.apply::<FeatureView>(&view_of_all_modes()).await.unwrap();
        world.view(VIEW, "healed", |v| is(v, "SpecAccepted", "True")).await;
    }
    operator.stop().await;
}

#[tokio::test]
async fn silver_is_checked_and_makes_a_revision_and_a_table_of_its_own() {
    let world = World::new("silver").await;
    let operator = world.start(Faults::default());
    let first = serve(&world, "Lakehouse").await.status.unwrap().active_revision.unwrap();
    let silver = |expression: &str| {
        let silver = json!({"dedup": ["user_id"], "rules": [{"name": "priced", "expression": expression}]});
        with(view_of_all_modes(), "/spec/silver", silver)
    };
    world.apply::<FeatureView>(&silver("price + 1")).await.unwrap();
    let refused = world.view(VIEW, "refused", |v| is(v, "SpecAccepted", "False")).await.status.unwrap();
    let message = &refused.conditions.iter().find(|c| c.type_ == "SpecAccepted").unwrap().message;
    assert!(message.contains("spec.silver.rules[0].expression"), "{message}");
    world.apply::<FeatureView>(&silver("price >= 0")).await.unwrap();
    let candidate = world
        .view(VIEW, "a candidate", |v| v.status.as_ref().is_some_and(|s| s.candidate_revision.is_some()))
        .await
        .status
        .unwrap()
        .candidate_revision
        .unwrap();
    assert_ne!(candidate, first);
    let of = ListParams::default().labels(&format!("featuremill.dev/revision={candidate}"));
    let config = eventually("the configuration", || async {
        let maps = world.api::<ConfigMap>().list(&of).await.unwrap().items;
        maps.into_iter().find_map(|m| m.data?.remove("batch.json")).ok_or_else(String::new)
    })
    .await;
    let config: Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["source"]["rows"], "Silver");
    assert_eq!(config["source"]["table"]["uri"], config["silver"]["table"]);
    assert_eq!(config["silver"]["bronze"], "s3://lake/shop/bronze/clickstream");
    assert_eq!(config["silver"]["rules"], json!([{"name": "priced", "expression": "price >= 0"}]));
    operator.stop().await;
}

#[tokio::test]
async fn batch_runs_are_handed_the_cluster_that_folds_for_them() {
    let world = World::new("ballista").await;
    let operator = world.start(Faults::default());
    secret(&world).await;
    let on = |partitions: i32| {
        let batch = json!({"engine": "Ballista", "schedulerUrl": "http://scheduler:50050", "partitions": partitions});
        with(architecture_of("Batch"), "/spec/batch", batch)
    };
    world.apply::<Architecture>(&on(4)).await.unwrap();
    world.apply::<FeatureView>(&view_of_all_modes()).await.unwrap();
    let list = ListParams::default().labels("app.kubernetes.io/component=batch");
    let handed = async |partitions: i32| {
        eventually("what the CronJob's runs are handed", || async {
            let job = world.api::<CronJob>().list(&list).await.unwrap().items.pop().ok_or("no CronJob")?;
            let pod = job.spec.unwrap().job_template.spec.unwrap().template.spec.unwrap();
            let name = pod.volumes.unwrap().into_iter().find_map(|v| v.config_map).unwrap().name;
            let map = world.api::<ConfigMap>().get(&name).await.map_err(|error| error.to_string())?;
            let config: Value = serde_json::from_str(&map.data.unwrap()["batch.json"]).unwrap();
            let cluster = json!({"schedulerUrl": "http://scheduler:50050", "partitions": partitions});
            if config["cluster"] == cluster {
                Ok(config["assignment"]["plan"]["revision"].clone())
            } else {
                Err(format!("{}", config["cluster"]))
            }
        })
        .await
    };
    let revision = handed(4).await;
    // Where events are folded changes no value, so it makes no revision.
    world.apply::<Architecture>(&on(8)).await.unwrap();
    assert_eq!(handed(8).await, revision);
    operator.stop().await;
}

#[tokio::test]
async fn archives_follow_the_views_that_want_them() {
    let world = World::new("archives").await;
    let operator = world.start(Faults::default());
    secret(&world).await;
    world.apply::<Architecture>(&architecture_of("Kappa")).await.unwrap();
    world.apply::<FeatureView>(&with(view(), "/spec/archive", json!(true))).await.unwrap();
    let list = ListParams::default().labels("app.kubernetes.io/component=archive");
    let archives = || async { world.api::<Deployment>().list(&list).await.unwrap().items };
    let archive = eventually("the archive", || async { archives().await.pop().ok_or_else(String::new) }).await;
    let arguments = archive.spec.unwrap().template.spec.unwrap().containers[0].args.clone().unwrap();
    assert!(arguments.contains(&"--table=s3://lake/shop/bronze/clickstream".to_owned()), "{arguments:?}");
    world.apply::<FeatureView>(&view()).await.unwrap();
    eventually("no archive", || async {
        let left = (archives().await.len(), names::<CronJob>(&world).await.len());
        if left == (0, 0) { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    operator.stop().await;
}

#[tokio::test]
async fn a_view_goes_although_the_lakes_secret_went_first() {
    let world = World::new("mode-removal").await;
    let operator = world.start(Faults::default());
    serve(&world, "Batch").await;
    let background = DeleteParams::background();
    world.api::<k8s_openapi::api::core::v1::Secret>().delete("lake", &background).await.unwrap();
    world.api::<FeatureView>().delete(VIEW, &background).await.unwrap();
    eventually("the view is gone, its rows too", || async {
        match world.api::<FeatureView>().get_opt(VIEW).await.unwrap() {
            None => Ok(()),
            Some(view) => Err(format!("{:#?}", view.status)),
        }
    })
    .await;
    let events = world.api::<k8s_openapi::api::events::v1::Event>().list(&ListParams::default()).await.unwrap();
    assert!(events.iter().any(|e| e.reason.as_deref() == Some("Purged")), "left something behind");
    operator.stop().await;
}

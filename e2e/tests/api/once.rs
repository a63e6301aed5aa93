//! What is done once: a training set and an erasure each become one Job, whose end is played, and say how it went.

use std::collections::BTreeMap;

use crds::once::{Phase, Progress};
use crds::{Architecture, Erasure, FeatureView, TrainingSet};
use engine::row::RunOutcome;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use operator::once::Once;
use serde_json::{Value, json};

use crate::faults::{Fault, Faults, What};
use crate::fixtures::{ARCHITECTURE, VIEW, view, with};
use crate::mask::Mask;
use crate::modes::{self, architecture_of, publish, secret, view_of_all_modes};
use crate::world::{World, eventually, has};

const TRAINING_SET: &str = "first";
const ERASURE: &str = "request-17";
const PERSON: &str = "ada@example.org";

fn training_set() -> Value {
    json!({
        "apiVersion": "featuremill.dev/v1alpha1",
        "kind": "TrainingSet",
        "metadata": {"name": TRAINING_SET},
        "spec": {
            "architectureRef": {"name": ARCHITECTURE},
            "asks": {"uri": "s3://lake/shop/labels", "versionAsOf": 3, "timestamp": {"field": "asked_at", "unit": "Milliseconds"}},
            "views": [{"name": VIEW, "versionAsOf": 7, "keys": {"user_id": "who"}}],
            "output": {"uri": "s3://lake/shop/training"},
            "activeDeadlineSeconds": 3600,
            "ttlSecondsAfterFinished": 600,
            "worker": {"memoryMiB": 256, "nodeSelector": {"pool": "batch"}},
        },
    })
}

fn erasure() -> Value {
    json!({
        "apiVersion": "featuremill.dev/v1alpha1",
        "kind": "Erasure",
        "metadata": {"name": ERASURE},
        "spec": {"architectureRef": {"name": ARCHITECTURE}, "entity": {"user_id": PERSON}},
    })
}

/// Waits until an object of either kind is as it should be.
async fn until<K: Once>(world: &World, name: &str, what: &str, is: impl Fn(&Progress) -> bool) -> K {
    eventually(what, || async {
        let object = world.api::<K>().get(name).await.unwrap();
        let mut status = object.known().cloned().unwrap_or_default();
        let progress = K::progress(&mut status).clone();
        if is(&progress) { Ok(object) } else { Err(format!("{progress:#?}")) }
    })
    .await
}

async fn in_phase<K: Once>(world: &World, name: &str, phase: Phase) -> K {
    until(world, name, &format!("{phase:?}"), |progress| progress.phase == phase).await
}

/// Waits until it says why it does not begin, and checks that there is no Job.
async fn refused<K: Once>(world: &World, name: &str, reason: &str, text: &str) {
    until::<K>(world, name, reason, |progress| {
        has(&progress.conditions, "SpecAccepted", "False", Some(reason))
            && has(&progress.conditions, "Stalled", "True", Some(reason))
            && progress.conditions.iter().any(|c| c.type_ == "Complete" && c.message.contains(text))
    })
    .await;
    assert!(world.api::<Job>().get_opt(&format!("{name}-{}", K::WORK.name)).await.unwrap().is_none());
}

/// Plays the kubelet and the Job's controller: the pod ends with `exit_code` and its last words, and the Job with it.
async fn end(world: &World, job: &str, exit_code: i32, words: &str) {
    let job = world.api::<Job>().get(job).await.unwrap();
    let template = job.spec.as_ref().unwrap().template.clone();
    let mut spec = serde_json::to_value(template.spec.unwrap()).unwrap();
    spec.as_object_mut().unwrap().remove("serviceAccountName");
    let container = spec["containers"][0]["name"].as_str().unwrap().to_owned();
    let owner =
        json!({"apiVersion": "batch/v1", "kind": "Job", "name": job.name_any(), "uid": job.uid(), "controller": true});
    let labels = template.metadata.unwrap().labels.unwrap();
    let name = format!("{}-x", job.name_any());
    let metadata = json!({"name": name, "labels": labels, "ownerReferences": [owner]});
    world.apply::<Pod>(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})).await.unwrap();
    let time = jiff::Timestamp::now().to_string();
    let terminated = json!({"exitCode": exit_code, "startedAt": time, "finishedAt": time, "message": words});
    let status = json!({"status": {"phase": if exit_code == 0 { "Succeeded" } else { "Failed" }, "containerStatuses": [{
        "name": container, "image": "featuremill:dev", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"terminated": terminated},
    }]}});
    world.api::<Pod>().patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    let condition = |type_: &str, reason: &str| json!({"type": type_, "status": "True", "reason": reason, "message": "it ended", "lastProbeTime": time, "lastTransitionTime": time});
    let status = if exit_code == 0 {
        json!({"succeeded": 1, "startTime": time, "completionTime": time,
            "conditions": [condition("SuccessCriteriaMet", "CompletionsReached"), condition("Complete", "CompletionsReached")]})
    } else {
        json!({"failed": 1, "startTime": time,
            "conditions": [condition("FailureTarget", "PodFailurePolicy"), condition("Failed", "PodFailurePolicy")]})
    };
    let status = Patch::Merge(json!({"status": status}));
    world.api::<Job>().patch_status(&job.name_any(), &PatchParams::default(), &status).await.unwrap();
}

/// The state of what is made once: the objects of both kinds, their Jobs and what these are handed.
async fn state(world: &World) -> BTreeMap<String, Value> {
    let all = Mask::of(world).await.state(world).await;
    all.into_iter()
        .filter(|(name, _)| {
            ["TrainingSet ", "Erasure ", "Secret "].iter().any(|kind| name.starts_with(kind))
                || name.ends_with("-train")
                || name.ends_with("-erase")
        })
        .collect()
}

async fn events(world: &World, of: &str) -> Vec<String> {
    let events = world.api::<Event>().list(&ListParams::default()).await.unwrap();
    let mine = events.into_iter().filter(|e| e.regarding.as_ref().and_then(|r| r.kind.as_deref()) == Some(of));
    mine.filter_map(|event| event.reason).collect()
}

const TRAINED: &str =
    r#"{"rows":605,"version":1,"asks":"3","views":[{"view":"user-clicks","revision":"x","version":"7"}]}"#;
const ERASED: &str = r#"{"views":[{"view":"ns/user-clicks","onlineRows":2,"bronze":30,"silver":0,"quarantine":1,"gold":4,"covers":{"0":123,"1":7},"coversBeforeMs":1790000000000,"notOurs":"s3://theirs"}]}"#;

#[tokio::test]
async fn each_kind_makes_exactly_the_expected_objects_and_tells_how_it_went() {
    let world = World::new("once").await;
    let operator = world.start(Faults::default());
    modes::serve(&world, "Lakehouse").await;
    world.apply::<TrainingSet>(&training_set()).await.unwrap();
    world.apply::<Erasure>(&erasure()).await.unwrap();
    in_phase::<TrainingSet>(&world, TRAINING_SET, Phase::Running).await;
    in_phase::<Erasure>(&world, ERASURE, Phase::Running).await;
    end(&world, "first-train", 0, TRAINED).await;
    end(&world, "request-17-erase", 0, ERASED).await;
    let trained = in_phase::<TrainingSet>(&world, TRAINING_SET, Phase::Succeeded).await.status.unwrap();
    assert_eq!((trained.rows, trained.output_version), (Some(605), Some(1)));
    in_phase::<Erasure>(&world, ERASURE, Phase::Succeeded).await;
    insta::assert_yaml_snapshot!("once", state(&world).await);
    for kind in ["TrainingSet", "Erasure"] {
        eventually("both events", || async {
            let told = events(&world, kind).await;
            if told == ["Running", "Succeeded"] || told == ["Succeeded", "Running"] {
                Ok(())
            } else {
                Err(format!("{told:?}"))
            }
        })
        .await;
    }

    // The Job goes by its own time to live; what is done stays done, and nothing is written any more.
    let background = DeleteParams::background();
    for job in ["first-train", "request-17-erase"] {
        world.api::<Job>().delete(job, &background).await.unwrap();
    }
    let before = operator.faults.writes().len();
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(operator.faults.writes()[before..].to_vec(), Vec::<String>::new());
    assert!(world.api::<Job>().get_opt("first-train").await.unwrap().is_none());
    operator.stop().await;
}

#[tokio::test]
async fn what_a_training_set_waits_for_is_named_and_it_begins_when_that_comes() {
    let world = World::new("once-waits").await;
    let operator = world.start(Faults::default());
    world.apply::<TrainingSet>(&training_set()).await.unwrap();
    refused::<TrainingSet>(&world, TRAINING_SET, "ArchitectureNotFound", ARCHITECTURE).await;
    world.apply::<Architecture>(&architecture_of("Batch")).await.unwrap();
    refused::<TrainingSet>(&world, TRAINING_SET, "ArchitectureNotAccepted", "Secret \"lake\"").await;
    secret(&world).await;
    refused::<TrainingSet>(&world, TRAINING_SET, "ViewNotFound", VIEW).await;
    world.apply::<FeatureView>(&with(view_of_all_modes(), "/spec/schedule", Value::Null)).await.unwrap();
    refused::<TrainingSet>(&world, TRAINING_SET, "ViewNotReady", "is not accepted: spec.schedule").await;
    world.apply::<FeatureView>(&view_of_all_modes()).await.unwrap();
    let running = in_phase::<TrainingSet>(&world, TRAINING_SET, Phase::Running).await.status.unwrap();
    let live = world.view(VIEW, "live", |v| v.status.as_ref().is_some_and(|s| s.active_revision.is_some())).await;
    assert_eq!(Some(running.views[0].revision.clone()), live.status.unwrap().active_revision);
    operator.stop().await;
}

#[tokio::test]
async fn a_view_without_tables_cannot_be_asked_until_it_archives() {
    let world = World::new("once-kappa").await;
    let operator = world.start(Faults::default());
    secret(&world).await;
    world.apply::<Architecture>(&architecture_of("Kappa")).await.unwrap();
    world.apply::<FeatureView>(&view()).await.unwrap();
    world.view(VIEW, "live", |v| v.status.as_ref().is_some_and(|s| s.active_revision.is_some())).await;
    world.apply::<TrainingSet>(&training_set()).await.unwrap();
    refused::<TrainingSet>(&world, TRAINING_SET, "NoOfflineSide", "set archive: true").await;
    world.apply::<FeatureView>(&with(view(), "/spec/archive", json!(true))).await.unwrap();
    in_phase::<TrainingSet>(&world, TRAINING_SET, Phase::Running).await;
    let config = world.api::<ConfigMap>().get("first-train").await.unwrap().data.unwrap();
    let config: Value = serde_json::from_str(&config["train.json"]).unwrap();
    let source = json!({"table": {"uri": "s3://lake/shop/bronze/clickstream", "format": "Delta"}, "rows": "Archive"});
    assert_eq!(config["views"][0]["source"], source);
    operator.stop().await;
}

#[tokio::test]
async fn questions_that_do_not_fit_are_refused_with_what_to_do() {
    let world = World::new("once-misfits").await;
    let operator = world.start(Faults::default());
    modes::serve(&world, "Batch").await;
    for (i, (path, value, reason, text)) in [
        ("/spec/views/0/keys", json!({"session": "s"}), "InvalidSpec", "\"session\" is no key"),
        ("/spec/views/0/revision", json!("0123456789"), "ViewNotReady", "\"0123456789\" does not run"),
        ("/spec/views/0/name", json!("nobody"), "ViewNotFound", "nobody"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("misfit-{i}");
        let object = with(with(training_set(), path, value), "/metadata/name", json!(name));
        world.apply::<TrainingSet>(&object).await.unwrap();
        refused::<TrainingSet>(&world, &name, reason, text).await;
    }
    operator.stop().await;
}

#[tokio::test]
async fn a_job_that_fails_says_why_and_is_not_made_again() {
    let world = World::new("once-fails").await;
    let operator = world.start(Faults::default());
    modes::serve(&world, "Batch").await;
    world.apply::<TrainingSet>(&training_set()).await.unwrap();
    in_phase::<TrainingSet>(&world, TRAINING_SET, Phase::Running).await;
    end(&world, "first-train", 2, r#"{"error":"s3://lake/shop/labels is no table"}"#).await;
    let failed = in_phase::<TrainingSet>(&world, TRAINING_SET, Phase::Failed).await.status.unwrap();
    let conditions = failed.progress.conditions;
    for type_ in ["Failed", "Stalled"] {
        assert!(has(&conditions, type_, "True", Some("JobFailed")));
    }
    let message = &conditions.iter().find(|c| c.type_ == "Failed").unwrap().message;
    assert!(message.contains("ended with exit code 2: s3://lake/shop/labels is no table"), "{message}");
    eventually("an event", || async {
        let told = events(&world, "TrainingSet").await;
        if told.contains(&"JobFailed".to_owned()) { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
    world.api::<Job>().delete("first-train", &DeleteParams::background()).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert!(world.api::<Job>().get_opt("first-train").await.unwrap().is_none());
    operator.stop().await;
}

#[tokio::test]
async fn the_revision_is_pinned_when_the_work_begins() {
    let world = World::new("once-pins").await;
    let operator = world.start(Faults::default());
    let served = modes::serve(&world, "Batch").await;
    let (uid, old) = (served.uid().unwrap(), served.status.unwrap().active_revision.unwrap());
    world.apply::<TrainingSet>(&training_set()).await.unwrap();
    in_phase::<TrainingSet>(&world, TRAINING_SET, Phase::Running).await;
    let job = world.api::<Job>().get("first-train").await.unwrap().uid();

    let edited = with(view_of_all_modes(), "/spec/features/0/window", json!("2h"));
    world.apply::<FeatureView>(&edited).await.unwrap();
    let candidate =
        world.view(VIEW, "a candidate", |v| v.status.as_ref().is_some_and(|s| s.candidate_revision.is_some()));
    let new = candidate.await.status.unwrap().candidate_revision.unwrap();
    publish(&world, &uid, &new, RunOutcome::Published).await;
    world.view(VIEW, "promoted", |v| v.status.as_ref().is_some_and(|s| s.active_revision.as_ref() == Some(&new))).await;

    // Somebody deletes the Job; its end was never seen, so it is made again, of the same revision.
    world.api::<Job>().delete("first-train", &DeleteParams::background()).await.unwrap();
    eventually("the Job again", || async {
        match world.api::<Job>().get_opt("first-train").await.unwrap() {
            Some(again) if again.uid() != job => Ok(()),
            other => Err(format!("{:?}", other.map(|o| o.uid()))),
        }
    })
    .await;
    end(&world, "first-train", 0, TRAINED).await;
    let status = in_phase::<TrainingSet>(&world, TRAINING_SET, Phase::Succeeded).await.status.unwrap();
    assert_eq!(
        (status.views[0].revision.as_str(), status.views[0].table_version.as_deref()),
        (old.as_str(), Some("7"))
    );
    operator.stop().await;
}

#[tokio::test]
async fn an_operator_that_dies_at_any_write_makes_the_same_once() {
    // The configuration, the Job, the status that says so: whatever was not written is, and nothing twice.
    for nth in 0..3 {
        for what in [What::CrashBefore, What::CrashAfter, What::LostReply] {
            println!("write {nth}: {what:?}");
            let world = World::new(&format!("once-dies-{nth}-{}", format!("{what:?}").to_lowercase())).await;
            let operator = world.start(Faults::default());
            modes::serve(&world, "Batch").await;
            operator.stop().await;
            world.apply::<TrainingSet>(&training_set()).await.unwrap();
            let operator = world.start(Faults::at(Fault { nth, what }));
            let operator = if what == What::LostReply {
                operator
            } else {
                operator.crashed().await;
                world.start(Faults::default())
            };
            in_phase::<TrainingSet>(&world, TRAINING_SET, Phase::Running).await;
            end(&world, "first-train", 0, TRAINED).await;
            let status = in_phase::<TrainingSet>(&world, TRAINING_SET, Phase::Succeeded).await.status.unwrap();
            assert_eq!((status.rows, status.views.len()), (Some(605), 1), "{nth} {what:?}");
            operator.stop().await;
        }
    }
}

#[tokio::test]
async fn an_erasure_that_meets_no_view_names_it_and_tells_nobody_of_whom() {
    let world = World::new("once-erases").await;
    let operator = world.start(Faults::default());
    modes::serve(&world, "Batch").await;
    for (name, path, value, reason, text) in [
        ("other-key", "/spec/entity", json!({"session_id": PERSON}), "NoViewMatches", "user-clicks of (user_id)"),
        ("two-keys", "/spec/entity", json!({"user_id": PERSON, "shop": "x"}), "NoViewMatches", "(shop, user_id)"),
        ("nobodys", "/spec/views", json!(["nobody"]), "ViewNotFound", "\"nobody\""),
    ] {
        let object = with(with(erasure(), path, value), "/metadata/name", json!(name));
        world.apply::<Erasure>(&object).await.unwrap();
        refused::<Erasure>(&world, name, reason, text).await;
    }
    let named = with(with(erasure(), "/spec/entity", json!({"shop": "x"})), "/spec/views", json!([VIEW]));
    world.apply::<Erasure>(&with(named, "/metadata/name", json!("named"))).await.unwrap();
    refused::<Erasure>(&world, "named", "NoViewMatches", "is of (user_id), not of (shop)").await;

    world.apply::<Erasure>(&erasure()).await.unwrap();
    in_phase::<Erasure>(&world, ERASURE, Phase::Running).await;
    let secret = world.api::<Secret>().get("request-17-erase").await.unwrap();
    let config: Value = serde_json::from_slice(&secret.data.unwrap()["erase.json"].0).unwrap();
    assert_eq!(config["entity"], json!({"user_id": PERSON}));
    end(&world, "request-17-erase", 2, "one line of a log\n{\"level\":\"ERROR\",\"error\":\"bronze is locked\"}").await;
    let erasure = in_phase::<Erasure>(&world, ERASURE, Phase::Failed).await;
    let told = serde_json::to_string(&erasure.status.unwrap()).unwrap();
    assert!(told.contains("bronze is locked") && !told.contains(PERSON), "{told}");
    let job = serde_json::to_string(&world.api::<Job>().get("request-17-erase").await.unwrap()).unwrap();
    assert!(!job.contains(PERSON), "{job}");
    let events = world.api::<Event>().list(&ListParams::default()).await.unwrap();
    assert!(!serde_json::to_string(&events).unwrap().contains(PERSON));
    operator.stop().await;
}

#[tokio::test]
async fn what_cannot_be_asked_once_is_refused_at_once() {
    let world = World::new("once-cel").await;
    for (path, value, says) in [
        ("/spec/views", json!([]), "spec.views"),
        ("/spec/views/1", json!({"name": VIEW}), "Duplicate value"),
        ("/spec/asks/uri", json!("labels"), "spec.asks.uri"),
        ("/spec/asks/format", json!("Parquet"), "versionAsOf needs format Delta"),
        ("/spec/asks/timestamp", Value::Null, "timestamp"),
        ("/spec/output/uri", json!("s3://lake/shop/labels"), "another table than asks.uri"),
        ("/spec/views/0/keys", json!({"user_id": ""}), "spec.views[0].keys"),
        ("/spec/ttlSecondsAfterFinished", json!(1), "spec.ttlSecondsAfterFinished"),
        ("/spec/worker", json!({"image": "other"}), "unknown field"),
        ("/metadata/name", json!("a".repeat(41)), "at most 40 characters"),
    ] {
        let error = world.create::<TrainingSet>(&with(training_set(), path, value)).await.unwrap_err().to_string();
        assert!(error.contains(says), "{path}: {error}");
    }
    for (path, value, says) in [
        ("/spec/entity", json!({}), "spec.entity"),
        ("/spec/entity", json!({"user_id": 42}), "spec.entity.user_id"),
        ("/spec/views", json!([VIEW, VIEW]), "Duplicate value"),
    ] {
        let error = world.create::<Erasure>(&with(erasure(), path, value)).await.unwrap_err().to_string();
        assert!(error.contains(says), "{path}: {error}");
    }
    world.apply::<TrainingSet>(&training_set()).await.unwrap();
    world.apply::<Erasure>(&erasure()).await.unwrap();
    let says = |error: kube::Error| assert!(error.to_string().contains("immutable"), "{error}");
    let more = with(training_set(), "/spec/backoffLimit", json!(7));
    says(world.apply::<TrainingSet>(&more).await.unwrap_err());
    let other = with(erasure(), "/spec/entity/user_id", json!("bob"));
    says(world.apply::<Erasure>(&other).await.unwrap_err());
}

//! A new revision's history is read by a Job, between offsets that stand in status before it does; its workers start after it.
//! And what is left of a replay that fails, is stopped, or is not wanted any more: nothing.

use std::sync::atomic::Ordering;

use crds::feature_view::{ReplayStatus, Trial};
use crds::{Architecture, FeatureView};
use engine::replay::{Progress, State};
use engine::row::replay_key;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use operator::edges::{Held, Topic};
use operator::names::FENCE_ANNOTATION;
use serde_json::json;
use shell::store::RowStore as _;

use crate::children::{finish, serve};
use crate::cutover::{active, annotate, candidate, edited, is_told, phase, played};
use crate::faults::Faults;
use crate::fixtures::{VIEW, architecture, with};
use crate::rollout::streams;
use crate::world::{World, eventually, has, is, is_alone, whole_topic};

fn trial(view: &FeatureView) -> Option<Trial> {
    view.status.as_ref()?.rollout.as_ref()?.trial.clone()
}

fn replay(view: &FeatureView) -> Option<ReplayStatus> {
    trial(view)?.replay
}

/// The revision that serves, and the Job of the one that is to take its place.
pub async fn replaying(world: &World, rollout: &serde_json::Value) -> (FeatureView, Job) {
    world.edges.replays_wait.store(true, Ordering::Release);
    let first = serve(world).await;
    world.apply::<FeatureView>(&edited("2h", rollout)).await.unwrap();
    let job = one_job(world).await;
    (first, job)
}

async fn one_job(world: &World) -> Job {
    eventually("a replay's Job", || async {
        let mut jobs = world.replays().await;
        if jobs.len() == 1 { Ok(jobs.remove(0)) } else { Err(format!("{} Jobs", jobs.len())) }
    })
    .await
}

/// Waits until no Job of a replay stands, nor what it mounted.
async fn no_replay(world: &World) {
    let list = ListParams::default().labels("app.kubernetes.io/component=replay");
    eventually("nothing of the replay is left", || async {
        let jobs = world.replays().await.len();
        let maps = world.api::<ConfigMap>().list(&list).await.unwrap().items.len();
        if jobs + maps == 0 { Ok(()) } else { Err(format!("{jobs} Jobs, {maps} config maps")) }
    })
    .await;
}

/// Plays a process that says where it is.
async fn says(world: &World, uid: &str, revision: &str, position: i64, state: State) {
    let said_ms = jiff::Timestamp::now().as_millisecond();
    let (records_per_second, eta_seconds) = (10, Some(7));
    let progress = Progress { from: 0, to: 100, position, records_per_second, eta_seconds, said_ms, state };
    world.edges.store.say_replay(&replay_key(uid, revision, 0), 0, &progress).await.unwrap();
}

#[tokio::test]
async fn the_history_is_read_by_a_job_before_the_workers_start() {
    let world = World::new("replay").await;
    let operator = world.start(Faults::default());
    let (first, job) = replaying(&world, &json!({"replay": {"parallelism": 3, "maxRecordsPerSecond": 500}})).await;
    let (uid, old) = (first.uid().unwrap(), active(&first));
    let view = world.view(VIEW, "replaying", |v| phase(v) == "Replaying").await;
    let (new, order) = (candidate(&world).await, replay(&view).unwrap());
    let part = order.parts[0];
    assert_eq!((order.parts.len(), part.partition, part.from, part.to), (1, 0, 0, 100));
    assert_eq!(job.name_any(), format!("{VIEW}-replay-{new}"));
    assert_eq!(job.annotations()[FENCE_ANNOTATION], order.fence);
    assert!(is(&view, "Ready", "True") && is(&view, "CaughtUp", "False") && is(&view, "Reconciling", "True"));
    // The intent was written before the Job was made, and no workers stand.
    let status = operator.faults.writes().iter().rposition(|w| w.ends_with(&format!("{VIEW}/status"))).unwrap();
    let made = operator.faults.writes().iter().position(|w| w.starts_with("POST") && w.ends_with("/jobs")).unwrap();
    let before = operator.faults.writes()[..made].iter().any(|w| w.ends_with(&format!("{VIEW}/status")));
    assert!(before && status > 0, "{:?}", operator.faults.writes());
    assert_eq!(streams(&world).await, [format!("{VIEW}-stream-{old}")]);

    says(&world, &uid, &new, 30, State::Running).await;
    let told = world
        .view(VIEW, "it says how far it is", |v| replay(v).and_then(|r| r.progress).is_some_and(|p| p.percent == 30))
        .await;
    let progress = replay(&told).unwrap().progress.unwrap();
    assert_eq!((progress.remaining_records, progress.records_per_second, progress.eta_seconds), (70, 10, Some(7)));

    world.replay(true).await;
    eventually("its workers start", || async {
        let streams = streams(&world).await;
        if streams.len() == 2 { Ok(()) } else { Err(format!("{streams:?}")) }
    })
    .await;
    let served = finish(&world).await;
    assert_eq!(active(&served), new);
    no_replay(&world).await;
    for (reason, of) in [("ReplayStarted", "100 records of 1 partitions"), ("ReplayCompleted", new.as_str())] {
        is_told(&world, reason, of).await;
    }
    operator.stop().await;
}

#[tokio::test]
async fn a_job_that_is_deleted_comes_back_for_the_same_offsets_and_never_beside_another() {
    let world = World::new("replay-deleted").await;
    let operator = world.start(Faults::default());
    let (_, job) = replaying(&world, &json!({})).await;
    // The topic goes on meanwhile; what was captured does not.
    *world.edges.topic.lock().unwrap() =
        Topic { partitions: [(0, Held { end: 500, ..Held::default() })].into(), keeps_ms: None };
    world.api::<Job>().delete(&job.name_any(), &DeleteParams::background()).await.unwrap();
    let again = eventually("it comes back", || async {
        match world.replays().await.pop().filter(|again| again.uid() != job.uid()) {
            Some(again) => Ok(again),
            None => Err("not yet".to_owned()),
        }
    })
    .await;
    assert_eq!(again.annotations()[FENCE_ANNOTATION], job.annotations()[FENCE_ANNOTATION]);
    let reads = |job: &Job| job.spec.as_ref().unwrap().template.spec.as_ref().unwrap().volumes.clone().unwrap();
    assert_eq!(reads(&again), reads(&job), "what it reads");

    // Status is lost, and known again from the Job.
    let lost = Patch::Merge(json!({"status": null}));
    world.api::<FeatureView>().patch_status(VIEW, &PatchParams::default(), &lost).await.unwrap();
    let fence = again.annotations()[FENCE_ANNOTATION].clone();
    let known = world.view(VIEW, "rebuilt", |v| replay(v).is_some_and(|r| r.fence == fence)).await;
    assert_eq!(replay(&known).unwrap().parts[0].to, 100);
    assert_eq!(one_job(&world).await.uid(), again.uid());
    operator.stop().await;
}

#[tokio::test]
async fn superseded_aborted_or_deleted_nothing_of_a_replay_is_left() {
    for how in ["supersede", "abort", "delete"] {
        let world = World::new(&format!("replay-{how}")).await;
        let operator = world.start(Faults::default());
        let (first, job) = replaying(&world, &json!({})).await;
        let (uid, new) = (first.uid().unwrap(), candidate(&world).await);
        says(&world, &uid, &new, 30, State::Running).await;
        match how {
            "supersede" => {
                world.apply::<FeatureView>(&edited("3h", &json!({}))).await.unwrap();
                eventually("the next one's Job, and no other", || async {
                    let names: Vec<String> = world.replays().await.iter().map(kube::ResourceExt::name_any).collect();
                    if names.len() == 1 && names[0] != job.name_any() { Ok(()) } else { Err(format!("{names:?}")) }
                })
                .await;
                world
                    .view(VIEW, "the first candidate is gone", |v| v.status.as_ref().unwrap().retiring.is_empty())
                    .await;
            }
            "abort" => {
                annotate(&world, "abort", &new).await;
                world.view(VIEW, "given up", |v| phase(v) == "Aborted" && is_alone(v)).await;
                no_replay(&world).await;
            }
            _ => {
                world.delete::<FeatureView>(VIEW).await;
                no_replay(&world).await;
            }
        }
        assert!(!world.has_keys(&format!("{uid}/{new}/")), "{how}: {:?}", world.edges.store.keys());
        operator.stop().await;
    }
}

#[tokio::test]
async fn a_topic_that_holds_too_little_stalls_the_view_until_a_person_takes_what_there_is() {
    let world = World::new("too-short").await;
    let operator = world.start(Faults::default());
    let first = serve(&world).await;
    let hour_ago = jiff::Timestamp::now().as_millisecond() - 3_600_000;
    let held = Held { low: 40, end: 100, from: 40, oldest_ms: Some(hour_ago) };
    *world.edges.topic.lock().unwrap() = Topic { partitions: [(0, held)].into(), keeps_ms: Some(3_600_000) };
    world.apply::<FeatureView>(&edited("2h", &json!({}))).await.unwrap();
    let stalled = world.view(VIEW, "it says so", |v| is(v, "Stalled", "True")).await;
    let conditions = &stalled.status.as_ref().unwrap().conditions;
    assert!(has(conditions, "Stalled", "True", Some("RetentionTooShort")) && is(&stalled, "Ready", "True"));
    let says = &conditions.iter().find(|c| c.type_ == "Stalled").unwrap().message;
    for text in ["partition 0 of topic clickstream", "1h00m back", "7d", "policy: Earliest"] {
        assert!(says.contains(text), "{text}: {says}");
    }
    assert!(world.replays().await.is_empty() && streams(&world).await.len() == 1);
    is_told(&world, "RetentionTooShort", "clickstream").await;

    world.apply::<FeatureView>(&edited("2h", &json!({"startFrom": {"policy": "Earliest"}}))).await.unwrap();
    let after = played(&world, "it takes over", |v| active(v) != active(&first)).await;
    assert!(is(&after, "Stalled", "False"));
    operator.stop().await;
}

#[tokio::test]
async fn a_topic_that_holds_too_little_is_read_from_its_archive_first() {
    let world = World::new("archived").await;
    let operator = world.start(Faults::default());
    let first = serve(&world).await;
    world.edges.replays_wait.store(true, Ordering::Release);
    let lake = with(architecture(), "/spec/offlineStore", json!({"delta": {"uri": "s3://lake/shop"}}));
    world.apply::<Architecture>(&lake).await.unwrap();
    let hour_ago = jiff::Timestamp::now().as_millisecond() - 3_600_000;
    let short = Held { low: 40, end: 100, from: 40, oldest_ms: Some(hour_ago) };
    let whole = Held { low: 0, end: 70, from: 20, oldest_ms: None };
    *world.edges.topic.lock().unwrap() =
        Topic { partitions: [(0, short), (1, whole)].into(), keeps_ms: Some(3_600_000) };
    let start = json!({"startFrom": {"policy": "OfflineThenStream"}});
    world.apply::<FeatureView>(&edited("2h", &start)).await.unwrap();
    world
        .view(VIEW, "without an archive it stalls", |v| {
            v.status.as_ref().is_some_and(|s| has(&s.conditions, "Stalled", "True", Some("NotArchived")))
        })
        .await;
    assert!(world.replays().await.is_empty());

    world.apply::<FeatureView>(&with(edited("2h", &json!({})), "/spec/archive", json!(true))).await.unwrap();
    let job = one_job(&world).await;
    let view = world.view(VIEW, "replaying", |v| replay(v).is_some_and(|r| r.archive.is_some())).await;
    let order = replay(&view).unwrap();
    let archive = order.archive.clone().unwrap();
    assert_eq!((archive.table.as_str(), archive.partitions), ("s3://lake/shop/bronze/clickstream", vec![0]));
    let read = order.parts.iter().map(|part| (part.partition, part.from, part.to)).collect::<Vec<_>>();
    assert_eq!(read, [(0, 40, 100), (1, 20, 70)]);
    let pod = job.spec.as_ref().unwrap().template.spec.clone().unwrap();
    let first_of = pod.init_containers.unwrap();
    assert_eq!(first_of[0].command.as_ref().unwrap()[0], "/usr/local/bin/featuremill-archive");
    // Status is lost, and known again from what the Job mounts.
    let lost = Patch::Merge(json!({"status": null}));
    world.api::<FeatureView>().patch_status(VIEW, &PatchParams::default(), &lost).await.unwrap();
    let known = world.view(VIEW, "rebuilt", |v| replay(v).is_some_and(|r| r.fence == order.fence)).await;
    let known = replay(&known).unwrap();
    assert_eq!((known.archive, known.complete_from), (order.archive, order.complete_from));
    assert_eq!(one_job(&world).await.uid(), job.uid());

    world.replay(true).await;
    let served = finish(&world).await;
    assert_ne!(active(&served), active(&first));
    no_replay(&world).await;
    operator.stop().await;
}

#[tokio::test]
async fn a_part_that_cannot_be_read_stalls_the_view_with_the_processs_words() {
    let world = World::new("replay-fails").await;
    let operator = world.start(Faults::default());
    let (first, job) = replaying(&world, &json!({})).await;
    let (uid, new) = (first.uid().unwrap(), candidate(&world).await);
    let (reason, message) = ("RetentionTooShort".to_owned(), "[0, 7) of [0, 100) is gone".to_owned());
    says(&world, &uid, &new, 0, State::Refused { reason, message }).await;
    world.replay(false).await;
    let failed = world.view(VIEW, "given up", |v| phase(v) == "Aborted" && is_alone(v)).await;
    let conditions = &failed.status.as_ref().unwrap().conditions;
    assert!(has(conditions, "Stalled", "True", Some("ReplayFailed")) && is(&failed, "Ready", "True"));
    let says = &conditions.iter().find(|c| c.type_ == "Stalled").unwrap().message;
    assert!(says.contains("RetentionTooShort: [0, 7) of [0, 100) is gone") && says.contains("retry="), "{says}");
    no_replay(&world).await;
    is_told(&world, "ReplayFailed", &new).await;

    annotate(&world, "retry", &new).await;
    let again = one_job(&world).await;
    assert_ne!(again.annotations()[FENCE_ANNOTATION], job.annotations()[FENCE_ANNOTATION]);
    world.edges.replays_wait.store(false, Ordering::Release);
    played(&world, "it takes over after all", |v| active(v) == new).await;
    operator.stop().await;
}

#[tokio::test]
async fn a_suspended_view_has_no_replay_and_goes_on_with_the_same_one() {
    let world = World::new("replay-suspended").await;
    let operator = world.start(Faults::default());
    let (_, job) = replaying(&world, &json!({})).await;
    let suspend = |on: bool| Patch::Merge(json!({"spec": {"suspend": on}}));
    let api = world.api::<FeatureView>();
    api.patch(VIEW, &PatchParams::default(), &suspend(true)).await.unwrap();
    eventually("the Job is gone", || async {
        let jobs = world.replays().await.len();
        if jobs == 0 { Ok(()) } else { Err(jobs.to_string()) }
    })
    .await;
    api.patch(VIEW, &PatchParams::default(), &suspend(false)).await.unwrap();
    let again = one_job(&world).await;
    assert_eq!(again.annotations()[FENCE_ANNOTATION], job.annotations()[FENCE_ANNOTATION]);
    operator.stop().await;
}

#[tokio::test]
async fn a_log_that_is_away_is_waited_for_and_named() {
    let world = World::new("replay-away").await;
    let operator = world.start(Faults::default());
    serve(&world).await;
    world.edges.log_is_away.store(true, Ordering::Release);
    world.apply::<FeatureView>(&edited("2h", &json!({}))).await.unwrap();
    let named = |v: &FeatureView| {
        v.status.as_ref().is_some_and(|s| has(&s.conditions, "Reconciling", "True", Some("KafkaUnreachable")))
    };
    let waiting = world.view(VIEW, "it says what it waits for", named).await;
    assert!(is(&waiting, "Ready", "True") && is(&waiting, "Stalled", "False"));
    assert!(world.replays().await.is_empty());
    *world.edges.topic.lock().unwrap() = whole_topic();
    world.edges.log_is_away.store(false, Ordering::Release);
    one_job(&world).await;
    operator.stop().await;
}

//! `FeatureReplay`: the live definition is computed anew, under another name, and takes the place of what serves; whatever comes
//! in between, what served before serves on.

use std::sync::atomic::Ordering;

use crds::{FeatureReplay, FeatureView};
use engine::replay::{Progress, State};
use engine::row::replay_key;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use shell::store::RowStore as _;

use crate::children::{finish, serve};
use crate::command_line::CommandLine;
use crate::cutover::{active, annotate, edited, played};
use crate::faults::Faults;
use crate::fixtures::VIEW;
use crate::world::{World, eventually, has, is_alone};

pub fn object(name: &str, spec: &Value) -> Value {
    let mut all = json!({"viewRef": {"name": VIEW}});
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    json!({"apiVersion": "featuremill.dev/v1alpha1", "kind": "FeatureReplay", "metadata": {"name": name}, "spec": all})
}

async fn make(world: &World, name: &str, spec: &Value) -> FeatureReplay {
    world.create(&object(name, spec)).await.unwrap()
}

/// Waits until a replay is as it should be, while the cluster is played.
async fn until(world: &World, name: &str, what: &str, is: impl Fn(&FeatureReplay) -> bool) -> FeatureReplay {
    eventually(what, || async {
        crate::cutover::caught_up(world).await;
        let replay = world.api::<FeatureReplay>().get(name).await.unwrap();
        if is(&replay) { Ok(replay) } else { Err(format!("{:#?}", replay.status)) }
    })
    .await
}

pub fn is_so(replay: &FeatureReplay, type_: &str, status: &str, reason: &str) -> bool {
    replay.status.as_ref().is_some_and(|s| has(&s.progress.conditions, type_, status, Some(reason)))
}

fn run(replay: &FeatureReplay) -> Option<String> {
    replay.status.as_ref()?.run.clone()
}

async fn patch(world: &World, name: &str, spec: &Value) -> Result<FeatureReplay, kube::Error> {
    let patch = Patch::Merge(json!({"spec": spec}));
    world.api::<FeatureReplay>().patch(name, &PatchParams::default(), &patch).await
}

async fn jobs(world: &World, wanted: usize) -> Vec<Job> {
    eventually("Jobs of replays", || async {
        let jobs = world.replays().await;
        if jobs.len() == wanted { Ok(jobs) } else { Err(format!("{} Jobs", jobs.len())) }
    })
    .await
}

#[tokio::test]
async fn the_live_definition_is_computed_anew_and_takes_its_place() {
    let world = World::new("replay-object").await;
    world.edges.replays_wait.store(true, Ordering::Release);
    let operator = world.start(Faults::default());
    let first = serve(&world).await;
    let (uid, old) = (first.uid().unwrap(), active(&first));

    make(&world, "dry", &json!({"dryRun": true, "ttlSecondsAfterFinished": 3600})).await;
    let dry = until(&world, "dry", "it says what it would read", |r| is_so(r, "Complete", "True", "DryRun")).await;
    let told = dry.status.unwrap();
    assert_eq!((told.records, told.run, told.replay.unwrap().parts[0].to), (Some(100), None, 100));
    assert!(world.replays().await.is_empty());

    make(&world, "again", &json!({"parallelism": 3, "backoffLimit": 2, "maxRecordsPerSecond": 7, "revision": old}))
        .await;
    let job = jobs(&world, 1).await.remove(0);
    let begun = until(&world, "again", "it is under way", |r| r.status.as_ref().unwrap().replay.is_some()).await;
    let new = run(&begun).unwrap();
    assert_ne!(new, old);
    assert_eq!(job.name_any(), format!("{VIEW}-replay-{new}"));
    assert_eq!(job.spec.as_ref().unwrap().backoff_limit_per_index, Some(2));
    assert_eq!(begun.status.as_ref().unwrap().replay.as_ref().unwrap().max_records_per_second, Some(7));
    assert!(is_so(&begun, "Complete", "False", "Running") && is_so(&begun, "Failed", "False", "Idle"), "{begun:#?}");
    let refused = patch(&world, "again", &json!({"parallelism": 4})).await.unwrap_err();
    assert!(refused.to_string().contains("only suspend and ttlSecondsAfterFinished"), "{refused}");
    make(&world, "more", &json!({})).await;
    until(&world, "more", "it waits for the first", |r| is_so(r, "Complete", "False", "AwaitingReplay")).await;

    // It stops, and goes on for the same offsets.
    patch(&world, "again", &json!({"suspend": true})).await.unwrap();
    jobs(&world, 0).await;
    until(&world, "again", "it stands still", |r| is_so(r, "Complete", "False", "Suspended")).await;
    patch(&world, "again", &json!({"suspend": false})).await.unwrap();
    let resumed = jobs(&world, 1).await.remove(0);
    assert!(resumed.uid() != job.uid() && resumed.annotations() == job.annotations(), "{resumed:#?}");
    let said_ms = jiff::Timestamp::now().as_millisecond();
    let progress = Progress {
        from: 0,
        to: 100,
        position: 30,
        records_per_second: 10,
        eta_seconds: Some(7),
        said_ms,
        state: State::Running,
    };
    world.edges.store.say_replay(&replay_key(&uid, &new, 0), 0, &progress).await.unwrap();
    let percent = |r: &FeatureReplay| r.status.as_ref()?.replay.as_ref()?.progress.as_ref().map(|p| p.percent);
    until(&world, "again", "it says how far it is", |r| percent(r) == Some(30)).await;
    assert_eq!(active(&world.api::<FeatureView>().get(VIEW).await.unwrap()), old);

    world.replay(true).await;
    until(&world, "again", "it is complete", |r| is_so(r, "Complete", "True", "Succeeded")).await;
    assert_eq!(active(&world.api::<FeatureView>().get(VIEW).await.unwrap()), new);
    // The next begins, and is given up with its object; what the one before made stays, also without its object.
    until(&world, "more", "it begins", |r| run(r).is_some()).await;
    jobs(&world, 1).await;
    for name in ["more", "again"] {
        world.api::<FeatureReplay>().delete(name, &DeleteParams::default()).await.unwrap();
    }
    jobs(&world, 0).await;
    let alone = played(&world, "only what was computed anew is left", is_alone).await;
    assert_eq!(active(&alone), new);
    world.apply::<FeatureView>(&crate::fixtures::view_with("/spec/replicas", json!(2))).await.unwrap();
    assert_eq!(active(&finish(&world).await), new, "an edit of something else");
    let (_, out, _) = {
        let command = CommandLine::of(&world);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), edited("2h", &json!({})).to_string()).unwrap();
        command.output(&["diff", "-f", file.path().to_str().unwrap()]).await
    };
    assert!(out.contains(&format!("is to take the place of {new}")), "{out}");
    patch(&world, "dry", &json!({"ttlSecondsAfterFinished": 0})).await.unwrap();
    eventually("its time is over", || async {
        match world.api::<FeatureReplay>().get_opt("dry").await.unwrap() {
            None => Ok(()),
            Some(_) => Err("it stands".to_owned()),
        }
    })
    .await;
    operator.stop().await;
}

#[tokio::test]
async fn whatever_ends_it_early_what_served_serves_on_and_nothing_is_left() {
    for (how, reason) in
        [("edit", "Superseded"), ("abort", "AbortedByUser"), ("fail", "ReplayFailed"), ("deadline", "DeadlineExceeded")]
    {
        let world = World::new(&format!("replay-object-{how}")).await;
        world.edges.replays_wait.store(true, Ordering::Release);
        let operator = world.start(Faults::default());
        let old = active(&serve(&world).await);
        make(&world, "stray", &json!({"revision": "0123456789"})).await;
        until(&world, "stray", "it is told apart", |r| is_so(r, "Stalled", "True", "RevisionNotLive")).await;
        let deadline = if how == "deadline" { 3 } else { 3600 };
        make(&world, "again", &json!({"activeDeadlineSeconds": deadline})).await;
        jobs(&world, 1).await;
        let begun = until(&world, "again", "it is under way", |r| run(r).is_some()).await;
        match how {
            "edit" => drop(world.apply::<FeatureView>(&edited("2h", &json!({}))).await.unwrap()),
            "abort" => annotate(&world, "abort", &run(&begun).unwrap()).await,
            "fail" => world.replay(false).await,
            _ => {}
        }
        let failed = until(&world, "again", how, |r| is_so(r, "Failed", "True", reason)).await;
        assert!(is_so(&failed, "Complete", "False", reason), "{failed:#?}");
        let (run, view) = (run(&failed).unwrap(), world.api::<FeatureView>());
        if how == "edit" {
            world.edges.replays_wait.store(false, Ordering::Release);
            let edited = played(&world, "the edit is served", |v| active(v) != old).await;
            assert_ne!(active(&edited), run);
        } else {
            played(&world, "only the old one is left", is_alone).await;
            assert_eq!(active(&view.get(VIEW).await.unwrap()), old);
        }
        eventually("nothing is left of it", || async {
            let label = format!("featuremill.dev/revision={run}");
            let list = ListParams::default().labels(&label);
            let jobs = world.api::<Job>().list(&list).await.unwrap().items.len();
            if jobs == 0 { Ok(()) } else { Err(format!("{jobs} Jobs")) }
        })
        .await;
        operator.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_made_and_watched_from_the_command_line() {
    let world = World::new("replay-command").await;
    let operator = world.start(Faults::default());
    let command = CommandLine::of(&world);
    let old = active(&serve(&world).await);
    let told = command.run(&["replay", VIEW, "--dry-run"]).await.unwrap();
    assert!(told.contains("100 records of 1 partitions") && told.contains("Succeeded"), "{told}");
    let watched = command.run(&["replay", VIEW, "--start-from", "Earliest"]);
    let (told, _) = tokio::join!(watched, played(&world, "it serves", |v| active(v) != old));
    let told = told.unwrap();
    assert!(told.contains("Succeeded") && told.contains("computed anew"), "{told}");
    let left = command.run(&["replay", VIEW, "--no-wait"]).await.unwrap();
    let name = left.lines().next().unwrap().split(['/', ' ']).nth(1).unwrap().to_owned();
    until(&world, &name, "it goes on by itself", |r| is_so(r, "Complete", "True", "Succeeded")).await;
    operator.stop().await;
}

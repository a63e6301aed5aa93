//! The operator dies at each of its writes in turn; another begins where it left off and comes to the same end, having
//! made and deleted the same objects as often.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use crds::{Architecture, FeatureView};
use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::children::{finish, serve};
use crate::compares;
use crate::cutover::{self, active};
use crate::faults::{Fault, Faults, What};
use crate::fixtures::{ARCHITECTURE, VIEW, architecture, view, view_with, with};
use crate::mask::Mask;
use crate::modes;
use crate::tally::Tally;
use crate::world::{World, eventually, is, is_alone};

/// What a run came to.
#[derive(Debug, PartialEq)]
struct End {
    state: BTreeMap<String, Value>,
    counts: BTreeMap<String, (usize, usize)>,
    groups: usize,
    live: bool,
}

/// One way of using the operator, from an empty namespace on.
#[derive(Clone, Copy, Debug)]
enum Workload {
    /// Apply, and wait until it is served.
    Create,
    /// Then change a window, and wait until that is served and the revision before is gone.
    Edit,
    /// Then change a window, which is compared with what serves, and wait as before.
    Compare,
    /// The same, but the comparison fails, and a person lets it take over all the same.
    Force,
    /// The same, but the comparison fails, and so it is given up.
    GiveUp,
    /// Then change a window, and once that is served go back by a pin, while both are kept.
    GoBack,
    /// Then change a window, and take that back while the new revision's history is read.
    TakeBack,
    /// Then delete the view.
    Delete,
    /// Apply as a Lakehouse, whose runs and archive are played, and wait until it is served.
    Lakehouse,
}

/// What a run came to, and what was learnt on the way.
struct Run {
    end: End,
    /// Writes until the view was served at first, and in all.
    writes: std::ops::Range<usize>,
    /// Whether the fault took place.
    fired: bool,
}

async fn run(name: &str, workload: Workload, fault: Option<Fault>) -> Run {
    let world = World::new(name).await;
    let tally = Tally::start(&world);
    let faults = fault.map_or_else(Faults::default, Faults::at);
    let done = CancellationToken::new();
    let (world, faults, done) = (&world, &faults, &done);
    let operators = async {
        let first = world.start(faults.clone());
        tokio::select! {
            () = faults.crash.cancelled() => {}
            () = done.cancelled() => return first,
        }
        first.crashed().await;
        world.start(Faults::default())
    };
    let work = async {
        let served = match workload {
            Workload::Lakehouse => {
                let served = modes::serve(world, "Lakehouse").await;
                scheduled(world).await;
                served
            }
            _ => serve(world).await,
        };
        let (uid, writes) = (served.metadata.uid.clone().unwrap(), faults.writes().len());
        // Plan hashes hold UIDs; they are known only while the view stands.
        let mut before = Mask::of(world).await;
        if matches!(workload, Workload::Edit) {
            world.apply::<FeatureView>(&view_with("/spec/features/0/window", json!("2h"))).await.unwrap();
            finish(world).await;
            removed(world).await;
        }
        if matches!(workload, Workload::Compare) {
            world.apply::<FeatureView>(&compares::edited("2h", &json!({"scaleDownDelaySeconds": 0}))).await.unwrap();
            compares::until(world, "it takes over", compares::passed, |v| {
                is_alone(v) && v.status != served.status && active(v) != active(&served)
            })
            .await;
            finish(world).await;
            removed(world).await;
        }
        if matches!(workload, Workload::Force) {
            world.apply::<FeatureView>(&compares::edited("2h", &json!({"scaleDownDelaySeconds": 0}))).await.unwrap();
            let new = cutover::candidate(world).await;
            compares::until(world, "it is held", compares::judged, |v| is(v, "Stalled", "True")).await;
            cutover::annotate(world, "promote", &new).await;
            compares::until(world, "it takes over", compares::judged, |v| is_alone(v) && active(v) == new).await;
            finish(world).await;
            removed(world).await;
            cutover::answered(world).await;
        }
        if matches!(workload, Workload::GiveUp) {
            let abort = json!({"comparison": {"sampleKeys": 100, "failurePolicy": "Abort"}});
            world.apply::<FeatureView>(&compares::edited("2h", &abort)).await.unwrap();
            let given_up = |v: &FeatureView| cutover::phase(v) == "Aborted" && is_alone(v);
            compares::until(world, "it is given up", compares::judged, given_up).await;
            removed(world).await;
        }
        if matches!(workload, Workload::GoBack) {
            go_back(world, &served).await;
        }
        if matches!(workload, Workload::TakeBack) {
            before = take_back(world).await;
        }
        let mask = Mask::of(world).await.and_before(before);
        if matches!(workload, Workload::Delete) {
            world.delete::<FeatureView>(VIEW).await;
            counted(world, 0).await;
        }
        done.cancel();
        (uid, mask, writes)
    };
    let (operator, (uid, mask, served)) = tokio::join!(operators, work);
    let groups = world.edges.deleted_groups.lock().unwrap().len();
    let end = End {
        state: mask.state(world).await,
        counts: tally.counts(|text: &str| mask.text(text)),
        groups,
        live: world.live(&uid).await.is_some(),
    };
    operator.stop().await;
    let writes = faults.writes().len();
    Run { end, writes: served..writes, fired: fault.is_some_and(|fault| fault.nth < writes) }
}

/// Fails with only what differs: a state is long.
fn pretty_assert(end: &End, expected: &End, what: &str) {
    let lines = |end: &End| -> Vec<String> { format!("{end:#?}").lines().map(str::to_owned).collect() };
    let (is, should) = (lines(end), lines(expected));
    let missing: Vec<&String> = should.iter().filter(|line| !is.contains(line)).collect();
    let extra: Vec<&String> = is.iter().filter(|line| !should.contains(line)).collect();
    assert!(end == expected, "{what}: missing {missing:#?}, instead {extra:#?}");
}

/// What is served is told a moment before the schedule, which waited for the first run, is let go.
async fn scheduled(world: &World) {
    let cron_jobs = world.api::<CronJob>();
    eventually("schedules that hold", || async {
        let found = cron_jobs.list(&ListParams::default()).await.unwrap().items;
        let waits = |of: &CronJob| of.spec.as_ref().is_some_and(|spec| spec.suspend == Some(true));
        if found.iter().any(waits) { Err("suspended".to_owned()) } else { Ok(()) }
    })
    .await;
}

/// Waits until the revision before is removed altogether.
async fn removed(world: &World) {
    world.view(VIEW, "the revision before is removed", is_alone).await;
    let plans = world.api::<ConfigMap>();
    eventually("one plan", || async {
        let plans = plans.list(&ListParams::default()).await.unwrap().items.len();
        if plans == 1 { Ok(()) } else { Err(format!("{plans} plans")) }
    })
    .await;
}

/// Changes a window, and takes it back once the Job stands that reads the history. Answers with what masks the new plan.
async fn take_back(world: &World) -> Mask {
    world.edges.replays_wait.store(true, Ordering::Release);
    world.apply::<FeatureView>(&view_with("/spec/features/0/window", json!("2h"))).await.unwrap();
    eventually("a replay", || async {
        let replays = world.replays().await.len();
        if replays == 1 { Ok(()) } else { Err(format!("{replays} replays")) }
    })
    .await;
    let changed = Mask::of(world).await;
    world.apply::<FeatureView>(&view()).await.unwrap();
    let settled = |v: &FeatureView| is_alone(v) && is(v, "Ready", "True") && is(v, "Reconciling", "False");
    world.view(VIEW, "taken back", settled).await;
    removed(world).await;
    assert!(world.replays().await.is_empty());
    changed
}

/// Changes a window, and goes back to where it was once that is served.
async fn go_back(world: &World, served: &FeatureView) {
    let first = served.status.clone().unwrap().active_revision.unwrap();
    let kept = |pin: &str| {
        let rollout = json!({"catchUp": {"stableForSeconds": 0}, "comparison": {"sampleKeys": 0}, "scaleDownDelaySeconds": 3600, "servingRevision": pin});
        with(view_with("/spec/features/0/window", json!("2h")), "/spec/rollout", rollout)
    };
    world.apply::<FeatureView>(&kept("")).await.unwrap();
    finish(world).await;
    world.apply::<FeatureView>(&kept(&first)).await.unwrap();
    let live = |v: &FeatureView| v.status.as_ref().is_some_and(|s| s.active_revision.as_ref() == Some(&first));
    world.view(VIEW, "the first revision is live again", live).await;
    let back = finish(world).await.status.unwrap();
    assert!(back.previous_revision.is_some() && back.phase.as_deref() == Some("RolledBack"), "{back:#?}");
}

/// Waits until the architecture knows how many views it has.
async fn counted(world: &World, views: i32) {
    let api = world.api::<Architecture>();
    eventually("the views are counted", || async {
        let known = api.get(ARCHITECTURE).await.unwrap().status.unwrap_or_default().views;
        if known == views { Ok(()) } else { Err(format!("{known}")) }
    })
    .await;
}

/// What befalls the write of this number: one thing in turn, or, with `FEATUREMILL_LONG` set, each in a run of its own.
fn faults(nth: usize) -> Vec<What> {
    let all = [What::CrashBefore, What::CrashAfter, What::LostReply];
    if std::env::var_os("FEATUREMILL_LONG").is_some() { all.to_vec() } else { vec![all[nth % all.len()]] }
}

async fn matrix(name: &str, workload: Workload) {
    // One matrix at a time, a few runs at a time: more than that only measures how patient the API server is.
    static ONE: Mutex<()> = Mutex::const_new(());
    let _one = ONE.lock().await;
    let Run { end: expected, writes, .. } = Box::pin(run(name, workload, None)).await;
    // What comes before the view is served, the creation's own matrix goes through.
    let whole = matches!(workload, Workload::Create | Workload::Lakehouse);
    let points = if whole { 0..writes.end } else { writes };
    assert!(points.len() > 3, "only {points:?} was learnt");
    let mut runs = Vec::new();
    for nth in points {
        for what in faults(nth) {
            let namespace = format!("{name}-{nth}-{}", format!("{what:?}").to_lowercase());
            let expected = &expected;
            runs.push(async move {
                let fault = Fault { nth, what };
                let Run { end, fired, .. } = Box::pin(run(&namespace, workload, Some(fault))).await;
                pretty_assert(&end, expected, &format!("{workload:?} with {fault:?}"));
                fired
            });
        }
    }
    let fired: Vec<bool> = futures::stream::iter(runs).buffer_unordered(6).collect().await;
    // How many writes a run takes varies a little: what two events ask for may be done at once.
    let missed = fired.iter().filter(|fired| !**fired).count();
    assert!(missed * 4 < fired.len(), "{missed} of {} faults never came", fired.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dying_at_any_write_of_a_creation_ends_the_same() {
    matrix("crash-create", Workload::Create).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dying_at_any_write_of_a_lakehouses_creation_ends_the_same() {
    matrix("crash-lake", Workload::Lakehouse).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dying_at_any_write_of_an_edit_ends_the_same() {
    matrix("crash-edit", Workload::Edit).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dying_at_any_write_of_a_comparison_ends_the_same() {
    matrix("crash-compare", Workload::Compare).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dying_at_any_write_of_a_comparison_that_a_person_overrules_ends_the_same() {
    matrix("crash-force", Workload::Force).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dying_at_any_write_of_a_comparison_that_gives_a_revision_up_ends_the_same() {
    matrix("crash-give-up", Workload::GiveUp).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dying_at_any_write_while_an_edit_is_taken_back_in_its_replay_ends_the_same() {
    matrix("crash-take-back", Workload::TakeBack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dying_at_any_write_of_a_rollback_ends_the_same() {
    matrix("crash-back", Workload::GoBack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dying_at_any_write_of_a_deletion_ends_the_same() {
    matrix("crash-delete", Workload::Delete).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_that_hears_of_nothing_does_it_all_from_what_it_reads() {
    let world = World::new("blind").await;
    world.apply::<Architecture>(&architecture()).await.unwrap();
    world.apply::<FeatureView>(&view()).await.unwrap();
    let operator = world.start(Faults::blind());
    let first = finish(&world).await.status.unwrap();

    // The view that it keeps in memory is the first one for ever; what it does, it does by the newest.
    world.apply::<FeatureView>(&view_with("/spec/features/0/window", json!("2h"))).await.unwrap();
    let api = world.api::<FeatureView>();
    eventually("the edit is live", || async {
        world.roll_out().await;
        let view = api.get(VIEW).await.unwrap();
        let status = view.status.clone().unwrap_or_default();
        if let Some(candidate) = &status.candidate_revision {
            world.catch_up(&view.metadata.uid.clone().unwrap(), candidate).await;
        }
        if status.active_revision == first.active_revision { Err(format!("{:?}", status.phase)) } else { Ok(()) }
    })
    .await;
    let second = finish(&world).await.status.unwrap();
    removed(&world).await;
    let stream = format!("{VIEW}-stream-{}", second.active_revision.unwrap());
    let deployments = world.api::<Deployment>();
    let uid = deployments.get(&stream).await.unwrap().metadata.uid;
    deployments.delete(&stream, &DeleteParams::default()).await.unwrap();
    eventually("its workers come back", || async {
        match deployments.get_opt(&stream).await.unwrap() {
            Some(again) if again.metadata.uid != uid => Ok(()),
            other => Err(format!("{:?}", other.map(|d| d.metadata.uid))),
        }
    })
    .await;
    world.delete::<FeatureView>(VIEW).await;
    assert_eq!(world.edges.store.keys(), Vec::<String>::new());
    operator.stop().await;
}

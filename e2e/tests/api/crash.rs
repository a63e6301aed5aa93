//! The operator dies at each of its writes in turn; another begins where it left off and comes to the same end, having
//! made and deleted the same objects as often.

use std::collections::BTreeMap;

use crds::{Architecture, FeatureView};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::children::{finish, serve};
use crate::faults::{Fault, Faults, What};
use crate::fixtures::{ARCHITECTURE, VIEW, view_with};
use crate::mask::Mask;
use crate::tally::Tally;
use crate::world::{World, eventually};

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
    /// Then change a window, and wait until that is served.
    Edit,
    /// Then delete the view.
    Delete,
}

async fn run(name: &str, workload: Workload, fault: Option<Fault>) -> (End, usize) {
    let world = World::new(name).await;
    let tally = Tally::start(&world);
    let faults = fault.map_or_else(Faults::default, Faults::at);
    let crashes = fault.is_some_and(|f| f.what != What::LostReply);
    let (world, faults) = (&world, &faults);
    let operators = async {
        let first = world.start(faults.clone());
        if crashes {
            first.crashed().await;
            Some(world.start(Faults::default()))
        } else {
            Some(first)
        }
    };
    let work = async {
        let served = serve(world).await;
        let uid = served.metadata.uid.clone().unwrap();
        // Plan hashes hold UIDs; they are known only while the view stands.
        let before = Mask::of(world).await;
        if matches!(workload, Workload::Edit) {
            world.apply::<FeatureView>(&view_with("/spec/features/0/window", json!("2h"))).await.unwrap();
            finish(world).await;
        }
        if matches!(workload, Workload::Edit) {
            removed(world).await;
        }
        let mask = Mask::of(world).await.and_before(before);
        if matches!(workload, Workload::Delete) {
            world.delete::<FeatureView>(VIEW).await;
            counted(world, 0).await;
        }
        (uid, mask)
    };
    let (operator, (uid, mask)) = tokio::join!(operators, work);
    let masked = |text: &str| mask.text(text);
    let state = mask.state(world).await;
    let end = End {
        state,
        counts: tally.counts(masked),
        groups: world.edges.deleted_groups.lock().unwrap().len(),
        live: world.live(&uid).await.is_some(),
    };
    operator.unwrap().stop().await;
    (end, faults.writes().len())
}

/// Fails with only what differs: a state is long.
fn pretty_assert(end: &End, expected: &End, what: &str) {
    let lines = |end: &End| -> Vec<String> { format!("{end:#?}").lines().map(str::to_owned).collect() };
    let (is, should) = (lines(end), lines(expected));
    let missing: Vec<&String> = should.iter().filter(|line| !is.contains(line)).collect();
    let extra: Vec<&String> = is.iter().filter(|line| !should.contains(line)).collect();
    assert!(end == expected, "{what}: missing {missing:#?}, instead {extra:#?}");
}

/// Waits until the revision before is removed altogether.
async fn removed(world: &World) {
    world
        .view(VIEW, "the revision before is removed", |v| v.status.as_ref().is_some_and(|s| s.retiring.is_empty()))
        .await;
    let plans = world.api::<ConfigMap>();
    eventually("one plan", || async {
        let plans = plans.list(&ListParams::default()).await.unwrap().items.len();
        if plans == 1 { Ok(()) } else { Err(format!("{plans} plans")) }
    })
    .await;
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

async fn matrix(name: &str, workload: Workload) {
    let (expected, writes) = run(name, workload, None).await;
    assert!(writes > 5, "only {writes} writes were learnt");
    let mut runs = Vec::new();
    for nth in 0..writes {
        for what in [What::CrashBefore, What::CrashAfter, What::LostReply] {
            let namespace = format!("{name}-{nth}-{}", format!("{what:?}").to_lowercase());
            let expected = &expected;
            runs.push(async move {
                let fault = Fault { nth, what };
                let (end, _) = run(&namespace, workload, Some(fault)).await;
                pretty_assert(&end, expected, &format!("{workload:?} with {fault:?}"));
            });
        }
    }
    // A few at a time: each has an API server's work to do.
    futures::stream::iter(runs).buffer_unordered(4).collect::<Vec<_>>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dying_at_any_write_of_a_creation_ends_the_same() {
    matrix("crash-create", Workload::Create).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dying_at_any_write_of_an_edit_ends_the_same() {
    matrix("crash-edit", Workload::Edit).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dying_at_any_write_of_a_deletion_ends_the_same() {
    matrix("crash-delete", Workload::Delete).await;
}

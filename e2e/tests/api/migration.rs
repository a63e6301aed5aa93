//! A change of the mode: view by view, no more at once than the bound, back in the middle, back afterwards, given up, and cut off
//! anywhere; and a view that is pointed to another Architecture.

use std::collections::BTreeSet;

use crds::architecture::Mode;
use crds::{Architecture, FeatureView};
use engine::row::{Head, RunOutcome, catalog_key, head_key};
use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use operator::apply::Object;
use serde_json::{Value, json};
use shell::store::RowStore as _;

use crate::faults::{Fault, Faults, What};
use crate::fixtures::{ARCHITECTURE, with};
use crate::modes::{architecture_of, publish, secret, view_of_all_modes};
use crate::world::{World, eventually, has, is, is_alone};

/// An architecture of the name and mode, which lets `bound` views follow at once.
fn architecture(name: &str, mode: &str, bound: i32) -> Value {
    let mut object = with(architecture_of("Lambda"), "/spec/mode", json!(mode));
    object["metadata"]["name"] = json!(name);
    object["spec"]["migration"] = json!({"maxConcurrent": bound});
    object
}

/// A view that every mode takes, whose soak takes `soak` seconds.
fn view(name: &str, soak: i32) -> Value {
    let mut object = view_of_all_modes();
    object["metadata"]["name"] = json!(name);
    object["spec"]["rollout"] = json!({
        "catchUp": {"stableForSeconds": 0}, "comparison": {"sampleKeys": 0}, "scaleDownDelaySeconds": soak,
    });
    object
}

async fn views(world: &World) -> Vec<FeatureView> {
    world.api::<FeatureView>().list(&ListParams::default()).await.unwrap().items
}

fn candidates(views: &[FeatureView]) -> Vec<String> {
    let is = |v: &&FeatureView| v.status.as_ref().is_some_and(|s| s.candidate_revision.is_some());
    views.iter().filter(is).map(kube::ResourceExt::name_any).collect()
}

/// Plays workers and batch runs of every revision that runs, and answers with the views as they were before.
async fn play(world: &World) -> Vec<FeatureView> {
    play_of(world, |_| true).await
}

/// As [`play`], of some views.
async fn play_of(world: &World, played: impl Fn(&FeatureView) -> bool) -> Vec<FeatureView> {
    let views = views(world).await;
    world.roll_out().await;
    for view in views.iter().filter(|view| played(view)) {
        let (uid, status) = (view.uid().unwrap(), view.status.clone().unwrap_or_default());
        for running in &status.revisions {
            if running.mode.streams() {
                world.catch_up(&uid, &running.revision).await;
            }
            let head = world.edges.store.pointer::<Head>(&head_key(&uid, &running.revision)).await.unwrap();
            if running.mode.batches() && head.is_some_and(|head| head.generation == 0) {
                publish(world, &uid, &running.revision, RunOutcome::Published).await;
            }
        }
    }
    views
}

/// Plays until it is so; more candidates than `bound` at once are an error whenever they are seen.
async fn played(world: &World, what: &str, bound: usize, done: impl Fn(&[FeatureView]) -> bool) -> Vec<FeatureView> {
    eventually(what, || async {
        let views = play(world).await;
        let candidates = candidates(&views);
        assert!(candidates.len() <= bound, "{candidates:?} at once, {bound} allowed");
        let status: Vec<_> = views.iter().map(|v| v.status.clone().unwrap_or_default()).collect();
        if done(&views) { Ok(views) } else { Err(format!("{status:#?}")) }
    })
    .await
}

fn all_in(mode: Mode) -> impl Fn(&[FeatureView]) -> bool {
    move |views| {
        views.iter().all(|view| {
            view.status.as_ref().is_some_and(|s| s.mode == Some(mode) && s.candidate_revision.is_none())
                && is(view, "Ready", "True")
                && is(view, "Reconciling", "False")
        })
    }
}

/// Applies an architecture in a mode and views of the names, and plays until all are served.
async fn serve(world: &World, mode: &str, names: &[&str], soak: i32) -> Vec<FeatureView> {
    secret(world).await;
    world.apply::<Architecture>(&architecture(ARCHITECTURE, mode, 1)).await.unwrap();
    for name in names {
        world.apply::<FeatureView>(&view(name, soak)).await.unwrap();
    }
    let mode = serde_json::from_value(json!(mode)).unwrap();
    // First revisions wait for nobody.
    played(world, "all are served", names.len(), |views| views.len() == names.len() && all_in(mode)(views)).await
}

fn active(view: &FeatureView) -> String {
    view.status.clone().unwrap().active_revision.unwrap()
}

fn previous(view: &FeatureView) -> Option<String> {
    view.status.clone().unwrap().previous_revision
}

async fn progress(world: &World, what: &str, is: impl Fn(&Architecture) -> bool) -> Architecture {
    let api = world.api::<Architecture>();
    eventually(what, || async {
        let architecture = api.get(ARCHITECTURE).await.unwrap();
        if is(&architecture) { Ok(architecture) } else { Err(format!("{:#?}", architecture.status)) }
    })
    .await
}

fn turns(architecture: &Architecture) -> (Vec<String>, Vec<String>) {
    let migration = architecture.status.clone().unwrap_or_default().migration.unwrap_or_default();
    (migration.migrating, migration.waiting)
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The names of the objects of a kind that belong to a revision of a view; views that are alike have revisions of the same name.
async fn of<K: Object>(world: &World, view: &str, revision: &str) -> Vec<String> {
    let labels = format!("featuremill.dev/view={view},featuremill.dev/revision={revision}");
    let list = ListParams::default().labels(&labels);
    world.api::<K>().list(&list).await.unwrap().iter().map(kube::ResourceExt::name_any).collect()
}

fn message(view: &FeatureView, type_: &str) -> String {
    view.status.as_ref().unwrap().conditions.iter().find(|c| c.type_ == type_).unwrap().message.clone()
}

#[tokio::test]
async fn lambda_becomes_kappa_view_by_view_and_leaves_nothing_behind() {
    let world = World::new("migrate").await;
    let operator = world.start(Faults::default());
    let names = ["clicks-a", "clicks-b", "clicks-c"];
    let before = serve(&world, "Lambda", &names, 86_400).await;
    let at_rest =
        progress(&world, "all are up to date", |a| a.status.as_ref().is_some_and(|s| s.updated_views == 3)).await;
    assert_eq!(turns(&at_rest), (vec![], vec![]));

    world.apply::<Architecture>(&architecture(ARCHITECTURE, "Kappa", 1)).await.unwrap();
    world.view("clicks-a", "the first is on its way", |v| candidates(std::slice::from_ref(v)).len() == 1).await;
    for (name, ahead) in [("clicks-b", "1 is ahead of it"), ("clicks-c", "2 are ahead of it")] {
        let waiting = world.view(name, "it waits", |v| message(v, "Reconciling").contains(ahead)).await;
        let status = waiting.status.clone().unwrap();
        assert!(has(&status.conditions, "Reconciling", "True", Some("AwaitingMigration")), "{status:#?}");
        assert!(
            has(&status.conditions, "CaughtUp", "False", Some("AwaitingMigration")) && is(&waiting, "Ready", "True")
        );
        assert_eq!((status.phase.as_deref(), status.mode), (Some("AwaitingMigration"), Some(Mode::Lambda)));
        assert_eq!((status.revisions.len(), status.candidate_revision), (1, None));
    }
    let moving = progress(&world, "the others wait", |a| turns(a) == (owned(&names[..1]), owned(&names[1..]))).await;
    let status = moving.status.clone().unwrap();
    assert!(has(&status.conditions, "Reconciling", "True", Some("Migrating")), "{status:#?}");
    assert!(has(&status.conditions, "Ready", "True", None) && status.updated_views == 0, "{status:#?}");

    let after = played(&world, "all have followed", 1, all_in(Mode::Kappa)).await;
    progress(&world, "nobody is left", |a| {
        a.status.as_ref().is_some_and(|s| {
            (s.updated_views, &s.migration) == (3, &None) && has(&s.conditions, "Reconciling", "False", None)
        })
    })
    .await;
    for (old, new) in before.iter().zip(&after) {
        // The old one goes on as it was made: its runs, and its workers.
        let (name, uid, old, new) = (old.name_any(), old.uid().unwrap(), active(old), (active(new), previous(new)));
        assert_eq!((new.1.as_ref(), new.0 == old), (Some(&old), false));
        assert_eq!(
            (of::<CronJob>(&world, &name, &old).await.len(), of::<Deployment>(&world, &name, &old).await.len()),
            (1, 1)
        );
        assert_eq!(
            (of::<CronJob>(&world, &name, &new.0).await.len(), of::<Deployment>(&world, &name, &new.0).await.len()),
            (0, 1)
        );
        let live = world.live(&uid).await.unwrap();
        assert_eq!((live.revision, live.fence), (new.0, 2));
    }

    // The soak is over.
    for name in names {
        world.apply::<FeatureView>(&view(name, 0)).await.unwrap();
    }
    let after = played(&world, "alone", 1, |views| views.iter().all(is_alone)).await;
    let uid = world.api::<Architecture>().get(ARCHITECTURE).await.unwrap().uid().unwrap();
    for (old, new) in before.iter().zip(&after) {
        let (name, view, old, new) = (old.name_any(), old.uid().unwrap(), active(old), active(new));
        eventually("nothing is left of the old one", || async {
            let left = [
                of::<CronJob>(&world, &name, &old).await,
                of::<Job>(&world, &name, &old).await,
                of::<Deployment>(&world, &name, &old).await,
                of::<ConfigMap>(&world, &name, &old).await,
            ];
            if left.iter().all(Vec::is_empty) { Ok(()) } else { Err(format!("{left:?}")) }
        })
        .await;
        assert!(!world.has_keys(&format!("{view}/{old}/")) && world.has_keys(&format!("{view}/{new}/")));
        assert!(world.edges.deleted_groups.lock().unwrap().contains(&format!("{view}.{old}.0")));
        let catalog = world.edges.store.catalog(&catalog_key(&uid)).await.unwrap();
        let plans: BTreeSet<String> =
            catalog.values().filter(|e| e.uid == view).flat_map(|e| &e.plans).map(|p| p.revision.clone()).collect();
        assert_eq!(plans, [new].into());
    }
    operator.stop().await;
}

#[tokio::test]
async fn a_mode_that_is_taken_back_in_the_middle_takes_everybody_back() {
    let world = World::new("migrate-back").await;
    let operator = world.start(Faults::default());
    let names = ["clicks-a", "clicks-b", "clicks-c"];
    let before = serve(&world, "Lambda", &names, 86_400).await;
    world.apply::<Architecture>(&architecture(ARCHITECTURE, "Kappa", 1)).await.unwrap();
    let first_is_through = |views: &[FeatureView]| {
        views[0].status.as_ref().is_some_and(|s| s.mode == Some(Mode::Kappa)) && candidates(views) == ["clicks-b"]
    };
    // Nobody plays the second, so it stays on its way.
    eventually("the first has followed, the second is on its way", || async {
        let views = play_of(&world, |view| view.name_any() == "clicks-a").await;
        if first_is_through(&views) { Ok(()) } else { Err(format!("{:?}", candidates(&views))) }
    })
    .await;

    world.apply::<Architecture>(&architecture(ARCHITECTURE, "Lambda", 1)).await.unwrap();
    let after = played(&world, "all are back", 1, |views| {
        all_in(Mode::Lambda)(views) && views.iter().all(|v| v.status.as_ref().unwrap().retiring.is_empty())
    })
    .await;
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(active(before), active(after));
    }
    // What was promoted is kept as the way forward; what was not is gone.
    assert!(previous(&after[0]).is_some() && previous(&after[1]).is_none() && previous(&after[2]).is_none());
    progress(&world, "nobody is left", |a| {
        turns(a) == (vec![], vec![]) && a.status.as_ref().unwrap().updated_views == 3
    })
    .await;
    operator.stop().await;
}

#[tokio::test]
async fn the_old_mode_is_gone_back_to_at_once_in_the_soak_and_computed_anew_after_it() {
    let world = World::new("migrate-pin").await;
    let operator = world.start(Faults::default());
    let name = "clicks-a";
    let old = active(&serve(&world, "Lambda", &[name], 86_400).await[0]);
    // The new mode needs neither a schedule nor a batch; the old revision goes on with those that it had.
    let of_kappa = |soak: i32, pin: &str| {
        let mut object = view(name, soak);
        object["spec"].as_object_mut().unwrap().remove("schedule");
        object["spec"]["rollout"]["servingRevision"] = json!(pin);
        object
    };
    world.apply::<Architecture>(&architecture(ARCHITECTURE, "Kappa", 1)).await.unwrap();
    world.apply::<FeatureView>(&of_kappa(86_400, "")).await.unwrap();
    let new = active(&played(&world, "it has followed", 1, all_in(Mode::Kappa)).await[0]);
    let schedule = |jobs: &CronJob| jobs.spec.as_ref().unwrap().schedule.clone();
    let runs = world.api::<CronJob>().get(&of::<CronJob>(&world, "clicks-a", &old).await[0]).await.unwrap();
    assert_eq!(schedule(&runs), "0 3 * * *");

    world.apply::<FeatureView>(&of_kappa(86_400, &old)).await.unwrap();
    let back = played(&world, "back", 1, |v| active(&v[0]) == old && all_in(Mode::Lambda)(v)).await;
    assert!(has(&back[0].status.as_ref().unwrap().conditions, "Ready", "True", Some("RolledBack")), "{back:#?}");
    assert!(back[0].status.as_ref().unwrap().generation.is_some());
    world.apply::<FeatureView>(&of_kappa(0, "")).await.unwrap();
    played(&world, "forward again, alone", 1, |v| active(&v[0]) == new && is_alone(&v[0])).await;
    eventually("no run of the old one is left", || async {
        let left = (of::<CronJob>(&world, "clicks-a", &old).await, of::<Job>(&world, "clicks-a", &old).await);
        if left.0.is_empty() && left.1.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;

    // It is in the history, with its mode: it is computed anew as what it was.
    world.apply::<FeatureView>(&of_kappa(86_400, &old)).await.unwrap();
    let again = world.view(name, "a candidate", |v| v.status.as_ref().unwrap().candidate_revision.is_some()).await;
    assert_eq!(again.status.unwrap().candidate_revision.as_ref(), Some(&old));
    played(&world, "served as it was", 1, |v| active(&v[0]) == old && all_in(Mode::Lambda)(v)).await;
    let runs = world.api::<CronJob>().get(&of::<CronJob>(&world, "clicks-a", &old).await[0]).await.unwrap();
    assert_eq!(schedule(&runs), "0 3 * * *");
    operator.stop().await;
}

#[tokio::test]
async fn one_that_was_given_up_halts_the_others_and_one_that_is_refused_does_not() {
    let world = World::new("migrate-halt").await;
    let operator = world.start(Faults::default());
    let names = ["clicks-a", "clicks-b", "clicks-c"];
    serve(&world, "Batch", &names, 0).await;
    // The first has no topic to be read from; the second never catches up.
    let mut topicless = view("clicks-a", 0);
    topicless["spec"]["source"].as_object_mut().unwrap().remove("topic");
    world.apply::<FeatureView>(&topicless).await.unwrap();
    let mut hasty = view("clicks-b", 0);
    hasty["spec"]["rollout"]["catchUp"]["deadlineSeconds"] = json!(2);
    world.apply::<FeatureView>(&hasty).await.unwrap();
    played(&world, "all are served", 3, all_in(Mode::Batch)).await;
    world.apply::<Architecture>(&architecture(ARCHITECTURE, "Lambda", 1)).await.unwrap();

    let refused = world.view("clicks-a", "refused", |v| is(v, "SpecAccepted", "False")).await;
    assert!(message(&refused, "SpecAccepted").contains("spec.source.topic"), "{refused:#?}");
    assert_eq!(refused.status.unwrap().mode, Some(Mode::Batch));
    let given_up = world.view("clicks-b", "given up", |v| is(v, "Stalled", "True")).await;
    assert!(message(&given_up, "Stalled").contains("deadlineSeconds"), "{given_up:#?}");
    let halted = progress(&world, "halted", |a| {
        a.status.as_ref().is_some_and(|s| has(&s.conditions, "Stalled", "True", Some("MigrationHalted")))
    })
    .await;
    assert_eq!(turns(&halted), (owned(&["clicks-b"]), owned(&["clicks-c"])));
    let status = halted.status.unwrap();
    let says = &status.conditions.iter().find(|c| c.type_ == "Stalled").unwrap().message;
    assert!(says.contains("given up: clicks-b") && says.contains("refused: clicks-a"), "{says}");

    // A person leaves it behind: the others go on.
    hasty["spec"]["rollout"]["servingRevision"] = json!(given_up.status.unwrap().active_revision);
    world.apply::<FeatureView>(&hasty).await.unwrap();
    played(&world, "the third has followed", 1, |v| all_in(Mode::Lambda)(&v[2..])).await;
    progress(&world, "one of three", |a| {
        a.status.as_ref().is_some_and(|s| (s.updated_views, &s.migration) == (1, &None))
    })
    .await;
    operator.stop().await;
}

#[tokio::test]
async fn a_view_that_is_deleted_in_its_turn_gives_it_to_the_next() {
    let world = World::new("migrate-delete").await;
    let operator = world.start(Faults::default());
    let before = serve(&world, "Lambda", &["clicks-a", "clicks-b"], 86_400).await;
    world.apply::<Architecture>(&architecture(ARCHITECTURE, "Kappa", 1)).await.unwrap();
    let first = world.view("clicks-a", "its turn", |v| !candidates(std::slice::from_ref(v)).is_empty()).await;
    world.delete::<FeatureView>("clicks-a").await;
    let uid = before[0].uid().unwrap();
    assert!(!world.has_keys(&uid));
    let candidate = first.status.unwrap().candidate_revision.unwrap();
    let groups = [active(&before[0]), candidate].map(|revision| format!("{uid}.{revision}.0"));
    assert!(groups.iter().all(|group| world.edges.deleted_groups.lock().unwrap().contains(group)));
    played(&world, "the next has followed", 1, all_in(Mode::Kappa)).await;
    operator.stop().await;
}

#[tokio::test]
async fn what_reads_an_archive_keeps_it_until_it_is_retired() {
    let world = World::new("migrate-lake").await;
    let operator = world.start(Faults::default());
    let archives = || async {
        let list = ListParams::default().labels("app.kubernetes.io/component=archive");
        world.api::<Deployment>().list(&list).await.unwrap().items.len()
    };
    let before = serve(&world, "Lakehouse", &["clicks-a"], 86_400).await;
    assert_eq!(archives().await, 1);
    world.apply::<Architecture>(&architecture(ARCHITECTURE, "Kappa", 1)).await.unwrap();
    let soaking = played(&world, "it has followed", 1, all_in(Mode::Kappa)).await;
    assert_eq!((previous(&soaking[0]), archives().await), (Some(active(&before[0])), 1));
    world.apply::<FeatureView>(&view("clicks-a", 0)).await.unwrap();
    eventually("nobody needs it", || async { if archives().await == 0 { Ok(()) } else { Err(String::new()) } }).await;
    operator.stop().await;
}

#[tokio::test]
async fn a_view_moves_to_another_architecture_of_the_same_store_and_to_no_other() {
    let world = World::new("migrate-move").await;
    let operator = world.start(Faults::default());
    let before = serve(&world, "Lambda", &["clicks-a"], 86_400).await;
    let (view_uid, old) = (before[0].uid().unwrap(), active(&before[0]));
    let mut foreign = architecture("foreign", "Kappa", 1);
    foreign["spec"]["onlineStore"]["redis"]["url"] = json!("redis://elsewhere:6379");
    let mut deaf = architecture("deaf", "Kappa", 1);
    deaf["spec"]["kafka"]["bootstrapServers"] = json!("elsewhere:9092");
    for object in [&foreign, &deaf, &architecture("fast", "Kappa", 1)] {
        world.apply::<Architecture>(object).await.unwrap();
    }
    let to = |name: &str, soak: i32| with(view("clicks-a", soak), "/spec/architectureRef/name", json!(name));
    for (name, field) in
        [("foreign", "spec.onlineStore.redis.url"), ("deaf", "spec.kafka.bootstrapServers"), ("none", "there is no")]
    {
        world.apply::<FeatureView>(&to(name, 86_400)).await.unwrap();
        let refused = world
            .view("clicks-a", "refused", |v| {
                is(v, "SpecAccepted", "False") && message(v, "SpecAccepted").contains(field)
            })
            .await;
        assert_eq!((active(&refused), world.live(&view_uid).await.unwrap().revision), (old.clone(), old.clone()));
        assert_eq!(
            (
                of::<Deployment>(&world, "clicks-a", &old).await.len(),
                of::<CronJob>(&world, "clicks-a", &old).await.len()
            ),
            (1, 1),
            "{name}"
        );
    }

    let catalogs = || async {
        let mut holds = Vec::new();
        for name in [ARCHITECTURE, "fast", "foreign"] {
            let uid =
                world.api::<Architecture>().get_opt(name).await.unwrap().and_then(|a| a.uid()).unwrap_or_default();
            let entry = world.edges.store.catalog(&catalog_key(&uid)).await.unwrap().remove("clicks-a");
            holds.push(entry.map_or(0, |entry| entry.plans.len()));
        }
        holds
    };
    assert_eq!(catalogs().await, [1, 0, 0]);
    world.apply::<FeatureView>(&to("fast", 86_400)).await.unwrap();
    let after = played(&world, "it has moved", 1, all_in(Mode::Kappa)).await;
    assert_eq!(previous(&after[0]).as_ref(), Some(&old));
    // Both servers answer, with both revisions, until the soak is over; what it left cannot go before.
    assert_eq!(catalogs().await, [2, 2, 0]);
    world.api::<Architecture>().delete(ARCHITECTURE, &DeleteParams::default()).await.unwrap();
    progress(&world, "in use", |a| {
        a.status.as_ref().is_some_and(|s| has(&s.conditions, "Reconciling", "True", Some("InUse")))
    })
    .await;
    let account =
        |deployment: &Deployment| deployment.spec.clone().unwrap().template.spec.unwrap().service_account_name;
    let workers = world.api::<Deployment>().get(&of::<Deployment>(&world, "clicks-a", &old).await[0]).await.unwrap();
    assert_eq!(account(&workers), Some(format!("{ARCHITECTURE}-worker")));

    world.apply::<FeatureView>(&to("fast", 0)).await.unwrap();
    played(&world, "alone", 1, |v| is_alone(&v[0]) && v[0].status.as_ref().unwrap().architectures.len() == 1).await;
    let api = world.api::<Architecture>();
    eventually("what it left is gone", || async {
        let left = api.get_opt(ARCHITECTURE).await.unwrap();
        if left.is_none() { Ok(()) } else { Err(format!("{:#?}", left.and_then(|a| a.status))) }
    })
    .await;
    assert_eq!(catalogs().await[1..], [1, 0]);
    // It is deleted as any other.
    world.delete::<FeatureView>("clicks-a").await;
    assert_eq!(world.edges.store.keys(), Vec::<String>::new());
    operator.stop().await;
}

/// What stands in the end, without what differs from run to run.
async fn end(world: &World) -> Vec<String> {
    let mut all = Vec::new();
    let ours = ListParams::default().labels(operator::names::MANAGED_BY_SELECTOR);
    all.extend(world.api::<Deployment>().list(&ours).await.unwrap().iter().map(kube::ResourceExt::name_any));
    all.extend(world.api::<CronJob>().list(&ours).await.unwrap().iter().map(kube::ResourceExt::name_any));
    all.extend(world.api::<ControllerRevision>().list(&ours).await.unwrap().iter().map(kube::ResourceExt::name_any));
    for view in views(world).await {
        let status = view.status.clone().unwrap();
        let live = world.live(&view.uid().unwrap()).await.unwrap();
        all.push(format!("{} {:?} {:?} {}", view.name_any(), status.phase, status.active_revision, live.fence));
    }
    all.push(format!("{} groups", world.edges.deleted_groups.lock().unwrap().len()));
    all
}

/// Two views follow, the operator dying at one write; the bound holds in every moment that is seen. Gives what stands in the end,
/// and the writes from the edit on.
async fn followed(name: &str, fault: Option<Fault>) -> (Vec<String>, std::ops::Range<usize>) {
    let world = World::new(name).await;
    let faults = fault.map_or_else(Faults::default, Faults::at);
    let first = world.start(faults.clone());
    // How many writes come before the edit varies: it may die before that, too.
    let second = async {
        if fault.is_none() {
            return first;
        }
        first.crashed().await;
        world.start(Faults::default())
    };
    let done = |views: &[FeatureView]| all_in(Mode::Kappa)(views) && views.iter().all(is_alone);
    let story = async {
        serve(&world, "Lambda", &["clicks-a", "clicks-b"], 0).await;
        let begun = faults.writes().len();
        let api = world.api::<Architecture>();
        let kappa = json!({"spec": {"mode": "Kappa"}});
        api.patch(ARCHITECTURE, &PatchParams::default(), &Patch::Merge(kappa)).await.unwrap();
        played(&world, "all have followed", 1, done).await;
        begun
    };
    let (second, begun) = tokio::join!(second, story);
    progress(&world, "nobody is left", |a| {
        turns(a) == (vec![], vec![]) && a.status.as_ref().unwrap().updated_views == 2
    })
    .await;
    let end = (end(&world).await, begun..faults.writes().len());
    second.stop().await;
    end
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dying_at_a_write_of_a_migration_ends_the_same() {
    let (expected, writes) = followed("migrate-crash", None).await;
    assert!(writes.len() > 20, "{writes:?}");
    // Those at the end may not come again in another run.
    let faults: Vec<usize> = writes.clone().take(writes.len() - 8).step_by(3).collect();
    for (i, few) in faults.chunks(4).enumerate() {
        let runs = few.iter().enumerate().map(|(j, nth)| {
            let what = [What::CrashBefore, What::CrashAfter][(i + j) % 2];
            let name = format!("migrate-crash-{nth}");
            async move { (nth, followed(&name, Some(Fault { nth: *nth, what })).await.0) }
        });
        for (nth, end) in futures::future::join_all(runs).await {
            assert_eq!(end, expected, "dying at write {nth} of {writes:?}");
        }
    }
}

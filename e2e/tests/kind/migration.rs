//! The mode of an Architecture changed under load: rolled out, back in the soak, forward again, and the old mode's workers, runs
//! and rows removed. No read fails, and every value is DuckDB's, whichever mode it was computed in.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use e2e::clickstream::Clickstream;
use e2e::online::{Answer, Client};
use e2e::oracle::{self, Row};
use e2e::progress::wait_for;
use jiff::Timestamp;

use crate::modes::{example, history, horizon, lake, send, table};
use crate::values::features;
use crate::world::{SHOPPER, World};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
/// Reads that are under way at once.
const READERS: usize = 3;
/// How many shoppers a read asks for.
const SHOPPERS: usize = 100;

/// What is read, and what it must be in every mode.
struct Readers {
    url: String,
    features: Vec<String>,
    users: Vec<String>,
    rows: Vec<Row>,
    as_of: i64,
}

/// What was seen.
#[derive(Debug, Default)]
struct Seen {
    of_revision: BTreeMap<String, usize>,
    slowest: Duration,
    wrong: Vec<String>,
}

impl Readers {
    /// The revision of an answer whose every value is right.
    fn read(&self) -> Result<String, String> {
        let client = Client::new(&self.url);
        let answer = client.get(SHOPPER, &self.features, "user_id", &self.users, Some(self.as_of));
        self.check(&answer.map_err(|e| e.to_string())?)
    }

    fn check(&self, answer: &Answer) -> Result<String, String> {
        let revision = answer.metadata["views"][SHOPPER]["revision"].as_str().ok_or("it names no revision")?.to_owned();
        for feature in &self.features {
            for ((user, row), cell) in self.users.iter().zip(&self.rows).zip(&answer.features[feature]) {
                let computed = &row[feature];
                if !oracle::agrees_or_has_no_row(cell, computed) {
                    let (value, status) = (&cell.value, &cell.status);
                    return Err(format!("{revision}: {feature} of {user} is {value} ({status}), not {computed}"));
                }
            }
        }
        Ok(revision)
    }

    fn read_until(&self, stop: &AtomicBool) -> Seen {
        let mut seen = Seen::default();
        while !stop.load(Ordering::Relaxed) {
            let begun = Instant::now();
            match self.read() {
                Ok(revision) => *seen.of_revision.entry(revision).or_default() += 1,
                Err(wrong) => seen.wrong.push(wrong),
            }
            seen.slowest = seen.slowest.max(begun.elapsed());
        }
        seen
    }
}

fn status(world: &World, object: &str, field: &str) -> String {
    world.kubectl(&["get", object, "-o", &format!("jsonpath={{.status.{field}}}")]).unwrap()
}

fn of_view(world: &World, field: &str) -> String {
    status(world, "featureview/shopper", field)
}

fn patch(world: &World, object: &str, spec: &str) {
    world.kubectl(&["patch", object, "--type=merge", "-p", &format!(r#"{{"spec":{spec}}}"#)]).unwrap();
}

/// Waits until the view is in a phase, and served as computed in a mode.
async fn settled_in(world: &World, mode: &str, phase: &str) {
    wait_for(&format!("{phase} in {mode}"), Duration::from_mins(8), || async {
        let found = (of_view(world, "mode"), of_view(world, "phase"));
        if found == (mode.to_owned(), phase.to_owned()) {
            return Ok(());
        }
        let says = of_view(world, r#"conditions[?(@.type=="Reconciling")].message"#);
        Err(format!("{found:?}: {says}"))
    })
    .await
    .unwrap();
}

/// The URL of the server behind a port of the node: unlike a forwarded port, it outlives any pod.
fn node_port(world: &World) -> String {
    let port = world.kubectl(&["get", "service", "shop-server", "-o", "jsonpath={.spec.ports[0].nodePort}"]);
    let address = r#"jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}"#;
    let address = world.cluster.kubectl(&["get", "nodes", "-o", address]);
    format!("http://{}:{}", address.unwrap().trim(), port.unwrap().trim())
}

/// What of a revision still stands anywhere.
fn left_of(world: &World, uid: &str, revision: &str) -> Result<String, String> {
    let label = format!("featuremill.dev/view={SHOPPER},featuremill.dev/revision={revision}");
    let objects = world.kubectl(&["get", "deployments,cronjobs,jobs,configmaps,pods", "-l", &label, "-o", "name"])?;
    let groups = world.feed.groups().map_err(|e| e.to_string())?;
    let groups: Vec<String> = groups.into_iter().filter(|g| g.starts_with(&format!("{uid}.{revision}."))).collect();
    let keys = world.keys_of(&format!("{uid}/{revision}"));
    let nothing = objects.trim().is_empty() && groups.is_empty() && keys == 0;
    Ok(if nothing { String::new() } else { format!("{} {groups:?} {keys} keys", objects.trim()) })
}

async fn migrate(name: &str, from: &str, to: &str) {
    // Old enough that all of it is behind the horizon of a batch whose events may be three days late, and behind any that may
    // take over: of a lake that is being filled, the first may not.
    let clickstream = Clickstream::fetch().unwrap().ending_at(Timestamp::now().as_millisecond() - 5 * DAY);
    let last = clickstream.events.last().unwrap().ts;
    let as_of = (last + HOUR) / HOUR * HOUR;
    let world = World::bare(name, 4).await;
    let lake = lake(&world);
    history(&clickstream, &table(&lake), "true", last + 5 * DAY);
    send(&world, &clickstream.events);
    // From the first record on: the reads here are as of a time long past, which a replay of the longest window back from now
    // does not answer.
    let quick = "spec:\n  rollout: {catchUp: {stableForSeconds: 3}, scaleDownDelaySeconds: 3600, startFrom: {policy: Earliest}}\n  \
                 freshness: {horizonTargetSeconds: 60}\n  architectureRef:";
    let yaml = example(&world, from, &lake)
        .replacen("spec:\n  mode:", "spec:\n  serving: {service: {type: NodePort}}\n  mode:", 1)
        .replacen("spec:\n  architectureRef:", quick, 1);
    assert!(yaml.contains("NodePort") && yaml.contains("stableForSeconds"), "the example has changed");
    world.apply(&yaml);
    horizon(&world, as_of).await;
    for object in ["architecture/shop", "featureview/shopper"] {
        world.ready(object);
    }
    let uid = world.uid(SHOPPER);
    if from == "Lambda" {
        world.settled(&uid).await.unwrap();
    }

    let users: Vec<String> = clickstream.users().into_iter().take(SHOPPERS).collect();
    let reads: Vec<_> = users.iter().map(|user| (user.clone(), as_of)).collect();
    let rows = oracle::ask(&clickstream, &reads).unwrap();
    let features = features(&world);
    let telling = rows.iter().flat_map(|row| features.iter().map(|f| &row[f])).filter(|v| oracle::telling(v)).count();
    assert!(telling > 500, "a mode could pass by knowing nothing: {telling}");
    let old = of_view(&world, "activeRevision");
    let readers = Readers { url: node_port(&world), features, users, rows, as_of };
    assert_eq!(readers.read(), Ok(old.clone()));

    let stop = AtomicBool::new(false);
    let (outcome, seen) = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..READERS).map(|_| scope.spawn(|| readers.read_until(&stop))).collect();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let handle = tokio::runtime::Handle::current();
            let wait = |mode: &str, phase: &str| {
                tokio::task::block_in_place(|| handle.block_on(settled_in(&world, mode, phase)));
            };
            patch(&world, "architecture/shop", &format!(r#"{{"mode":"{to}"}}"#));
            wait(to, "Soaking");
            let new = of_view(&world, "activeRevision");
            assert_eq!((of_view(&world, "previousRevision"), new == old), (old.clone(), false));
            let begun = Instant::now();
            patch(&world, "featureview/shopper", &format!(r#"{{"rollout":{{"servingRevision":"{old}"}}}}"#));
            wait(from, "RolledBack");
            println!("{to} to {from}, from patch to status: {:?}", begun.elapsed());
            patch(&world, "featureview/shopper", r#"{"rollout":{"servingRevision":null}}"#);
            wait(to, "Soaking");
            patch(&world, "featureview/shopper", r#"{"rollout":{"scaleDownDelaySeconds":0}}"#);
            wait(to, "Live");
            new
        }));
        stop.store(true, Ordering::Relaxed);
        (outcome, threads.into_iter().map(|t| t.join().unwrap()).collect::<Vec<_>>())
    });
    let new = outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let wrong: Vec<&String> = seen.iter().flat_map(|s| &s.wrong).collect();
    let of = |revision: &str| seen.iter().filter_map(|s| s.of_revision.get(revision)).sum::<usize>();
    let slowest = seen.iter().map(|s| s.slowest).max().unwrap_or_default();
    println!(
        "{from} to {to}: {} reads of {SHOPPERS} shoppers of the old revision, {} of the new: {} failed or wrong; the slowest took {slowest:?}",
        of(&old),
        of(&new),
        wrong.len()
    );
    assert!(wrong.is_empty(), "{:?}", &wrong[..wrong.len().min(5)]);
    assert!(of(&old) > 20 && of(&new) > 20, "the load was no load");

    wait_for("the old revision to be gone", Duration::from_mins(4), || async {
        let left = left_of(&world, &uid, &old)?;
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await
    .unwrap();
    assert_eq!(status(&world, "architecture/shop", "updatedViews"), "1");
    assert_eq!(readers.read(), Ok(new));
}

#[tokio::test(flavor = "multi_thread")]
async fn lambda_becomes_kappa_under_reads() {
    migrate("lambda-kappa", "Lambda", "Kappa").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batch_becomes_lakehouse_under_reads() {
    migrate("batch-lakehouse", "Batch", "Lakehouse").await;
}

//! A changed view under load: rolled out, rolled back, forward again, and the revision before removed. No read fails, each
//! is of one revision and right for it, none is of the revision that was left.
//!
//! The changed feature counts what another feature counts, so that DuckDB knows its values before and after.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use e2e::clickstream::Clickstream;
use e2e::online::{Answer, Client};
use e2e::oracle::{self, Row};
use e2e::progress::wait_for;
use jiff::Timestamp;

use crate::modes::send;
use crate::values::features;
use crate::world::{SHOPPER, World};

const MINUTE: i64 = 60_000;
/// Reads that are under way at once.
const READERS: usize = 4;
/// What changes, and what it is then equal to.
const CHANGED: (&str, &str) = ("carts_30d", "purchases_30d");

/// What is read, and by how many readers found to be of which revision.
struct Readers<'a> {
    url: String,
    features: Vec<String>,
    users: Vec<String>,
    rows: Vec<Row>,
    as_of: i64,
    old: String,
    /// The revision that reads that begin from a moment on must be of, once it is known to be live.
    settled: &'a Mutex<Option<(Instant, String)>>,
}

/// What was seen.
#[derive(Debug, Default)]
struct Seen {
    of_revision: BTreeMap<String, usize>,
    slowest: Duration,
    wrong: Vec<String>,
}

impl Readers<'_> {
    fn read(&self) -> Result<Answer, String> {
        let client = Client::new(&self.url);
        client.get(SHOPPER, &self.features, "user_id", &self.users, Some(self.as_of)).map_err(|e| e.to_string())
    }

    /// The revision of an answer whose every value is right for it.
    fn check(&self, answer: &Answer) -> Result<String, String> {
        let revision = answer.metadata["views"][SHOPPER]["revision"].as_str().ok_or("it names no revision")?.to_owned();
        for feature in &self.features {
            let as_before = revision == self.old || feature != CHANGED.0;
            let computed_as = if as_before { feature.as_str() } else { CHANGED.1 };
            for ((user, row), cell) in self.users.iter().zip(&self.rows).zip(&answer.features[feature]) {
                let computed = &row[computed_as];
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
            match self.read().and_then(|answer| self.check(&answer)) {
                Ok(revision) => {
                    let settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    if let Some((since, live)) = settled.filter(|(since, live)| begun > *since && *live != revision) {
                        seen.wrong.push(format!("stale: {revision}, {live} was live for {:?}", begun - since));
                    }
                    *seen.of_revision.entry(revision).or_default() += 1;
                }
                Err(wrong) => seen.wrong.push(wrong),
            }
            seen.slowest = seen.slowest.max(begun.elapsed());
        }
        seen
    }
}

fn status(world: &World, field: &str) -> String {
    world.kubectl(&["get", "featureview", SHOPPER, "-o", &format!("jsonpath={{.status.{field}}}")]).unwrap()
}

async fn phase(world: &World, wanted: &str) {
    wait_for(&format!("the phase {wanted}"), Duration::from_mins(3), || async {
        let found = status(world, "phase");
        if found == wanted { Ok(()) } else { Err(found) }
    })
    .await
    .unwrap();
}

/// Patches `spec.rollout`, and waits until a read is of `revision`; how long that took.
fn move_to(world: &World, readers: &Readers<'_>, rollout: &str, revision: &str) -> Duration {
    *readers.settled.lock().unwrap() = None;
    let patch = format!(r#"{{"spec":{{"rollout":{rollout}}}}}"#);
    let begun = Instant::now();
    world.kubectl(&["patch", "featureview", SHOPPER, "--type=merge", "-p", &patch]).unwrap();
    while readers.read().and_then(|answer| readers.check(&answer)).unwrap() != revision {
        assert!(begun.elapsed() < Duration::from_mins(1), "{revision} is not read: {}", status(world, "phase"));
    }
    let took = begun.elapsed();
    *readers.settled.lock().unwrap() = Some((Instant::now(), revision.to_owned()));
    took
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_view_is_rolled_out_and_back_under_load_and_leaves_nothing_behind() {
    let world = World::new("rollout", 4).await;
    let quick = "spec:\n  rollout: {catchUp: {stableForSeconds: 3}, comparison: {expectedChanges: [carts_30d, preference_30d]}, \
                 scaleDownDelaySeconds: 3600}\n";
    let view = world.shopper().replacen("spec:\n", quick, 1);
    world.apply(&view);
    for object in ["architecture/realtime", "featureview/shopper"] {
        world.ready(object);
    }
    let url = world.node_port();
    let clickstream = Clickstream::fetch().unwrap().ending_at(Timestamp::now().as_millisecond());
    let uid = world.uid(SHOPPER);
    send(&world, &clickstream.events);
    world.settled(&uid).await.unwrap();

    let users = clickstream.users();
    let as_of = clickstream.events.last().unwrap().ts / MINUTE * MINUTE - 1;
    let reads: Vec<_> = users.iter().map(|user| (user.clone(), as_of)).collect();
    let rows = oracle::ask(&clickstream, &reads).unwrap();
    let telling = rows.iter().filter(|row| row[CHANGED.0] != row[CHANGED.1]).count();
    assert!(telling > 20, "both revisions could be equal: they differ for {telling} shoppers");
    // Those who have no row are left out: of them a revision that read less says another thing, and rightly.
    let known = |row: &Row| row["_known"].as_i64().unwrap_or(0) > 0;
    let (users, rows): (Vec<String>, Vec<Row>) = users.into_iter().zip(rows).filter(|(_, row)| known(row)).unzip();
    let (users, rows) = (users[..100].to_vec(), rows[..100].to_vec());

    let old = status(&world, "activeRevision");
    // What is derived from the changed feature changes with it, to what DuckDB was not asked for.
    let features: Vec<String> = features(&world).into_iter().filter(|f| f != "preference_30d").collect();
    let settled = Mutex::new(None);
    let readers = Readers { url, features, users, rows, as_of, old: old.clone(), settled: &settled };
    assert_eq!(readers.read().and_then(|answer| readers.check(&answer)), Ok(old.clone()));

    let stop = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..READERS).map(|_| scope.spawn(|| readers.read_until(&stop))).collect();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let handle = tokio::runtime::Handle::current();
            let changed = view.replace(
                r#"{name: carts_30d, aggregate: Count, where: "event = 'add_to_cart'""#,
                r#"{name: carts_30d, aggregate: Count, where: "event = 'purchase'""#,
            );
            assert_ne!(changed, view, "the example has changed");
            world.apply(&changed);
            tokio::task::block_in_place(|| handle.block_on(phase(&world, "Soaking")));
            let new = status(&world, "activeRevision");
            assert_eq!((status(&world, "previousRevision"), new == old), (old.clone(), false));
            // Its history came by a Job, which is gone by now.
            let told = ["get", "events", "-o", "jsonpath={.items[?(@.reason=='ReplayCompleted')].message}"];
            let told = world.kubectl(&told).unwrap();
            assert!(told.contains(&new), "{told}");
            let replays = ["get", "jobs", "-l", "app.kubernetes.io/component=replay", "-o", "name"];
            tokio::task::block_in_place(|| {
                handle.block_on(wait_for("the replay's Job to go", Duration::from_mins(1), || async {
                    let jobs = world.kubectl(&replays)?;
                    if jobs.trim().is_empty() { Ok(()) } else { Err(jobs) }
                }))
            })
            .unwrap();
            let mut moves = Vec::new();
            for _ in 0..5 {
                let back = move_to(&world, &readers, &format!(r#"{{"servingRevision":"{old}"}}"#), &old);
                let forward = move_to(&world, &readers, r#"{"servingRevision":null}"#, &new);
                moves.extend([back, forward]);
            }
            println!("from patch to the first read: {moves:?}");
            (new, moves.into_iter().max().unwrap())
        }));
        stop.store(true, Ordering::Relaxed);
        let seen: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        match outcome {
            Ok(outcome) => (outcome, seen),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    });
    let ((new, slowest_move), seen) = seen;
    let wrong: Vec<&String> = seen.iter().flat_map(|s| &s.wrong).collect();
    let of = |revision: &str| seen.iter().filter_map(|s| s.of_revision.get(revision)).sum::<usize>();
    let slowest = seen.iter().map(|s| s.slowest).max().unwrap_or_default();
    println!(
        "{} reads of 100 shoppers of the old revision, {} of the new: {} failed, mixed, wrong or stale; the slowest took {slowest:?}",
        of(&old),
        of(&new),
        wrong.len()
    );
    assert!(wrong.is_empty(), "{:?}", &wrong[..wrong.len().min(5)]);
    assert!(of(&old) > 50 && of(&new) > 50, "the load was no load");
    assert!(slowest_move < Duration::from_secs(5), "{slowest_move:?}");

    // The soak ends as soon as the spec says so, and nothing of the old revision stays.
    let over = r#"{"spec":{"rollout":{"scaleDownDelaySeconds":0}}}"#;
    world.kubectl(&["patch", "featureview", SHOPPER, "--type=merge", "-p", over]).unwrap();
    wait_for("the old revision to be gone", Duration::from_mins(4), || async {
        let label = format!("featuremill.dev/view=shopper,featuremill.dev/revision={old}");
        let objects = world.kubectl(&["get", "deployments,jobs,configmaps,pods", "-l", &label, "-o", "name"])?;
        let groups: Vec<String> = world.feed.groups().map_err(|e| e.to_string())?;
        let groups: Vec<String> = groups.into_iter().filter(|g| g.starts_with(&format!("{uid}.{old}."))).collect();
        let keys = world.keys_of(&format!("{uid}/{old}"));
        let gone = objects.trim().is_empty() && groups.is_empty() && keys == 0 && status(&world, "phase") == "Live";
        if gone { Ok(()) } else { Err(format!("{objects} {groups:?} {keys} keys, {}", status(&world, "phase"))) }
    })
    .await
    .unwrap();
    assert_eq!(readers.read().and_then(|answer| readers.check(&answer)), Ok(new));
}

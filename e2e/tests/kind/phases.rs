//! What may happen in the middle of a rollout, in every phase of it, on the cluster: each ends right, says meanwhile what it
//! waits for, and no read is wrong.
//!
//! Phases are held for as long as it takes by what a user has for it: a slow replay, a long `stableForSeconds`, a promotion that
//! waits for a person. The whole is for `make soak`; `make test` has the short ones.

mod away;
mod edits;
mod removal;
mod replays;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use e2e::clickstream::{Clickstream, Event};
use e2e::progress::wait_for;
use jiff::Timestamp;

use crate::modes::send;
use crate::readers::{Changes, Readers, Rows, expected};
use crate::values::features;
use crate::world::{SHOPPER, SHOPPER_VIEW, World};

const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;
/// Reads that are under way at once: the machine has other things to do.
const READERS: usize = 2;
/// Shoppers asked for in one read.
const SHOPPERS: usize = 50;

/// What `carts_30d` counts, version by version, and what DuckDB knows it as.
const VERSIONS: [(&str, Changes); 3] = [
    ("event = 'add_to_cart'", &[]),
    ("event = 'purchase'", &[("carts_30d", "purchases_30d")]),
    ("event = 'product_view'", &[("carts_30d", "views_30d")]),
];

/// How a rollout goes where nothing holds it.
const QUICK: &str = "catchUp: {stableForSeconds: 3}, scaleDownDelaySeconds: 3600";
/// As [`QUICK`], but its replay takes a minute.
const SLOW: &str = "catchUp: {stableForSeconds: 3}, scaleDownDelaySeconds: 3600, replay: {maxRecordsPerSecond: 250}";
/// It stays in catch-up until told otherwise.
const HELD: &str = "catchUp: {stableForSeconds: 600}, scaleDownDelaySeconds: 3600";

/// A view over six months of events but for the last two days, its first version live, and readers of it.
struct Shop {
    world: World,
    uid: String,
    url: String,
    clickstream: Clickstream,
    /// What has not been sent yet, and how much of it has been by now.
    held: (Vec<Event>, AtomicUsize),
    readers: Readers,
    revisions: Revisions,
}

/// What each revision that may be read changes.
type Revisions = Arc<Mutex<BTreeMap<String, Changes>>>;

impl Shop {
    async fn open(name: &str) -> Self {
        let world = World::new(name, 4).await;
        let clickstream = Clickstream::fetch().unwrap().ending_at(Timestamp::now().as_millisecond());
        // What comes in later is within the view's lateness, so that reads as of before it stay exact.
        let last = clickstream.events.last().unwrap().ts;
        let as_of = (last - 2 * DAY) / MINUTE * MINUTE - 1;
        let (sent, held): (Vec<_>, Vec<_>) = clickstream.events.iter().cloned().partition(|e| e.ts <= as_of);
        assert!(held.len() > 100, "there is too little to send later: {}", held.len());
        send(&world, &sent);
        world.apply(&version(&world, 0, QUICK));
        for object in ["architecture/realtime", "featureview/shopper"] {
            world.ready(object);
        }
        let (url, uid) = (world.node_port().await, world.uid(SHOPPER));
        world.settled(&uid).await.unwrap();
        let revisions = Revisions::default();
        let readers = readers(&world, &url, &clickstream, as_of, &revisions);
        let shop = Self { world, uid, url, clickstream, held: (held, AtomicUsize::new(0)), readers, revisions };
        shop.know(&shop.status("activeRevision"), 0);
        shop.readers.read_all().unwrap();
        shop
    }

    /// From now on reads may be of a revision.
    fn know(&self, revision: &str, version: usize) {
        self.revisions.lock().unwrap().insert(revision.to_owned(), VERSIONS[version].1);
    }

    /// Applies a version of the view; gives its revision, once the operator has seen it.
    async fn roll(&self, number: usize, rollout: &str) -> String {
        self.world.apply(&version(&self.world, number, rollout));
        let path = "{.metadata.generation} {.status.observedGeneration} \
                    {.status.conditions[?(@.type==\"SpecAccepted\")].message}";
        let revision = wait_for("the operator to see the spec", Duration::from_mins(1), || async {
            let seen = self.world.kubectl(&["get", "featureview", SHOPPER, "-o", &format!("jsonpath={path}")])?;
            // "3 3 revision 3f0a55c81e of 24 features"
            match seen.split_whitespace().collect::<Vec<_>>()[..] {
                [wanted, seen, "revision", revision, ..] if wanted == seen => Ok(revision.to_owned()),
                _ => Err(seen.clone()),
            }
        });
        let revision = revision.await.unwrap();
        self.know(&revision, number);
        revision
    }

    fn status(&self, path: &str) -> String {
        self.world.status(SHOPPER_VIEW, path)
    }

    fn condition(&self, kind: &str, field: &str) -> String {
        self.world.condition(SHOPPER_VIEW, kind, field)
    }

    /// What serves, what is to take its place, what is kept.
    fn roles(&self) -> [String; 3] {
        ["activeRevision", "candidateRevision", "previousRevision"].map(|role| self.status(role))
    }

    fn patch(&self, rollout: &str) {
        let patch = format!(r#"{{"spec":{{"rollout":{rollout}}}}}"#);
        self.world.kubectl(&["patch", "featureview", SHOPPER, "--type=merge", "-p", &patch]).unwrap();
    }

    fn annotate(&self, verb: &str, revision: &str) {
        let annotation = format!("featuremill.dev/{verb}={revision}");
        self.world.kubectl(&["annotate", "--overwrite", "featureview", SHOPPER, &annotation]).unwrap();
    }

    /// What a person sees.
    fn seen(&self) -> String {
        self.world.kubectl(&["get", "fv", SHOPPER, "--no-headers"]).unwrap_or_else(|e| e)
    }

    async fn phase(&self, wanted: &str) {
        wait_for(&format!("the phase {wanted}"), Duration::from_mins(4), || async {
            if self.status("phase") == wanted {
                return Ok(());
            }
            let says = ["Reconciling", "Stalled"].map(|kind| self.condition(kind, "message"));
            Err(format!("{}: {says:?}", self.seen().trim()))
        })
        .await
        .unwrap();
    }

    /// Waits until this revision serves, no other is about to, and that one is kept; the phase and conditions say so, too.
    async fn stands(&self, phase: &str, active: &str, previous: &str) {
        let wanted = [active, "", previous].map(str::to_owned);
        wait_for(&format!("{phase} of {active}, {previous:?} kept"), Duration::from_mins(4), || async {
            let conditions = ["Ready", "Reconciling", "Stalled"].map(|kind| self.condition(kind, "status"));
            let read = self.readers.read().map_err(|problem| problem.to_string())?;
            if self.status("phase") == phase
                && self.roles() == wanted
                && conditions == ["True", "False", "False"]
                && read == active
            {
                return Ok(());
            }
            let says = ["Reconciling", "Stalled"].map(|kind| self.condition(kind, "message"));
            Err(format!("{} of {:?}, a read is of {read}: {says:?}", self.seen().trim(), self.roles()))
        })
        .await
        .unwrap();
    }

    /// Waits until nothing of a revision is left.
    async fn gone(&self, revision: &str) {
        wait_for(&format!("revision {revision} to be gone"), Duration::from_mins(4), || async {
            let left = self.world.left_of(&self.uid, revision)?;
            if left.is_empty() { Ok(()) } else { Err(left) }
        })
        .await
        .unwrap();
    }

    /// Sends the next tenth of what was held back, to these partitions in turn; to whichever its keys say, if there are none.
    fn feed(&self, partitions: &[i32]) {
        let (held, sent) = &self.held;
        let from = sent.fetch_add(held.len() / 10, Ordering::Relaxed).min(held.len());
        self.send(from, (from + held.len() / 10).min(held.len()), partitions);
    }

    fn send(&self, from: usize, to: usize, partitions: &[i32]) {
        for (n, event) in self.held.0[from..to].iter().enumerate() {
            let partition = partitions.get(n % partitions.len().max(1)).copied();
            self.world.feed.send(event.user.as_bytes(), event.json().as_bytes(), event.ts, partition).unwrap();
        }
        self.world.feed.flush().unwrap();
    }

    /// Sends what was held back so far, and compares every feature of every shopper as of the end.
    async fn whole(&self) {
        let all = self.held.0.len();
        self.send(self.held.1.swap(all, Ordering::Relaxed).min(all), all, &[]);
        self.world.settled(&self.uid).await.unwrap();
        let now = self.clickstream.events.last().unwrap().ts / MINUTE * MINUTE + MINUTE - 1;
        readers(&self.world, &self.url, &self.clickstream, now, &self.revisions).read_all().unwrap();
    }
}

/// A version of the clickstream's view.
fn version(world: &World, number: usize, rollout: &str) -> String {
    let comparison = "comparison: {expectedChanges: [carts_30d, preference_30d]}, startFrom: {policy: Earliest}";
    let view = world.shopper().replacen("spec:\n", &format!("spec:\n  rollout: {{{comparison}, {rollout}}}\n"), 1);
    let feature = |condition: &str| format!(r#"{{name: carts_30d, aggregate: Count, where: "{condition}""#);
    assert!(view.contains(&feature(VERSIONS[0].0)), "the example has changed");
    view.replacen(&feature(VERSIONS[0].0), &feature(VERSIONS[number].0), 1)
}

/// Readers of all shoppers; the replay of a candidate reads from the first record on, so that all of them have a row.
fn readers(world: &World, url: &str, clickstream: &Clickstream, as_of: i64, revisions: &Revisions) -> Readers {
    // What is derived from the changed feature changes with it, to what DuckDB was not asked for.
    let features: Vec<String> = features(world).into_iter().filter(|f| f != "preference_30d").collect();
    let shoppers = expected(clickstream, clickstream.users(), as_of);
    for (name, other) in VERSIONS.iter().flat_map(|(_, changes)| *changes) {
        let telling = shoppers.iter().filter(|(_, row)| row[*name] != row[*other]).count();
        assert!(telling > 20, "revisions could be equal: {name} and {other} differ for {telling} shoppers");
    }
    let known = revisions.clone();
    let changes = move |revision: &str| known.lock().unwrap().get(revision).copied();
    Readers::new(url.to_owned(), features, shoppers, as_of).at_once(SHOPPERS).rows(Rows::OfAll).changing(changes)
}

//! How long an edit takes until it is served where the topic is long, and what its replay costs those who read meanwhile:
//! the latency of the server under load, and how long an event takes until it can be read of the live revision.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use e2e::bench::workload::Workload;
use e2e::feed::Feed;
use e2e::online::Client;
use e2e::progress::wait_for;
use jiff::Timestamp;
use serde_json::json;

use super::view::{self, VIEW};
use super::{Scale, architecture, load, reads, said};
use crate::world::World;

/// Records in the topic before the edit.
const RECORDS: u64 = 10_000_000;
const ENTITIES: u64 = 200_000;
/// From one look for a new event to the next.
const PACE: Duration = Duration::from_millis(200);

/// A load that leaves of the machine what a replay needs.
const BEFORE: Scale = Scale { flips: 0, every: Duration::ZERO, rate: 300.0, least_rate: 0.0, checked: 9_000 };
const DURING: Scale = Scale { flips: 1, checked: 0, ..BEFORE };

#[tokio::test(flavor = "multi_thread")]
#[ignore = "ten minutes: make bench NAME=rollout"]
async fn from_an_edit_to_its_flip_on_ten_million_events() {
    let world = World::bare("edit", 4).await;
    let redis_url = "redis://redis.data:6379";
    fill(&world.feed);
    view::send(&world.feed);
    world.apply(&architecture(redis_url));
    world.apply(&view::manifest(&world.topic, "a"));
    let object = format!("featureview/{VIEW}");
    for object in ["architecture/realtime", &object] {
        world.ready(object);
    }
    let (uid, client) = (world.uid(VIEW), Client::new(&world.node_port_url("realtime-server").await));
    world.settled(&uid).await.unwrap();
    let old = world.status(&object, "activeRevision");
    let first = view::expected(&uid, &[(&old, "a")]);
    reads(&client, &first).await;

    let probe = Probe { feed: &world.feed, client: &client, sent: AtomicI64::new(0) };
    let (report, fresh) = probe.during(async {
        world.apply(&load("before", &world.namespace, redis_url, &first, &BEFORE));
        said(&world, "before", "the reads before the edit", |report| report.done).await
    });
    assert!(report.is_clean(), "{:?}", report.wrong);
    println!("before the edit: p50 {:.1} ms, p99 {:.1} ms; {fresh}", report.rest.p50, report.rest.p99);

    let edited = Instant::now();
    world.apply(&view::manifest(&world.topic, "b"));
    let new = wait_for("the operator to see the edit", Duration::from_mins(1), || async {
        let new = world.status(&object, "candidateRevision");
        if new.is_empty() { Err("no candidate".to_owned()) } else { Ok(new) }
    });
    let new = new.await.unwrap();
    let both = view::expected(&uid, &[(&old, "a"), (&new, "b")]);
    world.apply(&load("during", &world.namespace, redis_url, &both, &DURING));
    let (report, fresh) = probe.during(async {
        let phase = std::cell::RefCell::new(String::new());
        let served = wait_for("the edit to be served", Duration::from_mins(15), || async {
            let now = world.status(&object, "phase");
            if *phase.borrow() != now {
                println!("{now} {:.1} s after the edit", edited.elapsed().as_secs_f64());
                phase.borrow_mut().clone_from(&now);
            }
            if world.status(&object, "activeRevision") == new { Ok(()) } else { Err(now) }
        });
        served.await.unwrap();
        said(&world, "during", "the load to end", |report| report.done).await
    });
    println!("during the replay: p50 {:.1} ms, p99 {:.1} ms; {fresh}", report.rest.p50, report.rest.p99);
    println!("near the flip: p50 {:.1} ms, p99 {:.1} ms", report.near.p50, report.near.p99);
    assert!(report.is_clean(), "{:?}", report.wrong);
    reads(&client, &view::expected(&uid, &[(&new, "b")])).await;
}

/// Events of entities that nobody reads, over eight days.
fn fill(feed: &Feed) {
    let last = Timestamp::now().as_millisecond() - 60_000;
    for event in (Workload { events: RECORDS, entities: ENTITIES, last }).events() {
        let user = format!("other_{:09}", event.user);
        let (ts, a, noise) = (event.time, event.amount, event.noise);
        let payload = format!(
            r#"{{"user_id":"{user}","ts":{ts},"a":{a},"b":{},"txid":"{noise:016x}-{a:08x}-{ts:014x}"}}"#,
            a + 10_000
        );
        feed.send(user.as_bytes(), payload.as_bytes(), ts, None).unwrap();
    }
    feed.flush().unwrap();
}

/// Sends an event of one entity now and then, and reads that entity until the event is seen.
struct Probe<'a> {
    feed: &'a Feed,
    client: &'a Client,
    sent: AtomicI64,
}

/// How long events took until they could be read.
struct Fresh(Vec<Duration>);

impl fmt::Display for Fresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |share: usize| self.0[(self.0.len() - 1) * share / 100].as_secs_f64() * 1_000.0;
        write!(
            f,
            "{} events could be read after p50 {:.0} ms, p99 {:.0} ms, at most {:.0} ms",
            self.0.len(),
            at(50),
            at(99),
            at(100)
        )
    }
}

impl Probe<'_> {
    /// Does so all the while that `body` takes.
    fn during<T>(&self, body: impl Future<Output = T>) -> (T, Fresh) {
        let stop = AtomicBool::new(false);
        let handle = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| {
            std::thread::scope(|scope| {
                let looking = scope.spawn(|| self.until(&stop));
                let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| handle.block_on(body)));
                stop.store(true, Ordering::Relaxed);
                let mut fresh = looking.join().unwrap();
                fresh.sort();
                (outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic)), Fresh(fresh))
            })
        })
    }

    fn until(&self, stop: &AtomicBool) -> Vec<Duration> {
        let mut took = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let begun = Instant::now();
            took.push(self.look(begun));
            // A pace, no wait: each look takes from the machine what is measured.
            #[allow(clippy::disallowed_methods)]
            std::thread::sleep(PACE.saturating_sub(begun.elapsed()));
        }
        took
    }

    /// How long the next event takes, whichever revision answers.
    fn look(&self, begun: Instant) -> Duration {
        let n = self.sent.fetch_add(1, Ordering::Relaxed) + 1;
        let ts = Timestamp::now().as_millisecond();
        let event = json!({"user_id": "probe", "ts": ts, "a": n, "b": n}).to_string();
        self.feed.send(b"probe", event.as_bytes(), ts, None).unwrap();
        self.feed.flush().unwrap();
        let (feature, probe) = (["last_7d".to_owned()], ["probe".to_owned()]);
        loop {
            let answer = self.client.get(VIEW, &feature, "user_id", &probe, None).unwrap();
            if answer.features["last_7d"][0].value.as_i64().is_some_and(|seen| seen >= n) {
                return begun.elapsed();
            }
            assert!(begun.elapsed() < Duration::from_mins(5), "event {n} is not read: {answer:?}");
        }
    }
}

//! A worker that is stopped, a Redis that stands still, a topic that is flooded: condition, Events, metric, Prometheus' alert and
//! both Alertmanagers say the same of it, within half a minute of the truth. One Alertmanager hears of it from the chart's rules
//! alone, the other from the operator alone.

mod flood;
mod told;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use e2e::progress::wait_for;
use flood::Flood;
use serde_json::json;
use told::{Monitoring, Told};

use crate::world::{SHOPPER, SHOPPER_VIEW, World};

/// How far what is said may be behind what is true.
const SOON: Duration = Duration::from_secs(30);
/// From how many seconds on each tier is exceeded, tier 1 first.
const BOUNDS: [u64; 3] = [55, 30, 10];
/// The same for who reads all the time and is late: while there is much to read, what was read is written every half a minute, so
/// that it is up to that much later than it need be.
const WIDE: [u64; 3] = [240, 130, 40];
/// How long what waits is to take that worker, so that of the tiers above all are exceeded; tier 2 and not tier 1; tier 3 alone: a
/// tier is held down to three quarters of its bound, and the worker is up to half a minute later than this.
const WAITS: [u64; 3] = [280, 115, 50];
/// A tier goes once the lag was well under its bound for this long.
const CLEARS_AFTER: Duration = Duration::from_mins(1);

fn feed(world: &World, from: u64, count: u64) {
    for i in from..from + count {
        let now = jiff::Timestamp::now().as_millisecond();
        // Quickly: a flood has to be written faster than it is read.
        let user = i % 1000;
        // Few sessions: a worker that has to count more and more of them for each user gets slower while it is flooded.
        let session = i % 3000;
        let event = format!(r#"{{"user_id":"u{user}","session_id":"s{session}","event":"product_view","ts":{now}}}"#);
        world.feed.send(i.to_string().as_bytes(), event.as_bytes(), now, None).unwrap();
    }
    world.feed.flush().unwrap();
}

/// A view that is watched by all of them, on time.
struct Watched {
    world: Arc<World>,
    uid: String,
    monitoring: Monitoring,
    _told: Told,
}

impl Watched {
    /// `spec` is what the view says besides.
    async fn open(name: &str, bounds: [u64; 3], spec: &str) -> Self {
        let world = Arc::new(World::new(name, 4).await);
        let told = Told::by_the_operator(&world.namespace);
        let tier = |tier: usize| json!({"tier": tier, "lagSeconds": bounds[tier - 1], "forSeconds": 0});
        let freshness = format!("\n    alertTiers: {}\n", json!([tier(1), tier(2), tier(3)]));
        let view = world.shopper().replace("\n    targetSeconds: 60\n", &format!("\n    targetSeconds: 60{freshness}"));
        world.apply(&format!("{view}{spec}"));
        for object in ["architecture/realtime", SHOPPER_VIEW] {
            world.ready(object);
        }
        let (monitoring, uid) = (Monitoring::start(&world), world.uid(SHOPPER));
        let watched = Self { world, uid, monitoring, _told: told };
        feed(&watched.world, 0, 5_000);
        watched.world.settled(&watched.uid).await.unwrap();
        watched.agree(0, Instant::now() + Duration::from_mins(2)).await;
        watched
    }

    /// All say this tier at one moment.
    fn all_say(&self, tier: i32) -> Result<(), String> {
        let said = self.monitoring.said(&self.world)?;
        if said.iter().all(|(_, known)| *known == tier) { Ok(()) } else { Err(format!("{said:?}")) }
    }

    /// Waits until all say this tier, which must be before `deadline`.
    async fn agree(&self, tier: i32, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        let outcome = wait_for(&format!("all say tier {tier}"), left, || async { self.all_say(tier) }).await;
        outcome.unwrap_or_else(|error| panic!("{error}"));
        let left = deadline.saturating_duration_since(Instant::now());
        println!("all say tier {tier}, {:.1} s before they had to", left.as_secs_f32());
    }

    /// Records wait and nobody reads: tier 3, 2, 1, each so many seconds after they came.
    async fn rises(&self, waits: Instant) {
        for (tier, bound) in [1, 2, 3].into_iter().zip(BOUNDS).rev() {
            self.agree(tier, waits + Duration::from_secs(bound) + SOON).await;
            self.is_raised(tier).await;
        }
    }

    async fn is_raised(&self, tier: i32) {
        self.world.is_told("Warning", &format!("LagTier{tier}Raised"), "", SOON).await;
    }

    async fn is_cleared(&self, text: &str) {
        self.world.is_told("Normal", "LagTierCleared", text, SOON).await;
    }

    /// All records are read, and in time all say so.
    async fn cleared(&self) {
        self.world.settled(&self.uid).await.unwrap();
        // Of a node that is busy with other tests more is not asked for here; how soon a tier rises is.
        self.agree(0, Instant::now() + CLEARS_AFTER + 2 * SOON).await;
        self.is_cleared("").await;
    }

    /// No worker, and records that wait: tier 3, 2, 1.
    async fn worker_is_stopped(&self) {
        let world = &self.world;
        world.kubectl(&["scale", SHOPPER_VIEW, "--replicas=0"]).unwrap();
        let stream = "app.kubernetes.io/component=stream";
        world.kubectl(&["wait", "--for=delete", "pod", "-l", stream, "--timeout=120s"]).unwrap();
        let waits = Instant::now();
        feed(world, 5_000, 1_000);
        self.rises(waits).await;
        world.kubectl(&["scale", SHOPPER_VIEW, "--replicas=1"]).unwrap();
        self.cleared().await;
    }

    /// Redis takes no writes for long enough for all tiers; nothing is lost, and the worker goes on by itself.
    async fn redis_stands_still(&self) {
        let mut redis = redis::Client::open(self.world.cluster.redis()).and_then(|c| c.get_connection()).unwrap();
        let pause = BOUNDS[0] + 35;
        redis::cmd("CLIENT").arg("PAUSE").arg(pause * 1000).arg("WRITE").exec(&mut redis).unwrap();
        let waits = Instant::now();
        feed(&self.world, 6_000, 1_000);
        self.rises(waits).await;
        redis::cmd("CLIENT").arg("UNPAUSE").exec(&mut redis).unwrap();
        self.cleared().await;
    }

    /// More is written than the worker reads, then as much, then less: it is late while it reads, tier 3, 2, 1, and less and less
    /// late, 2, 3, none.
    async fn topic_is_flooded(&self) {
        let begun = Instant::now();
        let flood = Flood::start(&self.world, &self.uid, WAITS[0]);
        for (tier, over) in [1, 2, 3].into_iter().zip(WIDE).rev() {
            self.follows(&flood, tier, &format!("over {over} s late"), SOON, |late| late > over).await;
            self.is_raised(tier).await;
        }
        for (tier, waits, before) in [(2, WAITS[1], WIDE[0]), (3, WAITS[2], WIDE[1])] {
            flood.seconds.store(waits, Ordering::Release);
            // The operator adds what events may be ahead of their time: a second.
            let under = before * 3 / 4 - 1;
            self.follows(&flood, tier, &format!("under {under} s late"), CLEARS_AFTER + SOON, |late| late < under)
                .await;
            self.is_cleared(&format!("tier {} is no longer exceeded, tier {tier} still is", tier - 1)).await;
        }
        let records = flood.stop().await;
        println!("{records} records in {:.0} s", begun.elapsed().as_secs_f32());
        self.cleared().await;
    }

    /// Waits until all say a tier that is `true_of` how many seconds late the worker is, which must be `soon` after it became so and
    /// stayed so. How long that takes depends on how much faster than the worker this machine writes.
    async fn follows(&self, flood: &Flood, tier: i32, what: &str, soon: Duration, true_of: impl Fn(u64) -> bool) {
        let outcome = wait_for(&format!("all say tier {tier}"), Duration::from_mins(10), || async {
            let since = flood.since(&true_of).map(|since| since.elapsed());
            let said = self.all_say(tier);
            if let (Ok(()), Some(since)) = (&said, since) {
                println!("all say tier {tier}, {since:.1?} after the worker was {what}");
                return Ok(());
            }
            assert!(
                said.is_ok() || since.is_none_or(|since| since < soon),
                "not tier {tier} {since:?} after: {said:?}; {}",
                flood.ages()
            );
            Err(format!("{said:?}, {what} for {since:?}; {}", flood.ages()))
        })
        .await;
        outcome.unwrap_or_else(|error| panic!("{error}"));
    }

    fn close(self) {
        self.world.cluster.kubectl(&["-n", "featuremill-system", "delete", "rolebinding", "e2e-monitoring"]).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tiers_rise_and_fall_and_all_who_tell_of_them_agree() {
    let watched = Watched::open("alerts", BOUNDS, "").await;
    watched.worker_is_stopped().await;
    watched.close();
}

/// With so little of a core a worker is late on any machine, and its lag is the age of what it reads, not that and five minutes
/// more.
fn slow(cpu: &str) -> String {
    format!(
        "  maxFuture: 1s\n  worker: {{resources: {{requests: {{cpu: {cpu}}}, limits: {{cpu: {cpu}, memory: 512Mi}}}}}}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "ten minutes: make soak NAME=alerts"]
async fn tiers_follow_a_worker_and_a_redis() {
    let watched = Watched::open("alerts-long", BOUNDS, &slow("50m")).await;
    watched.worker_is_stopped().await;
    watched.redis_stands_still().await;
    watched.close();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a quarter of an hour: make soak NAME=alerts"]
async fn tiers_follow_a_flood() {
    let watched = Watched::open("alerts-flood", WIDE, &slow("25m")).await;
    watched.topic_is_flooded().await;
    watched.close();
}

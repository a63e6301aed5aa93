//! Kafka, and then Redis, away for a minute in every phase of one rollout, and in the way back.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use e2e::progress::wait_for;

use super::{QUICK, READERS, Shop};
use crate::readers::{Problem, Seen};

/// What is away. What it has written stays: both keep it on a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Away {
    Kafka,
    Redis,
}

impl Away {
    fn name(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Redis => "redis",
        }
    }

    /// What conditions give as the reason.
    fn reason(self) -> &'static str {
        match self {
            Self::Kafka => "KafkaUnreachable",
            Self::Redis => "StoreUnreachable",
        }
    }
}

/// What is taken away again and again, and when it was.
struct Outages<'a> {
    shop: &'a Shop,
    away: Away,
    /// For how long at least.
    lasts: Duration,
    times: Mutex<Vec<(Instant, Instant)>>,
}

impl<'a> Outages<'a> {
    fn of(shop: &'a Shop, away: Away, lasts: Duration) -> Self {
        Self { shop, away, lasts, times: Mutex::default() }
    }

    fn scale(&self, replicas: u8) {
        let set = format!("statefulset/{}", self.away.name());
        self.shop.world.cluster.kubectl(&["-n", "data", "scale", &set, &format!("--replicas={replicas}")]).unwrap();
        let pod = format!("pod/{}-0", self.away.name());
        let until: [&str; 4] = match replicas {
            0 => ["wait", &pod, "--for=delete", "--timeout=120s"],
            _ => ["rollout", "status", &set, "--timeout=180s"],
        };
        self.shop.world.cluster.kubectl(&[&["-n", "data"][..], &until].concat()).unwrap();
    }

    /// Takes it away in a phase, with events on their way; does something once the view says so; and brings it back.
    async fn strike(&self, phase: &str, meanwhile: impl AsyncFnOnce()) {
        let Self { shop, away, lasts, .. } = *self;
        shop.feed(&[]);
        let [before, ..] = shop.roles();
        let begun = Instant::now();
        self.scale(0);
        let gone = Instant::now();
        self.told(phase).await;
        meanwhile().await;
        // Its length is what an outage is about.
        tokio::time::sleep(lasts.saturating_sub(gone.elapsed())).await;
        let told = self.words();
        assert!(told.contains(away.reason()), "it said so until the end: {told}");
        self.scale(1);
        wait_for("reads after the outage", Duration::from_mins(1), || async {
            shop.readers.read().map_err(|problem| problem.to_string())
        })
        .await
        .unwrap();
        self.times.lock().unwrap().push((begun, Instant::now()));
        wait_for("the trouble to be over", Duration::from_mins(2), || async {
            let told = self.words();
            if told.contains(away.reason()) { Err(told) } else { Ok(()) }
        })
        .await
        .unwrap();
        println!(
            "{phase}, {away:?} away for {:?}, {before} was live; and then: {}",
            gone.elapsed(),
            shop.seen().trim()
        );
    }

    /// What conditions say.
    fn words(&self) -> String {
        let shop = self.shop;
        ["Ready", "Reconciling"]
            .map(|kind| format!("{}: {}", shop.condition(kind, "reason"), shop.condition(kind, "message")))
            .join("; ")
    }

    /// Waits until the view says what it waits for, to who gets it as to who reads conditions.
    async fn told(&self, phase: &str) {
        let Self { shop, away, .. } = *self;
        let what = format!("the view to say that {away:?} is away");
        let told = wait_for(&what, Duration::from_mins(1), || async {
            let (seen, reconciling) = (shop.seen(), shop.condition("Reconciling", "status"));
            let message = shop.condition("Reconciling", "message");
            let says = seen.contains(away.reason())
                && reconciling == "True"
                && shop.condition("Reconciling", "reason") == away.reason()
                && message.contains(away.name());
            if says { Ok(message) } else { Err(format!("{}; Reconciling={reconciling} {}", seen.trim(), self.words())) }
        });
        let message = told.await.unwrap();
        println!("{phase}: {}\n  {message}", shop.seen().trim());
    }

    /// No read was wrong, and none failed but for the want of Redis.
    fn assert_right(&self, seen: &Seen) {
        println!("{seen}");
        let times = self.times.lock().unwrap();
        let excused = |(when, problem): &&(Instant, Problem)| {
            let within = times.iter().any(|(from, to)| (*from..=*to).contains(when));
            self.away == Away::Redis && matches!(problem, Problem::Failed(_)) && within
        };
        let (excused, other): (Vec<_>, Vec<_>) = seen.problems.iter().partition(excused);
        let first: Vec<String> = other.iter().take(5).map(|(_, problem)| problem.to_string()).collect();
        assert!(first.is_empty(), "{} reads: {first:?}", other.len());
        assert_eq!(excused.is_empty(), self.away == Away::Kafka, "a server without its Redis has nothing to say");
    }
}

/// The whole story of a rollout, and the way back and forth, with an outage in each of its phases.
async fn in_every_phase(name: &str, away: Away, lasts: Duration) {
    let shop = Shop::open(name).await;
    let [v1, ..] = shop.roles();
    let outages = Outages::of(&shop, away, lasts);
    let story = async {
        // Caught up for longer than an outage takes to be noticed as lag, so that none ends catch-up.
        let held = "catchUp: {stableForSeconds: 45}, scaleDownDelaySeconds: 3600, autoPromotionEnabled: false, \
                    replay: {maxRecordsPerSecond: 200}";
        let v2 = shop.roll(1, held).await;
        shop.replayed(10).await;
        outages.strike("Replaying", async || ()).await;
        assert_eq!(shop.roles(), [&v1, &v2, ""].map(str::to_owned));
        shop.phase("CatchingUp").await;
        outages.strike("CatchingUp", async || ()).await;
        assert_eq!(shop.roles(), [&v1, &v2, ""].map(str::to_owned));
        shop.patch(r#"{"catchUp":{"stableForSeconds":3}}"#);
        shop.phase("Comparing").await;
        outages.strike("Comparing", async || ()).await;
        shop.phase("AwaitingPromotion").await;
        // A person's word in the outage: it counts, but nothing takes over before all is well.
        let promote = async || {
            if away == Away::Kafka {
                shop.phase("CatchingUp").await;
            }
            shop.annotate("promote", &v2);
        };
        outages.strike("AwaitingPromotion", promote).await;
        shop.stands("Soaking", &v2, &v1).await;
        outages.strike("Soaking", async || ()).await;
        shop.stands("Soaking", &v2, &v1).await;
        // The way back needs no Kafka.
        let back = async || {
            shop.patch(&format!(r#"{{"servingRevision":"{v1}"}}"#));
            if away == Away::Kafka {
                wait_for("reads of the revision before", Duration::from_secs(20), || async {
                    let read = shop.readers.read().map_err(|problem| problem.to_string())?;
                    if read == v1 { Ok(()) } else { Err(read) }
                })
                .await
                .unwrap();
            }
        };
        outages.strike("RollingBack", back).await;
        shop.stands("RolledBack", &v1, &v2).await;
        outages.strike("RolledBack", async || ()).await;
        shop.patch(r#"{"servingRevision":null}"#);
        shop.stands("Soaking", &v2, &v1).await;
        shop.patch(r#"{"scaleDownDelaySeconds":0}"#);
        shop.stands("Live", &v2, "").await;
        shop.gone(&v1).await;
    };
    let ((), seen) = shop.readers.during(READERS, story).await;
    outages.assert_right(&seen);
    shop.whole().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a quarter of an hour: make soak"]
async fn kafka_is_away_for_a_minute_in_every_phase_of_a_rollout() {
    in_every_phase("phases-kafka", Away::Kafka, Duration::from_mins(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a quarter of an hour: make soak"]
async fn redis_is_away_for_a_minute_in_every_phase_of_a_rollout() {
    in_every_phase("phases-redis", Away::Redis, Duration::from_mins(1)).await;
}

/// The short form: one outage of Redis in catch-up, as long as it takes to be noticed.
#[tokio::test(flavor = "multi_thread")]
async fn redis_is_away_in_a_replay() {
    let shop = Shop::open("phases-away").await;
    let [v1, ..] = shop.roles();
    let outages = Outages::of(&shop, Away::Redis, Duration::ZERO);
    let story = async {
        let v2 = shop.roll(1, &format!("{QUICK}, replay: {{maxRecordsPerSecond: 500}}")).await;
        shop.replayed(10).await;
        outages.strike("Replaying", async || ()).await;
        shop.stands("Soaking", &v2, &v1).await;
    };
    let ((), seen) = shop.readers.during(READERS, story).await;
    outages.assert_right(&seen);
    shop.whole().await;
}

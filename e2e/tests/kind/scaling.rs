//! Scaling by lag on real pods: a flooded topic is read by more workers, which go when one suffices again; and, in the long form,
//! twenty minutes of load that rises and falls, in which workers come and go with it and not more often.
//!
//! A worker has a twentieth of a core, so that several of them read more than one on any machine, and less than a test can write.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::world::{SHOPPER_VIEW, World};

const PARTITIONS: i32 = 4;
/// How often it is looked at, and written to.
const STEP: Duration = Duration::from_secs(1);
/// How long anything may take.
const PATIENCE: Duration = Duration::from_mins(10);

/// A view whose topic is written to.
struct Flooded {
    world: World,
    uid: String,
    /// How many records were sent.
    sent: u64,
    /// When what was read was last looked at, and how much it was.
    looked: (Instant, i64),
    /// Records read a second, over the last steps.
    rate: f64,
    begun: Instant,
    /// How many workers were wanted: since when, in seconds from the beginning, and how many.
    wanted: Vec<(u64, i32)>,
}

impl Flooded {
    async fn new(name: &str, scaling: &str) -> Self {
        let world = World::new(name, PARTITIONS).await;
        let slow = "  worker: {resources: {requests: {cpu: 25m}, limits: {cpu: 50m, memory: 512Mi}}}\n";
        world.apply(&format!("{}{slow}  scaling: {scaling}\n", world.shopper()));
        for object in ["architecture/realtime", SHOPPER_VIEW] {
            world.ready(object);
        }
        let uid = world.uid("shopper");
        let (looked, begun) = ((Instant::now(), 0), Instant::now());
        Self { world, uid, sent: 0, looked, rate: 0.0, begun, wanted: vec![(0, 1)] }
    }

    fn send(&mut self, records: u64) {
        let now = Timestamp::now().as_millisecond();
        for _ in 0..records {
            self.sent += 1;
            let user = self.sent % 997;
            let payload = format!(
                r#"{{"user_id":"user-{user}","session_id":"s{}","event":"product_view","ts":{now}}}"#,
                user / 3
            );
            self.world.feed.send(format!("user-{user}").as_bytes(), payload.as_bytes(), now, None).unwrap();
        }
        self.world.feed.flush().unwrap();
    }

    /// Waits a step; answers how many records wait.
    #[allow(clippy::cast_precision_loss)]
    async fn step(&mut self) -> u64 {
        tokio::time::sleep(STEP).await;
        let read = self.world.read(&self.uid).unwrap();
        let (at, before) = std::mem::replace(&mut self.looked, (Instant::now(), read));
        let rate = (read - before) as f64 / at.elapsed().as_secs_f64();
        self.rate += (rate - self.rate) / 8.0;
        let wanted = self.number("scaling.desiredReplicas");
        if self.wanted.last().is_some_and(|(_, last)| *last != wanted && wanted > 0) {
            self.wanted.push((self.begun.elapsed().as_secs(), wanted));
            println!("{:?}: {wanted} workers are wanted; {:.0} records/s are read", self.begun.elapsed(), self.rate);
        }
        self.sent.saturating_sub(read.unsigned_abs())
    }

    fn number(&self, path: &str) -> i32 {
        self.world.status(SHOPPER_VIEW, path).parse().unwrap_or(0)
    }

    /// Goes on until it is so; `waiting` seconds' worth of what is read waits all the time.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    async fn until(&mut self, what: &str, waiting: f64, is: impl Fn(&Self, u64) -> bool) {
        let start = Instant::now();
        loop {
            let waits = self.step().await;
            if is(self, waits) {
                println!("{:?}: {what}; {waits} records wait, {:.0}/s are read", self.begun.elapsed(), self.rate);
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{what}: {waits} wait: {}", self.world.status(SHOPPER_VIEW, "scaling"));
            if waiting > 0.0 {
                let wanted = ((self.rate * waiting) as u64).max(20_000);
                // Not more at once than is sent in a step.
                self.send(wanted.saturating_sub(waits).min(50_000));
            }
        }
    }

    /// How often it turned from more to fewer workers, or back.
    fn turns(&self) -> usize {
        let up: Vec<bool> = self.wanted.windows(2).map(|pair| pair[1].1 > pair[0].1).collect();
        up.windows(2).filter(|pair| pair[0] != pair[1]).count()
    }
}

#[ignore = "workers share a node's two cores with all else: make soak NAME=scaling"]
#[tokio::test(flavor = "multi_thread")]
async fn a_flooded_topic_is_read_by_more_workers_and_by_one_again_after_the_cooldown() {
    let scaling = "{mode: Lag, maxReplicas: 3, targetProcessingSeconds: 10, scaleUpCooldownSeconds: 30, \
                   scaleDownCooldownSeconds: 60}";
    let mut it = Flooded::new("scaling", scaling).await;
    let revision = it.world.status(SHOPPER_VIEW, "activeRevision");
    assert_eq!(it.number("readyReplicas"), 1);
    // Half a minute's worth waits all the time, three times as much as the target lets.
    it.until("three workers are ready", 30.0, |it, _| it.number("readyReplicas") == 3).await;
    let more = it.world.kubectl(&["get", "events", "-o", "jsonpath={.items[*].reason}"]).unwrap();
    assert!(more.contains("ScaledUp"), "{more}");
    it.until("all is read", 0.0, |_, waits| waits == 0).await;
    assert_eq!(it.number("scaling.desiredReplicas"), 3, "not before the cooldown is over");
    it.until("one worker is left", 0.0, |it, _| it.number("replicas") == 1 && it.number("readyReplicas") == 1).await;
    assert_eq!(it.wanted.last().map(|(_, wanted)| *wanted), Some(1), "{:?}", it.wanted);
    assert_eq!(it.turns(), 1, "{:?}", it.wanted);
    assert_eq!(it.world.status(SHOPPER_VIEW, "activeRevision"), revision);
    // Every event counts, however often partitions were handed over.
    it.world.settled(&it.uid).await.unwrap();
    let sent = i64::try_from(it.sent).unwrap();
    let ends: i64 = it.world.feed.end_offsets().unwrap().iter().sum();
    assert_eq!((it.world.read(&it.uid).unwrap(), ends), (sent, sent));
}

#[ignore = "twenty minutes; make soak NAME=scaling"]
#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
async fn a_load_that_rises_and_falls_for_twenty_minutes_is_followed_and_no_more() {
    let scaling = "{mode: Lag, maxReplicas: 4, targetProcessingSeconds: 30, scaleUpCooldownSeconds: 45, \
                   scaleDownCooldownSeconds: 120}";
    let mut it = Flooded::new("scaling-soak", scaling).await;
    // What one worker manages, before there is a second one.
    it.until("what a worker manages is known", 30.0, |it, _| {
        !it.world.status(SHOPPER_VIEW, "scaling.capacity.recordsPerSecond").is_empty()
    })
    .await;
    let each = f64::from(it.number("scaling.capacity.recordsPerSecond"));
    it.until("one worker is left", 0.0, |it, waits| waits == 0 && it.number("replicas") == 1).await;
    (it.begun, it.wanted) = (Instant::now(), vec![(0, 1)]);
    println!("a worker manages {each} records/s; seconds, load, wanted, ready, waiting:");
    // Four times five minutes; within each the load sways by a fifth, faster than anybody is to follow.
    let parts = [0.4, 1.8, 0.4, 1.8];
    let part = Duration::from_mins(5);
    let mut fed = Instant::now();
    while it.begun.elapsed() < part * 4 {
        let at = it.begun.elapsed().as_secs_f64();
        let which = (at / part.as_secs_f64()) as usize;
        let load = each * parts[which.min(3)] * (1.0 + 0.2 * (at / 20.0 * std::f64::consts::TAU).sin());
        // A step takes as long as it takes; the load is what is due since the one before.
        let due = std::mem::replace(&mut fed, Instant::now()).elapsed();
        it.send((load * due.as_secs_f64()) as u64);
        let waits = it.step().await;
        if (at as u64).is_multiple_of(15) {
            let (wanted, ready) = (it.number("scaling.desiredReplicas"), it.number("readyReplicas"));
            println!("{at:.0} {load:.0} {wanted} {ready} {waits}");
        }
    }
    println!("{:?}", it.wanted);
    assert!(it.wanted.iter().any(|(_, wanted)| *wanted > 1), "the load was never followed: {:?}", it.wanted);
    assert!(it.turns() < parts.len(), "more often than the load turned: {:?}", it.wanted);
    for pair in it.wanted.windows(2).filter(|pair| pair[1].1 < pair[0].1) {
        assert!(pair[1].0 - pair[0].0 >= 118, "fewer before the cooldown was over: {:?}", it.wanted);
    }
    it.until("all is read", 0.0, |_, waits| waits == 0).await;
}

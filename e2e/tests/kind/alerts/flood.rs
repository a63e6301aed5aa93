//! Somebody who writes more than a worker reads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::feed;
use crate::world::World;

/// Somebody who writes so much that what waits always takes the worker so many seconds, at the rate at which it reads: faster than
/// any worker while that is more than what waits, and not at all while it is less.
///
/// An event waits for as long as there was work before it when it was written, so a change shows only once all of that is read.
pub struct Flood {
    /// How long what waits is to take the worker.
    pub seconds: Arc<AtomicU64>,
    /// By when it was looked at: how old the newest event is that was read, in the partition where it is oldest, in milliseconds.
    ages_ms: Arc<Mutex<Vec<(Instant, u64)>>>,
    over: Over,
    task: JoinHandle<u64>,
}

/// Ends what looks at it, also when a test fails: the process waits for it.
struct Over(Arc<AtomicBool>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Flood {
    /// How often it looks.
    const STEP: Duration = Duration::from_millis(500);
    /// The most that it writes in a step, and in all: some hundred megabytes.
    const AT_ONCE: u64 = 50_000;
    const MOST: u64 = 8_000_000;

    pub fn start(world: &Arc<World>, uid: &str, seconds: u64) -> Self {
        let (seconds, ages_ms) = (Arc::new(AtomicU64::new(seconds)), Arc::<Mutex<Vec<_>>>::default());
        let over = Arc::new(AtomicBool::new(false));
        let (world, uid) = (world.clone(), uid.to_owned());
        let (wanted, ages, stop) = (seconds.clone(), ages_ms.clone(), over.clone());
        let clock = Handle::current();
        let task = tokio::task::spawn_blocking(move || {
            // A guess until it is known; then what was read a second, from the beginning: it is told of seldom, and much at once.
            let (mut rate, mut fed) = (2_000.0, 0);
            let (begun, before) = (Instant::now(), world.read(&uid).unwrap());
            while !stop.load(Ordering::Acquire) {
                let (ends, markers) = (world.feed.end_offsets().unwrap(), world.markers(&uid).unwrap());
                let now = jiff::Timestamp::now().as_millisecond();
                let read: i64 = markers.iter().flatten().map(|marker| marker.offset).sum();
                let late = markers.iter().flatten().zip(&ends).filter(|(marker, end)| marker.offset < **end);
                let oldest = late.map(|(marker, _)| now - marker.event_time).max().unwrap_or(0);
                ages.lock().unwrap().push((Instant::now(), oldest.max(0).unsigned_abs()));
                #[allow(clippy::cast_precision_loss)]
                if read > before {
                    rate = (read - before) as f64 / begun.elapsed().as_secs_f64();
                }
                #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                let full = (rate.max(100.0) * wanted.load(Ordering::Acquire) as f64) as u64;
                let waits = (ends.iter().sum::<i64>() - read).unsigned_abs();
                // Else the topic dries up, and the test waits for what cannot come.
                assert!(fed < Self::MOST, "the worker reads {rate:.0} records/s: {fed} were not enough");
                let more = full.saturating_sub(waits).min(Self::AT_ONCE).min(Self::MOST - fed);
                if more > 0 {
                    feed(&world, 7_000 + fed, more);
                    fed += more;
                }
                // The worker reads meanwhile; nothing tells of it but the markers.
                clock.block_on(tokio::time::sleep(Self::STEP));
            }
            println!("the worker reads {rate:.0} records/s");
            fed
        });
        Self { seconds, ages_ms, over: Over(over), task }
    }

    /// Since when this is true of how many seconds old all that was read was, without ceasing.
    pub fn since(&self, is_true: impl Fn(u64) -> bool) -> Option<Instant> {
        let ages = self.ages_ms.lock().unwrap();
        ages.iter().rev().take_while(|(_, age_ms)| is_true(age_ms / 1000)).last().map(|(at, _)| *at)
    }

    /// How it was of late, in seconds.
    pub fn ages(&self) -> String {
        let ages = self.ages_ms.lock().unwrap();
        let some: Vec<u64> = ages.iter().rev().step_by(20).take(12).map(|(_, age_ms)| age_ms / 1000).collect();
        format!("late by {some:?} s, newest first")
    }

    /// Ends it; how many records it wrote.
    pub async fn stop(self) -> u64 {
        drop(self.over);
        self.task.await.unwrap()
    }
}

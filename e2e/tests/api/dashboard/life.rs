//! What goes on while the dashboard is looked at: events come in, more and fewer, some of them late or bad, and features are read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use e2e::online::Client as Online;
use e2e::services::{Kafka, Message};
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::given::Given;
use crate::fixtures::VIEW;

pub fn message(payload: String) -> Message {
    Message { payload: Some(payload.into_bytes()), ..Message::default() }
}

/// A click of so many milliseconds ago.
pub fn click(ago: i64) -> Message {
    let at = jiff::Timestamp::now().as_millisecond() - ago;
    message(
        json!({"user_id": format!("u{}", ago % 5), "event_type": "click", "price": 1.5, "event_ts": at}).to_string(),
    )
}

/// Goes on until it is told to stop.
pub async fn live(kafka: Arc<Kafka>, server: String, mut given: Given, stop: CancellationToken) {
    let online = Online::new(&format!("http://{server}"));
    let began = Instant::now();
    // It is events a second that are to be seen: this is their beat, and waits for nothing.
    let mut beat = interval(Duration::from_millis(250));
    beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
    for n in 0_i64.. {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = beat.tick() => {}
        }
        let seconds = began.elapsed().as_secs();
        given.at(i64::try_from(seconds).unwrap());
        // Up for fifteen seconds, down for fifteen.
        let swell = i64::try_from(15 - (seconds % 30).abs_diff(15)).unwrap();
        let late = (n % 6 == 0).then(|| click(12_000));
        let bad = (n % 4 == 0).then(|| message("{".to_owned()));
        kafka.produce("clickstream", (0..40 + 12 * swell).map(click).chain(late).chain(bad)).await.unwrap();
        let reads = 2 + swell / 3;
        let online = online.clone();
        let read = move || {
            for i in 0..reads {
                let users = [format!("u{}", i % 5), "nobody".to_owned()];
                online.get(VIEW, &["clicks_1h".to_owned(), "velocity".to_owned()], "user_id", &users, None).unwrap();
            }
        };
        tokio::task::spawn_blocking(read).await.unwrap();
    }
}

//! Every known trap of lag, on real brokers and a real store, as the operator's own sweep sees it: topics expire, stand idle, are
//! made anew; workers die, or stand at one record. Markers are written as a worker would. What transactions leave in a topic is in
//! `stream/transactions.rs`, with a real worker.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use e2e::services::{Redis, until};
use engine::row::{Marker, marker_key};
use k8s_openapi::jiff::Timestamp;
use operator::lag::figures::Figures;
use operator::lag::measure::Measured;
use operator::lag::{Follow, Lags, Standing, sweep};
use prometheus_client::registry::Registry;
use shell::redis::Connector;
use shell::store::{Fence, MarkerWrite, RedisStore, RowStore as _};

use crate::ends::{Asked, subject};

const LIMIT: Duration = Duration::from_secs(30);
const SECOND: i64 = 1000;
const DAY: i64 = 24 * 3600 * SECOND;

/// How far the operator's clock is ahead of the machine's: a minute passes in no time.
static AHEAD_MS: AtomicI64 = AtomicI64::new(0);

fn now() -> Timestamp {
    Timestamp::from_millisecond(now_ms()).unwrap()
}

fn now_ms() -> i64 {
    Timestamp::now().as_millisecond() + AHEAD_MS.load(Ordering::Acquire)
}

/// Views that are named like their topics, and are swept.
struct Views {
    asked: Asked,
    store: RedisStore,
    lags: Lags,
    figures: Figures,
    partitions: BTreeMap<String, i32>,
    _redis: Redis,
}

impl Views {
    /// Topics with so many partitions each.
    async fn of(topics: &[(&str, i32)]) -> Self {
        let (asked, redis) = (Asked::new().await, Redis::start().await.unwrap());
        let connector = Connector::with_settings(&redis.url(), BTreeMap::new()).unwrap();
        let store = RedisStore::connect(&connector).await.unwrap();
        let (lags, address) = (Lags::default(), asked.beside(&redis));
        for (topic, partitions) in topics {
            asked.kafka.create_topic(topic, *partitions).await.unwrap();
            lags.follow(topic, Follow::Yes(Box::new(subject(topic, topic, &address))), None);
        }
        let figures = Figures::register(&mut Registry::default());
        let partitions = topics.iter().map(|(topic, partitions)| ((*topic).to_owned(), *partitions)).collect();
        Self { asked, store, lags, figures, partitions, _redis: redis }
    }

    /// A view has read a partition up to `offset`; its newest event, and when it last was at the end, were so long ago.
    async fn read(&self, view: &str, partition: i32, offset: i64, event_ago: i64, at_end_ago: i64) {
        let (event_time, read_to_end_at) = (now_ms() - event_ago, now_ms() - at_end_ago);
        let marker = Marker { offset, event_time, end_offset: offset, read_to_end_at };
        let write = MarkerWrite { partition, base: None, marker };
        let key = marker_key(view, "a", 0, 0);
        let fence = Fence { uid: view, version: 0 };
        self.store.write_marker(&key, self.partitions[view], fence, write).await.unwrap();
    }

    /// One sweep, by view.
    async fn sweep(&self) -> BTreeMap<String, Measured> {
        let swept = sweep::once(&self.asked.edges, &self.lags, &self.figures, now, |_, _| true).await;
        let known = swept.into_iter().filter_map(|swept| match swept.standing {
            Standing::Known(judged) => Some((swept.subject.name.clone(), judged.measured)),
            _ => None,
        });
        known.collect()
    }

    /// Sweeps until this is so of a view.
    async fn until(&self, view: &str, is: impl Fn(&Measured) -> bool) {
        until(view, LIMIT, async || {
            let all = self.sweep().await;
            match all.get(view) {
                Some(measured) if is(measured) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await
        .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_trap_of_lag_is_fallen_into() {
    shell::redis::install_crypto();
    let topics = [("unread", 1), ("expired", 1), ("idle", 1), ("dead", 1), ("poisoned", 2), ("anew", 1)];
    let views = Views::of(&topics).await;
    for (topic, partitions) in topics {
        for partition in 0..partitions {
            views.asked.put(topic, partition, 10).await;
        }
    }
    // Nothing was read yet, and some of it is gone already: all that is still there is lag, and no more.
    views.asked.expire("unread", 0, 4).await;
    // It was read up to where nothing is any more: what is left is lag, but nobody can go on there.
    views.asked.expire("expired", 0, 5).await;
    views.read("expired", 0, 2, 60 * SECOND, 60 * SECOND).await;
    // All was read, days ago, and nobody has worked at it since.
    views.read("idle", 0, 10, 3 * DAY, 2 * DAY).await;
    // Half was read, by somebody who was at the end ten seconds ago.
    views.read("dead", 0, 5, 20 * SECOND, 10 * SECOND).await;
    // One of two partitions is read.
    views.read("poisoned", 0, 5, SECOND, SECOND).await;
    views.read("poisoned", 1, 5, SECOND, SECOND).await;
    views.read("anew", 0, 10, SECOND, SECOND).await;

    views.until("anew", |measured| measured.records == 0).await;
    let all = views.sweep().await;
    assert_eq!((all["unread"].records, all["unread"].first_reading), (6, true));
    assert_eq!((all["unread"].broken.len(), all["unread"].stopped), (0, false), "it has only just begun");
    assert_eq!((all["expired"].records, all["expired"].broken.as_slice()), (5, &[0][..]));
    assert!((60..90).contains(&all["expired"].seconds), "{:?}", all["expired"]);
    assert_eq!((all["idle"].records, all["idle"].seconds, all["idle"].stopped), (0, 0, false));
    assert_eq!((all["dead"].records, all["dead"].stopped), (5, false), "it may be starting anew");
    let before = all["dead"].seconds;
    assert!((10..40).contains(&before), "{before}");

    // A minute later, in which partition 1 of one view was read on, more was written, and a topic was made anew, smaller.
    AHEAD_MS.store(61 * SECOND, Ordering::Release);
    views.read("poisoned", 1, 8, SECOND, SECOND).await;
    views.asked.put("dead", 0, 7).await;
    views.asked.delete("anew").await;
    until("it is made anew", LIMIT, async || {
        views.asked.kafka.create_topic("anew", 1).await.map_err(|error| error.to_string())
    })
    .await
    .unwrap();
    views.asked.put("anew", 0, 3).await;
    views.until("anew", |measured| measured.records == 3 && measured.broken == [0]).await;
    let all = views.sweep().await;
    assert_eq!((all["idle"].records, all["idle"].seconds, all["idle"].stopped), (0, 0, false), "a silence is no lag");
    assert_eq!((all["dead"].records, all["dead"].stopped), (12, true), "markers that stand hide no lag");
    assert!(all["dead"].seconds >= before + 60, "{:?} after {before}", all["dead"]);
    assert_eq!(all["dead"].stalled, [0; 0], "no partition is read, so none is to blame");
    assert_eq!((all["poisoned"].records, all["poisoned"].stalled.as_slice()), (7, &[0][..]));
    assert!(!all["poisoned"].stopped);
    assert!(all["unread"].stopped && all["unread"].seconds >= 60, "{:?}", all["unread"]);
}

//! How fast the decoder is, beside `serde_json` reading the same four fields into a struct and from there into columns.
//!
//! `cargo bench -p engine --bench decode` prints events a second of each, and their ratio.
#![allow(clippy::unwrap_used, clippy::cast_precision_loss, missing_docs)]

use std::borrow::Cow;
use std::hint::black_box;
use std::time::{Duration, Instant};

use arrow::array::{Float64Builder, Int64Builder, StringBuilder};
use engine::event::Decoder;
use engine::plan::Plan;
use serde::Deserialize;
use serde_json::json;

const NOW: i64 = 1_700_000_000_000;
const EVENTS: i64 = 100_000;
const BATCH: usize = 4_096;

/// Four of the seven fields are declared.
fn plan() -> Plan {
    serde_json::from_value(json!({
        "semantics": 1,
        "view": {"uid": "u", "namespace": "n", "name": "v"},
        "revision": "0123456789",
        "mode": "Kappa",
        "source": {
            "timestamp": {"field": "event_ts", "unit": "Milliseconds"},
            "columns": [
                {"name": "user_id", "type": "String"}, {"name": "event_type", "type": "String"},
                {"name": "price", "type": "Double"},
            ],
        },
        "entity": ["user_id"],
        "time": {"allowedLatenessMs": 0, "maxFutureMs": 60_000, "retentionMs": 86_400_000, "finestTileMs": 1_000},
        "conditions": [], "inputs": [], "aggregates": [], "features": [],
    }))
    .unwrap()
}

/// Events of about 150 bytes.
fn events() -> Vec<String> {
    let event = |n: i64| {
        format!(
            r#"{{"event_ts":{},"user_id":"user-{:06}","event_type":"{}","product_id":{},"price":{}.{:02},"session":"{:016x}","agent":"Mozilla/5.0 (X11)"}}"#,
            NOW - n % 1_000,
            n * 7_919 % 500_000,
            ["view", "cart", "purchase"][usize::try_from(n % 3).unwrap()],
            n * 104_729 % 1_000_000,
            n % 900,
            n % 100,
            n.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64.cast_signed()),
        )
    };
    (0..EVENTS).map(event).collect()
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "event_ts")]
    time: i64,
    #[serde(borrow, rename = "user_id")]
    user: Cow<'a, str>,
    #[serde(borrow, rename = "event_type")]
    kind: Option<Cow<'a, str>>,
    price: Option<f64>,
}

fn ours(decoder: &mut Decoder, events: &[String]) -> usize {
    let mut rows = 0;
    for batch in events.chunks(BATCH) {
        for event in batch {
            decoder.push(Some(black_box(event.as_bytes())), NOW).unwrap();
        }
        rows += black_box(decoder.take()).len();
    }
    rows
}

fn theirs(events: &[String]) -> usize {
    let mut rows = 0;
    for batch in events.chunks(BATCH) {
        let mut times = Int64Builder::with_capacity(BATCH);
        let mut users = StringBuilder::with_capacity(BATCH, BATCH * 16);
        let mut kinds = StringBuilder::with_capacity(BATCH, BATCH * 16);
        let mut prices = Float64Builder::with_capacity(BATCH);
        for event in batch {
            let event: Event<'_> = serde_json::from_slice(black_box(event.as_bytes())).unwrap();
            times.append_value(event.time);
            users.append_value(event.user);
            kinds.append_option(event.kind);
            prices.append_option(event.price);
        }
        rows += black_box((times.finish(), users.finish(), kinds.finish(), prices.finish())).0.len();
    }
    rows
}

/// Events a second: the best of several rounds, as everything else on the machine can only slow one down.
fn best(mut round: impl FnMut() -> usize) -> f64 {
    let deadline = Instant::now() + Duration::from_secs(3);
    let mut best = 0_f64;
    while Instant::now() < deadline {
        let start = Instant::now();
        let rows = round();
        best = best.max(rows as f64 / start.elapsed().as_secs_f64());
    }
    best
}

fn main() {
    let events = events();
    let bytes = events.iter().map(String::len).sum::<usize>() as f64 / events.len() as f64;
    let mut decoder = Decoder::new(&plan());
    let (ours, theirs) = (best(|| ours(&mut decoder, &events)), best(|| theirs(&events)));
    println!("decode   {:.2} M events/s of {bytes:.0} B, {:.0} MB/s", ours / 1e6, ours * bytes / 1e6);
    println!("serde    {:.2} M events/s", theirs / 1e6);
    println!("ratio    {:.2}", ours / theirs);
}

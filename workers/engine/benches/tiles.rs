//! How fast lanes take events and answer reads, and how large they are: 6 aggregates over 4 windows, 24 features, over
//! entities that are drawn as popular ones are (Zipf).
//!
//! `cargo bench -p engine --bench tiles` prints events a second of inserting (with the look-up of the lane by its name),
//! lanes a second of encoding, decoding and reading, and bytes by lane.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    missing_docs
)]

use std::collections::HashMap;
use std::hint::black_box;
use std::time::Instant;

use engine::aggregate::ValueRef;
use engine::lane::{Events, Lane, Layout};
use engine::plan::Plan;
use engine::read::Reader;
use engine::time::{build_ladder, default_hop};
use serde_json::json;

const EVENTS: usize = 2_000_000;
const ENTITIES: usize = 100_000;
const HOUR: i64 = 3_600_000;
const WINDOWS: [i64; 4] = [HOUR, 24 * HOUR, 7 * 24 * HOUR, 30 * 24 * HOUR];

fn plan() -> Plan {
    let time =
        json!({"allowedLatenessMs": 4 * HOUR, "maxFutureMs": 300_000, "retentionMs": null, "finestTileMs": 60_000});
    let windows: Vec<_> = WINDOWS
        .map(|length_ms| engine::plan::Window::Sliding { length_ms, hop_ms: default_hop(length_ms).unwrap() })
        .to_vec();
    let ladder = build_ladder(&windows, &serde_json::from_value(time.clone()).unwrap(), None);
    let aggregate = |name: &str, input: Option<usize>, condition: Option<usize>| json!({"function": {"name": name}, "input": input, "condition": condition, "ladder": ladder});
    let features: Vec<_> = (0..6)
        .flat_map(|a| windows.iter().map(move |w| (a, w)))
        .map(|(a, window)| {
            let of = ["Int64", "Int64", "Double", "Double", "Int64", "String"][a];
            json!({"name": format!("f{a}"), "type": of, "source": {"kind": "Window", "aggregate": a, "window": window}})
        })
        .collect();
    serde_json::from_value(json!({
        "semantics": 1,
        "view": {"uid": "u", "namespace": "n", "name": "v"},
        "revision": "0123456789",
        "mode": "Kappa",
        "source": {"timestamp": {"field": "ts", "unit": "Milliseconds"}, "columns": []},
        "entity": ["user"],
        "time": time,
        "conditions": ["purchase"],
        "inputs": [{"sql": "price", "type": "Double"}, {"sql": "session", "type": "String"}, {"sql": "kind", "type": "String"}],
        "aggregates": [
            aggregate("Count", None, None), aggregate("Count", None, Some(0)), aggregate("Sum", Some(0), None),
            aggregate("Avg", Some(0), None), aggregate("CountDistinct", Some(1), None), aggregate("Last", Some(2), None),
        ],
        "features": features,
    }))
    .unwrap()
}

struct Batch {
    times: Vec<i64>,
    entities: Vec<String>,
    prices: Vec<f64>,
    sessions: Vec<String>,
    kinds: Vec<&'static str>,
}

impl Events for Batch {
    fn time(&self, row: usize) -> i64 {
        self.times[row]
    }

    fn condition(&self, _: usize, row: usize) -> bool {
        self.kinds[row] == "purchase"
    }

    fn value(&self, input: usize, row: usize) -> Option<ValueRef<'_>> {
        Some(match input {
            0 => ValueRef::Double(self.prices[row]),
            1 => ValueRef::String(&self.sessions[row]),
            _ => ValueRef::String(self.kinds[row]),
        })
    }
}

/// Events over thirty days, in order of time.
fn batch() -> Batch {
    let mut state = 1_u64;
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let mut batch = Batch { times: vec![], entities: vec![], prices: vec![], sessions: vec![], kinds: vec![] };
    for n in 0..EVENTS {
        let time = 1_700_000_000_000 + (30 * 24 * HOUR) * n as i64 / EVENTS as i64;
        // The inverse of Zipf's distribution function with exponent one, continuous.
        let entity = (ENTITIES as f64).powf(uniform()) as usize;
        batch.times.push(time);
        batch.entities.push(format!("user-{entity}"));
        batch.prices.push((uniform() * 10_000.0).floor() / 100.0);
        batch.sessions.push(format!("{entity}-{}", time / (6 * HOUR)));
        batch.kinds.push(["view", "view", "view", "cart", "purchase"][(uniform() * 5.0) as usize]);
    }
    batch
}

fn rate(what: &str, count: usize, work: impl FnOnce()) {
    let start = Instant::now();
    work();
    println!("{what:<24}{:>12.0} /s", count as f64 / start.elapsed().as_secs_f64());
}

fn main() {
    let layout = Layout::new(&plan()).unwrap();
    let batch = batch();
    let mut lanes: HashMap<&str, Lane> = HashMap::new();
    rate("events inserted", EVENTS, || {
        for row in 0..EVENTS {
            lanes.entry(batch.entities[row].as_str()).or_default().insert(&layout, &batch, row);
        }
    });
    let mut stored = Vec::with_capacity(lanes.len());
    rate("lanes encoded", lanes.len(), || {
        stored.extend(lanes.values_mut().map(|lane| lane.encode(&layout).segments));
    });
    let mut decoded = Vec::with_capacity(stored.len());
    rate("lanes decoded", stored.len(), || {
        for segments in &stored {
            let segments: Vec<(u8, &[u8])> = segments.iter().map(|(n, bytes)| (*n, bytes.as_slice())).collect();
            decoded.push(Lane::decode(&layout, &segments).unwrap());
        }
    });
    let all: Vec<usize> = (0..24).collect();
    let now = *batch.times.last().unwrap();
    rate("lanes read, 24 features", decoded.len(), || {
        for lane in &decoded {
            black_box(Reader::new(&layout).read(std::slice::from_ref(lane), now, &all));
        }
    });
    let mut sizes: Vec<usize> = stored.iter().map(|s| s.iter().map(|(_, bytes)| bytes.len()).sum()).collect();
    sizes.sort_unstable();
    let at = |q: f64| sizes[((sizes.len() - 1) as f64 * q) as usize];
    println!(
        "{} lanes, bytes: median {}, p90 {}, p99 {}, largest {}",
        sizes.len(),
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0)
    );
    let memory: usize = lanes.values().map(Lane::memory).sum();
    println!("in memory: {} bytes a lane", memory / lanes.len());
}

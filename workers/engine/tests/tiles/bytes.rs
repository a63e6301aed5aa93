//! The bytes of lanes: golden ones, damaged ones, and large ones.

use std::fmt::Write;
use std::path::PathBuf;

use engine::lane::{Encoded, Lane, LaneError, Layout};
use engine::plan::{Function, Plan, Window};
use engine::read::Reader;
use engine::value::Value;
use proptest::prelude::*;

use crate::events::{D, Event, H, M, S, events};
use crate::oracle;
use crate::orders::{Stored, flush, lane_of, load, run, whole};
use crate::plans::{Spec, any_plan, plan, sliding, tumbling};

/// A sequence that is the same for ever.
struct Sequence(u64);

impl Sequence {
    fn below(&mut self, bound: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as i64) % bound
    }
}

fn sequence(seed: u64, count: usize, distinct: i64) -> Vec<Event> {
    let mut next = Sequence(seed);
    (0..count)
        .map(|_| Event {
            time: 19_000 * D + next.below(40 * D),
            conditions: vec![next.below(3) > 0, next.below(9) == 0],
            values: vec![
                Some(Value::Boolean(next.below(2) == 0)),
                Some(Value::Int64(next.below(1_000) - 300)),
                (next.below(5) > 0).then(|| Value::Double(next.below(100_000) as f64 / 100.0)),
                Some(Value::Decimal(next.below(1_000_000).into())),
                Some(Value::String(format!("value-{}", next.below(distinct)))),
                Some(Value::Timestamp(next.below(D))),
            ],
        })
        .collect()
}

fn every_function() -> Vec<(Function, Option<usize>)> {
    vec![
        (Function::Count, None),
        (Function::Count, Some(2)),
        (Function::Sum, Some(1)),
        (Function::Sum, Some(2)),
        (Function::Avg, Some(2)),
        (Function::Min, Some(3)),
        (Function::Max, Some(2)),
        (Function::StdDev, Some(2)),
        (Function::Variance, Some(1)),
        (Function::CountDistinct, Some(4)),
        (Function::Percentile { q: 0.9 }, Some(2)),
        (Function::First, Some(0)),
        (Function::Last, Some(4)),
        (Function::LastK { k: 3 }, Some(5)),
        (Function::TopK { k: 2 }, Some(4)),
        (Function::MinTimestamp, None),
        (Function::MaxTimestamp, None),
    ]
}

fn full_plan(windows: &[Window]) -> Plan {
    let specs: Vec<Spec> = (every_function().into_iter().enumerate())
        .map(|(i, (function, input))| Spec {
            function,
            input,
            condition: [None, Some(0), Some(1)][i % 3],
            windows: windows.to_vec(),
        })
        .collect();
    plan(&specs, 4 * H, 5 * M)
}

/// Lanes of an earlier build must be read by this one, and this one must write the same: if the test fails, the format
/// has changed, and `encode::FORMAT` must rise with it. `BLESS=1` writes the file anew.
#[test]
fn golden_bytes() {
    let windows = [sliding(H, None), sliding(30 * D, None), tumbling(D), Window::Lifetime];
    let layout = Layout::new(&full_plan(&windows)).unwrap();
    let mut lane = lane_of(&layout, &sequence(1, 60, 9));
    lane.set_offset(0x0102_0304_0506_0708);
    let stored = whole(&layout, &lane);
    let mut text = String::new();
    for (number, bytes) in &stored {
        write!(text, "{number} ").unwrap();
        for byte in bytes {
            write!(text, "{byte:02x}").unwrap();
        }
        text.push('\n');
    }
    let path = golden("format-2.hex");
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap());
    assert_eq!(stored[&0][9..17], 0x0102_0304_0506_0708_i64.to_be_bytes());
    assert_eq!(whole(&layout, &load(&layout, &stored)), stored);
    // What was written before is the same lane, and is written anew as it is now.
    let before: Stored = (std::fs::read_to_string(golden("format-1.hex")).unwrap().lines())
        .map(|line| {
            let (number, hex) = line.split_once(' ').unwrap();
            let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
            (number.parse().unwrap(), (0..hex.len()).step_by(2).map(byte).collect())
        })
        .collect();
    assert_eq!(before[&0][0], 1);
    assert_eq!(whole(&layout, &load(&layout, &before)), stored);
}

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/tiles/golden").join(name)
}

/// A lane with sketches and long texts: many segments.
fn heavy() -> (Plan, Layout, Vec<Event>) {
    let windows = [sliding(D, None), sliding(30 * D, None), Window::Lifetime];
    let plan = full_plan(&windows);
    let layout = Layout::new(&plan).unwrap();
    (plan, layout, sequence(7, 6_000, 3_000))
}

#[test]
fn a_heavy_lane_is_segmented_and_a_flush_writes_what_changed() {
    let (plan, layout, mut events) = heavy();
    events.sort_by_key(|e| e.time);
    let (mut stored, mut lane) = (Stored::new(), Lane::new());
    let mut rewritten = Vec::new();
    for some in events.chunks(50) {
        for row in 0..some.len() {
            lane.insert(&layout, &crate::events::Batch(some), row);
        }
        let encoded = lane.clone().encode(&layout);
        rewritten.push(encoded.segments.len());
        flush(&layout, &mut lane, &mut stored);
        assert_eq!(stored, whole(&layout, &lane));
    }
    assert!(stored.len() > 10, "{} segments", stored.len());
    rewritten.sort_unstable();
    assert!(rewritten[rewritten.len() / 2] <= 4, "the median flush writes {} segments", rewritten[rewritten.len() / 2]);
    let Encoded { segments, removed } = lane.encode(&layout);
    assert_eq!((segments.len(), removed.len()), (1, 0), "an idle flush writes the head alone");
    // Out of order, through restarts, it comes to the same, and the values are right: sets beyond 256, large sketches.
    events.reverse();
    let acts: Vec<u8> = (0..events.len()).map(|i| if i % 611 == 0 { 2 } else { 0 }).collect();
    let (other, other_lane) = run(&layout, &events, &acts);
    assert_eq!(other, stored);
    let newest = lane.newest().unwrap();
    let all: Vec<usize> = (0..plan.features.len()).collect();
    for (f, read) in Reader::new(&layout).read(&[other_lane], newest, &all).iter().enumerate() {
        oracle::check(&plan, f, &events, newest, read.value.as_ref());
    }
    assert!(lane.memory() > 100_000);
}

#[test]
fn a_missing_or_foreign_segment_is_an_error() {
    let (_, layout, events) = heavy();
    let lane = lane_of(&layout, &events);
    let stored = whole(&layout, &lane);
    let older = whole(&layout, &lane_of(&layout, &events[..4_000]));
    let decode = |stored: &Stored| {
        let segments: Vec<(u8, &[u8])> = stored.iter().map(|(n, b)| (*n, b.as_slice())).collect();
        Lane::decode(&layout, &segments).map(|_| ())
    };
    assert_eq!(decode(&stored), Ok(()));
    let number = *stored.keys().nth(3).unwrap();
    let mut torn = stored.clone();
    torn.insert(number, older[&number].clone());
    assert_eq!(decode(&torn), Err(LaneError::Torn(number)));
    torn.remove(&number);
    assert_eq!(decode(&torn), Err(LaneError::Missing(number)));
    assert_eq!(decode(&Stored::new()), Err(LaneError::Missing(0)));
    // What the head does not name is no part of the lane.
    let mut more = stored.clone();
    more.insert(254, vec![9]);
    assert_eq!(decode(&more), Ok(()));
    let mut format = stored.clone();
    format.get_mut(&0).unwrap()[0] = 3;
    assert!(matches!(decode(&format), Err(LaneError::Format { segment: 0, found: 3, .. })));
    let mut layout_id = stored;
    layout_id.get_mut(&0).unwrap()[3] ^= 1;
    assert!(matches!(decode(&layout_id), Err(LaneError::Layout { .. })));
}

#[test]
fn format_1_with_a_number_beside_no_count_is_an_error() {
    let spec = |function| Spec { function, input: Some(1), condition: None, windows: vec![sliding(H, None)] };
    let layout = Layout::new(&plan(&[spec(Function::Count), spec(Function::Min)], 0, 5 * M)).unwrap();
    let mut values = vec![None; 6];
    values[1] = Some(Value::Int64(5));
    let event = Event { time: 1_000 * H, conditions: vec![true, true], values };
    let mut bytes = whole(&layout, &lane_of(&layout, &[event])).remove(&0).unwrap();
    let at = bytes.len() - 3;
    assert_eq!(bytes[at..], [2, 0, 10], "a count of one in all tiles, and its minimum");
    bytes[0] = 1;
    bytes.splice(at.., [2, 0, 2, 10]);
    assert!(Lane::decode(&layout, &[(0, &bytes)]).is_ok());
    bytes.splice(at.., [1, 2, 10]);
    assert!(matches!(Lane::decode(&layout, &[(0, &bytes)]), Err(LaneError::Malformed { .. })));
}

/// Whatever decodes upholds the invariants that other code relies on.
fn survives(plan: &Plan, layout: &Layout, head: &[u8]) {
    if let Ok(mut lane) = Lane::decode(layout, &[(0, head)]) {
        let stored = whole(layout, &lane);
        assert_eq!(whole(layout, &load(layout, &stored)), stored);
        let newest = lane.newest().unwrap_or(0);
        let all: Vec<usize> = (0..plan.features.len()).collect();
        let _ = Reader::new(layout).read(&[lane.clone()], newest, &all);
        let event = sequence(3, 1, 3).pop().unwrap();
        lane.insert(layout, &crate::events::Batch(&[event]), 0);
        let _ = lane.encode(layout);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn damaged_bytes_are_an_error_or_a_sound_lane(
        plan in any_plan(6),
        events in events(40),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
        format in 1_u8..3,
    ) {
        let layout = Layout::new(&plan).unwrap();
        let mut bytes = whole(&layout, &lane_of(&layout, &events)).remove(&0).unwrap();
        bytes[0] = format;
        for (at, byte) in damage {
            // The layout's own bytes are checked elsewhere; damage to them would hide all else.
            let at = 17 + at.index(bytes.len() - 17);
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        survives(&plan, &layout, &bytes);
    }

    #[test]
    fn random_bytes_are_an_error_or_a_sound_lane(plan in any_plan(4), rest in prop::collection::vec(any::<u8>(), 0..200), format in 1_u8..3) {
        let layout = Layout::new(&plan).unwrap();
        let mut bytes = whole(&layout, &Lane::new()).remove(&0).unwrap();
        bytes.truncate(17);
        bytes[0] = format;
        bytes.extend(rest);
        survives(&plan, &layout, &bytes);
    }
}

#[test]
fn a_small_entity_is_small() {
    let windows = [H, D, 7 * D, 30 * D].map(|w| sliding(w, None)).to_vec();
    let spec = |function, input, condition| Spec { function, input, condition, windows: windows.clone() };
    let plan = plan(
        &[
            spec(Function::Count, None, None),
            spec(Function::Count, None, Some(1)),
            spec(Function::Sum, Some(2), None),
            spec(Function::Avg, Some(2), None),
            spec(Function::CountDistinct, Some(4), None),
            spec(Function::Last, Some(4), None),
        ],
        4 * H,
        5 * M,
    );
    let layout = Layout::new(&plan).unwrap();
    let events: Vec<Event> = sequence(5, 50, 5).into_iter().map(|e| Event { time: e.time / S * S, ..e }).collect();
    let bytes: usize = whole(&layout, &lane_of(&layout, &events)).values().map(Vec::len).sum();
    println!("{bytes} bytes for 24 features over 50 events");
    assert!(bytes <= 1_024, "{bytes} bytes for 24 features over 50 events");
}

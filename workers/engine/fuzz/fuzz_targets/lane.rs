//! Whatever bytes a store holds, decoding them is an error or a sound lane: one that reads, grows and is written again.
#![no_main]

use std::sync::OnceLock;

use engine::aggregate::ValueRef;
use engine::lane::{Events, Lane, Layout};
use engine::plan::Plan;
use engine::read::Reader;
use libfuzzer_sys::fuzz_target;

/// Every function over a sliding window, and all time.
fn layout() -> &'static Layout {
    static LAYOUT: OnceLock<Layout> = OnceLock::new();
    LAYOUT.get_or_init(|| {
        let plan: Plan = serde_json::from_str(include_str!("lane.plan.json")).expect("the plan parses");
        Layout::new(&plan).expect("the plan lays out")
    })
}

struct One(i64);

impl Events for One {
    fn time(&self, _: usize) -> i64 {
        self.0
    }

    fn condition(&self, _: usize, _: usize) -> bool {
        true
    }

    fn value(&self, _: usize, _: usize) -> Option<ValueRef<'_>> {
        Some(ValueRef::Double(0.1))
    }
}

fuzz_target!(|data: &[u8]| {
    let layout = layout();
    // The head's fixed part is given, so that the fuzzer need not guess the layout's hash.
    let mut head = Lane::new().encode(layout).segments.remove(0).1;
    head.truncate(17);
    let (body, other) = data.split_at(data.len() * 3 / 4);
    head.extend_from_slice(body);
    if let Ok(mut lane) = Lane::decode(layout, &[(0, &head), (1, other)]) {
        lane.forget_written();
        let once = lane.encode(layout);
        let segments: Vec<(u8, &[u8])> = once.segments.iter().map(|(n, bytes)| (*n, bytes.as_slice())).collect();
        let mut again = Lane::decode(layout, &segments).expect("what was encoded decodes");
        again.forget_written();
        assert_eq!(again.encode(layout), once);
        let newest = lane.newest().unwrap_or(0);
        let _ = Reader::new(layout).read(&[lane.clone()], newest, &[0, 1, 2, 3, 4, 5, 6, 7]);
        lane.insert(layout, &One(newest.saturating_add(3_600_000)), 0);
        let _ = lane.encode(layout);
    }
});

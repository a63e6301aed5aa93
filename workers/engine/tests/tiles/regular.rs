//! Entities whose events come at round times, as those of devices and schedules do: their tiles start where coarser ones do.

use engine::lane::{Lane, LaneError, Layout};
use engine::plan::Function;

use crate::events::{Batch, D, Event, H, M};
use crate::orders::{Stored, flush, whole};
use crate::plans::{Spec, plan, sliding};
use engine::value::Value;

fn event(time: i64, n: i64) -> Event {
    Event {
        time,
        conditions: vec![true, true],
        values: vec![
            None,
            Some(Value::Int64(n)),
            Some(Value::Double(n as f64 / 7.0)),
            None,
            Some(Value::String(format!("reading-{n:040}"))),
            None,
        ],
    }
}

/// A tile that grows into the next rung without moving its start must be written with the segment it stands in.
#[test]
fn what_is_stored_of_an_entity_with_an_event_every_hour_reads_back_at_any_time() {
    let windows = [sliding(H, None), sliding(D, None), sliding(7 * D, None), sliding(30 * D, None)].to_vec();
    let spec = |function, input| Spec { function, input: Some(input), condition: None, windows: windows.clone() };
    let specs = [spec(Function::Last, 4), spec(Function::LastK { k: 5 }, 4), spec(Function::Avg, 2)];
    let layout = Layout::new(&plan(&specs, 4 * H, 5 * M)).unwrap();
    let (mut stored, mut lane) = (Stored::new(), Lane::new());
    let (mut bad, mut differ) = (Vec::<(i64, LaneError)>::new(), 0);
    for hour in 0..40 * 24 {
        lane.insert(&layout, &Batch(&[event(19_000 * D + hour * H, hour)]), 0);
        lane.set_offset(hour + 1);
        flush(&layout, &mut lane, &mut stored);
        let segments: Vec<(u8, &[u8])> = stored.iter().map(|(n, b)| (*n, b.as_slice())).collect();
        if let Err(error) = Lane::decode(&layout, &segments) {
            bad.push((hour, error));
        }
        differ += usize::from(whole(&layout, &lane) != stored);
    }
    assert!(
        bad.is_empty() && differ == 0,
        "after {} of 960 flushes the stored lane does not decode (first: {:?}); {differ} differ from the whole lane",
        bad.len(),
        bad.first()
    );
}

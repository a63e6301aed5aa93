//! What is folded again is what the row says it holds, no more and no less.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::erase::{Covers, Tombstones};
use engine::lane::{Lane, Layout};
use engine::read::Reader;
use engine::row::{Marker, lane_field, parse_lane_field};
use engine::value::Value;
use serve::store::Fields;
use shell::store::Erased;

use super::refold::{Refold, Row};
use crate::fixtures::plan;

const T: i64 = 1_767_225_600_000;

fn marker(partition: i32, offset: i64) -> (Vec<u8>, Vec<u8>) {
    let marker = Marker { offset, event_time: T, end_offset: offset, read_to_end_at: T };
    (partition.to_string().into_bytes(), marker.encode().into_bytes())
}

/// A row whose lane of a partition says that it holds everything below an offset.
fn row(partition: i32, offset: i64) -> Fields {
    let plan = plan("Kappa");
    let layout = Layout::new(&plan).unwrap();
    let mut lane = Lane::new();
    lane.set_offset(offset);
    let segments = lane.encode(&layout).segments;
    segments.into_iter().map(|(segment, bytes)| (lane_field(partition, segment).into_bytes(), bytes)).collect()
}

fn payload(user: &str) -> Vec<u8> {
    serde_json::json!({"user": user, "amount": 1, "at": T - 1}).to_string().into_bytes()
}

/// How many events of each entity were folded, of ten of each in partition 0.
fn counts(rows: &[(&str, Fields)], markers: &Fields, erased: Erased) -> BTreeMap<String, i64> {
    let plan = plan("Kappa");
    let sampled = rows.iter().map(|(entity, fields)| Row { entity, fields, markers });
    let mut refold = Refold::new(&plan, sampled, Arc::new(erased)).unwrap();
    for offset in 0..30 {
        let user = ["a", "b", "c"][usize::try_from(offset).unwrap() % 3];
        let bytes = payload(user);
        refold.push(0, offset, Some(&bytes), T).unwrap();
        refold.push(1, offset, Some(b"no event"), T).unwrap();
    }
    refold.fold(0).unwrap();
    refold.fold(1).unwrap();
    let layout = Layout::new(&plan).unwrap();
    let of = |fields: Fields| {
        let mut lanes: BTreeMap<i32, Vec<(u8, Vec<u8>)>> = BTreeMap::new();
        for (field, bytes) in fields {
            if let Some((partition, segment)) = parse_lane_field(std::str::from_utf8(&field).unwrap()) {
                lanes.entry(partition).or_default().push((segment, bytes));
            }
        }
        let lanes: Vec<Lane> = lanes
            .into_values()
            .map(|segments| {
                let segments: Vec<(u8, &[u8])> = segments.iter().map(|(n, bytes)| (*n, bytes.as_slice())).collect();
                Lane::decode(&layout, &segments).unwrap()
            })
            .collect();
        match Reader::new(&layout).read(&lanes, T, &[0])[0].value {
            Some(Value::Int64(n)) => n,
            _ => 0,
        }
    };
    rows.iter().map(|(entity, _)| (*entity).to_owned()).zip(refold.rows().into_iter().map(of)).collect()
}

fn nobody() -> Erased {
    Erased { version: 0, tombstones: Tombstones::default() }
}

fn expect<const N: usize>(pairs: [(&str, i64); N]) -> BTreeMap<String, i64> {
    pairs.into_iter().map(|(entity, count)| (entity.to_owned(), count)).collect()
}

#[test]
fn a_row_holds_what_is_below_the_marker_and_below_its_own_lane() {
    // `a` has events 0, 3, 6, …: those below the marker at 12 are four. The lane of `b` was flushed later, and holds 13 too.
    let rows = [("a", Vec::new()), ("b", row(0, 14))];
    assert_eq!(counts(&rows, &vec![marker(0, 12)], nobody()), expect([("a", 4), ("b", 5)]));
    // Of a partition without a marker, what the lane says; nothing without both.
    let rows = [("a", Vec::new()), ("b", row(0, 14))];
    assert_eq!(counts(&rows, &vec![marker(1, 12)], nobody()), expect([("a", 0), ("b", 5)]));
}

#[test]
fn who_was_erased_has_no_past() {
    let mut tombstones = Tombstones::default();
    tombstones.add("a", &Covers { offsets: [(0, 10)].into(), before_ms: T });
    let erased = Erased { version: 1, tombstones };
    let rows = [("a", Vec::new()), ("b", Vec::new())];
    // Of 0, 3, …, 27 those from 10 on.
    assert_eq!(counts(&rows, &vec![marker(0, 30)], erased), expect([("a", 6), ("b", 10)]));
}

#[test]
fn what_a_row_holds_beside_its_stream_lanes_stays() {
    let mut fields = row(0, 5);
    fields.push((b"b1".to_vec(), b"a generation".to_vec()));
    let markers = vec![marker(0, 5)];
    let sampled = [Row { entity: "a", fields: &fields, markers: &markers }];
    let refold = Refold::new(&plan("Kappa"), sampled.into_iter(), Arc::new(nobody())).unwrap();
    assert_eq!(refold.rows(), [vec![(b"b1".to_vec(), b"a generation".to_vec())]]);
}

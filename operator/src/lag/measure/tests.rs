//! Every trap that is known of lag, each by itself.

use super::*;

/// When tests begin, in milliseconds.
const T0: i64 = 1_700_000_000_000;
const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
/// How far events may be ahead of their time.
const AHEAD: i64 = 5 * MINUTE;

fn marker(offset: i64, event_time: i64, read_to_end_at: i64) -> Marker {
    Marker { offset, event_time, end_offset: offset, read_to_end_at }
}

fn markers<const N: usize>(all: [(i32, Marker); N]) -> Markers {
    Markers { partitions: i32::try_from(N).ok(), by_partition: all.into(), ..Markers::default() }
}

fn bounds<const N: usize>(all: [(i32, i64, i64); N]) -> BTreeMap<i32, Bounds> {
    all.into_iter().map(|(partition, start, end)| (partition, Bounds { start, end, past: false })).collect()
}

/// A view that is looked at now and then.
#[derive(Default)]
struct Watched(Seen);

impl Watched {
    fn look<const N: usize, const M: usize>(
        &mut self,
        now: i64,
        of: [(i32, Marker); N],
        ends: [(i32, i64, i64); M],
    ) -> Measured {
        let (measured, seen) = measure(&markers(of), &bounds(ends), now, AHEAD, &self.0);
        self.0 = seen;
        measured
    }
}

#[test]
fn of_what_nobody_read_yet_all_that_is_still_there_is_lag_and_what_expired_is_not() {
    let mut view = Watched::default();
    // A fresh revision of a topic of which the first thousand records are gone.
    let measured = view.look(T0, [], [(0, 1000, 1300), (1, 0, 50)]);
    assert_eq!((measured.records, measured.first_reading), (350, true));
    assert_eq!(measured.seconds, 0, "nothing is known of how old they are");
    assert_eq!((measured.broken, measured.stopped), (vec![], false));
    // Since then they have waited for as long as they were watched.
    assert_eq!(view.look(T0 + 30 * SECOND, [], [(0, 1000, 1300), (1, 0, 50)]).seconds, 30);
}

#[test]
fn an_empty_topic_has_no_lag_and_nobody_reads_it_for_the_first_time() {
    let measured = Watched::default().look(T0, [], [(0, 0, 0), (1, 7, 7)]);
    assert_eq!(measured, Measured::default());
}

#[test]
fn a_first_reading_is_as_far_behind_as_its_newest_event_is_old() {
    let mut view = Watched::default();
    let year = 365 * 24 * 60 * MINUTE;
    let measured = view.look(T0, [(0, marker(10, T0 - year, 0))], [(0, 0, 1000)]);
    assert_eq!((measured.records, measured.seconds, measured.first_reading), (990, year / 1000, true));
}

#[test]
fn records_that_expired_before_they_were_read_break_a_partition_and_are_no_lag() {
    let mut view = Watched::default();
    let measured = view.look(T0, [(0, marker(40, T0 - MINUTE, T0 - MINUTE))], [(0, 100, 150)]);
    assert_eq!((measured.records, measured.broken, measured.seconds), (50, vec![0], 60));
}

#[test]
fn an_idle_topic_has_no_lag_however_old_its_last_event_is() {
    let mut view = Watched::default();
    let day = 24 * 60 * MINUTE;
    // Also if nobody works at it any more.
    for minutes in [0, 1, 60] {
        let now = T0 + minutes * MINUTE;
        let measured = view.look(now, [(0, marker(500, T0 - 3 * day, T0 - 2 * day))], [(0, 0, 500)]);
        assert_eq!(measured, Measured { drained_per_second: measured.drained_per_second, ..Measured::default() });
    }
}

#[test]
fn a_record_that_comes_after_a_long_silence_has_waited_since_it_came() {
    let mut view = Watched::default();
    let old = marker(500, T0 - 100 * MINUTE, T0 - 90 * MINUTE);
    view.look(T0, [(0, old)], [(0, 0, 500)]);
    let measured = view.look(T0 + 15 * SECOND, [(0, old)], [(0, 0, 501)]);
    assert_eq!((measured.records, measured.seconds), (1, 15), "since it was last seen at its end, not for 90 minutes");
}

#[test]
fn of_dead_workers_the_lag_grows_although_the_markers_stand() {
    let mut view = Watched::default();
    let dead = marker(500, T0, T0);
    let mut last = 0;
    for quarter in 1..=8 {
        let now = T0 + quarter * 15 * SECOND;
        let measured = view.look(now, [(0, dead)], [(0, 0, 500 + quarter * 10)]);
        assert!(measured.seconds > last || quarter == 1, "{measured:?} after {last}");
        assert_eq!((measured.records, measured.seconds), (quarter * 10, quarter * 15));
        last = measured.seconds;
        assert_eq!(measured.stopped, quarter > 4, "after {} s", (quarter - 1) * 15);
        assert_eq!(measured.stalled, [0; 0], "no other partition is read either");
    }
}

#[test]
fn late_producers_are_no_lag_of_a_worker_that_reads_all_there_is() {
    let mut view = Watched::default();
    // Events are an hour old when they are written; the worker was at the end two seconds ago.
    let measured = view.look(T0, [(0, marker(500, T0 - 60 * MINUTE, T0 - 2 * SECOND))], [(0, 0, 503)]);
    assert_eq!((measured.records, measured.seconds), (3, 2));
}

#[test]
fn one_event_from_the_future_hides_nothing() {
    let mut view = Watched::default();
    let measured = view.look(T0, [(0, marker(500, T0 - MINUTE, T0 - 3 * MINUTE))], [(0, 0, 503)]);
    assert_eq!(measured.seconds, 180, "the newest event may be ahead of its time by five minutes");
    // But one that is nearer than that, for all that it may be ahead, bounds the lag of who is draining a long one.
    let measured = view.look(T0, [(0, marker(500, T0 - MINUTE, T0 - 60 * MINUTE))], [(0, 0, 503)]);
    assert_eq!(measured.seconds, 360);
}

#[test]
fn a_poisoned_partition_is_told_from_a_pipeline_that_stopped() {
    let mut view = Watched::default();
    let poisoned = marker(100, T0, T0);
    for quarter in 0..=4 {
        let now = T0 + quarter * 15 * SECOND;
        let (read, idle) = (marker(100 + quarter, now, now), marker(5, T0, now));
        let measured = view.look(now, [(0, poisoned), (1, read), (2, idle)], [(0, 0, 200), (1, 0, 105), (2, 0, 5)]);
        let expected = if quarter == 4 { vec![0] } else { vec![] };
        assert_eq!(measured.stalled_seconds, if quarter == 4 { 60 } else { 0 });
        assert_eq!((measured.stalled, measured.stopped), (expected, false), "after {} s", quarter * 15);
    }
}

#[test]
fn what_stands_still_is_never_gone_however_fast_the_rest_falls() {
    let mut view = Watched::default();
    let mut measured = Measured::default();
    for quarter in 0..8 {
        let now = T0 + quarter * 15 * SECOND;
        let read = marker(1000 * quarter, now, 0);
        measured = view.look(now, [(0, marker(0, T0, 0)), (1, read)], [(0, 0, 1_000_000), (1, 0, 10_000)]);
    }
    assert_eq!((measured.stalled, measured.stalled_seconds), (vec![0], 105));
    assert_eq!((measured.drained_per_second, measured.eta_seconds), (Some(67), None));
}

#[test]
fn a_poisoned_partition_among_idle_ones_is_stalled_while_somebody_works_at_those() {
    let mut view = Watched::default();
    let poisoned = marker(100, T0, T0);
    let mut measured = Measured::default();
    for quarter in 0..=4 {
        let now = T0 + quarter * 15 * SECOND;
        measured = view.look(now, [(0, poisoned), (1, marker(5, T0, now))], [(0, 0, 200), (1, 0, 5)]);
    }
    assert_eq!((measured.stalled, measured.stopped), (vec![0], false));
}

#[test]
fn a_partition_that_was_idle_has_time_to_be_read_once_records_come() {
    let mut view = Watched::default();
    for quarter in 0..20 {
        let now = T0 + quarter * 15 * SECOND;
        view.look(now, [(0, marker(5, T0, now)), (1, marker(quarter, now, now))], [(0, 0, 5), (1, 0, 100)]);
    }
    let now = T0 + 20 * 15 * SECOND;
    let measured = view.look(now, [(0, marker(5, T0, now)), (1, marker(20, now, now))], [(0, 0, 6), (1, 0, 100)]);
    assert_eq!(measured.stalled, [0; 0], "it has been at its end for minutes, not stood still for them");
}

#[test]
fn a_position_at_the_last_offset_that_can_be_read_is_no_lag() {
    // The end that is asked for is the last stable one: neither an open transaction nor the marker of one that ended is behind
    // it, and workers pass such markers.
    let measured = Watched::default().look(T0, [(0, marker(8, T0 - MINUTE, T0 - MINUTE))], [(0, 0, 8)]);
    assert_eq!((measured.records, measured.seconds), (0, 0));
}

#[test]
fn a_topic_that_was_made_anew_is_broken_and_what_it_holds_is_lag() {
    let mut view = Watched::default();
    let old = marker(500, T0 - MINUTE, T0 - MINUTE);
    let measured = view.look(T0, [(0, old)], [(0, 0, 20)]);
    assert_eq!((measured.records, measured.broken, measured.seconds), (20, vec![0], 60));
    // Also while it is empty.
    let measured = Watched::default().look(T0, [(0, old)], [(0, 0, 0)]);
    assert_eq!((measured.records, measured.broken), (0, vec![0]));
}

#[test]
fn what_waits_in_a_partition_without_a_leader_is_lag_still_and_no_topic_that_was_made_anew() {
    let last = |end| BTreeMap::from([(0, Bounds { start: 0, end, past: true })]);
    let read = markers([(0, marker(7, T0 - MINUTE, T0 - MINUTE))]);
    let (measured, _) = measure(&read, &last(10), T0, AHEAD, &Seen::default());
    assert_eq!((measured.records, measured.seconds), (3, 60));
    // It was read further than where it ended when somebody could say.
    let (measured, _) = measure(&read, &last(5), T0, AHEAD, &Seen::default());
    assert_eq!((measured.records, measured.broken), (0, vec![]));
    // As many workers may read it as before.
    let markers = Markers { partitions: Some(4), ..read };
    assert_eq!(measure(&markers, &last(10), T0, AHEAD, &Seen::default()).1.moved.partitions, 4);
}

#[test]
fn a_partition_that_the_topic_gains_is_no_first_reading_of_the_view() {
    let mut view = Watched::default();
    view.look(T0, [(0, marker(5, T0, T0))], [(0, 0, 5)]);
    let measured = view.look(T0 + SECOND, [(0, marker(5, T0, T0))], [(0, 0, 5), (1, 0, 3)]);
    assert_eq!((measured.records, measured.first_reading), (3, false));
}

#[test]
fn what_drains_says_when_it_will_be_done_and_what_rises_does_not() {
    let mut view = Watched::default();
    let mut measured = Measured::default();
    for second in 0..30 {
        let now = T0 + second * 15 * SECOND;
        let position = 100 * 15 * second;
        measured = view.look(now, [(0, marker(position, T0, 0))], [(0, 0, 100_000 + 20 * 15 * second)]);
    }
    assert_eq!(measured.drained_per_second, Some(80));
    assert_eq!(measured.eta_seconds, Some((measured.records + 79) / 80));
    for second in 30..90 {
        let now = T0 + second * 15 * SECOND;
        let position = 100 * 15 * 29;
        measured = view.look(now, [(0, marker(position, T0, 0))], [(0, 0, 100_000 + 20 * 15 * second)]);
    }
    assert_eq!((measured.drained_per_second, measured.eta_seconds), (Some(-20), None));
}

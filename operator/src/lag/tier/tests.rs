//! When a tier is raised, and when it goes.
#![allow(clippy::unwrap_used)]

use super::*;

const T0: i64 = 1_700_000_000_000;
const SECOND: i64 = 1000;

fn behind(seconds: i64) -> Measured {
    Measured { seconds, records: 1, ..Measured::default() }
}

fn given(tier: i32, lag_seconds: i32, for_seconds: i32) -> AlertTier {
    AlertTier { tier, lag_seconds, for_seconds }
}

/// A view whose lag is looked at every 15 s.
struct Watched {
    thresholds: Thresholds,
    alarm: Alarm,
    now: i64,
}

impl Watched {
    fn new(tiers: &[AlertTier]) -> Self {
        Self { thresholds: Thresholds::of(tiers, &[]), alarm: Alarm::default(), now: T0 }
    }

    fn is(&mut self, measured: &Measured) -> Option<i32> {
        self.now += 15 * SECOND;
        self.alarm = decide(measured, &self.thresholds, false, self.now, &self.alarm);
        self.alarm.tier().map(Tier::number)
    }

    fn at(&mut self, seconds: i64) -> Option<i32> {
        self.is(&behind(seconds))
    }

    fn after<const N: usize>(&mut self, lags: [i64; N]) -> Option<i32> {
        lags.into_iter().map(|lag| self.at(lag)).last().flatten()
    }
}

#[test]
fn the_views_tiers_go_before_the_architectures_and_those_before_the_built_in_ones() {
    let thresholds = Thresholds::of(&[given(2, 30, 0)], &[given(2, 40, 10), given(3, 20, 5)]);
    let of = |tier| {
        let Threshold { lag_seconds, for_seconds } = thresholds.get(tier);
        (lag_seconds, for_seconds)
    };
    assert_eq!([of(Tier::One), of(Tier::Two), of(Tier::Three)], [(600, 60), (30, 0), (20, 5)]);
}

#[test]
fn a_tier_is_raised_once_it_was_exceeded_for_long_enough_without_a_break() {
    let mut view = Watched::new(&[]);
    assert_eq!(view.after([121, 130, 140, 150]), None, "for 45 s");
    assert_eq!(view.at(160), Some(3), "for 60 s");
    let mut view = Watched::new(&[]);
    assert_eq!(view.after([121, 130, 140, 120, 121, 130, 140, 150]), None, "a break begins anew");
    assert_eq!(view.at(121), Some(3));
    let mut view = Watched::new(&[given(3, 120, 0)]);
    assert_eq!((view.at(120), view.at(121)), (None, Some(3)), "more than the bound, at once");
}

#[test]
fn the_most_urgent_tier_that_is_raised_counts() {
    let mut view = Watched::new(&[]);
    assert_eq!(view.after([700, 700, 700, 700, 700]), Some(1));
    assert_eq!(view.alarm.exceeded().len(), 3);
    // It goes down step by step: well under one bound, and still above the next.
    assert_eq!(view.after([440, 440, 440, 440]), Some(1));
    assert_eq!(view.at(440), Some(2), "after a minute at less than three quarters of 600");
    assert_eq!(view.after([0, 0, 0, 0]), Some(2));
    assert_eq!(view.at(0), None);
}

#[test]
fn what_sways_about_a_bound_is_raised_once() {
    let mut view = Watched::new(&[]);
    view.after([130; 5]);
    let mut changes = 0;
    let mut last = Some(3);
    for round in 0..100 {
        let tier = view.at(if round % 2 == 0 { 100 } else { 130 });
        changes += i32::from(tier != last);
        last = tier;
    }
    assert_eq!((last, changes), (Some(3), 0));
    // Well under it, but not for a minute.
    assert_eq!(view.after([50, 50, 50, 91, 50, 50, 50, 50]), Some(3));
    assert_eq!(view.at(50), None);
}

#[test]
fn what_stopped_or_cannot_be_read_on_is_of_the_first_tier_whatever_its_lag() {
    for measured in [
        Measured { stopped: true, records: 1, ..Measured::default() },
        Measured { broken: vec![3], ..Measured::default() },
        Measured { stopped: true, first_reading: true, seconds: 1_000_000, ..Measured::default() },
    ] {
        let mut view = Watched::new(&[]);
        let tiers: Vec<_> = (0..5).map(|_| view.is(&measured)).collect();
        assert_eq!(tiers, [None, None, None, None, Some(1)], "{measured:?}");
        // It moves again, and has its minute to prove it.
        let tiers: Vec<_> = (0..5).map(|_| view.at(1)).collect();
        assert_eq!(tiers, [Some(1), Some(1), Some(1), Some(1), None]);
    }
}

#[test]
fn a_first_reading_calls_nobody_for_being_far_behind() {
    let mut view = Watched::new(&[]);
    let reading = Measured { first_reading: true, seconds: 31_536_000, records: 1, ..Measured::default() };
    assert!((0..100).all(|_| view.is(&reading).is_none()));
}

#[test]
fn a_first_reading_that_leaves_a_partition_behind_calls_for_that_also_after_a_restart() {
    let mut view = Watched::new(&[]);
    let stands = |view: &mut Watched, stalled_seconds: i64| {
        let stalled = if stalled_seconds < 60 { vec![] } else { vec![3] };
        let stalled_seconds = if stalled.is_empty() { 0 } else { stalled_seconds };
        view.is(&Measured { first_reading: true, seconds: 31_536_000, stalled, stalled_seconds, ..Measured::default() })
    };
    let mut tiers: Vec<_> = (0..60).map(|quarter| stands(&mut view, quarter * 15)).collect();
    tiers.dedup();
    assert_eq!(tiers, [None, Some(3), Some(2), Some(1)]);
    // Another operator sees it stand still from now on, for all that it knows.
    let status = LagStatus { tier: Some(1), exceeded: view.alarm.exceeded(), ..LagStatus::default() };
    view.alarm = Alarm::of(&status);
    let tiers: Vec<_> = (0..60).map(|quarter| stands(&mut view, quarter * 15)).collect();
    assert!(tiers.iter().all(|tier| *tier == Some(1)), "{tiers:?}");
    let tiers: Vec<_> = (0..5).map(|_| stands(&mut view, 0)).collect();
    assert_eq!(tiers.last(), Some(&None), "it is read, and had its minute to prove it");
}

#[test]
fn who_is_suspended_calls_nobody() {
    let mut view = Watched::new(&[]);
    view.after([700; 5]);
    let alarm = decide(&behind(10_000), &view.thresholds, true, view.now, &view.alarm);
    assert_eq!((alarm.tier(), alarm.exceeded()), (None, vec![]));
}

#[test]
fn what_was_not_looked_at_for_long_was_not_exceeded_all_the_while() {
    let mut view = Watched::new(&[]);
    view.after([130, 130]);
    view.now += 300 * SECOND;
    assert_eq!(view.at(130), None, "nobody knows what it was in between");
    view.after([130; 4]);
    view.now += 300 * SECOND;
    assert_eq!(view.at(100), Some(3), "what was raised is raised until it is known to be over");
}

#[test]
fn an_operator_that_is_restarted_goes_on_where_it_was() {
    let mut view = Watched::new(&[]);
    view.after([350; 5]);
    view.after([650, 650]);
    let status = LagStatus { tier: Some(2), exceeded: view.alarm.exceeded(), ..LagStatus::default() };
    let (raised, pending) = (Alarm::of(&status), view.alarm.exceeded.get(&Tier::One).unwrap().since);
    assert_eq!(raised.tier(), Some(Tier::Two));
    assert_eq!(raised.exceeded.get(&Tier::One).unwrap().since, pending);
    view.alarm = raised;
    assert_eq!(view.after([650, 650]), Some(2));
    assert_eq!(view.at(650), Some(1), "its minute began before the restart");
}

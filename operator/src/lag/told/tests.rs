//! What is written, how often, and what it says.
#![allow(clippy::unwrap_used)]

use super::super::measure::Measured;
use super::super::tier::{Alarm, Thresholds, decide};
use super::*;

const T0: i64 = 1_700_000_000_000;
const BESIDE: Beside<'_> = Beside { suspended: false, workers: Some((2, 1)), topic: "clicks" };

/// A view that is measured every 15 s, and whose status is written when it is to say something else.
struct Watched {
    now: i64,
    alarm: Alarm,
    status: Option<LagStatus>,
    writes: usize,
    told: Vec<&'static str>,
}

impl Watched {
    fn new() -> Self {
        Self { now: T0, alarm: Alarm::default(), status: None, writes: 0, told: Vec::new() }
    }

    fn standing(&mut self, measured: Measured) -> Standing {
        self.now += 15_000;
        self.alarm = decide(&measured, &Thresholds::of(&[], &[]), false, self.now, &self.alarm);
        Standing::Known(Box::new(Judged {
            revision: "a".into(),
            at: self.now,
            measured,
            alarm: self.alarm.clone(),
            scaling: None,
        }))
    }

    fn measured(&mut self, measured: Measured) -> (ConditionStatus, &'static str, String) {
        let standing = self.standing(measured);
        let status = status(&standing, self.status.as_ref());
        let verdict = verdict(&standing, status.as_ref(), &BESIDE).unwrap();
        if status != self.status {
            self.writes += 1;
            self.told.extend(happening(self.status.as_ref(), status.as_ref(), &verdict.2).map(|h| h.1));
            self.status = status;
        }
        verdict
    }

    fn at(&mut self, seconds: i64) -> (ConditionStatus, &'static str, String) {
        self.measured(Measured { seconds, records: seconds * 10, ..Measured::default() })
    }
}

#[test]
fn a_view_that_is_on_time_is_written_once() {
    let mut view = Watched::new();
    for round in 0..240 {
        let (status, reason, _) = view.at(round % 14);
        assert_eq!((status, reason), (ConditionStatus::True, "OnTime"));
    }
    assert_eq!((view.writes, view.told.len()), (1, 0));
}

#[test]
fn lag_that_grows_for_a_day_is_written_a_few_times_and_told_once_a_tier() {
    let mut view = Watched::new();
    for round in 0..5760 {
        view.at(round * 15);
    }
    assert_eq!(view.told, ["LagTier3Raised", "LagTier2Raised", "LagTier1Raised"]);
    assert!(view.writes < 30, "{} writes", view.writes);
    for _ in 0..10 {
        view.at(0);
    }
    assert_eq!(view.told[3..], ["LagTierCleared"]);
}

#[test]
fn what_jumps_up_and_down_is_written_once_a_minute_at_most() {
    let mut view = Watched::new();
    for round in 0..400 {
        view.at(if round % 2 == 0 { 0 } else { 90 });
    }
    assert!(view.writes <= 101, "{} writes in 100 minutes", view.writes);
    assert_eq!(view.told.len(), 0);
}

#[test]
fn the_message_says_how_far_where_who_when_and_what_to_do() {
    let mut view = Watched::new();
    let measured = Measured {
        seconds: 700,
        records: 12_000,
        drained_per_second: Some(40),
        eta_seconds: Some(300),
        stalled: (0..12).collect(),
        stalled_seconds: 60,
        broken: vec![3],
        ..Measured::default()
    };
    for _ in 0..5 {
        view.measured(measured.clone());
    }
    let (status, reason, message) = view.measured(measured);
    assert_eq!((status, reason), (ConditionStatus::False, "LagTier1"));
    for part in [
        "11 min behind, 12000 records",
        "partition 3 cannot be read on",
        "partition 0, 1, 2, 3, 4, 5, 6, 7 and 4 more stands still",
        "1 of 2 workers are ready",
        "gone in 5 min",
        "docs/runbooks/FeaturemillLagTier1.md",
    ] {
        assert!(message.contains(part), "{part} in: {message}");
    }
}

#[test]
fn what_is_not_known_is_unknown_and_what_was_raised_stays_so() {
    let mut view = Watched::new();
    let unknown = |why, lag: Option<&LagStatus>| verdict(&Standing::Unknown(why), lag, &BESIDE).unwrap();
    assert_eq!(unknown(Unknown::Soon, None).1, "Pending");
    view.at(1);
    let known = view.status.clone();
    let brokers = unknown(Unknown::Brokers, known.as_ref());
    assert_eq!((brokers.0, brokers.1), (ConditionStatus::Unknown, "KafkaUnreachable"));
    assert_eq!(unknown(Unknown::Soon, known.as_ref()).1, "OnTime", "a restart is no news");
    assert_eq!(status(&Standing::Unknown(Unknown::Store), known.as_ref()), known);
    for _ in 0..6 {
        view.at(700);
    }
    let (_, reason, message) = unknown(Unknown::Brokers, view.status.as_ref());
    assert_eq!(reason, "LagTier1");
    // But nobody takes what was measured for how it is.
    for part in ["11 min behind, 7000 records as measured last, at 2023-11-14T22:", "; the brokers do not say"] {
        assert!(message.contains(part), "{part} in: {message}");
    }
    assert!(!message.contains("records/s"), "{message}");
    assert_eq!(unknown(Unknown::Soon, view.status.as_ref()).1, "LagTier1");
}

#[test]
fn who_was_called_is_told_that_it_turned_or_is_not_gone_when_it_should_be() {
    let lag = |seconds, rate: i64, eta_seconds| Measured {
        seconds,
        records: 60_000,
        drained_per_second: Some(rate),
        eta_seconds,
        ..Measured::default()
    };
    let mut view = Watched::new();
    for _ in 0..5 {
        view.measured(lag(700, -100, None));
    }
    let said = |view: &mut Watched, measured: Measured, what: &str| {
        let mut message = String::new();
        for _ in 0..4 {
            message = view.measured(measured.clone()).2;
        }
        assert!(message.contains(what), "{what} in: {message}");
    };
    said(&mut view, lag(700, -100, None), "it rises by 100 records/s");
    let writes = view.writes;
    said(&mut view, lag(720, 500, Some(120)), "is gone in 2 min");
    // It was not, ten minutes later.
    for _ in 0..40 {
        view.measured(lag(700, 20, Some(3000)));
    }
    said(&mut view, lag(700, 20, Some(3000)), "is gone in 50 min");
    assert!(view.writes - writes <= 4, "{} writes", view.writes - writes);
    // What hardly moves is not written again and again.
    let writes = view.writes;
    for round in 0..400 {
        view.measured(if round % 2 == 0 { lag(700, 1, Some(60_000)) } else { lag(700, -1, None) });
    }
    assert!(view.writes - writes <= 2, "{} writes", view.writes - writes);
}

#[test]
fn suspended_says_so_and_a_view_without_a_topic_has_no_verdict() {
    let mut view = Watched::new();
    let standing = view.standing(Measured { seconds: 900, records: 1, ..Measured::default() });
    let lag = status(&standing, None);
    let beside = Beside { suspended: true, ..BESIDE };
    let (status_, reason, message) = verdict(&standing, lag.as_ref(), &beside).unwrap();
    assert_eq!((status_, reason), (ConditionStatus::False, "Suspended"));
    assert!(message.contains("spec.suspend"), "{message}");
    assert_eq!((verdict(&Standing::None, None, &BESIDE), status(&Standing::None, lag.as_ref())), (None, None));
}

#[test]
fn a_first_reading_says_how_much_is_left() {
    let mut view = Watched::new();
    let reading = Measured {
        first_reading: true,
        seconds: 31_536_000,
        records: 5000,
        eta_seconds: Some(7300),
        ..Measured::default()
    };
    let (status, reason, message) = view.measured(reading);
    assert_eq!((status, reason), (ConditionStatus::False, "CatchingUp"));
    assert!(message.contains("5000 records are left, about 2 h"), "{message}");
    let stalled = Measured { first_reading: true, records: 5000, stalled: vec![3], ..Measured::default() };
    view.now += 60_000;
    let (_, _, message) = view.measured(stalled);
    assert!(message.ends_with("partition 3 stands still while others are read"), "{message}");
}

#[test]
fn another_revisions_lag_is_told_at_once() {
    let mut view = Watched::new();
    view.at(0);
    let mut standing = view.standing(Measured::default());
    if let Standing::Known(judged) = &mut standing {
        judged.revision = "b".into();
    }
    assert_eq!(status(&standing, view.status.as_ref()).unwrap().revision, "b");
}

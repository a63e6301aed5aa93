//! What is seen of a topic, and what people are told.
#![allow(clippy::unwrap_used)]

use crds::condition::ConditionStatus;
use crds::feature_view::Scaling;

use super::decide::Reason;
use super::*;
use crate::lag::measure::Moved;
use crate::lag::{Judged, Standing};

fn moved(at: i64, waiting: i64, consumed: i64, produced: i64) -> Moved {
    Moved { at: 1_000_000 + at * 1000, partitions: 4, waiting, consumed, produced }
}

#[test]
fn a_rate_is_of_one_number_of_workers_and_begins_anew_after_a_break() {
    let mut flow = Flow::default();
    let mut look = |at: i64, ready: i32, waiting: i64| {
        flow = flow.look(moved(at, waiting, 1500, 3000), ready);
        flow.rates()
    };
    assert_eq!((look(0, 2, 9000), look(15, 2, 9000), look(30, 2, 9000)), (None, None, None));
    let rates = look(45, 2, 9000).unwrap();
    assert!((rates.consumed - 100.0).abs() < 1e-9 && (rates.produced - 200.0).abs() < 1e-9, "{rates:?}");
    assert!(rates.busy && !rates.at_rest);
    let rates = look(60, 2, 10).unwrap();
    assert!(!rates.busy && rates.at_rest, "one look at the end is enough to know that they are not busy");
    assert_eq!(look(75, 3, 9000), None, "another worker is ready");
    for at in [90, 105] {
        assert_eq!(look(at, 3, 9000), None);
    }
    assert!(look(120, 3, 9000).is_some());
    assert_eq!(look(300, 3, 9000), None, "nobody looked for three minutes");
}

fn told(memory: &Memory, revision: &str, said: Option<&ScalingStatus>) -> Option<ScalingStatus> {
    let policy = Policy { min: 1, max: 8, target_ms: 60_000, up_cooldown_ms: 0, down_cooldown_ms: 0 };
    let subject = Subject { policy, begins: 3, ready: 3 };
    let judged = Judged {
        revision: revision.to_owned(),
        at: 0,
        measured: Measured::default(),
        alarm: crate::lag::tier::Alarm::default(),
        scaling: Some(memory.clone()),
    };
    told::status(Some(&subject), Some("a"), &Standing::Known(Box::new(judged)), said)
}

#[test]
fn status_is_written_when_something_changed_and_says_all_that_a_restarted_operator_needs() {
    let rates = flow::Rates { consumed: 900.0, produced: 1500.0, waiting: 70_000.0, busy: true, at_rest: false };
    let memory = Memory {
        desired: 4,
        reason: Reason::Ineffective,
        last: Some(decide::Change { from: 2, to: 4, at: 1_700_000_000_000, rates, effective: Some(false) }),
        capacity: Some((450.4, 1_700_000_060_000)),
        ineffective: Some(decide::Ineffective { from: 2, to: 4, consumed: 950.0, at: 1_700_000_060_000 }),
        fewer: None,
    };
    let said = told(&memory, "a", None).unwrap();
    let read = told::memory(&said);
    assert_eq!(told::of(&read, "a"), said, "what is read from it is written again as it is");
    assert_eq!((read.desired, read.reason, read.last.unwrap().effective), (4, Reason::Ineffective, Some(false)));
    // A tenth more than was said is no news; a third is.
    let drifted = Memory { capacity: Some((495.0, 1_700_000_120_000)), ..memory.clone() };
    assert_eq!(told(&drifted, "a", Some(&said)).as_ref(), Some(&said));
    let faster = Memory { capacity: Some((600.0, 1_700_000_120_000)), ..memory.clone() };
    assert_ne!(told(&faster, "a", Some(&said)).as_ref(), Some(&said));
    // What was decided for another revision is not this one's.
    assert_eq!(told(&memory, "b", None).unwrap().desired_replicas, 3);

    let scaling = Scaling { mode: ScalingMode::Lag, max_replicas: Some(8), ..Scaling::default() };
    let (status, reason, message) = told::verdict(Some(&scaling), Some(&said), true);
    assert_eq!((status, reason), (ConditionStatus::True, "ScalingIneffective"));
    assert!(message.starts_with("4 workers read 950 records/s together, hardly more than 2 did"), "{message}");
    let reasons = |before, after| -> Vec<_> {
        told::happenings(before, after, "").into_iter().map(|(warns, reason, _)| (warns, reason)).collect()
    };
    assert_eq!(reasons(None, Some(&said)), [(false, "ScaledUp"), (true, "ScalingIneffective")]);
    assert_eq!(reasons(Some(&said), Some(&said)), []);
}

/// A Deployment of a revision's workers.
fn deployment(revision: &str, replicas: i32) -> Deployment {
    serde_json::from_value(serde_json::json!({
        "metadata": {"name": format!("clicks-stream-{revision}"), "labels": {"featuremill.dev/revision": revision}},
        "spec": {"replicas": replicas, "selector": {}, "template": {}},
    }))
    .unwrap()
}

fn observed(scaling: serde_json::Value, said: Option<i32>) -> Observed {
    let mut observed = crate::feature_view::fixtures::observed("1h", 2, Vec::new());
    observed.view.spec.scaling = serde_json::from_value(scaling).unwrap();
    observed.deployments = vec![deployment("live", 5), deployment("before", 7)];
    let scaling = said.map(|desired_replicas| {
        Box::new(ScalingStatus { revision: "live".into(), desired_replicas, ..ScalingStatus::default() })
    });
    observed.view.status = Some(FeatureViewStatus { scaling, ..FeatureViewStatus::default() });
    observed
}

#[test]
fn the_live_revision_has_what_status_says_and_the_one_before_keeps_what_it_needs() {
    use serde_json::json;
    let by_lag = json!({"mode": "Lag", "minReplicas": 3, "maxReplicas": 6});
    let of = |observed: &Observed, revision: &str, previous| workers(observed, revision, Some("live"), previous);
    let it = observed(by_lag.clone(), Some(4));
    assert_eq!((of(&it, "live", false), of(&it, "new", false)), (4, 4), "a candidate is to manage the same load");
    assert_eq!(of(&it, "before", true), 6, "as many as it has, but for what a person allows");
    // At the beginning, or when status was lost: as many as there are, within the bounds.
    assert_eq!(of(&observed(by_lag.clone(), None), "live", false), 5);
    let mut first = observed(by_lag.clone(), None);
    first.deployments.clear();
    assert_eq!(of(&first, "live", false), 3, "spec.replicas, within the bounds");
    // A topic of two partitions has two workers, whatever the fewest are.
    assert_eq!(of(&observed(by_lag, Some(2)), "live", false), 2);
    // An autoscaler that wants fewer for what is live does not take them from what was.
    let external = observed(json!({"mode": "External"}), None);
    assert_eq!((of(&external, "live", false), of(&external, "before", true)), (2, 7));
    let fixed = observed(json!(null), None);
    assert_eq!((of(&fixed, "live", false), of(&fixed, "before", true)), (2, 2));
}

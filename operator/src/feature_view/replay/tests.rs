#![allow(clippy::unwrap_used)]

use crds::feature_view::Replay as Pace;
use serde_json::json;

use super::super::fixtures::observed;
use super::super::resolve;
use super::*;

const NOW: &str = "2026-03-01T00:00:00Z";
const HOUR: i64 = 3_600_000;

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn plan(mode: &str) -> Plan {
    let mut view = observed("24h", 1, Vec::new()).view;
    // What a mode with batch runs computes from; Kappa has no use for it.
    if mode != "Kappa" {
        view.spec.source.table = Some(serde_json::from_value(json!({"uri": "s3://lake/clicks"})).unwrap());
    }
    (*resolve::plan(&view, mode).unwrap()).clone()
}

fn rollout(policy: StartPolicy) -> Rollout {
    let replay = Pace { max_records_per_second: Some(500), ..Pace::default() };
    Rollout { start_from: StartFrom { policy, timestamp: None }, replay, ..Rollout::default() }
}

/// Partitions by number, from `low`, `end`, `from` and how many hours ago the first record was.
fn topic(keeps_ms: Option<i64>, partitions: &[(i64, i64, i64, Option<i64>)]) -> Topic {
    let held = |&(low, end, from, hours): &(i64, i64, i64, Option<i64>)| Held {
        low,
        end,
        from,
        oldest_ms: hours.map(|hours| now().as_millisecond() - hours * HOUR),
    };
    Topic { partitions: (0..).zip(partitions.iter().map(held)).collect(), keeps_ms }
}

fn parts(order: &ReplayStatus) -> Vec<(i32, i64, i64)> {
    order.parts.iter().map(|part| (part.partition, part.from, part.to)).collect()
}

#[test]
fn the_longest_window_says_from_when_and_the_policy_may_say_otherwise() {
    let plan = plan("Kappa");
    let start = |policy, timestamp: Option<&str>| StartFrom { policy, timestamp: timestamp.map(str::to_owned) };
    let needed = plan.time.retention_ms.unwrap();
    assert!(needed > 24 * HOUR);
    assert_eq!(since(&start(StartPolicy::LongestWindow, None), &plan, now()), Some(now().as_millisecond() - needed));
    assert_eq!(since(&start(StartPolicy::Earliest, None), &plan, now()), None);
    assert_eq!(since(&start(StartPolicy::Latest, None), &plan, now()), None);
    let at = since(&start(StartPolicy::Timestamp, Some("1970-01-01T00:00:01Z")), &plan, now());
    assert_eq!(at, Some(1_000));
}

#[test]
fn a_replay_reads_what_counts_up_to_the_captured_ends() {
    let plan = plan("Kappa");
    let topic = topic(None, &[(0, 90, 0, None), (10, 80, 40, None), (0, 0, 0, None)]);
    let order_of = |policy, at| order(&rollout(policy), &plan, &topic, None, at).unwrap();
    let captured = order_of(StartPolicy::LongestWindow, now());
    assert_eq!(parts(&captured), [(0, 0, 90), (1, 40, 80), (2, 0, 0)]);
    assert_eq!((captured.captured_time.as_str(), captured.max_records_per_second), (NOW, Some(500)));
    assert_eq!(parts(&order_of(StartPolicy::Latest, now())), [(0, 90, 90), (1, 80, 80), (2, 0, 0)]);
    // Another capture is another fence, and the same is the same.
    assert_eq!(captured.fence, order_of(StartPolicy::LongestWindow, now()).fence);
    let later = now().checked_add(SignedDuration::from_secs(1)).unwrap();
    assert_ne!(captured.fence, order_of(StartPolicy::LongestWindow, later).fence);
}

#[test]
fn a_topic_that_holds_too_little_is_refused_with_what_it_holds_and_what_to_do() {
    let plan = plan("Kappa");
    let short = topic(None, &[(0, 90, 0, None), (10, 80, 10, Some(12)), (7, 9, 7, Some(5))]);
    let refusal = order(&rollout(StartPolicy::LongestWindow), &plan, &short, None, now()).unwrap_err();
    assert_eq!((refusal.reason, refusal.stuck), ("RetentionTooShort", true));
    for text in
        ["partition 2 of topic clicks", "2026-02-28T19:00:00Z", "5h00m back", "1 more", "1d01h", "policy: Earliest"]
    {
        assert!(refusal.message.contains(text), "{text}: {}", refusal.message);
    }
    // Who says so takes what there is.
    assert_eq!(parts(&order(&rollout(StartPolicy::Earliest), &plan, &short, None, now()).unwrap())[1], (1, 10, 80));
    // A topic that keeps records for long enough has lost none that counts, however few it has.
    let promised = Topic { keeps_ms: plan.time.retention_ms, ..short.clone() };
    assert!(order(&rollout(StartPolicy::LongestWindow), &plan, &promised, None, now()).is_ok());
    let promised = Topic { keeps_ms: plan.time.retention_ms.map(|ms| ms - 1), ..short.clone() };
    assert!(order(&rollout(StartPolicy::LongestWindow), &plan, &promised, None, now()).is_err());
    // An idle partition of a topic that promises nothing may have lost what counts.
    let idle = topic(None, &[(50, 50, 50, None)]);
    let refusal = order(&rollout(StartPolicy::LongestWindow), &plan, &idle, None, now()).unwrap_err();
    assert!(refusal.message.contains("holds no record by now"), "{}", refusal.message);
}

/// A view that stalled since its topic had lost what it needs was told to lengthen `retention.ms`. That made the topic promise
/// enough at once, and brought nothing back: the candidate was replayed from what was left, nothing said that its windows were
/// too low, and a new feature, which is compared with nothing, was served so.
#[test]
fn a_retention_that_is_lengthened_once_it_is_too_short_brings_nothing_back() {
    let plan = plan("Kappa");
    let short = topic(None, &[(10, 80, 10, Some(12))]);
    let lengthened = Topic { keeps_ms: Some(i64::MAX), ..short };
    let mut view = observed("24h", 1, Vec::new()).view;
    let mut of = |status: serde_json::Value| {
        view.status = serde_json::from_value(status).unwrap();
        order(&rollout(StartPolicy::LongestWindow), &plan, &judged(&view, lengthened.clone()), None, now())
    };
    let stalled = |reason: &str| json!({"conditions": [{"type": "Stalled", "status": "True", "reason": reason, "message": "", "lastTransitionTime": NOW}]});
    assert!(of(json!({})).is_ok() && of(stalled("ComparisonFailed")).is_ok());
    assert_eq!(of(stalled("RetentionTooShort")).unwrap_err().reason, "RetentionTooShort");
    // Once it has kept records for as long, they say so themselves.
    let kept = topic(Some(i64::MAX), &[(10, 80, 11, None)]);
    let judged = judged(&view, kept);
    assert!(order(&rollout(StartPolicy::LongestWindow), &plan, &judged, None, now()).is_ok());
}

#[test]
fn what_is_not_read_is_said_by_the_time_from_which_on_all_is() {
    let (plan, lambda) = (plan("Kappa"), plan("Lambda"));
    let (needed, future) = (plan.time.retention_ms.unwrap(), plan.time.max_future_ms);
    let of = |policy, plan: &Plan, topic: &Topic| {
        let order = order(&rollout(policy), plan, topic, None, now()).unwrap();
        complete_from_ms(&order).map(|ms| now().as_millisecond() - ms)
    };
    let whole = topic(None, &[(0, 90, 0, None), (10, 80, 40, None)]);
    assert!(future > 0 && needed % 1_000 == 0);
    assert_eq!(of(StartPolicy::LongestWindow, &plan, &whole), Some(needed - future));
    // Whoever asks for something else takes what there is.
    for policy in [StartPolicy::Earliest, StartPolicy::Latest] {
        assert_eq!(of(policy, &plan, &whole), None, "{policy:?}");
    }
    // Never sooner than it is: parts of a second count.
    let time = engine::plan::TimePolicy { max_future_ms: 1, ..plan.time.clone() };
    let shifted = Plan { time, ..plan.clone() };
    assert_eq!(of(StartPolicy::LongestWindow, &shifted, &whole), Some(needed - 1_000));
    // A Lambda takes a topic that holds less, and says how much.
    let short = topic(None, &[(0, 90, 0, None), (10, 80, 10, Some(12)), (7, 9, 7, Some(5))]);
    assert_eq!(of(StartPolicy::LongestWindow, &lambda, &short), Some(5 * HOUR - future));
    let idle = topic(None, &[(50, 50, 50, None)]);
    assert_eq!(of(StartPolicy::LongestWindow, &lambda, &idle), Some(-future), "it may have lost them just now");
    let promised = Topic { keeps_ms: Some(20 * HOUR), ..short };
    assert_eq!(of(StartPolicy::LongestWindow, &lambda, &promised), Some(20 * HOUR - future));
}

#[test]
fn what_a_topic_lacks_its_archive_may_have() {
    let (kappa, lambda) = (plan("Kappa"), plan("Lambda"));
    let short = topic(None, &[(0, 90, 0, None), (10, 80, 10, Some(12)), (7, 9, 7, Some(5)), (3, 50, 20, None)]);
    let of = |policy, plan: &Plan, table| order(&rollout(policy), plan, &short, table, now());
    let since = now().as_millisecond() - kappa.time.retention_ms.unwrap();
    for (policy, plan) in [
        (StartPolicy::LongestWindow, &kappa),
        (StartPolicy::OfflineThenStream, &kappa),
        (StartPolicy::OfflineThenStream, &lambda),
    ] {
        let order = of(policy, plan, Some("lake/bronze/clicks")).unwrap();
        let expected = Archive { table: "lake/bronze/clicks".into(), since_ms: Some(since), partitions: vec![1, 2] };
        assert_eq!(archived(&order), Some(expected), "{policy:?}");
        assert_eq!(parts(&order), [(0, 0, 90), (1, 10, 80), (2, 7, 9), (3, 20, 50)]);
        // What is read is complete from the same time on, wherever it is read.
        assert_eq!(complete_from_ms(&order), Some(since + plan.time.max_future_ms));
    }
    // Others take what there is, and so does a Lambda, whose batch runs lay what is older.
    assert_eq!(of(StartPolicy::Earliest, &kappa, Some("table")).unwrap().archive, None);
    assert_eq!(of(StartPolicy::LongestWindow, &lambda, Some("table")).unwrap().archive, None);
    let whole = topic(None, &[(0, 90, 0, None), (10, 80, 40, None)]);
    let order = order(&rollout(StartPolicy::OfflineThenStream), &kappa, &whole, Some("table"), now()).unwrap();
    assert_eq!(order.archive, None, "a topic that holds all needs no archive");
    assert_eq!(of(StartPolicy::LongestWindow, &kappa, None).unwrap_err().reason, "RetentionTooShort");
    let refusal = of(StartPolicy::OfflineThenStream, &kappa, None).unwrap_err();
    assert_eq!((refusal.reason, refusal.stuck), ("NotArchived", true));
    assert!(refusal.message.contains("topic clicks"), "{}", refusal.message);
}

#[test]
fn what_a_progress_says_is_told_when_it_tells_something() {
    use engine::replay::Progress as Said;
    let said = |position, records_per_second, state| Said {
        from: 0,
        to: 100,
        position,
        records_per_second,
        eta_seconds: None,
        said_ms: 0,
        state,
    };
    let of = [(0, 0, 100), (1, 50, 150), (2, 0, 0)];
    let of = of.map(|(partition, from, to)| ReplayPart { partition, from, to });
    let seen = progress(&of, &[(0, said(30, 20, State::Running))].into(), now());
    let expected = ReplayProgress {
        percent: 15,
        remaining_records: 170,
        records_per_second: 20,
        eta_seconds: Some(8),
        observed_time: NOW.to_owned(),
    };
    assert_eq!(seen, expected);
    let done = progress(&of, &[(0, said(3, 9, State::Done)), (1, said(150, 0, State::Running))].into(), now());
    assert_eq!((done.percent, done.remaining_records, done.eta_seconds), (100, 0, None));
    assert_eq!(progress(&of[2..], &BTreeMap::new(), now()).percent, 100, "nothing to read is read");

    let faster = ReplayProgress { records_per_second: 21, ..seen.clone() };
    assert_eq!(newer(Some(seen.clone()), faster.clone(), now()), seen);
    let later = now().checked_add(PROGRESS_PERIOD).unwrap();
    assert_eq!(newer(Some(seen.clone()), faster.clone(), later), faster);
    let further = ReplayProgress { percent: 16, ..faster };
    assert_eq!(newer(Some(seen.clone()), further.clone(), now()), seen, "it moves all the time");
    let soon = now().checked_add(PERCENT_PERIOD).unwrap();
    assert_eq!(newer(Some(seen), further.clone(), soon), further);
}

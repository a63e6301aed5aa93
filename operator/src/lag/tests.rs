//! Whom the operator follows, what it remembers of them, and that nothing of a view is left once it is gone.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use crds::feature_view::{ExceededTier, LagStatus};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use shell::store::Markers;

use super::figures::{Figures, View};
use super::measure::Measured;
use super::tier::{Thresholds, Tier, decide};
use super::*;
use crate::edges::{LogAddress, StoreAddress};
use crate::feature_view::observe::StoreView;
use crate::feature_view::{fixtures, resolve};

fn subject(revision: &str) -> Subject {
    Subject {
        namespace: "shop".into(),
        name: "clicks".into(),
        revision: revision.into(),
        topic: "clicks".into(),
        ahead_ms: 0,
        thresholds: Thresholds::of(&[], &[]),
        suspended: false,
        scaling: None,
        address: Some(Arc::new(Address {
            log: LogAddress { bootstrap: "kafka:9092".into(), properties: BTreeMap::new() },
            store: StoreAddress { url: "redis://redis".into(), settings: BTreeMap::new() },
        })),
    }
}

fn follow(lags: &Lags, uid: &str, revision: &str) -> Standing {
    lags.follow(uid, Follow::Yes(Box::new(subject(revision))), None)
}

fn judged(revision: &str, seconds: i64) -> (Seen, Judged) {
    let measured = Measured { seconds, records: 7, ..Measured::default() };
    let alarm = decide(&measured, &Thresholds::of(&[], &[]), false, 0, &Alarm::default());
    (Seen::default(), Judged { revision: revision.into(), at: 0, measured, alarm, scaling: None })
}

#[test]
fn a_sweep_of_a_revision_that_serves_no_more_is_not_taken_for_the_one_that_does() {
    let lags = Lags::default();
    assert_eq!(follow(&lags, "1", "a"), Standing::Unknown(Unknown::Soon));
    assert!(lags.found("1", &subject("a"), Ok(judged("a", 5))).is_some());
    assert!(matches!(follow(&lags, "1", "a"), Standing::Known(_)));
    assert_eq!(follow(&lags, "1", "b"), Standing::Unknown(Unknown::Soon), "it was flipped");
    assert!(lags.found("1", &subject("a"), Ok(judged("a", 5))).is_none());
    assert_eq!(lags.follow("1", Follow::AsBefore(None), None), Standing::Unknown(Unknown::Soon));
    assert_eq!(lags.follow("1", Follow::No, None), Standing::None);
    assert!(lags.found("1", &subject("b"), Ok(judged("b", 5))).is_none());
}

#[test]
fn one_answer_that_fails_is_no_news_and_three_are() {
    let lags = Lags::default();
    follow(&lags, "1", "a");
    let found = |found| lags.found("1", &subject("a"), found).map(|found| (found.standing, found.otherwise)).unwrap();
    let (_, otherwise) = found(Ok(judged("a", 5)));
    assert!(!otherwise, "a restart wakes nobody of whom status says the same");
    follow(&lags, "1", "a");
    let of = || found(Err(Unknown::Brokers));
    assert!(matches!(of(), (Standing::Known(_), false)));
    assert!(matches!(of(), (Standing::Known(_), false)));
    assert_eq!(of(), (Standing::Unknown(Unknown::Brokers), true));
    follow(&lags, "1", "a");
    let (_, otherwise) = found(Err(Unknown::Brokers));
    assert!(!otherwise, "the round knows");
    let (_, otherwise) = found(Ok(judged("a", 5)));
    assert!(otherwise, "it is known again");
}

#[test]
fn views_of_one_architecture_share_its_address_and_what_is_gone_is_forgotten() {
    let lags = Lags::default();
    follow(&lags, "1", "a");
    follow(&lags, "2", "a");
    let all = lags.all(|_, _| true);
    let address = |uid: &str| all[uid].subject.address.clone().unwrap();
    assert!(Arc::ptr_eq(&address("1"), &address("2")));
    drop(all);
    assert_eq!(lags.all(|uid, _| uid == "2").len(), 1);
    lags.forget("2");
    assert!(lags.all(|_, _| true).is_empty());
    assert!(lags.0.lock().unwrap().addresses.is_empty());
}

#[test]
fn series_go_with_their_view_and_figures_that_nobody_knows_are_not_shown() {
    let mut registry = Registry::default();
    let figures = Figures::register(&mut registry);
    let shows = |what: &str| {
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text.lines().filter(|line| line.starts_with(what)).map(str::to_owned).collect::<Vec<_>>()
    };
    let standing = Standing::Known(Box::new(judged("a", 900).1));
    figures.show(&subject("a"), &standing, None);
    let labels = "{namespace=\"shop\",feature_view=\"clicks\"}";
    assert_eq!(shows("featuremill_feature_lag_seconds"), [format!("featuremill_feature_lag_seconds{labels} 900")]);
    assert_eq!(shows("featuremill_feature_lag_records"), [format!("featuremill_feature_lag_records{labels} 7")]);
    assert_eq!(shows("featuremill_feature_alert_tier"), [format!("featuremill_feature_alert_tier{labels} 0")]);
    let thresholds = shows("featuremill_feature_lag_threshold_seconds");
    assert_eq!(thresholds.len(), 3, "{thresholds:?}");
    assert!(thresholds.iter().any(|line| line.contains("tier=\"1\"") && line.ends_with(" 600")), "{thresholds:?}");

    figures.show(&subject("a"), &Standing::Unknown(Unknown::Brokers), None);
    assert_eq!(shows("featuremill_feature_lag_").len(), 3, "the thresholds alone");
    assert_eq!(shows("featuremill_feature_alert_tier").len(), 1, "what was raised stays so");
    figures.show(&subject("a"), &Standing::Unknown(Unknown::Soon), Some(Tier::One));
    assert_eq!(shows("featuremill_feature_alert_tier"), [format!("featuremill_feature_alert_tier{labels} 1")]);
    let other = View { namespace: "shop".into(), feature_view: "others".into() };
    figures.keep(&BTreeSet::from([other]));
    assert_eq!(shows("featuremill_feature_"), [""; 0]);
}

/// What status says of a view whose first tier was raised an hour ago.
fn called() -> FeatureViewStatus {
    let since = "2026-01-01T00:00:00Z".to_owned();
    let lag = LagStatus {
        revision: "a".into(),
        seconds: 4000,
        records: 9,
        tier: Some(1),
        exceeded: vec![ExceededTier { tier: 1, since }],
        ..LagStatus::default()
    };
    FeatureViewStatus { lag: Some(lag), ..FeatureViewStatus::default() }
}

#[tokio::test]
async fn an_operator_that_begins_while_a_store_is_away_goes_on_calling_and_says_that_it_measures_nothing() {
    let (lags, status) = (Lags::default(), called());
    let figures = Figures::register(&mut Registry::default());
    let unmeasured = || Follow::AsBefore(Some(Box::new(Subject { address: None, ..subject("a") })));
    let now = || k8s_openapi::jiff::Timestamp::UNIX_EPOCH;
    assert_eq!(lags.follow("1", unmeasured(), Some(&status)), Standing::Unknown(Unknown::Soon));
    for _ in 0..3 {
        super::sweep::once(&crate::edges::RealEdges::default(), &lags, &figures, now, |_, _| true).await;
    }
    let summary = lags.summary();
    assert_eq!(summary.unmeasured, 1, "somebody is told that nobody would be");
    assert_eq!(summary.raised.iter().map(|raised| raised.tier).collect::<Vec<_>>(), [Tier::One]);
    assert_eq!(lags.follow("1", unmeasured(), Some(&status)), Standing::Unknown(Unknown::Store));
    // Once the store answers, it is measured, and what was raised is still known.
    lags.follow("1", Follow::Yes(Box::new(subject("a"))), Some(&status));
    let all = lags.all(|_, _| true);
    assert_eq!((all["1"].subject.address.is_some(), all["1"].alarm.tier()), (true, Some(Tier::One)));
}

#[test]
fn of_a_view_whose_store_does_not_answer_all_is_told_but_where_that_is() {
    let observed = fixtures::observed("1h", 1, Vec::new());
    let plan = resolve::plan_under(&observed.view, observed.architecture.as_ref().unwrap()).unwrap();
    let live = plan.revision.clone();
    let plans = BTreeMap::from([(live.clone(), plan)]);
    let away = StoreView::Unreachable("it is away".into());
    let follow = of_round(&observed, &away, &plans, Some(&live));
    assert!(
        matches!(follow, Follow::AsBefore(Some(s)) if s.topic == "clicks" && s.revision == live && s.address.is_none())
    );
    assert!(matches!(of_round(&observed, &away, &plans, None), Follow::AsBefore(None)));
    assert!(matches!(of_round(&observed, &away, &BTreeMap::new(), Some(&live)), Follow::AsBefore(None)));
}

#[test]
fn a_partition_that_a_topic_gained_silences_nobody_whose_operator_is_restarted() {
    let (lags, status) = (Lags::default(), called());
    lags.follow("1", Follow::Yes(Box::new(subject("a"))), Some(&status));
    let before = &lags.all(|_, _| true)["1"];
    let bounds = BTreeMap::from([(0, measure::Bounds { start: 0, end: 7, past: false })]);
    let (measured, _) = measure::measure(&Markers::default(), &bounds, 1, 0, &before.seen);
    assert!(!measured.first_reading, "status says that it was at the end of everything once");
}

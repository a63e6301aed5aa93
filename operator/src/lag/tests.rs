//! Whom the operator follows, what it remembers of them, and that nothing of a view is left once it is gone.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::figures::{Figures, View};
use super::measure::Measured;
use super::tier::{Thresholds, decide};
use super::*;
use crate::edges::{LogAddress, StoreAddress};

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
        address: Arc::new(Address {
            log: LogAddress { bootstrap: "kafka:9092".into(), properties: BTreeMap::new() },
            store: StoreAddress { url: "redis://redis".into(), settings: BTreeMap::new() },
        }),
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
    assert_eq!(lags.follow("1", Follow::AsBefore, None), Standing::Unknown(Unknown::Soon));
    assert_eq!(lags.follow("1", Follow::No, None), Standing::None);
    assert!(lags.found("1", &subject("b"), Ok(judged("b", 5))).is_none());
}

#[test]
fn one_answer_that_fails_is_no_news_and_three_are() {
    let lags = Lags::default();
    follow(&lags, "1", "a");
    let (_, otherwise) = lags.found("1", &subject("a"), Ok(judged("a", 5))).unwrap();
    assert!(!otherwise, "a restart wakes nobody of whom status says the same");
    follow(&lags, "1", "a");
    let of = || lags.found("1", &subject("a"), Err(Unknown::Brokers)).unwrap();
    assert!(matches!(of(), (Standing::Known(_), false)));
    assert!(matches!(of(), (Standing::Known(_), false)));
    assert_eq!(of(), (Standing::Unknown(Unknown::Brokers), true));
    follow(&lags, "1", "a");
    let (_, otherwise) = lags.found("1", &subject("a"), Err(Unknown::Brokers)).unwrap();
    assert!(!otherwise, "the round knows");
    let (_, otherwise) = lags.found("1", &subject("a"), Ok(judged("a", 5))).unwrap();
    assert!(otherwise, "it is known again");
}

#[test]
fn views_of_one_architecture_share_its_address_and_what_is_gone_is_forgotten() {
    let lags = Lags::default();
    follow(&lags, "1", "a");
    follow(&lags, "2", "a");
    let all = lags.all(|_, _| true);
    assert!(Arc::ptr_eq(&all["1"].subject.address, &all["2"].subject.address));
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
    figures.show(&subject("a"), &standing);
    let labels = "{namespace=\"shop\",feature_view=\"clicks\"}";
    assert_eq!(shows("featuremill_feature_lag_seconds"), [format!("featuremill_feature_lag_seconds{labels} 900")]);
    assert_eq!(shows("featuremill_feature_lag_records"), [format!("featuremill_feature_lag_records{labels} 7")]);
    assert_eq!(shows("featuremill_feature_alert_tier"), [format!("featuremill_feature_alert_tier{labels} 0")]);
    let thresholds = shows("featuremill_feature_lag_threshold_seconds");
    assert_eq!(thresholds.len(), 3, "{thresholds:?}");
    assert!(thresholds.iter().any(|line| line.contains("tier=\"1\"") && line.ends_with(" 600")), "{thresholds:?}");

    figures.show(&subject("a"), &Standing::Unknown(Unknown::Brokers));
    assert_eq!(shows("featuremill_feature_lag_").len(), 3, "the thresholds alone");
    assert_eq!(shows("featuremill_feature_alert_tier").len(), 1, "what was raised stays so");
    let other = View { namespace: "shop".into(), feature_view: "others".into() };
    figures.keep(&BTreeSet::from([other]));
    assert_eq!(shows("featuremill_feature_"), [""; 0]);
}

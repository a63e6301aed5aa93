//! The alerts that the operator posts are those of the chart's rules; what is posted when.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;
use serde_json::Value;

use super::alert::{Firing, Labels, Since, firing};
use super::told::{Posted, Told};
use super::*;
use crate::lag::raised::{Raised, Summary as Views};
use crate::lag::tier::Tier;

const T0: i64 = 1_700_000_000_000;
const SECOND: i64 = 1000;
const RESEND: i64 = 60 * SECOND;

fn raised(namespace: &str, name: &str, tier: Tier, seconds: Option<i64>, threshold: i64) -> Raised {
    Raised { namespace: namespace.into(), name: name.into(), tier, since: T0, seconds, threshold }
}

fn clicks(tier: Tier) -> Views {
    let threshold = 600 / i64::from(tier.number());
    Views { raised: vec![raised("shop", "user-clicks", tier, Some(700), threshold)], unmeasured: 0 }
}

fn wording() -> Wording {
    Wording { runbooks: "https://runbooks.example/featuremill".into(), ..Wording::default() }
}

fn fires(views: &Views) -> Firing {
    firing(views, Some(T0), &wording(), T0, Since::default()).0
}

/// Labels and annotations, as promtool expects them of the rules.
fn of_rules() -> BTreeSet<(Labels, BTreeMap<String, String>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/alerts/tests.yaml");
    let tests: Value = serde_yaml_ng::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let map = |value: &Value| serde_json::from_value::<BTreeMap<String, String>>(value.clone()).unwrap();
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let mut all = BTreeSet::new();
    for case in list(&tests, "tests").iter().flat_map(|test| list(test, "alert_rule_test")) {
        for expected in list(&case, "exp_alerts") {
            let mut labels = map(&expected["exp_labels"]);
            labels.insert("alertname".into(), case["alertname"].as_str().unwrap().into());
            all.insert((labels, map(&expected["exp_annotations"])));
        }
    }
    all
}

#[test]
fn they_are_word_for_word_what_the_charts_rules_say() {
    let of = |views: &Views, swept, now, before| -> BTreeSet<(Labels, BTreeMap<String, String>)> {
        let (firing, _) = firing(views, swept, &wording(), now, before);
        let own = |words: BTreeMap<&str, String>| words.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        firing.into_iter().map(|(labels, alert)| (labels, own(alert.annotations))).collect()
    };
    let mut said = BTreeSet::new();
    for one in [
        raised("shop", "user-clicks", Tier::Three, Some(121), 120),
        raised("shop", "user-clicks", Tier::Two, Some(330), 300),
        raised("shop", "user-clicks", Tier::One, Some(742), 600),
        raised("shop", "carts", Tier::One, None, 45),
        raised("bank", "user-clicks", Tier::One, Some(180_061), 7200),
        raised("shop", "user-clicks", Tier::Three, None, 120),
        raised("shop", "carts", Tier::Three, None, 120),
    ] {
        said.extend(of(&Views { raised: vec![one], unmeasured: 0 }, Some(T0), T0, Since::default()));
    }
    said.extend(of(&Views::default(), Some(T0), T0 + 181 * SECOND, Since::default()));
    let unmeasured = Views { raised: vec![], unmeasured: 3 };
    let (none, since) = firing(&unmeasured, Some(T0), &wording(), T0, Since::default());
    assert_eq!(none, Firing::new());
    said.extend(of(&unmeasured, Some(T0 + 600 * SECOND), T0 + 600 * SECOND, since));
    // Nobody is there to post that nobody is there; and what checks of values found comes from the rules alone.
    let not_ours =
        ["FeaturemillOperatorAbsent", "FeaturemillFeatureDrift", "FeaturemillFeatureSkew", "FeaturemillCheckFailed"];
    let rules = of_rules().into_iter().filter(|(labels, _)| !not_ours.contains(&labels["alertname"].as_str()));
    assert_eq!(said, rules.collect());
}

#[test]
fn what_cannot_be_measured_is_told_after_ten_minutes_without_a_break() {
    let (some, none) = (Views { raised: vec![], unmeasured: 2 }, Views::default());
    let step = |views, at: i64, before| firing(views, Some(T0 + at * SECOND), &wording(), T0 + at * SECOND, before);
    let (_, since) = step(&some, 0, Since::default());
    let (_, since) = step(&none, 300, since);
    let (_, since) = step(&some, 315, since);
    let (silent, since) = step(&some, 914, since);
    assert_eq!(silent.len(), 0);
    let (told, since) = step(&some, 915, since);
    assert_eq!(told.values().map(|alert| alert.since).collect::<Vec<_>>(), [T0 + 315 * SECOND]);
    assert_eq!(step(&none, 930, since).0.len(), 0);
    // Before the first measurement nothing is late.
    assert_eq!(firing(&none, None, &wording(), T0 + 3_600_000, Since::default()).0.len(), 0);
}

#[test]
fn a_clusters_labels_and_its_console_are_in_every_alert() {
    let wording = Wording {
        labels: [("cluster".to_owned(), "berlin".to_owned())].into(),
        console: Some("https://mill.example/".into()),
        ..wording()
    };
    let (firing, _) = firing(&clicks(Tier::One), Some(T0), &wording, T0, Since::default());
    let (labels, alert) = firing.first_key_value().unwrap();
    assert_eq!((labels["cluster"].as_str(), labels.len()), ("berlin", 6));
    assert_eq!(alert.shown.as_deref(), Some("https://mill.example/#/shop/user-clicks"));
}

/// The tiers that go on by a post, and those that it ends.
fn tiers(alerts: &[Posted], now: i64) -> (Vec<&str>, Vec<&str>) {
    let time = k8s_openapi::jiff::Timestamp::from_millisecond(now).unwrap();
    let (go_on, end): (Vec<&Posted>, Vec<&Posted>) =
        alerts.iter().partition(|alert| alert.ends_at.parse::<k8s_openapi::jiff::Timestamp>().unwrap() > time);
    let tier = |alert: &&Posted| alert.labels["tier"].clone();
    let words = |alerts: Vec<&Posted>| -> Vec<&'static str> {
        alerts
            .iter()
            .map(tier)
            .map(|t| match t.as_str() {
                "1" => "1",
                "2" => "2",
                _ => "3",
            })
            .collect()
    };
    (words(go_on), words(end))
}

#[test]
fn a_change_of_tier_is_one_post_and_what_goes_on_is_said_again_before_it_is_forgotten() {
    let told = Told::default();
    assert_eq!(told.next(&Firing::new(), T0, RESEND), None, "nothing is nothing to post");
    let post = told.next(&fires(&clicks(Tier::Three)), T0, RESEND).unwrap();
    assert_eq!(tiers(&post.alerts, T0), (vec!["3"], vec![]));
    assert_eq!(post.alerts[0].starts_at, "2023-11-14T22:13:20Z");
    assert_eq!(post.alerts[0].ends_at, "2023-11-14T22:17:20Z");
    let told = post.then;
    assert_eq!(told.next(&fires(&clicks(Tier::Three)), T0 + RESEND - 1, RESEND), None);
    let again = told.next(&fires(&clicks(Tier::Three)), T0 + RESEND, RESEND).unwrap();
    assert_eq!(again.alerts[0].ends_at, "2023-11-14T22:18:20Z");
    let worse = again.then.next(&fires(&clicks(Tier::Two)), T0 + RESEND + 1, RESEND).unwrap();
    assert_eq!(tiers(&worse.alerts, T0 + RESEND + 1), (vec!["2"], vec!["3"]));
    // As long as it is not taken, the end is posted with what is true by then.
    let over = worse.then.next(&Firing::new(), T0 + 2 * RESEND, RESEND).unwrap();
    assert_eq!(tiers(&over.alerts, T0 + 2 * RESEND), (vec![], vec!["2"]));
    assert_eq!(over.then.next(&Firing::new(), T0 + 9 * RESEND, RESEND), None);
}

#[test]
fn words_that_change_are_no_news() {
    let mut views = clicks(Tier::One);
    let told = Told::default().next(&fires(&views), T0, RESEND).unwrap().then;
    views.raised[0].seconds = Some(9000);
    assert_eq!(told.next(&fires(&views), T0 + 1, RESEND), None);
    let later = told.next(&fires(&views), T0 + RESEND, RESEND).unwrap();
    assert!(later.alerts[0].annotations["description"].starts_with("2h 30m 0s behind"), "{later:?}");
}

#[test]
fn the_body_is_what_alertmanagers_interface_names() {
    let wording = Wording { console: Some("https://mill.example".into()), ..wording() };
    let (firing, _) = firing(&clicks(Tier::One), Some(T0), &wording, T0, Since::default());
    let post = Told::default().next(&firing, T0, RESEND).unwrap();
    let body = serde_json::to_value(&post.alerts).unwrap();
    let keys: Vec<&String> = body[0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["annotations", "endsAt", "generatorURL", "labels", "startsAt"]);
}

proptest! {
    /// However tiers change and whatever fails to arrive, an Alertmanager that takes a post then knows exactly what goes on.
    #[test]
    fn after_a_post_that_is_taken_it_knows_what_goes_on(steps in prop::collection::vec((0..4_i32, any::<bool>(), 0..90_000_i64), 1..40)) {
        let (mut told, mut now) = (Told::default(), T0);
        let mut ends: BTreeMap<Labels, k8s_openapi::jiff::Timestamp> = BTreeMap::new();
        for (tier, taken, passes) in steps {
            now += passes;
            let views = Tier::ALL.into_iter().find(|t| t.number() == tier).map_or_else(Views::default, clicks);
            let firing = fires(&views);
            let Some(post) = told.next(&firing, now, RESEND) else { continue };
            let time = |text: &str| text.parse::<k8s_openapi::jiff::Timestamp>().unwrap();
            prop_assert!(post.alerts.iter().all(|alert| time(&alert.starts_at) <= time(&alert.ends_at)));
            if taken {
                ends.extend(post.alerts.iter().map(|alert| (alert.labels.clone(), alert.ends_at.parse().unwrap())));
                told = post.then;
                let time = k8s_openapi::jiff::Timestamp::from_millisecond(now).unwrap();
                let active: BTreeSet<&Labels> = ends.iter().filter(|(_, end)| **end > time).map(|(labels, _)| labels).collect();
                prop_assert_eq!(active, firing.keys().collect::<BTreeSet<_>>());
            }
        }
    }
}

#[test]
fn addresses_and_labels_that_cannot_be_meant_are_refused() {
    for (text, words) in [
        ("alertmanager:9093", "http://"),
        ("ftp://alertmanager", "http://"),
        ("http://user:secret@alertmanager:9093", "token in a file"),
        ("http://alertmanager:9093/api/v2/alerts", "without /api/v2/alerts"),
        ("", "http://"),
    ] {
        let error = url(text).unwrap_err();
        assert!(error.contains(words) || text.is_empty(), "{text}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }
    assert_eq!(url("https://monitoring.example/alertmanager").unwrap().path(), "/alertmanager");
    assert_eq!(label("cluster=berlin").unwrap(), ("cluster".to_owned(), "berlin".to_owned()));
    for text in ["cluster", "1a=b", "a-b=c", "=x", "tier=1", "alertname=x"] {
        label(text).unwrap_err();
    }
}

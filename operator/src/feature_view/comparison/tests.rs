//! What is asked, and what is made of an answer.
#![allow(clippy::unwrap_used)]

use crds::feature_view::ComparisonVerdict;
use engine::compare::{Example, FeatureComparison, Histogram, Kind};

use super::super::fixtures::observed;
use super::super::observe::StoreView;
use super::super::resolve;
use super::*;
use crate::settings::Settings;

fn plans(windows: [&str; 2]) -> (BTreeMap<String, Arc<Plan>>, [String; 2]) {
    let plans = windows.map(|window| resolve::plan(&observed(window, 1, Vec::new()).view, "Kappa").unwrap());
    let revisions = plans.clone().map(|plan| plan.revision.clone());
    (plans.into_iter().map(|plan| (plan.revision.clone(), plan)).collect(), revisions)
}

#[test]
fn a_comparison_is_named_by_what_is_asked() {
    let (plans, [live, target]) = plans(["1h", "2h"]);
    let mut observed = observed("2h", 1, Vec::new());
    let hash = |observed: &Observed| definition(&question(observed, &plans, Some(&live), Some(&target)).unwrap());
    let first = hash(&observed);
    assert_eq!(first, hash(&observed));
    observed.view.spec.rollout.comparison.expected_changes = vec!["clicks".to_owned()];
    assert_ne!(first, hash(&observed));
    let asked = |definition: &str| comparison(&observed, &plans, Some(&live), Some(&target), (definition, 3));
    assert!(asked(&first).is_none(), "that is no longer asked");
    let comparison = asked(&hash(&observed)).unwrap();
    assert!(comparison.name.starts_with("clicks-compare-") && comparison.name.ends_with("-3"));
    let longest = name(&"v".repeat(40), &first, 999);
    assert!(longest.len() <= 63, "{longest}");
}

#[test]
fn nothing_is_asked_without_two_revisions_or_a_sample() {
    let (plans, [live, target]) = plans(["1h", "2h"]);
    let mut observed = observed("2h", 1, Vec::new());
    let asks = |observed: &Observed, live: Option<&str>| question(observed, &plans, live, Some(&target)).is_some();
    assert!(asks(&observed, Some(&live)));
    assert!(!asks(&observed, None) && !asks(&observed, Some(&target)) && !asks(&observed, Some("cccc")));
    observed.view.spec.rollout.comparison.sample_keys = 0;
    assert!(!asks(&observed, Some(&live)));
}

#[test]
fn the_job_runs_once_restricted_and_reads_the_file_that_says_what_is_compared() {
    let (plans, [live, target]) = plans(["1h", "2h"]);
    let observed = observed("2h", 1, Vec::new());
    let hash = definition(&question(&observed, &plans, Some(&live), Some(&target)).unwrap());
    let comparison = comparison(&observed, &plans, Some(&live), Some(&target), (&hash, 1)).unwrap();
    let file = config_map(&observed.view, &comparison);
    let job = job(&observed.view, observed.architecture.as_ref().unwrap(), &comparison, &Settings::default());
    let text = &file.data.unwrap()["comparison.json"];
    assert_eq!(serde_json::from_str::<Comparison>(text).unwrap(), comparison);
    assert_eq!(jobs::config_maps(&job).collect::<Vec<_>>(), [file.metadata.name.unwrap()]);
    let spec = job.spec.unwrap();
    let pod = spec.template.spec.unwrap();
    assert_eq!(pod.restart_policy.as_deref(), Some("Never"));
    assert_eq!(pod.security_context.unwrap().run_as_non_root, Some(true));
    assert_eq!(pod.containers[0].args.as_ref().unwrap()[0], "compare");
    assert!(spec.ttl_seconds_after_finished.is_some() && spec.pod_failure_policy.is_some());
    let labels = spec.template.metadata.unwrap().labels.unwrap();
    assert_eq!(labels["featuremill.dev/revision"], target, "its pods are waited for before the revision's rows go");
}

#[test]
fn an_entry_that_names_no_feature_refuses_the_spec_before_anything_is_compared() {
    let mut observed = observed("2h", 1, Vec::new());
    let (mut plans, [live, target]) = plans(["1h", "2h"]);
    let mut former = Plan::clone(&plans[&live]);
    former.features[0].name = "visits".to_owned();
    plans.insert(live.clone(), Arc::new(former));
    observed.view.status = Some(crds::FeatureViewStatus { active_revision: Some(live), ..Default::default() });
    let accepted = |observed: &Observed, revision: &str| {
        accept(Ok(plans[revision].clone()), observed, &plans, &StoreView::NotAsked).map_err(|refusal| refusal.message)
    };
    let mut listed = |names: &[&str]| {
        observed.view.spec.rollout.comparison.expected_changes = names.iter().map(|n| (*n).to_owned()).collect();
        observed.clone()
    };
    let refused = accepted(&listed(&["clicks", "cliks"]), &target).unwrap_err();
    for says in ["spec.rollout.comparison.expectedChanges", r#""cliks" (is "clicks" meant?)"#, &target] {
        assert!(refused.contains(says), "{says}: {refused}");
    }
    // What only the former revision has, or one that was before it, is gone on purpose.
    assert!(accepted(&listed(&["clicks", "visits"]), &target).is_ok());
    let mut remembered = listed(&["older"]);
    remembered.history = vec![
        serde_json::from_value(serde_json::json!({"revision": 1, "data": {"spec": {"features": [{"name": "older"}]}}}))
            .unwrap(),
    ];
    assert!(accepted(&remembered, &target).is_ok());
    // Where nothing is to be compared the list is of no account.
    let typo = listed(&["cliks"]);
    let live = typo.view.status.clone().unwrap().active_revision.unwrap();
    assert!(accepted(&typo, &live).is_ok());
    let mut off = typo.clone();
    off.view.spec.rollout.comparison.sample_keys = 0;
    let mut pinned = typo;
    pinned.view.spec.rollout.serving_revision = Some(live);
    assert!(accepted(&off, &target).is_ok() && accepted(&pinned, &target).is_ok());
}

#[test]
fn memory_is_asked_for_by_the_number_of_keys() {
    let (plans, [live, target]) = plans(["1h", "2h"]);
    let mut observed = observed("2h", 1, Vec::new());
    let mut memory = |keys: i32| {
        observed.view.spec.rollout.comparison.sample_keys = keys;
        let comparison = question(&observed, &plans, Some(&live), Some(&target)).unwrap();
        let job = job(&observed.view, observed.architecture.as_ref().unwrap(), &comparison, &Settings::default());
        let limits = job.spec.unwrap().template.spec.unwrap().containers[0].resources.clone().unwrap().limits.unwrap();
        limits["memory"].0.clone()
    };
    assert_eq!([100, 10_000, 1_000_000].map(&mut memory), ["512Mi", "514Mi", "756Mi"]);
}

#[test]
fn attempts_follow_each_other_ever_more_slowly() {
    let at = Timestamp::UNIX_EPOCH;
    let after = |number| next_attempt(number, at).as_second();
    assert_eq!([1, 2, 3, 6, 100].map(after), [30, 60, 120, 600, 600]);
}

fn feature(name: &str, mismatches: usize) -> FeatureComparison {
    let example = Example { entity: "#1".into(), former: "2".into(), candidate: "NULL".into() };
    FeatureComparison {
        name: name.to_owned(),
        kind: Kind::Unchanged,
        compared: 1_000_000,
        unreadable: 0,
        mismatches,
        former_null_share: 0.0,
        candidate_null_share: 0.1,
        psi: Some(0.5),
        ks: None,
        histogram: Some(Histogram { edges: vec![0.0, 0.5, 12_345.678], former: vec![3, 4], candidate: vec![5, 2] }),
        examples: vec![example],
    }
}

#[test]
fn status_tells_the_worst_first_and_never_that_what_differs_is_equal() {
    let reasons: Vec<String> = (0..6).map(|n| format!("reason {n}")).collect();
    let report = Report {
        name: "n".into(),
        former: "a".into(),
        candidate: "b".into(),
        as_of_ms: 0,
        entities: 1_000_000,
        verdict: Verdict::Failed { reasons },
        features: vec![feature("same", 0), feature("one", 1), feature("half", 500_000)],
    };
    let told = summary(&report);
    assert_eq!(told.verdict, ComparisonVerdict::Failed);
    assert_eq!(told.message.as_deref(), Some("reason 0; reason 1; reason 2; reason 3; and 2 more features"));
    let seen: Vec<(&str, &str)> = told.differences.iter().map(|d| (d.name.as_str(), d.equal.as_str())).collect();
    assert_eq!(seen, [("half", "0.5000"), ("one", "0.9999")]);
    assert_eq!(
        (told.differences[0].psi.as_deref(), told.differences[0].examples[0].candidate.as_str()),
        (Some("0.5000"), "NULL")
    );
    let histogram = told.differences[0].histogram.as_ref().unwrap();
    assert_eq!((histogram.edges.join(" "), &histogram.candidate[..]), ("0.00 0.50 12346".to_owned(), &[5, 2][..]));
}

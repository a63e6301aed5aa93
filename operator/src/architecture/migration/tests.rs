#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn architecture(bound: i32, migrating: &[&str]) -> Architecture {
    serde_json::from_value(json!({
        "apiVersion": "featuremill.dev/v1alpha1",
        "kind": "Architecture",
        "metadata": {"name": "realtime"},
        "spec": {
            "mode": "Kappa",
            "migration": {"maxConcurrent": bound},
            "kafka": {"bootstrapServers": "kafka:9092"},
            "onlineStore": {"redis": {"url": "redis://redis:6379"}},
        },
        "status": {"migration": {"migrating": migrating}},
    }))
    .unwrap()
}

/// A view of which `mode` is served, with what is given of its status and rollout.
fn view(name: &str, mode: &str, status: &Value, rollout: &Value) -> FeatureView {
    let mut all = json!({"activeRevision": "0a", "mode": mode, "revisions": [{"revision": "0a", "mode": mode, "architecture": "realtime"}]});
    all.as_object_mut().unwrap().extend(status.as_object().unwrap().clone());
    serde_json::from_value(json!({
        "apiVersion": "featuremill.dev/v1alpha1",
        "kind": "FeatureView",
        "metadata": {"name": name},
        "spec": {
            "architectureRef": {"name": "realtime"},
            "entity": {"keys": ["user"]},
            "source": {"timestamp": {"field": "ts", "unit": "Milliseconds"}, "schema": [{"name": "user", "type": "String"}]},
            "features": [],
            "rollout": rollout,
        },
        "status": all,
    }))
    .unwrap()
}

fn plain(name: &str, mode: &str) -> FeatureView {
    view(name, mode, &json!({}), &json!({}))
}

fn running(name: &str) -> FeatureView {
    let revisions = json!([
        {"revision": "0a", "mode": "Lambda", "architecture": "realtime"},
        {"revision": "0b", "mode": "Kappa", "architecture": "realtime"},
    ]);
    view(name, "Lambda", &json!({"candidateRevision": "0b", "revisions": revisions}), &json!({}))
}

fn aborted(name: &str, reason: &str) -> FeatureView {
    let trial = json!({"revision": "0b", "aborted": reason});
    view(name, "Lambda", &json!({"rollout": {"trial": trial}}), &json!({}))
}

#[test]
fn views_follow_by_name_and_no_more_than_the_bound() {
    let views = ["d", "b", "a", "c"].map(|name| plain(name, "Lambda"));
    let progress = Progress::of(&architecture(2, &[]), &views);
    assert_eq!((progress.migrating, progress.waiting), (vec!["a".into(), "b".into()], vec!["c".into(), "d".into()]));
    assert_eq!((progress.served, progress.updated), (4, 0));

    // The first is through.
    let views = [plain("a", "Kappa"), running("b"), plain("c", "Lambda"), plain("d", "Lambda")];
    let progress = Progress::of(&architecture(2, &["a", "b"]), &views);
    assert_eq!(
        (progress.migrating.clone(), progress.waiting.clone()),
        (vec!["b".into(), "c".into()], vec!["d".into()])
    );
    let message = progress.message(&architecture(2, &[]));
    assert_eq!(message, "1 of 4 views are served in mode Kappa; under way: b, c; 1 wait");

    let all = ["a", "b"].map(|name| plain(name, "Kappa"));
    assert_eq!(Progress::of(&architecture(1, &["b"]), &all).status(), None);
}

#[test]
fn who_was_let_begin_stays_so_although_another_comes_before_it() {
    let views = [plain("a", "Lambda"), plain("b", "Lambda")];
    assert_eq!(Progress::of(&architecture(1, &["b"]), &views).migrating, ["b"]);
    // And who runs, although nobody remembers that it was let.
    let views = [plain("a", "Lambda"), running("b")];
    assert_eq!(Progress::of(&architecture(1, &[]), &views).migrating, ["b"]);
}

#[test]
fn who_was_given_up_halts_the_others_until_a_person_holds_it() {
    let views = [aborted("a", "DeadlineExceeded"), plain("b", "Lambda")];
    let progress = Progress::of(&architecture(1, &["a"]), &views);
    assert!(progress.is_halted());
    assert_eq!((progress.halted, progress.waiting), (vec!["a".into()], vec!["b".to_owned()]));
    // With room for another, the others go on.
    let wider = Progress::of(&architecture(2, &["a"]), &views);
    assert_eq!((wider.is_halted(), wider.migrating), (false, vec!["a".into(), "b".to_owned()]));
    // What was given up before the mode changed has had no turn.
    let before = ["a", "b"].map(|name| aborted(name, "DeadlineExceeded"));
    assert_eq!(Progress::of(&architecture(1, &[]), &before).migrating, ["a"]);

    let held = [
        aborted("a", "AbortedByUser"),
        view("b", "Lambda", &json!({}), &json!({"servingRevision": "0a"})),
        view("c", "Lambda", &json!({}), &json!({"paused": true})),
        plain("d", "Lambda"),
    ];
    let progress = Progress::of(&architecture(1, &["a"]), &held);
    assert_eq!((progress.migrating, progress.held), (vec!["d".to_owned()], vec!["a".into(), "b".into(), "c".into()]));
}

/// One that runs, with a condition `Stalled` for that reason.
fn stuck(name: &str, reason: &str) -> FeatureView {
    let mut view = running(name);
    let condition = json!({"type": "Stalled", "status": "True", "reason": reason, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    view.status.as_mut().unwrap().conditions = vec![serde_json::from_value(condition).unwrap()];
    view
}

#[test]
fn who_waits_for_a_person_since_its_values_differ_halts_the_others() {
    let views = [stuck("a", "ComparisonFailed"), plain("b", "Lambda")];
    let progress = Progress::of(&architecture(1, &["a"]), &views);
    assert!(progress.is_halted());
    let (one, none) = (vec!["a".to_owned()], Vec::<String>::new());
    assert_eq!((&progress.stuck, &progress.migrating, &progress.held), (&one, &one, &none));
    let message = progress.message(&architecture(1, &[]));
    assert_eq!(
        message,
        "0 of 2 views are served in mode Kappa; waiting for a person, as condition Stalled says: a; 1 wait"
    );
    // The last one, too; and what heals by itself does not halt.
    assert!(Progress::of(&architecture(1, &["a"]), &[stuck("a", "RetentionTooShort")]).is_halted());
    assert!(!Progress::of(&architecture(1, &["a"]), &[stuck("a", "ImagePullFailed")]).is_halted());
    // With room for another, the others go on.
    let wider = Progress::of(&architecture(2, &["a"]), &views);
    assert_eq!((wider.is_halted(), wider.migrating), (false, vec!["a".into(), "b".to_owned()]));
    // Another spec was not judged yet.
    let mut edited = stuck("a", "ComparisonFailed");
    edited.metadata.generation = Some(2);
    assert!(!Progress::of(&architecture(1, &["a"]), &[edited]).is_halted());
}

#[test]
fn what_is_not_served_yet_has_nothing_to_follow() {
    let new = view("a", "Lambda", &json!({"activeRevision": null}), &json!({}));
    let unknown = view("b", "Lambda", &json!({"mode": null}), &json!({}));
    let progress = Progress::of(&architecture(1, &[]), &[new, unknown]);
    assert_eq!((progress.status(), progress.served), (None, 0));
}

proptest! {
    /// Whatever stands: nobody begins while the bound is reached, nobody who can follow waits while there is room, and all come
    /// through in the end.
    #[test]
    fn the_bound_holds_and_everybody_comes_through(
        bound in 1_i32..4, kinds in proptest::collection::vec(0_u8..3, 0..8), order in proptest::collection::vec(0_usize..8, 64),
    ) {
        let names: Vec<String> = (0..kinds.len()).map(|i| format!("v{i}")).collect();
        let mut views: Vec<FeatureView> = names.iter().zip(&kinds).map(|(name, kind)| match kind {
            0 => plain(name, "Lambda"),
            1 => running(name),
            _ => plain(name, "Kappa"),
        }).collect();
        let is_running = |views: &[FeatureView]| views.iter().filter(|v| v.status.as_ref().unwrap().candidate_revision.is_some()).count();
        let (most, mut before) = (is_running(&views).max(usize::try_from(bound).unwrap()), Vec::new());
        for pick in order.iter().chain(&(0..8).cycle().take(64).collect::<Vec<_>>()) {
            let known: Vec<&str> = before.iter().map(String::as_str).collect();
            let progress = Progress::of(&architecture(bound, &known), &views);
            prop_assert!(progress.migrating.len() <= most);
            prop_assert!(progress.waiting.is_empty() || progress.migrating.len() >= usize::try_from(bound).unwrap());
            before = progress.migrating.clone();
            // One of those under way goes a step further.
            if let Some(name) = before.get(pick % before.len().max(1)) {
                let view = views.iter_mut().find(|v| v.name_any() == *name).unwrap();
                let begun = view.status.as_ref().unwrap().candidate_revision.is_some();
                *view = if begun { plain(name, "Kappa") } else { running(name) };
            }
        }
        prop_assert!(views.iter().all(|view| view.status.as_ref().unwrap().mode == Some(crds::architecture::Mode::Kappa)));
    }
}
